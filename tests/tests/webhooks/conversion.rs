//! Conversion webhooks: what the conformance tests demand, under their names, and more.

use std::time::Duration;

use kplane_tests::{Client, eventually};
use serde_json::{Value, json};

use crate::hook::{Asked, Hook, Reply};
use crate::*;

const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const V1: &str = "/apis/stable.example.test/v1/namespaces/default/conversions";
const V2: &str = "/apis/stable.example.test/v2/namespaces/default/conversions";

/// Version 1 has `hostPort`, version 2 `host` and `port`.
fn convert(mut object: Value, wanted: &str) -> Value {
    let fields = object.as_object_mut().expect("an object");
    fields.insert("apiVersion".into(), wanted.into());
    match wanted {
        "stable.example.test/v2" => {
            if let Some(Value::String(both)) = fields.remove("hostPort") {
                let (host, port) = both.split_once(':').expect("host:port");
                fields.insert("host".into(), host.into());
                fields.insert("port".into(), port.into());
            }
        }
        _ => {
            if let (Some(host), Some(port)) = (fields.remove("host"), fields.remove("port")) {
                let both = format!("{}:{}", host.as_str().unwrap_or(""), port.as_str().unwrap_or(""));
                fields.insert("hostPort".into(), both.into());
            }
        }
    }
    object
}

fn answer(asked: &Asked) -> Reply {
    let request = &asked.body["request"];
    let wanted = request["desiredAPIVersion"].as_str().unwrap_or_default();
    let objects = request["objects"].as_array().cloned().unwrap_or_default();
    let refuses = objects.iter().any(|object| object["metadata"]["name"] == "stubborn");
    let converted: Vec<Value> = objects
        .into_iter()
        .map(|object| {
            let mut new = convert(object, wanted);
            if new["metadata"]["name"] == "renamed" {
                new["metadata"]["name"] = "other".into();
            }
            new["metadata"]["finalizers"] = json!(["sneaky.test/finalizer"]);
            new
        })
        .collect();
    let result = match refuses {
        true => json!({"status": "Failed", "message": "it will not change"}),
        false => json!({"status": "Success"}),
    };
    Reply::json(json!({
        "kind": "ConversionReview", "apiVersion": asked.body["apiVersion"],
        "response": {"uid": request["uid"], "convertedObjects": converted, "result": result},
    }))
}

fn versions(stored: &str) -> Value {
    let text = || json!({"type": "string"});
    let version = |name: &str, selectable: &str, properties: Value| {
        json!({
            "name": name, "served": true, "storage": name == stored,
            "selectableFields": [{"jsonPath": selectable}],
            "schema": {"openAPIV3Schema": {"type": "object", "properties": properties}},
        })
    };
    json!([
        version("v1", ".hostPort", json!({"hostPort": text()})),
        version("v2", ".port", json!({"host": text(), "port": text()})),
    ])
}

fn start() -> (Client, Hook, Server) {
    let (a, _, server) = setup();
    let hook = Hook::start(answer);
    serve(&a, &hook);
    let object = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "conversions.stable.example.test"},
        "spec": {
            "group": "stable.example.test", "scope": "Namespaced", "versions": versions("v1"),
            "names": {"plural": "conversions", "singular": "conversion", "kind": "Conversion", "listKind": "ConversionList"},
            "conversion": {"strategy": "Webhook", "webhook": {
                "clientConfig": client_config(&hook, "/crdconvert"), "conversionReviewVersions": ["v1", "v1beta1"],
            }},
        },
    });
    a.post(DEFINITIONS, &object).ok();
    served(&a);
    (a, hook, server)
}

fn served(a: &Client) {
    eventually("the definition is served", Duration::from_secs(20), || {
        a.get(V1).code == 200 && a.get(V2).code == 200
    });
}

fn v1(name: &str, host_port: &str) -> Value {
    json!({
        "apiVersion": "stable.example.test/v1", "kind": "Conversion",
        "metadata": {"name": name}, "hostPort": host_port,
    })
}

fn v2(name: &str) -> Value {
    json!({
        "apiVersion": "stable.example.test/v2", "kind": "Conversion",
        "metadata": {"name": name}, "host": "host2", "port": "2",
    })
}

#[test]
fn should_be_able_to_convert_from_cr_v1_to_cr_v2() {
    let (a, hook, _server) = start();
    let watch = a.watch(V2);
    a.post(V1, &v1("one", "host1:1")).ok();
    assert!(
        hook.asked()
            .iter()
            .all(|asked| asked.body["request"]["desiredAPIVersion"] == "stable.example.test/v2")
    );
    let seen = a.get(&format!("{V2}/one")).ok();
    assert_eq!(
        (&seen["apiVersion"], &seen["host"], &seen["port"]),
        (&json!("stable.example.test/v2"), &json!("host1"), &json!("1"))
    );
    assert_eq!(seen["hostPort"], Value::Null);
    assert_eq!(
        seen["metadata"]["finalizers"],
        Value::Null,
        "a converter changes no more than labels and annotations"
    );
    assert_eq!(watch.expect("ADDED", "one")["host"], "host1");
    // A write in version 2 is stored in version 1.
    let changed = a.merge(&format!("{V2}/one"), &json!({"port": "9"})).ok();
    assert_eq!((&changed["host"], &changed["port"]), (&json!("host1"), &json!("9")));
    assert_eq!(watch.expect("MODIFIED", "one")["port"], "9");
    let before = hook.asked().len();
    assert_eq!(a.get(&format!("{V1}/one")).ok()["hostPort"], "host1:9");
    assert_eq!(hook.asked().len(), before, "as it is stored it needs no conversion");
    a.delete(&format!("{V2}/one")).ok();
    assert_eq!(watch.expect("DELETED", "one")["host"], "host1");
}

