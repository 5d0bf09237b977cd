//! From bytes to a value, minding fields given twice.

use std::cell::RefCell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// How a body is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `application/json`.
    Json,
    /// `application/yaml`; JSON is YAML too.
    Yaml,
}

/// A body that is well formed.
#[derive(Clone, Debug, PartialEq)]
pub struct Parsed {
    /// What it says; of a field given twice, the last.
    pub value: Value,
    /// `duplicate field "data.a"`, as a strict decoder complains.
    pub duplicates: Vec<String>,
}

/// A body that is not well formed, in the words of Go's decoder.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ParseError(String);

/// Reads a body.
pub fn parse(bytes: &[u8], format: Format) -> Result<Parsed, ParseError> {
    match format {
        Format::Json => parse_json(bytes),
        Format::Yaml => parse_yaml(bytes),
    }
}

fn parse_json(bytes: &[u8]) -> Result<Parsed, ParseError> {
    // Go replaces what is not UTF-8; so do we, at a copy's cost that only such bodies pay.
    let text = String::from_utf8_lossy(bytes);
    let duplicates = RefCell::new(Vec::new());
    let mut reader = serde_json::Deserializer::from_str(&text);
    let value = Tree { at: Step::Root, duplicates: &duplicates }
        .deserialize(&mut reader)
        .and_then(|value| reader.end().map(|()| value))
        .map_err(|e| ParseError(in_words_of_go(&e, &text, bytes)))?;
    Ok(Parsed { value, duplicates: duplicates.into_inner() })
}

fn parse_yaml(bytes: &[u8]) -> Result<Parsed, ParseError> {
    let text = std::str::from_utf8(bytes)
        .map_err(|_| ParseError("error converting YAML to JSON: yaml: invalid UTF-8".to_owned()))?;
    let duplicates = RefCell::new(Vec::new());
    let options = serde_saphyr::options! {
        // They are reported, not refused: the visitor sees both.
        duplicate_keys: serde_saphyr::DuplicateKeyPolicy::LastWins,
        legacy_octal_numbers: true,
        with_snippet: false,
    };
    let value = serde_saphyr::with_deserializer_from_str_with_options(text, options, |reader| {
        Tree { at: Step::Root, duplicates: &duplicates }.deserialize(reader)
    })
    .map_err(|e| ParseError(format!("error converting YAML to JSON: yaml: {e}")))?;
    Ok(Parsed { value, duplicates: duplicates.into_inner() })
}

/// Where in the body the reader is; kept on the stack, so that it costs nothing unless something is wrong.
#[derive(Clone, Copy)]
enum Step<'a> {
    Root,
    Field(&'a Step<'a>, &'a str),
    Item(&'a Step<'a>, usize),
}

impl fmt::Display for Step<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => Ok(()),
            Self::Field(Step::Root, name) => f.write_str(name),
            Self::Field(parent, name) => write!(f, "{parent}.{name}"),
            Self::Item(parent, index) => write!(f, "{parent}[{index}]"),
        }
    }
}

struct Tree<'a> {
    at: Step<'a>,
    duplicates: &'a RefCell<Vec<String>>,
}

impl<'de> DeserializeSeed<'de> for Tree<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Tree<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("json: unsupported value"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut out = Vec::new();
        while let Some(item) = items
            .next_element_seed(Tree { at: Step::Item(&self.at, out.len()), duplicates: self.duplicates })?
        {
            out.push(item);
        }
        Ok(Value::Array(out))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
        let mut out = Map::new();
        while let Some(Key(name)) = fields.next_key()? {
            let at = Step::Field(&self.at, &name);
            let value = fields.next_value_seed(Tree { at, duplicates: self.duplicates })?;
            if out.contains_key(&name) {
                let said = format!("duplicate field {:?}", at.to_string());
                let mut duplicates = self.duplicates.borrow_mut();
                if !duplicates.contains(&said) {
                    duplicates.push(said);
                }
            }
            out.insert(name, value);
        }
        Ok(Value::Object(out))
    }
}

/// The name of a field; YAML allows numbers and booleans, which become their text.
struct Key(String);

impl<'de> serde::Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Name;
        impl Visitor<'_> for Name {
            type Value = Key;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of a field")
            }

            fn visit_str<E>(self, value: &str) -> Result<Key, E> {
                Ok(Key(value.to_owned()))
            }

            fn visit_string<E>(self, value: String) -> Result<Key, E> {
                Ok(Key(value))
            }

            fn visit_bool<E>(self, value: bool) -> Result<Key, E> {
                Ok(Key(value.to_string()))
            }

            fn visit_i64<E>(self, value: i64) -> Result<Key, E> {
                Ok(Key(value.to_string()))
            }

            fn visit_u64<E>(self, value: u64) -> Result<Key, E> {
                Ok(Key(value.to_string()))
            }

            fn visit_f64<E>(self, value: f64) -> Result<Key, E> {
                Ok(Key(value.to_string()))
            }

            fn visit_unit<E: serde::de::Error>(self) -> Result<Key, E> {
                Err(E::custom("a field without a name"))
            }
        }
        deserializer.deserialize_any(Name).map_err(|e| D::Error::custom(e.to_string()))
    }
}

