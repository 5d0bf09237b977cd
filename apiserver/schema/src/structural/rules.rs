//! Whether a schema of a CustomResourceDefinition is structural, in the words of
//! `k8s.io/apiextensions-apiserver/pkg/apiserver/schema`: what gives structure stands outside of `allOf`, `anyOf`, `oneOf` and
//! `not`, and these only narrow values.

use kplane_machinery::field::{ErrorList, FieldError, Path};
use serde_json::Value;

use super::raw::{Fields, flag, has, list, map, schemas, text};

/// Where a schema stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    Root,
    Field,
    Item,
}

/// What keeps a schema from being structural, sorted as upstream sorts it.
pub(super) fn check(fields: &Fields, path: &Path) -> ErrorList {
    let mut errors = Vec::new();
    invariants(fields, Level::Root, path, &mut errors);
    complete(fields, Some(fields), path, path, &mut errors);
    errors.sort_by_cached_key(ToString::to_string);
    errors
}

/// Whether a schema can be read as one that may be structural: without what JSON schema knows and we do not.
pub(super) fn is_readable(fields: &Fields) -> bool {
    let unknown = ["definitions", "dependencies", "patternProperties"];
    let plain = unknown.iter().all(|name| map(fields, name).is_none_or(serde_json::Map::is_empty))
        && text(fields, "$ref").is_empty()
        && text(fields, "id").is_empty()
        && !has(fields, "additionalItems")
        && !fields.get("items").is_some_and(Value::is_array);
    let below = |name: &str| map(fields, name).is_none_or(is_readable);
    plain
        && ["items", "additionalProperties", "not"].into_iter().all(below)
        && map(fields, "properties")
            .into_iter()
            .flat_map(|p| p.values())
            .filter_map(Value::as_object)
            .all(is_readable)
        && ["allOf", "anyOf", "oneOf"].into_iter().flat_map(|name| schemas(fields, name)).all(is_readable)
}

fn invariants(fields: &Fields, level: Level, path: &Path, errors: &mut ErrorList) {
    if text(fields, "type") == "array" && map(fields, "items").is_none() {
        errors.push(FieldError::required(&path.child("items"), "must be specified"));
    }
    if let Some(items) = map(fields, "items") {
        invariants(items, Level::Item, &path.child("items"), errors);
    }
    for (name, raw) in map(fields, "properties").into_iter().flatten() {
        if let Some(inner) = raw.as_object() {
            invariants(inner, Level::Field, &path.child("properties").key(name), errors);
        }
    }
    if has(fields, "additionalProperties") {
        let at = path.child("additionalProperties");
        if level == Level::Root {
            errors.push(FieldError::forbidden(&at, "must not be used at the root"));
        }
        if let Some(inner) = map(fields, "additionalProperties") {
            invariants(inner, Level::Field, &at, errors);
        }
    }
    for name in ["x-kubernetes-preserve-unknown-fields", "x-kubernetes-embedded-resource"] {
        if flag(fields, "x-kubernetes-int-or-string") && flag(fields, name) {
            let told = "must be false if x-kubernetes-int-or-string is true";
            errors.push(FieldError::invalid(&path.child(name), &true.into(), told));
        }
    }
    let any = is_int_or_string(&schemas(fields, "anyOf").collect::<Vec<_>>());
    let first_all = schemas(fields, "allOf")
        .next()
        .is_some_and(|first| is_int_or_string(&schemas(first, "anyOf").collect::<Vec<_>>()));
    narrowing(fields, any, first_all, path, errors);
    types(fields, level, path, errors);
    metadata(fields, level, path, errors);
}

/// `[{type: integer}, {type: string}]`: the one place where types may stand in what narrows values.
fn is_int_or_string(any_of: &[&Fields]) -> bool {
    let only = |fields: &Fields, wanted: &str| fields.len() == 1 && text(fields, "type") == wanted;
    matches!(any_of, [first, second] if only(first, "integer") && only(second, "string"))
}

fn types(fields: &Fields, level: Level, path: &Path, errors: &mut ErrorList) {
    let given = text(fields, "type");
    let at = path.child("type");
    let embedded = flag(fields, "x-kubernetes-embedded-resource");
    let preserves = flag(fields, "x-kubernetes-preserve-unknown-fields");
    if embedded && given != "object" {
        let told = "must be object if x-kubernetes-embedded-resource is true";
        errors.push(if given.is_empty() {
            FieldError::required(&at, told)
        } else {
            FieldError::invalid_str(&at, given, told)
        });
    } else if given.is_empty() && !flag(fields, "x-kubernetes-int-or-string") && !preserves {
        errors.push(FieldError::required(
            &at,
            match level {
                Level::Root => "must not be empty at the root",
                Level::Item => "must not be empty for specified array items",
                Level::Field => "must not be empty for specified object fields",
            },
        ));
    }
    if embedded && has(fields, "additionalProperties") {
        errors.push(FieldError::forbidden(
            &path.child("additionalProperties"),
            "must not be used if x-kubernetes-embedded-resource is set",
        ));
    }
    if level == Level::Root && !given.is_empty() && given != "object" {
        errors.push(FieldError::invalid_str(&at, given, "must be object at the root"));
    }
    if embedded && !preserves && map(fields, "properties").is_none_or(serde_json::Map::is_empty) {
        errors.push(FieldError::required(
            &path.child("properties"),
            "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields",
        ));
    }
}

