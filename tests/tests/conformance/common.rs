//! What the tests of all groups share.

use std::time::Duration;

pub use kplane_tests::{Client, Kubectl, Next, Server, Store, eventually, version};
pub use serde_json::{Value, json};

pub const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";
pub const PODS: &str = "/api/v1/namespaces/default/pods";
pub const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
pub const SOON: Duration = Duration::from_secs(20);
const SPECIAL: &str = "labelSelector=special%3Dyes";

/// A control plane of the test's own: a client and kubectl in it, and the server, to be kept meanwhile.
pub fn setup() -> (Client, Kubectl, Server) {
    let server = Server::start(Store::Embedded);
    let kubectl = server.create_vcp("a");
    (server.client().vcp("a"), kubectl, server)
}

pub fn config_map(name: &str, label: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": { "name": name, "labels": { "watch": label } },
    })
}

/// A pod of one container that nobody runs.
pub fn pod(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name },
        "spec": { "containers": [{ "name": "c", "image": "registry.k8s.io/pause" }] },
    })
}

pub fn names(list: &Value) -> Vec<String> {
    let items = list["items"].as_array().unwrap_or_else(|| panic!("no list: {list}")).iter();
    items.filter_map(|item| item["metadata"]["name"].as_str().map(str::to_owned)).collect()
}

/// A JSON patch.
pub fn json_patch(a: &Client, path: &str, patch: &Value) -> Value {
    let kind = [("Content-Type", "application/json-patch+json")];
    a.send("PATCH", path, &kind, &patch.to_string()).expect("an answer").ok()
}

/// Reads, changes and writes an object, again when another came between, as clients do.
#[track_caller]
pub fn update(a: &Client, path: &str, change: impl Fn(&mut Value)) -> Value {
    for _ in 0..10 {
        let mut object = a.get(path).ok();
        change(&mut object);
        let answer = a.put(path, &object);
        if answer.code != 409 {
            return answer.ok();
        }
    }
    panic!("{path} is never left alone");
}

/// A definition with one version, established.
pub fn define(a: &Client, group: &str, plural: &str, kind: &str, schema: Value) -> String {
    let object = definition(group, plural, kind, schema);
    a.post(DEFINITIONS, &object).ok();
    established(a, group, plural);
    format!("/apis/{group}/v1/namespaces/default/{plural}")
}

pub fn definition(group: &str, plural: &str, kind: &str, schema: Value) -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": { "name": format!("{plural}.{group}") },
        "spec": {
            "group": group, "scope": "Namespaced",
            "names": { "plural": plural, "singular": kind.to_lowercase(), "kind": kind, "listKind": format!("{kind}List") },
            "versions": [{ "name": "v1", "served": true, "storage": true, "schema": { "openAPIV3Schema": schema } }],
        },
    })
}

pub fn established(a: &Client, group: &str, plural: &str) {
    eventually("the definition is established", SOON, || {
        let object = a.get(&format!("{DEFINITIONS}/{plural}.{group}")).ok();
        let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
        conditions.iter().any(|c| c["type"] == "Established" && c["status"] == "True")
    });
}

pub fn open_schema() -> Value {
    json!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true })
}

/// The group, version and resource of a collection are found by discovery.
pub fn discovered(a: &Client, collection: &str) {
    let parts: Vec<&str> = collection.trim_start_matches('/').split('/').collect();
    let plural = parts.last().expect("a resource");
    let list = if parts[0] == "api" {
        a.get(&format!("/api/{}", parts[1])).ok()
    } else {
        let (group, version) = (parts[1], parts[2]);
        let groups = a.get("/apis").ok();
        let groups = groups["groups"].as_array().expect("groups");
        assert!(groups.iter().any(|found| found["name"] == group), "{group}");
        let versions = a.get(&format!("/apis/{group}")).ok()["versions"].clone();
        let versions = versions.as_array().expect("versions");
        assert!(versions.iter().any(|found| found["version"] == version), "{version} of {group}");
        a.get(&format!("/apis/{group}/{version}")).ok()
    };
    let resources = list["resources"].as_array().expect("resources");
    assert!(resources.iter().any(|found| found["name"] == **plural), "{plural} in {list}");
}

/// The whole life of an object by every verb: what the "should support … API operations" tests do.
pub fn supports_api_operations(a: &Client, collection: &str, object: &Value, all: Option<&str>) {
    discovered(a, collection);
    let named = |name: &str| {
        let mut object = object.clone();
        object["metadata"]["name"] = name.into();
        object["metadata"]["labels"] = json!({ "special": "yes" });
        object
    };
    let name = object["metadata"]["name"].as_str().expect("a name").to_owned();
    let path = format!("{collection}/{name}");
    let selected = format!("{collection}?{SPECIAL}");
    let made = a.post(collection, &named(&name)).ok();
    let list = a.get(&selected).ok();
    let watch = a.watch(&format!("{selected}&resourceVersion={}", version(&list)));
    for other in ["second", "third"] {
        a.post(collection, &named(&format!("{name}-{other}"))).ok();
        watch.until("ADDED", &format!("{name}-{other}"));
    }
    assert_eq!(a.get(&path).ok()["metadata"]["uid"], made["metadata"]["uid"]);
    assert_eq!(names(&a.get(&selected).ok()).len(), 3);
    if let Some(all) = all {
        assert_eq!(names(&a.get(&format!("{all}?{SPECIAL}")).ok()).len(), 3);
    }
    let patched = a.merge(&path, &json!({ "metadata": { "annotations": { "patched": "true" } } })).ok();
    assert_eq!(patched["metadata"]["annotations"]["patched"], "true");
    let mut seen = watch.until("MODIFIED", &name);
    while seen["metadata"]["annotations"]["patched"] != "true" {
        seen = watch.until("MODIFIED", &name);
    }
    let before = a.get(&path).ok();
    update(a, &path, |object| object["metadata"]["annotations"]["updated"] = "true".into());
    while seen["metadata"]["annotations"]["updated"] != "true" {
        seen = watch.until("MODIFIED", &name);
    }
    // An old version is refused.
    a.put(&path, &before).refused(409);
    a.delete(&path).ok();
    watch.until("DELETED", &name);
    a.get(&path).refused(404);
    a.delete(&selected).ok();
    eventually("all are gone", SOON, || names(&a.get(&selected).ok()).is_empty());
}

/// What the tests of a status subresource do: patch it, update it, read it.
pub fn supports_status(a: &Client, path: &str, status: &Value) {
    let by_status = format!("{path}/status");
    let patched = a.merge(&by_status, &json!({ "status": status })).ok();
    let holds = |object: &Value| {
        for (field, value) in status.as_object().expect("a status") {
            assert_eq!(&object["status"][field], value, "{field}");
        }
    };
    holds(&patched);
    holds(&update(a, &by_status, |object| object["status"] = status.clone()));
    holds(&a.get(&by_status).ok());
    // The object itself shows the same, and does not take a status.
    holds(&a.merge(path, &json!({ "status": null })).ok());
}

/// Waits until an object shows what it should.
pub fn shows(a: &Client, what: &str, path: &str, holds: impl Fn(&Value) -> bool) -> Value {
    let mut last = Value::Null;
    eventually(what, SOON, || {
        last = a.get(path).ok();
        holds(&last)
    });
    last
}
