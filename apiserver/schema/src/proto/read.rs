//! From a message to a value.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kplane_machinery::schema::{Property, Schema};
use kplane_machinery::time::Time;
use serde_json::{Map, Value};

use super::wire::{self, Field};
use super::{MAGIC, MAX_DEPTH, ProtoError, decode_at, fail};
use crate::check::{drops_when_empty, is_empty, zero};
use crate::table::{Shape, shape, whole_or};

/// Reads the fields of a message.
pub(super) fn message(schema: &Schema, bytes: &[u8], depth: usize) -> Result<Value, ProtoError> {
    if depth > MAX_DEPTH {
        return fail("exceeded max depth");
    }
    match shape(schema) {
        Shape::Struct => {
            let mut out = Map::new();
            let fields: BTreeMap<u32, &Property> =
                schema.properties.iter().filter(|p| p.number > 0).map(|p| (p.number, p)).collect();
            members(&fields, 0, 0, bytes, &mut out, depth)?;
            out.retain(|name, value| match schema.property(name) {
                Some(property) => !(value.is_null() || is_empty(value) && drops_when_empty(property)),
                None => true,
            });
            Ok(Value::Object(out))
        }
        Shape::Quantity => {
            let text = only(bytes, 1)?.map_or(Ok(String::new()), Field::text)?;
            Ok(if text.is_empty() { zero(schema) } else { text.into() })
        }
        Shape::IntOrString => {
            let (mut rest, mut is_text, mut number, mut text) = (bytes, false, 0, String::new());
            while let Some((at, field)) = wire::next(&mut rest)? {
                match at {
                    1 => is_text = field.integer()? == 1,
                    2 => number = field.integer()?,
                    3 => text = field.text()?,
                    _ => {}
                }
            }
            Ok(if is_text { text.into() } else { number.into() })
        }
        Shape::Time | Shape::MicroTime => time(matches!(shape(schema), Shape::MicroTime), bytes),
        Shape::Any => any(only(bytes, 1)?.map_or(Ok(&[][..]), Field::bytes)?, depth),
        Shape::SchemaOr(of) => schema_or(schema, of, bytes, depth),
        Shape::List(of) => {
            let mut items = Vec::new();
            let mut rest = bytes;
            while let Some((number, field)) = wire::next(&mut rest)? {
                if number == 1 {
                    items.push(single(of, field, depth)?);
                }
            }
            Ok(Value::Array(items))
        }
        _ => fail("a scalar where a message is expected"),
    }
}

/// The last field of a number.
fn only(bytes: &[u8], wanted: u32) -> Result<Option<Field<'_>>, ProtoError> {
    let (mut rest, mut found) = (bytes, None);
    while let Some((number, field)) = wire::next(&mut rest)? {
        if number == wanted {
            found = Some(field);
        }
    }
    Ok(found)
}

/// Reads the members of a message, or of one embedded in it: `prefix` is its packed number, of `bits` bits.
fn members(
    fields: &BTreeMap<u32, &Property>,
    prefix: u32,
    bits: u32,
    bytes: &[u8],
    out: &mut Map<String, Value>,
    depth: usize,
) -> Result<(), ProtoError> {
    let mut rest = bytes;
    while let Some((number, field)) = wire::next(&mut rest)? {
        if number >= 1 << 10 || bits > 20 {
            continue;
        }
        let packed = prefix | number << bits;
        match fields.get(&packed) {
            Some(property) => member(property, field, out, depth)?,
            None => {
                let below = (1_u64 << (bits + 10)) - 1;
                let embeds =
                    fields.keys().any(|n| *n != packed && u64::from(*n) & below == u64::from(packed));
                if embeds {
                    members(fields, packed, bits + 10, field.bytes()?, out, depth)?;
                }
            }
        }
    }
    Ok(())
}

