//! The operator's webhook for tokens: `--authentication-token-webhook-config-file`, a kubeconfig.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{Request, header};
use kplane_auth::UserInfo;
use kplane_egress::{Caller, ClientCertificate, Egress, Limits, Target};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

const LIMITS: Limits = Limits { time: Duration::from_secs(30), body: 1 << 20 };
/// How long a no is remembered, as upstream does.
const FAILURE: Duration = Duration::from_secs(10);
const REMEMBERED: usize = 4096;

/// Where a webhook of the operator is, and what it is shown.
#[derive(Clone, Debug)]
pub struct WebhookOptions {
    target: Target,
    path: String,
    bearer: Option<String>,
}

/// Reads the current context of a kubeconfig as the address of a webhook.
pub fn kubeconfig_target(file: &Path) -> anyhow::Result<WebhookOptions> {
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let config: Value =
        serde_saphyr::from_str(&text).with_context(|| format!("{} is no YAML", file.display()))?;
    read(&config, file.parent().unwrap_or(Path::new("."))).with_context(|| format!("in {}", file.display()))
}

fn named<'a>(config: &'a Value, list: &str, name: &str, body: &str) -> anyhow::Result<&'a Value> {
    let mut entries = config[list].as_array().into_iter().flatten();
    let found = entries.find(|entry| entry["name"].as_str() == Some(name));
    found.map(|entry| &entry[body]).with_context(|| format!("{list} has no entry {name:?}"))
}

/// What a field holds in base64, or the file that it names.
fn data(body: &Value, field: &str, folder: &Path) -> anyhow::Result<Option<Vec<u8>>> {
    if let Some(text) = body[format!("{field}-data").as_str()].as_str() {
        return STANDARD.decode(text).map(Some).with_context(|| format!("{field}-data is not base64"));
    }
    let Some(name) = body[field].as_str() else { return Ok(None) };
    let path: PathBuf = folder.join(name);
    std::fs::read(&path).map(Some).with_context(|| format!("cannot read {}", path.display()))
}

fn read(config: &Value, folder: &Path) -> anyhow::Result<WebhookOptions> {
    let name = config["current-context"].as_str().filter(|name| !name.is_empty());
    let context = match name {
        Some(name) => named(config, "contexts", name, "context")?,
        None => match config["contexts"].as_array().map(Vec::as_slice) {
            Some([only]) => &only["context"],
            _ => bail!("current-context is not set"),
        },
    };
    let cluster = named(config, "clusters", context["cluster"].as_str().unwrap_or(""), "cluster")?;
    let user = match context["user"].as_str().filter(|user| !user.is_empty()) {
        Some(user) => named(config, "users", user, "user")?,
        None => &Value::Null,
    };
    let server = cluster["server"].as_str().context("the cluster has no server")?;
    let mut target = Target::of_url(server)?;
    if let Some(bundle) = data(cluster, "certificate-authority", folder)? {
        target.tls.ca_bundle = bundle.into();
    }
    target.tls.insecure = cluster["insecure-skip-tls-verify"].as_bool() == Some(true);
    if let Some(name) = cluster["tls-server-name"].as_str() {
        target.tls.server_name = name.to_owned();
    }
    if let (Some(certificate), Some(key)) =
        (data(user, "client-certificate", folder)?, data(user, "client-key", folder)?)
    {
        target.tls.client = Some(ClientCertificate { certificate: certificate.into(), key: key.into() });
    }
    let bearer = match (user["token"].as_str(), user["tokenFile"].as_str()) {
        (Some(token), _) => Some(token.to_owned()),
        (None, Some(file)) => {
            let path = folder.join(file);
            let text = std::fs::read_to_string(&path);
            Some(text.with_context(|| format!("cannot read {}", path.display()))?.trim().to_owned())
        }
        (None, None) => None,
    };
    let path =
        server.split_once("://").and_then(|(_, rest)| rest.split_once('/')).map_or("", |(_, path)| path);
    Ok(WebhookOptions { target, path: format!("/{path}"), bearer })
}

