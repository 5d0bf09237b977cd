//! How tables show times, selectors and lists (`k8s.io/kubernetes/pkg/printers/internalversion`).

use kplane_machinery::labels;
use kplane_machinery::object::{self, meta_str};
use kplane_machinery::time::{self, Time};
use serde_json::Value;

/// Shown where there is nothing.
pub(crate) const NONE: &str = "<none>";
/// Shown where nothing is known.
pub(crate) const UNKNOWN: &str = "<unknown>";
/// Shown where nothing is set.
pub(crate) const UNSET: &str = "<unset>";

/// `metadata.name` as a cell.
pub(crate) fn name(object: &Value) -> Value {
    object::name(object).into()
}

/// How long an object has been there.
pub(crate) fn age(object: &Value, now: i64) -> Value {
    since(meta_str(object, "creationTimestamp"), now).into()
}

/// How long ago a time was.
pub(crate) fn since(time: &str, now: i64) -> String {
    match epoch(time) {
        Some(then) => duration(now - then),
        None => UNKNOWN.to_owned(),
    }
}

/// A number of seconds in at most two units.
pub(crate) fn duration(seconds: i64) -> String {
    time::human_duration(time::Duration::from_secs(seconds))
}

/// The seconds since 1970 of a time in RFC 3339; `None` for what is none.
pub(crate) fn epoch(time: &str) -> Option<i64> {
    if time.is_empty() { None } else { Time::parse(time).ok().map(Time::unix) }
}

/// A map of labels: `a=b,c=d`, `<none>` when empty.
pub(crate) fn labels(map: Option<&Value>) -> String {
    let pairs: Vec<String> = map
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .map(|(k, v)| format!("{k}={}", v.as_str().unwrap_or("")))
        .collect();
    if pairs.is_empty() { NONE.to_owned() } else { pairs.join(",") }
}

/// A `LabelSelector` as text, `<none>` when there is none or it is empty.
pub(crate) fn selector(selector: Option<&Value>) -> String {
    labels::format_label_selector(selector)
}

/// A whole number at a path, 0 when absent.
pub(crate) fn count(object: &Value, path: &[&str]) -> i64 {
    object::at(object, path).and_then(Value::as_i64).unwrap_or(0)
}

/// A text at a path, or another when it is empty.
pub(crate) fn text_or(object: &Value, path: &[&str], other: &str) -> Value {
    let found = object::str_at(object, path);
    if found.is_empty() { other.into() } else { found.into() }
}

/// A value as text: a number or percentage as it is written.
pub(crate) fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// The short forms of access modes: `RWO,ROX`.
pub(crate) fn access_modes(modes: &[Value]) -> String {
    let has = |mode: &str| modes.iter().any(|m| m.as_str() == Some(mode));
    [
        ("ReadWriteOnce", "RWO"),
        ("ReadOnlyMany", "ROX"),
        ("ReadWriteMany", "RWX"),
        ("ReadWriteOncePod", "RWOP"),
    ]
    .iter()
    .filter(|(long, _)| has(long))
    .map(|(_, short)| *short)
    .collect::<Vec<_>>()
    .join(",")
}

/// The class of a claim or volume: the field, before it the old annotation.
pub(crate) fn storage_class(object: &Value) -> &str {
    let old = object
        .get("metadata")
        .and_then(|m| m.get("annotations"))
        .and_then(|a| a.get("volume.beta.kubernetes.io/storage-class"))
        .and_then(Value::as_str);
    old.unwrap_or_else(|| object::str_at(object, &["spec", "storageClassName"]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn times_become_seconds() {
        assert_eq!(epoch("2026-11-21T05:28:53Z"), Some(1_795_238_933));
        assert_eq!(epoch("2026-01-01T01:00:00.123456+01:00"), Some(1_767_225_600));
        assert_eq!(epoch("soon"), None);
        assert_eq!(since("", 0), UNKNOWN);
    }

    #[test]
    fn selectors_are_written_out() {
        let s = json!({"matchLabels": {"b": "1"}, "matchExpressions": [{"key": "a", "operator": "In", "values": ["y", "x"]}]});
        assert_eq!(selector(Some(&s)), "a in (x,y),b=1");
        assert_eq!(selector(None), NONE);
    }
}
