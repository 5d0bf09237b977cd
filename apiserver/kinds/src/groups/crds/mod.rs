//! CustomResourceDefinitions: their names, versions, scope and schemas.

mod approval;
mod conversion;
mod names;
mod versions;

use std::collections::HashSet;

use kplane_machinery::field::{ErrorList, FieldError};
use kplane_machinery::object::{meta_str, name};
use serde_json::{Value, json};

use approval::{APPROVED, approval_state, protected_group};
use conversion::conversion;
use names::names;
use versions::{shared_parts, versions};

use super::admission::default_client;
use crate::check;
use crate::common::{add_finalizer, first_generation, spec_changed};
use crate::strategy::{Context, StatusKeeps, Strategy, keep_other_part};
use crate::val::{At, child, dflt, dflt_str, ensure, items, map_mut, text, truth};

/// Holds a definition until its instances are gone.
pub const CLEANUP: &str = "customresourcecleanup.apiextensions.k8s.io";

/// `CustomResourceDefinition`.
pub(crate) struct Definitions;

fn established(object: &Value) -> bool {
    object.get("status").is_some_and(|s| {
        items(s, "conditions").iter().any(|c| text(c, "type") == "Established" && text(c, "status") == "True")
    })
}
fn validate(object: &Value, old: Option<&Value>) -> ErrorList {
    let mut errors = Vec::new();
    let root = At::root(object);
    let spec = root.f("spec");
    let (group, scope) = (spec.f("group"), spec.f("scope"));
    let wanted = format!("{}.{}", spec.at(&["names", "plural"]).str(), group.str());
    if name(object) != wanted {
        root.at(&["metadata", "name"])
            .invalid_text(&mut errors, "must be spec.names.plural+\".\"+spec.group");
    }
    let messages = check::subdomain(group.str());
    if group.str().is_empty() {
        group.required(&mut errors, "");
    } else if !messages.is_empty() {
        group.invalid(&mut errors, messages.join(","));
    } else if !group.str().contains('.') {
        group.invalid(&mut errors, "should be a domain with at least one dot");
    }
    scope.required_one_of(&mut errors, &["Cluster", "Namespaced"]);
    let old_spec = old.map(|old| At::root(old).f("spec"));
    versions(&spec, old_spec.as_ref(), &mut errors);
    for field in ["plural", "singular", "kind", "listKind"] {
        let field = spec.at(&["names", field]);
        if field.str().is_empty() {
            field.required(&mut errors, "");
        }
    }
    names(&spec.f("names"), &mut errors);
    shared_parts(&spec, old_spec.as_ref(), &mut errors);
    if spec.f("conversion").there() {
        conversion(&spec, old_spec.as_ref(), &mut errors);
    }
    errors
}

/// What stands beside the spec, and what an update may not tighten.
fn validate_rest(object: &Value, old: Option<&Value>) -> ErrorList {
    let mut errors = Vec::new();
    let root = At::root(object);
    names(&root.at(&["status", "acceptedNames"]), &mut errors);
    stored_versions(&root, &mut errors);
    let group = root.at(&["spec", "group"]);
    let approval = |object: &Value| {
        approval_state(At::root(object).at(&["metadata", "annotations"]).key(APPROVED).str())
    };
    if old.is_none_or(|old| approval(old) != approval(object)) {
        protected_group(&root, group.str(), &mut errors);
    }
    let preserve = root.at(&["spec", "preserveUnknownFields"]);
    let preserved = old.is_some_and(|old| At::root(old).at(&["spec", "preserveUnknownFields"]).is_true());
    if preserve.is_true() && !preserved {
        preserve.invalid(
            &mut errors,
            "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead",
        );
    }
    errors
}

fn stored_versions(root: &At<'_>, errors: &mut ErrorList) {
    let stored = root.at(&["status", "storedVersions"]);
    if stored.len() == 0 {
        errors.push(FieldError::invalid(&stored.path, &Value::Null, "must have at least one stored version"));
        return;
    }
    let mut known = HashSet::new();
    for version in root.at(&["spec", "versions"]).items() {
        let name = version.f("name").str();
        known.insert(name);
        if version.f("storage").is_true() && !stored.items().any(|v| v.str() == name) {
            stored.invalid(errors, format!("must have the storage version {name}"));
        }
    }
    for version in stored.items() {
        if !known.contains(version.str()) {
            version.invalid(errors, format!("missing from spec.versions; {} was previously a storage version, and must remain in spec.versions until a storage migration ensures no data remains persisted in {} and removes {} from status.storedVersions", version.str(), version.str(), version.str()));
        }
    }
}

fn has_rules(value: &Value) -> bool {
    match value {
        Value::Object(fields) => {
            fields.contains_key("x-kubernetes-validations") || fields.values().any(has_rules)
        }
        Value::Array(items) => items.iter().any(has_rules),
        _ => false,
    }
}

/// The version that is stored is one that was stored.
fn note_storage_version(object: &mut Value) {
    let storage: Vec<String> = object
        .get("spec")
        .map(|s| items(s, "versions"))
        .unwrap_or(&[])
        .iter()
        .filter(|v| truth(v, "storage"))
        .map(|v| text(v, "name").to_owned())
        .collect();
    let Some(status) = map_mut(object, "status") else { return };
    let stored = status.entry("storedVersions").or_insert(Value::Null);
    for version in storage {
        if stored.is_null() {
            *stored = json!([]);
        }
        if let Some(stored) = stored.as_array_mut()
            && !stored.iter().any(|v| v.as_str() == Some(version.as_str()))
        {
            stored.push(version.into());
        }
    }
}

fn empty_status() -> Value {
    json!({"conditions": null, "acceptedNames": {"plural": "", "kind": ""}, "storedVersions": null})
}

