//! Paths to fields and the errors found there, worded as `k8s.io/apimachinery/pkg/util/validation/field`.

use std::fmt;

use serde_json::Value;

use crate::status::StatusCause;

/// A path to a field of an object: `spec.containers[0].image`, `data[key]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Path(String);

impl Path {
    /// The object itself.
    pub fn root() -> Self {
        Self::default()
    }

    /// A top-level field. Upstream shows one without a name as `[]`.
    pub fn new(name: &str) -> Self {
        Self(if name.is_empty() { "[]".to_owned() } else { name.to_owned() })
    }

    /// A field of this one.
    pub fn child(&self, name: &str) -> Self {
        if self.0.is_empty() { Self(name.to_owned()) } else { Self(format!("{}.{name}", self.0)) }
    }

    /// An element of this list.
    pub fn index(&self, index: usize) -> Self {
        Self(format!("{}[{index}]", self.0))
    }

    /// An entry of this map, or an element of a list named by its key.
    pub fn key(&self, key: &str) -> Self {
        Self(format!("{}[{key}]", self.0))
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What is wrong with a field: `field.ErrorType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorType {
    /// A referenced value does not exist.
    NotFound,
    /// A value that must be present is not.
    Required,
    /// Two values that must differ do not.
    Duplicate,
    /// A malformed value.
    Invalid,
    /// A value outside a closed set.
    NotSupported,
    /// A value that is well formed but not allowed here.
    Forbidden,
    /// A text that is too long.
    TooLong,
    /// A list with too many items.
    TooMany,
    /// Something of ours failed.
    Internal,
    /// A value of the wrong JSON type.
    TypeInvalid,
}

impl ErrorType {
    /// The `reason` of a `StatusCause`.
    pub fn reason(self) -> &'static str {
        match self {
            Self::NotFound => "FieldValueNotFound",
            Self::Required => "FieldValueRequired",
            Self::Duplicate => "FieldValueDuplicate",
            Self::Invalid => "FieldValueInvalid",
            Self::NotSupported => "FieldValueNotSupported",
            Self::Forbidden => "FieldValueForbidden",
            Self::TooLong => "FieldValueTooLong",
            Self::TooMany => "FieldValueTooMany",
            Self::Internal => "InternalError",
            Self::TypeInvalid => "FieldValueTypeInvalid",
        }
    }

    fn text(self) -> &'static str {
        match self {
            Self::NotFound => "Not found",
            Self::Required => "Required value",
            Self::Duplicate => "Duplicate value",
            Self::Invalid => "Invalid value",
            Self::NotSupported => "Unsupported value",
            Self::Forbidden => "Forbidden",
            Self::TooLong => "Too long",
            Self::TooMany => "Too many",
            Self::Internal => "Internal error",
            Self::TypeInvalid => "Invalid value",
        }
    }
}

/// One thing wrong with one field.
#[derive(Clone, Debug, PartialEq)]
pub struct FieldError {
    /// The kind of error.
    pub error_type: ErrorType,
    /// Where.
    pub field: Path,
    /// The value as shown between the type and the detail, already in Go's form; `None` shows none.
    pub shown: Option<String>,
    /// What is wrong with it; may be empty.
    pub detail: String,
}

/// All that is wrong with an object.
pub type ErrorList = Vec<FieldError>;

impl FieldError {
    fn with(error_type: ErrorType, field: &Path, shown: Option<String>, detail: impl Into<String>) -> Self {
        Self { error_type, field: field.clone(), shown, detail: detail.into() }
    }

    /// `Invalid value: "x": detail`.
    pub fn invalid(field: &Path, value: &Value, detail: impl Into<String>) -> Self {
        Self::with(ErrorType::Invalid, field, Some(go_value(value)), detail)
    }

    /// [`FieldError::invalid`] with a text.
    pub fn invalid_str(field: &Path, value: &str, detail: impl Into<String>) -> Self {
        Self::with(ErrorType::Invalid, field, Some(go_quote(value)), detail)
    }

    /// `Required value: detail`.
    pub fn required(field: &Path, detail: impl Into<String>) -> Self {
        Self::with(ErrorType::Required, field, None, detail)
    }

    /// `Duplicate value: "x"`.
    pub fn duplicate(field: &Path, value: &Value) -> Self {
        Self::with(ErrorType::Duplicate, field, Some(go_value(value)), "")
    }

    /// `Not found: "x"`.
    pub fn not_found(field: &Path, value: &Value) -> Self {
        Self::with(ErrorType::NotFound, field, Some(go_value(value)), "")
    }

    /// `Unsupported value: "x": supported values: "a", "b"`, the values sorted, as most callers upstream
    /// do first.
    pub fn not_supported(field: &Path, value: &Value, supported: &[&str]) -> Self {
        let mut sorted: Vec<&str> = supported.to_vec();
        sorted.sort_unstable();
        Self::not_supported_in_order(field, value, &sorted)
    }

    /// [`FieldError::not_supported`] with the values in the order given, as the enums of custom resources.
    pub fn not_supported_in_order(field: &Path, value: &Value, supported: &[&str]) -> Self {
        let quoted: Vec<String> = supported.iter().map(|s| go_quote(s)).collect();
        let detail = if quoted.is_empty() {
            String::new()
        } else {
            format!("supported values: {}", quoted.join(", "))
        };
        Self::with(ErrorType::NotSupported, field, Some(go_value(value)), detail)
    }

    /// `Forbidden: detail`.
    pub fn forbidden(field: &Path, detail: impl Into<String>) -> Self {
        Self::with(ErrorType::Forbidden, field, None, detail)
    }

    /// `Too long: may not be more than N bytes`.
    pub fn too_long(field: &Path, max_bytes: usize) -> Self {
        Self::with(ErrorType::TooLong, field, None, format!("may not be more than {max_bytes} bytes"))
    }

    /// `Too many: N: must have at most M items`.
    pub fn too_many(field: &Path, actual: usize, max: usize) -> Self {
        let detail = format!("must have at most {max} item{}", if max == 1 { "" } else { "s" });
        Self::with(ErrorType::TooMany, field, Some(actual.to_string()), detail)
    }

    /// `Internal error: detail`.
    pub fn internal(field: &Path, detail: impl Into<String>) -> Self {
        Self::with(ErrorType::Internal, field, None, detail)
    }

    /// A value of the wrong type: `Invalid value: "string": detail`.
    pub fn type_invalid(field: &Path, shown: &str, detail: impl Into<String>) -> Self {
        Self::with(ErrorType::TypeInvalid, field, Some(go_quote(shown)), detail)
    }

    /// Without the field: `Invalid value: "x": detail`, the `message` of a cause.
    pub fn body(&self) -> String {
        let mut out = self.error_type.text().to_owned();
        if let Some(shown) = &self.shown {
            out.push_str(": ");
            out.push_str(shown);
        }
        if !self.detail.is_empty() {
            out.push_str(": ");
            out.push_str(&self.detail);
        }
        out
    }

    /// As a cause of a `Status`.
    pub fn cause(&self) -> StatusCause {
        let field = if self.field.0.is_empty() { "<nil>".to_owned() } else { self.field.0.clone() };
        StatusCause { reason: self.error_type.reason().to_owned(), message: self.body(), field }
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let field = if self.field.0.is_empty() { "<nil>" } else { &self.field.0 };
        write!(f, "{field}: {}", self.body())
    }
}

/// A text as Go's `%q` shows it.
pub fn go_quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{b}' => out.push_str("\\v"),
            '\u{c}' => out.push_str("\\f"),
            c if (c as u32) < 0x20 || c as u32 == 0x7f => out.push_str(&format!("\\x{:02x}", c as u32)),
            c if c.is_control() || (c.is_whitespace() && c != ' ') => {
                out.push_str(&format!("\\u{:04x}", c as u32));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// A value as `field.Error` shows it: texts quoted, numbers and booleans bare, the rest as compact JSON.
pub fn go_value(value: &Value) -> String {
    match value {
        Value::String(s) => go_quote(s),
        Value::Null => "null".to_owned(),
        // Go's encoder escapes what HTML would read.
        other => other.to_string().replace('&', "\\u0026").replace('<', "\\u003c").replace('>', "\\u003e"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn errors_read_as_upstream() {
        let path = Path::new("spec").child("containers").index(0).child("name");
        assert_eq!(FieldError::required(&path, "").to_string(), "spec.containers[0].name: Required value");
        assert_eq!(
            FieldError::not_supported(&Path::new("type"), &json!("x"), &["b", "a"]).to_string(),
            "type: Unsupported value: \"x\": supported values: \"a\", \"b\""
        );
        assert_eq!(
            FieldError::too_many(&Path::new("l"), 5, 4).to_string(),
            "l: Too many: 5: must have at most 4 items"
        );
    }
}
