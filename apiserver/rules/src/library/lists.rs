//! Lists: the functions of Kubernetes, and of cel-go's extension.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use kplane_machinery::time::Duration;

use super::{Outcome, Registry, Stop, failed, fits, no_overload};
use crate::value::{Key, List, Value, compare, equal};

pub(super) fn declare(d: &mut Registry) {
    d.add(
        "isSorted",
        "list_int_is_sorted_bool: list(int).() -> bool; list_uint_is_sorted_bool: list(uint).() -> bool; list_double_is_sorted_bool: list(double).() -> bool; list_bool_is_sorted_bool: list(bool).() -> bool; list_string_is_sorted_bool: list(string).() -> bool; list_bytes_is_sorted_bool: list(bytes).() -> bool; list_duration_is_sorted_bool: list(duration).() -> bool; list_timestamp_is_sorted_bool: list(timestamp).() -> bool",
        |_, args| {
            let [Value::List(list)] = args else { return no_overload() };
            let items = list.to_vec();
            for pair in items.windows(2) {
                match compare(&pair[0], &pair[1]) {
                    Some(Ordering::Greater) => return Ok(Value::Bool(false)),
                    Some(_) => {}
                    None => return no_overload(),
                }
            }
            Ok(Value::Bool(true))
        },
    );
    d.add(
        "sum",
        "list_int_sum_int: list(int).() -> int; list_uint_sum_uint: list(uint).() -> uint; list_double_sum_double: list(double).() -> double; list_duration_sum_duration: list(duration).() -> duration",
        sum,
    );
    d.add(
        "min",
        "list_int_min_int: list(int).() -> int; list_uint_min_uint: list(uint).() -> uint; list_double_min_double: list(double).() -> double; list_bool_min_bool: list(bool).() -> bool; list_string_min_string: list(string).() -> string; list_bytes_min_bytes: list(bytes).() -> bytes; list_duration_min_duration: list(duration).() -> duration; list_timestamp_min_timestamp: list(timestamp).() -> timestamp",
        |_, args| extreme(args, Ordering::Less, "min called on empty list"),
    );
    d.add(
        "max",
        "list_int_max_int: list(int).() -> int; list_uint_max_uint: list(uint).() -> uint; list_double_max_double: list(double).() -> double; list_bool_max_bool: list(bool).() -> bool; list_string_max_string: list(string).() -> string; list_bytes_max_bytes: list(bytes).() -> bytes; list_duration_max_duration: list(duration).() -> duration; list_timestamp_max_timestamp: list(timestamp).() -> timestamp",
        |_, args| extreme(args, Ordering::Greater, "max called on empty list"),
    );
    d.add("indexOf", "list_a_index_of_int: list(T).(T) -> int", |_, args| match args {
        [Value::List(list), wanted] => Ok(found(list.iter().position(|item| equal(&item, wanted)))),
        _ => no_overload(),
    });
    d.add("lastIndexOf", "list_a_last_index_of_int: list(T).(T) -> int", |_, args| match args {
        [Value::List(list), wanted] => Ok(found(list.to_vec().iter().rposition(|item| equal(item, wanted)))),
        _ => no_overload(),
    });
    extension(d);
}

fn found<'a>(at: Option<usize>) -> Value<'a> {
    Value::Int(at.and_then(|at| i64::try_from(at).ok()).unwrap_or(-1))
}

fn sum<'a>(_: &super::Cx<'_>, args: &[Value<'a>]) -> Outcome<'a> {
    let [Value::List(list)] = args else { return no_overload() };
    let mut total: Option<Value<'a>> = None;
    for item in list.iter() {
        total = Some(match (total, item) {
            (None, item @ (Value::Int(_) | Value::Uint(_) | Value::Double(_) | Value::Duration(_))) => item,
            (Some(Value::Int(a)), Value::Int(b)) => match a.checked_add(b) {
                Some(sum) => Value::Int(sum),
                None => return failed("integer overflow"),
            },
            (Some(Value::Uint(a)), Value::Uint(b)) => match a.checked_add(b) {
                Some(sum) => Value::Uint(sum),
                None => return failed("unsigned integer overflow"),
            },
            (Some(Value::Double(a)), Value::Double(b)) => Value::Double(a + b),
            (Some(Value::Duration(a)), Value::Duration(b)) => match a.0.checked_add(b.0) {
                Some(sum) => Value::Duration(Duration(sum)),
                None => return failed("duration overflow"),
            },
            _ => return no_overload(),
        });
    }
    Ok(total.unwrap_or(Value::Int(0)))
}

fn extreme<'a>(args: &[Value<'a>], wanted: Ordering, empty: &str) -> Outcome<'a> {
    let [Value::List(list)] = args else { return no_overload() };
    let mut best: Option<Value<'a>> = None;
    for item in list.iter() {
        best = Some(match best {
            None => item,
            Some(before) => match compare(&item, &before) {
                Some(order) if order == wanted => item,
                Some(_) => before,
                None => return no_overload(),
            },
        });
    }
    best.map_or_else(|| failed(empty), Ok)
}

