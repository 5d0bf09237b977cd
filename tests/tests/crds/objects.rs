//! Custom resources by the letter: their kind, their scale, what may be asked of them, and who converts them.

use std::time::Duration;

use kplane_tests::{Client, Server, Store, eventually};
use serde_json::{Value, json};

const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const OWLS: &str = "/apis/birds.test/v1/namespaces/default/owls";

fn version(name: &str, storage: bool) -> Value {
    let spec = json!({"type": "object", "properties": {
        "size": {"type": "integer"}, "color": {"type": "string"}, "count": {"type": "integer"},
    }});
    let status = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    json!({
        "name": name, "served": true, "storage": storage,
        "selectableFields": [{"jsonPath": ".spec.color"}],
        "subresources": {"status": {}, "scale": {
            "specReplicasPath": ".spec.count", "statusReplicasPath": ".status.count",
            "labelSelectorPath": ".status.selector",
        }},
        "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec, "status": status}}},
    })
}

fn definition(conversion: Value) -> Value {
    json!({
        "metadata": {"name": "owls.birds.test"},
        "spec": {
            "group": "birds.test", "scope": "Namespaced", "conversion": conversion,
            "names": {"plural": "owls", "kind": "Owl"},
            "versions": [version("v1", true), version("v2", false)],
        },
    })
}

fn start() -> (Client, Server) {
    let server = Server::start(Store::Embedded);
    server.create_vcp("owls");
    let client = server.client().vcp("owls");
    client.post(DEFINITIONS, &definition(json!({"strategy": "None"}))).ok();
    eventually("the kind is served", Duration::from_secs(20), || client.get(OWLS).code == 200);
    (client, server)
}

fn owl(kind: &str, name: &str, spec: Value) -> Value {
    json!({"apiVersion": "birds.test/v1", "kind": kind, "metadata": {"name": name}, "spec": spec})
}

#[test]
fn an_object_is_of_the_kind_that_its_definition_names() {
    let (client, _server) = start();
    assert_eq!(
        client.post(OWLS, &owl("Raven", "a", json!({}))).refused(422),
        "Raven.birds.test \"a\" is invalid: kind: Invalid value: \"Raven\": must be Owl"
    );
    client.post(OWLS, &owl("Owl", "a", json!({}))).ok();
}

#[test]
fn what_a_scale_is_read_from_is_checked() {
    let (client, _server) = start();
    for (count, told) in [
        (json!(-1), "-1: should be a non-negative integer"),
        (json!(1_i64 << 31), "2147483648: should be less than or equal to 2147483647"),
    ] {
        assert_eq!(
            client.post(OWLS, &owl("Owl", "a", json!({"count": count}))).refused(422),
            format!("Owl.birds.test \"a\" is invalid: .spec.count: Invalid value: {told}")
        );
    }
    client.post(OWLS, &owl("Owl", "a", json!({"count": 3}))).ok();
    let status = format!("{OWLS}/a/status");
    for (field, told) in [
        (
            json!({"count": "3"}),
            ".status.count: Invalid value: 0: .status.count accessor error: 3 is of the type string, expected int64",
        ),
        (
            json!({"selector": 3}),
            ".status.selector: Invalid value: \"\": .status.selector accessor error: 3 is of the type int64, expected string",
        ),
    ] {
        let refused = client.merge(&status, &json!({"status": field})).refused(422);
        assert!(refused.ends_with(told), "{refused}");
    }
    client.merge(&status, &json!({"status": {"count": 2, "selector": "a=b"}})).ok();
    let scale = client.get(&format!("{OWLS}/a/scale")).ok();
    assert_eq!((&scale["spec"]["replicas"], &scale["status"]["selector"]), (&json!(3), &json!("a=b")));
}

#[test]
fn writing_what_is_there_changes_nothing_in_any_version() {
    let (client, _server) = start();
    let made = client.post(OWLS, &owl("Owl", "a", json!({"size": 3}))).ok();
    for version in ["v1", "v2"] {
        let path = format!("/apis/birds.test/{version}/namespaces/default/owls/a");
        let there = client.get(&path).ok();
        let again = client.put(&path, &there).ok();
        assert_eq!(again["metadata"]["resourceVersion"], made["metadata"]["resourceVersion"], "{version}");
        let again = client.merge(&path, &json!({"spec": {"size": 3}})).ok();
        assert_eq!(again["metadata"]["resourceVersion"], made["metadata"]["resourceVersion"], "{version}");
    }
}

#[test]
fn the_documents_tell_by_which_fields_objects_are_selected() {
    let (client, _server) = start();
    client.post(OWLS, &owl("Owl", "a", json!({"color": "grey"}))).ok();
    client.post(OWLS, &owl("Owl", "b", json!({"color": "white"}))).ok();
    let found = client.get(&format!("{OWLS}?fieldSelector=spec.color%3Dwhite")).ok();
    assert_eq!(found["items"].as_array().map(Vec::len), Some(1), "{found}");
    let told = json!([{"fieldPath": "spec.color"}]);
    let v2 = client.get("/openapi/v2").ok();
    assert_eq!(v2["definitions"]["test.birds.v1.Owl"]["x-kubernetes-selectable-fields"], told);
    let v3 = client.get("/openapi/v3/apis/birds.test/v1").ok();
    assert_eq!(v3["components"]["schemas"]["test.birds.v1.Owl"]["x-kubernetes-selectable-fields"], told);
}

#[test]
fn a_converter_that_nobody_can_trust_is_not_waited_for() {
    let server = Server::start(Store::Embedded);
    server.create_vcp("owls");
    let client = server.client().vcp("owls");
    let bundle = |bundle: &str| {
        json!({"strategy": "Webhook", "webhook": {
            "conversionReviewVersions": ["v1"],
            "clientConfig": {"caBundle": bundle, "service": {"namespace": "default", "name": "hook"}},
        }})
    };
    // No certificate.
    client.post(DEFINITIONS, &definition(bundle("Q2c9PQ=="))).ok();
    let path = format!("{DEFINITIONS}/owls.birds.test");
    let established = || {
        let conditions = client.get(&path).ok()["status"]["conditions"].take();
        let found = conditions.as_array().and_then(|all| all.iter().find(|c| c["type"] == "Established"));
        found.map(|c| (c["status"].clone(), c["reason"].clone()))
    };
    eventually("it is refused", Duration::from_secs(20), || {
        established() == Some((json!("False"), json!("InvalidCABundle")))
    });
    client.merge(&path, &json!({"spec": {"conversion": {"strategy": "None", "webhook": null}}})).ok();
    eventually("it is established", Duration::from_secs(20), || {
        established() == Some((json!("True"), json!("InitialNamesAccepted")))
    });
    // One that is served does not lose its converter by a slip.
    let refused = client.merge(&path, &json!({"spec": {"conversion": bundle("Q2c9PQ==")}})).refused(422);
    assert!(refused.contains("spec.conversion.webhookClientConfig.caBundle: Invalid value"), "{refused}");
}
