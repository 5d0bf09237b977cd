//! Admission policies: what Kubernetes' conformance tests demand of them, under their names, and what they do beyond.

mod audit;
mod authorizer;
mod matching;
mod mutating;
mod subresources;
mod type_checking;
mod validating;

use kplane_tests::{Client, Server, Store};
use serde_json::{Value, json};

const GROUP: &str = "/apis/admissionregistration.k8s.io/v1";
const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";

/// A control plane of the test's own.
fn start() -> (Client, Server) {
    let server = Server::start(Store::Embedded);
    server.create_vcp("a");
    (server.client().vcp("a"), server)
}

fn rules(group: &str, resource: &str) -> Value {
    json!({"resourceRules": [{
        "apiGroups": [group], "apiVersions": ["*"], "operations": ["CREATE", "UPDATE"], "resources": [resource],
    }]})
}

/// Writes a policy of a kind and what binds it.
fn bind(a: &Client, kind: &str, name: &str, spec: Value, binding: Value) {
    let policies = format!("{GROUP}/{kind}policies");
    a.post(&policies, &json!({"metadata": {"name": name}, "spec": spec})).ok();
    let mut spec = binding;
    spec["policyName"] = name.into();
    let bindings = format!("{GROUP}/{kind}policybindings");
    a.post(&bindings, &json!({"metadata": {"name": format!("{name}-binding")}, "spec": spec})).ok();
}

fn config_map(name: &str, data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data})
}

fn deployment(name: &str, replicas: i64) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
        "spec": {
            "replicas": replicas, "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "c", "image": "registry.k8s.io/pause:3.10"}]},
            },
        },
    })
}

/// Creates, reads, lists, changes, applies and deletes objects of a kind, as the tests of its API operations do.
fn operations(a: &Client, kind: &str, spec: &Value, status: bool) {
    let found = a.get("/apis/admissionregistration.k8s.io/v1").ok();
    let resources = found["resources"].as_array().unwrap();
    assert!(resources.iter().any(|resource| resource["name"] == kind), "{kind}");
    let collection = format!("{GROUP}/{kind}");
    for name in ["x", "y", "z"] {
        let object = json!({"metadata": {"name": name, "labels": {"special": "yes"}}, "spec": spec});
        a.post(&collection, &object).ok();
    }
    let one = format!("{collection}/x");
    assert_eq!(a.get(&one).ok()["metadata"]["generation"], 1);
    assert_eq!(
        a.get(&format!("{collection}?labelSelector=special=yes")).ok()["items"].as_array().unwrap().len(),
        3
    );
    let patched = a.merge(&one, &json!({"metadata": {"annotations": {"patched": "true"}}})).ok();
    assert_eq!(patched["metadata"]["annotations"]["patched"], "true");
    let mut updated = patched;
    updated["metadata"]["annotations"]["updated"] = json!("true");
    assert_eq!(a.put(&one, &updated).ok()["metadata"]["annotations"]["updated"], "true");
    if status {
        let condition = json!({"type": "Ready", "status": "True", "reason": "E2E", "message": "set from e2e test",
            "lastTransitionTime": "2024-01-01T00:00:00Z"});
        let path = format!("{one}/status");
        let patched = a.merge(&path, &json!({"status": {"conditions": [condition]}})).ok();
        assert_eq!(patched["status"]["conditions"][0]["reason"], "E2E");
        assert_eq!(a.get(&path).ok()["status"]["conditions"][0]["type"], "Ready");
    }
    a.delete(&one).ok();
    a.get(&one).refused(404);
    a.delete(&format!("{collection}?labelSelector=special=yes")).ok();
    assert_eq!(a.get(&collection).ok()["items"], json!([]));
}
