//! `'%s is %d'.format([…])`.

use crate::library::{Outcome, Stop, failed, fits};
use crate::value::{Map, Value, double_text, duration_text};

pub(super) fn format<'a>(text: &str, args: &[Value<'_>]) -> Outcome<'a> {
    let mut out = String::new();
    let mut chars = text.chars().peekable();
    let mut used = 0;
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let mut precision = None;
        match chars.peek() {
            None => return failed("error during formatting: unexpected end of string"),
            Some('%') => {
                chars.next();
                out.push('%');
                continue;
            }
            Some('.') => {
                chars.next();
                let mut digits = String::new();
                while let Some(digit) = chars.next_if(char::is_ascii_digit) {
                    digits.push(digit);
                }
                match digits.parse::<usize>() {
                    Ok(digits) if digits <= 100 => precision = Some(digits),
                    _ => return failed("error during formatting: unable to find end of precision specifier"),
                }
            }
            Some(_) => {}
        }
        let Some(clause) = chars.next() else {
            return failed("error during formatting: unexpected end of string");
        };
        let Some(arg) = args.get(used) else {
            return failed(format!("error during formatting: index {used} out of range"));
        };
        used += 1;
        match one(clause, precision, arg) {
            Ok(shown) => out.push_str(&shown),
            Err(Stop::Error(told)) => return failed(format!("error during formatting: {told}")),
            Err(other) => return Err(other),
        }
        fits(Some(out.len()))?;
    }
    Ok(Value::from(out))
}

fn one(clause: char, precision: Option<usize>, arg: &Value<'_>) -> Result<String, Stop> {
    let refuse = |what: &str, on: &str| {
        failed(format!("{what} clause can only be used on {on}, was given {}", arg.type_name()))
    };
    Ok(match clause {
        's' => plain(arg)?,
        'd' => match arg {
            Value::Int(value) => value.to_string(),
            Value::Uint(value) => value.to_string(),
            Value::Double(value) if !value.is_finite() => infinite(*value),
            _ => return refuse("decimal", "integers"),
        },
        'f' | 'e' => {
            let value = match arg {
                Value::Double(value) => *value,
                Value::Int(value) => *value as f64,
                Value::Uint(value) => *value as f64,
                _ if clause == 'f' => return refuse("fixed-point", "doubles"),
                _ => return refuse("scientific", "doubles"),
            };
            let digits = precision.unwrap_or(6);
            if !value.is_finite() {
                infinite(value)
            } else if clause == 'f' {
                format!("{value:.digits$}")
            } else {
                let shown = format!("{value:.digits$e}");
                let (mantissa, power) = shown.split_once('e').unwrap_or((&shown, "0"));
                let power: i32 = power.parse().unwrap_or(0);
                format!("{mantissa}e{}{:02}", if power < 0 { '-' } else { '+' }, power.abs())
            }
        }
        'b' => match arg {
            Value::Int(value) if *value < 0 => format!("-{:b}", value.unsigned_abs()),
            Value::Int(value) => format!("{value:b}"),
            Value::Uint(value) => format!("{value:b}"),
            Value::Bool(value) => u8::from(*value).to_string(),
            _ => return refuse("binary", "integers and bools"),
        },
        'x' | 'X' => {
            let shown = match arg {
                Value::Int(value) if *value < 0 => format!("-{:x}", value.unsigned_abs()),
                Value::Int(value) => format!("{value:x}"),
                Value::Uint(value) => format!("{value:x}"),
                Value::String(text) => text.bytes().map(|byte| format!("{byte:02x}")).collect(),
                Value::Bytes(bytes) => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
                _ => return refuse("hex", "integers, byte buffers, and strings"),
            };
            if clause == 'X' { shown.to_uppercase() } else { shown }
        }
        'o' => match arg {
            Value::Int(value) if *value < 0 => format!("-{:o}", value.unsigned_abs()),
            Value::Int(value) => format!("{value:o}"),
            Value::Uint(value) => format!("{value:o}"),
            _ => return refuse("octal", "integers"),
        },
        other => {
            return failed(format!(
                "could not parse formatting clause: unrecognized formatting clause \"{other}\""
            ));
        }
    })
}

fn infinite(value: f64) -> String {
    match value {
        v if v.is_nan() => "NaN",
        v if v > 0.0 => "Infinity",
        _ => "-Infinity",
    }
    .to_owned()
}

/// Any value as `%s` shows it.
fn plain(value: &Value<'_>) -> Result<String, Stop> {
    Ok(match value {
        Value::Null => "null".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Int(value) => value.to_string(),
        Value::Uint(value) => value.to_string(),
        Value::Double(value) if !value.is_finite() => infinite(*value),
        Value::Double(value) if value.abs() < 1e17 => format!("{value}"),
        Value::Double(value) => double_text(*value),
        Value::String(text) => text.to_string(),
        Value::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Value::Duration(span) => duration_text(*span),
        Value::Timestamp(time) => time.nano(),
        Value::Type(name) => name.to_string(),
        Value::List(list) => {
            let mut out = Vec::new();
            for item in list.iter() {
                out.push(plain(&item)?);
            }
            format!("[{}]", out.join(", "))
        }
        Value::Map(map @ (Map::Json { .. } | Map::Made(_))) => {
            let mut out = Vec::new();
            for key in map.keys() {
                let value = map.get(&key).unwrap_or(Value::Null);
                out.push(format!("{}: {}", plain(&key)?, plain(&value)?));
            }
            out.sort();
            format!("{{{}}}", out.join(", "))
        }
        other => {
            return failed(format!(
                "string clause can only be used on strings, bools, bytes, ints, doubles, maps, lists, types, durations, and timestamps, was given {}",
                other.type_name()
            ));
        }
    })
}
