//! Whether a schema of a CustomResourceDefinition is structural, in the words of
//! `k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/validation` and `pkg/apiserver/schema`.

use kplane_machinery::field::{ErrorList, FieldError, Path};
use serde_json::{Map, Value};

type Fields = Map<String, Value>;

/// Where a schema stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    Root,
    Field,
    Item,
}

/// What keeps a schema from being structural, or from being supported at all. Defaults are checked against the schema
/// around them; rules in CEL are not looked at.
pub fn check(raw: &Value, path: &Path) -> ErrorList {
    let mut errors = Vec::new();
    match raw.as_object() {
        Some(fields) => structure(fields, Level::Root, path, &mut errors),
        None => errors.push(FieldError::required(path, "must be a schema")),
    }
    if errors.is_empty() {
        defaults(raw, path, &mut errors);
    }
    errors
}

fn text<'a>(fields: &'a Fields, name: &str) -> &'a str {
    fields.get(name).and_then(Value::as_str).unwrap_or("")
}

fn flag(fields: &Fields, name: &str) -> bool {
    fields.get(name).and_then(Value::as_bool).unwrap_or(false)
}

fn map<'a>(fields: &'a Fields, name: &str) -> Option<&'a Fields> {
    fields.get(name).and_then(Value::as_object)
}

fn structure(fields: &Fields, level: Level, path: &Path, errors: &mut ErrorList) {
    unsupported(fields, path, errors);
    extensions(fields, path, errors);
    types(fields, level, path, errors);
    if level == Level::Root || flag(fields, "x-kubernetes-embedded-resource") {
        metadata(fields, path, errors);
    }
    for name in ["allOf", "anyOf", "oneOf"] {
        let list = fields.get(name).and_then(Value::as_array).into_iter().flatten();
        for (index, raw) in list.enumerate() {
            let path = path.child(name).index(index);
            let pattern = flag(fields, "x-kubernetes-int-or-string") && is_int_or_string(name, index, fields);
            if let (Some(inner), false) = (raw.as_object(), pattern) {
                value_validation(inner, fields, &path, errors);
            }
        }
    }
    if let Some(inner) = map(fields, "not") {
        value_validation(inner, fields, &path.child("not"), errors);
    }
    if let Some(items) = map(fields, "items") {
        structure(items, Level::Item, &path.child("items"), errors);
    }
    for (name, raw) in map(fields, "properties").into_iter().flatten() {
        if let Some(inner) = raw.as_object() {
            structure(inner, Level::Field, &path.child("properties").key(name), errors);
        }
    }
    if let Some(inner) = map(fields, "additionalProperties") {
        structure(inner, Level::Field, &path.child("additionalProperties"), errors);
    }
}

fn types(fields: &Fields, level: Level, path: &Path, errors: &mut ErrorList) {
    let given = text(fields, "type");
    let at = path.child("type");
    let embedded = flag(fields, "x-kubernetes-embedded-resource");
    let preserves = flag(fields, "x-kubernetes-preserve-unknown-fields");
    let number_or_text = flag(fields, "x-kubernetes-int-or-string");
    if embedded && given != "object" {
        let told = "must be object if x-kubernetes-embedded-resource is true";
        errors.push(if given.is_empty() {
            FieldError::required(&at, told)
        } else {
            FieldError::invalid_str(&at, given, told)
        });
    } else if given.is_empty() && !number_or_text && !preserves {
        errors.push(FieldError::required(
            &at,
            match level {
                Level::Root => "must not be empty at the root",
                Level::Item => "must not be empty for specified array items",
                Level::Field => "must not be empty for specified object fields",
            },
        ));
    }
    if number_or_text && !given.is_empty() {
        errors.push(FieldError::invalid_str(
            &at,
            given,
            "must be empty if x-kubernetes-int-or-string is true",
        ));
    }
    if embedded && fields.contains_key("additionalProperties") {
        errors.push(FieldError::forbidden(
            &path.child("additionalProperties"),
            "must not be used if x-kubernetes-embedded-resource is set",
        ));
    }
    if level == Level::Root && !given.is_empty() && given != "object" {
        errors.push(FieldError::invalid_str(&at, given, "must be object at the root"));
    }
    if embedded && !preserves && map(fields, "properties").is_none_or(Map::is_empty) {
        errors.push(FieldError::required(
            &path.child("properties"),
            "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields",
        ));
    }
    let known = ["", "object", "array", "string", "integer", "number", "boolean"];
    if given == "null" {
        errors.push(FieldError::forbidden(&at, "type cannot be set to null, use nullable as an alternative"));
    } else if !known.contains(&given) {
        let known: Vec<&str> = known.iter().copied().filter(|t| !t.is_empty()).collect();
        errors.push(FieldError::not_supported(&at, &given.into(), &known));
    }
    if given == "array" && map(fields, "items").is_none() && !fields.get("items").is_some_and(Value::is_array)
    {
        errors.push(FieldError::required(&path.child("items"), "must be specified"));
    }
}