#[test]
fn should_be_able_to_convert_a_non_homogeneous_list_of_crs() {
    let (a, hook, _server) = start();
    a.post(V1, &v1("one", "host1:1")).ok();
    let path = format!("{DEFINITIONS}/conversions.stable.example.test");
    a.merge(&path, &json!({"spec": {"versions": versions("v2")}})).ok();
    served(&a);
    a.post(V2, &v2("two")).ok();
    let before = hook.asked().len();
    let list = a.get(V2).ok();
    assert_eq!((&list["items"][0]["host"], &list["items"][1]["host"]), (&json!("host1"), &json!("host2")));
    let list = a.get(V1).ok();
    assert_eq!(
        (&list["items"][0]["hostPort"], &list["items"][1]["hostPort"]),
        (&json!("host1:1"), &json!("host2:2"))
    );
    assert_eq!(hook.asked().len(), before + 2, "a list is one question");
}

#[test]
fn failures_are_told_in_upstreams_words() {
    let (a, _hook, _server) = start();
    let start = "conversion webhook for stable.example.test/v1, Kind=Conversion";
    a.post(V1, &v1("stubborn", "host1:1")).ok();
    let said = a.get(&format!("{V2}/stubborn")).refused(500);
    assert_eq!(said, format!("{start} failed: it will not change"));
    a.get(V2).refused(500);
    assert_eq!(a.get(&format!("{V1}/stubborn")).ok()["hostPort"], "host1:1");
    a.delete(&format!("{V1}/stubborn")).ok();
    a.post(V1, &v1("renamed", "host1:1")).ok();
    let said = a.get(&format!("{V2}/renamed")).refused(500);
    assert_eq!(
        said,
        format!(
            "{start} returned invalid converted object at index 0: must have the same name: other != renamed"
        )
    );
    a.delete("/api/v1/namespaces/hooks/services/hook").ok();
    let said = a.get(&format!("{V2}/renamed")).refused(500);
    assert_eq!(
        said,
        format!(
            "{start} failed: Post \"https://hook.hooks.svc:8443/crdconvert?timeout=30s\": service \"hook\" not found"
        )
    );
}

#[test]
fn fields_are_selected_as_they_are_seen() {
    let (a, _hook, _server) = start();
    for (name, port) in [("a", 1), ("b", 2), ("c", 1), ("d", 1)] {
        a.post(V1, &v1(name, &format!("host:{port}"))).ok();
    }
    let names = |path: String| -> Vec<String> {
        let list = a.get(&path).ok();
        let items = list["items"].as_array().cloned().unwrap_or_default();
        items.iter().filter_map(|item| item["metadata"]["name"].as_str().map(str::to_owned)).collect()
    };
    assert_eq!(names(format!("{V2}?fieldSelector=port%3D1")), ["a", "c", "d"]);
    assert_eq!(names(format!("{V1}?fieldSelector=hostPort%3Dhost:2")), ["b"]);
    // By pages, too.
    let first = a.get(&format!("{V2}?fieldSelector=port%3D1&limit=2")).ok();
    assert_eq!(first["items"].as_array().map(Vec::len), Some(2));
    let token = first["metadata"]["continue"].as_str().unwrap();
    assert_eq!(names(format!("{V2}?fieldSelector=port%3D1&limit=2&continue={token}")), ["d"]);
    a.delete(&format!("{V2}?fieldSelector=port%3D1")).ok();
    assert_eq!(names(V1.to_owned()), ["b"]);
}

#[test]
fn managers_of_other_versions_lose_what_others_set() {
    let (a, _hook, _server) = start();
    let one = format!("{V2}/one");
    let applied = |port: u32| {
        json!({
            "apiVersion": "stable.example.test/v2", "kind": "Conversion", "metadata": {"name": "one"},
            "host": "host", "port": port.to_string(),
        })
        .to_string()
    };
    a.apply(&format!("{one}?fieldManager=two"), &applied(1)).ok();
    let fields = |manager: &str| -> Value {
        let object = a.get(&one).ok();
        let entries = object["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
        let found = entries.into_iter().find(|entry| entry["manager"] == manager);
        found.map_or(Value::Null, |entry| json!([entry["apiVersion"], entry["fieldsV1"]]))
    };
    assert_eq!(fields("two"), json!(["stable.example.test/v2", {"f:host": {}, "f:port": {}}]));
    a.merge(&format!("{V1}/one?fieldManager=one"), &json!({"hostPort": "host:2"})).ok();
    assert_eq!(fields("one"), json!(["stable.example.test/v1", {"f:hostPort": {}}]));
    assert_eq!(fields("two"), json!(["stable.example.test/v2", {"f:host": {}}]), "the port is another's now");
    let told = a.apply(&format!("{one}?fieldManager=two"), &applied(3)).refused(409);
    assert!(told.contains("conflict with \"one\"") && told.contains("stable.example.test/v1"), "{told}");
    let forced = a.apply(&format!("{one}?fieldManager=two&force=true"), &applied(3)).ok();
    assert_eq!(forced["port"], "3");
    assert_eq!(a.get(&format!("{V1}/one")).ok()["hostPort"], "host:3");
}
