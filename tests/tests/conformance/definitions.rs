//! sig-api-machinery: CustomResourceDefinitions and their resources.

use crate::common::*;

#[test]
fn customresourcedefinition_resources_custom_resource_defaulting_for_requests_and_from_storage_works() {
    let (a, _kubectl, _server) = setup();
    let schema = |b: Value| json!({ "type": "object", "properties": { "a": { "type": "string", "default": "A" }, "b": b } });
    let path = define(&a, "def.example.com", "foos", "Foo", schema(json!({ "type": "string" })));
    let object = json!({ "apiVersion": "def.example.com/v1", "kind": "Foo", "metadata": { "name": "foo1" } });
    assert_eq!(a.post(&path, &object).ok()["a"], "A");
    let named = format!("{DEFINITIONS}/foos.def.example.com");
    let patch = json!([
        { "op": "add", "path": "/spec/versions/0/schema/openAPIV3Schema/properties/b/default", "value": "B" },
        { "op": "remove", "path": "/spec/versions/0/schema/openAPIV3Schema/properties/a/default" },
    ]);
    let kind = [("Content-Type", "application/json-patch+json")];
    a.send("PATCH", &named, &kind, &patch.to_string()).expect("an answer").ok();
    eventually("the new default is in force", SOON, || a.get(&format!("{path}/foo1")).ok()["b"] == "B");
    // What was stored with a default keeps it.
    assert_eq!(a.get(&format!("{path}/foo1")).ok()["a"], "A");
    let mut second = object;
    second["metadata"]["name"] = "foo2".into();
    let second = a.post(&path, &second).ok();
    assert_eq!((&second["b"], second.get("a")), (&json!("B"), None));
}

#[test]
fn customresourcedefinition_watch_customresourcedefinition_watch_watch_on_custom_resource_definition_objects()
{
    let (a, _kubectl, _server) = setup();
    let path = define(&a, "watch.example.com", "noxus", "Noxu", open_schema());
    let watch = a.watch(&path);
    let object = |name: &str| json!({ "apiVersion": "watch.example.com/v1", "kind": "Noxu", "metadata": { "name": name } });
    for name in ["first", "second"] {
        a.post(&path, &object(name)).ok();
        watch.expect("ADDED", name);
    }
    for name in ["first", "second"] {
        a.merge(&format!("{path}/{name}"), &json!({ "status": { "a": "b" } })).ok();
        watch.expect("MODIFIED", name);
        a.delete(&format!("{path}/{name}")).ok();
        watch.expect("DELETED", name);
    }
}

#[test]
fn customresourcedefinition_resources_simple_customresourcedefinition_getting_updating_patching_custom_resource_definition_status_sub_resource_works()
 {
    let (a, _kubectl, _server) = setup();
    define(&a, "st.example.com", "foos", "Foo", open_schema());
    let path = format!("{DEFINITIONS}/foos.st.example.com/status");
    let mut object = a.get(&path).ok();
    let update = json!({ "type": "StatusUpdate", "status": "True", "reason": "E2E", "message": "Set from an e2e test", "lastTransitionTime": "2026-01-01T00:00:00Z" });
    object["status"]["conditions"].as_array_mut().expect("conditions").push(update.clone());
    let updated = a.put(&path, &object).ok();
    assert!(
        updated["status"]["conditions"]
            .as_array()
            .is_some_and(|all| all.iter().any(|c| c["type"] == "StatusUpdate"))
    );
    let mut conditions = updated["status"]["conditions"].clone();
    conditions.as_array_mut().expect("conditions").retain(|c| c["type"] != "StatusUpdate");
    let patched = a.merge(&path, &json!({ "status": { "conditions": conditions } })).ok();
    assert!(!patched["status"]["conditions"].to_string().contains("StatusUpdate"));
}

#[test]
fn customresourcefieldselectors_customresourcefieldselectors_must_list_and_watch_custom_resources_matching_the_field_selector()
 {
    let (a, _kubectl, _server) = setup();
    let schema = json!({ "type": "object", "properties": { "host": { "type": "string" }, "port": { "type": "string" } } });
    let mut object = definition("sel.example.com", "hosts", "Host", schema);
    object["spec"]["versions"][0]["selectableFields"] =
        json!([{ "jsonPath": ".host" }, { "jsonPath": ".port" }]);
    a.post(DEFINITIONS, &object).ok();
    established(&a, "sel.example.com", "hosts");
    let path = "/apis/sel.example.com/v1/namespaces/default/hosts";
    let watch = a.watch(&format!("{path}?fieldSelector=host%3Dhost1"));
    for (name, host, port) in [("a", "host1", "80"), ("b", "host1", "8080"), ("c", "host2", "80")] {
        a.post(path, &json!({ "apiVersion": "sel.example.com/v1", "kind": "Host", "metadata": { "name": name }, "host": host, "port": port })).ok();
    }
    assert_eq!(names(&a.get(&format!("{path}?fieldSelector=host%3Dhost1")).ok()), ["a", "b"]);
    assert_eq!(names(&a.get(&format!("{path}?fieldSelector=host%3Dhost1%2Cport%3D80")).ok()), ["a"]);
    watch.expect("ADDED", "a");
    watch.expect("ADDED", "b");
    a.merge(&format!("{path}/a"), &json!({ "host": "host2" })).ok();
    watch.expect("DELETED", "a");
    a.get(&format!("{path}?fieldSelector=other%3D1")).refused(400);
}

#[test]
fn customresourcedefinition_resources_simple_customresourcedefinition_creating_deleting_custom_resource_definition_objects_works()
 {
    let (a, _kubectl, _server) = setup();
    let path = define(&a, "simple.example.com", "foos", "Foo", open_schema());
    assert_eq!(names(&a.get(&path).ok()), [""; 0]);
    a.delete(&format!("{DEFINITIONS}/foos.simple.example.com")).ok();
    eventually("it is gone", SOON, || a.get(&format!("{DEFINITIONS}/foos.simple.example.com")).code == 404);
    a.get(&path).refused(404);
}

#[test]
fn customresourcedefinition_resources_simple_customresourcedefinition_listing_custom_resource_definition_objects_works()
 {
    let (a, _kubectl, _server) = setup();
    for i in 0..10 {
        let mut object =
            definition("list.example.com", &format!("foo{i}s"), &format!("Foo{i}"), open_schema());
        object["metadata"]["labels"] = json!({ "e2e-list-test-uuid": "u" });
        a.post(DEFINITIONS, &object).ok();
    }
    let selected = format!("{DEFINITIONS}?labelSelector=e2e-list-test-uuid%3Du");
    assert_eq!(names(&a.get(&selected).ok()).len(), 10);
    a.delete(&selected).ok();
    eventually("all are gone", SOON, || names(&a.get(&selected).ok()).is_empty());
}

#[test]
fn customresourcedefinition_resources_should_include_custom_resource_definition_resources_in_discovery_documents()
 {
    let (a, _kubectl, _server) = setup();
    discovered(&a, "/apis/apiextensions.k8s.io/v1/customresourcedefinitions");
    let path = define(&a, "disc.example.com", "foos", "Foo", open_schema());
    assert!(path.starts_with("/apis/disc.example.com/v1/"));
    discovered(&a, "/apis/disc.example.com/v1/foos");
    let group = a.get("/apis/disc.example.com").ok();
    assert_eq!(group["preferredVersion"]["groupVersion"], "disc.example.com/v1");
}