/// The error of `encoding/json` for what `serde_json` found.
fn in_words_of_go(error: &serde_json::Error, text: &str, bytes: &[u8]) -> String {
    if error.is_eof() {
        return "unexpected end of JSON input".to_owned();
    }
    let told = error.to_string();
    if told.starts_with("recursion limit exceeded") {
        return "exceeded max depth".to_owned();
    }
    let after = if told.starts_with("key must be a string") {
        "looking for beginning of object key string"
    } else if told.starts_with("expected `,` or `}`") {
        "after object key:value pair"
    } else if told.starts_with("expected `,` or `]`") {
        "after array element"
    } else if told.starts_with("expected `:`") {
        "after object key"
    } else if told.starts_with("trailing characters") {
        "after top-level value"
    } else if told.starts_with("trailing comma") {
        "looking for beginning of value"
    } else if told.starts_with("control character") {
        "in string literal"
    } else if told.starts_with("invalid escape") {
        "in string escape code"
    } else if told.starts_with("invalid number") {
        "in numeric literal"
    } else {
        "looking for beginning of value"
    };
    let at = text.lines().nth(error.line().saturating_sub(1)).and_then(|line| {
        let end = error.column().clamp(1, line.len().max(1)) - 1;
        line.get(end..).and_then(|rest| rest.chars().next())
    });
    // Go reads bytes, and shows the one it stumbled over as a character of Latin-1.
    let at = at.map(|c| match c {
        char::REPLACEMENT_CHARACTER => std::str::from_utf8(bytes)
            .err()
            .and_then(|e| bytes.get(e.valid_up_to()))
            .map_or(c, |byte| char::from(*byte)),
        c if c.is_ascii() => c,
        c => char::from(c.encode_utf8(&mut [0; 4]).as_bytes()[0]),
    });
    match at {
        Some('\'') => format!(r"invalid character '\'' {after}"),
        Some('"') => format!("invalid character '\"' {after}"),
        Some(c) => format!("invalid character {c:?} {after}"),
        None => format!("invalid character '\\n' {after}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn duplicates_are_told_by_path() {
        let text = br#"{"data":{"a":"1","a":"2"},"l":[{"x":1},{"x":1,"x":2,"x":3}]}"#;
        let parsed = parse(text, Format::Json).unwrap();
        assert_eq!(parsed.value, json!({"data": {"a": "2"}, "l": [{"x": 1}, {"x": 3}]}));
        assert_eq!(parsed.duplicates, ["duplicate field \"data.a\"", "duplicate field \"l[1].x\""]);
        let parsed = parse(b"a: 1\nb: x\na: 2\n", Format::Yaml).unwrap();
        assert_eq!(parsed.value, json!({"a": 2, "b": "x"}));
        assert_eq!(parsed.duplicates, ["duplicate field \"a\""]);
    }

    #[test]
    fn what_is_not_json_is_told_as_go_tells_it() {
        let told = |text: &str| parse(text.as_bytes(), Format::Json).unwrap_err().to_string();
        assert_eq!(told("{\"a\":"), "unexpected end of JSON input");
        assert_eq!(told("x"), "invalid character 'x' looking for beginning of value");
        assert_eq!(told("{\"a\" 1}"), "invalid character '1' after object key");
        assert_eq!(told("{\"a\":1]"), "invalid character ']' after object key:value pair");
        assert_eq!(told(&"[".repeat(100_000)), "exceeded max depth");
        assert_eq!(told("é"), "invalid character 'Ã' looking for beginning of value");
        let told = parse(b"\xcf", Format::Json).unwrap_err().to_string();
        assert_eq!(told, "invalid character 'Ï' looking for beginning of value");
    }

    #[test]
    fn yaml_scalars_have_their_types() {
        let parsed =
            parse(b"a: yes\nb: '1'\nc: 1.5\nd: ~\ne: 010\n1: x\nf: 2020-01-01\n", Format::Yaml).unwrap();
        assert_eq!(
            parsed.value,
            json!({"a": true, "b": "1", "c": 1.5, "d": null, "e": 8, "1": "x", "f": "2020-01-01"})
        );
    }

    pub(crate) fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "\\PC{0,12}".prop_map(Value::from),
            "[0-9a-zA-Z~:.+_-]{0,6}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 5, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::btree_map("[a-z0-9./~-]{1,6}", inner, 0..4)
                    .prop_map(|m| Value::Object(m.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn json_reads_back(value in values()) {
            let parsed = parse(value.to_string().as_bytes(), Format::Json).unwrap();
            prop_assert_eq!(parsed.value, value);
            prop_assert!(parsed.duplicates.is_empty());
        }

        #[test]
        fn yaml_reads_back(value in values()) {
            let text = crate::yaml::to_yaml(&value).unwrap();
            let parsed = parse(text.as_bytes(), Format::Yaml);
            prop_assert_eq!(parsed.map(|p| p.value), Ok(value), "{}", text);
        }

        #[test]
        fn nothing_breaks_the_parser(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = parse(&bytes, Format::Json);
            let _ = parse(&bytes, Format::Yaml);
        }
    }
}
