//! What a schema of a CustomResourceDefinition may say at all, structural or not, in the words of
//! `ValidateCustomResourceDefinitionOpenAPISchema`. Rules in CEL are not looked at.

use kplane_machinery::field::{ErrorList, FieldError, Path};
use serde_json::Value;

use super::raw::{Fields, flag, has, list, map, schemas, text};

const TYPES: [&str; 6] = ["array", "boolean", "integer", "number", "object", "string"];

/// Where a schema stands.
#[derive(Clone, Copy, Default)]
struct Place<'a> {
    root: bool,
    /// It describes the apiVersion, kind or metadata of an object, or something in them.
    in_meta: bool,
    /// Why defaults may not be set.
    no_defaults: Option<&'a str>,
}

/// What is not supported of a schema.
pub(super) fn check(fields: &Fields, path: &Path) -> ErrorList {
    let mut errors = Vec::new();
    walk(fields, Place { root: true, ..Place::default() }, path, &mut errors);
    errors
}

fn walk(fields: &Fields, place: Place<'_>, path: &Path, errors: &mut ErrorList) {
    unsupported(fields, place, path, errors);
    let below = Place { root: false, ..place };
    if let Some(of) = fields.get("additionalProperties").filter(|of| !of.is_null()) {
        let at = path.child("additionalProperties");
        if *of != Value::Bool(true) && map(fields, "properties").is_some_and(|p| !p.is_empty()) {
            let told = "additionalProperties and properties are mutual exclusive";
            errors.push(FieldError::forbidden(&at, told));
        }
        if let Some(inner) = of.as_object() {
            let why = "inside additionalProperties applying to object metadata";
            let place = if place.in_meta { Place { no_defaults: Some(why), ..below } } else { below };
            walk(inner, place, &at, errors);
        }
    }
    let root = place.root;
    let of_object = root || flag(fields, "x-kubernetes-embedded-resource");
    for (name, raw) in map(fields, "properties").into_iter().flatten() {
        let Some(inner) = raw.as_object() else { continue };
        let why = format!("in top-level {name}");
        let mut place = below;
        if of_object && matches!(name.as_str(), "metadata" | "kind" | "apiVersion") {
            place.in_meta = true;
            if root {
                place.no_defaults = Some(&why);
            }
        }
        walk(inner, place, &path.child("properties").key(name), errors);
    }
    if let Some(inner) = map(fields, "not") {
        walk(inner, below, &path.child("not"), errors);
    }
    for name in ["allOf", "oneOf", "anyOf"] {
        for (index, inner) in schemas(fields, name).enumerate() {
            walk(inner, below, &path.child(name).index(index), errors);
        }
    }
    for (name, raw) in map(fields, "definitions").into_iter().flatten() {
        if let Some(inner) = raw.as_object() {
            walk(inner, below, &path.child("definitions").key(name), errors);
        }
    }
    match fields.get("items") {
        Some(Value::Object(inner)) => walk(inner, below, &path.child("items"), errors),
        Some(Value::Array(several)) => {
            for (index, inner) in
                several.iter().enumerate().filter_map(|(i, raw)| Some((i, raw.as_object()?)))
            {
                walk(inner, below, &path.child("items").index(index), errors);
            }
        }
        _ => {}
    }
    extensions(fields, path, errors);
}

/// `specStandardValidatorV3.validate`, and the items that must not be unique.
fn unsupported(fields: &Fields, place: Place<'_>, path: &Path, errors: &mut ErrorList) {
    let given = text(fields, "type");
    if !given.is_empty() && !TYPES.contains(&given) {
        errors.push(FieldError::not_supported(&path.child("type"), &given.into(), &TYPES));
    }
    let mut forbid = |name: &str, told: &str| errors.push(FieldError::forbidden(&path.child(name), told));
    if let Some(why) = place.no_defaults.filter(|_| has(fields, "default")) {
        forbid("default", &format!("must not be set {why}"));
    }
    for name in ["id", "additionalItems", "patternProperties", "definitions", "dependencies", "$ref"] {
        let given = match fields.get(name) {
            None | Some(Value::Null) => false,
            Some(Value::String(text)) => !text.is_empty(),
            Some(Value::Object(map)) => !map.is_empty() || name == "additionalItems",
            Some(_) => true,
        };
        if given {
            forbid(name, &format!("{name} is not supported"));
        }
    }
    if given == "null" {
        forbid("type", "type cannot be set to null, use nullable as an alternative");
    }
    if fields.get("items").is_some_and(Value::is_array) {
        forbid("items", "items must be a schema object and not an array");
    }
    if place.in_meta && flag(fields, "x-kubernetes-embedded-resource") {
        forbid("x-kubernetes-embedded-resource", "must not be used inside of resource meta");
    }
    if flag(fields, "uniqueItems") {
        forbid(
            "uniqueItems",
            "uniqueItems cannot be set to true since the runtime complexity becomes quadratic",
        );
    }
}

