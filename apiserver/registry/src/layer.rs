//! Layers: immutable sets of objects that control planes share, and the parameters that differ between them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use kplane_machinery::time::Time;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::encoded::{Layout, offset};
use crate::keys::uuid;
use crate::{Error, ObjectKey, ResourceKey};

/// The format of a stored layer.
const FORMAT: u32 = 1;
/// How a placeholder in a text of a layer's object begins: `{{kplane.NAME}}`.
const OPEN: &str = "{{kplane.";
const CLOSE: &str = "}}";
/// Behind the name of a placeholder that is a whole text: the value stands without quotes, as a number.
const BARE: &str = ":bare";

/// The SHA-256 of a layer or of parameters: their identity.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ContentHash([u8; 32]);

impl ContentHash {
    pub(crate) fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// Reads 64 hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        if text.len() != 64 || !text.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f')) {
            return None;
        }
        for (i, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(text.get(2 * i..2 * i + 2)?, 16).ok()?;
        }
        Some(Self(bytes))
    }
}

impl fmt::Display for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<ContentHash> for String {
    fn from(hash: ContentHash) -> Self {
        hash.to_string()
    }
}

impl TryFrom<String> for ContentHash {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text).ok_or_else(|| format!("{text:?} is no content hash"))
    }
}

/// An immutable set of objects, identified by its content.
///
/// A text in an object may hold placeholders: `{{kplane.name}}`, `{{kplane.uid}}` and `{{kplane.created}}` are the
/// control plane's; any other name is one of its [`Parameters`]. A text that is nothing but `{{kplane.NAME:bare}}` becomes the
/// value without quotes, so a number. The uid, creationTimestamp and resourceVersion of an object are each
/// control plane's own.
#[derive(Clone, Debug)]
pub struct Layer {
    hash: ContentHash,
    bytes: Vec<u8>,
    objects: usize,
    parameters: BTreeSet<String>,
}

#[derive(Serialize, Deserialize)]
struct Document {
    format: u32,
    epoch: u32,
    objects: Vec<Entry>,
}

#[derive(Serialize, Deserialize)]
struct Entry {
    group: String,
    resource: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    namespace: Option<String>,
    name: String,
    object: Value,
}

impl Layer {
    /// Builds a layer of objects under a schema epoch. Of two objects with one key the later wins.
    pub fn build(epoch: u32, objects: Vec<(ObjectKey, Value)>) -> Result<Self, Error> {
        let sorted: BTreeMap<(String, Arc<str>), Entry> = objects
            .into_iter()
            .map(|(key, object)| {
                let entry = Entry {
                    group: key.resource.group.to_string(),
                    resource: key.resource.resource.to_string(),
                    namespace: key.namespace.as_deref().map(str::to_owned),
                    name: key.name.to_string(),
                    object,
                };
                ((key.resource.tail(), key.rel()), entry)
            })
            .collect();
        let document = Document { format: FORMAT, epoch, objects: sorted.into_values().collect() };
        let bytes = serde_json::to_vec(&document).map_err(|e| Error::Invalid(e.to_string()))?;
        // What could not be read back is refused here, not when somebody reads it.
        let loaded = LoadedLayer::read(&bytes)?;
        let parameters =
            loaded.objects.iter().flat_map(|(.., template)| template.parameters()).map(str::to_owned);
        Ok(Self {
            hash: ContentHash::of(&bytes),
            objects: loaded.objects.len(),
            parameters: parameters.collect(),
            bytes,
        })
    }

    /// Its identity.
    pub fn hash(&self) -> ContentHash {
        self.hash
    }

    /// How many objects it holds.
    pub fn len(&self) -> usize {
        self.objects
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.objects == 0
    }

    /// The parameters that its objects need.
    pub fn parameters(&self) -> &BTreeSet<String> {
        &self.parameters
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// What differs between control planes of the same layers: texts by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parameters {
    /// As they stand within a JSON text.
    escaped: BTreeMap<Box<str>, Box<str>>,
    bytes: Vec<u8>,
}

impl Parameters {
    /// Collects values by name.
    pub fn new<K: Into<String>, V: Into<String>>(
        values: impl IntoIterator<Item = (K, V)>,
    ) -> Result<Self, Error> {
        let values: BTreeMap<String, String> =
            values.into_iter().map(|(k, v)| (k.into(), v.into())).collect();
        let bytes = serde_json::to_vec(&values).map_err(|e| Error::Invalid(e.to_string()))?;
        Self::read(&bytes)
    }

    pub(crate) fn read(bytes: &[u8]) -> Result<Self, Error> {
        let invalid = |e: serde_json::Error| Error::Corrupt(format!("parameters of layers: {e}"));
        let values: BTreeMap<String, String> = serde_json::from_slice(bytes).map_err(invalid)?;
        let mut escaped = BTreeMap::new();
        for (name, value) in values {
            if matches!(name.as_str(), "name" | "uid" | "created") {
                return Err(Error::Invalid(format!("{name:?} is not free as the name of a parameter")));
            }
            let quoted = serde_json::to_string(&value).map_err(invalid)?;
            let inner = quoted.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(&quoted);
            escaped.insert(name.into(), inner.into());
        }
        Ok(Self { escaped, bytes: bytes.to_vec() })
    }

