//! What a token says.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};

use super::keys::TokenKeys;
use super::{ObjectReader, TokenError};
use crate::user::{UserInfo, service_account_username};
use kplane_machinery::object;
use kplane_machinery::time::Time;

/// How far clocks may differ, in seconds.
const LEEWAY: i64 = 60;
/// The longest token that is read.
const LONGEST: usize = 16 * 1024;

/// The claims of a service account token, spelled as upstream's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// For whom it is.
    #[serde(deserialize_with = "one_or_many", default)]
    pub aud: Vec<String>,
    /// When it ends.
    pub exp: i64,
    /// When it was made.
    #[serde(default)]
    pub iat: i64,
    /// Whose it is.
    pub iss: String,
    /// Names this one token.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub jti: String,
    /// What it is bound to.
    #[serde(rename = "kubernetes.io")]
    pub kubernetes: ServiceAccountClaims,
    /// When it begins.
    #[serde(default)]
    pub nbf: i64,
    /// Of whom it speaks.
    pub sub: String,
}

/// The `kubernetes.io` claim.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ServiceAccountClaims {
    /// The namespace of the account, and of what the token is bound to.
    pub namespace: String,
    /// The node of the pod, or the one the token is bound to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<BoundObject>,
    /// The pod the token is bound to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod: Option<BoundObject>,
    /// The secret the token is bound to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<BoundObject>,
    /// The account.
    pub serviceaccount: BoundObject,
    /// From when on its use is worth a warning.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warnafter: Option<i64>,
}

/// An object by name and uid.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BoundObject {
    /// The name.
    pub name: String,
    /// The uid; empty accepts any.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub uid: String,
}

#[derive(Serialize, Deserialize)]
struct Header {
    alg: String,
    #[serde(default)]
    kid: String,
}

#[derive(Deserialize)]
struct IssuerOnly {
    #[serde(default)]
    iss: String,
}

fn one_or_many<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Audience {
        One(String),
        Many(Vec<String>),
    }
    Ok(match Audience::deserialize(from)? {
        Audience::One(one) => vec![one],
        Audience::Many(many) => many,
    })
}

/// Header, claims and signature, still in base64; the first two with the dot between them.
fn parts(token: &str) -> Option<(&str, &str, &str, &str)> {
    if token.len() > LONGEST {
        return None;
    }
    let (signed, signature) = token.rsplit_once('.')?;
    let (header, claims) = signed.split_once('.')?;
    (!claims.contains('.')).then_some((signed, header, claims, signature))
}

fn decode<'a, T: for<'de> Deserialize<'de>>(part: &'a str, what: &'static str) -> Result<T, TokenError> {
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenError::Malformed(what))?;
    serde_json::from_slice(&bytes).map_err(|_| TokenError::Malformed(what))
}

/// The issuer that a token claims, before anything is verified: enough to route it, never to trust it. `None` when it
/// is no web token.
pub fn unverified_issuer(token: &str) -> Option<String> {
    let (_, _, claims, _) = parts(token)?;
    decode::<IssuerOnly>(claims, "claims").ok().map(|claims| claims.iss).filter(|iss| !iss.is_empty())
}

/// A token with these claims, signed by the control plane's key of the moment.
pub(super) fn sign_claims(
    keys: &TokenKeys,
    key_name: &str,
    claims: &impl Serialize,
    now: i64,
) -> Option<String> {
    let keys = keys.of(key_name);
    let key = keys.signing(now)?;
    let header = serde_json::to_vec(&Header { alg: "ES256".to_owned(), kid: key.id.clone() }).ok()?;
    let mut token = BASE64_URL_SAFE_NO_PAD.encode(header);
    token.push('.');
    token.push_str(&BASE64_URL_SAFE_NO_PAD.encode(serde_json::to_vec(claims).ok()?));
    let signature = key.sign(token.as_bytes());
    token.push('.');
    token.push_str(&BASE64_URL_SAFE_NO_PAD.encode(signature));
    Some(token)
}

/// The claims of a token that one of the control plane's keys signed, and until when that key is trusted.
pub(super) fn verify_claims<T: DeserializeOwned>(
    keys: &TokenKeys,
    key_name: &str,
    token: &str,
    now: i64,
) -> Result<(T, Option<i64>), TokenError> {
    let (signed, header, claims, signature) = parts(token).ok_or(TokenError::Malformed("parts"))?;
    let header: Header = decode(header, "header")?;
    if header.alg != "ES256" {
        return Err(TokenError::Malformed("algorithm"));
    }
    let signature =
        BASE64_URL_SAFE_NO_PAD.decode(signature).map_err(|_| TokenError::Malformed("signature"))?;
    let keys = keys.of(key_name);
    let key = keys
        .trusted(now)
        .filter(|key| header.kid.is_empty() || key.id == header.kid)
        .find(|key| key.verify(signed.as_bytes(), &signature))
        .ok_or(TokenError::Signature)?;
    Ok((decode(claims, "claims")?, key.until))
}

