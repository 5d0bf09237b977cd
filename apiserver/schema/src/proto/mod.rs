//! Kubernetes protobuf, in and out, by the field numbers of the schema table: no code per kind.
//!
//! An object travels in an envelope: the bytes `k8s\0`, then a `runtime.Unknown` that names the kind and holds the
//! message. Of a custom resource there is no message; asking for one is an error.

mod list;
mod read;
mod text;
pub(crate) mod wire;
mod write;

use std::sync::{Arc, OnceLock};

use kplane_machinery::schema::{Schema, SchemaLink, SchemaType};
use kplane_machinery::{GroupVersion, GroupVersionKind};
use serde_json::Value;

use crate::builtin;
use crate::check::OBJECT_META;
use crate::structural::property;

/// What the body of a protobuf object begins with.
pub const MAGIC: &[u8] = b"k8s\0";

/// Fields of `runtime.Unknown` and `runtime.TypeMeta`.
mod number {
    pub(super) const TYPE_META: u32 = 1;
    pub(super) const RAW: u32 = 2;
    pub(super) const API_VERSION: u32 = 1;
    pub(super) const KIND: u32 = 2;
}

/// Messages nested deeper than this are refused.
const MAX_DEPTH: usize = 128;

pub use list::ListWriter;

/// Why an object could not be written or read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ProtoError(pub(crate) String);

fn fail<T>(why: impl Into<String>) -> Result<T, ProtoError> {
    Err(ProtoError(why.into()))
}

/// Whether objects of a kind can be written and read.
pub fn is_known(gvk: &GroupVersionKind) -> bool {
    schema_of(gvk).is_some()
}

fn schema_of(gvk: &GroupVersionKind) -> Option<SchemaLink> {
    match (&*gvk.group, &*gvk.kind) {
        ("meta.k8s.io", "PartialObjectMetadata") => Some(partial_metadata().0.clone()),
        ("meta.k8s.io", "PartialObjectMetadataList") => Some(partial_metadata().1.clone()),
        // Options belong to every group: a typed client names them in that of the resource.
        (_, "DeleteOptions") => builtin().for_gvk(&GroupVersionKind::new("", "v1", &*gvk.kind)),
        _ => builtin().for_gvk(gvk),
    }
}

/// `PartialObjectMetadata` and its list, which no published document describes.
fn partial_metadata() -> &'static (SchemaLink, SchemaLink) {
    static MADE: OnceLock<(SchemaLink, SchemaLink)> = OnceLock::new();
    MADE.get_or_init(|| {
        let numbered = |name: &str, number: u32, schema: SchemaLink| {
            let mut property = property(name, schema);
            property.number = number;
            property
        };
        let message = |name: &str, properties| {
            let type_name = Some(Arc::from(format!("io.k8s.apimachinery.pkg.apis.meta.v1.{name}")));
            SchemaLink::from(Schema {
                type_name,
                schema_type: SchemaType::Object,
                properties,
                ..Schema::default()
            })
        };
        let meta = |name: &str| builtin().get(name).unwrap_or_else(|| Schema::default().into());
        let one = message("PartialObjectMetadata", vec![numbered("metadata", 1, meta(OBJECT_META))]);
        let items = Schema { schema_type: SchemaType::Array, items: Some(one.clone()), ..Schema::default() };
        let list_meta = meta("io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta");
        let list = message(
            "PartialObjectMetadataList",
            vec![numbered("items", 2, items.into()), numbered("metadata", 1, list_meta)],
        );
        (one, list)
    })
}

/// The kind of an object, as it says itself.
fn kind_of(value: &Value) -> Result<GroupVersionKind, ProtoError> {
    let text = |field: &str| value.get(field).and_then(Value::as_str).unwrap_or("");
    match GroupVersion::parse(text("apiVersion")) {
        Some(gv) => Ok(GroupVersionKind::new(gv.group, gv.version, text("kind"))),
        None => fail(format!("unexpected GroupVersion string: {}", text("apiVersion"))),
    }
}

/// Writes an object with its envelope.
pub fn encode(value: &Value) -> Result<Vec<u8>, ProtoError> {
    let mut out = Vec::new();
    envelope(&kind_of(value)?, &mut out, |schema, out| write::message(schema, value, out))?;
    Ok(out)
}

/// Writes an object of a kind, given as JSON text, with its envelope.
pub fn encode_json(kind: &GroupVersionKind, json: &[u8]) -> Result<Vec<u8>, ProtoError> {
    let mut out = Vec::with_capacity(json.len());
    envelope(kind, &mut out, of_json(json))?;
    Ok(out)
}

