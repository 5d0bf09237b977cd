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

/// One error for all that is wrong with a name, as upstream joins them.
fn joined(field: &At<'_>, text: &str, before: &str, errors: &mut ErrorList) {
    let messages = check::label1035(text);
    if !messages.is_empty() {
        field.invalid_text(errors, format!("{before}{}", messages.join(",")));
    }
}

/// What is wrong with names that are given.
fn names(names: &At<'_>, errors: &mut ErrorList) {
    for field in ["plural", "singular"] {
        let field = names.f(field);
        if !field.str().is_empty() {
            joined(&field, field.str(), "", errors);
        }
    }
    for field in ["kind", "listKind"] {
        let field = names.f(field);
        if !field.str().is_empty() {
            let before = "may have mixed case, but should otherwise match: ";
            joined(&field, &field.str().to_lowercase(), before, errors);
        }
    }
    for one in names.f("shortNames").items() {
        joined(&one, one.str(), "", errors);
    }
    let (kind, list) = (names.f("kind"), names.f("listKind"));
    if !kind.str().is_empty() && kind.str() == list.str() {
        list.invalid(errors, "kind and listKind may not be the same");
    }
    for one in names.f("categories").items() {
        joined(&one, one.str(), "", errors);
    }
}

/// What all versions share stands above them, as upstream's internal version has it, and is checked once, there.
struct Hoisted<'a> {
    spec: &'a At<'a>,
    versions: Vec<At<'a>>,
}

impl<'a> Hoisted<'a> {
    fn of(spec: &'a At<'a>) -> Self {
        Self { spec, versions: spec.f("versions").items().collect() }
    }

    /// A part that every version has alike.
    fn shared(&self, part: &str) -> Option<At<'a>> {
        let (first, others) = self.versions.split_first()?;
        let value = first.f(part);
        let shared = value.there() && others.iter().all(|other| other.f(part).value() == value.value());
        let above = if part == "schema" { "validation" } else { part };
        shared.then(|| At::new(Some(value.value()), self.spec.path.child(above)))
    }

    /// A part of one version, unless all have it alike.
    fn own(&self, version: &At<'a>, part: &str) -> Option<At<'a>> {
        let value = version.f(part);
        (value.there() && self.shared(part).is_none()).then_some(value)
    }
}

fn has_status(version: &At<'_>) -> bool {
    version.at(&["subresources", "status"]).there()
}

/// `old` is the spec that was there: rules that stood in it already are not checked again.
fn versions(spec: &At<'_>, old: Option<&At<'_>>, errors: &mut ErrorList) {
    let hoisted = Hoisted::of(spec);
    let versions = spec.f("versions");
    let mut seen = HashSet::new();
    let mut unique = true;
    let mut storage = 0;
    for version in &hoisted.versions {
        let schema = version.at(&["schema", "openAPIV3Schema"]);
        if !schema.there() {
            schema.required(errors, "schemas are required");
        }
    }
    for version in &hoisted.versions {
        if version.f("storage").is_true() {
            storage += 1;
        }
        let name = version.f("name");
        unique &= seen.insert(name.str());
        joined(&name, name.str(), "", errors);
        deprecation(version, errors);
        if let Some(part) = hoisted.own(version, "schema") {
            schema(&part.f("openAPIV3Schema"), has_status(version), old, errors);
        }
        if let Some(part) = hoisted.own(version, "subresources") {
            scale(&part, errors);
        }
        if let Some(part) = hoisted.own(version, "additionalPrinterColumns") {
            columns(&part, errors);
        }
        if let Some(part) = hoisted.own(version, "selectableFields") {
            selectable(version, &part, errors);
        }
    }
    if !unique {
        versions.invalid(errors, "must contain unique version names");
    }
    if storage != 1 {
        let shown = At::new(Some(versions.value()), versions.path.clone());
        shown.invalid(errors, "must have exactly one version marked as storage version");
    }
}

/// What all versions share.
fn shared_parts(spec: &At<'_>, old: Option<&At<'_>>, errors: &mut ErrorList) {
    let hoisted = Hoisted::of(spec);
    if let Some(part) = hoisted.shared("schema") {
        let status = hoisted.versions.iter().any(has_status);
        schema(&part.f("openAPIV3Schema"), status, old, errors);
    }
    if let Some(part) = hoisted.shared("subresources") {
        scale(&part, errors);
    }
    if let Some(part) = hoisted.shared("additionalPrinterColumns") {
        columns(&part, errors);
    }
    if let (Some(part), Some(version)) = (hoisted.shared("selectableFields"), hoisted.versions.first()) {
        selectable(version, &part, errors);
    }
}

