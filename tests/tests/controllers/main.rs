//! What the controller manager does in a control plane where no pod runs; the tests of Kubernetes' own conformance suite
//! have their names. The state of pods is played.

mod certificates;
mod cron_jobs;
mod garbage;
mod services;
mod storage;
mod workloads;

use std::time::Duration;

use kplane_tests::{Client, Server, Store, eventually};
use serde_json::{Value, json};

/// Within this time what a controller does is done, also on a busy machine.
const SOON: Duration = Duration::from_secs(60);
const PODS: &str = "/api/v1/namespaces/default/pods";
const CONTROLLERS: &str = "/api/v1/namespaces/default/replicationcontrollers";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";
const REPLICA_SETS: &str = "/apis/apps/v1/namespaces/default/replicasets";
const EVENTS: &str = "/api/v1/namespaces/default/events";

/// A control plane of the test's own, and the server, to be kept meanwhile.
fn setup() -> (Client, Server) {
    let server = Server::start(Store::Embedded);
    server.create_vcp("a");
    (server.client().vcp("a"), server)
}

/// The objects of a collection.
fn list(a: &Client, path: &str) -> Vec<Value> {
    a.get(path).ok()["items"].as_array().cloned().unwrap_or_default()
}

fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or_default()
}

/// Waits until a collection has so many objects.
fn wait_for(a: &Client, path: &str, many: usize) -> Vec<Value> {
    eventually(&format!("{many} objects at {path}"), SOON, || list(a, path).len() == many);
    list(a, path)
}

/// Waits until an object is as it should be.
fn wait_until(a: &Client, path: &str, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
    let mut last = json!(null);
    eventually(&format!("{path}: {what}"), SOON, || {
        let answer = a.get(path);
        if answer.code != 200 {
            return false;
        }
        last = answer.ok();
        holds(&last)
    });
    last
}

/// Waits until there is nothing at a path.
fn wait_gone(a: &Client, path: &str) {
    eventually(&format!("{path} is gone"), SOON, || a.get(path).code == 404);
}

/// Whether a condition of an object has a status.
fn has_condition(object: &Value, kind: &str, status: &str) -> bool {
    let conditions = object["status"]["conditions"].as_array();
    conditions.into_iter().flatten().any(|c| c["type"] == kind && c["status"] == status)
}

/// Waits for an Event about an object.
fn wait_event(a: &Client, about: &str, reason: &str) {
    eventually(&format!("the event {reason} about {about}"), SOON, || {
        list(a, EVENTS).iter().any(|e| e["involvedObject"]["name"] == about && e["reason"] == reason)
    });
}

/// What a pod's node would say of it.
fn play(a: &Client, pod: &str, status: &Value) {
    a.merge(&format!("{PODS}/{pod}/status"), &json!({ "status": status })).ok();
}

/// Plays a pod that runs and answers.
fn play_ready(a: &Client, pod: &str, ip: &str) {
    let now = "2026-01-01T00:00:00Z";
    let status = json!({
        "phase": "Running", "podIP": ip, "podIPs": [{ "ip": ip }],
        "conditions": [{ "type": "Ready", "status": "True", "lastTransitionTime": now }],
    });
    play(a, pod, &status);
}

fn template(label: &str) -> Value {
    json!({
        "metadata": { "labels": { "name": label } },
        "spec": { "containers": [{ "name": "c", "image": "registry.k8s.io/pause:3.10" }] },
    })
}

fn replication_controller(name: &str, replicas: u32) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ReplicationController", "metadata": { "name": name },
        "spec": { "replicas": replicas, "selector": { "name": name }, "template": template(name) },
    })
}

fn deployment(name: &str, replicas: u32) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": name },
        "spec": { "replicas": replicas, "selector": { "matchLabels": { "name": name } }, "template": template(name) },
    })
}

/// The options of a deletion.
fn policy(policy: &str) -> Value {
    json!({ "apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": policy })
}
