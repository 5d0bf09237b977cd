//! CustomResourceDefinitions: their names, versions, scope and schemas.

use std::collections::HashSet;

use kplane_machinery::field::{ErrorList, FieldError};
use kplane_machinery::object::{meta_str, name};
use kplane_schema::structural;
use serde_json::{Value, json};

use super::admission::{client_config, default_client};
use crate::check;
use crate::common::{add_finalizer, first_generation, spec_changed};
use crate::strategy::{Context, StatusKeeps, Strategy, keep_other_part};
use crate::val::{At, child, dflt, dflt_str, ensure, items, map_mut, text, truth};

/// Holds a definition until its instances are gone.
pub const CLEANUP: &str = "customresourcecleanup.apiextensions.k8s.io";
const APPROVED: &str = "api-approved.kubernetes.io";

/// `CustomResourceDefinition`.
pub(crate) struct Definitions;

fn established(object: &Value) -> bool {
    object.get("status").is_some_and(|s| {
        items(s, "conditions").iter().any(|c| text(c, "type") == "Established" && text(c, "status") == "True")
    })
}

fn names(names: &At<'_>, errors: &mut ErrorList) {
    for (field, lower) in [("plural", false), ("singular", false), ("kind", true), ("listKind", true)] {
        let field = names.f(field);
        if field.str().is_empty() {
            field.required(errors, "");
            continue;
        }
        let checked = if lower { field.str().to_lowercase() } else { field.str().to_owned() };
        field.invalid_all(errors, check::label1035(&checked));
    }
    for field in ["shortNames", "categories"] {
        for one in names.f(field).items() {
            one.invalid_all(errors, check::label1035(one.str()));
        }
    }
    let (kind, list) = (names.f("kind"), names.f("listKind"));
    if !kind.str().is_empty() && kind.str() == list.str() {
        list.invalid(errors, "kind and listKind may not be the same");
    }
}

/// `old` is the spec that was there: rules that stood in it already are not checked again.
fn versions(spec: &At<'_>, old: Option<&At<'_>>, errors: &mut ErrorList) {
    let versions = spec.f("versions");
    let mut seen = HashSet::new();
    let mut unique = true;
    let mut storage = 0;
    for version in versions.items() {
        if version.f("storage").is_true() {
            storage += 1;
        }
        let name = version.f("name");
        unique &= seen.insert(name.str());
        let messages = check::label1035(name.str());
        for message in messages {
            errors.push(FieldError::invalid_str(&name.path, name.str(), message));
        }
        let warning = version.f("deprecationWarning");
        if warning.there() {
            if !version.f("deprecated").is_true() {
                warning.invalid(errors, "can only be set for deprecated versions");
            } else if warning.str().is_empty() {
                warning.invalid(errors, "must not be empty");
            } else if warning.len() > 256 {
                errors.push(FieldError::too_long(&warning.path, 256));
            }
        }
        let schema = version.at(&["schema", "openAPIV3Schema"]);
        if !schema.there() {
            schema.required(errors, "schemas are required");
        }
    }
    hoisted(spec, &["schema", "openAPIV3Schema"], "validation", errors, |schema, errors| {
        let found = structural::check(schema.value(), &schema.path);
        let stood = |old: &At<'_>| {
            let versions = old.f("versions");
            versions.items().any(|v| v.at(&["schema", "openAPIV3Schema"]).value() == schema.value())
        };
        if found.is_empty() && !old.is_some_and(stood) {
            errors.extend(kplane_rules::check_rules(schema.value(), &schema.path));
        }
        errors.extend(found);
    });
    hoisted(spec, &["subresources", "scale"], "subresources", errors, |at, errors| scale(at, errors));
    hoisted(spec, &["additionalPrinterColumns"], "", errors, |at, errors| columns(at, errors));
    if storage != 1 {
        let shown = At::new(Some(versions.value()), versions.path.clone());
        shown.invalid(errors, "must have exactly one version marked as storage version");
    }
    if !unique {
        versions.invalid(errors, "must contain unique version names");
    }
}

/// Checks a part of each version. What all versions share stands above them, as upstream's internal version has it,
/// and is checked once: at the same path under `spec`, where the first name is `above` unless that is empty.
fn hoisted<'a>(
    spec: &At<'a>,
    path: &[&str],
    above: &str,
    errors: &mut ErrorList,
    mut check: impl FnMut(&At<'a>, &mut ErrorList),
) {
    let versions: Vec<At<'a>> = spec.f("versions").items().collect();
    let Some((first, others)) = versions.split_first() else { return };
    let shared = others.iter().all(|v| v.at(path).value() == first.at(path).value());
    if shared {
        let mut names = path.to_vec();
        if !above.is_empty() {
            names[0] = above;
        }
        let at = names.iter().fold(spec.path.clone(), |at, name| at.child(name));
        let part = At::new(Some(first.at(path).value()), at);
        if part.there() {
            check(&part, errors);
        }
        return;
    }
    for version in versions {
        let part = version.at(path);
        if part.there() {
            check(&part, errors);
        }
    }
}

