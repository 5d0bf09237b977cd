//! Strategic merge patch, driven by a schema (`k8s.io/apimachinery/pkg/util/strategicpatch`).

mod lists;

use serde_json::{Map, Value};

use super::PatchError;
use crate::schema::{PatchStrategy, Schema, SchemaType};

const DIRECTIVE: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const DELETE_PREFIX: &str = "$deleteFromPrimitiveList";
const ORDER_PREFIX: &str = "$setElementOrder";

const BAD_RETAIN_KEYS: &str = "invalid patch format of retainKeys";
const BAD_ORDER: &str = "invalid patch format of setElementOrder list";
const BAD_PRIMITIVE: &str = "invalid patch format of primitive list";

/// Applies a patch to an object of this schema. The object may be partly changed when this fails.
pub fn apply(object: &mut Value, patch: Value, schema: &Schema) -> Result<(), PatchError> {
    let Value::Object(patch) = patch else {
        return Err(PatchError::BadRequest(format!(
            "json: cannot unmarshal {} into Go value of type map[string]interface {{}}",
            super::go_json_kind(&patch)
        )));
    };
    let original = match object.take() {
        Value::Object(map) => map,
        _ => Map::new(),
    };
    *object = Value::Object(merge_map(original, patch, schema)?);
    Ok(())
}

fn bad(message: &str) -> PatchError {
    PatchError::BadRequest(message.to_owned())
}

/// A value as Go's `%v` prints it.
pub fn go_print(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::String(s) => s.clone(),
        Value::Array(list) => format!("[{}]", list.iter().map(go_print).collect::<Vec<_>>().join(" ")),
        Value::Object(map) => format!("map[{}]", go_print_map(map)),
        other => other.to_string(),
    }
}

fn go_print_map(map: &Map<String, Value>) -> String {
    map.iter().map(|(k, v)| format!("{k}:{}", go_print(v))).collect::<Vec<_>>().join(" ")
}

fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "%!s(<nil>)",
        Value::Bool(_) => "bool",
        Value::Number(n) if n.is_f64() => "float64",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}

fn no_merge_key(map: &Map<String, Value>, key: &str) -> PatchError {
    PatchError::Plain(format!("map: map[{}] does not contain declared merge key: {key}", go_print_map(map)))
}

fn unknown_directive(directive: &Value, map: &Map<String, Value>) -> PatchError {
    PatchError::Plain(format!(
        "unknown patch type: {} in map: map[{}]",
        go_print(directive),
        go_print_map(map)
    ))
}

static ANYTHING: std::sync::OnceLock<Schema> = std::sync::OnceLock::new();

fn anything() -> &'static Schema {
    ANYTHING.get_or_init(|| Schema { preserve_unknown: true, ..Schema::default() })
}

/// The schema of a field and how it is patched.
fn lookup<'a>(schema: &'a Schema, key: &str) -> Result<(&'a Schema, PatchStrategy), PatchError> {
    if let Some(property) = schema.property(key) {
        return Ok((&property.schema, property.patch.clone()));
    }
    if let Some(additional) = &schema.additional {
        return Ok((additional, PatchStrategy::default()));
    }
    if schema.preserve_unknown || (schema.properties.is_empty() && schema.schema_type != SchemaType::String) {
        return Ok((anything(), PatchStrategy::default()));
    }
    let name = schema.type_name.as_deref().unwrap_or_default();
    let name = name.rsplit('.').next().unwrap_or_default();
    Err(PatchError::Plain(format!(
        "unable to find api field in struct {name} for the json field {}",
        crate::field::go_quote(key)
    )))
}

/// The field that a directive such as `$setElementOrder/containers` speaks of.
fn directive_field<'a>(key: &'a str, prefix: &str, message: &str) -> Result<&'a str, PatchError> {
    match key.split_once('/') {
        Some((before, field)) if before == prefix => Ok(field),
        _ => Err(bad(message)),
    }
}

