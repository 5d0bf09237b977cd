//! Validation of `LabelSelector` and `Condition` (`k8s.io/apimachinery/pkg/apis/meta/v1/validation`).

use serde_json::Value;

use super::{field, validate_label_name, validate_labels};
use crate::field::{ErrorList, FieldError, Path};
use crate::names;

/// A `metav1.LabelSelector`. `check_values` also checks the values of expressions against the rules of
/// label values, as most kinds do.
pub fn validate_label_selector(path: &Path, selector: Option<&Value>, check_values: bool) -> ErrorList {
    let Some(selector) = selector.filter(|s| !s.is_null()) else {
        return ErrorList::new();
    };
    let mut errors = validate_labels(&path.child("matchLabels"), selector.get("matchLabels"));
    let expressions = selector.get("matchExpressions").and_then(Value::as_array);
    for (i, expression) in expressions.into_iter().flatten().enumerate() {
        let path = path.child("matchExpressions").index(i);
        let values: Vec<&str> = expression
            .get("values")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        let operator = field(expression, "operator");
        match operator {
            "In" | "NotIn" if values.is_empty() => errors.push(FieldError::required(
                &path.child("values"),
                "must be specified when `operator` is 'In' or 'NotIn'",
            )),
            "In" | "NotIn" => {}
            "Exists" | "DoesNotExist" if !values.is_empty() => errors.push(FieldError::forbidden(
                &path.child("values"),
                "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
            )),
            "Exists" | "DoesNotExist" => {}
            _ => errors.push(FieldError::invalid_str(
                &path.child("operator"),
                operator,
                "not a valid selector operator",
            )),
        }
        errors.extend(validate_label_name(&path.child("key"), field(expression, "key")));
        if check_values {
            for (n, value) in values.iter().enumerate() {
                let path = path.child("values").index(n);
                errors.extend(
                    names::is_valid_label_value(value)
                        .into_iter()
                        .map(|e| FieldError::invalid_str(&path, value, e)),
                );
            }
        }
    }
    errors
}

fn is_reason(reason: &str) -> bool {
    let bytes = reason.as_bytes();
    bytes.first().is_some_and(u8::is_ascii_alphabetic)
        && bytes.last().is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_')
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b',' | b':'))
}

/// A list of `metav1.Condition`.
pub fn validate_conditions(path: &Path, conditions: Option<&Value>) -> ErrorList {
    let mut errors = ErrorList::new();
    let mut seen: Vec<&str> = Vec::new();
    for (i, condition) in conditions.and_then(Value::as_array).into_iter().flatten().enumerate() {
        let path = path.index(i);
        let kind = field(condition, "type");
        if seen.contains(&kind) {
            errors.push(FieldError::duplicate(&path.child("type"), &kind.into()));
        } else {
            seen.push(kind);
        }
        errors.extend(validate_label_name(&path.child("type"), kind));
        let status = field(condition, "status");
        if !matches!(status, "True" | "False" | "Unknown") {
            errors.push(FieldError::not_supported(
                &path.child("status"),
                &status.into(),
                &["False", "True", "Unknown"],
            ));
        }
        if let Some(generation) =
            condition.get("observedGeneration").filter(|g| g.as_i64().is_some_and(|g| g < 0))
        {
            errors.push(FieldError::invalid(
                &path.child("observedGeneration"),
                generation,
                "must be greater than or equal to zero",
            ));
        }
        if field(condition, "lastTransitionTime").is_empty() {
            errors.push(FieldError::required(&path.child("lastTransitionTime"), "must be set"));
        }
        let reason = field(condition, "reason");
        if reason.is_empty() {
            errors.push(FieldError::required(&path.child("reason"), "must be set"));
        } else {
            if !is_reason(reason) {
                errors.push(FieldError::invalid_str(
                    &path.child("reason"),
                    reason,
                    names::regex_error(
                        "a condition reason must start with alphabetic character, optionally followed by a string of alphanumeric characters or '_,:', and must end with an alphanumeric character or '_'",
                        "[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?",
                        &["my_name", "MY_NAME", "MyName", "ReasonA,ReasonB", "ReasonA:ReasonB"],
                    ),
                ));
            }
            if reason.len() > 1024 {
                errors.push(FieldError::too_long(&path.child("reason"), 1024));
            }
        }
        if field(condition, "message").len() > 32 * 1024 {
            errors.push(FieldError::too_long(&path.child("message"), 32 * 1024));
        }
    }
    errors
}