fn member(
    property: &Property,
    field: Field<'_>,
    out: &mut Map<String, Value>,
    depth: usize,
) -> Result<(), ProtoError> {
    let name = &*property.name;
    match shape(&property.schema) {
        Shape::List(of) => {
            let list = out.entry(name).or_insert_with(|| Value::Array(Vec::new()));
            let Value::Array(items) = list else { return Ok(()) };
            match (shape(of), field) {
                // Numbers may come packed, though Go's own encoder does not pack them.
                (Shape::Int32 | Shape::Int64 | Shape::Boolean, Field::Bytes(mut packed)) => {
                    while !packed.is_empty() {
                        items.push(single(of, Field::Varint(wire::varint(&mut packed)?), depth)?);
                    }
                }
                _ => items.push(single(of, field, depth)?),
            }
        }
        Shape::Map(of) => {
            let (mut rest, mut key, mut value) = (field.bytes()?, String::new(), None);
            while let Some((number, field)) = wire::next(&mut rest)? {
                match number {
                    1 => key = field.text()?,
                    2 => value = Some(single(of, field, depth)?),
                    _ => {}
                }
            }
            let map = out.entry(name).or_insert_with(|| Value::Object(Map::new()));
            if let Value::Object(entries) = map {
                entries.insert(key, value.unwrap_or_else(|| zero(of)));
            }
        }
        _ => {
            let value = single(&property.schema, field, depth)?;
            out.insert(name.to_owned(), value);
        }
    }
    Ok(())
}

fn single(schema: &Schema, field: Field<'_>, depth: usize) -> Result<Value, ProtoError> {
    Ok(match shape(schema) {
        Shape::Text => field.text()?.into(),
        Shape::Bytes => STANDARD.encode(field.bytes()?).into(),
        Shape::Boolean => (field.integer()? != 0).into(),
        // Go truncates what does not fit.
        #[expect(clippy::cast_possible_truncation, reason = "as Go does")]
        Shape::Int32 => (field.integer()? as i32).into(),
        Shape::Int64 => field.integer()?.into(),
        Shape::Float => whole_or(field.float()?),
        _ => message(schema, field.bytes()?, depth + 1)?,
    })
}

fn time(micro: bool, bytes: &[u8]) -> Result<Value, ProtoError> {
    let (mut rest, mut seconds, mut nanos) = (bytes, None, 0);
    while let Some((number, field)) = wire::next(&mut rest)? {
        match number {
            1 => seconds = Some(field.integer()?),
            2 => nanos = field.integer()?,
            _ => {}
        }
    }
    // An empty message is the zero time, which JSON has as null.
    let Some(seconds) = seconds else { return Ok(Value::Null) };
    let time = Time::from_unix(seconds, u32::try_from(nanos.clamp(0, 999_999_999)).unwrap_or(0));
    Ok(if micro { time.micro() } else { time.truncated().to_string() }.into())
}

/// What a `RawExtension` holds: JSON, or an object in an envelope of its own.
fn any(raw: &[u8], depth: usize) -> Result<Value, ProtoError> {
    if raw.is_empty() {
        return Ok(Value::Null);
    }
    if raw.starts_with(MAGIC) {
        return if depth > MAX_DEPTH { fail("exceeded max depth") } else { decode_at(raw, None, depth + 1) };
    }
    serde_json::from_slice(raw).map_err(|e| ProtoError(format!("a raw value that is no JSON: {e}")))
}

/// `JSONSchemaPropsOrBool`, `…OrArray` and `…OrStringArray`.
fn schema_or(schema: &Schema, of: &Schema, bytes: &[u8], depth: usize) -> Result<Value, ProtoError> {
    let name = schema.type_name.as_deref().unwrap_or("");
    let (or_bool, or_text) = (name.ends_with("OrBool"), name.ends_with("OrStringArray"));
    let (mut rest, mut allows, mut one, mut many) = (bytes, false, None, Vec::new());
    while let Some((number, field)) = wire::next(&mut rest)? {
        match number {
            1 if or_bool => allows = field.integer()? != 0,
            2 if or_bool => one = Some(message(of, field.bytes()?, depth + 1)?),
            1 => one = Some(message(of, field.bytes()?, depth + 1)?),
            2 if or_text => many.push(field.text()?.into()),
            2 => many.push(message(of, field.bytes()?, depth + 1)?),
            _ => {}
        }
    }
    Ok(match one {
        Some(one) => one,
        None if or_bool => allows.into(),
        None => Value::Array(many),
    })
}
