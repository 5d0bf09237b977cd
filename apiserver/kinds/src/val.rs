//! Reading and changing objects held as values: [`At`] for validation, and helpers for defaulting.

use kplane_machinery::field::{ErrorList, FieldError, Path};
use serde_json::{Map, Value};

/// A map of an object.
pub(crate) type Obj = Map<String, Value>;

static NULL: Value = Value::Null;

/// A value of an object, if it is there, and the path to it.
#[derive(Clone)]
pub(crate) struct At<'a> {
    value: Option<&'a Value>,
    pub(crate) path: Path,
}

impl<'a> At<'a> {
    /// The object itself.
    pub(crate) fn root(object: &'a Value) -> Self {
        Self { value: Some(object), path: Path::root() }
    }

    /// A value known to be at a path.
    pub(crate) fn new(value: Option<&'a Value>, path: Path) -> Self {
        Self { value: value.filter(|v| !v.is_null()), path }
    }

    /// A field of it.
    pub(crate) fn f(&self, name: &str) -> Self {
        Self::new(self.value.and_then(|v| v.get(name)), self.path.child(name))
    }

    /// A field some levels down.
    pub(crate) fn at(&self, names: &[&str]) -> Self {
        names.iter().fold(self.clone(), |at, name| at.f(name))
    }

    /// An entry of a map by a key that may hold dots.
    pub(crate) fn key(&self, key: &str) -> Self {
        Self::new(self.value.and_then(|v| v.get(key)), self.path.key(key))
    }

    /// The value; null when absent.
    pub(crate) fn value(&self) -> &'a Value {
        self.value.unwrap_or(&NULL)
    }

    /// Whether it is there.
    pub(crate) fn there(&self) -> bool {
        self.value.is_some()
    }

    /// Whether it is absent, or an empty text, list or map.
    pub(crate) fn empty(&self) -> bool {
        is_empty(self.value())
    }

    /// As a text; empty when absent.
    pub(crate) fn str(&self) -> &'a str {
        self.value().as_str().unwrap_or("")
    }

    /// As a whole number.
    pub(crate) fn int(&self) -> Option<i64> {
        self.value().as_i64()
    }

    /// As a whole number, 0 when absent.
    pub(crate) fn num(&self) -> i64 {
        self.int().unwrap_or(0)
    }

    /// As a boolean, false when absent.
    pub(crate) fn is_true(&self) -> bool {
        self.value() == &Value::Bool(true)
    }

    /// The number of items.
    pub(crate) fn len(&self) -> usize {
        match self.value() {
            Value::Array(items) => items.len(),
            Value::Object(entries) => entries.len(),
            Value::String(text) => text.len(),
            _ => 0,
        }
    }

    /// The items of a list.
    pub(crate) fn items(&self) -> impl Iterator<Item = At<'a>> {
        let path = self.path.clone();
        list(self.value()).iter().enumerate().map(move |(i, v)| At { value: Some(v), path: path.index(i) })
    }

    /// The entries of a map, each with a path like `data[key]`.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (&'a str, At<'a>)> {
        let path = self.path.clone();
        self.value()
            .as_object()
            .into_iter()
            .flatten()
            .map(move |(k, v)| (k.as_str(), At { value: Some(v), path: path.key(k) }))
    }

    /// The names of the fields that are there.
    pub(crate) fn names(&self) -> impl Iterator<Item = &'a str> {
        self.value().as_object().into_iter().flatten().filter(|(_, v)| !v.is_null()).map(|(k, _)| k.as_str())
    }

    /// `Required value`.
    pub(crate) fn required(&self, errors: &mut ErrorList, detail: &str) {
        errors.push(FieldError::required(&self.path, detail));
    }

    /// `Invalid value`.
    pub(crate) fn invalid(&self, errors: &mut ErrorList, detail: impl Into<String>) {
        errors.push(FieldError::invalid(&self.path, self.value(), detail));
    }

    /// `Invalid value` with a text, `""` when absent.
    pub(crate) fn invalid_text(&self, errors: &mut ErrorList, detail: impl Into<String>) {
        errors.push(FieldError::invalid_str(&self.path, self.str(), detail));
    }

    /// `Invalid value` for each message.
    pub(crate) fn invalid_all(&self, errors: &mut ErrorList, messages: Vec<String>) {
        for message in messages {
            self.invalid_text(errors, message);
        }
    }

    /// `Unsupported value`; an absent text counts as empty.
    pub(crate) fn unsupported(&self, errors: &mut ErrorList, supported: &[&str]) {
        let empty = Value::String(String::new());
        let shown = if self.there() { self.value() } else { &empty };
        errors.push(FieldError::not_supported(&self.path, shown, supported));
    }

    /// `Forbidden`.
    pub(crate) fn forbidden(&self, errors: &mut ErrorList, detail: impl Into<String>) {
        errors.push(FieldError::forbidden(&self.path, detail));
    }

    /// `Duplicate value`.
    pub(crate) fn duplicate(&self, errors: &mut ErrorList) {
        errors.push(FieldError::duplicate(&self.path, self.value()));
    }

    /// `Unsupported value` unless it is one of the texts.
    pub(crate) fn one_of(&self, errors: &mut ErrorList, supported: &[&str]) {
        if !supported.contains(&self.str()) {
            self.unsupported(errors, supported);
        }
    }

    /// `Required value` when empty, `Unsupported value` unless one of the texts.
    pub(crate) fn required_one_of(&self, errors: &mut ErrorList, supported: &[&str]) {
        if self.str().is_empty() { self.required(errors, "") } else { self.one_of(errors, supported) }
    }

    /// `must be greater than or equal to 0`, when it is there.
    pub(crate) fn non_negative(&self, errors: &mut ErrorList) {
        if self.num() < 0 {
            self.invalid(errors, "must be greater than or equal to 0");
        }
    }

    /// `field is immutable`, unless equal to the old one; absent and empty are the same.
    pub(crate) fn immutable(&self, errors: &mut ErrorList, old: &At<'_>) {
        if !same(self.value(), old.value()) {
            self.invalid(errors, "field is immutable");
        }
    }
}

