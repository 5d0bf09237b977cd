//! When values are equal, and which comes first.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::sync::Arc;

use kplane_machinery::schema::ListType;

use super::{List, Map, Special, Value};

/// Whether two values are equal. Values of different types are not; numbers are compared as numbers.
pub(crate) fn equal(a: &Value<'_>, b: &Value<'_>) -> bool {
    match (a, b) {
        (Value::Null, Value::Null) => true,
        (Value::Bool(a), Value::Bool(b)) => a == b,
        (
            Value::Int(_) | Value::Uint(_) | Value::Double(_),
            Value::Int(_) | Value::Uint(_) | Value::Double(_),
        ) => numbers(a, b) == Some(Ordering::Equal),
        (Value::String(a), Value::String(b)) => **a == **b,
        (Value::Bytes(a), Value::Bytes(b)) => a == b,
        (Value::Duration(a), Value::Duration(b)) => a == b,
        (Value::Timestamp(a), Value::Timestamp(b)) => a == b,
        (Value::List(a), Value::List(b)) => lists(a, b),
        (Value::Map(a), Value::Map(b)) => maps(a, b),
        (Value::Optional(a), Value::Optional(b)) => match (a, b) {
            (Some(a), Some(b)) => equal(a, b),
            (None, None) => true,
            _ => false,
        },
        (Value::Type(a), Value::Type(b)) => a == b,
        (Value::Special(a), Value::Special(b)) => specials(a, b),
        _ => false,
    }
}

fn specials(a: &Special, b: &Special) -> bool {
    match (a, b) {
        (Special::Quantity(a), Special::Quantity(b)) => a.cmp(b) == Ordering::Equal,
        (Special::Semver(a), Special::Semver(b)) => a.compare(b) == Ordering::Equal,
        (a, b) => a == b,
    }
}

fn lists(a: &List<'_>, b: &List<'_>) -> bool {
    if a.len() != b.len() {
        return false;
    }
    // One that comes from an object says how they are compared.
    let kind = if *a.kind() == ListType::Atomic { b.kind() } else { a.kind() };
    match kind {
        ListType::Atomic => a.iter().zip(b.iter()).all(|(a, b)| equal(&a, &b)),
        ListType::Set => {
            let sorted = |list: &List<'_>| {
                let mut all: Vec<String> = list.iter().map(|item| canonical(&item)).collect();
                all.sort();
                all
            };
            sorted(a) == sorted(b)
        }
        ListType::Map(keys) => {
            let by_keys: HashMap<String, Value<'_>> =
                b.iter().map(|item| (identity(&item, keys), item)).collect();
            a.iter().all(|item| by_keys.get(&identity(&item, keys)).is_some_and(|other| equal(&item, other)))
        }
    }
}

/// A text that equal values share.
pub(crate) fn canonical(value: &Value<'_>) -> String {
    super::to_json(value).map_or_else(|told| told, |json| json.to_string())
}

/// What an item of a list of type map is about.
pub(crate) fn identity(item: &Value<'_>, keys: &[Arc<str>]) -> String {
    let Value::Map(map) = item else { return canonical(item) };
    let values = keys.iter().map(|key| {
        let escaped = crate::schema::escape(key);
        let found = map.field(escaped.as_deref().unwrap_or(key)).or_else(|| map.field(key));
        found.map_or_else(String::new, |value| canonical(&value))
    });
    values.collect::<Vec<String>>().join("\n")
}

fn maps(a: &Map<'_>, b: &Map<'_>) -> bool {
    if let (Map::Struct { name: a, .. }, Map::Struct { name: b, .. }) = (a, b)
        && a != b
    {
        return false;
    }
    a.len() == b.len()
        && a.keys().iter().all(|key| match (a.get(key), b.get(key)) {
            (Some(a), Some(b)) => equal(&a, &b),
            _ => false,
        })
}

fn numbers(a: &Value<'_>, b: &Value<'_>) -> Option<Ordering> {
    match (a, b) {
        (Value::Int(a), Value::Int(b)) => Some(a.cmp(b)),
        (Value::Uint(a), Value::Uint(b)) => Some(a.cmp(b)),
        (Value::Double(a), Value::Double(b)) => a.partial_cmp(b),
        (Value::Int(a), Value::Uint(b)) => Some(i128::from(*a).cmp(&i128::from(*b))),
        (Value::Uint(a), Value::Int(b)) => Some(i128::from(*a).cmp(&i128::from(*b))),
        (Value::Int(a), Value::Double(b)) => whole_and_double(i128::from(*a), *b),
        (Value::Uint(a), Value::Double(b)) => whole_and_double(i128::from(*a), *b),
        (Value::Double(a), Value::Int(b)) => whole_and_double(i128::from(*b), *a).map(Ordering::reverse),
        (Value::Double(a), Value::Uint(b)) => whole_and_double(i128::from(*b), *a).map(Ordering::reverse),
        _ => None,
    }
}

fn whole_and_double(whole: i128, double: f64) -> Option<Ordering> {
    if double.is_nan() {
        return None;
    }
    if double >= 1e19 {
        return Some(Ordering::Less);
    }
    if double <= -1e19 {
        return Some(Ordering::Greater);
    }
    let floor = double.floor();
    let order = whole.cmp(&(floor as i128));
    Some(if order == Ordering::Equal && floor < double { Ordering::Less } else { order })
}

/// Which of two values of ordered types comes first; `None` when they have no order.
pub(crate) fn compare(a: &Value<'_>, b: &Value<'_>) -> Option<Ordering> {
    match (a, b) {
        (Value::Bool(a), Value::Bool(b)) => Some(a.cmp(b)),
        (Value::String(a), Value::String(b)) => Some((**a).cmp(&**b)),
        (Value::Bytes(a), Value::Bytes(b)) => Some(a.cmp(b)),
        (Value::Duration(a), Value::Duration(b)) => Some(a.cmp(b)),
        (Value::Timestamp(a), Value::Timestamp(b)) => Some(a.cmp(b)),
        _ => numbers(a, b),
    }
}