impl Strategy for Definitions {
    fn status_keeps(&self) -> StatusKeeps {
        StatusKeeps::All
    }

    fn default(&self, _version: &str, object: &mut Value) {
        let Some(fields) = object.as_object_mut() else { return };
        if let Some(status) = ensure(fields, "status") {
            dflt(status, "conditions", Value::Null);
            dflt(status, "storedVersions", Value::Null);
            if let Some(accepted) = ensure(status, "acceptedNames") {
                dflt(accepted, "plural", "");
                dflt(accepted, "kind", "");
            }
        }
        let Some(spec) = ensure(fields, "spec") else { return };
        if let Some(names) = ensure(spec, "names") {
            let kind = names.get("kind").and_then(Value::as_str).unwrap_or("").to_owned();
            if !kind.is_empty() {
                dflt_str(names, "singular", &kind.to_lowercase());
                dflt_str(names, "listKind", &format!("{kind}List"));
            }
        }
        if let Some(conversion) = ensure(spec, "conversion") {
            dflt_str(conversion, "strategy", "None");
            if let Some(config) = child(conversion, "webhook").and_then(|w| child(w, "clientConfig")) {
                default_client(config);
            }
        }
    }

    fn prepare_create(&self, _cx: &Context<'_>, object: &mut Value) {
        crate::val::set_status(object, empty_status());
        first_generation(object);
        note_storage_version(object);
    }

    fn prepare_update(&self, cx: &Context<'_>, object: &mut Value, old: &Value) {
        keep_other_part(cx, object, old);
        if cx.subresource.is_none() {
            note_storage_version(object);
        }
    }

    /// Rules are compiled, and what they cost is estimated.
    fn may_take_long(&self, _version: &str, object: &Value) -> bool {
        has_rules(object.get("spec").unwrap_or(&Value::Null))
    }

    fn validate_create(&self, _cx: &Context<'_>, object: &Value) -> ErrorList {
        let mut errors = validate(object, None);
        errors.extend(validate_rest(object, None));
        errors
    }

    fn validate_update(&self, cx: &Context<'_>, object: &Value, old: &Value) -> ErrorList {
        let mut errors = Vec::new();
        let (new, was) = (At::root(object), At::root(old));
        if cx.subresource == Some("status") {
            names(&new.at(&["status", "acceptedNames"]), &mut errors);
            return errors;
        }
        errors.extend(validate(object, Some(old)));
        if established(old) {
            for path in [["spec", "scope"].as_slice(), ["spec", "names", "kind"].as_slice()] {
                new.at(path).immutable(&mut errors, &was.at(path));
            }
        }
        for path in [["spec", "group"].as_slice(), ["spec", "names", "plural"].as_slice()] {
            new.at(path).immutable(&mut errors, &was.at(path));
        }
        errors.extend(validate_rest(object, Some(old)));
        errors
    }

    fn allow_unconditional_update(&self) -> bool {
        false
    }

    fn generation(&self, cx: &Context<'_>, object: &Value, old: &Value) -> Option<bool> {
        spec_changed(cx, object, old)
    }

    /// Its instances go first.
    fn holds_deletion(&self, object: &Value) -> bool {
        meta_str(object, "deletionTimestamp").is_empty() || {
            object
                .get("metadata")
                .map(|m| items(m, "finalizers"))
                .unwrap_or(&[])
                .iter()
                .any(|f| f.as_str() == Some(CLEANUP))
        }
    }

    fn begin_deletion(&self, object: &mut Value) {
        let at = meta_str(object, "deletionTimestamp").to_owned();
        add_finalizer(object, CLEANUP);
        let Some(status) = map_mut(object, "status") else { return };
        let conditions = status.entry("conditions").or_insert(Value::Null);
        if conditions.is_null() {
            *conditions = json!([]);
        }
        if let Some(conditions) = conditions.as_array_mut()
            && !conditions.iter().any(|c| text(c, "type") == "Terminating")
        {
            conditions.push(json!({
                "type": "Terminating", "status": "True", "lastTransitionTime": at,
                "reason": "InstanceDeletionPending",
                "message": "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon",
            }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_definition_is_named_after_its_plural_and_group() {
        let mut crd = json!({"metadata": {"name": "as.example.com"}, "spec": {"group": "example.com", "scope": "Cluster",
            "names": {"plural": "as", "kind": "A"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object"}}}]}});
        Definitions.default("v1", &mut crd);
        crate::val::set_status(&mut crd, empty_status());
        note_storage_version(&mut crd);
        assert_eq!(validate(&crd, None), Vec::new());
        assert_eq!(crd["spec"]["names"]["listKind"], "AList");
        crd["metadata"]["name"] = "bs.example.com".into();
        crd["spec"]["versions"][0]["storage"] = false.into();
        assert_eq!(validate(&crd, None).len(), 2);
    }

    #[test]
    fn rules_are_checked_when_they_are_new() {
        let mut crd = json!({"metadata": {"name": "as.example.com"}, "spec": {"group": "example.com", "scope": "Cluster",
            "names": {"plural": "as", "kind": "A"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object",
                "x-kubernetes-validations": [{"rule": "self.nope > 1"}]}}}]}});
        Definitions.default("v1", &mut crd);
        crate::val::set_status(&mut crd, empty_status());
        note_storage_version(&mut crd);
        let errors = validate(&crd, None);
        assert_eq!(errors.len(), 1);
        assert_eq!(
            errors[0].field.as_str(),
            "spec.validation.openAPIV3Schema.x-kubernetes-validations[0].rule"
        );
        assert_eq!(validate(&crd, Some(&crd)), Vec::new());
    }
}
