//! Servers that the API server calls on the word of a control plane: admission webhooks, conversion webhooks, aggregated
//! APIs; and what they may not be.

mod admission;
mod aggregation;
mod conversion;
mod egress;
mod hook;
mod more;

use hook::Hook;
use kplane_tests::{Client, Kubectl, Server, Store};
use serde_json::{Value, json};

/// A control plane `a` of the test's own, which may call servers on this machine.
fn setup() -> (Client, Kubectl, Server) {
    let server = Server::start(Store::Embedded);
    let kubectl = control_plane(&server, "a", json!(["127.0.0.0/8", hook::own_address().to_string()]));
    (server.client().vcp("a"), kubectl, server)
}

fn control_plane(server: &Server, name: &str, allowed: Value) -> Kubectl {
    let record = json!({
        "apiVersion": "tenancy.kplane.dev/v1alpha1", "kind": "VirtualCluster",
        "metadata": {"name": name}, "spec": {"egress": {"allowedCIDRs": allowed}},
    });
    server.client().post("/apis/tenancy.kplane.dev/v1alpha1/virtualclusters", &record).ok();
    server.vcp(name)
}

/// A Service `hook` in the namespace `hooks` with the hook behind it.
fn serve(a: &Client, hook: &Hook) {
    a.post("/api/v1/namespaces", &json!({"metadata": {"name": "hooks"}})).ok();
    let ports = json!([{"port": 8443, "targetPort": hook.address.port(), "protocol": "TCP"}]);
    let service = json!({"metadata": {"name": "hook"}, "spec": {"ports": ports}});
    a.post("/api/v1/namespaces/hooks/services", &service).ok();
    let endpoints = json!({
        "metadata": {"name": "hook"},
        "subsets": [{
            "addresses": [{"ip": hook.address.ip().to_string()}],
            "ports": [{"port": hook.address.port(), "protocol": "TCP"}],
        }],
    });
    a.post("/api/v1/namespaces/hooks/endpoints", &endpoints).ok();
}

/// How a webhook at a path of the Service is reached.
fn client_config(hook: &Hook, path: &str) -> Value {
    json!({
        "caBundle": hook.ca_bundle,
        "service": {"namespace": "hooks", "name": "hook", "port": 8443, "path": path},
    })
}

const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";
const PODS: &str = "/api/v1/namespaces/default/pods";
const BINDINGS: &str = "/api/v1/namespaces/default/bindings";

fn rule(operations: &[&str], group: &str, version: &str, resources: &[&str]) -> Value {
    json!({"operations": operations, "apiGroups": [group], "apiVersions": [version], "resources": resources})
}

/// A webhook of that name with one rule.
fn webhook(hook: &Hook, path: &str, rule: Value) -> Value {
    json!({
        "name": format!("{}.k8s.io", path.trim_start_matches('/').replace('/', "-") + ".test"),
        "rules": [rule], "clientConfig": client_config(hook, path), "sideEffects": "None",
        "admissionReviewVersions": ["v1", "v1beta1"],
    })
}

const MUTATING: &str = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations";
const VALIDATING: &str = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations";

/// Writes a configuration. It holds from the next request on.
fn configure(a: &Client, collection: &str, name: &str, webhooks: &[Value]) -> Value {
    a.post(collection, &json!({"metadata": {"name": name}, "webhooks": webhooks})).ok()
}

fn config_map(name: &str, data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data})
}

fn pod(name: &str, container: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
        "spec": {"containers": [{"name": container, "image": "registry.k8s.io/pause:3.10"}]},
    })
}
