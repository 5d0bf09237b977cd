//! Patterns, in Go's syntax.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use ::regex::{Regex, RegexBuilder};

use super::{Outcome, Registry, Stop, failed, fits, no_overload};
use crate::value::Value;

/// A pattern that needs more memory than this is not used.
const SIZE: usize = 1 << 20;
/// More than this many are forgotten and compiled again.
const KEPT: usize = 256;
/// Longer patterns are compiled each time.
const LONGEST_KEPT: usize = 1024;

pub(super) fn declare(d: &mut Registry) {
    d.add(
        "matches",
        "matches: (string, string) -> bool; matches_string: string.(string) -> bool",
        |_, args| {
            let [Value::String(text), Value::String(pattern)] = args else { return no_overload() };
            Ok(Value::Bool(compiled(pattern)?.is_match(text)))
        },
    );
    d.add("find", "string_find_string: string.(string) -> string", |_, args| {
        let [Value::String(text), Value::String(pattern)] = args else { return no_overload() };
        Ok(Value::text(compiled(pattern)?.find(text).map_or("", |found| found.as_str())))
    });
    d.add(
        "findAll",
        "string_find_all_string: string.(string) -> list(string); string_find_all_string_int: string.(string, int) -> list(string)",
        find_all,
    );
}

fn find_all<'a>(_: &super::Cx<'_>, args: &[Value<'a>]) -> Outcome<'a> {
    let (text, pattern, limit) = match args {
        [Value::String(text), Value::String(pattern)] => (text, pattern, usize::MAX),
        [Value::String(text), Value::String(pattern), Value::Int(limit)] => {
            (text, pattern, usize::try_from(*limit).unwrap_or(usize::MAX))
        }
        _ => return no_overload(),
    };
    let mut out = Vec::new();
    for found in compiled(pattern)?.find_iter(text).take(limit) {
        out.push(Value::text(found.as_str()));
        fits(out.len().checked_mul(32))?;
    }
    Ok(Value::list(out))
}

fn compiled(pattern: &str) -> Result<Arc<Regex>, Stop> {
    match compile(pattern) {
        Ok(found) => Ok(found),
        Err(told) => failed(format!("Illegal regex: {told}")),
    }
}

/// A pattern, compiled; the error says why it is none.
pub(crate) fn compile(pattern: &str) -> Result<Arc<Regex>, String> {
    static COMPILED: OnceLock<RwLock<HashMap<String, Arc<Regex>>>> = OnceLock::new();
    let kept = COMPILED.get_or_init(RwLock::default);
    if let Some(found) = kept.read().unwrap_or_else(PoisonError::into_inner).get(pattern) {
        return Ok(found.clone());
    }
    let made = RegexBuilder::new(&translated(pattern)).size_limit(SIZE).build();
    let made = Arc::new(made.map_err(|_| format!("error parsing regexp: `{pattern}`"))?);
    if pattern.len() <= LONGEST_KEPT {
        let mut kept = kept.write().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= KEPT {
            kept.clear();
        }
        kept.insert(pattern.to_owned(), made.clone());
    }
    Ok(made)
}

/// Where Go's syntax and that of the `regex` crate differ: classes of Go are of ASCII, and brackets in them are plain.
fn translated(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len() + 16);
    let chars: Vec<char> = pattern.chars().collect();
    let (mut at, mut class) = (0, None::<usize>);
    while let Some(&c) = chars.get(at) {
        at += 1;
        match c {
            '\\' => {
                let Some(&next) = chars.get(at) else {
                    out.push('\\');
                    break;
                };
                at += 1;
                let ascii = match (next, class.is_some()) {
                    ('d', true) => Some("0-9"),
                    ('w', true) => Some("0-9A-Za-z_"),
                    ('s', true) => Some("\\t\\n\\x0C\\r "),
                    ('d', false) => Some("[0-9]"),
                    ('w', false) => Some("[0-9A-Za-z_]"),
                    ('s', false) => Some("[\\t\\n\\x0C\\r ]"),
                    ('D', _) => Some("[^0-9]"),
                    ('W', _) => Some("[^0-9A-Za-z_]"),
                    ('S', _) => Some("[^\\t\\n\\x0C\\r ]"),
                    ('b', _) => Some("(?-u:\\b)"),
                    ('B', _) => Some("(?-u:\\B)"),
                    _ => None,
                };
                match ascii {
                    Some(ascii) => out.push_str(ascii),
                    None => {
                        out.push('\\');
                        out.push(next);
                    }
                }
            }
            '[' if class.is_none() => {
                out.push('[');
                if chars.get(at) == Some(&'^') {
                    out.push('^');
                    at += 1;
                }
                class = Some(at);
            }
            '[' if chars.get(at) == Some(&':') => {
                out.push('[');
                while let Some(&inner) = chars.get(at) {
                    at += 1;
                    out.push(inner);
                    if inner == ']' {
                        break;
                    }
                }
            }
            '[' => out.push_str("\\["),
            // The first in a class is plain.
            ']' if class == Some(at - 1) => out.push_str("\\]"),
            ']' if class.is_some() => {
                out.push(']');
                class = None;
            }
            '&' | '~' if class.is_some() => {
                out.push('\\');
                out.push(c);
            }
            '-' if class.is_some() && chars.get(at) == Some(&'-') => out.push_str("\\-"),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_gos() {
        for (pattern, text, wanted) in [
            (r"^\d+$", "٣", false),
            (r"^[\w.-]+$", "a-b.c_1", true),
            ("^[a[]+$", "a[[", true),
            ("^[]a]+$", "]a", true),
            ("^[[:alpha:]]+$", "abc", true),
            ("[&]{2}", "&&", true),
            (r"\bfoo\b", "a foo b", true),
            (r"^[^\s]+$", "a b", false),
        ] {
            assert_eq!(compile(pattern).map(|regex| regex.is_match(text)), Ok(wanted), "{pattern}");
        }
        assert!(compile("(").is_err());
        assert!(compile("a{100000000}").is_err());
    }
}
