//! `apiserver.config.k8s.io/v1` `EncryptionConfiguration`, read from `--encryption-provider-config`.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kplane_schema::Format;
use serde_json::Value;

use super::keys::{Cipher, MasterKey};

/// The name of the plane's own key, which no configured key may have.
pub const PLANE: &str = "plane";

/// What is sealed, and how.
#[derive(Clone, Debug)]
pub struct Rule {
    resources: Vec<Pattern>,
    /// The first seals; all open.
    pub providers: Vec<Provider>,
}

/// One way to seal values.
#[derive(Clone, Debug)]
pub enum Provider {
    /// With keys of the configuration; the first seals.
    Keys {
        /// How.
        cipher: Cipher,
        /// The keys, by name.
        keys: Vec<(String, MasterKey)>,
    },
    /// With a key that a key management service seals.
    Kms {
        /// The name of the provider.
        name: String,
        /// The socket of the service.
        socket: String,
        /// How long it may take.
        timeout: Duration,
    },
    /// Not at all.
    Identity,
}

/// `secrets`, `deployments.apps`, `*.apps`, `*.` and `*.*`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Pattern {
    resource: String,
    group: String,
}

impl Pattern {
    fn parse(text: &str) -> Self {
        let (resource, group) = text.split_once('.').unwrap_or((text, ""));
        Self { resource: resource.to_owned(), group: group.to_owned() }
    }

    fn matches(&self, group: &str, resource: &str) -> bool {
        (self.resource == "*" || self.resource == resource) && (self.group == "*" || self.group == group)
    }
}

impl Rule {
    /// Whether it is about a resource.
    pub fn matches(&self, group: &str, resource: &str) -> bool {
        self.resources.iter().any(|pattern| pattern.matches(group, resource))
    }

    /// What seals.
    pub fn first(&self) -> Option<&Provider> {
        self.providers.first()
    }

    /// Its resources as text, for whoever compares configurations.
    pub fn resources(&self) -> String {
        let all: Vec<String> = self.resources.iter().map(|p| format!("{}.{}", p.resource, p.group)).collect();
        all.join(",")
    }

    /// Without a configuration: Secrets, with the plane's own keys.
    pub fn of_plane(keys: Vec<(String, MasterKey)>) -> Self {
        Self {
            resources: vec![Pattern::parse("secrets")],
            providers: vec![Provider::Keys { cipher: Cipher::AesGcm, keys }, Provider::Identity],
        }
    }
}

/// Reads a configuration from a file.
pub fn load(path: &Path) -> anyhow::Result<Vec<Rule>> {
    let bytes = std::fs::read(path).context("it cannot be read")?;
    // What is wrong with the text is not repeated: it holds keys.
    let value = kplane_schema::parse(&bytes, Format::Yaml)
        .map_err(|_| anyhow::anyhow!("it is not valid YAML"))?
        .value;
    parse(&value)
}

fn parse(value: &Value) -> anyhow::Result<Vec<Rule>> {
    let (version, kind) = (value["apiVersion"].as_str(), value["kind"].as_str());
    if (version, kind) != (Some("apiserver.config.k8s.io/v1"), Some("EncryptionConfiguration")) {
        bail!("it must be an EncryptionConfiguration of apiserver.config.k8s.io/v1");
    }
    let rules: Vec<Rule> = value["resources"]
        .as_array()
        .into_iter()
        .flatten()
        .enumerate()
        .map(|(i, one)| rule(one).with_context(|| format!("resources[{i}]")))
        .collect::<anyhow::Result<_>>()?;
    if rules.is_empty() {
        bail!("resources: it must name at least one resource");
    }
    Ok(rules)
}

