//! A store that does not answer: clear errors in bounded time, and all is well when it is back.

use std::time::{Duration, Instant};

use kplane_tests::{Client, Next, Server, Store, eventually, signal};
use serde_json::{Value, json};

const OBJECTS: &str = "/api/v1/namespaces/default/configmaps";
/// No answer may take longer, however long the store is away.
const BOUND: Duration = Duration::from_secs(40);

fn object(name: &str) -> Value {
    json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name } })
}

/// Asks, and expects to be told that the store is away.
fn is_told(client: &Client, method: &str, path: &str, body: &str) {
    let begun = Instant::now();
    let answer = client.send(method, path, &[], body).expect("an answer, not a broken connection");
    let took = begun.elapsed();
    assert!(matches!(answer.code, 503 | 504), "{method} {path}: {} {}", answer.code, answer.text);
    assert_eq!(answer.body["kind"], "Status", "{}", answer.text);
    assert!(took < BOUND, "{method} {path}: {took:?}");
}

#[test]
fn a_stopped_etcd_is_told_and_recovered_from() {
    let server = Server::start(Store::Etcd);
    server.create_vcp("a");
    let a = server.client().vcp("a");
    a.post(OBJECTS, &object("before")).ok();
    let list = a.get(OBJECTS).ok();
    let watch = a.watch(&format!("{OBJECTS}?resourceVersion={}", kplane_tests::version(&list)));
    let pid = server.etcd().and_then(|etcd| etcd.pid()).expect("an etcd");

    signal(pid, "STOP");
    std::thread::scope(|scope| {
        scope.spawn(|| is_told(&a, "POST", OBJECTS, &object("during").to_string()));
        scope.spawn(|| is_told(&a, "GET", &format!("{OBJECTS}/before"), ""));
        scope.spawn(|| is_told(&a, "GET", OBJECTS, ""));
        scope.spawn(|| is_told(&a, "DELETE", &format!("{OBJECTS}/before"), ""));
        scope.spawn(|| is_told(&a, "GET", "/api/v1/namespaces/default/secrets", ""));
    });
    // It says what it lacks.
    let ready = server.client().get("/readyz");
    assert!(ready.code == 500 && ready.text.contains("etcd"), "{}: {}", ready.code, ready.text);
    signal(pid, "CONT");

    eventually("writes work again", Duration::from_secs(40), || {
        a.send("POST", OBJECTS, &[], &object("after").to_string())
            .is_ok_and(|answer| matches!(answer.code, 201 | 409))
    });
    // Nothing is lost: what was written is there, unless the deletion came through in the end.
    a.get(&format!("{OBJECTS}/after")).ok();
    let answer = a.get(&format!("{OBJECTS}/before"));
    assert!(matches!(answer.code, 200 | 404), "{}", answer.text);
    // The watch goes on, or has ended or said that it cannot: then a client lists and watches anew.
    let end = Instant::now() + Duration::from_secs(40);
    loop {
        assert!(Instant::now() < end, "the watch says nothing");
        match watch.within(Duration::from_secs(1)) {
            Next::Event(event) if event["type"] == "ERROR" => break,
            Next::Event(event) if event["object"]["metadata"]["name"] == "after" => break,
            Next::Event(_) | Next::Nothing => {}
            Next::End => break,
        }
    }
    let list = a.get(OBJECTS).ok();
    let watch = a.watch(&format!("{OBJECTS}?resourceVersion={}", kplane_tests::version(&list)));
    a.post(OBJECTS, &object("last")).ok();
    watch.until("ADDED", "last");
}