    /// Their identity.
    pub fn hash(&self) -> ContentHash {
        ContentHash::of(&self.bytes)
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.escaped.contains_key(name)
    }

    fn get(&self, name: &str) -> &str {
        self.escaped.get(name).map_or("", |value| value)
    }
}

/// A layer as it is read from.
#[derive(Debug)]
pub(crate) struct LoadedLayer {
    /// By `<group>/<resource>/`, then by the key below it.
    pub objects: Vec<(String, Arc<str>, Arc<Template>)>,
}

impl LoadedLayer {
    pub fn read(bytes: &[u8]) -> Result<Self, Error> {
        let document: Document =
            serde_json::from_slice(bytes).map_err(|e| Error::Corrupt(format!("a layer: {e}")))?;
        if document.format != FORMAT {
            return Err(Error::NewerFormat { found: document.format.into(), supported: FORMAT.into() });
        }
        let mut objects = Vec::with_capacity(document.objects.len());
        for entry in document.objects {
            let resource = ResourceKey::new(entry.group, entry.resource);
            let key = ObjectKey::new(resource, entry.namespace.as_deref(), &entry.name);
            let (tail, rel) = (key.resource.tail(), key.rel());
            let template = Template::new(&entry.object, document.epoch, format!("{tail}{rel}"))?;
            objects.push((tail, rel, Arc::new(template)));
        }
        Ok(Self { objects })
    }
}

/// An object of a layer: text with holes.
#[derive(Debug)]
pub(crate) struct Template {
    text: Box<[u8]>,
    slot: usize,
    metadata: usize,
    holes: Box<[(u32, Hole)]>,
    /// What tells it from the other objects of a control plane, for its uid.
    seed: Box<str>,
    pub epoch: u32,
    pub api_version: Box<str>,
}

#[derive(Debug)]
enum Hole {
    Name,
    Uid,
    Created,
    Parameter(Box<str>),
}

/// What an inherited object takes from its control plane.
#[derive(Debug)]
pub(crate) struct Heir {
    pub template: Arc<Template>,
    pub parameters: Arc<Parameters>,
    pub uid: [u8; 16],
    pub created: i64,
    pub name: Arc<str>,
}

impl Template {
    fn new(object: &Value, epoch: u32, seed: String) -> Result<Self, Error> {
        let layout = Layout::new(object, &["resourceVersion", "uid", "creationTimestamp"])?;
        let json = String::from_utf8(layout.json).map_err(|e| Error::Invalid(e.to_string()))?;
        let mut text = String::with_capacity(json.len());
        let mut holes = Vec::new();
        let mut rest = json.as_str();
        while let Some((before, after)) = rest.split_once(OPEN) {
            let (name, after) = after
                .split_once(CLOSE)
                .ok_or_else(|| Error::Invalid(format!("{seed}: a placeholder has no end")))?;
            let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':');
            if name.is_empty() || !name.chars().all(plain) {
                return Err(Error::Invalid(format!("{seed}: {name:?} is no name of a placeholder")));
            }
            text.push_str(before);
            rest = after;
            let name = match name.strip_suffix(BARE) {
                None => name,
                Some(name) => {
                    let quoted = text.ends_with('"') && rest.starts_with('"');
                    if !quoted {
                        return Err(Error::Invalid(format!("{seed}: {name}{BARE} is not the whole text")));
                    }
                    text.pop();
                    rest = &rest[1..];
                    name
                }
            };
            if text.len() < layout.slot {
                return Err(Error::Invalid(format!("{seed}: a placeholder in its kind or apiVersion")));
            }
            let hole = match name {
                "name" => Hole::Name,
                "uid" => Hole::Uid,
                "created" => Hole::Created,
                other => Hole::Parameter(other.into()),
            };
            holes.push((offset(text.len())?, hole));
        }
        text.push_str(rest);
        Ok(Self {
            text: text.into_bytes().into(),
            slot: layout.slot,
            metadata: layout.metadata,
            holes: holes.into(),
            seed: seed.into(),
            epoch,
            api_version: layout.api_version.into(),
        })
    }

    /// The parameters it needs.
    pub fn parameters(&self) -> impl Iterator<Item = &str> {
        self.holes.iter().filter_map(|(_, hole)| match hole {
            Hole::Parameter(name) => Some(&**name),
            _ => None,
        })
    }

    /// About how long the text will be.
    pub fn len(&self) -> usize {
        self.text.len() + 160 + 64 * self.holes.len()
    }
}

impl Heir {
    /// The uid of the object: that of the control plane and the object's key, hashed.
    pub fn object_uid(&self) -> String {
        let mut digest = Sha256::new();
        digest.update(self.uid);
        digest.update(self.template.seed.as_bytes());
        let digest: [u8; 32] = digest.finalize().into();
        let mut uid = [0; 16];
        uid.copy_from_slice(&digest[..16]);
        // Version 8 (custom), variant 1.
        uid[6] = (uid[6] & 0x0f) | 0x80;
        uid[8] = (uid[8] & 0x3f) | 0x80;
        uuid(uid)
    }

