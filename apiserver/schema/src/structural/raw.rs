//! Reading a schema as it stands in a CustomResourceDefinition.

use serde_json::{Map, Value};

pub(super) type Fields = Map<String, Value>;

pub(super) fn text<'a>(fields: &'a Fields, name: &str) -> &'a str {
    fields.get(name).and_then(Value::as_str).unwrap_or("")
}

pub(super) fn flag(fields: &Fields, name: &str) -> bool {
    fields.get(name).and_then(Value::as_bool).unwrap_or(false)
}

/// Whether a field is set to anything.
pub(super) fn has(fields: &Fields, name: &str) -> bool {
    fields.get(name).is_some_and(|value| !value.is_null())
}

pub(super) fn map<'a>(fields: &'a Fields, name: &str) -> Option<&'a Fields> {
    fields.get(name).and_then(Value::as_object)
}

pub(super) fn list<'a>(fields: &'a Fields, name: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    fields.get(name).and_then(Value::as_array).into_iter().flatten()
}

/// The schemas of `allOf` and its like.
pub(super) fn schemas<'a>(fields: &'a Fields, name: &str) -> impl Iterator<Item = &'a Fields> + use<'a> {
    list(fields, name).filter_map(Value::as_object)
}
