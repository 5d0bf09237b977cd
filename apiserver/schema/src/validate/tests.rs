use super::*;
use crate::structural;
use serde_json::json;

fn told(schema: Value, object: Value) -> Vec<String> {
    let schema = structural::from_json(&schema, &Path::root()).unwrap();
    validate(&schema, &object, None).iter().map(ToString::to_string).collect()
}

#[test]
fn errors_read_as_upstream() {
    let schema = json!({"type": "object", "properties": {"spec": {"type": "object", "required": ["size"], "properties": {
        "size": {"type": "integer", "maximum": 10, "minimum": 1},
        "color": {"type": "string", "enum": ["red", "blue"]},
        "name": {"type": "string", "pattern": "^[a-z]+$", "minLength": 2, "maxLength": 3},
        "when": {"type": "string", "format": "date-time"},
        "port": {"x-kubernetes-int-or-string": true},
        "list": {"type": "array", "maxItems": 1, "items": {"type": "string"}},
    }}}});
    assert_eq!(
        told(schema.clone(), json!({"spec": {"size": 11, "color": "green"}})),
        [
            "spec.color: Unsupported value: \"green\": supported values: \"red\", \"blue\"",
            "spec.size: Invalid value: 11: spec.size in body should be less than or equal to 10",
        ]
    );
    assert_eq!(told(schema.clone(), json!({"spec": {}})), ["spec.size: Required value"]);
    assert_eq!(
        told(schema.clone(), json!({"spec": {"size": "x"}})),
        ["spec.size: Invalid value: \"string\": spec.size in body must be of type integer: \"string\""]
    );
    assert_eq!(
        told(schema.clone(), json!({"spec": {"size": 1, "name": "ABCD", "when": "now", "port": true}})),
        [
            "spec.name: Too long: may not be more than 3 bytes",
            "spec.name: Invalid value: \"ABCD\": spec.name in body should match '^[a-z]+$'",
            "spec.port: Invalid value: \"boolean\": spec.port in body must be of type integer,string: \"boolean\"",
            "spec.when: Invalid value: \"now\": spec.when in body must be of type date-time: \"now\"",
        ]
    );
    assert_eq!(
        told(schema, json!({"spec": {"size": 1, "list": ["a", 1]}})),
        [
            "spec.list: Too many: 2: must have at most 1 item",
            "spec.list[1]: Invalid value: \"integer\": spec.list[1] in body must be of type string: \"integer\"",
        ]
    );
}

#[test]
fn composites_are_told() {
    let schema = json!({"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
        "oneOf": [{"required": ["a"]}, {"required": ["b"]}]});
    assert_eq!(told(schema.clone(), json!({"a": 1})), Vec::<String>::new());
    assert_eq!(
        told(schema.clone(), json!({}))[0],
        "<nil>: Invalid value: \"\": \"\" must validate one and only one schema (oneOf). Found none valid"
    );
    assert_eq!(told(schema, json!({"a": 1, "b": 1})).len(), 1);
}

#[test]
fn lists_tell_duplicates_and_changes_alone_are_blamed() {
    let schema = json!({"type": "object", "properties": {
        "ports": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["port"],
            "items": {"type": "object", "properties": {"port": {"type": "integer"}, "n": {"type": "string", "maxLength": 1}}}},
        "set": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
    }});
    assert_eq!(
        told(schema.clone(), json!({"ports": [{"port": 1}, {"port": 1, "n": "x"}], "set": ["a", "a"]})),
        ["ports[1]: Duplicate value: {\"port\":1}", "set[1]: Duplicate value: \"a\""]
    );
    let schema = structural::from_json(&schema, &Path::root()).unwrap();
    let old = json!({"ports": [{"port": 1, "n": "long"}]});
    let new = json!({"ports": [{"port": 2}, {"port": 1, "n": "long"}]});
    assert!(validate(&schema, &new, Some(&old)).is_empty());
    assert_eq!(validate(&schema, &new, None).len(), 1);
}

#[test]
fn the_version_of_an_object_is_looked_at_though_it_has_not_changed() {
    let schema = json!({"type": "object", "properties": {
        "apiVersion": {"type": "string", "pattern": "^birds.test/v1$"}, "size": {"type": "integer"},
    }});
    let schema = structural::from_json(&schema, &Path::root()).unwrap();
    let object = |version: &str, size: i64| json!({"apiVersion": version, "size": size});
    assert_eq!(validate(&schema, &object("birds.test/v2", 2), Some(&object("birds.test/v2", 1))).len(), 1);
    assert_eq!(validate(&schema, &object("birds.test/v2", 1), Some(&object("birds.test/v2", 1))).len(), 0);
    assert_eq!(validate(&schema, &object("birds.test/v1", 2), Some(&object("birds.test/v1", 1))).len(), 0);
}
