//! What becomes of a definition: its names, its versions, its end.

use std::time::Duration;

use kplane_tests::{Kubectl, Server, Store, eventually};

fn crd(plural: &str, kind: &str, more_names: &str, versions: &str) -> String {
    format!(
        "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {{name: {plural}.birds.test}}\nspec: {{group: birds.test, scope: Namespaced, \
         names: {{plural: {plural}, kind: {kind}{more_names}}}, versions: [{versions}]}}\n"
    )
}

const V1: &str = "{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, properties: {spec: {type: object, \
                  properties: {size: {type: integer, maximum: 10}}}}}}}";

fn condition(kubectl: &Kubectl, name: &str, condition: &str) -> String {
    let path =
        format!("jsonpath={{.status.conditions[?(@.type==\"{condition}\")]['status','reason','message']}}");
    kubectl.ok(&["get", "crd", name, "-o", &path])
}

#[test]
fn names_belong_to_one_definition_and_are_passed_on() {
    let server = Server::start(Store::Embedded);
    let kubectl = server.create_vcp("names");
    kubectl.apply(&crd("owls", "Owl", ", shortNames: [o]", V1));
    kubectl.apply(&crd("eagles", "Owl", ", singular: owl, shortNames: [o]", V1));
    let told = condition(&kubectl, "eagles.birds.test", "NamesAccepted");
    assert_eq!(told, "False ListKindConflict \"OwlList\" is already in use");
    let told = condition(&kubectl, "eagles.birds.test", "Established");
    assert_eq!(told, "False NotAccepted not all names are accepted");
    assert!(kubectl.fails(&["get", "eagles"]).contains("doesn't have a resource type"));
    kubectl.ok(&["delete", "crd", "owls.birds.test"]);
    kubectl.ok(&["wait", "--for=condition=Established", "crd/eagles.birds.test", "--timeout=20s"]);
    kubectl.ok(&["get", "eagles"]);
}

