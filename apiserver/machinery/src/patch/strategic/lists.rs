//! Merging lists by key, and the order of what results.

use serde_json::{Map, Value};

use super::{DIRECTIVE, ORDER_PREFIX, clean, go_print, merge_map, no_merge_key, unknown_directive};
use crate::patch::PatchError;
use crate::schema::Schema;

fn plain(message: impl Into<String>) -> PatchError {
    PatchError::Plain(message.into())
}

/// Whether the elements are maps; they must all be of one kind.
fn elements_are_maps(lists: &[&[Value]]) -> Result<bool, PatchError> {
    let mut first: Option<&Value> = None;
    for value in lists.iter().flat_map(|l| l.iter()) {
        if value.is_array() {
            return Err(PatchError::Unprocessable("lists of lists are not supported".to_owned()));
        }
        match first {
            None => first = Some(value),
            Some(f) if std::mem::discriminant(f) == std::mem::discriminant(value) => {}
            Some(_) => {
                let shown: Vec<String> = lists.iter().map(|l| go_print(&Value::Array(l.to_vec()))).collect();
                return Err(plain(format!("list element types are not identical: [{}]", shown.join(" "))));
            }
        }
    }
    Ok(first.is_some_and(Value::is_object))
}

/// Where an element with the same key, or the same scalar, stands.
fn position(list: &[Value], element: &Value, key: Option<&str>) -> Option<usize> {
    match (key, element) {
        (Some(key), Value::Object(map)) => {
            let wanted = map.get(key)?;
            list.iter().position(|v| v.get(key) == Some(wanted))
        }
        _ => list.iter().position(|v| v == element),
    }
}

/// Merges `patch` into `original`; with `delete`, removes the scalars it names.
pub(super) fn merge(
    original: Vec<Value>,
    patch: Vec<Value>,
    schema: &Schema,
    key: Option<&str>,
    delete: bool,
) -> Result<Value, PatchError> {
    if original.is_empty() && patch.is_empty() {
        return Ok(Value::Array(original));
    }
    if !elements_are_maps(&[&original, &patch])? {
        if delete {
            return Ok(Value::Array(original.into_iter().filter(|v| !patch.contains(v)).collect()));
        }
        let mut merged: Vec<Value> = Vec::with_capacity(original.len() + patch.len());
        for value in original.iter().chain(&patch) {
            if !merged.contains(value) {
                merged.push(value.clone());
            }
        }
        return Ok(Value::Array(order(merged, &patch, &original, None)?));
    }
    let Some(key) = key else {
        return Err(plain("cannot merge lists without merge key for type struct"));
    };
    let (original, patch) = special_elements(original, patch, key)?;
    let item_schema = schema.items.as_deref();
    let mut merged = original.clone();
    for element in &patch {
        let Value::Object(map) = element else {
            continue;
        };
        if !map.contains_key(key) {
            return Err(no_merge_key(map, key));
        }
        match position(&merged, element, Some(key)) {
            Some(i) => {
                let Value::Object(before) = merged[i].take() else {
                    return Err(plain(format!("value for key {i} is not a map.")));
                };
                let schema: &Schema = match item_schema {
                    Some(schema) => schema,
                    None => super::anything(),
                };
                merged[i] = Value::Object(merge_map(before, map.clone(), schema)?);
            }
            None => merged.extend(clean(element.clone())),
        }
    }
    Ok(Value::Array(order(merged, &patch, &original, Some(key))?))
}

/// Carries out and removes the elements that are directives.
fn special_elements(
    mut original: Vec<Value>,
    patch: Vec<Value>,
    key: &str,
) -> Result<(Vec<Value>, Vec<Value>), PatchError> {
    let mut rest = Vec::with_capacity(patch.len());
    let mut replace = false;
    for element in patch {
        let Some(directive) = element.get(DIRECTIVE) else {
            rest.push(element);
            continue;
        };
        let empty = Map::new();
        let map = element.as_object().unwrap_or(&empty);
        match directive.as_str() {
            Some("delete") => match map.get(key) {
                Some(value) => original.retain(|v| v.get(key) != Some(value)),
                None => return Err(no_merge_key(map, key)),
            },
            Some("replace") => replace = true,
            Some("merge") => return Err(plain("merging lists cannot yet be specified in the patch")),
            _ => return Err(unknown_directive(directive, map)),
        }
    }
    if replace {
        let all: Vec<Value> = rest.into_iter().filter_map(clean).collect();
        return Ok((all, Vec::new()));
    }
    Ok((original, rest))
}

/// Refuses a patch whose elements stand in another order than `$setElementOrder` says.
pub(super) fn check_order(patch: &[Value], order: &[Value], key: Option<&str>) -> Result<(), PatchError> {
    if patch.is_empty() || order.is_empty() {
        return Ok(());
    }
    let mut remaining = order.iter();
    for element in patch.iter().filter(|e| e.get(DIRECTIVE).is_none()) {
        let found = match key {
            None => remaining.any(|o| o == element),
            Some(key) => {
                let value_of = |v: &Value| match v {
                    Value::Object(map) => map.get(key).cloned().ok_or_else(|| no_merge_key(map, key)),
                    other => Err(plain(format!(
                        "expected a map[string]interface {{}}, but received a {}",
                        super::go_type(other)
                    ))),
                };
                let wanted = value_of(element)?;
                let mut found = false;
                for candidate in remaining.by_ref() {
                    if value_of(candidate)? == wanted {
                        found = true;
                        break;
                    }
                }
                found
            }
        };
        if !found {
            return Err(plain(format!(
                "The order in patch list:\n{}\n doesn't match {ORDER_PREFIX} list:\n{}\n",
                go_print(&Value::Array(patch.to_vec())),
                go_print(&Value::Array(order.to_vec()))
            )));
        }
    }
    Ok(())
}

/// Puts the elements that `patch_order` names in its order, the others in that of the server, and weaves
/// the two by where the server had them.
pub(super) fn order(
    merged: Vec<Value>,
    patch_order: &[Value],
    server_order: &[Value],
    key: Option<&str>,
) -> Result<Vec<Value>, PatchError> {
    if let Some(key) = key
        && let Some(map) = merged.iter().filter_map(Value::as_object).find(|m| !m.contains_key(key))
    {
        return Err(no_merge_key(map, key));
    }
    let (mut ours, mut theirs): (Vec<Value>, Vec<Value>) =
        merged.into_iter().partition(|v| position(patch_order, v, key).is_some());
    ours.sort_by_key(|v| position(patch_order, v, key));
    theirs.sort_by_key(|v| position(server_order, v, key).unwrap_or(usize::MAX));
    let mut out = Vec::with_capacity(ours.len() + theirs.len());
    let mut theirs = theirs.into_iter().peekable();
    for element in ours {
        let here = position(server_order, &element, key);
        while let Some(other) = theirs.peek() {
            let before = match (position(server_order, other, key), here) {
                (Some(there), Some(here)) => there < here,
                _ => false,
            };
            if !before {
                break;
            }
            out.extend(theirs.next());
        }
        out.push(element);
    }
    out.extend(theirs);
    Ok(out)
}
