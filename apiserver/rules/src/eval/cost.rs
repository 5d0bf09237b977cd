//! What calls cost when they run, in upstream's units.

use super::machine::WORK;
use crate::library::format;
use crate::program::PER_CALL;
use crate::value::{List, Map, Special, Value};

pub(super) const LIST: u64 = 10;
pub(super) const MAP: u64 = 30;
pub(super) const STRUCT: u64 = 40;
/// Of a character that is looked at.
const CHARACTER: f64 = 0.1;
/// Of a character of a pattern.
const PATTERN: f64 = 0.25;

fn part(size: u64, factor: f64) -> u64 {
    (size as f64 * factor).ceil() as u64
}

fn size(args: &[Value<'_>], at: usize) -> u64 {
    args.get(at).map_or(0, Value::size)
}

/// What a call costs, beside its arguments.
pub(super) fn of_call(function: &str, overload: &str, args: &[Value<'_>], result: &Value<'_>) -> u64 {
    match function {
        "check" => 350_000,
        "fieldSelector" | "labelSelector" => {
            let length = size(args, 1);
            LIST + part(length, CHARACTER) + part(part(length, 0.5), (LIST + STRUCT) as f64)
        }
        "isSorted" | "sum" | "max" | "min" | "indexOf" | "lastIndexOf" => args.first().map_or(0, traversal),
        "url"
        | "lowerAscii"
        | "upperAscii"
        | "substring"
        | "trim"
        | "jsonpatch.escapeKey"
        | "cidr"
        | "isIP"
        | "isCIDR"
        | "quantity"
        | "isQuantity"
        | "semver"
        | "isSemver" => part(size(args, 0), CHARACTER),
        "replace" | "split" | "ip.isCanonical" => part(size(args, 0), 2.0 * CHARACTER),
        "join" => part(result.size(), 2.0 * CHARACTER),
        "find" | "findAll" => part(1 + size(args, 0), CHARACTER) * part(size(args, 1), PATTERN),
        "ip" if overload == "cidr_ip" => 1,
        "ip" => part(size(args, 0), CHARACTER),
        "containsIP" => {
            let parse =
                if overload == "cidr_contains_ip_string" { part(size(args, 1), CHARACTER) } else { 0 };
            part(2 * size(args, 0), CHARACTER) + parse
        }
        "containsCIDR" => {
            let parse =
                if overload == "cidr_contains_cidr_string" { part(size(args, 1), CHARACTER) } else { 0 };
            part(2 * size(args, 0), CHARACTER) + part(size(args, 0), CHARACTER) + 1 + parse
        }
        "validate" => {
            let pattern = match args.first() {
                Some(Value::Special(special)) => match &**special {
                    Special::Format(format) => format.pattern,
                    _ => format::LONGEST_PATTERN,
                },
                _ => format::LONGEST_PATTERN,
            };
            part(1 + size(args, 1), CHARACTER) * part(pattern, PATTERN)
        }
        "_==_" if matches!(args.first(), Some(Value::Special(_))) => 1,
        _ => standard(overload, args),
    }
}

fn standard(overload: &str, args: &[Value<'_>]) -> u64 {
    match overload {
        "starts_with_string" | "ends_with_string" | "string_to_bytes" | "bytes_to_string" => {
            part(size(args, 0), CHARACTER)
        }
        "in_list" => size(args, 1),
        "less_string"
        | "greater_string"
        | "less_equals_string"
        | "greater_equals_string"
        | "less_bytes"
        | "greater_bytes"
        | "less_equals_bytes"
        | "greater_equals_bytes"
        | "equals"
        | "not_equals" => part(size(args, 0).min(size(args, 1)), CHARACTER),
        "add_string" | "add_bytes" => part(size(args, 0) + size(args, 1), CHARACTER),
        "matches_string" | "matches" => part(1 + size(args, 0), CHARACTER) * part(size(args, 1), PATTERN),
        "contains_string" => part(size(args, 0), CHARACTER) * part(size(args, 1), CHARACTER),
        _ => 1,
    }
}

/// Of looking at all of a value; no more than can be paid.
fn traversal(value: &Value<'_>) -> u64 {
    let mut sum = 0;
    traverse(value, &mut sum);
    sum
}

fn traverse(value: &Value<'_>, sum: &mut u64) {
    if *sum > PER_CALL {
        return;
    }
    match value {
        Value::String(text) => *sum += (text.len() as f64 * CHARACTER) as u64,
        Value::Bytes(bytes) => *sum += (bytes.len() as f64 * CHARACTER) as u64,
        Value::List(list) => list.iter().for_each(|item| traverse(&item, sum)),
        Value::Map(map) => map.keys().iter().for_each(|key| {
            traverse(key, sum);
            if let Some(value) = map.get(key) {
                traverse(&value, sum);
            }
        }),
        _ => *sum += 1,
    }
}

/// How many values a call looks at or copies, where its cost does not say.
pub(super) fn work(function: &str, args: &[Value<'_>]) -> u64 {
    match function {
        "_==_"
        | "_!=_"
        | "sort"
        | "@sortByAssociatedKeys"
        | "flatten"
        | "isSorted"
        | "sum"
        | "min"
        | "max"
        | "distinct"
        | "optional.unwrap"
        | "unwrapOpt" => args.iter().map(weight).sum(),
        "_+_" => args.iter().map(|arg| if matches!(arg, Value::List(_)) { arg.size() } else { 0 }).sum(),
        "@in" | "indexOf" | "lastIndexOf" => {
            let (list, wanted) = match args {
                [wanted, list] if function == "@in" => (list, wanted),
                [list, wanted, ..] => (list, wanted),
                _ => return 0,
            };
            if matches!(list, Value::List(_)) { list.size().saturating_mul(weight(wanted)) } else { 0 }
        }
        "sets.contains" | "sets.equivalent" | "sets.intersects" => match args {
            [a, b] => a.size().saturating_mul(b.size()).saturating_add(weight(a) + weight(b)),
            _ => 0,
        },
        "slice" | "reverse" | "lists.range" => args.first().map_or(0, Value::size),
        _ => 0,
    }
}

/// How many values there are in one; no more than may be looked at.
pub(crate) fn weight(value: &Value<'_>) -> u64 {
    let mut sum = 0;
    weigh(value, &mut sum);
    sum
}

fn weigh(value: &Value<'_>, sum: &mut u64) {
    *sum += 1;
    if *sum > WORK {
        return;
    }
    match value {
        Value::List(List::Json { items, .. }) => items.iter().for_each(|item| weigh_json(item, sum)),
        Value::List(List::Made { items, .. }) => items.iter().for_each(|item| weigh(item, sum)),
        Value::Map(Map::Json { fields, .. } | Map::Object { fields, .. }) => {
            fields.values().for_each(|field| weigh_json(field, sum));
        }
        Value::Map(Map::Made(entries)) => entries.values().for_each(|value| weigh(value, sum)),
        Value::Map(Map::Struct { fields, .. }) => fields.values().for_each(|value| weigh(value, sum)),
        Value::Optional(Some(inner)) => weigh(inner, sum),
        Value::String(text) => *sum += text.len() as u64 / 64,
        _ => {}
    }
}

fn weigh_json(value: &serde_json::Value, sum: &mut u64) {
    *sum += 1;
    if *sum > WORK {
        return;
    }
    match value {
        serde_json::Value::Array(items) => items.iter().for_each(|item| weigh_json(item, sum)),
        serde_json::Value::Object(fields) => fields.values().for_each(|field| weigh_json(field, sum)),
        serde_json::Value::String(text) => *sum += text.len() as u64 / 64,
        _ => {}
    }
}