    /// Writes the object, with a resourceVersion or without.
    pub fn write(&self, revision: Option<u64>, untyped: bool, out: &mut Vec<u8>) {
        let template = &self.template;
        let text = &template.text;
        if untyped {
            out.push(b'{');
            out.extend_from_slice(&text[template.metadata..template.slot]);
        } else {
            out.extend_from_slice(&text[..template.slot]);
        }
        let created = Time::from_unix(self.created, 0).to_string();
        out.extend_from_slice(b"\"uid\":\"");
        out.extend_from_slice(self.object_uid().as_bytes());
        out.extend_from_slice(b"\",\"creationTimestamp\":\"");
        out.extend_from_slice(created.as_bytes());
        if let Some(revision) = revision {
            out.extend_from_slice(b"\",\"resourceVersion\":\"");
            out.extend_from_slice(revision.to_string().as_bytes());
        }
        out.push(b'"');
        if text.get(template.slot) != Some(&b'}') {
            out.push(b',');
        }
        let mut at = template.slot;
        for (position, hole) in &template.holes {
            let position = *position as usize;
            out.extend_from_slice(&text[at..position]);
            at = position;
            match hole {
                // A DNS label needs no escaping.
                Hole::Name => out.extend_from_slice(self.name.as_bytes()),
                Hole::Uid => out.extend_from_slice(uuid(self.uid).as_bytes()),
                Hole::Created => out.extend_from_slice(created.as_bytes()),
                Hole::Parameter(name) => out.extend_from_slice(self.parameters.get(name).as_bytes()),
            }
        }
        out.extend_from_slice(&text[at..]);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn heir(object: Value, parameters: Parameters) -> Heir {
        let key = ObjectKey::new(ResourceKey::new("", "services"), Some("default"), "kubernetes");
        let layer = Layer::build(3, vec![(key, object)]).unwrap();
        let loaded = LoadedLayer::read(layer.bytes()).unwrap();
        let (tail, rel, template) = &loaded.objects[0];
        assert_eq!((tail.as_str(), &**rel), ("/services/", "default/kubernetes"));
        Heir {
            template: template.clone(),
            parameters: Arc::new(parameters),
            uid: [1; 16],
            created: 0,
            name: "demo".into(),
        }
    }

    #[test]
    fn placeholders_take_what_differs() {
        let object = json!({
            "kind": "Service", "apiVersion": "v1",
            "metadata": {"name": "kubernetes", "annotations": {"of": "{{kplane.name}} since {{kplane.created}}"}},
            "spec": {"clusterIP": "{{kplane.ip}}", "port": "{{kplane.port:bare}}", "uid": "{{kplane.uid}}"},
        });
        let parameters = Parameters::new([("ip", "10.0.0.1\n\"x\""), ("port", "443")]).unwrap();
        let heir = heir(object, parameters);
        assert_eq!(heir.template.parameters().collect::<Vec<_>>(), ["ip", "port"]);
        let mut json = Vec::new();
        heir.write(Some(9), false, &mut json);
        let read: Value = serde_json::from_slice(&json).unwrap();
        let expected = json!({
            "kind": "Service", "apiVersion": "v1",
            "metadata": {
                "name": "kubernetes", "uid": heir.object_uid(), "creationTimestamp": "1970-01-01T00:00:00Z",
                "resourceVersion": "9", "annotations": {"of": "demo since 1970-01-01T00:00:00Z"},
            },
            "spec": {
                "clusterIP": "10.0.0.1\n\"x\"", "port": 443, "uid": "01010101-0101-0101-0101-010101010101",
            },
        });
        assert_eq!(read, expected);
        json.clear();
        heir.write(None, true, &mut json);
        let untyped: Value = serde_json::from_slice(&json).unwrap();
        assert_eq!(untyped.as_object().unwrap().keys().collect::<Vec<_>>(), ["metadata", "spec"]);
    }

    #[test]
    fn a_layer_is_its_content() {
        let object = |text: &str| json!({"kind": "ConfigMap", "metadata": {}, "data": {"a": text}});
        let key = |name: &str| ObjectKey::new(ResourceKey::new("", "configmaps"), Some("a"), name);
        let one = Layer::build(1, vec![(key("x"), object("1")), (key("y"), object("2"))]).unwrap();
        let other = Layer::build(1, vec![(key("y"), object("2")), (key("x"), object("1"))]).unwrap();
        assert_eq!(one.hash(), other.hash());
        assert_ne!(one.hash(), Layer::build(2, vec![(key("x"), object("1"))]).unwrap().hash());
        assert_eq!(ContentHash::parse(&one.hash().to_string()), Some(one.hash()));
        for broken in ["{{kplane.x", "a{{kplane.x:bare}}"] {
            assert!(Layer::build(1, vec![(key("x"), object(broken))]).is_err(), "{broken}");
        }
        assert!(Parameters::new([("uid", "x")]).is_err());
    }
}