fn extension(d: &mut Registry) {
    d.add("slice", "list_slice: list(T).(int, int) -> list(T)", |_, args| {
        let [Value::List(list), Value::Int(from), Value::Int(to)] = args else { return no_overload() };
        let size = list.len();
        let (start, end) = match (usize::try_from(*from), usize::try_from(*to)) {
            (Ok(start), Ok(end)) => (start, end),
            _ => {
                return failed(format!("cannot slice({from}, {to}), negative indexes not supported"));
            }
        };
        if start > end {
            return failed(format!(
                "cannot slice({from}, {to}), start index must be less than or equal to end index"
            ));
        }
        if end > size {
            return failed(format!("cannot slice({from}, {to}), list is length {size}"));
        }
        Ok(Value::list(list.to_vec()[start..end].to_vec()))
    });
    d.add(
        "flatten",
        "list_flatten: list(list(T)).() -> list(T); list_flatten_int: list(dyn).(int) -> list(dyn)",
        |_, args| {
            let (list, depth) = match args {
                [Value::List(list)] => (list, 1),
                [Value::List(list), Value::Int(depth)] if *depth >= 0 => (list, *depth),
                [Value::List(_), Value::Int(_)] => return failed("level must be non-negative"),
                _ => return no_overload(),
            };
            let mut out = Vec::new();
            flatten(list, depth, &mut out)?;
            Ok(Value::list(out))
        },
    );
    d.add("lists.range", "lists_range: (int) -> list(int)", |_, args| {
        let [Value::Int(count)] = args else { return no_overload() };
        let count = usize::try_from(*count).unwrap_or(0);
        fits(count.checked_mul(32))?;
        Ok(Value::list((0..).take(count).map(Value::Int).collect()))
    });
    d.add("distinct", "list_distinct: list(T).() -> list(T)", |_, args| {
        let [Value::List(list)] = args else { return no_overload() };
        let mut out: Vec<Value<'_>> = Vec::new();
        let mut keys: BTreeMap<Key, ()> = BTreeMap::new();
        for item in list.iter() {
            let new = match Key::of(&item) {
                Some(key) => keys.insert(key, ()).is_none(),
                None => {
                    if out.len() > 4096 {
                        return Err(Stop::Limit);
                    }
                    !out.iter().any(|there| equal(there, &item))
                }
            };
            if new {
                out.push(item);
            }
        }
        Ok(Value::list(out))
    });
    d.add("reverse", "list_reverse: list(T).() -> list(T)", |_, args| match args {
        [Value::List(list)] => {
            let mut items = list.to_vec();
            items.reverse();
            Ok(Value::list(items))
        }
        _ => no_overload(),
    });
    d.add("sort", "list_sort: list(T).() -> list(T)", |_, args| match args {
        [Value::List(list)] => sorted(list, list),
        _ => no_overload(),
    });
    d.add("@sortByAssociatedKeys", "list_sortByAssociatedKeys: list(T).(list(U)) -> list(T)", |_, args| {
        match args {
            [Value::List(list), Value::List(keys)] => sorted(list, keys),
            _ => no_overload(),
        }
    });
}

fn flatten<'a>(list: &List<'a>, depth: i64, out: &mut Vec<Value<'a>>) -> Result<(), Stop> {
    for item in list.iter() {
        match item {
            Value::List(inner) if depth > 0 => flatten(&inner, depth - 1, out)?,
            other => out.push(other),
        }
        fits(out.len().checked_mul(32))?;
    }
    Ok(())
}

/// A list in the order of its keys, which are of one type that has an order.
fn sorted<'a>(list: &List<'a>, keys: &List<'a>) -> Outcome<'a> {
    let keys = keys.to_vec();
    if list.len() != keys.len() {
        return failed("sortBy() requires a list of the same size as the keys");
    }
    if let Some(first) = keys.first() {
        for key in &keys {
            if key.type_name() != first.type_name() {
                return failed("list elements must have the same type");
            }
            if compare(key, first).is_none() {
                return failed(format!("list elements must be comparable, got '{}'", key.type_name()));
            }
        }
    }
    let mut paired: Vec<(Value<'a>, Value<'a>)> = keys.into_iter().zip(list.iter()).collect();
    paired.sort_by(|(a, _), (b, _)| compare(a, b).unwrap_or(Ordering::Equal));
    Ok(Value::list(paired.into_iter().map(|(_, item)| item).collect()))
}
