//! The CustomResourceDefinitions of our kinds.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSON, JSONSchemaProps,
};
use kube::CustomResourceExt;

use crate::v1alpha1::{
    ControlPlane, ControlPlaneClass, ControlPlaneCredential, ControlPlaneEndpoint, ControlPlaneRegistration,
    ManagementPlane,
};

/// The CustomResourceDefinitions, by name.
pub fn definitions() -> Vec<CustomResourceDefinition> {
    let mut all = vec![
        ControlPlane::crd(),
        ControlPlaneClass::crd(),
        ControlPlaneCredential::crd(),
        ControlPlaneEndpoint::crd(),
        ControlPlaneRegistration::crd(),
        ManagementPlane::crd(),
    ];
    for definition in &mut all {
        finish(definition);
    }
    all.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
    all
}

/// Adds what the derive cannot say: a status starts as unobserved, and absence is said by leaving a field out.
fn finish(definition: &mut CustomResourceDefinition) {
    for version in &mut definition.spec.versions {
        let Some(root) = version.schema.as_mut().and_then(|s| s.open_api_v3_schema.as_mut()) else {
            continue;
        };
        drop_nullable(root);
        if let Some(status) = root.properties.as_mut().and_then(|p| p.get_mut("status")) {
            status.default = Some(JSON(serde_json::json!({ "observedGeneration": -1 })));
        }
    }
}

/// Upstream's types know no null: one that is sent is pruned and the default, if any, takes its place.
fn drop_nullable(schema: &mut JSONSchemaProps) {
    schema.nullable = None;
    for property in schema.properties.iter_mut().flat_map(|p| p.values_mut()) {
        drop_nullable(property);
    }
    use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
        JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
    };
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = schema.items.as_mut() {
        drop_nullable(items);
    }
    if let Some(JSONSchemaPropsOrBool::Schema(values)) = schema.additional_properties.as_mut() {
        drop_nullable(values);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema(kind: &str) -> serde_json::Value {
        let definition = definitions().into_iter().find(|d| d.spec.names.kind == kind).unwrap();
        let schema = definition.spec.versions[0].schema.clone().unwrap().open_api_v3_schema.unwrap();
        serde_json::to_value(schema).unwrap()
    }

    #[test]
    fn every_kind_follows_the_conventions() {
        for definition in definitions() {
            let kind = definition.spec.names.kind.clone();
            assert_eq!(definition.spec.group, "controlplane.kplane.dev");
            assert_eq!(definition.spec.scope, "Cluster", "{kind}");
            assert_eq!(definition.spec.names.categories, Some(vec!["kplane".to_owned()]), "{kind}");
            let version = &definition.spec.versions[0];
            assert!(version.subresources.as_ref().is_some_and(|s| s.status.is_some()), "{kind}");
            let columns: Vec<_> =
                version.additional_printer_columns.iter().flatten().map(|c| c.name.as_str()).collect();
            assert!(columns.contains(&"Ready") && columns.contains(&"Age"), "{kind}: {columns:?}");
            let status = &schema(&kind)["properties"]["status"];
            assert_eq!(status["default"]["observedGeneration"], -1, "{kind}");
            assert_eq!(status["properties"]["observedGeneration"]["default"], -1, "{kind}");
            assert_eq!(status["properties"]["conditions"]["x-kubernetes-list-type"], "map", "{kind}");
        }
    }

    /// Structural schemas have no alternatives but for CEL's and the int-or-string ones.
    #[test]
    fn schemas_are_structural_and_described() {
        fn walk(path: &str, schema: &serde_json::Value) {
            for word in ["$ref", "oneOf", "allOf", "definitions"] {
                assert!(schema.get(word).is_none(), "{path} has {word}");
            }
            if schema.get("x-kubernetes-int-or-string").is_none() {
                assert!(schema.get("anyOf").is_none(), "{path} has anyOf");
                assert!(schema.get("type").is_some(), "{path} has no type: {schema}");
            }
            for (name, property) in schema["properties"].as_object().into_iter().flatten() {
                let path = format!("{path}.{name}");
                assert!(
                    property.get("description").is_some() || path.ends_with(".metadata"),
                    "{path} is not described"
                );
                walk(&path, property);
            }
            if let Some(items) = schema.get("items") {
                walk(&format!("{path}[]"), items);
            }
        }
        for definition in definitions() {
            let kind = definition.spec.names.kind;
            walk(&kind, &{
                let mut schema = schema(&kind);
                schema["properties"].as_object_mut().unwrap().remove("metadata");
                schema
            });
        }
    }

    #[test]
    fn enums_and_defaults_reach_the_schema() {
        let spec = schema("ControlPlane")["properties"]["spec"].clone();
        assert_eq!(spec["properties"]["mode"]["enum"], serde_json::json!(["Virtual", "Dedicated"]));
        assert_eq!(spec["properties"]["mode"]["default"], "Virtual");
        assert_eq!(spec["properties"]["deletionPolicy"]["enum"], serde_json::json!(["Retain", "Destroy"]));
        let path = &spec["properties"]["virtual"]["properties"]["clusterPath"];
        assert_eq!(path["maxLength"], 63);
        assert_eq!(path["pattern"], "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$");
    }
}
