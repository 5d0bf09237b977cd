//! Bootstrap tokens: those that expired go, and those that sign sign the ConfigMap `cluster-info`.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use hmac::{Hmac, Mac as _};
use jiff::Timestamp;
use serde_json::{Value, json};
use sha2::Sha256;

use crate::Error;
use crate::tenant::api::{CONFIG_MAPS, SECRETS};
use crate::tenant::queue::Next;
use crate::tenant::tasks::Cx;
use crate::tenant::value::{is_deleting, name, text};

const TYPE: &str = "bootstrap.kubernetes.io/token";
const PREFIX: &str = "bootstrap-token-";
const SPACE: &str = "kube-system";
const PUBLIC: &str = "kube-public";
const INFO: &str = "cluster-info";
const SIGNATURE: &str = "jws-kubeconfig-";

/// Looks at those of a control plane.
pub async fn reconcile(cx: &Cx<'_>) -> Result<Next, Error> {
    let now = Timestamp::now();
    let mut wait: Option<Duration> = None;
    let mut signing: BTreeMap<String, String> = BTreeMap::new();
    for secret in cx.api.list(&SECRETS, SPACE).await? {
        if text(&secret, "/type") != TYPE || is_deleting(&secret) {
            continue;
        }
        match left(&secret, now) {
            Some(left) if left.is_zero() => {
                cx.api.delete(&SECRETS, &secret, None).await?;
                continue;
            }
            left => wait = wait.into_iter().chain(left).min(),
        }
        if let Some((id, token)) = signer(&secret) {
            signing.insert(id, token);
        }
    }
    if let Some(info) = cx.api.get(&CONFIG_MAPS, PUBLIC, INFO).await?
        && let Some(signed) = sign(&info, &signing)?
    {
        cx.api.update(&CONFIG_MAPS, &signed).await?;
    }
    Ok(wait.map_or(Next::Done, Next::After))
}

fn field(secret: &Value, key: &str) -> Option<String> {
    let bytes = STANDARD.decode(text(secret, &format!("/data/{key}"))).ok()?;
    String::from_utf8(bytes).ok().filter(|text| !text.is_empty())
}

/// How long a token is still good; `None` if for ever.
fn left(secret: &Value, now: Timestamp) -> Option<Duration> {
    let expires = field(secret, "expiration")?;
    // What cannot be read is expired, as upstream has it.
    let Ok(expires) = expires.parse::<Timestamp>() else { return Some(Duration::ZERO) };
    Some(Duration::try_from(expires.duration_since(now)).unwrap_or_default())
}

/// The id and the secret of a token that may sign.
fn signer(secret: &Value) -> Option<(String, String)> {
    let id = field(secret, "token-id")?;
    let token = field(secret, "token-secret")?;
    let allowed = field(secret, "usage-bootstrap-signing")? == "true";
    (allowed && name(secret).strip_prefix(PREFIX) == Some(id.as_str())).then_some((id, token))
}

/// The ConfigMap with a signature by each token, and by no other; `None` if it has them.
fn sign(info: &Value, tokens: &BTreeMap<String, String>) -> Result<Option<Value>, Error> {
    let content = text(info, "/data/kubeconfig");
    if content.is_empty() {
        return Ok(None);
    }
    let mut signed = info.clone();
    let Some(data) = signed.get_mut("data").and_then(Value::as_object_mut) else { return Ok(None) };
    data.retain(|key, _| !key.starts_with(SIGNATURE));
    for (id, token) in tokens {
        data.insert(format!("{SIGNATURE}{id}"), detached(content, id, token)?.into());
    }
    Ok((signed["data"] != info["data"]).then_some(signed))
}

/// A JWS without its content (RFC 7515, appendix F).
fn detached(content: &str, id: &str, token: &str) -> Result<String, Error> {
    let header = json!({ "alg": "HS256", "kid": id });
    let header = URL_SAFE_NO_PAD.encode(crate::tenant::value::canonical(&header));
    let payload = URL_SAFE_NO_PAD.encode(content);
    let mut mac = Hmac::<Sha256>::new_from_slice(token.as_bytes())
        .map_err(|error| Error::Wait(format!("the token {id} cannot sign: {error}")))?;
    mac.update(format!("{header}.{payload}").as_bytes());
    Ok(format!("{header}..{}", URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_that_of_upstream() {
        // The example of k8s.io/cluster-bootstrap.
        let made = detached(
            "Hello from the other side. I must have called a thousand times.",
            "joshua",
            "my voice is my passcode",
        )
        .unwrap();
        assert_eq!(
            made,
            "eyJhbGciOiJIUzI1NiIsImtpZCI6Impvc2h1YSJ9..VShe2taLd-YTrmWuRkcL_8QTNDHYxQIEBsAYYiIj1_8"
        );
    }

    #[test]
    fn signatures_come_and_go_with_their_tokens() {
        let info = json!({ "data": { "kubeconfig": "x", "jws-kubeconfig-old": "y" } });
        let tokens = BTreeMap::from([("abcdef".to_owned(), "secret".to_owned())]);
        let signed = sign(&info, &tokens).unwrap().unwrap();
        assert!(signed["data"].get("jws-kubeconfig-old").is_none());
        assert!(signed["data"]["jws-kubeconfig-abcdef"].is_string());
        assert!(sign(&signed, &tokens).unwrap().is_none());
    }
}
