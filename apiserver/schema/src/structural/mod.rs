//! From the `JSONSchemaProps` of a CustomResourceDefinition to a [`Schema`].

mod defaults;
mod raw;
mod rules;
mod selectable;
mod supported;

pub use selectable::check_selectable;

use kplane_machinery::field::{ErrorList, FieldError, Path};
use kplane_machinery::schema::{
    ListType, MapType, PatchStrategy, Property, Schema, SchemaLink, SchemaType, ValidationRule, Validations,
};
use serde_json::{Map, Value};
use std::sync::Arc;

use crate::builtin;
use crate::check::OBJECT_META;

/// Reads a schema as it stands in a CustomResourceDefinition. The errors are of a schema that cannot be
/// understood at all; whether it is structural is told by [`check`].
pub fn from_json(raw: &Value, path: &Path) -> Result<Schema, ErrorList> {
    let mut errors = Vec::new();
    let schema = read(raw, path, &mut errors);
    if errors.is_empty() { Ok(schema) } else { Err(errors) }
}

/// What keeps a schema of a CustomResourceDefinition from being structural, or from being supported at all. Rules in CEL are
/// not looked at.
pub fn check(raw: &Value, path: &Path) -> ErrorList {
    let Some(fields) = raw.as_object() else {
        return vec![FieldError::required(path, "must be a schema")];
    };
    let mut errors = Vec::new();
    // One that cannot be structural at all is told only what is not supported.
    if rules::is_readable(fields) {
        errors = rules::check(fields, path);
        if errors.is_empty() {
            defaults::check(raw, path, &mut errors);
        }
    }
    errors.extend(supported::check(fields, path));
    errors
}

/// Gives the schema of a custom resource the fields that every object has.
pub fn add_type_and_object_meta(schema: &mut Schema) {
    let text = SchemaLink::from(Schema { schema_type: SchemaType::String, ..Schema::default() });
    set(schema, property("apiVersion", text.clone()));
    set(schema, property("kind", text));
    if let Some(meta) = builtin().get(OBJECT_META) {
        set(schema, property("metadata", meta));
    }
    schema.schema_type = SchemaType::Object;
}

fn set(schema: &mut Schema, property: Property) {
    match schema.properties.binary_search_by(|p| p.name.cmp(&property.name)) {
        Ok(at) => {
            if let Some(there) = schema.properties.get_mut(at) {
                *there = property;
            }
        }
        Err(at) => schema.properties.insert(at, property),
    }
}

pub(crate) fn property(name: &str, schema: SchemaLink) -> Property {
    Property {
        name: name.into(),
        number: 0,
        description: schema.description.clone(),
        default: schema.default.clone(),
        patch: PatchStrategy::default(),
        list_type: schema.list_type.clone(),
        map_type: schema.map_type,
        enumeration: Vec::new(),
        schema,
    }
}

fn text(raw: &Map<String, Value>, name: &str) -> Option<String> {
    raw.get(name).and_then(Value::as_str).filter(|s| !s.is_empty()).map(str::to_owned)
}

fn flag(raw: &Map<String, Value>, name: &str) -> bool {
    raw.get(name).and_then(Value::as_bool).unwrap_or(false)
}

fn read(raw: &Value, path: &Path, errors: &mut ErrorList) -> Schema {
    let Some(fields) = raw.as_object() else {
        errors.push(FieldError::invalid(path, raw, "must be a schema"));
        return Schema::default();
    };
    let mut schema = Schema {
        description: text(fields, "description").unwrap_or_default().into(),
        schema_type: match fields.get("type").and_then(Value::as_str).unwrap_or("") {
            "object" => SchemaType::Object,
            "array" => SchemaType::Array,
            "string" => SchemaType::String,
            "integer" => SchemaType::Integer,
            "number" => SchemaType::Number,
            "boolean" => SchemaType::Boolean,
            _ => SchemaType::Any,
        },
        format: text(fields, "format").map(Arc::from),
        nullable: flag(fields, "nullable"),
        preserve_unknown: flag(fields, "x-kubernetes-preserve-unknown-fields"),
        embedded_resource: flag(fields, "x-kubernetes-embedded-resource"),
        int_or_string: flag(fields, "x-kubernetes-int-or-string"),
        default: fields.get("default").filter(|d| !d.is_null()).cloned(),
        required: texts(fields.get("required")),
        ..Schema::default()
    };
    schema.list_type = match fields.get("x-kubernetes-list-type").and_then(Value::as_str) {
        Some("set") => ListType::Set,
        Some("map") => ListType::Map(texts(fields.get("x-kubernetes-list-map-keys"))),
        _ => ListType::Atomic,
    };
    if fields.get("x-kubernetes-map-type").and_then(Value::as_str) == Some("atomic") {
        schema.map_type = MapType::Atomic;
    }
    if let Some(properties) = fields.get("properties").and_then(Value::as_object) {
        let path = path.child("properties");
        schema.properties = properties
            .iter()
            .map(|(name, raw)| property(name, read(raw, &path.key(name), errors).into()))
            .collect();
        schema.properties.sort_by(|a, b| a.name.cmp(&b.name));
    }
    match fields.get("additionalProperties") {
        Some(Value::Bool(true)) => {
            // Any values, of which nothing is known: what is in maps among them is pruned.
            schema.additional = Some(Schema::default().into());
        }
        Some(raw @ Value::Object(_)) => {
            schema.additional = Some(read(raw, &path.child("additionalProperties"), errors).into());
        }
        _ => {}
    }
    match fields.get("items") {
        Some(raw @ Value::Object(_)) => schema.items = Some(read(raw, &path.child("items"), errors).into()),
        Some(Value::Array(_)) => {
            errors.push(FieldError::forbidden(
                &path.child("items"),
                "items must be a schema object and not an array",
            ));
        }
        _ => {}
    }
    schema.validations = validations(fields, path, errors).map(Box::new);
    schema
}