fn rule(value: &Value) -> anyhow::Result<Rule> {
    let named = value["resources"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let resources: Vec<Pattern> = named.map(Pattern::parse).collect();
    if resources.is_empty() {
        bail!("resources: it must name at least one resource");
    }
    let providers: Vec<Provider> = value["providers"]
        .as_array()
        .into_iter()
        .flatten()
        .enumerate()
        .map(|(i, one)| provider(one).with_context(|| format!("providers[{i}]")))
        .collect::<anyhow::Result<_>>()?;
    if providers.is_empty() {
        bail!("providers: there must be at least one");
    }
    Ok(Rule { resources, providers })
}

fn provider(value: &Value) -> anyhow::Result<Provider> {
    let fields = value.as_object().context("it must be a map")?;
    let [(name, settings)] = fields.iter().collect::<Vec<_>>()[..] else {
        bail!("it must name exactly one provider");
    };
    match name.as_str() {
        "identity" => Ok(Provider::Identity),
        "aesgcm" => Ok(Provider::Keys { cipher: Cipher::AesGcm, keys: keys(settings, &[16, 24, 32])? }),
        "secretbox" => Ok(Provider::Keys { cipher: Cipher::Secretbox, keys: keys(settings, &[32])? }),
        "kms" => kms(settings),
        "aescbc" => bail!("aescbc is weak and not supported: use aesgcm or secretbox"),
        other => bail!("{other:?} is none of aesgcm, secretbox, kms, identity"),
    }
}

fn keys(settings: &Value, lengths: &[usize]) -> anyhow::Result<Vec<(String, MasterKey)>> {
    let mut out: Vec<(String, MasterKey)> = Vec::new();
    for (i, key) in settings["keys"].as_array().into_iter().flatten().enumerate() {
        let name = key["name"].as_str().unwrap_or("");
        if name.is_empty()
            || name.contains(':')
            || name == PLANE
            || out.iter().any(|(other, _)| other == name)
        {
            bail!(
                "keys[{i}].name: it must be there, be another than the others', hold no colon, and not be {PLANE:?}"
            );
        }
        // What is wrong with a key is said without the key.
        let secret = STANDARD.decode(key["secret"].as_str().unwrap_or("").trim());
        let secret = secret.ok().filter(|secret| lengths.contains(&secret.len()));
        let secret = secret
            .with_context(|| format!("keys[{i}].secret: it must be base64 of one of {lengths:?} bytes"))?;
        out.push((name.to_owned(), MasterKey::new(secret)));
    }
    if out.is_empty() {
        bail!("keys: there must be at least one");
    }
    Ok(out)
}

fn kms(settings: &Value) -> anyhow::Result<Provider> {
    if settings["apiVersion"].as_str().unwrap_or("v2") != "v2" {
        bail!("apiVersion: only v2 is supported");
    }
    let name = settings["name"].as_str().unwrap_or("");
    if name.is_empty() || name.contains(':') {
        bail!("name: it must be there and hold no colon");
    }
    let endpoint = settings["endpoint"].as_str().unwrap_or("");
    let socket = endpoint.strip_prefix("unix://").filter(|socket| !socket.is_empty());
    let socket = socket.with_context(|| format!("endpoint: {endpoint:?} must be unix:// and a path"))?;
    let timeout = match settings["timeout"].as_str() {
        None => Duration::from_secs(3),
        Some(text) => {
            let seconds = text.strip_suffix('s').and_then(|number| number.parse::<f64>().ok());
            let seconds = seconds.filter(|seconds| *seconds > 0.0 && *seconds < 600.0);
            Duration::from_secs_f64(
                seconds.with_context(|| format!("timeout: {text:?} is none, such as 3s"))?,
            )
        }
    };
    Ok(Provider::Kms { name: name.to_owned(), socket: socket.to_owned(), timeout })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(resources: Value) -> anyhow::Result<Vec<Rule>> {
        parse(&json!({
            "apiVersion": "apiserver.config.k8s.io/v1", "kind": "EncryptionConfiguration", "resources": resources,
        }))
    }

    #[test]
    fn resources_are_matched_as_upstream() {
        let key = STANDARD.encode([1; 32]);
        let providers = json!([{"aesgcm": {"keys": [{"name": "a", "secret": key}]}}, {"identity": {}}]);
        let matches = |pattern: &str, group: &str, resource: &str| {
            let rules =
                of(json!([{"resources": [pattern], "providers": providers}])).expect("a configuration");
            rules[0].matches(group, resource)
        };
        assert!(matches("secrets", "", "secrets") && !matches("secrets", "apps", "secrets"));
        assert!(matches("deployments.apps", "apps", "deployments"));
        assert!(matches("*.apps", "apps", "deployments") && !matches("*.apps", "", "pods"));
        assert!(matches("*.", "", "pods") && !matches("*.", "apps", "deployments"));
        assert!(matches("*.*", "", "pods") && matches("*.*", "a.b.c", "things"));
        assert!(matches("pandas.bears.example", "bears.example", "pandas"));
    }

    #[test]
    fn mistakes_are_told_without_the_keys() {
        let told = |provider: Value| {
            let rules = json!([{"resources": ["secrets"], "providers": [provider]}]);
            format!("{:#}", of(rules).expect_err("refused"))
        };
        let short = STANDARD.encode(b"too-short-a-key");
        let text = told(json!({"secretbox": {"keys": [{"name": "a", "secret": short}]}}));
        assert!(
            text.contains("resources[0]: providers[0]: keys[0].secret") && !text.contains(&short),
            "{text}"
        );
        assert!(told(json!({"aescbc": {}})).contains("use aesgcm or secretbox"));
        assert!(told(json!({"identity": {}, "kms": {}})).contains("exactly one"));
        let plane = json!({"name": "plane", "secret": STANDARD.encode([1; 32])});
        assert!(told(json!({"aesgcm": {"keys": [plane]}})).contains("keys[0].name"));
        assert!(told(json!({"kms": {"name": "k", "endpoint": "http://x"}})).contains("unix://"));
        assert!(of(json!([])).is_err());
    }
}
