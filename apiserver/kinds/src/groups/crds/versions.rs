//! What is wrong with the versions of a definition: their schemas, subresources, columns and selectable fields.

use std::collections::HashSet;

use kplane_machinery::field::ErrorList;
use kplane_schema::structural;

use super::names::joined;
use crate::val::At;

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
pub(super) fn versions(spec: &At<'_>, old: Option<&At<'_>>, errors: &mut ErrorList) {
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
pub(super) fn shared_parts(spec: &At<'_>, old: Option<&At<'_>>, errors: &mut ErrorList) {
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
