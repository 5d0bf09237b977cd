//! Merging an applied configuration into an object: what the configuration says wins, what it does not
//! say stays.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::set::{Element, FieldPath, path_text};
use super::typed::{Shape, TypeRef, list_element};
use crate::schema::Schema;

/// Merges `config` into `live`.
pub(super) fn merge(live: Option<&Value>, config: Option<&Value>, t: TypeRef<'_>) -> Option<Value> {
    let (live, config) = match (live, config) {
        (Some(live), Some(config)) => (live, config),
        (one, other) => return one.or(other).cloned(),
    };
    let shown = if config.is_null() { live } else { config };
    let shape = t.shape(shown);
    match (&shape, live, config) {
        (Shape::Map, Value::Object(_) | Value::Null, Value::Object(_) | Value::Null)
            if !(live.is_null() && config.is_null()) =>
        {
            let none = Map::new();
            let (live, config) = (live.as_object().unwrap_or(&none), config.as_object().unwrap_or(&none));
            let mut out = Map::new();
            for name in live.keys().chain(config.keys().filter(|k| !live.contains_key(*k))) {
                if let Some(value) = merge(live.get(name), config.get(name), t.field(name).0) {
                    out.insert(name.clone(), value);
                }
            }
            Some(Value::Object(out))
        }
        (Shape::Keyed(_) | Shape::Set, Value::Array(live), Value::Array(config)) => {
            Some(Value::Array(merge_lists(live, config, &shape, t)))
        }
        (Shape::Keyed(_) | Shape::Set, Value::Array(_), Value::Null) => Some(live.clone()),
        _ => Some(config.clone()),
    }
}

/// Merges an apply configuration into an object without regard to who set what, as policies do. What would be replaced
/// as a whole without being named whole, a list or map that is atomic, must not be touched.
pub fn merge_into(object: &Value, config: &Value, schema: &Schema) -> Result<Value, String> {
    let t = TypeRef::of_object(schema);
    let mut config = config.clone();
    for field in ["apiVersion", "kind"] {
        if let (Some(own), Some(fields)) = (object.get(field), config.as_object_mut()) {
            fields.insert(field.to_owned(), own.clone());
        }
    }
    let mut errors = check(&config, t);
    if errors.is_empty() {
        let mut atomic = Vec::new();
        find_atomic(&config, t, &mut Vec::new(), &mut atomic);
        if !atomic.is_empty() {
            errors.push(format!("may not mutate atomic arrays, maps or structs: {}", atomic.join(", ")));
        }
    }
    if let Some(told) = errors.first() {
        return Err(told.clone());
    }
    merge(Some(object), Some(&config), t).ok_or_else(|| "nothing is left of the object".to_owned())
}

fn find_atomic(value: &Value, t: TypeRef<'_>, path: &mut FieldPath, found: &mut Vec<String>) {
    let shape = t.shape(value);
    match (value, &shape) {
        (Value::Object(map), Shape::Map) => {
            for (name, child) in map {
                path.push(Element::Field(name.clone()));
                find_atomic(child, t.field(name).0, path, found);
                path.pop();
            }
        }
        (Value::Array(list), Shape::Keyed(_) | Shape::Set) => {
            for (at, child) in list.iter().enumerate() {
                path.push(list_element(&shape, t.items(), child).unwrap_or(Element::Index(at as i64)));
                find_atomic(child, t.items(), path, found);
                path.pop();
            }
        }
        (Value::Object(_) | Value::Array(_), _) => found.push(path_text(path)),
        _ => {}
    }
}

/// Weaves two lists: the configuration's order holds among what both have, and the object's own elements
/// stay where they were between them.
fn merge_lists(live: &[Value], config: &[Value], shape: &Shape<'_>, t: TypeRef<'_>) -> Vec<Value> {
    let items = t.items();
    // An element that cannot be named is refused before it comes here; the place keeps it apart.
    let name = |list: &[Value]| -> Vec<Element> {
        list.iter()
            .enumerate()
            .map(|(i, v)| list_element(shape, items, v).unwrap_or(Element::Index(i as i64)))
            .collect()
    };
    let (left, right) = (name(live), name(config));
    let in_right: BTreeSet<&Element> = right.iter().collect();
    let find = |list: &'_ [Element], element: &Element| list.iter().position(|e| e == element);
    let mut shared = right.iter().filter(|e| left.contains(e));
    let mut next_shared = shared.next();
    let mut merged: BTreeSet<&Element> = BTreeSet::new();
    let mut out = Vec::with_capacity(live.len().max(config.len()));
    let (mut l, mut r) = (0, 0);
    while l < left.len() || r < right.len() {
        if l < left.len() && r < right.len() {
            let element = &left[l];
            if *element == right[r] {
                merged.insert(&right[r]);
                out.extend(merge(Some(&live[l]), Some(&config[r]), items));
                l += 1;
                r += 1;
                next_shared = shared.next();
                continue;
            }
            if in_right.contains(element) && next_shared.is_some_and(|n| n != element) {
                l += 1;
                continue;
            }
        }
        if l < left.len() {
            let element = &left[l];
            if !in_right.contains(element) {
                out.push(live[l].clone());
                l += 1;
                continue;
            }
            if merged.contains(element) {
                l += 1;
            }
        }
        if r < right.len() {
            let element = &right[r];
            merged.insert(element);
            let before = find(&left, element).map(|i| &live[i]);
            out.extend(merge(before, Some(&config[r]), items));
            r += 1;
            if next_shared == Some(element) {
                next_shared = shared.next();
            }
        }
    }
    out
}

/// What of a configuration does not fit the schema, in upstream's words; empty when it fits.
pub(super) fn check(config: &Value, t: TypeRef<'_>) -> Vec<String> {
    let mut errors = Vec::new();
    check_at(config, t, &mut Vec::new(), &mut errors);
    errors
}

fn check_at(value: &Value, t: TypeRef<'_>, path: &mut FieldPath, errors: &mut Vec<String>) {
    if let Some(expected) = t.mismatch(value) {
        errors.push(format!("{}: {expected}, got {}", path_text(path), go_kind(value)));
        return;
    }
    let shape = t.shape(value);
    match value {
        Value::Object(map) => {
            for (name, child) in map {
                path.push(Element::Field(name.clone()));
                if t.refuses(name) {
                    errors.push(format!("{}: field not declared in schema", path_text(path)));
                } else {
                    check_at(child, t.field(name).0, path, errors);
                }
                path.pop();
            }
        }
        Value::Array(list) => {
            let mut seen: BTreeSet<Element> = BTreeSet::new();
            for (i, child) in list.iter().enumerate() {
                let element = match shape {
                    Shape::Keyed(_) | Shape::Set => match list_element(&shape, t.items(), child) {
                        Ok(element) => element,
                        Err(error) => {
                            errors.push(format!("{}: element {i}: {error}", path_text(path)));
                            return;
                        }
                    },
                    _ => Element::Index(i as i64),
                };
                if !seen.insert(element.clone()) {
                    errors.push(format!("{}: duplicate entries for key {element}", path_text(path)));
                }
                path.push(element);
                check_at(child, t.items(), path, errors);
                path.pop();
            }
        }
        _ => {}
    }
}

fn go_kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(n) if n.is_f64() => "float",
        Value::Number(_) => "int",
        Value::String(_) => "string",
        Value::Array(_) => "list",
        Value::Object(_) => "map",
    }
}
