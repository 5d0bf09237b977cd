//! Writing YAML.

use serde_json::Value;

/// Why a value could not be written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct WriteError(String);

/// Writes a value as YAML, its fields sorted by name as `sigs.k8s.io/yaml` does.
pub fn to_yaml(value: &Value) -> Result<String, WriteError> {
    let mut out = String::new();
    match value {
        Value::Object(fields) if !fields.is_empty() => map(&mut out, fields, 0),
        Value::Array(items) if !items.is_empty() => list(&mut out, items, 0),
        scalar => {
            inline(&mut out, scalar, 0);
            out.push('\n');
        }
    }
    Ok(out)
}

fn indent(out: &mut String, depth: usize) {
    for _ in 0..depth {
        out.push_str("  ");
    }
}

fn map(out: &mut String, fields: &serde_json::Map<String, Value>, depth: usize) {
    for (index, (name, value)) in fields.iter().enumerate() {
        if index > 0 {
            indent(out, depth);
        }
        text(out, name);
        out.push(':');
        match value {
            Value::Object(inner) if !inner.is_empty() => {
                out.push('\n');
                indent(out, depth + 1);
                map(out, inner, depth + 1);
            }
            // Lists stand below their name without further indentation, as kubectl shows them.
            Value::Array(inner) if !inner.is_empty() => {
                out.push('\n');
                indent(out, depth);
                list(out, inner, depth);
            }
            scalar => {
                out.push(' ');
                inline(out, scalar, depth + 1);
                out.push('\n');
            }
        }
    }
}

fn list(out: &mut String, items: &[Value], depth: usize) {
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            indent(out, depth);
        }
        out.push_str("- ");
        match item {
            Value::Object(inner) if !inner.is_empty() => map(out, inner, depth + 1),
            Value::Array(inner) if !inner.is_empty() => list(out, inner, depth + 1),
            scalar => {
                inline(out, scalar, depth + 1);
                out.push('\n');
            }
        }
    }
}

fn inline(out: &mut String, value: &Value, depth: usize) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(b) => out.push_str(if *b { "true" } else { "false" }),
        Value::Number(n) => out.push_str(&n.to_string()),
        Value::String(s) if is_block(s) => block(out, s, depth),
        Value::String(s) => text(out, s),
        Value::Array(_) => out.push_str("[]"),
        Value::Object(_) => out.push_str("{}"),
    }
}

/// Texts of several lines are readable as blocks, unless their form would need an explicit indentation.
fn is_block(s: &str) -> bool {
    s.trim_end_matches('\n').contains('\n')
        && !s.starts_with([' ', '\n', '\t'])
        && !s.ends_with("\n\n")
        && s.chars().all(|c| c == '\n' || (c >= ' ' && c != '\u{7f}' && !is_special(c)))
}

fn block(out: &mut String, s: &str, depth: usize) {
    out.push_str(if s.ends_with('\n') { "|" } else { "|-" });
    for line in s.trim_end_matches('\n').split('\n') {
        out.push('\n');
        if !line.is_empty() {
            indent(out, depth);
            out.push_str(line);
        }
    }
}

/// Characters that YAML takes for line ends or marks, and so must be escaped.
fn is_special(c: char) -> bool {
    matches!(c, '\u{80}'..='\u{9f}' | '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}')
}

fn text(out: &mut String, s: &str) {
    if is_plain(s) {
        out.push_str(s);
    } else {
        // A JSON text is a double-quoted YAML text, but for the characters YAML calls special.
        out.push('"');
        for c in s.chars() {
            match c {
                '"' => out.push_str("\\\""),
                '\\' => out.push_str("\\\\"),
                '\n' => out.push_str("\\n"),
                '\r' => out.push_str("\\r"),
                '\t' => out.push_str("\\t"),
                c if (c as u32) < 0x20 || c as u32 == 0x7f || is_special(c) => {
                    out.push_str(&format!("\\u{:04x}", c as u32));
                }
                c => out.push(c),
            }
        }
        out.push('"');
    }
}

/// Whether a text may stand without quotes and be read as a text again.
fn is_plain(s: &str) -> bool {
    let Some(first) = s.chars().next() else { return false };
    let simple = |c: char| {
        c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '/' | '-' | '(' | ')' | '+' | ';' | '=')
    };
    if !(first.is_ascii_alphabetic() || first == '/' || first == '_') {
        return false;
    }
    if !s.chars().all(|c| simple(c) || c == ' ' || c == ':' || c == ',') {
        return false;
    }
    if s.ends_with([' ', ':']) || s.contains(": ") || s.contains(" #") {
        return false;
    }
    !matches!(
        s.to_ascii_lowercase().as_str(),
        "y" | "n" | "yes" | "no" | "on" | "off" | "true" | "false" | "null" | "nan" | "inf" | "infinity"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn reads_as_kubectl_shows_it() {
        let value = json!({"apiVersion": "v1", "data": {"a": "1", "b": "x\ny\n"}, "empty": {}, "l": [{"name": 1, "o": "yes"}, []]});
        let told = "apiVersion: v1\ndata:\n  a: \"1\"\n  b: |\n    x\n    y\nempty: {}\nl:\n- name: 1\n  o: \"yes\"\n- []\n";
        assert_eq!(to_yaml(&value).unwrap(), told);
    }
}
