//! Validation of custom resources against their schema, worded as `k8s.io/kube-openapi/pkg/validation/validate` and
//! `k8s.io/apiextensions-apiserver/pkg/apiserver/validation` do. Rules in CEL are not run here.

mod embedded;
mod format;
mod lists;
mod pattern;

use std::fmt;

pub(crate) use pattern::error as pattern_error;

use kplane_machinery::field::{ErrorList, ErrorType, FieldError, Path, go_quote, go_value};
use kplane_machinery::schema::{Schema, SchemaType, Validations};
use serde_json::{Map, Value};

/// What is wrong with a custom resource, by its schema.
///
/// On update, `old` is what was there: parts that have not changed are not blamed, so that an object may be
/// changed elsewhere though its schema has become stricter since.
pub fn validate(schema: &Schema, object: &Value, old: Option<&Value>) -> ErrorList {
    let mut errors = Vec::new();
    value(schema, object, old, &Step::Root, &mut errors);
    lists::duplicates(schema, object, old, &Path::root(), &mut errors);
    errors
}

/// The way down, written only when something is wrong.
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

impl Step<'_> {
    fn path(&self) -> Path {
        let text = self.to_string();
        if text.is_empty() { Path::root() } else { Path::new(&text) }
    }

    /// `Invalid value: 11: spec.size in body should be less than or equal to 10`.
    fn invalid(&self, value: &Value, told: impl fmt::Display) -> FieldError {
        FieldError::invalid(&self.path(), value, format!("{self} in body {told}"))
    }

    /// An error about the value as a whole, which upstream shows empty.
    fn composite(&self, told: &str) -> FieldError {
        FieldError::invalid_str(&self.path(), "", format!("{} {told}", go_quote(&self.to_string())))
    }
}

fn value(schema: &Schema, given: &Value, old: Option<&Value>, at: &Step<'_>, errors: &mut ErrorList) {
    // Built-in parts, such as `metadata`, are validated as such elsewhere.
    if schema.type_name.is_some() || old == Some(given) {
        return;
    }
    if given.is_null() && schema.nullable {
        return;
    }
    if !is_of_type(schema, given) {
        let (wanted, found) = (type_names(schema), type_of(given));
        let told = format!("{at} in body must be of type {wanted}: {}", go_quote(found));
        errors.push(FieldError::type_invalid(&at.path(), found, told));
        if let Some(validations) = &schema.validations {
            enumeration(validations, given, at, errors);
        }
        return;
    }
    if let Some(validations) = &schema.validations {
        composites(validations, given, at, errors);
    }
    match given {
        Value::String(text) => strings(schema, given, text, at, errors),
        Value::Number(_) => numbers(schema, given, at, errors),
        Value::Array(items) => {
            list_sizes(schema, given, items.len(), at, errors);
            if let Some(of) = &schema.items {
                let old = old.and_then(Value::as_array).map(Vec::as_slice);
                for (index, item) in items.iter().enumerate() {
                    let before = lists::counterpart(schema, item, old);
                    value(of, item, before, &Step::Item(at, index), errors);
                }
            }
        }
        Value::Object(fields) => object(schema, given, fields, old, at, errors),
        _ => {}
    }
    if let Some(validations) = &schema.validations {
        enumeration(validations, given, at, errors);
    }
}

fn object(
    schema: &Schema,
    given: &Value,
    fields: &Map<String, Value>,
    old: Option<&Value>,
    at: &Step<'_>,
    errors: &mut ErrorList,
) {
    if let Some(validations) = &schema.validations {
        if let Some(max) = validations.max_properties.filter(|max| fields.len() as u64 > *max) {
            errors.push(FieldError::too_many(
                &at.path(),
                fields.len(),
                usize::try_from(max).unwrap_or(usize::MAX),
            ));
        }
        if let Some(min) = validations.min_properties.filter(|min| (fields.len() as u64) < *min) {
            errors.push(at.invalid(given, format_args!("should have at least {min} properties")));
        }
    }
    for name in &schema.required {
        if !fields.contains_key(&**name) {
            errors.push(FieldError::required(&Step::Field(at, name).path(), ""));
        }
    }
    if schema.embedded_resource {
        embedded::check(fields, at, errors);
    }
    for (name, given) in fields {
        // In which version an object is spoken of is not kept with it: that it has not changed says nothing.
        let old =
            old.filter(|_| !(matches!(at, Step::Root) && matches!(name.as_str(), "apiVersion" | "kind")));
        let of = match schema.property(name) {
            Some(property) => &property.schema,
            None => match &schema.additional {
                Some(of) => of,
                None => continue,
            },
        };
        value(of, given, old.and_then(|old| old.get(name)), &Step::Field(at, name), errors);
    }
}

fn strings(schema: &Schema, given: &Value, text: &str, at: &Step<'_>, errors: &mut ErrorList) {
    if let Some(validations) = &schema.validations {
        let length = text.chars().count() as u64;
        if let Some(max) = validations.max_length.filter(|max| length > *max) {
            errors.push(FieldError::too_long(&at.path(), usize::try_from(max).unwrap_or(usize::MAX)));
        }
        if let Some(min) = validations.min_length.filter(|min| length < *min) {
            errors.push(at.invalid(given, format_args!("should be at least {min} chars long")));
        }
        if let Some(pattern) = &validations.pattern
            && pattern::matches(pattern, text) == Some(false)
        {
            errors.push(at.invalid(given, format_args!("should match '{pattern}'")));
        }
    }
    if let Some(format) = &schema.format
        && !format::is_valid(format, text)
    {
        let told = format!("{at} in body must be of type {format}: {}", go_quote(text));
        errors.push(FieldError::type_invalid(&at.path(), text, told));
    }
}