/// Writes the fields of a message that is given as JSON text.
fn of_json(json: &[u8]) -> impl FnOnce(&Schema, &mut Vec<u8>) -> Result<(), serde_json::Error> {
    move |schema, out| write::message(schema, &mut serde_json::Deserializer::from_slice(json), out)
}

/// Writes a message, named and wrapped.
fn envelope(
    kind: &GroupVersionKind,
    out: &mut Vec<u8>,
    message: impl FnOnce(&Schema, &mut Vec<u8>) -> Result<(), serde_json::Error>,
) -> Result<(), ProtoError> {
    let Some(schema) = schema_of(kind) else {
        return fail(format!("object {kind} does not implement the protobuf marshalling interface"));
    };
    out.extend_from_slice(MAGIC);
    type_meta(kind, out);
    wire::nested(out, number::RAW, |out| message(&schema, out)).map_err(unwritten)
}

fn unwritten(error: serde_json::Error) -> ProtoError {
    ProtoError(error.to_string())
}

fn type_meta(kind: &GroupVersionKind, out: &mut Vec<u8>) {
    let mut type_meta = Vec::new();
    wire::put_bytes(&mut type_meta, number::API_VERSION, kind.group_version().to_string().as_bytes());
    wire::put_bytes(&mut type_meta, number::KIND, kind.kind.as_bytes());
    wire::put_bytes(out, number::TYPE_META, &type_meta);
}

/// Writes an event of a watch, as a frame: its length in four bytes, then a `WatchEvent` around the object's envelope.
pub fn encode_watch_event(event: &str, object: &Value) -> Result<Vec<u8>, ProtoError> {
    let kind = kind_of(object)?;
    frame(event, &kind, |schema, out| write::message(schema, object, out))
}

/// The same of an object of a kind that is given as JSON text.
pub fn encode_watch_event_json(
    event: &str,
    kind: &GroupVersionKind,
    json: &[u8],
) -> Result<Vec<u8>, ProtoError> {
    frame(event, kind, of_json(json))
}

fn frame(
    event: &str,
    kind: &GroupVersionKind,
    message: impl FnOnce(&Schema, &mut Vec<u8>) -> Result<(), serde_json::Error>,
) -> Result<Vec<u8>, ProtoError> {
    let mut out = vec![0; 4];
    wire::put_bytes(&mut out, 1, event.as_bytes());
    wire::nested(&mut out, 2, |out| wire::nested(out, 1, |out| envelope(kind, out, message)))?;
    let Ok(length) = u32::try_from(out.len() - 4) else { return fail("a frame of more than 4 GiB") };
    if let Some(head) = out.first_chunk_mut::<4>() {
        *head = length.to_be_bytes();
    }
    Ok(out)
}

/// Reads an object. One that does not name its kind is taken for an `expected` one.
pub fn decode(bytes: &[u8], expected: Option<&GroupVersionKind>) -> Result<Value, ProtoError> {
    decode_at(bytes, expected, 0)
}

fn decode_at(bytes: &[u8], expected: Option<&GroupVersionKind>, depth: usize) -> Result<Value, ProtoError> {
    let Some(mut rest) = bytes.strip_prefix(MAGIC) else {
        return fail(
            "provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]",
        );
    };
    let (mut api_version, mut kind, mut raw) = (String::new(), String::new(), &[][..]);
    while let Some((number, field)) = wire::next(&mut rest)? {
        match number {
            number::TYPE_META => {
                let mut type_meta = field.bytes()?;
                while let Some((number, field)) = wire::next(&mut type_meta)? {
                    match number {
                        number::API_VERSION => api_version = field.text()?,
                        number::KIND => kind = field.text()?,
                        _ => {}
                    }
                }
            }
            number::RAW => raw = field.bytes()?,
            _ => {}
        }
    }
    if let Some(expected) = expected {
        if api_version.is_empty() {
            api_version = expected.group_version().to_string();
        }
        if kind.is_empty() {
            kind = expected.kind.to_string();
        }
    }
    let Some(gv) = GroupVersion::parse(&api_version) else {
        return fail(format!("unexpected GroupVersion string: {api_version}"));
    };
    let gvk = GroupVersionKind::new(gv.group, gv.version, kind.as_str());
    let Some(schema) = schema_of(&gvk) else {
        return fail(format!("no kind \"{kind}\" is registered for version \"{api_version}\""));
    };
    let mut value = read::message(&schema, raw, depth)?;
    if let Some(fields) = value.as_object_mut() {
        fields.insert("apiVersion".to_owned(), api_version.into());
        fields.insert("kind".to_owned(), kind.into());
    }
    Ok(value)
}

#[cfg(test)]
mod tests;