/// What JSON schema knows and a CustomResourceDefinition may not say.
fn unsupported(fields: &Fields, path: &Path, errors: &mut ErrorList) {
    let mut forbid = |name: &str, told: &str| errors.push(FieldError::forbidden(&path.child(name), told));
    for name in ["definitions", "dependencies", "patternProperties"] {
        if map(fields, name).is_some_and(|m| !m.is_empty()) {
            forbid(name, &format!("{name} is not supported"));
        }
    }
    for name in ["$ref", "id"] {
        if !text(fields, name).is_empty() {
            forbid(name, &format!("{name} is not supported"));
        }
    }
    if fields.contains_key("additionalItems") {
        forbid("additionalItems", "additionalItems is not supported");
    }
    if flag(fields, "uniqueItems") {
        forbid(
            "uniqueItems",
            "uniqueItems cannot be set to true since the runtime complexity becomes quadratic",
        );
    }
    match fields.get("additionalProperties") {
        Some(Value::Bool(false)) => {
            forbid("additionalProperties", "additionalProperties cannot be set to false");
        }
        Some(_) if map(fields, "properties").is_some_and(|m| !m.is_empty()) => {
            forbid("additionalProperties", "additionalProperties and properties are mutual exclusive");
        }
        _ => {}
    }
    if fields.get("items").is_some_and(Value::is_array) {
        forbid("items", "items must be a schema object and not an array");
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
    if !map_type.is_empty() {
        wrong_type("object", "x-kubernetes-map-type", errors);
        if !["atomic", "granular"].contains(&map_type) {
            let at = path.child("x-kubernetes-map-type");
            errors.push(FieldError::not_supported(&at, &map_type.into(), &["atomic", "granular"]));
        }
    }
    let list_type = text(fields, "x-kubernetes-list-type");
    let (at, keys_at) = (path.child("x-kubernetes-list-type"), path.child("x-kubernetes-list-map-keys"));
    if !list_type.is_empty() {
        wrong_type("array", "x-kubernetes-list-type", errors);
        if !["atomic", "set", "map"].contains(&list_type) {
            errors.push(FieldError::not_supported(&at, &list_type.into(), &["atomic", "set", "map"]));
        }
    }
    let keys: Vec<&str> = fields
        .get("x-kubernetes-list-map-keys")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    if !keys.is_empty() && list_type != "map" {
        let told = "must be map if x-kubernetes-list-map-keys is non-empty";
        errors.push(if list_type.is_empty() {
            FieldError::required(&at, told)
        } else {
            FieldError::invalid_str(&at, list_type, told)
        });
    }
    if list_type == "map" {
        if keys.is_empty() {
            errors.push(FieldError::required(&keys_at, "must not be empty if x-kubernetes-list-type is map"));
        }
        list_map(fields, &keys, &keys_at, path, errors);
    }
}

fn list_map(fields: &Fields, keys: &[&str], keys_at: &Path, path: &Path, errors: &mut ErrorList) {
    let at = path.child("items");
    let Some(items) = map(fields, "items") else {
        errors.push(FieldError::required(&at, "must have a schema if x-kubernetes-list-type is map"));
        return;
    };
    if text(items, "type") != "object" {
        let told = "must be object if parent array's x-kubernetes-list-type is map";
        errors.push(FieldError::invalid_str(&at.child("type"), text(items, "type"), told));
    }
    let required: Vec<&str> = items
        .get("required")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    for (index, key) in keys.iter().enumerate() {
        if keys.iter().take(index).any(|other| other == key) {
            errors.push(FieldError::duplicate(&keys_at.index(index), &(*key).into()));
        }
        let Some(of) = map(items, "properties").and_then(|p| p.get(*key)).and_then(Value::as_object) else {
            let told = "entries must all be names of item properties";
            errors.push(FieldError::invalid_str(&keys_at.index(index), key, told));
            continue;
        };
        let at = at.child("properties").key(key);
        if ["array", "object"].contains(&text(of, "type")) {
            let told = "must be a scalar type if parent array's x-kubernetes-list-type is map";
            errors.push(FieldError::invalid_str(&at.child("type"), text(of, "type"), told));
        }
        if !required.contains(key) && of.get("default").is_none_or(Value::is_null) {
            let told = "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property";
            errors.push(FieldError::required(&at.child("default"), told));
        }
    }
}

/// `metadata` is implied; a schema may only narrow its name.
fn metadata(fields: &Fields, path: &Path, errors: &mut ErrorList) {
    let Some(properties) = map(fields, "properties") else { return };
    let at = |name: &str| path.child("properties").key(name).child("type");
    for name in ["kind", "apiVersion"] {
        if let Some(given) = map(properties, name).map(|of| text(of, "type"))
            && given != "string"
        {
            errors.push(FieldError::invalid_str(&at(name), given, "must be string"));
        }
    }
    let Some(metadata) = map(properties, "metadata") else { return };
    if text(metadata, "type") != "object" {
        errors.push(FieldError::invalid_str(&at("metadata"), text(metadata, "type"), "must be object"));
    }
    let only_names = map(metadata, "properties")
        .into_iter()
        .flatten()
        .all(|(name, _)| name == "name" || name == "generateName");
    let plain = metadata.keys().all(|key| ["type", "properties", "description"].contains(&key.as_str()));
    if !only_names || !plain {
        let told = "must not specify anything other than name and generateName, but metadata is implicitly specified";
        errors.push(FieldError::forbidden(&path.child("properties").key("metadata"), told));
    }
}

/// `anyOf: [{type: integer}, {type: string}]`, the one place where types may stand in a value validation.
fn is_int_or_string(name: &str, index: usize, fields: &Fields) -> bool {
    fn types(raw: Option<&Value>) -> Vec<&str> {
        let list = raw.and_then(Value::as_array).into_iter().flatten();
        list.filter_map(|s| s.get("type").and_then(Value::as_str)).collect()
    }
    match name {
        "anyOf" => types(fields.get("anyOf")) == ["integer", "string"],
        "allOf" if index == 0 => {
            types(fields.get("allOf").and_then(|all| all.get(0)).and_then(|first| first.get("anyOf")))
                == ["integer", "string"]
        }
        _ => false,
    }
}

/// What stands in `allOf`, `anyOf`, `oneOf` or `not` may narrow values, but not give structure.
fn value_validation(fields: &Fields, structural: &Fields, path: &Path, errors: &mut ErrorList) {
    let mut forbid = |name: &str, told: &str| errors.push(FieldError::forbidden(&path.child(name), told));
    for name in ["description", "type", "title"] {
        if !text(fields, name).is_empty() {
            forbid(name, "must be empty to be structural");
        }
    }
    if fields.get("default").is_some_and(|d| !d.is_null()) {
        forbid("default", "must be undefined to be structural");
    }
    if fields.contains_key("additionalProperties") {
        forbid("additionalProperties", "must be undefined to be structural");
    }
    if flag(fields, "nullable") {
        forbid("nullable", "must be false to be structural");
    }
    for name in [
        "x-kubernetes-preserve-unknown-fields",
        "x-kubernetes-embedded-resource",
        "x-kubernetes-int-or-string",
        "x-kubernetes-list-type",
        "x-kubernetes-list-map-keys",
        "x-kubernetes-map-type",
    ] {
        match fields.get(name) {
            None | Some(Value::Null) => {}
            Some(Value::Bool(false)) if !name.ends_with("fields") => {}
            Some(Value::Bool(_)) if !name.ends_with("fields") => {
                forbid(name, "must be false to be structural")
            }
            Some(Value::Array(_)) => forbid(name, "must be empty to be structural"),
            Some(_) => forbid(name, "must be undefined to be structural"),
        }
    }
    for (name, raw) in map(fields, "properties").into_iter().flatten() {
        let Some(inner) = raw.as_object() else { continue };
        let at = path.child("properties").key(name);
        let empty = Map::new();
        let of = map(structural, "properties")
            .and_then(|p| p.get(name))
            .or_else(|| structural.get("additionalProperties"))
            .and_then(Value::as_object);
        if of.is_none() {
            let told = format!("because it is defined in {at}");
            errors.push(FieldError::required(&Path::new(base_of(path)).child("properties").key(name), told));
        }
        value_validation(inner, of.unwrap_or(&empty), &at, errors);
    }
    if let Some(inner) = map(fields, "items") {
        let at = path.child("items");
        let empty = Map::new();
        let of = map(structural, "items");
        if of.is_none() {
            let told = format!("because it is defined in {at}");
            errors.push(FieldError::required(&Path::new(base_of(path)).child("items"), told));
        }
        value_validation(inner, of.unwrap_or(&empty), &at, errors);
    }
    for name in ["allOf", "anyOf", "oneOf"] {
        let list = fields.get(name).and_then(Value::as_array).into_iter().flatten();
        for (index, inner) in list.enumerate().filter_map(|(i, raw)| Some((i, raw.as_object()?))) {
            value_validation(inner, structural, &path.child(name).index(index), errors);
        }
    }
    if let Some(inner) = map(fields, "not") {
        value_validation(inner, structural, &path.child("not"), errors);
    }
}

/// The path of the structural schema that a value validation belongs to.
fn base_of(path: &Path) -> &str {
    let text = path.as_str();
    let ends = [".allOf[", ".anyOf[", ".oneOf[", ".not"].iter().filter_map(|mark| text.find(mark));
    ends.min().and_then(|end| text.get(..end)).unwrap_or(text)
}

/// Defaults must be what the schema allows, and hold nothing it would prune.
fn defaults(raw: &Value, path: &Path, errors: &mut ErrorList) {
    let Some(fields) = raw.as_object() else { return };
    if let Some(default) = fields.get("default").filter(|d| !d.is_null())
        && let Ok(schema) = super::from_json(raw, path)
    {
        let at = path.child("default");
        let mut pruned = default.clone();
        if !crate::prune(&schema, &mut pruned).is_empty() {
            errors.push(FieldError::invalid(&at, default, "must not have unknown fields"));
        }
        for mut error in crate::validate(&schema, default, None) {
            let below = error.field.as_str().to_owned();
            error.field = if below.is_empty() { at.clone() } else { at.child(&below) };
            errors.push(error);
        }
    }
    for (name, raw) in map(fields, "properties").into_iter().flatten() {
        defaults(raw, &path.child("properties").key(name), errors);
    }
    for name in ["items", "additionalProperties"] {
        if let Some(raw) = fields.get(name) {
            defaults(raw, &path.child(name), errors);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn told(raw: Value) -> Vec<String> {
        check(&raw, &Path::new("s")).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn errors_read_as_upstream() {
        assert_eq!(
            told(
                json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {"untyped": {}}}}})
            ),
            [
                "s.properties[spec].properties[untyped].type: Required value: must not be empty for specified object fields"
            ]
        );
        assert_eq!(
            told(json!({"type": "object", "properties": {"l": {"type": "array"}}, "$ref": "x"})),
            [
                "s.$ref: Forbidden: $ref is not supported",
                "s.properties[l].items: Required value: must be specified"
            ]
        );
        assert_eq!(
            told(
                json!({"type": "object", "anyOf": [{"properties": {"a": {"type": "string", "minLength": 1}}}]})
            ),
            [
                "s.properties[a]: Required value: because it is defined in s.anyOf[0].properties[a]",
                "s.anyOf[0].properties[a].type: Forbidden: must be empty to be structural",
            ]
        );
        assert_eq!(
            told(json!({"type": "object", "properties": {"a": {"type": "string", "default": 1}}})),
            [
                "s.properties[a].default: Invalid value: \"integer\":  in body must be of type string: \"integer\""
            ]
        );
    }

    #[test]
    fn structural_schemas_pass() {
        let none: Vec<String> = Vec::new();
        assert_eq!(
            told(json!({"type": "object", "properties": {
                "metadata": {"type": "object", "properties": {"name": {"type": "string", "maxLength": 3}}},
                "port": {"x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}, {"type": "string"}]},
                "any": {"x-kubernetes-preserve-unknown-fields": true},
                "map": {"type": "object", "additionalProperties": {"type": "string"}},
                "l": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"],
                    "items": {"type": "object", "required": ["k"], "properties": {"k": {"type": "string"}}}},
            }})),
            none
        );
    }
}