/// The id of the key that a token says it is signed by.
pub(super) fn header_key(token: &str) -> Option<String> {
    let (_, header, ..) = parts(token)?;
    decode::<Header>(header, "header").ok().map(|header| header.kid)
}

impl Claims {
    /// Checks issuer, time and audience. Returns those audiences that were asked for.
    pub(super) fn check(
        &self,
        issuer: &str,
        audiences: &[String],
        now: i64,
    ) -> Result<Vec<String>, TokenError> {
        if self.iss != issuer {
            return Err(TokenError::Issuer);
        }
        if now.saturating_sub(LEEWAY) > self.exp {
            return Err(TokenError::Expired);
        }
        if now.saturating_add(LEEWAY) < self.nbf {
            return Err(TokenError::NotYet);
        }
        let common: Vec<_> = audiences.iter().filter(|wanted| self.aud.contains(wanted)).cloned().collect();
        if common.is_empty() {
            return Err(TokenError::Audience { found: self.aud.clone(), wanted: audiences.to_vec() });
        }
        let account = &self.kubernetes;
        if self.sub != service_account_username(&account.namespace, &account.serviceaccount.name) {
            return Err(TokenError::Malformed("subject"));
        }
        Ok(common)
    }

    /// Checks that the account and what the token is bound to are still there.
    pub(super) async fn check_live(&self, reader: &dyn ObjectReader, now: i64) -> Result<(), TokenError> {
        let claims = &self.kubernetes;
        let namespace = &claims.namespace;
        live(reader, "serviceaccounts", "service account", namespace, &claims.serviceaccount, now).await?;
        if let Some(secret) = &claims.secret {
            live(reader, "secrets", "secret", namespace, secret, now).await?;
        }
        if let Some(pod) = &claims.pod {
            live(reader, "pods", "pod", namespace, pod, now).await?;
        } else if let Some(node) = &claims.node {
            // Beside a pod the node is only told, not checked.
            live(reader, "nodes", "node", "", node, now).await?;
        }
        Ok(())
    }

    /// The user the token speaks for, without `system:authenticated`.
    pub(super) fn user(&self) -> UserInfo {
        let claims = &self.kubernetes;
        let mut user = UserInfo {
            username: self.sub.clone(),
            uid: claims.serviceaccount.uid.clone(),
            groups: vec![
                "system:serviceaccounts".to_owned(),
                format!("system:serviceaccounts:{}", claims.namespace),
            ],
            ..UserInfo::default()
        };
        let mut say = |kind: &str, bound: &Option<BoundObject>| {
            if let Some(bound) = bound {
                for (what, value) in [("name", &bound.name), ("uid", &bound.uid)] {
                    if !value.is_empty() {
                        user.extra.insert(
                            format!("authentication.kubernetes.io/{kind}-{what}"),
                            vec![value.clone()],
                        );
                    }
                }
            }
        };
        say("pod", &claims.pod);
        say("node", &claims.node);
        if self.jti.is_empty() { user } else { user.with_credential(format!("JTI={}", self.jti)) }
    }
}

async fn live(
    reader: &dyn ObjectReader,
    resource: &str,
    what: &str,
    namespace: &str,
    bound: &BoundObject,
    now: i64,
) -> Result<(), TokenError> {
    let Some(found) = reader.get("", resource, namespace, &bound.name).await? else {
        return Err(TokenError::Invalidated(format!("{what} {namespace}/{} is gone", bound.name)));
    };
    if object::uid(&found) != bound.uid {
        return Err(TokenError::Invalidated(format!(
            "{what} UID ({}) does not match claim ({})",
            object::uid(&found),
            bound.uid
        )));
    }
    let deletion = object::meta_str(&found, "deletionTimestamp");
    if deletion.is_empty() {
        return Ok(());
    }
    let deleted =
        Time::parse(deletion).map_err(|why| TokenError::Invalidated(format!("{what} has {why}")))?;
    if deleted.unix() < now - LEEWAY {
        return Err(TokenError::Invalidated("service account token has been invalidated".to_owned()));
    }
    Ok(())
}
