//! The operators and conversions of the language.

use std::cmp::Ordering;
use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use kplane_machinery::time::{Duration, Time};

use super::{Cx, Outcome, Registry, Stop, failed, fits, no_overload};
use crate::value::{List, Map, Text, Value, canonical, compare, double_text, duration_text, equal, identity};

pub(super) fn declare(d: &mut Registry) {
    d.add("_==_", "equals: (A, A) -> bool", |_, args| match args {
        [a, b] => Ok(Value::Bool(equal(a, b))),
        _ => no_overload(),
    });
    d.add("_!=_", "not_equals: (A, A) -> bool", |_, args| match args {
        [a, b] => Ok(Value::Bool(!equal(a, b))),
        _ => no_overload(),
    });
    // The evaluator decides these itself; they are declared for the checker.
    d.add("_&&_", "logical_and: (bool, bool) -> bool", |_, _| no_overload());
    d.add("_||_", "logical_or: (bool, bool) -> bool", |_, _| no_overload());
    d.add("_?_:_", "conditional: (bool, A, A) -> A", |_, _| no_overload());
    d.add("@not_strictly_false", "not_strictly_false: (bool) -> bool", |_, _| no_overload());
    d.add("_?._", "select_optional_field: (dyn, string) -> optional(dyn)", |_, _| no_overload());
    d.add(
        "cel.@mapInsert",
        "@mapInsert_map_key_value: (map(K, V), K, V) -> map(K, V); @mapInsert_map_map: (map(K, V), map(K, V)) -> map(K, V)",
        |_, _| no_overload(),
    );
    d.add("!_", "logical_not: (bool) -> bool", |_, args| match args {
        [Value::Bool(value)] => Ok(Value::Bool(!value)),
        _ => no_overload(),
    });
    orders(d);
    arithmetic(d);
    d.add("@in", "in_list: (A, list(A)) -> bool; in_map: (A, map(A, B)) -> bool", |_, args| match args {
        [wanted, Value::List(list)] => Ok(Value::Bool(list.iter().any(|item| equal(wanted, &item)))),
        [wanted, Value::Map(map)] => Ok(Value::Bool(map.get(wanted).is_some())),
        _ => no_overload(),
    });
    d.add(
        "_[_]",
        "index_list: (list(A), int) -> A; index_map: (map(A, B), A) -> B; optional_list_index_int: (optional(list(V)), int) -> optional(V); optional_map_index_value: (optional(map(K, V)), K) -> optional(V)",
        |_, args| match args {
            [value, key] => index(value, key),
            _ => no_overload(),
        },
    );
    d.add(
        "size",
        "size_bytes: (bytes) -> int; bytes_size: bytes.() -> int; size_list: (list(A)) -> int; list_size: list(A).() -> int; size_map: (map(A, B)) -> int; map_size: map(A, B).() -> int; size_string: (string) -> int; string_size: string.() -> int",
        |_, args| match args {
            [value @ (Value::Bytes(_) | Value::List(_) | Value::Map(_) | Value::String(_))] => {
                Ok(Value::Int(value.size() as i64))
            }
            _ => no_overload(),
        },
    );
    d.add("type", "type: (A) -> type(A)", |_, args| match args {
        [value] => Ok(Value::Type(value.type_name().into())),
        _ => no_overload(),
    });
    d.add("dyn", "to_dyn: (A) -> dyn", |_, args| match args {
        [value] => Ok(value.clone()),
        _ => no_overload(),
    });
    conversions(d);
}

