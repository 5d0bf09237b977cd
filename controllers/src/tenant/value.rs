//! Reading and writing the fields of objects.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

/// A text; empty if there is none.
pub fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// A number, if there is one.
pub fn number(value: &Value, pointer: &str) -> Option<i64> {
    value.pointer(pointer).and_then(Value::as_i64)
}

/// A number; zero if there is none.
pub fn count(value: &Value, pointer: &str) -> i64 {
    number(value, pointer).unwrap_or(0)
}

/// A truth; false if there is none.
pub fn flag(value: &Value, pointer: &str) -> bool {
    value.pointer(pointer).and_then(Value::as_bool).unwrap_or(false)
}

/// The items of a list.
pub fn items<'a>(value: &'a Value, pointer: &str) -> &'a [Value] {
    value.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// The name of an object.
pub fn name(object: &Value) -> &str {
    text(object, "/metadata/name")
}

/// The namespace of an object.
pub fn namespace(object: &Value) -> &str {
    text(object, "/metadata/namespace")
}

/// The uid of an object.
pub fn uid(object: &Value) -> &str {
    text(object, "/metadata/uid")
}

/// Whether its deletion has begun.
pub fn is_deleting(object: &Value) -> bool {
    object.pointer("/metadata/deletionTimestamp").is_some_and(|t| !t.is_null())
}

/// An annotation.
pub fn annotation<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    object.pointer("/metadata/annotations")?.get(key)?.as_str()
}

/// A label.
pub fn label<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    object.pointer("/metadata/labels")?.get(key)?.as_str()
}

/// A map in an object, made where it is missing or null.
pub fn map_at<'a>(value: &'a mut Value, path: &[&str]) -> &'a mut Map<String, Value> {
    let mut at = value;
    for step in path {
        if !at.is_object() {
            *at = json!({});
        }
        at = &mut at[*step];
    }
    if !at.is_object() {
        *at = json!({});
    }
    match at {
        Value::Object(map) => map,
        _ => unreachable!("it was just made a map"),
    }
}

/// Sets an annotation; says whether it was another.
pub fn set_annotation(object: &mut Value, key: &str, value: &str) -> bool {
    let annotations = map_at(object, &["metadata", "annotations"]);
    annotations.insert(key.to_owned(), value.into()).as_ref().and_then(Value::as_str) != Some(value)
}

/// Sets a count of a status; one of zero is not written.
pub fn set_count(status: &mut Value, key: &str, count: i64) {
    let map = map_at(status, &[]);
    if count == 0 {
        map.remove(key);
    } else {
        map.insert(key.to_owned(), count.into());
    }
}

/// The owner that manages an object.
pub fn controller_of(object: &Value) -> Option<&Value> {
    items(object, "/metadata/ownerReferences").iter().find(|r| flag(r, "/controller"))
}

/// Whether this owner manages the object.
pub fn is_controlled_by(object: &Value, owner: &Value) -> bool {
    controller_of(object).is_some_and(|r| text(r, "/uid") == uid(owner))
}

/// The reference to the owner that manages an object.
pub fn controller_reference(owner: &Value, api_version: &str, kind: &str) -> Value {
    json!({
        "apiVersion": api_version, "kind": kind, "name": name(owner), "uid": uid(owner),
        "controller": true, "blockOwnerDeletion": true,
    })
}

/// Whether an object has a finalizer.
pub fn has_finalizer(object: &Value, finalizer: &str) -> bool {
    items(object, "/metadata/finalizers").iter().any(|f| f == finalizer)
}

/// A time as the API writes it.
pub fn stamp(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// A time that the API wrote.
pub fn time(value: &Value, pointer: &str) -> Option<Timestamp> {
    value.pointer(pointer)?.as_str()?.parse().ok()
}

/// How long after a time it is; zero if it is not yet.
pub fn elapsed(since: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(since)).unwrap_or_default()
}

/// A condition of a status, by its type.
pub fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    items(object, "/status/conditions").iter().find(|c| text(c, "/type") == kind)
}

/// Whether a condition holds.
pub fn is_true(object: &Value, kind: &str) -> bool {
    condition(object, kind).is_some_and(|c| text(c, "/status") == "True")
}

/// A number, or a share of a total in percent.
pub fn scaled(value: &Value, total: i64, round_up: bool) -> Option<i64> {
    if let Some(number) = value.as_i64() {
        return Some(number);
    }
    let percent: i64 = value.as_str()?.strip_suffix('%')?.parse().ok()?;
    let product = percent.checked_mul(total)?;
    Some(if round_up { (product + 99).div_euclid(100) } else { product.div_euclid(100) })
}

/// JSON with the keys in order, so that equal values are equal texts.
pub fn canonical(value: &Value) -> String {
    fn write(value: &Value, out: &mut String) {
        match value {
            Value::Object(map) => {
                let mut keys: Vec<&String> = map.keys().collect();
                keys.sort();
                out.push('{');
                for (i, key) in keys.into_iter().enumerate() {
                    if i > 0 {
                        out.push(',');
                    }
                    out.push_str(&Value::from(key.as_str()).to_string());
                    out.push(':');
                    write(&map[key], out);
                }
                out.push('}');
            }
            Value::Array(list) => {
                out.push('[');
                for (i, item) in list.iter().enumerate() {
                    if i > 0 {
                        out.push(',');
                    }
                    write(item, out);
                }
                out.push(']');
            }
            other => out.push_str(&other.to_string()),
        }
    }
    let mut out = String::new();
    write(value, &mut out);
    out
}

/// FNV-1, 32 bits, over what came before.
pub fn fnv1(seed: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(seed, |hash, byte| hash.wrapping_mul(16_777_619) ^ u32::from(*byte))
}

/// FNV-1a, 32 bits, over what came before.
pub fn fnv1a(seed: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(seed, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(16_777_619))
}

/// What a hash begins with.
pub const FNV_SEED: u32 = 2_166_136_261;

/// The letters that names are made of: no vowels, and nothing that looks like one.
const SAFE: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// A text as letters that spell no word (`rand.SafeEncodeString`).
pub fn safe_encode(text: &str) -> String {
    text.bytes().map(|byte| char::from(SAFE[usize::from(byte) % SAFE.len()])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_rounded_as_asked() {
        assert_eq!(scaled(&json!("25%"), 10, true), Some(3));
        assert_eq!(scaled(&json!("25%"), 10, false), Some(2));
        assert_eq!(scaled(&json!(4), 10, false), Some(4));
        assert_eq!(scaled(&json!("x"), 10, false), None);
    }

    #[test]
    fn hashes_are_those_of_go() {
        assert_eq!(fnv1(FNV_SEED, b"a"), 0x050c_5d7e);
        assert_eq!(fnv1a(FNV_SEED, b"a"), 0xe40c_292c);
        assert_eq!(safe_encode("0123456789"), "456789bcdf");
    }

    #[test]
    fn keys_are_in_order() {
        assert_eq!(
            canonical(&json!({ "b": [1, { "d": 1, "c": "x" }], "a": null })),
            r#"{"a":null,"b":[1,{"c":"x","d":1}]}"#
        );
    }
}
