//! Lists that are sets or maps: their items must differ, and correspond to those that were there.

use kplane_machinery::field::{ErrorList, FieldError, Path};
use kplane_machinery::schema::{ListType, Schema};
use serde_json::{Map, Value};

/// Tells items that a set or map has twice.
pub(super) fn duplicates(
    schema: &Schema,
    given: &Value,
    old: Option<&Value>,
    at: &Path,
    errors: &mut ErrorList,
) {
    if schema.type_name.is_some() || old == Some(given) {
        return;
    }
    match given {
        Value::Array(items) => {
            match &schema.list_type {
                ListType::Atomic => {}
                ListType::Set => told(items.iter().cloned(), at, errors),
                ListType::Map(keys) => {
                    told(items.iter().map(|item| key_of(schema, item, keys)), at, errors);
                }
            }
            let Some(of) = &schema.items else { return };
            let old = old.and_then(Value::as_array).map(Vec::as_slice);
            for (index, item) in items.iter().enumerate() {
                duplicates(of, item, counterpart(schema, item, old), &at.index(index), errors);
            }
        }
        Value::Object(fields) => {
            for (name, value) in fields {
                let (of, at) = match schema.property(name) {
                    Some(property) => (&property.schema, at.child(name)),
                    None => match &schema.additional {
                        Some(of) => (of, at.key(name)),
                        None => continue,
                    },
                };
                duplicates(of, value, old.and_then(|old| old.get(name)), &at, errors);
            }
        }
        _ => {}
    }
}

fn told(items: impl Iterator<Item = Value>, at: &Path, errors: &mut ErrorList) {
    let mut seen = std::collections::HashSet::new();
    let mut twice = std::collections::HashSet::new();
    for (index, item) in items.enumerate() {
        let text = item.to_string();
        if !seen.insert(text.clone()) && twice.insert(text) {
            errors.push(FieldError::duplicate(&at.index(index), &item));
        }
    }
}

/// The keys of an item of a map, with the defaults of those that are absent.
fn key_of(schema: &Schema, item: &Value, keys: &[std::sync::Arc<str>]) -> Value {
    let mut out = Map::new();
    for key in keys {
        let default = || schema.items.as_ref()?.property(key)?.default.as_ref();
        if let Some(value) = item.get(&**key).or_else(default) {
            out.insert(key.to_string(), value.clone());
        }
    }
    Value::Object(out)
}

/// What an item was before: in a map the one with its keys. Items of other lists are not told apart.
pub(super) fn counterpart<'a>(schema: &Schema, item: &Value, old: Option<&'a [Value]>) -> Option<&'a Value> {
    let old = old?;
    match &schema.list_type {
        ListType::Map(keys) => {
            let key = key_of(schema, item, keys);
            old.iter().find(|other| key_of(schema, other, keys) == key)
        }
        ListType::Set | ListType::Atomic => None,
    }
}