fn orders(d: &mut Registry) {
    const WAYS: [(&str, &str); 4] = [
        (
            "_<_",
            "less_bool: (bool, bool) -> bool; less_int64: (int, int) -> bool; less_int64_double: (int, double) -> bool; less_int64_uint64: (int, uint) -> bool; less_uint64: (uint, uint) -> bool; less_uint64_double: (uint, double) -> bool; less_uint64_int64: (uint, int) -> bool; less_double: (double, double) -> bool; less_double_int64: (double, int) -> bool; less_double_uint64: (double, uint) -> bool; less_string: (string, string) -> bool; less_bytes: (bytes, bytes) -> bool; less_timestamp: (timestamp, timestamp) -> bool; less_duration: (duration, duration) -> bool",
        ),
        (
            "_<=_",
            "less_equals_bool: (bool, bool) -> bool; less_equals_int64: (int, int) -> bool; less_equals_int64_double: (int, double) -> bool; less_equals_int64_uint64: (int, uint) -> bool; less_equals_uint64: (uint, uint) -> bool; less_equals_uint64_double: (uint, double) -> bool; less_equals_uint64_int64: (uint, int) -> bool; less_equals_double: (double, double) -> bool; less_equals_double_int64: (double, int) -> bool; less_equals_double_uint64: (double, uint) -> bool; less_equals_string: (string, string) -> bool; less_equals_bytes: (bytes, bytes) -> bool; less_equals_timestamp: (timestamp, timestamp) -> bool; less_equals_duration: (duration, duration) -> bool",
        ),
        (
            "_>_",
            "greater_bool: (bool, bool) -> bool; greater_int64: (int, int) -> bool; greater_int64_double: (int, double) -> bool; greater_int64_uint64: (int, uint) -> bool; greater_uint64: (uint, uint) -> bool; greater_uint64_double: (uint, double) -> bool; greater_uint64_int64: (uint, int) -> bool; greater_double: (double, double) -> bool; greater_double_int64: (double, int) -> bool; greater_double_uint64: (double, uint) -> bool; greater_string: (string, string) -> bool; greater_bytes: (bytes, bytes) -> bool; greater_timestamp: (timestamp, timestamp) -> bool; greater_duration: (duration, duration) -> bool",
        ),
        (
            "_>=_",
            "greater_equals_bool: (bool, bool) -> bool; greater_equals_int64: (int, int) -> bool; greater_equals_int64_double: (int, double) -> bool; greater_equals_int64_uint64: (int, uint) -> bool; greater_equals_uint64: (uint, uint) -> bool; greater_equals_uint64_double: (uint, double) -> bool; greater_equals_uint64_int64: (uint, int) -> bool; greater_equals_double: (double, double) -> bool; greater_equals_double_int64: (double, int) -> bool; greater_equals_double_uint64: (double, uint) -> bool; greater_equals_string: (string, string) -> bool; greater_equals_bytes: (bytes, bytes) -> bool; greater_equals_timestamp: (timestamp, timestamp) -> bool; greater_equals_duration: (duration, duration) -> bool",
        ),
    ];
    fn order(args: &[Value<'_>]) -> Result<Option<Ordering>, Stop> {
        let [a, b] = args else { return no_overload() };
        match compare(a, b) {
            Some(order) => Ok(Some(order)),
            // What is not a number has no order among numbers.
            None if matches!(a, Value::Double(_)) || matches!(b, Value::Double(_)) => {
                let number = |v: &Value<'_>| matches!(v, Value::Int(_) | Value::Uint(_) | Value::Double(_));
                if number(a) && number(b) { Ok(None) } else { no_overload() }
            }
            None => no_overload(),
        }
    }
    d.add(WAYS[0].0, WAYS[0].1, |_, args| Ok(Value::Bool(order(args)? == Some(Ordering::Less))));
    d.add(WAYS[1].0, WAYS[1].1, |_, args| {
        Ok(Value::Bool(matches!(order(args)?, Some(Ordering::Less | Ordering::Equal))))
    });
    d.add(WAYS[2].0, WAYS[2].1, |_, args| Ok(Value::Bool(order(args)? == Some(Ordering::Greater))));
    d.add(WAYS[3].0, WAYS[3].1, |_, args| {
        Ok(Value::Bool(matches!(order(args)?, Some(Ordering::Greater | Ordering::Equal))))
    });
}

fn over<'a, T>(result: Option<T>, wrap: fn(T) -> Value<'a>, of: &str) -> Outcome<'a> {
    match result {
        Some(value) => Ok(wrap(value)),
        None => failed(format!("{of} overflow")),
    }
}

