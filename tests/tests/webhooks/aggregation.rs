//! Aggregated APIs.

use std::time::Duration;

use kplane_tests::{Client, eventually};
use serde_json::{Value, json};

use crate::hook::{Asked, Hook, Reply};
use crate::*;

const API_SERVICES: &str = "/apis/apiregistration.k8s.io/v1/apiservices";
const FLUNDERS: &str = "/apis/wardle.example.test/v1alpha1/namespaces/default/flunders";

/// A small API server of one resource.
fn wardle(asked: &Asked) -> Reply {
    match (asked.method.as_str(), asked.path.as_str()) {
        ("GET", "/apis/wardle.example.test/v1alpha1") => Reply::json(json!({
            "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "wardle.example.test/v1alpha1",
            "resources": [{
                "name": "flunders", "singularName": "flunder", "namespaced": true, "kind": "Flunder",
                "verbs": ["create", "get", "list"], "shortNames": ["fl"],
            }],
        })),
        ("POST", FLUNDERS) => Reply { code: 201, ..Reply::json(asked.body.clone()) },
        ("GET", FLUNDERS) => Reply::json(json!({
            "kind": "FlunderList", "apiVersion": "wardle.example.test/v1alpha1", "metadata": {},
            "items": [{"metadata": {"name": "one"}}],
        })),
        _ => Reply {
            body: json!({"kind": "Status", "status": "Failure", "code": 404, "message": "no flunder"})
                .to_string(),
            headers: vec![("content-type", "application/json".into())],
            ..Reply::code(404)
        },
    }
}

fn api_service(hook: &Hook) -> Value {
    json!({
        "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
        "metadata": {"name": "v1alpha1.wardle.example.test"},
        "spec": {
            "group": "wardle.example.test", "version": "v1alpha1", "caBundle": hook.ca_bundle,
            "groupPriorityMinimum": 2000, "versionPriority": 200,
            "service": {"namespace": "hooks", "name": "hook", "port": 8443},
        },
    })
}

#[track_caller]
fn becomes(a: &Client, status: &str, reason: &str) -> String {
    let mut message = String::new();
    eventually(reason, Duration::from_secs(20), || {
        let object = a.get(&format!("{API_SERVICES}/v1alpha1.wardle.example.test")).ok();
        let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
        message =
            conditions.first().map_or(String::new(), |c| c["message"].as_str().unwrap_or("").to_owned());
        conditions.iter().any(|c| c["type"] == "Available" && c["status"] == status && c["reason"] == reason)
    });
    message
}

#[test]
fn should_be_able_to_support_a_sample_api_server_using_the_aggregator() {
    let (a, kubectl, server) = setup();
    let hook = Hook::start(wardle);
    a.post(API_SERVICES, &api_service(&hook)).ok();
    assert_eq!(becomes(&a, "False", "ServiceNotFound"), "service/hook in \"hooks\" is not present");
    assert_eq!(a.get(FLUNDERS).code, 503);
    serve(&a, &hook);
    assert_eq!(becomes(&a, "True", "Passed"), "all checks passed");

    let made = a.post(FLUNDERS, &json!({"metadata": {"name": "two"}, "spec": {}}));
    assert_eq!((made.code, &made.body["metadata"]["name"]), (201, &json!("two")));
    assert_eq!(a.get(&format!("{FLUNDERS}/none")).refused(404), "no flunder");
    let asked = hook.asked().pop().unwrap();
    assert_eq!(asked.headers["x-remote-user"], "kplane-admin", "the user is named");
    assert!(asked.headers.get_all("x-remote-group").iter().any(|group| group == "system:masters"));
    assert!(asked.headers.get("authorization").is_none());
    let claimed = [("X-Remote-User", "somebody-else"), ("X-Remote-Group", "others")];
    a.send("GET", &format!("{FLUNDERS}?limit=5&labelSelector=a%3Db"), &claimed, "").unwrap().ok();
    let asked = hook.asked().pop().unwrap();
    assert_eq!(asked.headers["x-remote-user"], "kplane-admin");
    assert!(asked.headers.get_all("x-remote-group").iter().all(|group| group != "others"));
    assert_eq!(asked.query, "limit=5&labelSelector=a%3Db");

    // Discovery shows it in both forms.
    let groups = a.get("/apis").ok();
    let names: Vec<&str> =
        groups["groups"].as_array().unwrap().iter().filter_map(|g| g["name"].as_str()).collect();
    assert!(names.contains(&"wardle.example.test"), "{names:?}");
    assert_eq!(a.get("/apis/wardle.example.test").ok()["preferredVersion"]["version"], "v1alpha1");
    let resources = kubectl.run(&["api-resources", "--api-group=wardle.example.test"]);
    assert!(
        resources.stdout.contains("flunders") && resources.stdout.contains("fl "),
        "{}",
        resources.stdout
    );
    let listed = kubectl.run(&["get", "flunders", "-o", "name"]);
    assert!(listed.stdout.contains("flunder.wardle.example.test/one"), "{} {}", listed.stdout, listed.stderr);

    // Nothing of it is there for others.
    control_plane(&server, "b", json!([]));
    assert_eq!(server.client().vcp("b").get(FLUNDERS).code, 404);

    a.delete(&format!("{API_SERVICES}/v1alpha1.wardle.example.test")).ok();
    assert_eq!(a.get(FLUNDERS).code, 404);
}

#[test]
fn an_aggregated_api_obeys_the_egress_policy_and_authorization() {
    let server = Server::start(Store::Embedded);
    let hook = Hook::start(wardle);
    control_plane(&server, "b", json!([]));
    let b = server.client().vcp("b");
    serve(&b, &hook);
    b.post(API_SERVICES, &api_service(&hook)).ok();
    let said = becomes(&b, "False", "FailedDiscoveryCheck");
    assert!(said.contains("egress denied"), "{said}");
    let answer = b.get(FLUNDERS);
    assert!(answer.code == 503 && answer.text.contains("egress denied"), "{}", answer.text);
    assert!(hook.asked().is_empty());
    let nobody = [("Impersonate-User", "nobody")];
    assert_eq!(b.send("GET", FLUNDERS, &nobody, "").unwrap().code, 403);
}

#[test]
fn extension_servers_learn_whom_to_trust() {
    let (a, _, server) = setup();
    let path = "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication";
    let data = a.get(path).ok()["data"].take();
    let record = server.client().get("/apis/tenancy.kplane.dev/v1alpha1/virtualclusters/a").ok();
    let name = format!("[\"front-proxy-client:{}\"]", record["metadata"]["uid"].as_str().unwrap());
    assert_eq!(data["requestheader-allowed-names"], name.as_str());
    let authority = data["requestheader-client-ca-file"].as_str().unwrap();
    assert!(authority.starts_with("-----BEGIN CERTIFICATE-----"));
    assert_ne!(data["client-ca-file"], data["requestheader-client-ca-file"]);
}
