//! Whether the selectable fields of a definition can be selected by (`ValidateCustomResourceSelectableFields`).

use std::collections::BTreeSet;

use kplane_machinery::field::{ErrorList, FieldError, Path};
use serde_json::Value;

use super::raw::{Fields, map, text};

const MOST: usize = 8;

/// What is wrong with the `selectableFields` of a schema, which stand at `path`.
pub fn check_selectable(schema: &Value, given: &Value, path: &Path) -> ErrorList {
    let mut errors = Vec::new();
    let mut seen = BTreeSet::new();
    for (index, field) in given.as_array().into_iter().flatten().enumerate() {
        let at = path.index(index).child("jsonPath");
        let json_path = field.get("jsonPath").and_then(Value::as_str).unwrap_or("");
        if json_path.is_empty() {
            errors.push(FieldError::required(&at, ""));
            continue;
        }
        let found = match schema.as_object().map(|schema| follow(schema, json_path)) {
            Some(Ok(found)) => found,
            Some(Err(why)) => {
                errors.push(FieldError::invalid_str(&at, json_path, format!("is an invalid path: {why}")));
                continue;
            }
            None => continue,
        };
        if json_path.trim_start_matches('.').split('.').next() == Some("metadata") {
            errors.push(FieldError::invalid_str(&at, json_path, "must not point to fields in metadata"));
        }
        if !matches!(text(found, "type"), "string" | "boolean" | "integer") {
            let told = "must point to a field of type string, boolean or integer. Enum string fields and strings with formats are allowed.";
            errors.push(FieldError::invalid_str(&at, json_path, told));
        }
        if !seen.insert(json_path) {
            errors.push(FieldError::duplicate(&at, &json_path.into()));
        }
    }
    if seen.len() > MOST {
        errors.push(FieldError::too_many(path, seen.len(), MOST));
    }
    errors
}

/// The schema that a path in the dot notation leads to.
fn follow<'a>(schema: &'a Fields, path: &str) -> Result<&'a Fields, String> {
    let Some(rest) = path.strip_prefix('.') else {
        let first: String = path.chars().take_while(|c| !matches!(c, '.' | '[')).collect();
        return Err(if path.starts_with('[') {
            "array notation is not allowed".to_owned()
        } else {
            format!("expected [ or . but got: {first}")
        });
    };
    let mut at = schema;
    for name in rest.split('.') {
        if name.is_empty() {
            return Err("unexpected end of JSON path".to_owned());
        }
        if name.contains('[') {
            return Err("array notation is not allowed".to_owned());
        }
        let property = map(at, "properties").map(|p| p.get(name).and_then(Value::as_object));
        let next = match property {
            Some(found) => found,
            None => map(at, "additionalProperties"),
        };
        at = next.ok_or("does not refer to a valid field")?;
    }
    Ok(at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn fields_that_cannot_be_selected_by_are_told() {
        let schema = json!({"type": "object", "properties": {
            "metadata": {"type": "object", "properties": {"name": {"type": "string"}}},
            "spec": {"type": "object", "properties": {
                "color": {"type": "string"}, "list": {"type": "array", "items": {"type": "string"}},
            }},
        }});
        let told = |path: &str| {
            let errors = check_selectable(&schema, &json!([{"jsonPath": path}]), &Path::new("f"));
            errors.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert!(told(".spec.color").is_empty());
        let of = |why: &str, path: &str| vec![format!("f[0].jsonPath: Invalid value: {path:?}: {why}")];
        assert_eq!(
            told(".spec.size"),
            of("is an invalid path: does not refer to a valid field", ".spec.size")
        );
        assert_eq!(told("spec"), of("is an invalid path: expected [ or . but got: spec", "spec"));
        assert_eq!(told(".metadata.name"), of("must not point to fields in metadata", ".metadata.name"));
        assert_eq!(told(".spec.list").len(), 1);
        assert_eq!(told(""), ["f[0].jsonPath: Required value"]);
        let twice = json!([{"jsonPath": ".spec.color"}, {"jsonPath": ".spec.color"}]);
        assert_eq!(check_selectable(&schema, &twice, &Path::new("f")).len(), 1);
    }
}
