//! Validation shared by kinds: label selectors, references by name, paths.

use kplane_machinery::field::{ErrorList, FieldError};
use serde_json::Value;

use crate::check;
use crate::val::{At, Obj};

/// Labels: each key a qualified name, each value a label value.
pub(crate) fn labels(labels: &At<'_>, errors: &mut ErrorList) {
    for (key, value) in labels.entries() {
        for message in check::qualified(key) {
            errors.push(FieldError::invalid_str(&labels.path, key, message));
        }
        for message in check::label_value(value.str()) {
            errors.push(FieldError::invalid_str(&labels.path, value.str(), message));
        }
    }
}

/// Annotations: each key a qualified name, and not too much of it all.
pub(crate) fn annotations(annotations: &At<'_>, errors: &mut ErrorList) {
    for (key, _) in annotations.entries() {
        for message in check::qualified(&key.to_lowercase()) {
            errors.push(FieldError::invalid_str(&annotations.path, key, message));
        }
    }
}

/// A `LabelSelector`.
pub(crate) fn label_selector(selector: &At<'_>, errors: &mut ErrorList) {
    labels(&selector.f("matchLabels"), errors);
    for expression in selector.f("matchExpressions").items() {
        let (operator, values, key) = (expression.f("operator"), expression.f("values"), expression.f("key"));
        match operator.str() {
            "In" | "NotIn" => {
                if values.len() == 0 {
                    values.required(errors, "must be specified when `operator` is 'In' or 'NotIn'");
                }
            }
            "Exists" | "DoesNotExist" => {
                if values.len() > 0 {
                    values.forbidden(
                        errors,
                        "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
                    );
                }
            }
            _ => operator.invalid_text(errors, "not a valid selector operator"),
        }
        key.invalid_all(errors, check::qualified(key.str()));
        for value in values.items() {
            value.invalid_all(errors, check::label_value(value.str()));
        }
    }
}

/// Whether a `LabelSelector` has neither labels nor expressions.
pub(crate) fn selector_empty(selector: &At<'_>) -> bool {
    selector.f("matchLabels").len() == 0 && selector.f("matchExpressions").len() == 0
}

/// Whether labels match a `LabelSelector`; an empty one matches all.
pub(crate) fn selector_matches(selector: &Value, labels: Option<&Obj>) -> bool {
    let get = |key: &str| labels.and_then(|l| l.get(key)).and_then(Value::as_str);
    let all = |field: &str| selector.get(field).cloned().unwrap_or_default();
    let exact = all("matchLabels");
    let exact = exact.as_object().is_none_or(|m| m.iter().all(|(k, v)| get(k) == v.as_str()));
    let expressions = all("matchExpressions");
    exact
        && expressions.as_array().is_none_or(|list| {
            list.iter().all(|e| {
                let value = get(e.get("key").and_then(Value::as_str).unwrap_or(""));
                let among = || {
                    e.get("values")
                        .and_then(Value::as_array)
                        .is_some_and(|vs| vs.iter().any(|v| v.as_str() == value && value.is_some()))
                };
                match e.get("operator").and_then(Value::as_str) {
                    Some("In") => among(),
                    Some("NotIn") => !among(),
                    Some("Exists") => value.is_some(),
                    Some("DoesNotExist") => value.is_none(),
                    _ => false,
                }
            })
        })
}

/// The name of another object: `Required` when empty, else a DNS subdomain.
pub(crate) fn metadata_name(name: &At<'_>, errors: &mut ErrorList) {
    if name.str().is_empty() {
        name.required(errors, "");
    } else {
        name.invalid_all(errors, check::subdomain(name.str()));
    }
}

/// A relative path that stays below where it starts.
pub(crate) fn local_descending_path(path: &At<'_>, errors: &mut ErrorList) {
    if path.str().starts_with('/') {
        path.invalid(errors, "must be a relative path");
    }
    no_backsteps(path, errors);
}

/// A path without `..`.
pub(crate) fn no_backsteps(path: &At<'_>, errors: &mut ErrorList) {
    if path.str().split('/').any(|part| part == "..") {
        path.invalid(errors, "must not contain '..'");
    }
}

/// A relative path whose first part is none of the files that volumes keep for themselves.
pub(crate) fn local_non_reserved_path(path: &At<'_>, errors: &mut ErrorList) {
    local_descending_path(path, errors);
    if path.str().starts_with("..") && !path.str().starts_with("../") {
        path.invalid(errors, "must not start with '..'");
    }
}

/// A whole number that is not negative or a percentage.
pub(crate) fn int_or_percent(at: &At<'_>, errors: &mut ErrorList) {
    match at.value() {
        Value::String(text) => at.invalid_all(errors, check::percent(text)),
        Value::Number(_) => at.non_negative(errors),
        Value::Null => {}
        _ => at.invalid(errors, "must be an integer or percentage (e.g '5%')"),
    }
}

/// A percentage may not be more than 100.
pub(crate) fn at_most_hundred(at: &At<'_>, errors: &mut ErrorList) {
    if let Some(percent) = at.str().strip_suffix('%').and_then(|p| p.parse::<u64>().ok())
        && percent > 100
    {
        at.invalid(errors, "must not be greater than 100%");
    }
}

/// The number or percentage of a whole, as a number; percentages of nothing are what they say.
pub(crate) fn int_or_percent_value(value: &Value) -> i64 {
    match value {
        Value::String(text) => text.strip_suffix('%').and_then(|p| p.parse().ok()).unwrap_or(0),
        other => other.as_i64().unwrap_or(0),
    }
}
