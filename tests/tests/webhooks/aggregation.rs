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
        ("GET", "/apis/wardle.example.test/v1alpha1/namespaces/default/flunders/one/shout") => {
            Reply { headers: vec![("x-agreed", "yes".into())], ..Reply::code(101) }
        }
        ("GET", "/openapi/v2") => Reply::json(json!({
            "swagger": "2.0", "info": {"title": "wardle", "version": "v0"},
            "paths": {
                "/apis/wardle.example.test/v1alpha1/namespaces/{namespace}/flunders": {"get": {
                    "x-kubernetes-action": "list",
                    "x-kubernetes-group-version-kind":
                        {"group": "wardle.example.test", "version": "v1alpha1", "kind": "Flunder"},
                    "responses": {
                        "200": {"description": "OK", "schema": {"$ref": "#/definitions/test.example.wardle.Flunder"}},
                    },
                }},
                "/elsewhere": {},
            },
            "definitions": {
                "test.example.wardle.Flunder": {
                    "description": "A flunder flunders.", "type": "object",
                    "properties": {
                        "metadata": {"$ref": "#/definitions/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"},
                        "spec": {"type": "object", "description": "What it flunders."},
                    },
                    "x-kubernetes-group-version-kind":
                        [{"group": "wardle.example.test", "version": "v1alpha1", "kind": "Flunder"}],
                },
                "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta": {"type": "object", "description": "An older one."},
                "unused": {},
            },
        })),
        ("GET", "/openapi/v3") => Reply::json(json!({"paths": {
            "apis/wardle.example.test/v1alpha1":
                {"serverRelativeURL": "/openapi/v3/apis/wardle.example.test/v1alpha1?hash=FEED"},
            "version": {"serverRelativeURL": "/openapi/v3/version?hash=BEEF"},
        }})),
        ("GET", "/openapi/v3/apis/wardle.example.test/v1alpha1") => Reply::json(json!({
            "openapi": "3.0.0", "info": {"title": "wardle", "version": "v0"},
            "paths": {"/apis/wardle.example.test/v1alpha1/namespaces/{namespace}/flunders": {"get": {
                "x-kubernetes-action": "list",
                "x-kubernetes-group-version-kind":
                    {"group": "wardle.example.test", "version": "v1alpha1", "kind": "Flunder"},
            }}},
            "components": {"schemas": {"test.example.wardle.Flunder": {
                "description": "A flunder flunders.", "type": "object",
                "properties": {"spec": {"type": "object", "description": "What it flunders."}},
                "x-kubernetes-group-version-kind":
                    [{"group": "wardle.example.test", "version": "v1alpha1", "kind": "Flunder"}],
            }}},
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
fn documents_and_connections_are_passed_on() {
    let (a, kubectl, server) = setup();
    let hook = Hook::start(wardle);
    serve(&a, &hook);
    a.post(API_SERVICES, &api_service(&hook)).ok();
    becomes(&a, "True", "Passed");

    // Both versions of OpenAPI have it, with its own names where ours mean something else.
    let index = a.get("/openapi/v3").ok();
    let url = &index["paths"]["apis/wardle.example.test/v1alpha1"]["serverRelativeURL"];
    let expected = "/clusters/a/control-plane/openapi/v3/apis/wardle.example.test/v1alpha1?hash=FEED";
    assert_eq!(url, expected);
    assert!(index["paths"]["api/v1"].is_object());
    assert!(index["paths"]["version"]["serverRelativeURL"] != "/openapi/v3/version?hash=BEEF");
    let document = a.get("/openapi/v3/apis/wardle.example.test/v1alpha1").ok();
    assert_eq!(document["info"]["title"], "wardle");
    let document = a.get("/openapi/v2").ok();
    let flunder = &document["definitions"]["test.example.wardle.Flunder"];
    let renamed = "#/definitions/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta_v2";
    assert_eq!(flunder["properties"]["metadata"]["$ref"], renamed);
    let paths = &document["paths"];
    assert!(paths["/apis/wardle.example.test/v1alpha1/namespaces/{namespace}/flunders"].is_object());
    assert!(paths["/elsewhere"].is_null() && paths["/api/v1/namespaces"].is_object());
    assert!(document["definitions"]["unused"].is_null());
    let explained = kubectl.run(&["explain", "flunders.spec"]);
    assert!(explained.stdout.contains("What it flunders."), "{} {}", explained.stdout, explained.stderr);

    // A connection that changes its protocol is joined with the other server's.
    let path = "/apis/wardle.example.test/v1alpha1/namespaces/default/flunders/one/shout";
    let headers = [
        ("Upgrade", "SPDY/3.1"),
        ("Sec-WebSocket-Protocol", "base64url.bearer.authorization.k8s.io.c2VjcmV0, v4.channel.k8s.io"),
    ];
    let mut shouting = a.upgrade(path, &headers).map_err(|(code, text)| format!("{code} {text}")).unwrap();
    assert_eq!(shouting.headers["x-agreed"], "yes");
    assert_eq!(shouting.headers["upgrade"], "SPDY/3.1");
    shouting.say(b"flunder!");
    assert_eq!(shouting.hear(8), b"flunder!");
    shouting.say(&[7; 100_000]);
    assert_eq!(shouting.hear(100_000), [7; 100_000]);
    let asked = hook.asked().into_iter().rev().find(|asked| asked.path == path).unwrap();
    assert_eq!(asked.headers["x-remote-user"], "kplane-admin");
    assert_eq!(asked.headers["sec-websocket-protocol"], "v4.channel.k8s.io", "the proof stays here");
    // One that the other server does not agree to is answered as it answers.
    let refused = a.upgrade(&format!("{FLUNDERS}/none"), &headers[..1]).err().unwrap();
    assert!(refused.0 == 404 && refused.1.contains("no flunder"), "{refused:?}");

    // It goes on whatever else is said of the control plane, and ends when what was issued for it is good no more.
    let record = "/apis/tenancy.kplane.dev/v1alpha1/virtualclusters/a";
    server.client().merge(record, &json!({"spec": {"limits": {"watches": 50}}})).ok();
    shouting.say(b"flunder!");
    assert_eq!(shouting.hear(8), b"flunder!");
    server.client().merge(record, &json!({"spec": {"credentialEpoch": 1}})).ok();
    shouting.ends();
}

#[test]
fn a_server_that_describes_itself_in_version_2_alone_is_shown_in_version_3() {
    let (a, kubectl, _server) = setup();
    let hook = Hook::start(|asked| match asked.path.starts_with("/openapi/v3") {
        true => Reply::code(404),
        false => wardle(asked),
    });
    serve(&a, &hook);
    a.post(API_SERVICES, &api_service(&hook)).ok();
    becomes(&a, "True", "Passed");
    let path = "/openapi/v3/apis/wardle.example.test/v1alpha1";
    let index = a.get("/openapi/v3").ok();
    let url = &index["paths"]["apis/wardle.example.test/v1alpha1"]["serverRelativeURL"];
    let start = format!("/clusters/a/control-plane{path}?hash=");
    assert!(url.as_str().is_some_and(|url| url.starts_with(&start)), "{url}");
    let document = a.get(path).ok();
    assert_eq!((&document["openapi"], &document["info"]["title"]), (&json!("3.0.0"), &json!("wardle")));
    let flunder = &document["components"]["schemas"]["test.example.wardle.Flunder"];
    assert_eq!(flunder["properties"]["spec"]["description"], "What it flunders.");
    let meta = &flunder["properties"]["metadata"];
    assert!(
        meta.to_string().contains("#/components/schemas/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta")
    );
    let paths = document["paths"].as_object().unwrap();
    assert_eq!(
        paths.keys().collect::<Vec<_>>(),
        ["/apis/wardle.example.test/v1alpha1/namespaces/{namespace}/flunders"]
    );
    let explained = kubectl.run(&["explain", "flunders.spec"]);
    assert!(explained.stdout.contains("What it flunders."), "{} {}", explained.stdout, explained.stderr);
}

#[test]
fn an_api_service_takes_over_a_group_that_the_server_itself_has() {
    let (a, _, server) = setup();
    let hook = Hook::start(|asked| match asked.path.as_str() {
        "/apis/node.k8s.io/v1" => Reply::json(json!({
            "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "node.k8s.io/v1",
            "resources": [{"name": "engines", "singularName": "engine", "namespaced": false, "kind": "Engine", "verbs": ["list"]}],
        })),
        "/apis/node.k8s.io/v1/engines" => Reply::json(json!({
            "kind": "EngineList", "apiVersion": "node.k8s.io/v1", "metadata": {}, "items": [],
        })),
        _ => Reply::code(404),
    });
    serve(&a, &hook);
    let own = "/apis/node.k8s.io/v1/runtimeclasses";
    a.get(own).ok();
    let path = format!("{API_SERVICES}/v1.node.k8s.io");
    let local = a.get(&path).ok()["spec"].clone();
    let service = json!({"namespace": "hooks", "name": "hook", "port": 8443});
    a.merge(&path, &json!({"spec": {"service": service, "caBundle": hook.ca_bundle}})).ok();
    eventually("the other server answers", Duration::from_secs(20), || {
        a.get("/apis/node.k8s.io/v1/engines").code == 200 && a.get(own).code == 404
    });
    assert_eq!(a.get("/apis/node.k8s.io/v1").ok()["resources"][0]["name"], "engines");
    let groups = a.get("/apis").ok();
    let found = groups["groups"].as_array().unwrap().iter().filter(|g| g["name"] == "node.k8s.io").count();
    assert_eq!(found, 1);
    // In another control plane nothing changed, and here it may be the server's own again.
    control_plane(&server, "b", json!([]));
    server.client().vcp("b").get(own).ok();
    a.merge(&path, &json!({"spec": {"service": null, "caBundle": null}})).ok();
    assert_eq!(a.get(&path).ok()["spec"], local);
    a.get(own).ok();
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
