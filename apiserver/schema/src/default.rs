//! Defaulting: what the server writes where the client wrote nothing.

use kplane_machinery::schema::{Property, Schema};
use serde_json::{Map, Value};

use crate::check::{drops_when_empty, is_empty, is_struct};
use crate::table::{Shape, shape};

/// Sets the defaults that the schema states.
///
/// A built-in type also gets the fields that Go always writes, such as `status: {}` (see [`normalise`]). A
/// custom resource is treated as upstream's structural defaulting does: a null of a field that is not
/// nullable gives way to the default, or is dropped where there is none.
pub fn default(schema: &Schema, value: &mut Value) {
    if schema.type_name.is_some() {
        typed(schema, value, true);
    } else {
        structural(schema, value);
        drop_nulls(schema, value);
    }
}

/// Brings an object to the form in which Go writes it: optional fields that are empty vanish, and those that
/// are always written are there. To be called after hooks have changed a value. Custom resources are left alone but
/// for their built-in parts, such as `metadata`.
pub fn normalise(schema: &Schema, value: &mut Value) {
    if schema.type_name.is_some() {
        typed(schema, value, false);
    } else if let Value::Object(fields) = value {
        for property in schema.properties.iter().filter(|p| p.schema.type_name.is_some()) {
            if let Some(value) = fields.get_mut(&*property.name) {
                typed(&property.schema, value, false);
            }
        }
    }
}

fn typed(schema: &Schema, value: &mut Value, defaults: bool) {
    match (shape(schema), value) {
        (Shape::Struct, Value::Object(fields)) => {
            // Those that are absent come last, when the empty ones are gone.
            fields.retain(|name, value| {
                let Some(property) = schema.property(name) else { return true };
                if !is_empty(value) {
                    return true;
                }
                !(value.is_null() || drops_when_empty(property))
            });
            for property in &schema.properties {
                field(schema, property, fields, defaults);
            }
        }
        (Shape::Map(of), Value::Object(entries)) if has_depth(of) => {
            entries.values_mut().for_each(|value| typed(of, value, defaults));
        }
        (Shape::List(of), Value::Array(items)) if has_depth(of) => {
            items.iter_mut().for_each(|value| typed(of, value, defaults));
        }
        _ => {}
    }
}

fn field(owner: &Schema, property: &Property, fields: &mut Map<String, Value>, defaults: bool) {
    if let Some(value) = fields.get_mut(&*property.name) {
        // Only on its way to the store: field management still tells an empty list from none.
        if !defaults && property.default == Some(Value::Null) && is_empty(value) && !stored_as_json(owner) {
            *value = Value::Null;
        }
        typed(&property.schema, value, defaults);
        return;
    }
    let Some(default) = property.default.as_ref().filter(|d| defaults || is_empty(d)) else { return };
    let mut value = default.clone();
    typed(&property.schema, &mut value, defaults);
    fields.insert(property.name.to_string(), value);
}

fn has_depth(schema: &Schema) -> bool {
    is_struct(schema) || matches!(shape(schema), Shape::Map(_) | Shape::List(_))
}

/// Whether upstream stores the kind as JSON; all others pass through protobuf, which knows no empty lists.
fn stored_as_json(schema: &Schema) -> bool {
    schema.type_name.as_deref().is_some_and(|name| {
        name.starts_with("io.k8s.apiextensions-apiserver.") || name.starts_with("io.k8s.kube-aggregator.")
    })
}

/// `k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting.Default`.
fn structural(schema: &Schema, value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for property in &schema.properties {
                let Some(default) = property.default.as_ref().or(property.schema.default.as_ref()) else {
                    continue;
                };
                match fields.get_mut(&*property.name) {
                    None => {
                        fields.insert(property.name.to_string(), default.clone());
                    }
                    Some(value) if is_wrong_null(value, &property.schema) => *value = default.clone(),
                    Some(_) => {}
                }
            }
            for (name, value) in fields.iter_mut() {
                let of = match schema.property(name) {
                    Some(property) => &property.schema,
                    None => match &schema.additional {
                        Some(of) => {
                            replace_null(of, value);
                            of
                        }
                        None => continue,
                    },
                };
                descend(of, value);
            }
        }
        Value::Array(items) => {
            if let Some(of) = &schema.items {
                for item in items {
                    replace_null(of, item);
                    descend(of, item);
                }
            }
        }
        _ => {}
    }
}

fn descend(schema: &Schema, value: &mut Value) {
    if schema.type_name.is_some() {
        typed(schema, value, true);
    } else {
        structural(schema, value);
    }
}

fn replace_null(schema: &Schema, value: &mut Value) {
    if is_wrong_null(value, schema)
        && let Some(default) = &schema.default
    {
        *value = default.clone();
    }
}

fn is_wrong_null(value: &Value, schema: &Schema) -> bool {
    value.is_null() && !schema.nullable && schema.type_name.is_none()
}

/// `defaulting.PruneNonNullableNullsWithoutDefaults`.
fn drop_nulls(schema: &Schema, value: &mut Value) {
    match value {
        Value::Object(fields) => fields.retain(|name, value| {
            let of = match schema.property(name) {
                Some(property) => {
                    if value.is_null()
                        && !property.schema.nullable
                        && property.default.is_none()
                        && property.schema.default.is_none()
                    {
                        return false;
                    }
                    &property.schema
                }
                None => match &schema.additional {
                    Some(of) => of,
                    None => return true,
                },
            };
            drop_nulls(of, value);
            true
        }),
        Value::Array(items) => {
            if let Some(of) = &schema.items {
                items.iter_mut().for_each(|item| drop_nulls(of, item));
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kplane_machinery::field::Path;
    use serde_json::json;

    #[test]
    fn built_in_kinds_get_what_go_always_writes() {
        let schema = crate::builtin().get("io.k8s.api.core.v1.Service").unwrap();
        let mut value = json!({"spec": {"ports": [{"port": 80}], "selector": {}}});
        default(&schema, &mut value);
        let wanted = json!({"metadata": {}, "spec": {"ports": [{"port": 80, "protocol": "TCP", "targetPort": 0}]}, "status": {"loadBalancer": {}}});
        assert_eq!(value["status"], wanted["status"]);
        assert_eq!(value["spec"]["ports"][0]["protocol"], "TCP");
        assert!(value["spec"].get("selector").is_none());
        let role = crate::builtin().get("io.k8s.api.rbac.v1.Role").unwrap();
        let mut value = json!({"metadata": {}, "rules": []});
        normalise(&role, &mut value);
        assert_eq!(value, json!({"metadata": {}, "rules": null}));
    }

    #[test]
    fn custom_resources_are_defaulted_structurally() {
        let schema = crate::structural::from_json(
            &json!({"type": "object", "properties": {
                "a": {"type": "string", "default": "x"},
                "b": {"type": "string", "nullable": true, "default": "x"},
                "c": {"type": "string"},
                "d": {"type": "object", "default": {}, "properties": {"e": {"type": "integer", "default": 1}}},
            }}),
            &Path::root(),
        )
        .unwrap();
        let mut value = json!({"a": null, "b": null, "c": null});
        default(&schema, &mut value);
        assert_eq!(value, json!({"a": "x", "b": null, "d": {"e": 1}}));
    }
}