fn numbers(schema: &Schema, given: &Value, at: &Step<'_>, errors: &mut ErrorList) {
    let (Some(validations), Some(number)) = (&schema.validations, given.as_f64()) else { return };
    if let Some(of) = validations.multiple_of {
        let times = number / of;
        if of != 0.0 && (times - times.round()).abs() > 1e-9 {
            errors.push(at.invalid(given, format_args!("should be a multiple of {of}")));
        }
    }
    if let Some(max) = validations.maximum {
        if validations.exclusive_maximum && number >= max {
            errors.push(at.invalid(given, format_args!("should be less than {max}")));
        } else if number > max {
            errors.push(at.invalid(given, format_args!("should be less than or equal to {max}")));
        }
    }
    if let Some(min) = validations.minimum {
        if validations.exclusive_minimum && number <= min {
            errors.push(at.invalid(given, format_args!("should be greater than {min}")));
        } else if number < min {
            errors.push(at.invalid(given, format_args!("should be greater than or equal to {min}")));
        }
    }
}

fn list_sizes(schema: &Schema, given: &Value, length: usize, at: &Step<'_>, errors: &mut ErrorList) {
    let Some(validations) = &schema.validations else { return };
    if let Some(min) = validations.min_items.filter(|min| (length as u64) < *min) {
        errors.push(at.invalid(given, format_args!("should have at least {min} items")));
    }
    if let Some(max) = validations.max_items.filter(|max| length as u64 > *max) {
        errors.push(FieldError::too_many(&at.path(), length, usize::try_from(max).unwrap_or(usize::MAX)));
    }
    if validations.unique_items
        && let Some(items) = given.as_array()
        && items.iter().enumerate().any(|(i, item)| items.iter().take(i).any(|other| other == item))
    {
        errors.push(at.invalid(given, "shouldn't contain duplicates"));
    }
}

/// Upstream keeps the order of the schema here, where `field.NotSupported` elsewhere sorts.
fn enumeration(validations: &Validations, given: &Value, at: &Step<'_>, errors: &mut ErrorList) {
    if validations.enumeration.is_empty()
        || validations.enumeration.iter().any(|allowed| same(allowed, given))
    {
        return;
    }
    let allowed: Vec<String> = validations
        .enumeration
        .iter()
        .map(|value| match value {
            Value::String(text) => go_quote(text),
            other => go_quote(&other.to_string()),
        })
        .collect();
    errors.push(FieldError {
        error_type: ErrorType::NotSupported,
        field: at.path(),
        shown: Some(go_value(given)),
        detail: format!("supported values: {}", allowed.join(", ")),
    });
}

/// Equal, numbers by their value.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(x), Value::Number(y)) => x == y || x.as_f64() == y.as_f64(),
        _ => a == b,
    }
}

fn composites(validations: &Validations, given: &Value, at: &Step<'_>, errors: &mut ErrorList) {
    let tried = |schemas: &[Schema]| -> Vec<ErrorList> {
        schemas
            .iter()
            .map(|schema| {
                let mut errors = Vec::new();
                value(schema, given, None, at, &mut errors);
                errors
            })
            .collect()
    };
    // Of the failures, upstream tells those of the schema that matched best.
    let best = |tries: Vec<ErrorList>| tries.into_iter().min_by_key(Vec::len).unwrap_or_default();
    if !validations.any_of.is_empty() {
        let tries = tried(&validations.any_of);
        if tries.iter().all(|errors| !errors.is_empty()) {
            errors.push(at.composite("must validate at least one schema (anyOf)"));
            errors.extend(best(tries));
        }
    }
    if !validations.one_of.is_empty() {
        let tries = tried(&validations.one_of);
        match tries.iter().filter(|errors| errors.is_empty()).count() {
            1 => {}
            0 => {
                errors.push(at.composite("must validate one and only one schema (oneOf). Found none valid"));
                errors.extend(best(tries));
            }
            many => errors.push(at.composite(&format!(
                "must validate one and only one schema (oneOf). Found {many} valid alternatives"
            ))),
        }
    }
    if !validations.all_of.is_empty() {
        let failed: ErrorList = tried(&validations.all_of).into_iter().flatten().collect();
        if !failed.is_empty() {
            errors.extend(failed);
            errors.push(at.composite("must validate all the schemas (allOf)"));
        }
    }
    if let Some(not) = &validations.not {
        let mut failed = Vec::new();
        value(not, given, None, at, &mut failed);
        if failed.is_empty() {
            errors.push(at.composite("must not validate the schema (not)"));
        }
    }
}

fn is_of_type(schema: &Schema, given: &Value) -> bool {
    if schema.int_or_string {
        return given.is_string() || is_whole(given);
    }
    match schema.schema_type {
        SchemaType::Any => true,
        SchemaType::Object => given.is_object(),
        SchemaType::Array => given.is_array(),
        SchemaType::String => given.is_string(),
        SchemaType::Integer => is_whole(given),
        SchemaType::Number => given.is_number(),
        SchemaType::Boolean => given.is_boolean(),
    }
}

fn is_whole(given: &Value) -> bool {
    given.is_i64() || given.is_u64() || given.as_f64().is_some_and(|n| n.fract() == 0.0)
}

fn type_names(schema: &Schema) -> &'static str {
    if schema.int_or_string {
        return "integer,string";
    }
    match schema.schema_type {
        SchemaType::Any => "",
        SchemaType::Object => "object",
        SchemaType::Array => "array",
        SchemaType::String => "string",
        SchemaType::Integer => "integer",
        SchemaType::Number => "number",
        SchemaType::Boolean => "boolean",
    }
}

fn type_of(given: &Value) -> &'static str {
    match given {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) if is_whole(given) => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

#[cfg(test)]
mod tests;
