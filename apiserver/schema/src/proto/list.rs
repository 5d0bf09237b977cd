//! A list, written item by item.

use kplane_machinery::GroupVersionKind;
use kplane_machinery::schema::SchemaLink;
use serde::de::DeserializeSeed as _;
use serde_json::Value;

use super::write::{Field, message};
use super::{MAGIC, ProtoError, fail, number, schema_of, type_meta, unwritten, wire};

/// Writes a list of objects that are given as JSON text.
pub struct ListWriter {
    kind: GroupVersionKind,
    item: SchemaLink,
    number: u32,
    raw: Vec<u8>,
}

impl ListWriter {
    /// A list of a kind, with these metadata and room for so many bytes.
    pub fn new(kind: GroupVersionKind, metadata: &Value, size: usize) -> Result<Self, ProtoError> {
        let no_list = || ProtoError(format!("{kind} is no list that has a protobuf form"));
        let schema = schema_of(&kind).ok_or_else(no_list)?;
        let items = schema.property("items").ok_or_else(no_list)?;
        let (item, number) = (items.schema.items.clone().ok_or_else(no_list)?, items.number);
        let mut raw = Vec::with_capacity(size);
        message(&schema, &serde_json::json!({ "metadata": metadata }), &mut raw).map_err(unwritten)?;
        Ok(Self { kind, item, number, raw })
    }

    /// Appends an object.
    pub fn push(&mut self, json: &[u8]) -> Result<(), ProtoError> {
        let (schema, number, out) = (&*self.item, self.number, &mut self.raw);
        let item = Field { schema, number, out, depth: 0, optional: false };
        item.deserialize(&mut serde_json::Deserializer::from_slice(json)).map_err(unwritten)
    }

    /// The list with its envelope.
    pub fn finish(self) -> Result<Vec<u8>, ProtoError> {
        if self.raw.len() > i32::MAX as usize {
            return fail("a message of more than 2 GiB");
        }
        let mut out = Vec::with_capacity(self.raw.len() + 64);
        out.extend_from_slice(MAGIC);
        type_meta(&self.kind, &mut out);
        wire::put_bytes(&mut out, number::RAW, &self.raw);
        Ok(out)
    }
}
