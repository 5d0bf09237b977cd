//! Quantities.

use std::cmp::Ordering;

use kplane_machinery::quantity::{Format, Quantity};

use super::{Outcome, Registry, failed, no_overload};
use crate::value::{Special, Value};

pub(super) fn declare(d: &mut Registry) {
    d.add("quantity", "string_to_quantity: (string) -> Quantity", |_, args| match args {
        [Value::String(text)] => match Quantity::parse(text) {
            Ok(quantity) => Ok(made(quantity)),
            Err(error) => failed(error.to_string()),
        },
        _ => no_overload(),
    });
    d.add("isQuantity", "is_quantity_string: (string) -> bool", |_, args| match args {
        [Value::String(text)] => Ok(Value::Bool(Quantity::parse(text).is_ok())),
        _ => no_overload(),
    });
    d.add("sign", "quantity_sign: Quantity.() -> int", |_, args| match one(args) {
        Some(quantity) => Ok(Value::Int(i64::from(quantity.sign()))),
        None => no_overload(),
    });
    d.add("isInteger", "quantity_is_integer: Quantity.() -> bool", |_, args| match one(args) {
        Some(quantity) => Ok(Value::Bool(quantity.as_i64().is_some())),
        None => no_overload(),
    });
    d.add("asInteger", "quantity_as_integer: Quantity.() -> int", |_, args| match one(args) {
        Some(quantity) => {
            quantity.as_i64().map_or_else(|| failed("cannot convert value to integer"), |v| Ok(Value::Int(v)))
        }
        None => no_overload(),
    });
    d.add("asApproximateFloat", "quantity_get_float: Quantity.() -> double", |_, args| match one(args) {
        Some(quantity) => Ok(Value::Double(quantity.as_f64())),
        None => no_overload(),
    });
    d.add("isGreaterThan", "quantity_is_greater_than: Quantity.(Quantity) -> bool", |_, args| {
        order(args, |order| Value::Bool(order == Ordering::Greater))
    });
    d.add("isLessThan", "quantity_is_less_than: Quantity.(Quantity) -> bool", |_, args| {
        order(args, |order| Value::Bool(order == Ordering::Less))
    });
    d.add("compareTo", "quantity_compare_to: Quantity.(Quantity) -> int", |_, args| {
        order(args, |order| Value::Int(order as i64))
    });
    d.add(
        "add",
        "quantity_add: Quantity.(Quantity) -> Quantity; quantity_add_int: Quantity.(int) -> Quantity",
        |_, args| calculate(args, Quantity::add),
    );
    d.add(
        "sub",
        "quantity_sub: Quantity.(Quantity) -> Quantity; quantity_sub_int: Quantity.(int) -> Quantity",
        |_, args| calculate(args, Quantity::sub),
    );
}

fn made<'a>(quantity: Quantity) -> Value<'a> {
    Value::special(Special::Quantity(quantity))
}

fn quantity(value: &Value<'_>) -> Option<Quantity> {
    match value {
        Value::Special(special) => match &**special {
            Special::Quantity(quantity) => Some(*quantity),
            _ => None,
        },
        _ => None,
    }
}

fn one(args: &[Value<'_>]) -> Option<Quantity> {
    match args {
        [value] => quantity(value),
        _ => None,
    }
}

fn order<'a>(args: &[Value<'a>], shown: fn(Ordering) -> Value<'a>) -> Outcome<'a> {
    match args {
        [a, b] => match (quantity(a), quantity(b)) {
            (Some(a), Some(b)) => Ok(shown(a.cmp(&b))),
            _ => no_overload(),
        },
        _ => no_overload(),
    }
}

fn calculate<'a>(args: &[Value<'a>], by: fn(Quantity, Quantity) -> Quantity) -> Outcome<'a> {
    let [a, b] = args else { return no_overload() };
    let Some(a) = quantity(a) else { return no_overload() };
    match (quantity(b), b) {
        (Some(b), _) => Ok(made(by(a, b))),
        (None, Value::Int(b)) => Ok(made(by(a, Quantity::from_int(*b, Format::DecimalSi)))),
        _ => no_overload(),
    }
}
