//! From JSON to the values of rules, by the schema.

use std::collections::HashMap;
use std::sync::Arc;

use base64::Engine;
use chrono::DateTime;
use kplane_machinery::schema::{Schema, SchemaType};
use kube_cel::cel::Value as CelValue;
use kube_cel::cel::objects::{Key, Map};
use serde_json::Value;

use crate::names::escape;

/// A value as rules see it. Of an object's metadata they see the name and generateName only.
pub(crate) fn to_cel(schema: &Schema, value: &Value, whole_object: bool) -> CelValue {
    convert(Some(schema), value, whole_object || schema.embedded_resource)
}

/// A value without a schema.
pub(crate) fn plain_to_cel(value: &Value) -> CelValue {
    convert(None, value, false)
}

fn convert(schema: Option<&Schema>, value: &Value, whole_object: bool) -> CelValue {
    match value {
        Value::Null => CelValue::Null,
        Value::Bool(value) => CelValue::Bool(*value),
        Value::Number(number) => {
            if schema.is_some_and(|s| s.schema_type == SchemaType::Number) {
                CelValue::Float(number.as_f64().unwrap_or(f64::NAN))
            } else if let Some(number) = number.as_i64() {
                CelValue::Int(number)
            } else {
                CelValue::Float(number.as_f64().unwrap_or(f64::NAN))
            }
        }
        Value::String(text) => {
            let format =
                schema.filter(|s| s.schema_type == SchemaType::String).and_then(|s| s.format.as_deref());
            format.and_then(|format| formatted(format, text)).unwrap_or_else(|| text_of(text))
        }
        Value::Array(items) => {
            let of = schema.and_then(|s| s.items.as_deref());
            CelValue::List(Arc::new(
                items.iter().map(|i| convert(of, i, of.is_some_and(|s| s.embedded_resource))).collect(),
            ))
        }
        Value::Object(fields) => {
            let additional = schema.and_then(|s| s.additional.as_deref());
            let mut map: HashMap<Key, CelValue> = HashMap::with_capacity(fields.len());
            for (name, value) in fields {
                if whole_object && name == "metadata" {
                    map.insert(key("metadata"), metadata(value));
                    continue;
                }
                let property = schema.and_then(|s| s.property(name));
                let of = property.map(|p| &*p.schema).or(additional);
                let inner = convert(of, value, of.is_some_and(|s| s.embedded_resource));
                let name = match property {
                    Some(_) => escape(name).unwrap_or_else(|| name.clone()),
                    None => name.clone(),
                };
                map.insert(key(&name), inner);
            }
            CelValue::Map(Map { map: Arc::new(map) })
        }
    }
}

fn key(name: &str) -> Key {
    Key::String(Arc::new(name.to_owned()))
}

fn text_of(text: &str) -> CelValue {
    CelValue::String(Arc::new(text.to_owned()))
}

fn metadata(value: &Value) -> CelValue {
    let mut map = HashMap::new();
    for name in ["name", "generateName"] {
        if let Some(text) = value.get(name).and_then(Value::as_str) {
            map.insert(key(name), text_of(text));
        }
    }
    CelValue::Map(Map { map: Arc::new(map) })
}

/// `None` when it does not have the form its format asks for, which validation tells.
fn formatted(format: &str, text: &str) -> Option<CelValue> {
    match format {
        "date-time" => DateTime::parse_from_rfc3339(text).ok().map(CelValue::Timestamp),
        "date" => DateTime::parse_from_rfc3339(&format!("{text}T00:00:00Z")).ok().map(CelValue::Timestamp),
        "byte" => {
            let bytes = base64::engine::general_purpose::STANDARD.decode(text).ok()?;
            Some(CelValue::Bytes(Arc::new(bytes)))
        }
        "duration" => super::functions::parse_duration(text).map(CelValue::Duration),
        _ => None,
    }
}
