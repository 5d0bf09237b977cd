//! JSON patch (RFC 6902), with the extensions and limits of evanphx/json-patch in kube-apiserver.

use serde_json::{Map, Value};

use super::{PatchError, go_json_kind};

/// The most operations a patch may have.
pub const MAX_OPERATIONS: usize = 10_000;
/// The most bytes that copy operations may add: evanphx's `AccumulatedCopySizeLimit` in kube-apiserver.
const MAX_COPIED: usize = 3 * 1024 * 1024;

/// Applies a patch. The object may be partly changed when this fails.
pub fn apply(object: &mut Value, patch: &Value) -> Result<(), PatchError> {
    let Some(operations) = patch.as_array() else {
        if patch.is_null() {
            return Ok(());
        }
        return Err(PatchError::BadRequest(format!(
            "error decoding patch: json: cannot unmarshal {} into Go value of type []handlers.jsonPatchOp",
            go_json_kind(patch)
        )));
    };
    if let Some(other) = operations.iter().find(|o| !o.is_object()) {
        return Err(PatchError::BadRequest(format!(
            "error decoding patch: json: cannot unmarshal {} into Go value of type handlers.jsonPatchOp",
            go_json_kind(other)
        )));
    }
    if operations.len() > MAX_OPERATIONS {
        return Err(PatchError::TooLarge(format!(
            "The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {}",
            operations.len()
        )));
    }
    let mut copied = 0;
    for operation in operations {
        apply_one(object, operation, &mut copied).map_err(PatchError::Unprocessable)?;
    }
    Ok(())
}

fn apply_one(object: &mut Value, operation: &Value, copied: &mut usize) -> Result<(), String> {
    let text = |name: &str| {
        operation
            .get(name)
            .and_then(Value::as_str)
            .ok_or_else(|| format!("operation does not have a {name}: missing value"))
    };
    let kind = operation.get("op").and_then(Value::as_str).unwrap_or("unknown");
    let value = || operation.get("value").cloned().unwrap_or(Value::Null);
    match kind {
        "add" => add(object, text("path")?, value(), "add"),
        "remove" => remove(object, text("path")?, "remove").map(drop),
        "replace" => replace(object, text("path")?, value()),
        "test" => test(object, text("path")?, operation.get("value").unwrap_or(&Value::Null)),
        "move" => {
            let moved = remove(object, text("from")?, "move")?;
            add(object, text("path")?, moved, "move")
        }
        "copy" => {
            let from = text("from")?;
            let value =
                get(object, from).cloned().ok_or_else(|| missing("copy", &format!("from path: {from}")))?;
            *copied += value.to_string().len();
            if *copied > MAX_COPIED {
                return Err(format!(
                    "Unable to copy, the accumulated size increase of copy is {copied}, exceeding the limit {MAX_COPIED}"
                ));
            }
            add(object, text("path")?, value, "copy")
        }
        other => Err(format!("Unexpected kind: {other}")),
    }
}

fn missing(kind: &str, what: &str) -> String {
    format!("{kind} operation does not apply: doc is missing {what}: missing value")
}

fn unescape(token: &str) -> String {
    token.replace("~1", "/").replace("~0", "~")
}

/// The last token of a pointer and the tokens before it. `None` for the whole document.
fn split(pointer: &str) -> Option<(Vec<String>, String)> {
    let mut tokens: Vec<String> = pointer.strip_prefix('/')?.split('/').map(unescape).collect();
    let last = tokens.pop()?;
    Some((tokens, last))
}

/// An index into a list of `length`; negative ones count from the end.
fn index(token: &str, length: usize) -> Option<usize> {
    let i: i64 = token.parse().ok()?;
    let i = if i < 0 { i + i64::try_from(length).ok()? } else { i };
    usize::try_from(i).ok()
}

fn step<'a>(value: &'a Value, token: &str) -> Option<&'a Value> {
    match value {
        Value::Object(map) => map.get(token),
        Value::Array(list) => list.get(index(token, list.len())?),
        _ => None,
    }
}

fn get<'a>(object: &'a Value, pointer: &str) -> Option<&'a Value> {
    if pointer.is_empty() {
        return Some(object);
    }
    let (parents, last) = split(pointer)?;
    let parent = parents.iter().try_fold(object, |value, token| step(value, token))?;
    step(parent, &last)
}

enum Container<'a> {
    Map(&'a mut Map<String, Value>),
    List(&'a mut Vec<Value>),
}

fn container<'a>(object: &'a mut Value, pointer: &str) -> Option<(Container<'a>, String)> {
    let (parents, last) = split(pointer)?;
    let mut value = object;
    for token in &parents {
        value = match value {
            Value::Object(map) => map.get_mut(token)?,
            Value::Array(list) => {
                let i = index(token, list.len())?;
                list.get_mut(i)?
            }
            _ => return None,
        };
    }
    match value {
        Value::Object(map) => Some((Container::Map(map), last)),
        Value::Array(list) => Some((Container::List(list), last)),
        _ => None,
    }
}