fn merge_map(
    mut original: Map<String, Value>,
    mut patch: Map<String, Value>,
    schema: &Schema,
) -> Result<Map<String, Value>, PatchError> {
    if let Some(directive) = patch.get(DIRECTIVE) {
        return match directive.as_str() {
            Some("replace") => {
                patch.remove(DIRECTIVE);
                Ok(without_directives(patch))
            }
            Some("delete") => Ok(Map::new()),
            _ => Err(unknown_directive(directive, &patch)),
        };
    }
    retain_keys(&mut original, &mut patch)?;
    set_element_orders(&mut original, &mut patch, schema)?;
    for (key, value) in patch {
        let deletes = key.starts_with(DELETE_PREFIX);
        let field =
            if deletes { directive_field(&key, DELETE_PREFIX, BAD_PRIMITIVE)?.to_owned() } else { key };
        if value.is_null() {
            original.remove(&field);
            continue;
        }
        let merged = match (original.remove(&field), value) {
            (Some(Value::Object(before)), Value::Object(value)) if !deletes => {
                let (schema, _) = lookup(schema, &field)?;
                Value::Object(merge_map(before, value, schema)?)
            }
            (Some(Value::Array(before)), Value::Array(value)) => {
                let (schema, strategy) = lookup(schema, &field)?;
                if strategy.merge {
                    lists::merge(before, value, schema, strategy.merge_key.as_deref(), deletes)?
                } else {
                    clean(Value::Array(value)).unwrap_or_else(|| Value::Array(Vec::new()))
                }
            }
            (before, value) => {
                if deletes {
                    original.extend(before.map(|b| (field, b)));
                    continue;
                }
                match clean(value) {
                    Some(value) => value,
                    None => continue,
                }
            }
        };
        original.insert(field, merged);
    }
    Ok(original)
}

/// A patch's value taken as it is, without directives and without nulls. `None` if it only deletes.
fn clean(value: Value) -> Option<Value> {
    match value {
        Value::Object(map) => {
            if map.get(DIRECTIVE).and_then(Value::as_str) == Some("delete") {
                return None;
            }
            Some(Value::Object(without_directives(map)))
        }
        Value::Array(list) => Some(Value::Array(
            list.into_iter()
                .filter(|item| {
                    // A bare `$patch: replace` says how to merge the list and is no item of it.
                    !item.as_object().is_some_and(|m| m.len() == 1 && m.contains_key(DIRECTIVE))
                })
                .filter_map(clean)
                .collect(),
        )),
        other => Some(other),
    }
}

fn without_directives(map: Map<String, Value>) -> Map<String, Value> {
    map.into_iter()
        .filter(|(k, v)| {
            !v.is_null()
                && k != DIRECTIVE
                && k != RETAIN_KEYS
                && !k.starts_with(DELETE_PREFIX)
                && !k.starts_with(ORDER_PREFIX)
        })
        .filter_map(|(k, v)| clean(v).map(|v| (k, v)))
        .collect()
}

/// `$retainKeys`: all other fields of the original go.
fn retain_keys(original: &mut Map<String, Value>, patch: &mut Map<String, Value>) -> Result<(), PatchError> {
    let Some(directive) = patch.remove(RETAIN_KEYS) else {
        return Ok(());
    };
    let Value::Array(keys) = directive else {
        return Err(bad(BAD_RETAIN_KEYS));
    };
    let retained = |key: &String| keys.iter().any(|k| k.as_str() == Some(key));
    for (key, value) in patch.iter() {
        if !value.is_null()
            && !key.starts_with(DELETE_PREFIX)
            && !key.starts_with(ORDER_PREFIX)
            && !retained(key)
        {
            return Err(bad(BAD_RETAIN_KEYS));
        }
    }
    original.retain(|key, _| retained(key));
    Ok(())
}

/// `$setElementOrder/field`: merges that field and puts its elements in the order given.
fn set_element_orders(
    original: &mut Map<String, Value>,
    patch: &mut Map<String, Value>,
    schema: &Schema,
) -> Result<(), PatchError> {
    let directives: Vec<String> = patch.keys().filter(|k| k.starts_with(ORDER_PREFIX)).cloned().collect();
    for directive in directives {
        let order = patch.remove(&directive).unwrap_or_default();
        let field = directive_field(&directive, ORDER_PREFIX, BAD_ORDER)?;
        let list = |value: Option<Value>| match value {
            None | Some(Value::Array(_)) => Ok(value.map(|v| match v {
                Value::Array(list) => list,
                _ => Vec::new(),
            })),
            Some(other) => Err(PatchError::Plain(format!(
                "expected a []interface {{}}, but received a {}",
                go_type(&other)
            ))),
        };
        let Some(order) = list(Some(order))? else {
            continue;
        };
        let before = list(original.get(field).cloned())?;
        let given = list(patch.get(field).cloned())?;
        let (item_schema, strategy) = lookup(schema, field)?;
        let key = strategy.merge_key.as_deref();
        if let Some(given) = &given {
            lists::check_order(given, &order, key)?;
        }
        let merged = match (before.clone(), given.clone()) {
            (Some(before), Some(given)) if strategy.merge => {
                match lists::merge(before, given, item_schema, key, false)? {
                    Value::Array(list) => list,
                    _ => Vec::new(),
                }
            }
            (_, Some(given)) => match clean(Value::Array(given)) {
                Some(Value::Array(list)) => list,
                _ => Vec::new(),
            },
            (Some(before), None) => before,
            (None, None) => continue,
        };
        let ordered = lists::order(merged, &order, before.as_deref().unwrap_or_default(), key)?;
        original.insert(field.to_owned(), Value::Array(ordered));
        patch.remove(field);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
