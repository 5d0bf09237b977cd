//! Encryption at rest: what is sealed on its way into the store, as `--encryption-provider-config` says.
//!
//! Without a configuration Secrets are sealed with a key of the plane's own, of [`plane`] in the data folder. Over
//! the embedded store it is made; over etcd, which several servers may share, it is used where it is given. Each control plane has keys of its own, which derive from the configured ones; a value is bound to its place
//! in the store. What was sealed with another key, or not at all, is written anew in the background ([`sweep`]).
//!
//! ```text
//! k8s:enc:aesgcm:v1:<name of the key>:<nonce and ciphertext>
//! k8s:enc:kms:v2:<name of the provider>:<length of the seed><sealed seed><nonce and ciphertext>
//! ```

pub mod config;
mod keys;
mod kms;
mod plane;
pub mod sweep;

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use async_trait::async_trait;
use bytes::Bytes;
use kplane_storage::{Error, Result, Sealer};

use self::config::{PLANE, Provider, Rule};
use self::keys::{Cipher, MasterKey};
use self::kms::Kms;
pub use self::plane::PlaneKeys;

const MARK: &[u8] = b"k8s:enc:";

/// Seals what the rules say.
#[derive(Debug)]
pub struct Encryption {
    /// What all keys begin with.
    base: Vec<u8>,
    rules: Vec<Rule>,
    /// The key management services, by name.
    services: Vec<Arc<Kms>>,
    plane: PlaneKeys,
    /// Whether values that are not sealed are refused where a rule seals without allowing them.
    strict: bool,
}

/// A key of the store, taken apart.
struct Place<'a> {
    /// The key behind what all begin with: what a value is bound to.
    bound: &'a [u8],
    group: &'a str,
    resource: &'a str,
}

impl Encryption {
    /// By a configuration, or the plane's own.
    pub async fn open(config: Option<&Path>, plane: PlaneKeys, prefix: &str) -> anyhow::Result<Arc<Self>> {
        let rules = match config {
            Some(path) => config::load(path)
                .with_context(|| format!("--encryption-provider-config {}", path.display()))?,
            None if plane.all().is_empty() => Vec::new(),
            None => vec![Rule::of_plane(plane.all().to_vec())],
        };
        let mut services: Vec<Arc<Kms>> = Vec::new();
        for provider in rules.iter().flat_map(|rule| &rule.providers) {
            if let Provider::Kms { name, socket, timeout } = provider
                && !services.iter().any(|kms| kms.name == *name)
            {
                services.push(Kms::start(name, socket, *timeout).await?);
            }
        }
        let base = format!("{}/", prefix.trim_end_matches('/')).into_bytes();
        Ok(Arc::new(Self { base, rules, services, plane, strict: config.is_some() }))
    }

    fn place<'a>(&self, key: &'a [u8]) -> Option<Place<'a>> {
        let bound = key.strip_prefix(self.base.as_slice())?;
        let mut parts = std::str::from_utf8(bound).ok()?.splitn(4, '/');
        let vcp = parts.next()?;
        let (group, resource) = (parts.next()?, parts.next()?);
        parts.next()?;
        // The server's own keys hold nothing of a tenant.
        (vcp != ".meta").then_some(Place { bound, group, resource })
    }

    fn rule(&self, place: &Place<'_>) -> Option<&Rule> {
        self.rules.iter().find(|rule| rule.matches(place.group, place.resource))
    }

    fn service(&self, name: &str) -> Option<&Arc<Kms>> {
        self.services.iter().find(|kms| kms.name == name)
    }

    /// Whether key management services seal anything: they may take other keys while the server runs.
    pub fn has_services(&self) -> bool {
        !self.services.is_empty()
    }

    /// A key by the names that stand before a value.
    fn key(&self, cipher: Cipher, name: &str) -> Option<&MasterKey> {
        if cipher == Cipher::AesGcm
            && let Some(key) = self.plane.find(name)
        {
            return Some(key);
        }
        // Whatever resource it is configured for: a rule may have moved.
        self.rules.iter().flat_map(|rule| &rule.providers).find_map(|provider| match provider {
            Provider::Keys { cipher: other, keys } if *other == cipher => {
                keys.iter().find(|(known, _)| known == name).map(|(_, key)| key)
            }
            _ => None,
        })
    }

    /// What tells this configuration from others, for the sweep: what seals which resources. No keys are in it.
    pub fn fingerprint(&self) -> String {
        let rules = self.rules.iter().map(|rule| {
            let how = match rule.first() {
                Some(Provider::Keys { cipher, keys }) => {
                    format!("{}:{}", cipher.name(), keys.first().map_or("", |(name, _)| name))
                }
                Some(Provider::Kms { name, .. }) => {
                    // The service may take another key at any time.
                    let seed = self.service(name).and_then(|kms| kms.seed());
                    format!("kms:{name}:{}", seed.map_or(String::new(), |seed| seed.key_id.clone()))
                }
                Some(Provider::Identity) | None => "identity".to_owned(),
            };
            format!("{}={how}", rule.resources())
        });
        rules.collect::<Vec<_>>().join(";") + &self.plane.fingerprint()
    }
}

fn broken(place: &[u8], why: &str) -> Error {
    Error::Corrupt(format!("the value of {:?} cannot be decrypted: {why}", String::from_utf8_lossy(place)))
}

