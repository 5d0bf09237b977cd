//! `managedFields` of the objects, by their content: who made them made all of them.

use serde_json::{Map, Value, json};

/// Metadata that nobody manages.
const UNMANAGED: [&str; 3] = ["name", "namespace", "generation"];
/// Structures that are always there, so that nobody made them.
const GIVEN: [&str; 3] = ["metadata", "spec", "priorityLevelConfiguration"];

/// The entry of who created an object. `without` are paths, parted by dots, that are another's or nobody's.
pub(super) fn updated(object: &Value, manager: &str, without: &[&str]) -> Value {
    entry(object, manager, "Update", fields(object, "", without))
}

/// The entry of who applied these fields.
pub(super) fn applied(object: &Value, manager: &str, subresource: &str, fields: Value) -> Value {
    let mut entry = entry(object, manager, "Apply", fields);
    if !subresource.is_empty() {
        entry["subresource"] = subresource.into();
    }
    entry
}

/// The fields of the condition of a type.
pub(super) fn condition(kind: &str, fields: &[&str]) -> Value {
    let mut owned = Map::from_iter([(".".to_owned(), json!({}))]);
    owned.extend(fields.iter().map(|field| (format!("f:{field}"), json!({}))));
    let key = format!("k:{}", json!({ "type": kind }));
    json!({ "f:status": { "f:conditions": { key: owned } } })
}

fn entry(object: &Value, manager: &str, operation: &str, fields: Value) -> Value {
    json!({
        "manager": manager, "operation": operation, "apiVersion": object["apiVersion"], "time": "${created}",
        "fieldsType": "FieldsV1", "fieldsV1": fields,
    })
}

fn fields(value: &Value, path: &str, without: &[&str]) -> Value {
    let Value::Object(found) = value else { return json!({}) };
    let mut owned = Map::new();
    for (name, field) in found {
        let at = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        let unmanaged = match path {
            "" => matches!(name.as_str(), "apiVersion" | "kind" | "status"),
            "metadata" => UNMANAGED.contains(&name.as_str()),
            _ => false,
        };
        if unmanaged || without.contains(&at.as_str()) {
            continue;
        }
        let nested = match field {
            // A reference is replaced as a whole.
            Value::Object(_) if name == "roleRef" => json!({}),
            Value::Object(_) => {
                let mut nested = fields(field, &at, without);
                if GIVEN.contains(&name.as_str()) {
                    if nested.as_object().is_some_and(Map::is_empty) {
                        continue;
                    }
                } else {
                    nested["."] = json!({});
                }
                nested
            }
            Value::Array(items) if at == "spec.ports" => ports(items),
            _ => json!({}),
        };
        owned.insert(format!("f:{name}"), nested);
    }
    Value::Object(owned)
}

/// The ports of a service are known by port and protocol.
fn ports(items: &[Value]) -> Value {
    let mut owned = Map::from_iter([(".".to_owned(), json!({}))]);
    for item in items {
        let key = format!("k:{}", json!({ "port": item["port"], "protocol": item["protocol"] }));
        let mut nested = fields(item, "port", &[]);
        nested["."] = json!({});
        owned.insert(key, nested);
    }
    Value::Object(owned)
}
