//! Several servers over one etcd are one.

use std::time::Duration;

use kplane_tests::{Relay, Server, Store, eventually, version};
use serde_json::{Value, json};

const OBJECTS: &str = "/api/v1/namespaces/default/configmaps";
const RECORDS: &str = "/apis/tenancy.kplane.dev/v1alpha1/virtualclusters";

fn object(name: &str) -> Value {
    json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name } })
}

fn record(name: &str) -> Value {
    json!({ "apiVersion": "tenancy.kplane.dev/v1alpha1", "kind": "VirtualCluster", "metadata": { "name": name } })
}

fn names(list: &Value) -> Vec<&str> {
    let items = list["items"].as_array().expect("a list").iter();
    items.filter_map(|item| item["metadata"]["name"].as_str()).collect()
}

#[test]
fn what_is_written_at_one_is_seen_at_the_other_at_once() {
    let one = Server::start(Store::Etcd);
    let other = one.replica();
    let (one, other) = (one.client(), other.client());

    // A control plane that the other has just been asked for in vain.
    other.vcp("a").get("/api/v1/namespaces").refused(404);
    one.post(RECORDS, &record("a")).ok();
    let list = other.vcp("a").get("/api/v1/namespaces").ok();
    assert_eq!(names(&list).len(), 4, "{list}");
    let (a, b) = (one.vcp("a"), other.vcp("a"));

    // Lists and single reads, hot and cold, to and fro.
    let list = b.get(OBJECTS).ok();
    let watch = b.watch(&format!("{OBJECTS}?resourceVersion={}", version(&list)));
    for i in 0..50 {
        let name = format!("c{i}");
        let (to, from) = if i % 2 == 0 { (&a, &b) } else { (&b, &a) };
        let written = to.post(OBJECTS, &object(&name)).ok();
        let list = from.get(OBJECTS).ok();
        assert!(names(&list).contains(&name.as_str()), "{name} is missing in {list}");
        assert!(version(&list) >= version(&written));
        from.get(&format!("{OBJECTS}/{name}")).ok();
        watch.until("ADDED", &name);
        if i % 5 == 0 {
            to.delete(&format!("{OBJECTS}/{name}")).ok();
            from.get(&format!("{OBJECTS}/{name}")).refused(404);
            assert!(!names(&from.get(OBJECTS).ok()).contains(&name.as_str()));
            watch.until("DELETED", &name);
        }
    }

    // A conflict is one wherever it is met.
    let read = b.get(&format!("{OBJECTS}/c1")).ok();
    a.merge(&format!("{OBJECTS}/c1"), &json!({ "data": { "a": "b" } })).ok();
    b.put(&format!("{OBJECTS}/c1"), &read).refused(409);

    // Destroyed at one, gone at the other.
    one.merge(&format!("{RECORDS}/a"), &json!({ "spec": { "deletionPolicy": "Destroy" } })).ok();
    one.delete(&format!("{RECORDS}/a")).ok();
    b.get(OBJECTS).refused(404);
    let answer = b.post(OBJECTS, &object("late"));
    assert_eq!(answer.code, 404, "{}", answer.text);
    eventually("the record is gone", Duration::from_secs(20), || {
        other.get(&format!("{RECORDS}/a")).code == 404
    });
    other.post(RECORDS, &record("a")).ok();
    a.get(&format!("{OBJECTS}/c1")).refused(404);
}

#[test]
fn a_definition_made_at_one_is_served_by_the_other() {
    let one = Server::start(Store::Etcd);
    let other = one.replica();
    one.create_vcp("a");
    let (a, b) = (one.client().vcp("a"), other.client().vcp("a"));
    let things = "/apis/example.com/v1/namespaces/default/things";
    b.get(things).refused(404);
    a.post(
        "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
        &json!({
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": { "name": "things.example.com" },
            "spec": {
                "group": "example.com",
                "scope": "Namespaced",
                "names": { "plural": "things", "singular": "thing", "kind": "Thing", "listKind": "ThingList" },
                "versions": [{
                    "name": "v1", "served": true, "storage": true,
                    "schema": { "openAPIV3Schema": { "type": "object", "x-kubernetes-preserve-unknown-fields": true } },
                }],
            },
        }),
    )
    .ok();
    let definition = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/things.example.com";
    eventually("it is established", Duration::from_secs(10), || {
        let object = a.get(definition).ok();
        let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
        conditions.iter().any(|c| c["type"] == "Established" && c["status"] == "True")
    });
    // At once: no waiting here.
    b.post(things, &json!({ "apiVersion": "example.com/v1", "kind": "Thing", "metadata": { "name": "t" } }))
        .ok();
    assert_eq!(names(&a.get(things).ok()), ["t"]);
    assert!(b.get("/apis/example.com/v1").ok()["resources"][0]["name"] == "things");
    b.delete(definition).ok();
    eventually("it is served no more", Duration::from_secs(10), || a.get(things).code == 404);
    b.get(things).refused(404);
}

#[test]
fn a_replica_that_hears_nothing_of_etcd_waits_and_does_not_answer_from_memory() {
    let one = Server::start(Store::Etcd);
    let endpoint = one.etcd().expect("an etcd").endpoint();
    let port = endpoint.rsplit(':').next().and_then(|port| port.parse().ok()).expect("its port");
    let relay = Relay::to(port);
    let other = one.replica_at(&format!("http://127.0.0.1:{}", relay.port()));
    one.create_vcp("a");
    let (a, b) = (one.client().vcp("a"), other.client().vcp("a"));
    // Hot at the other.
    b.get(OBJECTS).ok();
    let mut waited = 0;
    // Requests go over one connection and the watch over another: each is held back in turn.
    for connection in 0..relay.connections() {
        relay.hold(connection);
        let name = format!("c{connection}");
        a.post(OBJECTS, &object(&name)).ok();
        let reader = b.clone();
        let path = format!("{OBJECTS}/{name}");
        let read = std::thread::spawn(move || (reader.get(OBJECTS), reader.get(&path)));
        let end = std::time::Instant::now() + Duration::from_millis(500);
        while !read.is_finished() && std::time::Instant::now() < end {
            std::thread::sleep(Duration::from_millis(10));
        }
        waited += usize::from(!read.is_finished());
        relay.release(connection);
        let (list, single) = read.join().expect("the reads");
        let list = list.ok();
        assert!(
            names(&list).contains(&name.as_str()),
            "connection {connection}: {name} is missing in {list}"
        );
        single.ok();
    }
    assert!(waited >= 2, "neither requests nor the watch were held back: {waited}");
}
