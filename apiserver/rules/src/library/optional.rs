//! Values that may be missing.

use super::standard::optional_index;
use super::{Registry, failed, no_overload};
use crate::value::Value;

pub(super) fn declare(d: &mut Registry) {
    d.add("optional.of", "optional_of: (V) -> optional(V)", |_, args| match args {
        [value] => Ok(value.clone().some()),
        _ => no_overload(),
    });
    d.add("optional.ofNonZeroValue", "optional_ofNonZeroValue: (V) -> optional(V)", |_, args| match args {
        [value] if value.is_zero() => Ok(Value::none()),
        [value] => Ok(value.clone().some()),
        _ => no_overload(),
    });
    d.add("optional.none", "optional_none: () -> optional(V)", |_, _| Ok(Value::none()));
    d.add("hasValue", "optional_hasValue: optional(V).() -> bool", |_, args| match args {
        [Value::Optional(inner)] => Ok(Value::Bool(inner.is_some())),
        _ => no_overload(),
    });
    d.add("value", "optional_value: optional(V).() -> V", |_, args| match args {
        [Value::Optional(Some(inner))] => Ok((**inner).clone()),
        [Value::Optional(None)] => failed("optional.none() dereference"),
        _ => no_overload(),
    });
    d.add("or", "optional_or_optional: optional(V).(optional(V)) -> optional(V)", |_, args| match args {
        [Value::Optional(None), other @ Value::Optional(_)] => Ok(other.clone()),
        [found @ Value::Optional(_), Value::Optional(_)] => Ok(found.clone()),
        _ => no_overload(),
    });
    d.add("orValue", "optional_orValue_value: optional(V).(V) -> V", |_, args| match args {
        [Value::Optional(None), other] => Ok(other.clone()),
        [Value::Optional(Some(inner)), _] => Ok((**inner).clone()),
        _ => no_overload(),
    });
    d.add(
        "_[?_]",
        "list_optindex_optional_int: (list(V), int) -> optional(V); optional_list_optindex_optional_int: (optional(list(V)), int) -> optional(V); map_optindex_optional_value: (map(K, V), K) -> optional(V); optional_map_optindex_optional_value: (optional(map(K, V)), K) -> optional(V)",
        |_, args| match args {
            [value, key] => optional_index(value, key),
            _ => no_overload(),
        },
    );
    d.add("first", "list_first: list(V).() -> optional(V)", |_, args| match args {
        [Value::List(list)] => Ok(list.get(0).map_or(Value::none(), Value::some)),
        _ => no_overload(),
    });
    d.add("last", "list_last: list(V).() -> optional(V)", |_, args| match args {
        [Value::List(list)] => {
            Ok(list.len().checked_sub(1).and_then(|at| list.get(at)).map_or(Value::none(), Value::some))
        }
        _ => no_overload(),
    });
    d.add("optional.unwrap", "optional_unwrap: (list(optional(V))) -> list(V)", |_, args| unwrapped(args));
    d.add("unwrapOpt", "optional_unwrapOpt: list(optional(V)).() -> list(V)", |_, args| unwrapped(args));
}

fn unwrapped<'a>(args: &[Value<'a>]) -> super::Outcome<'a> {
    let [Value::List(list)] = args else { return no_overload() };
    let mut out = Vec::new();
    for item in list.iter() {
        match item {
            Value::Optional(None) => {}
            Value::Optional(Some(inner)) => out.push((*inner).clone()),
            _ => return no_overload(),
        }
    }
    Ok(Value::list(out))
}
