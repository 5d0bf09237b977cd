//! The stored form of an object: a small header, and JSON with a slot for the resourceVersion.
//!
//! ```text
//! byte 0      1: an object, 2: a tombstone (and nothing behind it), 3: an object with a mark
//!             (of 3 alone: the 8 bytes of the mark; all that follows is that much further)
//! bytes 1-4   the schema epoch
//! bytes 5-8   where in the JSON the resourceVersion goes
//! bytes 9-12  where in the JSON the metadata begin, behind kind and apiVersion
//! byte 13     the length of the apiVersion, which follows, and behind it the JSON
//! ```
//!
//! The mark is one write's alone. By it a write whose outcome the store could not tell is found again, and is told from
//! another that wrote the same.

use serde_json::{Map, Value};

use crate::Error;

const OBJECT: u8 = 1;
const TOMBSTONE: u8 = 2;
const MARKED: u8 = 3;
const FIXED: usize = 14;
const MARK: usize = 8;

/// The value of a key whose object was deleted although a layer has one.
pub(crate) const TOMBSTONE_VALUE: &[u8] = &[TOMBSTONE];

/// What tells a write from all others.
pub(crate) type Mark = [u8; MARK];

/// An object as it will be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// The stored form behind the room that a mark takes.
    bytes: Vec<u8>,
}

impl Encoded {
    /// Encodes an object under a schema epoch. Its resourceVersion is left out: the store knows it.
    pub fn new(object: &Value, epoch: u32) -> Result<Self, Error> {
        let layout = Layout::new(object, &["resourceVersion"])?;
        let api_version = layout.api_version.as_bytes();
        let length = u8::try_from(api_version.len())
            .map_err(|_| Error::Invalid("the apiVersion is longer than 255 bytes".into()))?;
        let mut bytes = Vec::with_capacity(MARK + FIXED + api_version.len() + layout.json.len());
        bytes.extend_from_slice(&[0; MARK]);
        bytes.push(OBJECT);
        bytes.extend_from_slice(&epoch.to_be_bytes());
        bytes.extend_from_slice(&offset(layout.slot)?.to_be_bytes());
        bytes.extend_from_slice(&offset(layout.metadata)?.to_be_bytes());
        bytes.push(length);
        bytes.extend_from_slice(api_version);
        bytes.extend_from_slice(&layout.json);
        Ok(Self { bytes })
    }

    /// How many bytes will be stored, without a mark.
    pub fn len(&self) -> usize {
        self.bytes.len() - MARK
    }

    /// Never.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// The bytes to store.
    pub(crate) fn into_bytes(self) -> bytes::Bytes {
        bytes::Bytes::from(self.bytes).slice(MARK..)
    }

    /// The bytes to store, with a mark.
    pub(crate) fn into_marked(mut self, mark: Mark) -> bytes::Bytes {
        self.bytes[0] = MARKED;
        self.bytes[1..=MARK].copy_from_slice(&mark);
        self.bytes.into()
    }
}

pub(crate) fn offset(at: usize) -> Result<u32, Error> {
    u32::try_from(at).map_err(|_| Error::Invalid("the object is too large".into()))
}

/// An object as JSON text in which the places that differ from read to read are known.
#[derive(Debug)]
pub(crate) struct Layout {
    pub json: Vec<u8>,
    /// Just inside the metadata.
    pub slot: usize,
    /// Where `"metadata"` begins.
    pub metadata: usize,
    pub api_version: String,
}

