//! Whether the defaults of a schema are what it allows (`k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting`).

use kplane_machinery::field::{ErrorList, FieldError, Path};
use serde_json::Value;

use super::raw::{has, map};

/// Defaults must be valid, and hold nothing that would be pruned. Those inside of `additionalProperties` are not
/// looked at, as upstream does not.
pub(super) fn check(raw: &Value, path: &Path, errors: &mut ErrorList) {
    let Some(fields) = raw.as_object() else { return };
    if let Some(default) = fields.get("default").filter(|_| has(fields, "default"))
        && let Ok(schema) = super::from_json(raw, path)
    {
        let at = path.child("default");
        let mut pruned = default.clone();
        crate::prune(&schema, &mut pruned);
        if pruned != *default {
            errors.push(FieldError::invalid(&at, default, "must not have unknown fields"));
        }
        for mut error in crate::validate(&schema, default, None) {
            error.field = below(&at, error.field.as_str());
            errors.push(error);
        }
    }
    if let Some(items) = fields.get("items") {
        check(items, &path.child("items"), errors);
    }
    for (name, raw) in map(fields, "properties").into_iter().flatten() {
        check(raw, &path.child("properties").key(name), errors);
    }
}

fn below(at: &Path, rest: &str) -> Path {
    match rest {
        "" => at.clone(),
        rest if rest.starts_with('[') => Path::new(&format!("{at}{rest}")),
        rest => at.child(rest),
    }
}