fn arithmetic(d: &mut Registry) {
    d.add(
        "_+_",
        "add_int64: (int, int) -> int; add_uint64: (uint, uint) -> uint; add_double: (double, double) -> double; add_string: (string, string) -> string; add_bytes: (bytes, bytes) -> bytes; add_list: (list(A), list(A)) -> list(A); add_duration_duration: (duration, duration) -> duration; add_duration_timestamp: (duration, timestamp) -> timestamp; add_timestamp_duration: (timestamp, duration) -> timestamp",
        add,
    );
    d.add(
        "_-_",
        "subtract_int64: (int, int) -> int; subtract_uint64: (uint, uint) -> uint; subtract_double: (double, double) -> double; subtract_duration_duration: (duration, duration) -> duration; subtract_timestamp_duration: (timestamp, duration) -> timestamp; subtract_timestamp_timestamp: (timestamp, timestamp) -> duration",
        |_, args| match args {
            [Value::Int(a), Value::Int(b)] => over(a.checked_sub(*b), Value::Int, "integer"),
            [Value::Uint(a), Value::Uint(b)] => over(a.checked_sub(*b), Value::Uint, "unsigned integer"),
            [Value::Double(a), Value::Double(b)] => Ok(Value::Double(a - b)),
            [Value::Duration(a), Value::Duration(b)] => {
                over(a.0.checked_sub(b.0).map(Duration), Value::Duration, "duration")
            }
            [Value::Timestamp(a), Value::Duration(b)] => later(*a, b.0.checked_neg()),
            [Value::Timestamp(a), Value::Timestamp(b)] => {
                let seconds = i128::from(a.unix()) - i128::from(b.unix());
                let nanos = i128::from(a.subsec_nanos()) - i128::from(b.subsec_nanos());
                let whole = i64::try_from(seconds * 1_000_000_000 + nanos).ok();
                over(whole.map(Duration), Value::Duration, "duration")
            }
            _ => no_overload(),
        },
    );
    d.add(
        "_*_",
        "multiply_int64: (int, int) -> int; multiply_uint64: (uint, uint) -> uint; multiply_double: (double, double) -> double",
        |_, args| match args {
            [Value::Int(a), Value::Int(b)] => over(a.checked_mul(*b), Value::Int, "integer"),
            [Value::Uint(a), Value::Uint(b)] => over(a.checked_mul(*b), Value::Uint, "unsigned integer"),
            [Value::Double(a), Value::Double(b)] => Ok(Value::Double(a * b)),
            _ => no_overload(),
        },
    );
    d.add(
        "_/_",
        "divide_int64: (int, int) -> int; divide_uint64: (uint, uint) -> uint; divide_double: (double, double) -> double",
        |_, args| match args {
            [Value::Int(_), Value::Int(0)] | [Value::Uint(_), Value::Uint(0)] => failed("division by zero"),
            [Value::Int(a), Value::Int(b)] => over(a.checked_div(*b), Value::Int, "integer"),
            [Value::Uint(a), Value::Uint(b)] => Ok(Value::Uint(a / b)),
            [Value::Double(a), Value::Double(b)] => Ok(Value::Double(a / b)),
            _ => no_overload(),
        },
    );
    d.add(
        "_%_",
        "modulo_int64: (int, int) -> int; modulo_uint64: (uint, uint) -> uint",
        |_, args| match args {
            [Value::Int(_), Value::Int(0)] | [Value::Uint(_), Value::Uint(0)] => failed("modulus by zero"),
            [Value::Int(a), Value::Int(b)] => over(a.checked_rem(*b), Value::Int, "integer"),
            [Value::Uint(a), Value::Uint(b)] => Ok(Value::Uint(a % b)),
            _ => no_overload(),
        },
    );
    d.add("-_", "negate_int64: (int) -> int; negate_double: (double) -> double", |_, args| match args {
        [Value::Int(value)] => over(value.checked_neg(), Value::Int, "integer"),
        [Value::Double(value)] => Ok(Value::Double(-value)),
        [Value::Duration(value)] => over(value.0.checked_neg().map(Duration), Value::Duration, "duration"),
        _ => no_overload(),
    });
}