fn texts(value: Option<&Value>) -> Vec<Arc<str>> {
    value.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).map(Arc::from).collect()
}

fn validations(fields: &Map<String, Value>, path: &Path, errors: &mut ErrorList) -> Option<Validations> {
    let number = |name: &str| fields.get(name).and_then(Value::as_f64);
    let count = |name: &str| fields.get(name).and_then(Value::as_u64);
    let mut list = |name: &str| -> Vec<Schema> {
        let raw = fields.get(name).and_then(Value::as_array);
        let path = path.child(name);
        raw.into_iter().flatten().enumerate().map(|(i, raw)| read(raw, &path.index(i), errors)).collect()
    };
    let (all_of, any_of, one_of) = (list("allOf"), list("anyOf"), list("oneOf"));
    let not = fields
        .get("not")
        .filter(|n| n.is_object())
        .map(|raw| Box::new(read(raw, &path.child("not"), errors)));
    let out = Validations {
        enumeration: fields.get("enum").and_then(Value::as_array).cloned().unwrap_or_default(),
        pattern: text(fields, "pattern"),
        min_length: count("minLength"),
        max_length: count("maxLength"),
        minimum: number("minimum"),
        maximum: number("maximum"),
        exclusive_minimum: flag(fields, "exclusiveMinimum"),
        exclusive_maximum: flag(fields, "exclusiveMaximum"),
        multiple_of: number("multipleOf"),
        min_items: count("minItems"),
        max_items: count("maxItems"),
        unique_items: flag(fields, "uniqueItems"),
        min_properties: count("minProperties"),
        max_properties: count("maxProperties"),
        all_of,
        any_of,
        one_of,
        not,
        rules: fields
            .get("x-kubernetes-validations")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_object)
            .map(|rule| ValidationRule {
                rule: text(rule, "rule").unwrap_or_default(),
                message: text(rule, "message").unwrap_or_default(),
                message_expression: text(rule, "messageExpression").unwrap_or_default(),
                reason: text(rule, "reason"),
                field_path: text(rule, "fieldPath").unwrap_or_default(),
                optional_old_self: rule.get("optionalOldSelf").and_then(Value::as_bool),
            })
            .collect(),
    };
    let given = [
        "enum",
        "pattern",
        "minLength",
        "maxLength",
        "minimum",
        "maximum",
        "multipleOf",
        "minItems",
        "maxItems",
        "uniqueItems",
        "minProperties",
        "maxProperties",
        "allOf",
        "anyOf",
        "oneOf",
        "not",
        "x-kubernetes-validations",
    ];
    given.iter().any(|name| fields.contains_key(*name)).then_some(out)
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
            // One that cannot be structural at all is told only what is not supported.
            told(json!({"type": "object", "properties": {"l": {"type": "array"}}, "$ref": "x"})),
            ["s.$ref: Forbidden: $ref is not supported"]
        );
        assert_eq!(
            told(
                json!({"type": "object", "anyOf": [{"properties": {"a": {"type": "string", "minLength": 1}}}]})
            ),
            [
                "s.anyOf[0].properties[a].type: Forbidden: must be empty to be structural",
                "s.properties[a]: Required value: because it is defined in s.anyOf[0].properties[a]",
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