fn extensions(fields: &Fields, path: &Path, errors: &mut ErrorList) {
    let preserve = "x-kubernetes-preserve-unknown-fields";
    if fields.get(preserve) == Some(&Value::Bool(false)) {
        errors.push(FieldError::invalid(&path.child(preserve), &false.into(), "must be true or undefined"));
    }
    let given = text(fields, "type");
    let wrong_type = |wanted: &str, extension: &str, errors: &mut ErrorList| {
        let told = format!("must be {wanted} if {extension} is specified");
        let at = path.child("type");
        if given.is_empty() {
            errors.push(FieldError::required(&at, told));
        } else if given != wanted {
            errors.push(FieldError::invalid_str(&at, given, told));
        }
    };
    let map_type = text(fields, "x-kubernetes-map-type");
    if has(fields, "x-kubernetes-map-type") {
        wrong_type("object", "x-kubernetes-map-type", errors);
        if !["atomic", "granular"].contains(&map_type) {
            let at = path.child("x-kubernetes-map-type");
            errors.push(FieldError::not_supported(&at, &map_type.into(), &["atomic", "granular"]));
        }
    }
    let list_type = text(fields, "x-kubernetes-list-type");
    let (at, keys_at) = (path.child("x-kubernetes-list-type"), path.child("x-kubernetes-list-map-keys"));
    if has(fields, "x-kubernetes-list-type") {
        wrong_type("array", "x-kubernetes-list-type", errors);
        if given == "array" && list_type == "set" {
            set_items(fields, &path.child("items"), errors);
        }
        if !["atomic", "set", "map"].contains(&list_type) {
            errors.push(FieldError::not_supported(&at, &list_type.into(), &["atomic", "set", "map"]));
        }
    }
    let keys: Vec<&str> = list(fields, "x-kubernetes-list-map-keys").filter_map(Value::as_str).collect();
    if !keys.is_empty() && list_type != "map" {
        let told = "must be map if x-kubernetes-list-map-keys is non-empty";
        errors.push(if list_type.is_empty() {
            FieldError::required(&at, told)
        } else {
            FieldError::invalid_str(&at, list_type, told)
        });
    }
    if list_type == "map" {
        list_map(fields, &keys, &keys_at, path, errors);
    }
    if matches!(list_type, "map" | "set") {
        keyed_items(fields, list_type, &keys, &path.child("items"), errors);
    }
}

/// What is in a set must be compared as a whole.
fn set_items(fields: &Fields, at: &Path, errors: &mut ErrorList) {
    let Some(items) = map(fields, "items") else { return };
    let told = "must be atomic as item of a list with x-kubernetes-list-type=set";
    let of = |name: &str| items.get(name).cloned().unwrap_or(Value::Null);
    match text(items, "type") {
        "array" if !matches!(text(items, "x-kubernetes-list-type"), "" | "atomic") => {
            let name = "x-kubernetes-list-type";
            errors.push(FieldError::invalid(&at.child(name), &of(name), told));
        }
        "object" if text(items, "x-kubernetes-map-type") != "atomic" => {
            // Upstream shows the list type here.
            let shown = of("x-kubernetes-list-type");
            errors.push(FieldError::invalid(&at.child("x-kubernetes-map-type"), &shown, told));
        }
        _ => {}
    }
}

fn list_map(fields: &Fields, keys: &[&str], keys_at: &Path, path: &Path, errors: &mut ErrorList) {
    if keys.is_empty() {
        errors.push(FieldError::required(keys_at, "must not be empty if x-kubernetes-list-type is map"));
    }
    let at = path.child("items");
    let items = match fields.get("items") {
        Some(Value::Object(items)) => items,
        None | Some(Value::Null) => {
            errors.push(FieldError::required(&at, "must have a schema if x-kubernetes-list-type is map"));
            return;
        }
        Some(other) => {
            let told = "must only have a single schema if x-kubernetes-list-type is map";
            errors.push(FieldError::invalid(&at, other, told));
            return;
        }
    };
    let kind = text(items, "type");
    if kind != "object" {
        let told = "must be object if parent array's x-kubernetes-list-type is map";
        errors.push(FieldError::invalid_str(&at.child("type"), kind, told));
        return;
    }
    let shown: Value = keys.to_vec().into();
    for (index, key) in keys.iter().enumerate() {
        match map(items, "properties").and_then(|p| p.get(*key)).and_then(Value::as_object) {
            None => {
                let told = "entries must all be names of item properties";
                errors.push(FieldError::invalid(keys_at, &shown, told));
            }
            Some(of) if matches!(text(of, "type"), "array" | "object") => {
                let told = "must be a scalar type if parent array's x-kubernetes-list-type is map";
                let at = at.child("properties").key(key).child("type");
                errors.push(FieldError::invalid_str(&at, kind, told));
            }
            Some(_) => {}
        }
        if keys.iter().take(index).any(|other| other == key) {
            errors.push(FieldError::invalid(keys_at, &shown, "must not contain duplicate entries"));
        }
    }
}

/// `validateMapListKeysMapSet`: items that are told apart must be there, and so must what tells them apart.
fn keyed_items(fields: &Fields, list_type: &str, keys: &[&str], at: &Path, errors: &mut ErrorList) {
    let Some(items) = map(fields, "items") else { return };
    if flag(items, "nullable") {
        let told = format!("cannot be nullable when x-kubernetes-list-type is {list_type}");
        errors.push(FieldError::forbidden(&at.child("nullable"), told));
    }
    if list_type != "map" {
        return;
    }
    for key in keys {
        let Some(of) = map(items, "properties").and_then(|p| p.get(*key)).and_then(Value::as_object) else {
            continue;
        };
        let at = at.child("properties").key(key);
        if !has(of, "default") && !list(items, "required").any(|name| name == *key) {
            let told = "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property";
            errors.push(FieldError::required(&at.child("default"), told));
        }
        if flag(of, "nullable") {
            let told = "this property is in x-kubernetes-list-map-keys, so it cannot be nullable";
            errors.push(FieldError::forbidden(&at.child("nullable"), told));
        }
    }
}