fn add<'a>(_: &Cx<'_>, args: &[Value<'a>]) -> Outcome<'a> {
    match args {
        [Value::Int(a), Value::Int(b)] => over(a.checked_add(*b), Value::Int, "integer"),
        [Value::Uint(a), Value::Uint(b)] => over(a.checked_add(*b), Value::Uint, "unsigned integer"),
        [Value::Double(a), Value::Double(b)] => Ok(Value::Double(a + b)),
        [Value::String(a), Value::String(b)] => {
            fits(a.len().checked_add(b.len()))?;
            Ok(Value::from(format!("{}{}", &**a, &**b)))
        }
        [Value::Bytes(a), Value::Bytes(b)] => {
            fits(a.len().checked_add(b.len()))?;
            Ok(Value::Bytes([&**a, &**b].concat().into()))
        }
        [Value::List(a), Value::List(b)] => {
            fits(a.len().checked_add(b.len()))?;
            Ok(Value::List(joined(a, b)))
        }
        [Value::Duration(a), Value::Duration(b)] => {
            over(a.0.checked_add(b.0).map(Duration), Value::Duration, "duration")
        }
        [Value::Timestamp(time), Value::Duration(span)] | [Value::Duration(span), Value::Timestamp(time)] => {
            later(*time, Some(span.0))
        }
        _ => no_overload(),
    }
}

/// One list behind the other; of a set what is new, of a list by keys what replaces its like.
fn joined<'a>(a: &List<'a>, b: &List<'a>) -> List<'a> {
    use kplane_machinery::schema::ListType;
    let mut items = a.to_vec();
    match a.kind() {
        ListType::Atomic => items.extend(b.iter()),
        ListType::Set => {
            let mut there: HashSet<String> = items.iter().map(canonical).collect();
            items.extend(b.iter().filter(|item| there.insert(canonical(item))));
        }
        ListType::Map(keys) => {
            let mut places: HashMap<String, usize> =
                items.iter().enumerate().map(|(at, item)| (identity(item, keys), at)).collect();
            for item in b.iter() {
                match places.entry(identity(&item, keys)) {
                    Entry::Occupied(at) => items[*at.get()] = item,
                    Entry::Vacant(free) => {
                        free.insert(items.len());
                        items.push(item);
                    }
                }
            }
        }
    }
    List::Made { items: Arc::new(items), kind: a.kind() }
}

const FIRST: i64 = -62_135_596_800;
const LAST: i64 = 253_402_300_799;

fn later<'a>(time: Time, by: Option<i64>) -> Outcome<'a> {
    let moved = by.map(|by| time.add(Duration(by)));
    over(moved.filter(|time| (FIRST..=LAST).contains(&time.unix())), Value::Timestamp, "timestamp")
}

/// The item of a list or the value of a key.
pub(crate) fn index<'a>(value: &Value<'a>, key: &Value<'_>) -> Outcome<'a> {
    match value {
        Value::Optional(None) => Ok(Value::none()),
        Value::Optional(Some(inner)) => optional_index(inner, key),
        Value::List(list) => {
            let Some(at) = position(key) else {
                return failed(format!("unsupported index type '{}' in list", key.type_name()));
            };
            match usize::try_from(at).ok().and_then(|at| list.get(at)) {
                Some(item) => Ok(item),
                None => failed(format!("index out of bounds: {at}")),
            }
        }
        Value::Map(map) => match map.get(key) {
            Some(found) => Ok(found),
            None => failed(format!("no such key: {}", shown(key))),
        },
        _ => no_overload(),
    }
}

fn position(key: &Value<'_>) -> Option<i64> {
    match key {
        Value::Int(at) => Some(*at),
        Value::Uint(at) => i64::try_from(*at).ok(),
        Value::Double(at) if at.fract() == 0.0 && at.abs() < 9e15 => Some(*at as i64),
        _ => None,
    }
}

/// The same, where nothing there is no error.
pub(crate) fn optional_index<'a>(value: &Value<'a>, key: &Value<'_>) -> Outcome<'a> {
    Ok(match value {
        Value::Optional(None) => Value::none(),
        Value::Optional(Some(inner)) => return optional_index(inner, key),
        Value::List(list) => {
            let found = position(key).and_then(|at| usize::try_from(at).ok()).and_then(|at| list.get(at));
            found.map_or(Value::none(), Value::some)
        }
        Value::Map(map) => map.get(key).map_or(Value::none(), Value::some),
        _ => return no_overload(),
    })
}

/// A key as errors show it.
pub(crate) fn shown(key: &Value<'_>) -> String {
    match key {
        Value::String(text) => text.to_string(),
        Value::Int(value) => value.to_string(),
        Value::Uint(value) => value.to_string(),
        Value::Bool(value) => value.to_string(),
        Value::Double(value) => double_text(*value),
        other => other.type_name().to_owned(),
    }
}

fn unconvertible<'a>(value: &Value<'_>, to: &str) -> Outcome<'a> {
    failed(format!("type conversion error from '{}' to '{to}'", value.type_name()))
}

