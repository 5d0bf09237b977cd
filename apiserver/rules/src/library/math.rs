//! cel-go's extension for numbers.

use std::cmp::Ordering;

use super::{Outcome, Registry, failed, no_overload};
use crate::value::{Value, compare};

pub(super) fn declare(d: &mut Registry) {
    const EXTREMES: &str = "identity_int: (int) -> int; identity_uint: (uint) -> uint; identity_double: (double) -> double; int_int: (int, int) -> int; uint_uint: (uint, uint) -> uint; double_double: (double, double) -> double; int_uint: (int, uint) -> dyn; int_double: (int, double) -> dyn; double_int: (double, int) -> dyn; double_uint: (double, uint) -> dyn; uint_int: (uint, int) -> dyn; uint_double: (uint, double) -> dyn; list_int: (list(int)) -> int; list_uint: (list(uint)) -> uint; list_double: (list(double)) -> double";
    d.add("math.@max", EXTREMES, |_, args| extreme(args, Ordering::Greater, "math.@max"));
    d.add("math.@min", EXTREMES, |_, args| extreme(args, Ordering::Less, "math.@min"));
    d.add("math.ceil", "math_ceil_double: (double) -> double", |_, args| double(args, f64::ceil));
    d.add("math.floor", "math_floor_double: (double) -> double", |_, args| double(args, f64::floor));
    d.add("math.round", "math_round_double: (double) -> double", |_, args| double(args, f64::round));
    d.add("math.trunc", "math_trunc_double: (double) -> double", |_, args| double(args, f64::trunc));
    d.add("math.isInf", "math_isInf_double: (double) -> bool", |_, args| test(args, f64::is_infinite));
    d.add("math.isNaN", "math_isNaN_double: (double) -> bool", |_, args| test(args, f64::is_nan));
    d.add("math.isFinite", "math_isFinite_double: (double) -> bool", |_, args| test(args, f64::is_finite));
    d.add(
        "math.abs",
        "math_abs_double: (double) -> double; math_abs_int: (int) -> int; math_abs_uint: (uint) -> uint",
        |_, args| match args {
            [Value::Double(value)] => Ok(Value::Double(value.abs())),
            [Value::Uint(value)] => Ok(Value::Uint(*value)),
            [Value::Int(value)] => {
                value.checked_abs().map_or_else(|| failed("integer overflow"), |v| Ok(Value::Int(v)))
            }
            _ => no_overload(),
        },
    );
    d.add(
        "math.sign",
        "math_sign_double: (double) -> double; math_sign_int: (int) -> int; math_sign_uint: (uint) -> uint",
        |_, args| match args {
            [Value::Double(value)] if value.is_nan() || *value == 0.0 => Ok(Value::Double(*value)),
            [Value::Double(value)] => Ok(Value::Double(value.signum())),
            [Value::Uint(value)] => Ok(Value::Uint((*value).min(1))),
            [Value::Int(value)] => Ok(Value::Int(value.signum())),
            _ => no_overload(),
        },
    );
    d.add(
        "math.sqrt",
        "math_sqrt_double: (double) -> double; math_sqrt_int: (int) -> double; math_sqrt_uint: (uint) -> double",
        |_, args| match args {
            [Value::Double(value)] => Ok(Value::Double(value.sqrt())),
            [Value::Int(value)] => Ok(Value::Double((*value as f64).sqrt())),
            [Value::Uint(value)] => Ok(Value::Double((*value as f64).sqrt())),
            _ => no_overload(),
        },
    );
    bits(d);
}

fn double<'a>(args: &[Value<'a>], of: fn(f64) -> f64) -> Outcome<'a> {
    match args {
        [Value::Double(value)] => Ok(Value::Double(of(*value))),
        _ => no_overload(),
    }
}

fn test<'a>(args: &[Value<'a>], of: fn(f64) -> bool) -> Outcome<'a> {
    match args {
        [Value::Double(value)] => Ok(Value::Bool(of(*value))),
        _ => no_overload(),
    }
}

fn extreme<'a>(args: &[Value<'a>], wanted: Ordering, name: &str) -> Outcome<'a> {
    let listed;
    let numbers: &[Value<'a>] = match args {
        [Value::List(list)] => {
            listed = list.to_vec();
            &listed
        }
        other => other,
    };
    let Some((first, rest)) = numbers.split_first() else {
        return failed(format!("{name}(list) argument must not be empty"));
    };
    let mut best = first;
    for number in std::iter::once(first).chain(rest) {
        match compare(number, best) {
            Some(order) if order == wanted => best = number,
            _ if matches!(number, Value::Int(_) | Value::Uint(_) | Value::Double(_)) => {}
            _ => return no_overload(),
        }
    }
    Ok(best.clone())
}

fn bits(d: &mut Registry) {
    const TWO: &str = "int_int: (int, int) -> int; uint_uint: (uint, uint) -> uint";
    fn two<'a>(args: &[Value<'a>], int: fn(i64, i64) -> i64, uint: fn(u64, u64) -> u64) -> Outcome<'a> {
        match args {
            [Value::Int(a), Value::Int(b)] => Ok(Value::Int(int(*a, *b))),
            [Value::Uint(a), Value::Uint(b)] => Ok(Value::Uint(uint(*a, *b))),
            _ => no_overload(),
        }
    }
    d.add("math.bitAnd", TWO, |_, args| two(args, |a, b| a & b, |a, b| a & b));
    d.add("math.bitOr", TWO, |_, args| two(args, |a, b| a | b, |a, b| a | b));
    d.add("math.bitXor", TWO, |_, args| two(args, |a, b| a ^ b, |a, b| a ^ b));
    d.add("math.bitNot", "int_int: (int) -> int; uint_uint: (uint) -> uint", |_, args| match args {
        [Value::Int(value)] => Ok(Value::Int(!value)),
        [Value::Uint(value)] => Ok(Value::Uint(!value)),
        _ => no_overload(),
    });
    const SHIFT: &str = "int_int: (int, int) -> int; uint_int: (uint, int) -> uint";
    d.add("math.bitShiftLeft", SHIFT, |_, args| shift(args, "math.bitShiftLeft", |v, by| v.checked_shl(by)));
    d.add("math.bitShiftRight", SHIFT, |_, args| {
        shift(args, "math.bitShiftRight", |v, by| v.checked_shr(by))
    });
}

/// The bits count, whatever the sign.
fn shift<'a>(args: &[Value<'a>], name: &str, by: fn(u64, u32) -> Option<u64>) -> Outcome<'a> {
    let ([_, Value::Int(count)] | [Value::Int(count)]) = args else { return no_overload() };
    if *count < 0 {
        return failed(format!("{name}() negative offset: {count}"));
    }
    let count = u32::try_from(*count).unwrap_or(u32::MAX);
    match args {
        [Value::Int(value), _] => Ok(Value::Int(by(*value as u64, count).unwrap_or(0) as i64)),
        [Value::Uint(value), _] => Ok(Value::Uint(by(*value, count).unwrap_or(0))),
        _ => no_overload(),
    }
}
