//! What calls cost when they run, in upstream's units.

use super::machine::WORK;
use crate::library::costs::{self, CHARACTER, CHECK, LIST, PATTERN, STRUCT, Work};
use crate::library::format;
use crate::program::PER_CALL;
use crate::value::{List, Map, Special, Value};

fn part(size: u64, factor: f64) -> u64 {
    (size as f64 * factor).ceil() as u64
}

fn size(args: &[Value<'_>], at: usize) -> u64 {
    args.get(at).map_or(0, Value::size)
}

/// Of a text that is looked at.
fn characters(size: u64) -> u64 {
    part(size, CHARACTER)
}

/// Of a text in which a pattern is looked for.
fn searched(text: u64, pattern: u64) -> u64 {
    characters(1 + text) * part(pattern, PATTERN)
}

/// What a call costs, beside its arguments.
pub(super) fn of_call(function: &str, overload: &str, args: &[Value<'_>], result: &Value<'_>) -> u64 {
    // Asked for only where it counts: the size of a text is counted.
    let (first, second) = (|| size(args, 0), || size(args, 1));
    match costs::of(function, overload) {
        Work::Little | Work::ScalarToText | Work::AddList => 1,
        Work::Check => CHECK,
        Work::Selector => LIST + characters(second()) + part(part(second(), 0.5), (LIST + STRUCT) as f64),
        Work::Items => args.first().map_or(0, traversal),
        Work::Parse(times) => part(first(), times * CHARACTER),
        Work::Text | Work::StartsWith | Work::ToBytes | Work::FromBytes | Work::Quote | Work::Format => {
            characters(first())
        }
        Work::Replace | Work::Split => part(first(), 2.0 * CHARACTER),
        Work::Join => part(result.size(), 2.0 * CHARACTER),
        Work::Find | Work::Matches => searched(first(), second()),
        Work::ContainsIp { text } => characters(2 * first()) + if text { characters(second()) } else { 0 },
        Work::ContainsCidr { text } => {
            characters(2 * first()) + characters(first()) + 1 + if text { characters(second()) } else { 0 }
        }
        Work::Validate => searched(second(), pattern_of(args.first())),
        Work::InList => second(),
        Work::Compare if function == "_==_" && matches!(args.first(), Some(Value::Special(_))) => 1,
        Work::Compare => characters(first().min(second())),
        Work::AddText => characters(first() + second()),
        Work::Contains => characters(first()) * characters(second()),
    }
}

/// How long the pattern of a named format is.
fn pattern_of(format: Option<&Value<'_>>) -> u64 {
    match format {
        Some(Value::Special(special)) => match &**special {
            Special::Format(format) => format.pattern,
            _ => format::LONGEST_PATTERN,
        },
        _ => format::LONGEST_PATTERN,
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