fn deprecation(version: &At<'_>, errors: &mut ErrorList) {
    let warning = version.f("deprecationWarning");
    if !warning.there() {
        return;
    }
    if !version.f("deprecated").is_true() {
        return warning.invalid(errors, "can only be set for deprecated versions");
    }
    if warning.len() > 256 {
        warning.invalid(errors, "must be <= 256 characters long");
    }
    if warning.str().is_empty() {
        warning.invalid_text(errors, "must not be an empty string");
    }
    if let Some((at, _)) = warning.str().char_indices().find(|(_, c)| c.is_control()) {
        let told = "must only contain printable UTF-8 characters; non-printable character found at index";
        warning.invalid(errors, format!("{told} {at}"));
    }
}

/// The fields that a schema may have at its root beside a status that is a subresource.
const AT_ROOT: [(&str, &str); 22] = [
    ("Description", "description"),
    ("Type", "type"),
    ("Format", "format"),
    ("Title", "title"),
    ("Maximum", "maximum"),
    ("ExclusiveMaximum", "exclusiveMaximum"),
    ("Minimum", "minimum"),
    ("ExclusiveMinimum", "exclusiveMinimum"),
    ("MaxLength", "maxLength"),
    ("MinLength", "minLength"),
    ("Pattern", "pattern"),
    ("MaxItems", "maxItems"),
    ("MinItems", "minItems"),
    ("UniqueItems", "uniqueItems"),
    ("MultipleOf", "multipleOf"),
    ("Required", "required"),
    ("Items", "items"),
    ("Properties", "properties"),
    ("ExternalDocs", "externalDocs"),
    ("Example", "example"),
    ("XPreserveUnknownFields", "x-kubernetes-preserve-unknown-fields"),
    ("XValidations", "x-kubernetes-validations"),
];

fn schema(schema: &At<'_>, status: bool, old: Option<&At<'_>>, errors: &mut ErrorList) {
    if !schema.there() {
        return;
    }
    let before = errors.len();
    let given = schema.f("type");
    if status && !matches!(given.str(), "" | "object") {
        let told = "only \"object\" is allowed as the type at the root of the schema if the status subresource is enabled";
        given.invalid(errors, told);
    } else if status && schema.names().any(|name| AT_ROOT.iter().all(|(_, allowed)| *allowed != name)) {
        let allowed: Vec<&str> = AT_ROOT.iter().map(|(shown, _)| *shown).collect();
        schema.invalid(
            errors,
            format!(
                "only [{}] fields are allowed at the root of the schema if the status subresource is enabled",
                allowed.join(" ")
            ),
        );
    }
    if schema.f("nullable").is_true() {
        schema.f("nullable").forbidden(errors, "nullable cannot be true at the root");
    }
    errors.extend(structural::check(schema.value(), &schema.path));
    let stood = |old: &At<'_>| {
        let versions = old.f("versions");
        versions.items().any(|v| v.at(&["schema", "openAPIV3Schema"]).value() == schema.value())
    };
    if errors.len() == before && !old.is_some_and(stood) {
        errors.extend(kplane_rules::check_rules(schema.value(), &schema.path));
    }
}

fn selectable(version: &At<'_>, fields: &At<'_>, errors: &mut ErrorList) {
    let schema = version.at(&["schema", "openAPIV3Schema"]);
    if schema.there() {
        errors.extend(structural::check_selectable(schema.value(), fields.value(), &fields.path));
    } else {
        fields.invalid(
            errors,
            "selectableFields may only be set when version.schema.openAPIV3Schema is not included",
        );
    }
}

const FORMATS: [&str; 8] = ["byte", "date", "date-time", "double", "float", "int32", "int64", "password"];