fn conversions(d: &mut Registry) {
    d.add(
        "int",
        "int64_to_int64: (int) -> int; double_to_int64: (double) -> int; string_to_int64: (string) -> int; timestamp_to_int64: (timestamp) -> int; uint64_to_int64: (uint) -> int; duration_to_int64: (duration) -> int",
        |_, args| match args {
            [Value::Int(value)] => Ok(Value::Int(*value)),
            [Value::Uint(value)] => over(i64::try_from(*value).ok(), Value::Int, "integer"),
            [Value::Double(value)] => {
                let inside = *value > -9_223_372_036_854_775_808.0 && *value < 9_223_372_036_854_775_808.0;
                over(inside.then_some(*value as i64), Value::Int, "integer")
            }
            [value @ Value::String(text)] => match text.parse() {
                Ok(number) => Ok(Value::Int(number)),
                Err(_) => unconvertible(value, "int"),
            },
            [Value::Timestamp(time)] => Ok(Value::Int(time.unix())),
            [Value::Duration(span)] => Ok(Value::Int(span.0)),
            _ => no_overload(),
        },
    );
    d.add(
        "uint",
        "uint64_to_uint64: (uint) -> uint; double_to_uint64: (double) -> uint; int64_to_uint64: (int) -> uint; string_to_uint64: (string) -> uint",
        |_, args| match args {
            [Value::Uint(value)] => Ok(Value::Uint(*value)),
            [Value::Int(value)] => over(u64::try_from(*value).ok(), Value::Uint, "unsigned integer"),
            [Value::Double(value)] => {
                let inside = *value >= 0.0 && *value < 18_446_744_073_709_551_616.0;
                over(inside.then_some(*value as u64), Value::Uint, "unsigned integer")
            }
            [value @ Value::String(text)] => match text.parse() {
                Ok(number) if !text.starts_with('+') => Ok(Value::Uint(number)),
                _ => unconvertible(value, "uint"),
            },
            _ => no_overload(),
        },
    );
    d.add(
        "double",
        "double_to_double: (double) -> double; int64_to_double: (int) -> double; string_to_double: (string) -> double; uint64_to_double: (uint) -> double",
        |_, args| match args {
            [Value::Double(value)] => Ok(Value::Double(*value)),
            [Value::Int(value)] => Ok(Value::Double(*value as f64)),
            [Value::Uint(value)] => Ok(Value::Double(*value as f64)),
            [value @ Value::String(text)] => match text.parse() {
                Ok(number) => Ok(Value::Double(number)),
                Err(_) => unconvertible(value, "double"),
            },
            _ => no_overload(),
        },
    );
    d.add("bool", "bool_to_bool: (bool) -> bool; string_to_bool: (string) -> bool", |_, args| match args {
        [Value::Bool(value)] => Ok(Value::Bool(*value)),
        [value @ Value::String(text)] => match &**text {
            "true" | "True" | "TRUE" | "t" | "1" => Ok(Value::Bool(true)),
            "false" | "False" | "FALSE" | "f" | "0" => Ok(Value::Bool(false)),
            _ => unconvertible(value, "bool"),
        },
        _ => no_overload(),
    });
    d.add("bytes", "bytes_to_bytes: (bytes) -> bytes; string_to_bytes: (string) -> bytes", |_, args| {
        match args {
            [Value::Bytes(bytes)] => Ok(Value::Bytes(bytes.clone())),
            [Value::String(text)] => Ok(Value::Bytes(text.as_bytes().into())),
            _ => no_overload(),
        }
    });
    d.add(
        "string",
        "string_to_string: (string) -> string; bool_to_string: (bool) -> string; bytes_to_string: (bytes) -> string; double_to_string: (double) -> string; duration_to_string: (duration) -> string; int64_to_string: (int) -> string; timestamp_to_string: (timestamp) -> string; uint64_to_string: (uint) -> string",
        |_, args| match args {
            [Value::String(text)] => Ok(Value::String(text.clone())),
            [Value::Bytes(bytes)] => match std::str::from_utf8(bytes) {
                Ok(text) => Ok(Value::text(text)),
                Err(_) => failed("invalid UTF-8 in bytes, cannot convert to string"),
            },
            [value] => text_of(value),
            _ => no_overload(),
        },
    );
    d.add(
        "duration",
        "duration_to_duration: (duration) -> duration; int64_to_duration: (int) -> duration; string_to_duration: (string) -> duration",
        |_, args| match args {
            [Value::Duration(span)] => Ok(Value::Duration(*span)),
            [Value::Int(nanos)] => Ok(Value::Duration(Duration(*nanos))),
            [value @ Value::String(text)] => match Duration::parse(text) {
                Ok(span) => Ok(Value::Duration(span)),
                Err(_) => unconvertible(value, "google.protobuf.Duration"),
            },
            _ => no_overload(),
        },
    );
    d.add(
        "timestamp",
        "timestamp_to_timestamp: (timestamp) -> timestamp; int64_to_timestamp: (int) -> timestamp; string_to_timestamp: (string) -> timestamp",
        |_, args| match args {
            [Value::Timestamp(time)] => Ok(Value::Timestamp(*time)),
            [Value::Int(seconds)] => {
                let inside = (FIRST..=LAST).contains(seconds);
                over(inside.then(|| Time::from_unix(*seconds, 0)), Value::Timestamp, "timestamp")
            }
            [value @ Value::String(text)] => match Time::parse(text) {
                Ok(time) => Ok(Value::Timestamp(time)),
                Err(_) => unconvertible(value, "google.protobuf.Timestamp"),
            },
            _ => no_overload(),
        },
    );
}

