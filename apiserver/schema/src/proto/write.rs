//! From a value to a message.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kplane_machinery::schema::{Property, Schema};
use kplane_machinery::time::Time;
use serde_json::Value;

use super::wire::{put_bytes, put_float, put_integer};
use super::{MAX_DEPTH, ProtoError, fail};
use crate::table::{Shape, shape};

/// Appends the fields of a message.
pub(super) fn message(
    schema: &Schema,
    value: &Value,
    out: &mut Vec<u8>,
    depth: usize,
) -> Result<(), ProtoError> {
    if depth > MAX_DEPTH {
        return fail("exceeded max depth");
    }
    match shape(schema) {
        Shape::Struct => {
            let Value::Object(given) = value else { return fail(mismatch(schema, value)) };
            let mut fields: Vec<(u32, &Property, &Value)> = Vec::with_capacity(given.len());
            for property in &schema.properties {
                match given.get(&*property.name) {
                    None | Some(Value::Null) => {}
                    Some(value) if property.number > 0 => fields.push((property.number, property, value)),
                    Some(_) => {}
                }
            }
            members(&mut fields, out, depth)
        }
        Shape::Quantity => {
            match value {
                Value::String(text) => put_bytes(out, 1, text.as_bytes()),
                other => put_bytes(out, 1, other.to_string().as_bytes()),
            }
            Ok(())
        }
        Shape::IntOrString => {
            match value {
                Value::String(text) => {
                    put_integer(out, 1, 1);
                    put_integer(out, 2, 0);
                    put_bytes(out, 3, text.as_bytes());
                }
                other => {
                    put_integer(out, 1, 0);
                    put_integer(out, 2, other.as_i64().unwrap_or(0));
                    put_bytes(out, 3, b"");
                }
            }
            Ok(())
        }
        Shape::Time | Shape::MicroTime => {
            let Value::String(text) = value else { return fail(mismatch(schema, value)) };
            let time = Time::parse(text).map_err(ProtoError)?;
            put_integer(out, 1, time.unix());
            put_integer(out, 2, i64::from(time.subsec_nanos()));
            Ok(())
        }
        Shape::Any => {
            put_bytes(out, 1, value.to_string().as_bytes());
            Ok(())
        }
        Shape::SchemaOr(of) => schema_or(schema, of, value, out, depth),
        // A list as the value of a map is a message around it.
        Shape::List(of) => list(of, 1, value, out, depth),
        _ => fail(mismatch(schema, value)),
    }
}

/// Fields by their packed numbers: those embedded in one message stand in it together.
fn members(
    fields: &mut [(u32, &Property, &Value)],
    out: &mut Vec<u8>,
    depth: usize,
) -> Result<(), ProtoError> {
    fields.sort_by_key(|(number, ..)| (number & 0x3ff, *number));
    let mut rest = fields;
    while let Some(&mut (number, property, value)) = rest.first_mut() {
        let outer = number & 0x3ff;
        if number >> 10 == 0 {
            field(&property.schema, outer, value, out, depth)?;
            rest = rest.get_mut(1..).unwrap_or_default();
            continue;
        }
        let end = rest.iter().position(|(n, ..)| n & 0x3ff != outer).unwrap_or(rest.len());
        let (embedded, after) = rest.split_at_mut(end);
        embedded.iter_mut().for_each(|(number, ..)| *number >>= 10);
        let mut inner = Vec::new();
        members(embedded, &mut inner, depth + 1)?;
        put_bytes(out, outer, &inner);
        rest = after;
    }
    Ok(())
}

fn field(
    schema: &Schema,
    number: u32,
    value: &Value,
    out: &mut Vec<u8>,
    depth: usize,
) -> Result<(), ProtoError> {
    let wrong = || ProtoError(mismatch(schema, value));
    match shape(schema) {
        Shape::Text => put_bytes(out, number, value.as_str().ok_or_else(wrong)?.as_bytes()),
        Shape::Bytes => {
            let text = value.as_str().ok_or_else(wrong)?;
            put_bytes(out, number, &STANDARD.decode(text).map_err(|e| ProtoError(e.to_string()))?);
        }
        Shape::Boolean => put_integer(out, number, i64::from(value.as_bool().ok_or_else(wrong)?)),
        Shape::Int32 | Shape::Int64 => put_integer(out, number, value.as_i64().ok_or_else(wrong)?),
        Shape::Float => put_float(out, number, value.as_f64().ok_or_else(wrong)?),
        Shape::List(of) => list(of, number, value, out, depth)?,
        Shape::Map(of) => {
            for (name, value) in value.as_object().ok_or_else(wrong)? {
                let mut entry = Vec::new();
                put_bytes(&mut entry, 1, name.as_bytes());
                match shape(of) {
                    Shape::List(items) => {
                        let mut inner = Vec::new();
                        list(items, 1, value, &mut inner, depth + 1)?;
                        put_bytes(&mut entry, 2, &inner);
                    }
                    _ if value.is_null() => {}
                    _ => field(of, 2, value, &mut entry, depth + 1)?,
                }
                put_bytes(out, number, &entry);
            }
        }
        _ => {
            let mut inner = Vec::new();
            message(schema, value, &mut inner, depth + 1)?;
            put_bytes(out, number, &inner);
        }
    }
    Ok(())
}

fn list(of: &Schema, number: u32, value: &Value, out: &mut Vec<u8>, depth: usize) -> Result<(), ProtoError> {
    match value {
        Value::Null => {}
        Value::Array(items) => {
            for item in items {
                field(of, number, item, out, depth)?;
            }
        }
        other => return fail(format!("a list is expected, not {other}")),
    }
    Ok(())
}

/// `JSONSchemaPropsOrBool`, `…OrArray` and `…OrStringArray`.
fn schema_or(
    schema: &Schema,
    of: &Schema,
    value: &Value,
    out: &mut Vec<u8>,
    depth: usize,
) -> Result<(), ProtoError> {
    let or_bool = schema.type_name.as_deref().is_some_and(|name| name.ends_with("OrBool"));
    match value {
        Value::Bool(allows) => put_integer(out, 1, i64::from(*allows)),
        Value::Object(_) => {
            if or_bool {
                put_integer(out, 1, 1);
            }
            field(of, if or_bool { 2 } else { 1 }, value, out, depth)?;
        }
        Value::Array(items) => {
            for item in items {
                match item {
                    Value::String(text) => put_bytes(out, 2, text.as_bytes()),
                    schema => field(of, 2, schema, out, depth)?,
                }
            }
        }
        other => return fail(mismatch(schema, other)),
    }
    Ok(())
}

fn mismatch(schema: &Schema, value: &Value) -> String {
    let name = schema.type_name.as_deref().unwrap_or("a scalar");
    format!("the value {value} cannot be written as {name}")
}
