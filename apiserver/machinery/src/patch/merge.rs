//! JSON merge patch (RFC 7386), as evanphx/json-patch does it.

use serde_json::Value;

use super::{PatchError, go_json_kind};

/// Applies a merge patch.
pub fn apply(object: &mut Value, patch: Value) -> Result<(), PatchError> {
    if !patch.is_object() {
        return Err(PatchError::BadRequest(format!(
            "error decoding patch: json: cannot unmarshal {} into Go value of type map[string]interface {{}}",
            go_json_kind(&patch)
        )));
    }
    merge(object, patch);
    Ok(())
}

fn merge(target: &mut Value, patch: Value) {
    match (target, patch) {
        (Value::Object(target), Value::Object(patch)) => {
            for (key, value) in patch {
                if value.is_null() {
                    target.remove(&key);
                } else {
                    match target.get_mut(&key).filter(|v| !v.is_null()) {
                        Some(current) => merge(current, value),
                        None => {
                            target.insert(key, pruned(value));
                        }
                    }
                }
            }
        }
        (target, patch) => *target = pruned(patch),
    }
}

/// Without the nulls that would have removed something.
fn pruned(value: Value) -> Value {
    match value {
        Value::Object(map) => Value::Object(
            map.into_iter().filter(|(_, v)| !v.is_null()).map(|(k, v)| (k, pruned(v))).collect(),
        ),
        Value::Array(list) => Value::Array(list.into_iter().map(pruned).collect()),
        other => other,
    }
}

/// The merge patch that makes `to` of `from`; `None` when they are equal. Nulls inside `to` are lost.
pub fn diff(from: &Value, to: &Value) -> Option<Value> {
    if from == to {
        return None;
    }
    let (Value::Object(old), Value::Object(new)) = (from, to) else {
        return Some(to.clone());
    };
    let mut out = serde_json::Map::new();
    for key in old.keys().filter(|k| !new.contains_key(*k)) {
        out.insert(key.clone(), Value::Null);
    }
    for (key, value) in new {
        match old.get(key) {
            Some(before) => out.extend(diff(before, value).map(|d| (key.clone(), d))),
            None => {
                out.insert(key.clone(), value.clone());
            }
        }
    }
    Some(Value::Object(out))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn nulls_remove_and_maps_merge() {
        let mut object = json!({"a": {"b": 1, "c": 2}, "l": [1, 2]});
        apply(&mut object, json!({"a": {"b": null, "d": {"x": null, "y": 1}}, "l": [3]})).unwrap();
        assert_eq!(object, json!({"a": {"c": 2, "d": {"y": 1}}, "l": [3]}));
        assert_eq!(
            apply(&mut object, json!([])).unwrap_err().to_string(),
            "error decoding patch: json: cannot unmarshal array into Go value of type map[string]interface {}"
        );
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![any::<i8>().prop_map(Value::from), "[a-c]{0,2}".prop_map(Value::from)];
        leaf.prop_recursive(3, 16, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
                prop::collection::btree_map("[a-d]", inner, 0..4)
                    .prop_map(|m| Value::Object(m.into_iter().collect())),
            ]
        })
    }

    fn object() -> impl Strategy<Value = Value> {
        prop::collection::btree_map("[a-d]", value(), 0..4)
            .prop_map(|m| Value::Object(m.into_iter().collect()))
    }

    proptest! {
        #[test]
        fn a_difference_applied_gives_the_other(from in object(), to in object()) {
            let mut patched = from.clone();
            if let Some(patch) = diff(&from, &to) {
                apply(&mut patched, patch).unwrap();
            }
            prop_assert_eq!(patched, to);
        }

        #[test]
        fn merging_twice_is_merging_once(object in object(), patch in object()) {
            let mut once = object;
            apply(&mut once, patch.clone()).unwrap();
            let mut twice = once.clone();
            apply(&mut twice, patch).unwrap();
            prop_assert_eq!(once, twice);
        }
    }
}
