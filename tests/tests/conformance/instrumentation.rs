//! sig-instrumentation: events.

use crate::common::*;

#[test]
fn events_should_manage_the_lifecycle_of_an_event() {
    let (a, _kubectl, _server) = setup();
    let event = json!({
        "apiVersion": "v1", "kind": "Event", "metadata": { "name": "event" }, "reason": "Test", "type": "Normal",
        "message": "This is a test event", "count": 1,
        "involvedObject": { "namespace": "default", "kind": "Pod", "name": "p" },
    });
    supports_api_operations(&a, "/api/v1/namespaces/default/events", &event, Some("/api/v1/events"));
}

fn new_event(name: &str) -> Value {
    json!({
        "apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": { "name": name },
        "eventTime": "2026-01-01T00:00:00.000000Z", "note": "This is event", "reason": "Test", "action": "Do", "type": "Normal",
        "reportingController": "test-controller", "reportingInstance": "test-node",
        "regarding": { "namespace": "default", "kind": "Pod", "name": "p" },
    })
}

const NEW_EVENTS: &str = "/apis/events.k8s.io/v1/namespaces/default/events";

#[test]
fn events_api_should_ensure_that_an_event_can_be_fetched_patched_deleted_and_listed() {
    let (a, _kubectl, _server) = setup();
    supports_api_operations(&a, NEW_EVENTS, &new_event("event-test"), Some("/apis/events.k8s.io/v1/events"));
    a.post(NEW_EVENTS, &new_event("event-test")).ok();
    let path = format!("{NEW_EVENTS}/event-test");
    let patched = a
        .strategic(
            &path,
            &json!({ "series": { "count": 2, "lastObservedTime": "2026-01-01T00:00:01.000000Z" } }),
        )
        .ok();
    assert_eq!(patched["series"]["count"], 2);
    let updated = update(&a, &path, |object| {
        object["series"] = json!({ "count": 100, "lastObservedTime": "2026-01-01T00:00:02.000000Z" });
    });
    assert_eq!(updated["series"]["count"], 100);
    // The same event by its older name.
    let old = a.get("/api/v1/namespaces/default/events/event-test").ok();
    assert_eq!((&old["message"], &old["series"]["count"]), (&json!("This is event"), &json!(100)));
}

#[test]
fn events_api_should_delete_a_collection_of_events() {
    let (a, _kubectl, _server) = setup();
    for name in ["one", "two", "three"] {
        let mut event = new_event(name);
        event["metadata"]["labels"] = json!({ "testevent-set": "true" });
        a.post(NEW_EVENTS, &event).ok();
    }
    let selected = format!("{NEW_EVENTS}?labelSelector=testevent-set%3Dtrue");
    assert_eq!(names(&a.get(&selected).ok()).len(), 3);
    a.delete(&selected).ok();
    assert_eq!(names(&a.get(&selected).ok()), [""; 0]);
}

#[test]
fn events_should_delete_a_collection_of_events() {
    let (a, _kubectl, _server) = setup();
    let collection = "/api/v1/namespaces/default/events";
    for name in ["one", "two", "three"] {
        a.post(collection, &json!({
            "apiVersion": "v1", "kind": "Event", "metadata": { "name": name, "labels": { "testevent-set": "true" } },
            "message": "m", "reason": "r", "type": "Normal", "involvedObject": { "namespace": "default", "kind": "Pod", "name": "p" },
        }))
        .ok();
    }
    let selected = format!("{collection}?labelSelector=testevent-set%3Dtrue");
    assert_eq!(names(&a.get(&selected).ok()).len(), 3);
    a.delete(&selected).ok();
    assert_eq!(names(&a.get(&selected).ok()), [""; 0]);
}