fn columns(columns: &At<'_>, errors: &mut ErrorList) {
    for column in columns.items() {
        let (name, kind, format, path) =
            (column.f("name"), column.f("type"), column.f("format"), column.f("jsonPath"));
        if name.str().is_empty() {
            name.required(errors, "");
        }
        if kind.str().is_empty() {
            kind.required(errors, "must be one of boolean,date,integer,number,string");
        } else if !["boolean", "date", "integer", "number", "string"].contains(&kind.str()) {
            kind.invalid(errors, "must be one of boolean,date,integer,number,string");
        }
        if !format.str().is_empty() && !FORMATS.contains(&format.str()) {
            format.invalid(errors, format!("must be one of {}", FORMATS.join(",")));
        }
        // As upstream names the field here.
        let path = At::new(Some(path.value()), column.path.child("JSONPath"));
        if path.str().is_empty() {
            path.required(errors, "");
        } else {
            simple_path(&path, errors);
        }
    }
}

/// Whether a path is in the dot notation; says so if not.
fn simple_path(path: &At<'_>, errors: &mut ErrorList) -> bool {
    let simple = path.str().starts_with('.');
    if !simple {
        path.invalid(errors, "must be a simple json path starting with .");
    }
    simple
}

fn scale(subresources: &At<'_>, errors: &mut ErrorList) {
    let scale = subresources.f("scale");
    if !scale.there() {
        return;
    }
    for (field, under) in [("specReplicasPath", ".spec"), ("statusReplicasPath", ".status")] {
        let path = scale.f(field);
        if path.str().is_empty() {
            path.required(errors, "");
        } else if simple_path(&path, errors) && !path.str().starts_with(&format!("{under}.")) {
            path.invalid(errors, format!("should be a json path under {under}"));
        }
    }
    let selector = scale.f("labelSelectorPath");
    let below = |under: &str| selector.str().starts_with(under);
    if !selector.str().is_empty() && simple_path(&selector, errors) && !below(".spec.") && !below(".status.")
    {
        selector.invalid(errors, "should be a json path under either .spec or .status");
    }
}

fn conversion(spec: &At<'_>, errors: &mut ErrorList) {
    let conversion = spec.f("conversion");
    let (strategy, webhook) = (conversion.f("strategy"), conversion.f("webhook"));
    if spec.f("preserveUnknownFields").is_true() && strategy.str() == "Webhook" {
        strategy.invalid(errors, "must be None if spec.preserveUnknownFields is true");
    }
    strategy.required_one_of(errors, &["None", "Webhook"]);
    // As upstream's internal version names the fields.
    let named =
        |field: &str, name: &str| At::new(Some(webhook.f(field).value()), conversion.path.child(name));
    let (config, accepted) = (
        named("clientConfig", "webhookClientConfig"),
        named("conversionReviewVersions", "conversionReviewVersions"),
    );
    if strategy.str() != "Webhook" {
        let told = "should not be set when strategy is not set to Webhook";
        for field in [&config, &accepted] {
            if field.there() && !(field.value().is_array() && field.len() == 0) {
                field.forbidden(errors, told);
            }
        }
        return;
    }
    if config.there() {
        client_config(&config, errors);
    } else {
        config.required(errors, "required when strategy is set to Webhook");
    }
    if accepted.len() == 0 {
        return accepted.required(errors, "");
    }
    let mut seen = HashSet::new();
    for version in accepted.items() {
        if !seen.insert(version.str()) {
            version.invalid(errors, "duplicate version");
            continue;
        }
        version.invalid_all(errors, check::label1035(version.str()));
    }
    if !["v1", "v1beta1"].iter().any(|known| seen.contains(known)) {
        accepted.invalid(errors, "must include at least one of v1, v1beta1");
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
        conversion(&spec, &mut errors);
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

/// What an approval comes to.
#[derive(PartialEq, Eq)]
enum Approval {
    Missing,
    Bypassed,
    Approved,
    Invalid,
}

fn approval_state(annotation: &str) -> Approval {
    let url =
        annotation.split_once("://").map(|(scheme, rest)| (scheme, rest.split('/').next().unwrap_or("")));
    if annotation.is_empty() {
        Approval::Missing
    } else if annotation.starts_with("unapproved") {
        Approval::Bypassed
    } else if url.is_some_and(|(scheme, host)| !scheme.is_empty() && !host.is_empty()) {
        Approval::Approved
    } else {
        Approval::Invalid
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
    let state = approval_state(approval.str());
    if state == Approval::Missing {
        approval.required(
            errors,
            "protected groups must have approval annotation \"api-approved.kubernetes.io\", see https://github.com/kubernetes/enhancements/pull/1111",
        );
    } else if state == Approval::Invalid {
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
