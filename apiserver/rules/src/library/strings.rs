//! cel-go's extension for texts, version 2, and the methods of the language. Positions count characters.

mod formatting;

use super::{Cx, Outcome, Registry, failed, fits, no_overload};
use crate::value::Value;

pub(super) fn declare(d: &mut Registry) {
    d.add("contains", "contains_string: string.(string) -> bool", |_, args| match args {
        [Value::String(text), Value::String(part)] => Ok(Value::Bool(text.contains(&**part))),
        _ => no_overload(),
    });
    d.add("startsWith", "starts_with_string: string.(string) -> bool", |_, args| match args {
        [Value::String(text), Value::String(part)] => Ok(Value::Bool(text.starts_with(&**part))),
        _ => no_overload(),
    });
    d.add("endsWith", "ends_with_string: string.(string) -> bool", |_, args| match args {
        [Value::String(text), Value::String(part)] => Ok(Value::Bool(text.ends_with(&**part))),
        _ => no_overload(),
    });
    d.add("charAt", "string_char_at_int: string.(int) -> string", |_, args| {
        let [Value::String(text), Value::Int(at)] = args else { return no_overload() };
        let size = text.chars().count();
        match usize::try_from(*at) {
            Ok(at) if at == size => Ok(Value::text("")),
            Ok(at) if at < size => Ok(Value::from(text.chars().skip(at).take(1).collect::<String>())),
            _ => failed(format!("index out of range: {at}")),
        }
    });
    d.add(
        "indexOf",
        "string_index_of_string: string.(string) -> int; string_index_of_string_int: string.(string, int) -> int",
        |_, args| position(args, false),
    );
    d.add(
        "lastIndexOf",
        "string_last_index_of_string: string.(string) -> int; string_last_index_of_string_int: string.(string, int) -> int",
        |_, args| position(args, true),
    );
    d.add("lowerAscii", "string_lower_ascii: string.() -> string", |_, args| match args {
        [Value::String(text)] => Ok(Value::from(text.to_ascii_lowercase())),
        _ => no_overload(),
    });
    d.add("upperAscii", "string_upper_ascii: string.() -> string", |_, args| match args {
        [Value::String(text)] => Ok(Value::from(text.to_ascii_uppercase())),
        _ => no_overload(),
    });
    d.add("trim", "string_trim: string.() -> string", |_, args| match args {
        [Value::String(text)] => Ok(Value::text(text.trim())),
        _ => no_overload(),
    });
    d.add("reverse", "string_reverse: string.() -> string", |_, args| match args {
        [Value::String(text)] => Ok(Value::from(text.chars().rev().collect::<String>())),
        _ => no_overload(),
    });
    d.add(
        "substring",
        "string_substring_int: string.(int) -> string; string_substring_int_int: string.(int, int) -> string",
        substring,
    );
    d.add(
        "replace",
        "string_replace_string_string: string.(string, string) -> string; string_replace_string_string_int: string.(string, string, int) -> string",
        replace,
    );
    d.add(
        "split",
        "string_split_string: string.(string) -> list(string); string_split_string_int: string.(string, int) -> list(string)",
        split,
    );
    d.add(
        "join",
        "list_join: list(string).() -> string; list_join_string: list(string).(string) -> string",
        join,
    );
    d.add("strings.quote", "strings_quote: (string) -> string", |_, args| match args {
        [Value::String(text)] => Ok(Value::from(quoted(text))),
        _ => no_overload(),
    });
    d.add("format", "string_format: string.(list(dyn)) -> string", |_, args| match args {
        [Value::String(text), Value::List(list)] => formatting::format(text, &list.to_vec()),
        _ => no_overload(),
    });
}

/// In double quotes, with what cannot be shown escaped.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{b}' => out.push_str("\\v"),
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

