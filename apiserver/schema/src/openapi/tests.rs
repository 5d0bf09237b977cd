use super::*;
use kplane_machinery::field::Path;

fn verbs(given: &[&str]) -> Vec<Arc<str>> {
    given.iter().map(|v| Arc::from(*v)).collect()
}

fn deployments() -> ResourcePaths {
    ResourcePaths {
        group: "apps".into(),
        version: "v1".into(),
        kind: "Deployment".into(),
        list_kind: "DeploymentList".into(),
        plural: "deployments".into(),
        namespaced: true,
        verbs: verbs(&["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]),
        subresources: vec![SubresourcePaths {
            name: "status".into(),
            verbs: verbs(&["get", "patch", "update"]),
            kind: None,
            schema: None,
        }],
        schema: crate::builtin().get("io.k8s.api.apps.v1.Deployment").unwrap(),
        selectable_fields: Vec::new(),
    }
}

fn widgets() -> ResourcePaths {
    let mut schema = crate::structural::from_json(
        &json!({"type": "object", "properties": {"spec": {"type": "object", "description": "What is wanted.",
            "properties": {"size": {"type": "integer", "default": 1, "maximum": 10, "nullable": true}}}}}),
        &Path::root(),
    )
    .unwrap();
    crate::structural::add_type_and_object_meta(&mut schema);
    ResourcePaths {
        group: "golden.example.com".into(),
        version: "v1".into(),
        kind: "Widget".into(),
        list_kind: "WidgetList".into(),
        plural: "widgets".into(),
        namespaced: true,
        verbs: verbs(&["get", "list", "patch"]),
        subresources: Vec::new(),
        schema: schema.into(),
        selectable_fields: vec!["spec.size".into()],
    }
}

/// No reference leads nowhere.
fn assert_closed(document: &Value, value: &Value) {
    match value {
        Value::Object(fields) => {
            if let Some(reference) = fields.get("$ref").and_then(Value::as_str) {
                let pointer = reference.trim_start_matches('#');
                assert!(document.pointer(pointer).is_some(), "{reference}");
            }
            fields.values().for_each(|value| assert_closed(document, value));
        }
        Value::Array(items) => items.iter().for_each(|value| assert_closed(document, value)),
        _ => {}
    }
}

#[test]
fn built_in_kinds_are_described() {
    let document = v3(&GroupVersion::new("apps", "v1"), &[deployments()]);
    assert_closed(&document, &document["paths"]);
    assert_closed(&document, &document["components"]);
    let schemas = &document["components"]["schemas"];
    let deployment = &schemas["io.k8s.api.apps.v1.Deployment"];
    assert_eq!(
        deployment["x-kubernetes-group-version-kind"],
        json!([{"group": "apps", "kind": "Deployment", "version": "v1"}])
    );
    assert_eq!(
        schemas["io.k8s.api.core.v1.ContainerPort"]["properties"]["protocol"],
        json!({"type": "string", "default": "TCP", "description": "Protocol for port. Must be UDP, TCP, or SCTP. Defaults to \"TCP\"."})
    );
    let patch = &document["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["patch"];
    assert_eq!(patch["operationId"], "patchAppsV1NamespacedDeployment");
    assert_eq!(patch["x-kubernetes-group-version-kind"]["kind"], "Deployment");
    let names: Vec<&Value> = patch["parameters"].as_array().unwrap().iter().map(|p| &p["name"]).collect();
    assert_eq!(names, ["dryRun", "fieldManager", "fieldValidation", "force"]);
}

#[test]
fn custom_resources_are_described() {
    let document = v3(&GroupVersion::new("golden.example.com", "v1"), &[widgets()]);
    assert_closed(&document, &document);
    let widget = &document["components"]["schemas"]["com.example.golden.v1.Widget"];
    assert_eq!(
        widget["properties"]["spec"]["properties"]["size"],
        json!({"type": "integer", "default": 1, "maximum": 10, "nullable": true})
    );
    assert_eq!(widget["x-kubernetes-selectable-fields"], json!([{"fieldPath": "spec.size"}]));
    let document = v2("v1.36.2", &[widgets(), deployments()]);
    assert_closed(&document, &document);
    let widget = &document["definitions"]["com.example.golden.v1.Widget"];
    assert_eq!(widget["x-kubernetes-selectable-fields"], json!([{"fieldPath": "spec.size"}]));
    let size = document.pointer("/definitions/com.example.golden.v1.Widget/properties/spec/properties/size");
    assert_eq!(size, Some(&json!({"maximum": 10})));
}

#[test]
fn the_index_names_documents_by_their_hash() {
    let gv = GroupVersion::new("apps", "v1");
    let index = v3_index("/clusters/a/control-plane", [(&gv, "AB")]);
    assert_eq!(
        index["paths"]["apis/apps/v1"]["serverRelativeURL"],
        "/clusters/a/control-plane/openapi/v3/apis/apps/v1?hash=AB"
    );
    assert_eq!(hash(b"").len(), 128);
}

/// Enough of a reader to follow a path of field numbers, each to the first field that has it.
fn follow<'a>(mut message: &'a [u8], path: &[u32]) -> Option<&'a [u8]> {
    for wanted in path {
        let mut rest = message;
        message = loop {
            let (number, field) = crate::proto::wire::next(&mut rest).ok()??;
            if number == *wanted {
                break field.bytes().ok()?;
            }
        };
    }
    Some(message)
}

#[test]
fn version_2_has_a_protobuf_form() {
    let mut resource = deployments();
    resource.verbs = verbs(&["patch"]);
    let document = v2("v1.36.2", &[resource]);
    let bytes = v2_protobuf(&document);
    assert_eq!(follow(&bytes, &[1]), Some(&b"2.0"[..]));
    assert_eq!(follow(&bytes, &[2, 2]), Some(&b"v1.36.2"[..]));
    assert_eq!(follow(&bytes, &[8, 2, 1]), Some(&b"/apis/apps/v1/"[..]));
    assert_eq!(follow(&bytes, &[9, 1, 1]), Some(&b"io.k8s.api.apps.v1.Deployment"[..]));
    assert_eq!(follow(&bytes, &[9, 1, 2, 22, 1]), Some(&b"object"[..]));
    assert_eq!(follow(&bytes, &[9, 1, 2, 25, 1, 1]), Some(&b"apiVersion"[..]));
    assert_eq!(follow(&bytes, &[9, 1, 2, 31, 1]), Some(&b"x-kubernetes-group-version-kind"[..]));
    let told = follow(&bytes, &[9, 1, 2, 31, 2, 2]).unwrap();
    assert_eq!(
        serde_json::from_slice::<Value>(told).unwrap(),
        json!([{"group": "apps", "version": "v1", "kind": "Deployment"}])
    );
}
