//! What a custom resource must hold where its scale is read from.

use std::sync::Arc;

use kplane_kinds::Context;
use kplane_machinery::field::{ErrorList, FieldError, Path};
use serde_json::Value;

/// What is wrong with the replicas and the selector of an object whose version has a scale: those of the spec when it is the
/// spec that is written, those of the status always.
pub fn validate(cx: &Context<'_>, object: &Value) -> ErrorList {
    let mut errors = Vec::new();
    let scale = cx.def.subresource(cx.version, "scale").and_then(|sub| sub.scale.as_ref());
    let Some(paths) = scale else { return errors };
    if cx.subresource != Some("status") {
        replicas(object, &paths.spec_replicas, &mut errors);
    }
    replicas(object, &paths.status_replicas, &mut errors);
    if let Some(path) = &paths.selector {
        match find(object, path) {
            Ok(None | Some(Value::String(_))) => {}
            Ok(Some(other)) => {
                let why = format!("{} accessor error: {}, expected string", shown(path), told(other));
                errors.push(FieldError::invalid_str(&at(path), "", why));
            }
            Err(why) => errors.push(FieldError::invalid_str(&at(path), "", why)),
        }
    }
    errors
}

fn replicas(object: &Value, path: &[Arc<str>], errors: &mut ErrorList) {
    let invalid = |value: i64, why: String| FieldError::invalid(&at(path), &value.into(), why);
    match find(object, path) {
        Ok(None) => {}
        Ok(Some(value)) => match value.as_i64() {
            Some(count) if count < 0 => {
                errors.push(invalid(count, "should be a non-negative integer".to_owned()));
            }
            Some(count) if count > i64::from(i32::MAX) => {
                errors.push(invalid(count, format!("should be less than or equal to {}", i32::MAX)));
            }
            Some(_) => {}
            None => {
                let why = format!("{} accessor error: {}, expected int64", shown(path), told(value));
                errors.push(invalid(0, why));
            }
        },
        Err(why) => errors.push(invalid(0, why)),
    }
}

/// The value at a path; none where something on the way is missing or null, and why not where it is no object.
fn find<'a>(object: &'a Value, path: &[Arc<str>]) -> Result<Option<&'a Value>, String> {
    let mut value = object;
    for (depth, field) in path.iter().enumerate() {
        match value {
            Value::Null => return Ok(None),
            Value::Object(fields) => match fields.get(&**field) {
                Some(found) => value = found,
                None => return Ok(None),
            },
            other => {
                let way = shown(&path[..=depth]);
                return Err(format!(
                    "{way} accessor error: {}, expected map[string]interface{{}}",
                    told(other)
                ));
            }
        }
    }
    Ok(Some(value))
}

/// As the definition names it.
fn shown(path: &[Arc<str>]) -> String {
    path.iter().map(|field| format!(".{field}")).collect()
}

fn at(path: &[Arc<str>]) -> Path {
    Path::new(&shown(path))
}

/// A value and its type, as Go prints them.
fn told(value: &Value) -> String {
    let (text, kind) = match value {
        Value::Null => ("<nil>".to_owned(), "<nil>"),
        Value::Bool(value) => (value.to_string(), "bool"),
        Value::Number(number) if number.is_f64() => (number.to_string(), "float64"),
        Value::Number(number) => (number.to_string(), "int64"),
        Value::String(text) => (text.clone(), "string"),
        Value::Array(_) => (kplane_machinery::patch::strategic::go_print(value), "[]interface {}"),
        Value::Object(_) => (kplane_machinery::patch::strategic::go_print(value), "map[string]interface {}"),
    };
    format!("{text} is of the type {kind}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn path(text: &str) -> Vec<Arc<str>> {
        text.split('.').map(Arc::from).collect()
    }

    #[test]
    fn counts_are_counts() {
        let told = |object: Value| {
            let mut errors = Vec::new();
            replicas(&object, &path("spec.replicas"), &mut errors);
            errors.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        for fine in [json!({}), json!({"spec": null}), json!({"spec": {"replicas": 3}})] {
            assert_eq!(told(fine), Vec::<String>::new());
        }
        assert_eq!(
            told(json!({"spec": {"replicas": -1}})),
            [".spec.replicas: Invalid value: -1: should be a non-negative integer"]
        );
        assert_eq!(
            told(json!({"spec": {"replicas": i64::MAX}})),
            [
                ".spec.replicas: Invalid value: 9223372036854775807: should be less than or equal to 2147483647"
            ]
        );
        assert_eq!(
            told(json!({"spec": {"replicas": "3"}})),
            [
                ".spec.replicas: Invalid value: 0: .spec.replicas accessor error: 3 is of the type string, expected int64"
            ]
        );
        assert_eq!(
            told(json!({"spec": 1})),
            [
                ".spec.replicas: Invalid value: 0: .spec.replicas accessor error: 1 is of the type int64, expected map[string]interface{}"
            ]
        );
    }
}
