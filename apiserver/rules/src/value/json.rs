//! Between JSON and values.

use std::sync::Arc;

use base64::Engine;
use kplane_machinery::time::{Duration, Time};
use serde_json::{Number, Value as Json, json};

use super::{ATOMIC, Key, List, Map, Special, Text, Value, duration_text};
use crate::check::Type;
use crate::schema::{Decl, Shape};

/// A value as expressions see it. Without a declaration it is what it looks like.
pub(crate) fn from_json<'a>(value: &'a Json, decl: Option<&'a Decl>) -> Value<'a> {
    let shape = decl.map(|decl| &decl.shape);
    match value {
        Json::Null => Value::Null,
        Json::Bool(value) => Value::Bool(*value),
        Json::Number(number) => {
            if matches!(shape, Some(Shape::Scalar(Type::Double))) {
                return Value::Double(number.as_f64().unwrap_or(f64::NAN));
            }
            match number.as_i64() {
                Some(number) => Value::Int(number),
                None => Value::Double(number.as_f64().unwrap_or(f64::NAN)),
            }
        }
        Json::String(text) => match shape {
            Some(Shape::Scalar(of)) => formatted(of, text),
            _ => Value::String(Text::Lent(text)),
        },
        Json::Array(items) => match shape {
            Some(Shape::List(of, kind)) => Value::List(List::Json { items, of: Some(of), kind }),
            _ => Value::List(List::Json { items, of: None, kind: &ATOMIC }),
        },
        Json::Object(fields) => match shape {
            Some(Shape::Object(of)) => Value::Map(Map::Object { fields, of }),
            Some(Shape::Map(of)) => Value::Map(Map::Json { fields, of: Some(of) }),
            _ => Value::Map(Map::Json { fields, of: None }),
        },
    }
}

/// What does not have the form its format asks for, which validation tells, stays a text.
fn formatted<'a>(of: &Type, text: &'a str) -> Value<'a> {
    let found = match of {
        Type::Timestamp if text.len() == 10 => {
            Time::parse(&format!("{text}T00:00:00Z")).ok().map(Value::Timestamp)
        }
        Type::Timestamp => Time::parse(text).ok().map(Value::Timestamp),
        Type::Duration => Duration::parse(text).ok().map(Value::Duration),
        Type::Bytes => {
            let bytes = base64::engine::general_purpose::STANDARD.decode(text).ok();
            bytes.map(|bytes| Value::Bytes(bytes.into()))
        }
        _ => None,
    };
    found.unwrap_or(Value::String(Text::Lent(text)))
}

/// The value in JSON; the error says what has no such form.
pub(crate) fn to_json(value: &Value<'_>) -> Result<Json, String> {
    Ok(match value {
        Value::Null => Json::Null,
        Value::Bool(value) => json!(value),
        Value::Int(value) => json!(value),
        Value::Uint(value) => json!(value),
        Value::Double(value) if value.fract() == 0.0 && value.abs() < 9e15 => json!(*value as i64),
        Value::Double(value) => {
            Json::Number(Number::from_f64(*value).ok_or_else(|| format!("unsupported value: {value}"))?)
        }
        Value::String(text) => json!(&**text),
        Value::Bytes(bytes) => json!(base64::engine::general_purpose::STANDARD.encode(bytes)),
        Value::Duration(value) => json!(duration_text(*value)),
        Value::Timestamp(value) => json!(value.nano()),
        Value::List(list) => Json::Array(list.iter().map(|item| to_json(&item)).collect::<Result<_, _>>()?),
        Value::Map(Map::Json { fields, .. } | Map::Object { fields, .. }) => Json::Object((*fields).clone()),
        Value::Map(Map::Struct { fields, .. }) => {
            let mut out = serde_json::Map::new();
            for (name, value) in fields.iter() {
                out.insert(unescape(name), to_json(value)?);
            }
            Json::Object(out)
        }
        Value::Map(Map::Made(entries)) => {
            let mut out = serde_json::Map::new();
            for (key, value) in entries.iter() {
                let name = match key {
                    Key::String(text) => text.to_string(),
                    Key::Bool(value) => value.to_string(),
                    Key::Int(value) => value.to_string(),
                    Key::Uint(value) => value.to_string(),
                };
                out.insert(name, to_json(value)?);
            }
            Json::Object(out)
        }
        Value::Optional(Some(value)) => to_json(value)?,
        Value::Special(special) => match &**special {
            Special::Quantity(quantity) => json!(quantity.to_string()),
            Special::Ip(address) => json!(address.to_string()),
            Special::Cidr(address, prefix) => json!(format!("{address}/{prefix}")),
            Special::Url(url) => json!(url.text),
            Special::Semver(version) => json!(version.to_string()),
            other => return Err(format!("type conversion error from '{}' to JSON", other.type_name())),
        },
        other => return Err(format!("type conversion error from '{}' to JSON", other.type_name())),
    })
}

/// The name of a field as JSON has it.
fn unescape(name: &str) -> String {
    if let Some(word) = name.strip_prefix("__").and_then(|name| name.strip_suffix("__"))
        && crate::schema::escape(word).as_deref() == Some(name)
    {
        return word.to_owned();
    }
    name.replace("__dot__", ".")
        .replace("__dash__", "-")
        .replace("__slash__", "/")
        .replace("__underscores__", "__")
}

impl<'a> From<Arc<str>> for Value<'a> {
    fn from(text: Arc<str>) -> Self {
        Self::String(Text::Own(text))
    }
}