/// `metadata` is implied; a schema may only narrow its name.
fn metadata(fields: &Fields, level: Level, path: &Path, errors: &mut ErrorList) {
    if level != Level::Root && !flag(fields, "x-kubernetes-embedded-resource") {
        return;
    }
    let Some(properties) = map(fields, "properties") else { return };
    let at = |name: &str| path.child("properties").key(name);
    for (name, wanted) in [("kind", "string"), ("apiVersion", "string"), ("metadata", "object")] {
        if let Some(given) = map(properties, name).map(|of| text(of, "type"))
            && given != wanted
        {
            let told = format!("must be {wanted}");
            errors.push(FieldError::invalid_str(&at(name).child("type"), given, told));
        }
    }
    let Some(metadata) = map(properties, "metadata").filter(|_| level == Level::Root) else { return };
    let named = map(metadata, "properties")
        .is_none_or(|named| named.keys().all(|name| name == "name" || name == "generateName"));
    let plain = metadata
        .iter()
        .filter(|(_, value)| !matches!(value, Value::Null | Value::Bool(false)))
        .all(|(name, _)| matches!(name.as_str(), "type" | "properties" | "default"));
    if !named || !plain {
        let told = "must not specify anything other than name and generateName, but metadata is implicitly specified";
        errors.push(FieldError::forbidden(&at("metadata"), told));
    }
}

/// What narrows the values of a schema.
fn narrowing(fields: &Fields, skip_any: bool, skip_first_all: bool, path: &Path, errors: &mut ErrorList) {
    for name in ["anyOf", "allOf", "oneOf"] {
        if name == "anyOf" && skip_any {
            continue;
        }
        for (index, inner) in schemas(fields, name).enumerate() {
            let skip = name == "allOf" && index == 0 && skip_first_all;
            nested(inner, skip, &path.child(name).index(index), errors);
        }
    }
    if let Some(inner) = map(fields, "not") {
        nested(inner, false, &path.child("not"), errors);
    }
    let pattern = text(fields, "pattern");
    if let Some(why) = crate::validate::pattern_error(pattern) {
        let told = format!("must be a valid regular expression, but isn't: {why}");
        errors.push(FieldError::invalid_str(&path.child("pattern"), pattern, told));
    }
}

/// What stands in `allOf`, `anyOf`, `oneOf` or `not` may narrow values, but not give structure.
fn nested(fields: &Fields, skip_any: bool, path: &Path, errors: &mut ErrorList) {
    narrowing(fields, skip_any, false, path, errors);
    if let Some(inner) = map(fields, "items") {
        nested(inner, false, &path.child("items"), errors);
    }
    for (name, raw) in map(fields, "properties").into_iter().flatten() {
        if let Some(inner) = raw.as_object() {
            nested(inner, false, &path.child("properties").key(name), errors);
        }
    }
    let mut forbid = |name: &str, told: &str| {
        let told = format!("must be {told} to be structural");
        errors.push(FieldError::forbidden(&path.child(name), told));
    };
    for name in ["type", "title", "description"] {
        if !text(fields, name).is_empty() {
            forbid(name, "empty");
        }
    }
    for name in
        ["additionalProperties", "default", "externalDocs", "x-kubernetes-list-type", "x-kubernetes-map-type"]
    {
        if has(fields, name) {
            forbid(name, "undefined");
        }
    }
    for name in [
        "nullable",
        "x-kubernetes-preserve-unknown-fields",
        "x-kubernetes-embedded-resource",
        "x-kubernetes-int-or-string",
    ] {
        if flag(fields, name) {
            forbid(name, "false");
        }
    }
    for name in ["x-kubernetes-list-map-keys", "x-kubernetes-validations"] {
        if list(fields, name).next().is_some() {
            forbid(name, "empty");
        }
    }
    if map(fields, "properties").is_some_and(|properties| properties.contains_key("metadata")) {
        let at = path.child("properties").key("metadata");
        errors.push(FieldError::forbidden(&at, "must not be specified in a nested context"));
    }
}

/// What narrows values, `of`, may only speak of fields that the structure has.
fn complete(of: &Fields, structure: Option<&Fields>, at: &Path, said: &Path, errors: &mut ErrorList) {
    if let Some(inner) = map(of, "not") {
        complete_nested(inner, structure, at, &said.child("not"), errors);
    }
    for name in ["allOf", "anyOf", "oneOf"] {
        for (index, inner) in schemas(of, name).enumerate() {
            complete_nested(inner, structure, at, &said.child(name).index(index), errors);
        }
    }
}

fn complete_nested(of: &Fields, structure: Option<&Fields>, at: &Path, said: &Path, errors: &mut ErrorList) {
    let Some(structure) = structure else {
        return errors.push(FieldError::required(at, format!("because it is defined in {said}")));
    };
    complete(of, Some(structure), at, said, errors);
    if let Some(items) = map(of, "items") {
        complete_nested(items, map(structure, "items"), &at.child("items"), &said.child("items"), errors);
    }
    for (name, raw) in map(of, "properties").into_iter().flatten() {
        let Some(inner) = raw.as_object() else { continue };
        let there = map(structure, "properties").and_then(|p| p.get(name)).and_then(Value::as_object);
        let below = |path: &Path| path.child("properties").key(name);
        complete_nested(inner, there, &below(at), &below(said), errors);
    }
}