/// Whether two values are semantically equal: absent, null and empty are the same.
pub(crate) fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Object(x), Value::Object(y)) => {
            x.iter().all(|(k, v)| same(v, y.get(k).unwrap_or(&NULL)))
                && y.iter().all(|(k, v)| x.contains_key(k) || is_void(v))
        }
        (Value::Array(x), Value::Array(y)) => x.len() == y.len() && x.iter().zip(y).all(|(a, b)| same(a, b)),
        _ => a == b || (is_void(a) && is_void(b)),
    }
}

/// Null, or an empty text, list or map.
pub(crate) fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(entries) => entries.is_empty(),
        _ => false,
    }
}

/// Empty, or a map of nothing but such.
fn is_void(value: &Value) -> bool {
    match value {
        Value::Object(entries) => entries.values().all(is_void),
        other => is_empty(other),
    }
}

/// The items of a list; none when it is none.
pub(crate) fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or(&[])
}

/// The items of a list field.
pub(crate) fn items<'a>(value: &'a Value, field: &str) -> &'a [Value] {
    value.get(field).map(list).unwrap_or(&[])
}

/// A text field; empty when absent.
pub(crate) fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value.get(field).and_then(Value::as_str).unwrap_or("")
}

/// A number field.
pub(crate) fn int(value: &Value, field: &str) -> Option<i64> {
    value.get(field).and_then(Value::as_i64)
}

/// A boolean field; false when absent.
pub(crate) fn truth(value: &Value, field: &str) -> bool {
    value.get(field).and_then(Value::as_bool).unwrap_or(false)
}

/// A field that is there and not null.
pub(crate) fn sub<'a>(value: &'a Value, field: &str) -> Option<&'a Value> {
    value.get(field).filter(|v| !v.is_null())
}

/// A map field of a value.
pub(crate) fn map_mut<'a>(value: &'a mut Value, field: &str) -> Option<&'a mut Obj> {
    value.get_mut(field).and_then(Value::as_object_mut)
}

/// A map field of a map.
pub(crate) fn child<'a>(object: &'a mut Obj, field: &str) -> Option<&'a mut Obj> {
    object.get_mut(field).and_then(Value::as_object_mut)
}

/// A map field of a map, made when absent. `None` if it is something else.
pub(crate) fn ensure<'a>(object: &'a mut Obj, field: &str) -> Option<&'a mut Obj> {
    let value = object.entry(field).or_insert(Value::Null);
    if value.is_null() {
        *value = Value::Object(Obj::new());
    }
    value.as_object_mut()
}

/// Sets a field that is absent.
pub(crate) fn dflt(object: &mut Obj, field: &str, value: impl Into<Value>) {
    match object.get_mut(field) {
        Some(there) if there.is_null() => *there = value.into(),
        Some(_) => {}
        None => {
            object.insert(field.to_owned(), value.into());
        }
    }
}

/// Sets a text that is absent or empty.
pub(crate) fn dflt_str(object: &mut Obj, field: &str, value: &str) {
    if object.get(field).is_none_or(is_empty) {
        object.insert(field.to_owned(), value.into());
    }
}

/// Does something to each map of a list field.
pub(crate) fn each(object: &mut Obj, field: &str, mut change: impl FnMut(&mut Obj)) {
    if let Some(Value::Array(items)) = object.get_mut(field) {
        items.iter_mut().filter_map(Value::as_object_mut).for_each(&mut change);
    }
}

/// Replaces `status`.
pub(crate) fn set_status(object: &mut Value, status: Value) {
    if let Some(fields) = object.as_object_mut() {
        fields.insert("status".into(), status);
    }
}