/// The names before a value, and what is behind them.
fn split(stored: &[u8]) -> Option<(&str, &str, &str, &[u8])> {
    let rest = stored.strip_prefix(MARK)?;
    let mut parts = rest.splitn(4, |byte| *byte == b':');
    let mut text = || std::str::from_utf8(parts.next()?).ok();
    let (provider, version, name) = (text()?, text()?, text()?);
    Some((provider, version, name, parts.next()?))
}

/// The sealed seed before a value of a key management service.
fn split_seed(body: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = body.split_at_checked(2)?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(length.try_into().ok()?)))
}

#[async_trait]
impl Sealer for Encryption {
    fn seals(&self, key: &[u8]) -> bool {
        let first = self.place(key).and_then(|place| self.rule(&place).and_then(Rule::first));
        first.is_some_and(|provider| !matches!(provider, Provider::Identity))
    }

    async fn seal(&self, key: &[u8], value: &[u8]) -> Result<Bytes> {
        let place = self.place(key).ok_or_else(|| Error::Invalid("a key that is not ours".into()))?;
        let failed = |why: String| Error::Invalid(why);
        match self.rule(&place).and_then(Rule::first) {
            Some(Provider::Keys { cipher, keys }) => {
                let (name, key) = keys.first().ok_or_else(|| failed("a provider without keys".into()))?;
                let mut out = format!("k8s:enc:{}:v1:{name}:", cipher.name()).into_bytes();
                out.extend(key.seal(*cipher, place.bound, value).map_err(failed)?);
                Ok(out.into())
            }
            Some(Provider::Kms { name, .. }) => {
                let seed = self.service(name).and_then(|kms| kms.seed());
                let seed =
                    seed.ok_or_else(|| Error::Unavailable(format!("the service {name:?} has no key")))?;
                let length = u16::try_from(seed.sealed.len())
                    .map_err(|_| failed("the sealed seed is too long".into()))?;
                let mut out = format!("k8s:enc:kms:v2:{name}:").into_bytes();
                out.extend(length.to_be_bytes());
                out.extend_from_slice(&seed.sealed);
                out.extend(seed.key().seal(Cipher::AesGcm, place.bound, value).map_err(failed)?);
                Ok(out.into())
            }
            Some(Provider::Identity) | None => Ok(Bytes::copy_from_slice(value)),
        }
    }

    fn is_plain(&self, key: &[u8], stored: &[u8]) -> bool {
        if stored.starts_with(MARK) {
            return false;
        }
        // A value that somebody put there in the clear must not pass for one that was sealed.
        let Some(place) = self.place(key) else { return true };
        let Some(rule) = self.rule(&place).filter(|_| self.strict) else { return true };
        rule.providers.iter().any(|provider| matches!(provider, Provider::Identity))
    }

    async fn open(&self, key: &[u8], stored: &[u8]) -> Result<Bytes> {
        let Some(place) = self.place(key) else { return Err(broken(key, "the key is not ours")) };
        let Some((provider, version, name, body)) = split(stored) else {
            let why = "it is not encrypted; add `identity: {}` to the providers of its resource until all is";
            return Err(broken(place.bound, why));
        };
        let unknown = || {
            let file = match name.starts_with(PLANE) {
                true => "pki/encryption.key",
                false => "the file of --encryption-provider-config",
            };
            let why = format!("there is no key {name:?} of {provider}; add it to {file}");
            broken(place.bound, &why)
        };
        let cipher = match (provider, version) {
            ("aesgcm", "v1") => Cipher::AesGcm,
            ("secretbox", "v1") => Cipher::Secretbox,
            ("kms", "v2") => {
                let kms = self.service(name).ok_or_else(unknown)?;
                let (seed, body) = split_seed(body).ok_or_else(|| broken(place.bound, "it is not whole"))?;
                let key = kms.open(seed).await?;
                return key.open(Cipher::AesGcm, place.bound, body).map_err(|_| wrong(&place, name));
            }
            _ => return Err(unknown()),
        };
        let key = self.key(cipher, name).ok_or_else(unknown)?;
        key.open(cipher, place.bound, body).map_err(|_| wrong(&place, name))
    }

    fn is_stale(&self, key: &[u8], stored: &[u8]) -> bool {
        let Some(place) = self.place(key) else { return false };
        let sealed = split(stored);
        match self.rule(&place).and_then(Rule::first) {
            Some(Provider::Keys { cipher, keys }) => {
                let name = keys.first().map_or("", |(name, _)| name);
                !matches!(sealed, Some((provider, "v1", known, _)) if provider == cipher.name() && known == name)
            }
            Some(Provider::Kms { name, .. }) => match sealed {
                Some(("kms", "v2", known, body)) if known == name => {
                    let seed = split_seed(body).map(|(seed, _)| seed);
                    seed.is_some_and(|seed| self.service(name).is_some_and(|kms| kms.is_stale(seed)))
                }
                _ => true,
            },
            Some(Provider::Identity) | None => sealed.is_some(),
        }
    }
}

fn wrong(place: &Place<'_>, name: &str) -> Error {
    broken(
        place.bound,
        &format!("the key {name:?} is another than the one it was sealed with, or it was moved"),
    )
}

#[cfg(test)]
mod tests;