fn position<'a>(args: &[Value<'a>], last: bool) -> Outcome<'a> {
    let (text, part, from) = match args {
        [Value::String(text), Value::String(part)] => (text, part, None),
        [Value::String(text), Value::String(part), Value::Int(from)] => (text, part, Some(*from)),
        _ => return no_overload(),
    };
    let size = text.chars().count();
    let from = match from.map(usize::try_from) {
        None => {
            if last {
                size
            } else {
                0
            }
        }
        Some(Ok(from)) if from <= size => from,
        Some(_) => return failed(format!("index out of range: {}", super::standard::shown(&args[2]))),
    };
    let byte = |at: usize| text.char_indices().nth(at).map_or(text.len(), |(byte, _)| byte);
    let found = if last {
        // What begins at the position counts, too.
        let end = (byte(from) + part.len()).min(text.len());
        (0..=end).rev().find(|end| text.is_char_boundary(*end)).and_then(|end| text[..end].rfind(&**part))
    } else {
        text[byte(from)..].find(&**part).map(|at| at + byte(from))
    };
    let at = found.map_or(-1, |byte| text[..byte].chars().count() as i64);
    Ok(Value::Int(at))
}

fn substring<'a>(_: &Cx<'_>, args: &[Value<'a>]) -> Outcome<'a> {
    let (text, start, end) = match args {
        [Value::String(text), Value::Int(start)] => (text, *start, None),
        [Value::String(text), Value::Int(start), Value::Int(end)] => (text, *start, Some(*end)),
        _ => return no_overload(),
    };
    let size = text.chars().count() as i64;
    let stop = end.unwrap_or(size);
    if start > stop {
        return failed(format!("invalid substring range. start: {start}, end: {stop}"));
    }
    for at in [start, stop] {
        if !(0..=size).contains(&at) {
            return failed(format!("index out of range: {at}"));
        }
    }
    let part: String = text.chars().skip(start as usize).take((stop - start) as usize).collect();
    Ok(Value::from(part))
}

fn replace<'a>(_: &Cx<'_>, args: &[Value<'a>]) -> Outcome<'a> {
    let (text, from, to, times) = match args {
        [Value::String(text), Value::String(from), Value::String(to)] => (text, from, to, usize::MAX),
        // A negative number replaces all.
        [Value::String(text), Value::String(from), Value::String(to), Value::Int(times)] => {
            (text, from, to, usize::try_from(*times).unwrap_or(usize::MAX))
        }
        _ => return no_overload(),
    };
    let found = text.matches(&**from).count().min(times);
    fits(found.checked_mul(to.len()).and_then(|grown| grown.checked_add(text.len())))?;
    Ok(Value::from(text.replacen(&**from, to, times)))
}

fn split<'a>(_: &Cx<'_>, args: &[Value<'a>]) -> Outcome<'a> {
    let (text, separator, limit) = match args {
        [Value::String(text), Value::String(separator)] => (text, separator, -1),
        [Value::String(text), Value::String(separator), Value::Int(limit)] => (text, separator, *limit),
        _ => return no_overload(),
    };
    fits(text.len().checked_mul(8))?;
    let limit = match limit {
        0 => return Ok(Value::list(Vec::new())),
        limit => usize::try_from(limit).unwrap_or(usize::MAX),
    };
    let parts: Vec<String> = if separator.is_empty() {
        let mut chars = text.chars();
        let mut out: Vec<String> = Vec::new();
        while out.len() + 1 < limit {
            match chars.next() {
                Some(c) => out.push(c.to_string()),
                None => break,
            }
        }
        if !chars.as_str().is_empty() {
            out.push(chars.as_str().to_owned());
        }
        out
    } else {
        text.splitn(limit, &**separator).map(str::to_owned).collect()
    };
    Ok(Value::list(parts.into_iter().map(Value::from).collect()))
}

fn join<'a>(_: &Cx<'_>, args: &[Value<'a>]) -> Outcome<'a> {
    let (list, separator) = match args {
        [Value::List(list)] => (list, ""),
        [Value::List(list), Value::String(separator)] => (list, &**separator),
        _ => return no_overload(),
    };
    let mut out = String::new();
    for (index, item) in list.iter().enumerate() {
        let Value::String(text) = item else { return no_overload() };
        if index > 0 {
            out.push_str(separator);
        }
        out.push_str(&text);
        fits(Some(out.len()))?;
    }
    Ok(Value::from(out))
}
