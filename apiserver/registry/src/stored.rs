//! An object as it was read: bytes that can be sent as they are.

use std::borrow::Cow;
use std::sync::Arc;

use serde_json::Value;

use crate::Error;
use crate::encoded::{self, Encoded, Form, Header};
use crate::keys::decode_rel;
use crate::layer::Heir;

/// An object of a control plane, as stored or inherited from a layer. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Stored {
    rel: Arc<str>,
    /// The namespace and name, when the key holds them encoded.
    decoded: Option<Arc<(Option<String>, String)>>,
    revision: u64,
    body: Body,
}

#[derive(Clone, Debug)]
enum Body {
    Own { bytes: Arc<[u8]>, header: Header },
    Inherited(Arc<Heir>),
}

impl Stored {
    /// An object from the value of its key; `None` if that is a tombstone.
    pub(crate) fn own(rel: Arc<str>, revision: u64, bytes: Arc<[u8]>) -> Result<Option<Self>, Error> {
        match encoded::read(&bytes)? {
            Form::Tombstone => Ok(None),
            Form::Object(header) => {
                let decoded = decode_rel(&rel)?.map(Arc::new);
                Ok(Some(Self { rel, decoded, revision, body: Body::Own { bytes, header } }))
            }
        }
    }

    pub(crate) fn inherited(rel: Arc<str>, revision: u64, heir: Heir) -> Result<Self, Error> {
        let decoded = decode_rel(&rel)?.map(Arc::new);
        Ok(Self { rel, decoded, revision, body: Body::Inherited(Arc::new(heir)) })
    }

    /// The same object at the same revision with another content: what it is in another version of its kind.
    pub fn with_content(&self, content: Encoded) -> Result<Self, Error> {
        let own = Self::own(self.rel.clone(), self.revision, content.into_bytes()[..].into())?;
        own.ok_or_else(|| Error::Invalid("the content is no object".into()))
    }

    /// The key below the resource.
    pub(crate) fn rel(&self) -> &Arc<str> {
        &self.rel
    }

    /// The object's name.
    pub fn name(&self) -> &str {
        match &self.decoded {
            Some(decoded) => &decoded.1,
            None => self.rel.split_once('/').map_or(&*self.rel, |(_, name)| name),
        }
    }

    /// The object's namespace, if its kind has one.
    pub fn namespace(&self) -> Option<&str> {
        match &self.decoded {
            Some(decoded) => decoded.0.as_deref(),
            None => self.rel.split_once('/').map(|(namespace, _)| namespace),
        }
    }

    /// The revision of its last write, which is its resourceVersion.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// The same object, shown at another revision: what a watch shows of an object that was deleted then.
    pub fn at(&self, revision: u64) -> Self {
        Self { revision, ..self.clone() }
    }

    /// The schema epoch it was stored under.
    pub fn epoch(&self) -> u32 {
        match &self.body {
            Body::Own { header, .. } => header.epoch,
            Body::Inherited(heir) => heir.template.epoch,
        }
    }

    /// The apiVersion it is stored in.
    pub fn api_version(&self) -> &str {
        match &self.body {
            Body::Own { bytes, header } => encoded::api_version(bytes, header),
            Body::Inherited(heir) => &heir.template.api_version,
        }
    }

    /// Whether nobody has written it: it is a layer's.
    pub fn is_inherited(&self) -> bool {
        matches!(self.body, Body::Inherited(_))
    }

    /// About how long its JSON is, and seldom less.
    pub fn len(&self) -> usize {
        match &self.body {
            // The resourceVersion's name, quotes and digits.
            Body::Own { bytes, header } => bytes.len() - header.json + 42,
            Body::Inherited(heir) => heir.template.len(),
        }
    }

    /// Never.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// Writes the object as JSON, with its resourceVersion.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        self.write(Some(self.revision), false, out);
    }

    /// The same without kind and apiVersion, as the items of a list of a built-in kind are.
    pub fn write_json_untyped(&self, out: &mut Vec<u8>) {
        self.write(Some(self.revision), true, out);
    }

    /// The object as JSON without a resourceVersion, without a copy where possible.
    pub fn raw_json(&self) -> Cow<'_, [u8]> {
        match &self.body {
            Body::Own { bytes, header } => Cow::Borrowed(&bytes[header.json..]),
            Body::Inherited(_) => {
                let mut out = Vec::with_capacity(self.len());
                self.write(None, false, &mut out);
                Cow::Owned(out)
            }
        }
    }

    /// The object as a value, with its resourceVersion.
    pub fn to_value(&self) -> Result<Value, Error> {
        let invalid = || Error::Corrupt(format!("the object {} is not valid JSON", self.rel));
        let mut value: Value = serde_json::from_slice(&self.raw_json()).map_err(|_| invalid())?;
        let metadata = value.get_mut("metadata").and_then(Value::as_object_mut).ok_or_else(invalid)?;
        metadata.insert("resourceVersion".into(), self.revision.to_string().into());
        Ok(value)
    }

    fn write(&self, revision: Option<u64>, untyped: bool, out: &mut Vec<u8>) {
        let (bytes, header) = match &self.body {
            Body::Inherited(heir) => return heir.write(revision, untyped, out),
            Body::Own { bytes, header } => (bytes, header),
        };
        let json = &bytes[header.json..];
        if untyped {
            out.push(b'{');
            out.extend_from_slice(&json[header.metadata..header.slot]);
        } else {
            out.extend_from_slice(&json[..header.slot]);
        }
        if let Some(revision) = revision {
            out.extend_from_slice(b"\"resourceVersion\":\"");
            out.extend_from_slice(revision.to_string().as_bytes());
            out.push(b'"');
            if json[header.slot] != b'}' {
                out.push(b',');
            }
        }
        out.extend_from_slice(&json[header.slot..]);
    }
}

/// The same object at the same revision.
impl PartialEq for Stored {
    fn eq(&self, other: &Self) -> bool {
        self.rel == other.rel
            && self.revision == other.revision
            && match (&self.body, &other.body) {
                (Body::Own { bytes: a, .. }, Body::Own { bytes: b, .. }) => a == b,
                (Body::Inherited(a), Body::Inherited(b)) => {
                    Arc::ptr_eq(&a.template, &b.template) && a.uid == b.uid
                }
                _ => false,
            }
    }
}
