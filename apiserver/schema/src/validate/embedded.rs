//! Objects inside of custom resources (`k8s.io/apiextensions-apiserver/pkg/apiserver/schema/objectmeta.Validate`).

use kplane_machinery::field::{ErrorList, FieldError};
use kplane_machinery::{meta, names};
use serde_json::{Map, Value};

use super::Step;

/// Its apiVersion and kind must be there, and its metadata valid, though it needs no name.
pub(super) fn check(fields: &Map<String, Value>, at: &Step<'_>, errors: &mut ErrorList) {
    for name in ["apiVersion", "kind"] {
        let path = Step::Field(at, name).path();
        match fields.get(name) {
            None => errors.push(FieldError::required(&path, "must not be empty")),
            Some(Value::String(text)) if text.is_empty() => {
                errors.push(FieldError::invalid_str(&path, text, "must not be empty"));
            }
            Some(Value::String(text)) if name == "apiVersion" && text.matches('/').count() > 1 => {
                let told = format!("unexpected GroupVersion string: {text}");
                errors.push(FieldError::invalid_str(&path, text, told));
            }
            Some(Value::String(text)) if name == "kind" => {
                let messages = names::is_dns1035_label(&text.to_lowercase());
                if !messages.is_empty() {
                    let told =
                        format!("may have mixed case, but should otherwise match: {}", messages.join(","));
                    errors.push(FieldError::invalid_str(&path, text, told));
                }
            }
            Some(Value::String(_)) => {}
            Some(other) => errors.push(FieldError::invalid(&path, other, "must be a string")),
        }
    }
    let Some(metadata) = fields.get("metadata").and_then(Value::as_object) else { return };
    let mut checked = Value::Object(metadata.clone());
    let text = |name: &str| metadata.get(name).and_then(Value::as_str).unwrap_or("");
    if text("name").is_empty() {
        // Something has to be there for the rest to be looked at.
        checked["name"] = "fakename".into();
    }
    let namespaced = !text("namespace").is_empty();
    let path = Step::Field(at, "metadata").path();
    errors.extend(meta::validate_meta_at(&path, Some(&checked), namespaced, names::name_is_path_segment));
}