/// The text of a scalar.
pub(super) fn text_of<'a>(value: &Value<'_>) -> Outcome<'a> {
    Ok(Value::from(match value {
        Value::Bool(value) => value.to_string(),
        Value::Int(value) => value.to_string(),
        Value::Uint(value) => value.to_string(),
        Value::Double(value) => double_text(*value),
        Value::Duration(span) => duration_text(*span),
        Value::Timestamp(time) => time.nano(),
        _ => return no_overload(),
    }))
}

/// The value of a field; of what may be missing, an optional one.
pub(crate) fn select<'a>(value: &Value<'a>, field: &Text<'_>) -> Outcome<'a> {
    match value {
        Value::Map(map) => match map.field(field) {
            Some(found) => Ok(found),
            None => failed(format!("no such key: {}", &**field)),
        },
        Value::Optional(_) => optional_select(value, field),
        // As upstream: what has no fields has no such field.
        _ => failed(format!("no such key: {}", &**field)),
    }
}

pub(crate) fn optional_select<'a>(value: &Value<'a>, field: &Text<'_>) -> Outcome<'a> {
    match value {
        Value::Optional(None) => Ok(Value::none()),
        Value::Optional(Some(inner)) => optional_select(inner, field),
        Value::Map(map) => Ok(map.field(field).map_or(Value::none(), Value::some)),
        _ => Ok(Value::none()),
    }
}

/// Whether a field is there.
pub(crate) fn has<'a>(value: &Value<'_>, field: &Text<'_>) -> Outcome<'a> {
    match value {
        Value::Map(Map::Struct { fields, .. }) => Ok(Value::Bool(fields.contains_key(&**field))),
        Value::Map(map) => Ok(Value::Bool(map.field(field).is_some())),
        Value::Optional(None) => Ok(Value::Bool(false)),
        Value::Optional(Some(inner)) => has(inner, field),
        _ => Ok(Value::Bool(false)),
    }
}
