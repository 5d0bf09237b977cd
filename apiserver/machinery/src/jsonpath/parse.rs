//! The parser of paths.

use serde_json::Value;

use super::{Comparison, Operand, Step};

/// Reads the steps of a path without braces.
pub(super) fn steps(text: &str) -> Result<Vec<Step>, String> {
    let mut out = Vec::new();
    let mut rest = text.trim();
    rest = rest.strip_prefix('$').unwrap_or(rest);
    if let Some(after) = rest.strip_prefix('@') {
        rest = after;
    }
    let mut first = true;
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix("..") {
            out.push(Step::Recursive);
            rest = if after.starts_with('[') { after } else { field(after, &mut out)? };
        } else if let Some(after) = rest.strip_prefix('.') {
            if after.is_empty() {
                // A lone dot is the object itself.
                rest = after;
            } else if after.starts_with('[') {
                rest = after;
            } else {
                rest = field(after, &mut out)?;
            }
        } else if rest.starts_with('[') {
            let end = closing(rest)?;
            out.push(bracket(&rest[1..end])?);
            rest = &rest[end + 1..];
        } else if first {
            rest = field(rest, &mut out)?;
        } else {
            return Err(format!("unexpected path after {:?}", text.trim_end_matches(rest)));
        }
        first = false;
    }
    Ok(out)
}

/// Reads a field's name; a backslash makes the next character a part of it.
fn field<'a>(text: &'a str, out: &mut Vec<Step>) -> Result<&'a str, String> {
    let mut name = String::new();
    let mut chars = text.char_indices();
    let mut end = text.len();
    while let Some((i, c)) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some((_, next)) => name.push(next),
                None => return Err("unexpected end of path".to_owned()),
            },
            '.' | '[' => {
                end = i;
                break;
            }
            '{' | '}' | ']' | '(' | ')' | '=' | ' ' => {
                return Err(format!("unexpected character {c:?} in path {text:?}"));
            }
            c => name.push(c),
        }
    }
    if name.is_empty() {
        return Err(format!("missing field name in {text:?}"));
    }
    out.push(if name == "*" { Step::Wildcard } else { Step::Field(name) });
    Ok(&text[end..])
}

/// Where the bracket that opens the text closes; quotes hide brackets.
fn closing(text: &str) -> Result<usize, String> {
    let mut depth = 0usize;
    let mut quote: Option<char> = None;
    let mut escaped = false;
    for (i, c) in text.char_indices() {
        match quote {
            Some(_) if escaped => escaped = false,
            Some(_) if c == '\\' => escaped = true,
            Some(q) if c == q => quote = None,
            Some(_) => {}
            None => match c {
                '\'' | '"' => quote = Some(c),
                '[' => depth += 1,
                ']' => {
                    depth -= 1;
                    if depth == 0 {
                        return Ok(i);
                    }
                }
                _ => {}
            },
        }
    }
    Err("unterminated array".to_owned())
}

/// Splits at a character outside quotes.
fn split_outside_quotes(text: &str, at: char) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut quote: Option<char> = None;
    let mut start = 0;
    for (i, c) in text.char_indices() {
        match quote {
            Some(q) if c == q => quote = None,
            Some(_) => {}
            None if matches!(c, '\'' | '"') => quote = Some(c),
            None if c == at => {
                parts.push(&text[start..i]);
                start = i + c.len_utf8();
            }
            None => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

fn quoted(text: &str) -> Option<String> {
    let text = text.trim();
    let quote = text.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
    let inner = text.get(1..)?.strip_suffix(quote)?;
    let mut out = String::new();
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        if c == '\\' {
            out.extend(chars.next());
        } else {
            out.push(c);
        }
    }
    Some(out)
}

/// What stands between brackets.
fn bracket(inner: &str) -> Result<Step, String> {
    let inner = inner.trim();
    if inner == "*" {
        return Ok(Step::Wildcard);
    }
    if let Some(expression) = inner.strip_prefix("?(") {
        let expression = expression.strip_suffix(')').ok_or_else(|| "unterminated filter".to_owned())?;
        return filter(expression);
    }
    let parts = split_outside_quotes(inner, ',');
    if parts.len() > 1 {
        let paths: Result<Vec<Vec<Step>>, String> =
            parts.into_iter().map(|p| Ok(vec![bracket(p)?])).collect();
        return Ok(Step::Union(paths?));
    }
    if let Some(name) = quoted(inner) {
        return Ok(Step::Field(name));
    }
    let number = |text: &str| -> Result<Option<i64>, String> {
        match text.trim() {
            "" => Ok(None),
            text => text.parse().map(Some).map_err(|_| format!("invalid array index {inner}")),
        }
    };
    match inner.split(':').collect::<Vec<_>>().as_slice() {
        [one] => match number(one)? {
            Some(index) => Ok(Step::Index(index)),
            None => Ok(Step::Wildcard),
        },
        [start, end] => Ok(Step::Slice(number(start)?, number(end)?, 1)),
        [start, end, step] => match number(step)?.unwrap_or(1) {
            step if step > 0 => Ok(Step::Slice(number(start)?, number(end)?, step)),
            _ => Err("step must be > 0".to_owned()),
        },
        _ => Err(format!("invalid array index {inner}")),
    }
}

fn filter(expression: &str) -> Result<Step, String> {
    let operators = [
        ("==", Comparison::Equal),
        ("!=", Comparison::NotEqual),
        ("<=", Comparison::LessOrEqual),
        (">=", Comparison::GreaterOrEqual),
        ("<", Comparison::Less),
        (">", Comparison::Greater),
    ];
    let mut quote: Option<char> = None;
    for (i, c) in expression.char_indices() {
        match quote {
            Some(q) if c == q => quote = None,
            Some(_) => {}
            None if matches!(c, '\'' | '"') => quote = Some(c),
            None => {
                for (text, comparison) in operators {
                    if let Some(right) = expression[i..].strip_prefix(text) {
                        return Ok(Step::Filter(operand(&expression[..i])?, comparison, operand(right)?));
                    }
                }
            }
        }
    }
    Ok(Step::Filter(operand(expression)?, Comparison::Exists, Operand::Literal(Value::Null)))
}

fn operand(text: &str) -> Result<Operand, String> {
    let text = text.trim();
    if let Some(path) = text.strip_prefix('@') {
        return Ok(Operand::Path(steps(path)?));
    }
    if text.starts_with('.') || text.starts_with('$') {
        return Ok(Operand::Path(steps(text)?));
    }
    if let Some(literal) = quoted(text) {
        return Ok(Operand::Literal(literal.into()));
    }
    match serde_json::from_str::<Value>(text) {
        Ok(value @ (Value::Number(_) | Value::Bool(_))) => Ok(Operand::Literal(value)),
        _ => Err(format!("unrecognized filter operand {text:?}")),
    }
}