impl Layout {
    /// Writes an object, without some fields of its metadata: kind and apiVersion first, as upstream does, then the
    /// metadata, then the rest.
    pub fn new(object: &Value, without: &[&str]) -> Result<Self, Error> {
        let fields = object.as_object().ok_or_else(|| Error::Invalid("an object must be a map".into()))?;
        let empty = Map::new();
        let metadata = match fields.get("metadata") {
            None => &empty,
            Some(Value::Object(metadata)) => metadata,
            Some(_) => return Err(Error::Invalid("the metadata of an object must be a map".into())),
        };
        let mut json = Vec::with_capacity(512);
        json.push(b'{');
        for field in ["kind", "apiVersion"] {
            if let Some(value) = fields.get(field) {
                member(&mut json, field, value)?;
                json.push(b',');
            }
        }
        let start = json.len();
        json.extend_from_slice(b"\"metadata\":{");
        let slot = json.len();
        for (field, value) in metadata.iter().filter(|(field, _)| !without.contains(&field.as_str())) {
            if json.len() > slot {
                json.push(b',');
            }
            member(&mut json, field, value)?;
        }
        json.push(b'}');
        for (field, value) in fields {
            if !matches!(field.as_str(), "kind" | "apiVersion" | "metadata") {
                json.push(b',');
                member(&mut json, field, value)?;
            }
        }
        json.push(b'}');
        let api_version = fields.get("apiVersion").and_then(Value::as_str).unwrap_or("").to_owned();
        Ok(Self { json, slot, metadata: start, api_version })
    }
}

fn member(out: &mut Vec<u8>, field: &str, value: &Value) -> Result<(), Error> {
    let invalid = |error: serde_json::Error| Error::Invalid(error.to_string());
    serde_json::to_writer(&mut *out, field).map_err(invalid)?;
    out.push(b':');
    serde_json::to_writer(out, value).map_err(invalid)
}

/// What a stored value says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub epoch: u32,
    pub slot: usize,
    pub metadata: usize,
    /// Where the JSON begins.
    pub json: usize,
}

/// A stored value.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Object(Header),
    Tombstone,
}

/// Reads the header of a stored value and checks that what it says is within bounds.
pub(crate) fn read(bytes: &[u8]) -> Result<Form, Error> {
    match bytes.first() {
        Some(&(OBJECT | MARKED)) => match header(bytes) {
            Some(header) => Ok(Form::Object(header)),
            None => Err(Error::Corrupt("the header of an object is invalid".into())),
        },
        Some(&TOMBSTONE) => Ok(Form::Tombstone),
        Some(other) => Err(Error::Corrupt(format!("a value has the unknown form {other}"))),
        None => Err(Error::Corrupt("a value is empty".into())),
    }
}

pub(crate) fn header(bytes: &[u8]) -> Option<Header> {
    let fixed = fixed(bytes);
    // Of those that stand last before the apiVersion, and its length.
    let number = |back: usize| {
        let at = fixed - back;
        Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
    };
    let json = fixed + usize::from(*bytes.get(fixed - 1)?);
    let header = Header {
        epoch: number(13)?,
        slot: usize::try_from(number(9)?).ok()?,
        metadata: usize::try_from(number(5)?).ok()?,
        json,
    };
    let text = bytes.get(json..)?;
    let valid = header.metadata < header.slot && header.slot < text.len();
    (valid && std::str::from_utf8(&bytes[fixed..json]).is_ok()).then_some(header)
}

/// How long all that stands before the apiVersion is.
fn fixed(bytes: &[u8]) -> usize {
    if bytes.first() == Some(&MARKED) { MARK + FIXED } else { FIXED }
}

/// The apiVersion in a stored value.
pub(crate) fn api_version<'a>(bytes: &'a [u8], header: &Header) -> &'a str {
    bytes.get(fixed(bytes)..header.json).and_then(|text| std::str::from_utf8(text).ok()).unwrap_or("")
}

/// The mark of a stored value, if it has one.
pub(crate) fn mark(bytes: &[u8]) -> Option<Mark> {
    match bytes.split_first() {
        Some((&MARKED, rest)) => rest.first_chunk().copied(),
        _ => None,
    }
}

/// Whether a stored value is a tombstone.
pub(crate) fn is_tombstone(bytes: &[u8]) -> bool {
    bytes == TOMBSTONE_VALUE
}
