//! Lists as sets.

use super::{Registry, no_overload};
use crate::value::{List, Value, equal};

pub(super) fn declare(d: &mut Registry) {
    d.add("sets.contains", "list_sets_contains_list: (list(T), list(T)) -> bool", |_, args| match args {
        [Value::List(a), Value::List(b)] => Ok(Value::Bool(covers(a, b))),
        _ => no_overload(),
    });
    d.add("sets.equivalent", "list_sets_equivalent_list: (list(T), list(T)) -> bool", |_, args| match args {
        [Value::List(a), Value::List(b)] => Ok(Value::Bool(covers(a, b) && covers(b, a))),
        _ => no_overload(),
    });
    d.add("sets.intersects", "list_sets_intersects_list: (list(T), list(T)) -> bool", |_, args| match args {
        [Value::List(a), Value::List(b)] => Ok(Value::Bool(a.iter().any(|item| holds(b, &item)))),
        _ => no_overload(),
    });
}

fn holds(list: &List<'_>, wanted: &Value<'_>) -> bool {
    list.iter().any(|item| equal(&item, wanted))
}

fn covers(a: &List<'_>, b: &List<'_>) -> bool {
    b.iter().all(|item| holds(a, &item))
}
