//! How tables show times, selectors and lists (`k8s.io/kubernetes/pkg/printers/internalversion`).

use kplane_machinery::object::{self, meta_str};
use serde_json::Value;

use crate::val::{Obj, items, text};

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
    let two = |a: i64, unit: &str, b: i64, small: &str| {
        if b == 0 { format!("{a}{unit}") } else { format!("{a}{unit}{b}{small}") }
    };
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    match seconds {
        s if s < -1 => "<invalid>".to_owned(),
        s if s < 0 => "0s".to_owned(),
        s if s < 120 => format!("{s}s"),
        _ if minutes < 10 => two(minutes, "m", seconds % 60, "s"),
        _ if minutes < 180 => format!("{minutes}m"),
        _ if hours < 8 => two(hours, "h", minutes % 60, "m"),
        _ if hours < 48 => format!("{hours}h"),
        _ if hours < 24 * 8 => two(hours / 24, "d", hours % 24, "h"),
        _ if hours < 24 * 365 * 2 => format!("{}d", hours / 24),
        _ if hours < 24 * 365 * 8 => two(hours / 24 / 365, "y", (hours / 24) % 365, "d"),
        _ => format!("{}y", hours / 24 / 365),
    }
}

/// The seconds since 1970 of a time in RFC 3339; `None` for what is none.
pub(crate) fn epoch(time: &str) -> Option<i64> {
    let number = |range: std::ops::Range<usize>| time.get(range)?.parse::<i64>().ok();
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let (hour, minute, second) = (number(11..13)?, number(14..16)?, number(17..19)?);
    let zone = time.get(19..)?.trim_start_matches(|c: char| c == '.' || c.is_ascii_digit());
    let offset = match zone.as_bytes() {
        [b'Z'] | [b'z'] => 0,
        [sign @ (b'+' | b'-'), ..] => {
            let hours: i64 = zone.get(1..3)?.parse().ok()?;
            let minutes: i64 = zone.get(4..6)?.parse().ok()?;
            let seconds = hours * 3600 + minutes * 60;
            if *sign == b'-' { -seconds } else { seconds }
        }
        _ => return None,
    };
    // Days from the civil calendar, counting years from March so that the leap day is the last.
    let (y, m) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let era = y.div_euclid(400);
    let year_of_era = y - era * 400;
    let day_of_year = (153 * m + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    let days = era * 146_097 + day_of_era - 719_468;
    Some(days * 86_400 + hour * 3600 + minute * 60 + second - offset)
}

/// A map of labels: `a=b,c=d`, `<none>` when empty.
pub(crate) fn labels(labels: Option<&Value>) -> String {
    let pairs: Vec<String> = labels
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .map(|(k, v)| format!("{k}={}", v.as_str().unwrap_or("")))
        .collect();
    if pairs.is_empty() { NONE.to_owned() } else { pairs.join(",") }
}

/// A `LabelSelector` as text, `<none>` when there is none or it is empty.
pub(crate) fn selector(selector: Option<&Value>) -> String {
    let Some(selector) = selector.filter(|s| s.is_object()) else { return NONE.to_owned() };
    let mut parts: Vec<(String, String)> = selector
        .get("matchLabels")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .map(|(k, v)| (k.clone(), format!("{k}={}", v.as_str().unwrap_or(""))))
        .collect();
    for expression in items(selector, "matchExpressions") {
        let key = text(expression, "key");
        let mut values: Vec<&str> = items(expression, "values").iter().filter_map(Value::as_str).collect();
        values.sort_unstable();
        let values = values.join(",");
        let said = match text(expression, "operator") {
            "In" => format!("{key} in ({values})"),
            "NotIn" => format!("{key} notin ({values})"),
            "Exists" => key.to_owned(),
            "DoesNotExist" => format!("!{key}"),
            _ => "<error>".to_owned(),
        };
        parts.push((key.to_owned(), said));
    }
    parts.sort_by(|a, b| a.0.cmp(&b.0));
    let said: Vec<String> = parts.into_iter().map(|(_, said)| said).collect();
    if said.is_empty() { NONE.to_owned() } else { said.join(",") }
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

/// An empty map, for [`Option::unwrap_or`].
pub(crate) fn no_fields() -> &'static Obj {
    static EMPTY: std::sync::OnceLock<Obj> = std::sync::OnceLock::new();
    EMPTY.get_or_init(Obj::new)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn durations_read_as_upstream() {
        for (seconds, shown) in [
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (474, "7m54s"),
            (1560, "26m"),
            (3 * 3600, "3h"),
            (324 * 86_400, "324d"),
            (800 * 86_400, "2y70d"),
        ] {
            assert_eq!(duration(seconds), shown);
        }
    }

    #[test]
    fn times_become_seconds() {
        assert_eq!(epoch("1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(epoch("2026-11-21T05:28:53Z"), Some(1_795_238_933));
        assert_eq!(epoch("2026-01-01T01:00:00.123456+01:00"), Some(1_767_225_600));
        assert_eq!(epoch("soon"), None);
    }

    #[test]
    fn selectors_are_written_out() {
        let s = json!({"matchLabels": {"b": "1"}, "matchExpressions": [{"key": "a", "operator": "In", "values": ["y", "x"]}]});
        assert_eq!(selector(Some(&s)), "a in (x,y),b=1");
        assert_eq!(selector(None), NONE);
    }
}