impl WebhookOptions {
    /// Sends a review and reads the answer.
    pub async fn ask(&self, egress: &Egress, review: &Value, time: Duration) -> Result<Value, String> {
        let mut request = Request::post(&self.path)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, "application/json");
        if let Some(bearer) = &self.bearer {
            request = request.header(header::AUTHORIZATION, format!("Bearer {bearer}"));
        }
        let body = serde_json::to_vec(review).map_err(|e| e.to_string())?;
        let request = request.body(Bytes::from(body)).map_err(|e| e.to_string())?;
        let limits = Limits { time, ..LIMITS };
        let answer = egress.send(&Caller::Operator, &self.target, request, limits).await;
        let answer = answer.map_err(|e| format!("Post \"{}\": {e}", self.shown()))?;
        if !answer.status().is_success() {
            return Err(format!("Post \"{}\": {}", self.shown(), answer.status()));
        }
        serde_json::from_slice(answer.body()).map_err(|e| format!("Post \"{}\": {e}", self.shown()))
    }

    fn shown(&self) -> String {
        format!("{}://{}{}", self.target.scheme.as_str(), self.target.authority(), self.path)
    }
}

/// The answer to a review, and until when it holds.
type Answered = (Instant, Option<(UserInfo, Vec<String>)>);

/// Asks the operator's webhook whom tokens are of.
pub struct TokenWebhook {
    options: WebhookOptions,
    /// How long a yes is remembered.
    ttl: Duration,
    remembered: Mutex<HashMap<[u8; 32], Answered>>,
}

impl TokenWebhook {
    /// Asks there, and remembers a yes for so long.
    pub fn new(options: WebhookOptions, ttl: Duration) -> Self {
        Self { options, ttl, remembered: Mutex::default() }
    }

    /// Whom a token is of, and for which of the audiences; `None` when the webhook does not know it.
    pub async fn review(
        &self,
        egress: &Egress,
        token: &str,
        audiences: &[String],
        own: &str,
    ) -> Result<Option<(UserInfo, Vec<String>)>, String> {
        let own = [own.to_owned()];
        let audiences = if audiences.is_empty() { &own } else { audiences };
        let mut hash = Sha256::new();
        hash.update(token);
        for audience in audiences {
            hash.update([0]);
            hash.update(audience);
        }
        let key: [u8; 32] = hash.finalize().into();
        let now = Instant::now();
        let known = self.remembered.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        if let Some((_, answer)) = known.filter(|(until, _)| *until > now) {
            return Ok(answer);
        }
        let review = json!({
            "apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview",
            "spec": {"token": token, "audiences": audiences},
        });
        let answer = self.options.ask(egress, &review, LIMITS.time).await?;
        let status = &answer["status"];
        let answer = if status["authenticated"].as_bool() == Some(true) {
            let user: UserInfo = serde_json::from_value(status["user"].clone())
                .map_err(|e| format!("the user that the token webhook answered: {e}"))?;
            // One that says nothing about audiences knows of none but the server's.
            let said: Vec<&str> =
                status["audiences"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            let good: Vec<String> =
                audiences
                    .iter()
                    .filter(|wanted| {
                        if said.is_empty() { own.contains(wanted) } else { said.contains(&wanted.as_str()) }
                    })
                    .cloned()
                    .collect();
            (!good.is_empty() && !user.username.is_empty()).then_some((user, good))
        } else {
            if let Some(error) = status["error"].as_str().filter(|error| !error.is_empty()) {
                return Err(error.to_owned());
            }
            None
        };
        let life = if answer.is_some() { self.ttl } else { FAILURE.min(self.ttl) };
        let mut remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        if remembered.len() >= REMEMBERED {
            remembered.clear();
        }
        remembered.insert(key, (now + life, answer.clone()));
        Ok(answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kubeconfig_names_a_webhook() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.pem"), "pem").unwrap();
        let config = json!({
            "current-context": "c", "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],
            "clusters": [{"name": "k", "cluster": {"server": "https://hook.test:8443/review?x=1", "certificate-authority": "ca.pem"}}],
            "users": [{"name": "u", "user": {"token": "secret"}}],
        });
        let options = read(&config, folder.path()).unwrap();
        assert_eq!((&*options.path, options.target.port), ("/review?x=1", 8443));
        assert_eq!(&*options.target.tls.ca_bundle, b"pem");
        assert_eq!(options.bearer.as_deref(), Some("secret"));
        let broken = json!({"current-context": "x", "contexts": []});
        assert!(read(&broken, folder.path()).unwrap_err().to_string().contains("no entry"));
    }
}