fn columns(columns: &At<'_>, errors: &mut ErrorList) {
    for column in columns.items() {
        let (name, kind, path) = (column.f("name"), column.f("type"), column.f("jsonPath"));
        if name.str().is_empty() {
            name.required(errors, "");
        }
        if kind.str().is_empty() {
            kind.required(errors, "must be one of boolean,date,integer,number,string");
        } else if !["boolean", "date", "integer", "number", "string"].contains(&kind.str()) {
            kind.invalid(errors, "must be one of boolean,date,integer,number,string");
        }
        if path.str().is_empty() {
            path.required(errors, "");
        } else if !path.str().starts_with('.') {
            path.invalid(errors, "must be a simple json path starting with .");
        }
    }
}

fn scale(scale: &At<'_>, errors: &mut ErrorList) {
    if !scale.there() {
        return;
    }
    for (field, under) in [("specReplicasPath", ".spec"), ("statusReplicasPath", ".status")] {
        let path = scale.f(field);
        if path.str().is_empty() {
            path.required(errors, "");
        } else if !path.str().starts_with(&format!("{under}.")) {
            path.invalid(errors, format!("should be a json path under {under}"));
        }
    }
    let selector = scale.f("labelSelectorPath");
    if selector.there() && !selector.str().starts_with(".spec.") && !selector.str().starts_with(".status.") {
        selector.invalid(errors, "should be a json path under either .spec or .status");
    }
}

fn conversion(spec: &At<'_>, errors: &mut ErrorList) {
    let conversion = spec.f("conversion");
    let (strategy, webhook) = (conversion.f("strategy"), conversion.f("webhook"));
    match strategy.str() {
        "None" => {
            if webhook.there() {
                webhook.forbidden(errors, "should not be set when strategy is not set to Webhook");
            }
        }
        "Webhook" => {
            if !webhook.there() || !webhook.f("clientConfig").there() {
                webhook.f("clientConfig").required(errors, "required when strategy is set to Webhook");
            } else {
                client_config(&webhook.f("clientConfig"), errors);
            }
            let accepted = webhook.f("conversionReviewVersions");
            if accepted.len() == 0 {
                accepted.required(errors, "");
            } else if !accepted.items().any(|v| matches!(v.str(), "v1" | "v1beta1")) {
                accepted.invalid(errors, "must include at least one of v1, v1beta1");
            }
        }
        "" => strategy.required(errors, ""),
        _ => strategy.unsupported(errors, &["None", "Webhook"]),
    }
    if spec.f("preserveUnknownFields").is_true() && strategy.str() == "Webhook" {
        strategy.invalid(errors, "must be None if spec.preserveUnknownFields is true");
    }
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
    if group.str().is_empty() {
        group.required(&mut errors, "");
    } else {
        let messages = check::subdomain(group.str());
        if messages.is_empty() && !group.str().contains('.') {
            group.invalid(&mut errors, "should be a domain with at least one dot");
        }
        group.invalid_all(&mut errors, messages);
    }
    scope.required_one_of(&mut errors, &["Cluster", "Namespaced"]);
    if spec.f("preserveUnknownFields").is_true() {
        spec.f("preserveUnknownFields").invalid(
            &mut errors,
            "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead",
        );
    }
    versions(&spec, old.map(|old| At::root(old).f("spec")).as_ref(), &mut errors);
    names(&spec.f("names"), &mut errors);
    conversion_or_none(&spec, &mut errors);
    protected_group(&root, group.str(), &mut errors);
    stored_versions(&root, &mut errors);
    errors
}

fn conversion_or_none(spec: &At<'_>, errors: &mut ErrorList) {
    if spec.f("conversion").there() {
        conversion(spec, errors);
    }
}

/// Groups of the community need its approval.
fn protected_group(root: &At<'_>, group: &str, errors: &mut ErrorList) {
    let protected =
        ["k8s.io", "kubernetes.io"].iter().any(|g| group == *g || group.ends_with(&format!(".{g}")));
    if !protected {
        return;
    }
    let approval = root.at(&["metadata", "annotations"]).key(APPROVED);
    let valid = approval.str().starts_with("https://") || approval.str().starts_with("unapproved");
    if approval.str().is_empty() {
        approval.required(
            errors,
            "protected groups must have approval annotation \"api-approved.kubernetes.io\", see https://github.com/kubernetes/enhancements/pull/1111",
        );
    } else if !valid {
        approval.invalid(
            errors,
            "protected groups must have approval annotation \"api-approved.kubernetes.io\" with either a URL or a reason starting with \"unapproved\", see https://github.com/kubernetes/enhancements/pull/1111",
        );
    }
}

fn stored_versions(root: &At<'_>, errors: &mut ErrorList) {
    let stored = root.at(&["status", "storedVersions"]);
    if stored.len() == 0 {
        errors.push(FieldError::invalid(&stored.path, &Value::Null, "must have at least one stored version"));
        return;
    }
    let known: HashSet<&str> = root.at(&["spec", "versions"]).items().map(|v| v.f("name").str()).collect();
    for version in stored.items() {
        if !known.contains(version.str()) {
            version.invalid(errors, format!("missing from spec.versions; {} was previously a storage version, and must remain in spec.versions until a storage migration ensures no data remains persisted in {} and removes {} from status.storedVersions", version.str(), version.str(), version.str()));
        }
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

    fn validate_create(&self, _cx: &Context<'_>, object: &Value) -> ErrorList {
        validate(object, None)
    }

    fn validate_update(&self, cx: &Context<'_>, object: &Value, old: &Value) -> ErrorList {
        let mut errors = Vec::new();
        let (new, was) = (At::root(object), At::root(old));
        if cx.subresource == Some("status") {
            stored_versions(&new, &mut errors);
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