#[test]
fn a_definition_that_goes_takes_its_objects_with_it() {
    let server = Server::start(Store::Embedded);
    let kubectl = server.create_vcp("end");
    kubectl.apply(&crd("owls", "Owl", "", V1));
    kubectl.apply(
        "apiVersion: birds.test/v1\nkind: Owl\nmetadata: {name: held, finalizers: [birds.test/held]}\n",
    );
    kubectl.apply("apiVersion: birds.test/v1\nkind: Owl\nmetadata: {name: free}\n");
    kubectl.ok(&["delete", "crd", "owls.birds.test", "--wait=false"]);
    eventually("the free one goes", Duration::from_secs(20), || {
        kubectl.run(&["get", "owls", "-o", "name"]).stdout.trim() == "owl.birds.test/held"
    });
    let output = kubectl
        .run_with(&["create", "-f", "-"], "apiVersion: birds.test/v1\nkind: Owl\nmetadata: {name: late}\n");
    assert!(
        output.stderr.contains("create not allowed while custom resource definition is terminating"),
        "{}",
        output.stderr
    );
    kubectl.ok(&["patch", "owl", "held", "--type=merge", "-p", r#"{"metadata": {"finalizers": null}}"#]);
    kubectl.ok(&["wait", "--for=delete", "crd/owls.birds.test", "--timeout=20s"]);
    // One of the same name begins empty.
    kubectl.apply(&crd("owls", "Owl", "", V1));
    assert_eq!(kubectl.ok(&["get", "owls", "-o", "name"]), "");
}

#[test]
fn versions_and_stricter_schemas_leave_what_is_stored_alone() {
    let server = Server::start(Store::Embedded);
    let kubectl = server.create_vcp("versions");
    kubectl.apply(&crd("owls", "Owl", "", V1));
    kubectl.apply("apiVersion: birds.test/v1\nkind: Owl\nmetadata: {name: big}\nspec: {size: 9}\n");
    let stored = V1.replace("storage: true", "storage: false");
    let v2 = V1.replace("name: v1", "name: v2").replace("maximum: 10", "maximum: 5");
    let stored = stored.replace("maximum: 10", "maximum: 5");
    kubectl.apply(&crd("owls", "Owl", "", &format!("{stored}, {v2}")));
    let versions = kubectl.ok(&["get", "crd", "owls.birds.test", "-o", "jsonpath={.status.storedVersions}"]);
    assert_eq!(versions, "[\"v1\",\"v2\"]");
    // A value that was valid stays while it is not changed.
    kubectl.ok(&["label", "owl", "big", "a=b"]);
    let stderr = kubectl.fails(&["patch", "owl", "big", "--type=merge", "-p", r#"{"spec": {"size": 8}}"#]);
    assert!(stderr.contains("should be less than or equal to 5"), "{stderr}");
    // A version that objects may be stored in cannot go.
    let output = kubectl.run_with(&["apply", "-f", "-"], &crd("owls", "Owl", "", &v2));
    assert!(
        output.stderr.contains("status.storedVersions[0]: Invalid value: \"v1\": missing from spec.versions"),
        "{}",
        output.stderr
    );
    let patch = r#"{"status": {"storedVersions": ["v2"]}}"#;
    kubectl.ok(&["patch", "crd", "owls.birds.test", "--subresource=status", "--type=merge", "-p", patch]);
    kubectl.apply(&crd("owls", "Owl", "", &v2));
    assert_eq!(kubectl.json(&["get", "owls.v2.birds.test", "big"])["apiVersion"], "birds.test/v2");
}

#[test]
fn schemas_that_cannot_be_are_refused_in_upstreams_words() {
    let server = Server::start(Store::Embedded);
    let kubectl = server.create_vcp("schemas");
    let schema = "{type: object, properties: {a: {}, l: {type: array}, s: {type: array, x-kubernetes-list-type: set, items: {type: object}}, \
                  d: {type: string, default: 1}, r: {type: string, pattern: '('}}, additionalProperties: {type: string}}";
    let version = format!(
        "{{name: v1, served: true, storage: true, selectableFields: [{{jsonPath: .spec.no}}], additionalPrinterColumns: \
                           [{{name: A, type: text, jsonPath: a}}], schema: {{openAPIV3Schema: {schema}}}}}"
    );
    let output = kubectl.run_with(&["create", "-f", "-"], &crd("owls", "Owl", "", &version));
    let at = "spec.validation.openAPIV3Schema";
    for wanted in [
        format!("{at}.additionalProperties: Forbidden: must not be used at the root"),
        format!("{at}.additionalProperties: Forbidden: additionalProperties and properties are mutual exclusive"),
        format!("{at}.properties[a].type: Required value: must not be empty for specified object fields"),
        format!("{at}.properties[l].items: Required value: must be specified"),
        format!("{at}.properties[s].items.x-kubernetes-map-type: Invalid value: null: must be atomic as item of a list with x-kubernetes-list-type=set"),
        format!("{at}.properties[r].pattern: Invalid value: \"(\": must be a valid regular expression, but isn't"),
        "spec.selectableFields[0].jsonPath: Invalid value: \".spec.no\": is an invalid path: does not refer to a valid field".to_owned(),
        "spec.additionalPrinterColumns[0].type: Invalid value: \"text\": must be one of boolean,date,integer,number,string".to_owned(),
        "spec.additionalPrinterColumns[0].JSONPath: Invalid value: \"a\": must be a simple json path starting with .".to_owned(),
    ] {
        assert!(output.stderr.contains(&wanted), "{wanted:?} is not in:\n{}", output.stderr);
    }
}

#[test]
fn each_version_has_the_subresources_that_it_names() {
    let server = Server::start(Store::Embedded);
    let kubectl = server.create_vcp("parts");
    let client = server.client().vcp("parts");
    let fields = "properties: {spec: {type: object, properties: {size: {type: integer}, count: {type: integer}}}, \
                  status: {type: object, properties: {said: {type: string}, size: {type: integer}}}}";
    let version = |name: &str, stored: bool, parts: &str| {
        format!(
            "{{name: {name}, served: true, storage: {stored}, schema: {{openAPIV3Schema: {{type: object, {fields}}}}}{parts}}}"
        )
    };
    let scale = |field: &str| {
        format!(
            ", subresources: {{status: {{}}, scale: {{specReplicasPath: .spec.{field}, statusReplicasPath: .status.size}}}}"
        )
    };
    let versions = [
        version("v1", true, ""),
        version("v2", false, &scale("size")),
        version("v3", false, &scale("count")),
    ];
    kubectl.apply(&crd("owls", "Owl", "", &versions.join(", ")));
    let names = |version: &str| -> Vec<String> {
        let list = client.get(&format!("/apis/birds.test/{version}")).ok();
        let all = list["resources"].as_array().cloned().unwrap_or_default();
        all.iter().filter_map(|r| r["name"].as_str().map(str::to_owned)).collect()
    };
    assert_eq!(names("v1"), ["owls"]);
    assert_eq!(names("v2"), ["owls", "owls/status", "owls/scale"]);
    let path = |version: &str| format!("/apis/birds.test/{version}/namespaces/default/owls");
    let owl = |version: &str, name: &str| {
        serde_json::json!({
            "apiVersion": format!("birds.test/{version}"), "kind": "Owl", "metadata": {"name": name},
            "spec": {"size": 2, "count": 3}, "status": {"said": "hoo"},
        })
    };
    // Where status is no subresource it is a field like any other, and counts.
    let made = client.post(&path("v1"), &owl("v1", "one")).ok();
    assert_eq!(made["status"]["said"], "hoo");
    let changed =
        client.merge(&format!("{}/one", path("v1")), &serde_json::json!({"status": {"said": "x"}})).ok();
    assert_eq!((&changed["status"]["said"], &changed["metadata"]["generation"]), (&"x".into(), &2.into()));
    client.get(&format!("{}/one/status", path("v1"))).refused(404);
    client.get(&format!("{}/one/scale", path("v1"))).refused(404);
    let made = client.post(&path("v2"), &owl("v2", "two")).ok();
    assert!(made["status"].is_null());
    let kept =
        client.merge(&format!("{}/one", path("v2")), &serde_json::json!({"status": {"said": "y"}})).ok();
    assert_eq!((&kept["status"]["said"], &kept["metadata"]["generation"]), (&"x".into(), &2.into()));
    client.merge(&format!("{}/two/status", path("v2")), &serde_json::json!({"status": {"said": "y"}})).ok();
    // Each scales by its own field.
    client.merge(&format!("{}/two/scale", path("v2")), &serde_json::json!({"spec": {"replicas": 7}})).ok();
    client.merge(&format!("{}/two/scale", path("v3")), &serde_json::json!({"spec": {"replicas": 8}})).ok();
    let two = client.get(&format!("{}/two", path("v1"))).ok();
    assert_eq!(
        (&two["spec"]["size"], &two["spec"]["count"], &two["status"]["said"]),
        (&7.into(), &8.into(), &"y".into())
    );
}