fn add(object: &mut Value, pointer: &str, value: Value, kind: &str) -> Result<(), String> {
    let (container, key) =
        container(object, pointer).ok_or_else(|| missing(kind, &format!("path: \"{pointer}\"")))?;
    match container {
        Container::Map(map) => {
            map.insert(key, value);
        }
        Container::List(list) => {
            if key == "-" {
                list.push(value);
                return Ok(());
            }
            // One past the end may be given, and so counts for a negative index.
            let i = index(&key, list.len() + 1)
                .filter(|i| *i <= list.len())
                .ok_or_else(|| format!("Unable to access invalid index: {key}: invalid index referenced"))?;
            list.insert(i, value);
        }
    }
    Ok(())
}

fn remove(object: &mut Value, pointer: &str, kind: &str) -> Result<Value, String> {
    let (container, key) =
        container(object, pointer).ok_or_else(|| missing(kind, &format!("path: \"{pointer}\"")))?;
    match container {
        Container::Map(map) => {
            map.remove(&key).ok_or_else(|| format!("Unable to remove nonexistent key: {key}: missing value"))
        }
        Container::List(list) => match index(&key, list.len()).filter(|i| *i < list.len()) {
            Some(i) => Ok(list.remove(i)),
            None => Err(format!("Unable to access invalid index: {key}: invalid index referenced")),
        },
    }
}

fn replace(object: &mut Value, pointer: &str, value: Value) -> Result<(), String> {
    if pointer.is_empty() {
        if !value.is_object() && !value.is_array() {
            return Err("replace operation hit invalid target: invalid state detected".to_owned());
        }
        *object = value;
        return Ok(());
    }
    let (container, key) =
        container(object, pointer).ok_or_else(|| missing("replace", &format!("path: {pointer}")))?;
    let slot = match container {
        Container::Map(map) => map.get_mut(&key),
        Container::List(list) => index(&key, list.len()).and_then(|i| list.get_mut(i)),
    };
    *slot.ok_or_else(|| missing("replace", &format!("key: {pointer}")))? = value;
    Ok(())
}

fn test(object: &Value, pointer: &str, value: &Value) -> Result<(), String> {
    let found = get(object, pointer);
    if found.unwrap_or(&Value::Null) == value {
        return Ok(());
    }
    Err(format!("testing value {pointer} failed: test failed"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn patched(object: Value, patch: Value) -> Result<Value, PatchError> {
        let mut object = object;
        apply(&mut object, &patch).map(|()| object)
    }

    #[test]
    fn operations_do_what_the_rfc_says() {
        for (object, patch, result) in [
            (json!({"a": 1}), json!([{"op": "add", "path": "/b", "value": 2}]), json!({"a": 1, "b": 2})),
            (
                json!({"l": [1, 3]}),
                json!([{"op": "add", "path": "/l/1", "value": 2}]),
                json!({"l": [1, 2, 3]}),
            ),
            (json!({"l": [1]}), json!([{"op": "add", "path": "/l/-", "value": 2}]), json!({"l": [1, 2]})),
            (json!({"l": [1, 2]}), json!([{"op": "remove", "path": "/l/-1"}]), json!({"l": [1]})),
            (json!({"a": 1}), json!([{"op": "remove", "path": "/a"}]), json!({})),
            (
                json!({"a/b": 1}),
                json!([{"op": "replace", "path": "/a~1b", "value": null}]),
                json!({"a/b": null}),
            ),
            (
                json!({"a": {"x": 1}}),
                json!([{"op": "move", "from": "/a/x", "path": "/y"}]),
                json!({"a": {}, "y": 1}),
            ),
            (json!({"a": 1}), json!([{"op": "copy", "from": "/a", "path": "/b"}]), json!({"a": 1, "b": 1})),
            (json!({"a": 1}), json!([{"op": "test", "path": "/z", "value": null}]), json!({"a": 1})),
        ] {
            assert_eq!(patched(object, patch.clone()), Ok(result), "{patch}");
        }
    }

    #[test]
    fn what_does_not_apply_is_refused() {
        for patch in [
            json!([{"op": "test", "path": "/a", "value": 2}]),
            json!([{"op": "remove", "path": "/zzz"}]),
            json!([{"op": "replace", "path": "/zzz", "value": 1}]),
            json!([{"op": "add", "path": "/x/y", "value": 1}]),
            json!([{"op": "nope", "path": "/a"}]),
            json!([{"op": "remove"}]),
        ] {
            let error = patched(json!({"a": 1}), patch.clone()).unwrap_err();
            assert!(matches!(error, PatchError::Unprocessable(_)), "{patch}: {error:?}");
        }
        assert!(matches!(patched(json!({}), json!({})), Err(PatchError::BadRequest(_))));
        let many: Vec<Value> = vec![json!({"op": "test", "path": "/z"}); MAX_OPERATIONS + 1];
        assert!(matches!(patched(json!({}), many.into()), Err(PatchError::TooLarge(_))));
    }
}
