//! Scales, evictions and bindings.

use kplane_tests::eventually;

use crate::*;

const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";
const PODS: &str = "/api/v1/namespaces/default/pods";
const BUDGETS: &str = "/apis/policy/v1/namespaces/default/poddisruptionbudgets";

/// The managers of `spec.replicas`, each with the subresource it came by.
fn owners(object: &Value) -> Vec<(String, String, String)> {
    let entries = object["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
    let text = |entry: &Value, field: &str| entry[field].as_str().unwrap_or_default().to_owned();
    entries
        .iter()
        .filter(|entry| entry["fieldsV1"]["f:spec"].get("f:replicas").is_some())
        .map(|entry| (text(entry, "manager"), text(entry, "operation"), text(entry, "subresource")))
        .collect()
}

#[test]
fn who_scales_owns_the_replicas() {
    let (a, _server) = setup();
    let path = format!("{DEPLOYMENTS}/d");
    let config = |replicas: &str| {
        format!(
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: d}}\nspec:\n  {replicas}\n  paused: true\n  selector: {{matchLabels: {{a: b}}}}\n  template:\n    metadata: {{labels: {{a: b}}}}\n    spec: {{containers: [{{name: c, image: i}}]}}\n"
        )
    };
    let owner = |name: &str, operation: &str, subresource: &str| {
        (name.to_owned(), operation.to_owned(), subresource.to_owned())
    };
    let made = a.apply(&format!("{path}?fieldManager=applier"), &config("replicas: 0")).ok();
    assert_eq!(owners(&made), [owner("applier", "Apply", "")]);
    // A scale takes the field.
    let scale =
        a.merge(&format!("{path}/scale?fieldManager=scaler"), &json!({ "spec": { "replicas": 2 } })).ok();
    assert_eq!((&scale["kind"], &scale["spec"]["replicas"]), (&json!("Scale"), &json!(2)));
    assert_eq!(owners(&a.get(&path).ok()), [owner("scaler", "Update", "scale")]);
    let told = a.apply(&format!("{path}?fieldManager=applier"), &config("replicas: 1")).refused(409);
    assert!(
        told.contains("conflict with \"scaler\" with subresource \"scale\" using apps/v1: .spec.replicas"),
        "{told}"
    );
    a.apply(&format!("{path}?fieldManager=applier"), &config("")).ok();
    assert_eq!(a.get(&path).ok()["spec"]["replicas"], 2);
    // A scale may be applied as well, with the conflicts that belong to it.
    let applied = "apiVersion: autoscaling/v1\nkind: Scale\nmetadata: {name: d}\nspec: {replicas: 3}\n";
    let told = a.apply(&format!("{path}/scale?fieldManager=hpa"), applied).refused(409);
    assert!(told.contains("conflict with \"scaler\""), "{told}");
    let scale = a.apply(&format!("{path}/scale?fieldManager=hpa&force=true"), applied).ok();
    assert_eq!(scale["spec"]["replicas"], 3);
    let object = a.get(&path).ok();
    assert_eq!(
        (&object["spec"]["replicas"], owners(&object)),
        (&json!(3), vec![owner("hpa", "Apply", "scale")])
    );
    a.apply(&format!("{path}/scale"), applied).refused(422);
    // What is wrong is told of the scale.
    let told = a.merge(&format!("{path}/scale"), &json!({ "spec": { "replicas": -1 } })).refused(422);
    assert!(
        told.starts_with("Scale.autoscaling \"d\" is invalid: spec.replicas: Invalid value: -1"),
        "{told}"
    );
    let mut whole = Value::Null;
    // Its controller writes it too: what was read may be old already.
    eventually("the scale is written as it was read", SOON, || {
        whole = a.get(&format!("{path}/scale")).ok();
        whole["spec"]["replicas"] = 0.into();
        a.put(&format!("{path}/scale"), &whole).code == 200
    });
    a.put(&format!("{path}/scale"), &whole).refused(409);
    whole["metadata"]["resourceVersion"] = "".into();
    whole["metadata"]["uid"] = "another".into();
    a.put(&format!("{path}/scale"), &whole).refused(409);
}

#[test]
fn a_status_may_be_applied() {
    let (a, _server) = setup();
    let path = format!("{PODS}/p");
    a.post(PODS, &pod("p")).ok();
    let status = "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nstatus: {message: fine}\n";
    let applied = a.apply(&format!("{path}/status?fieldManager=one"), status).ok();
    assert_eq!(applied["status"]["message"], "fine");
    let entries = applied["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
    let own = entries.iter().find(|entry| entry["manager"] == "one").expect("an entry");
    assert_eq!((&own["operation"], &own["subresource"]), (&json!("Apply"), &json!("status")));
    assert_eq!(own["fieldsV1"], json!({ "f:status": { "f:message": {} } }));
    let other = status.replace("fine", "bad");
    a.apply(&format!("{path}/status?fieldManager=two"), &other).refused(409);
    // What is applied no more is gone.
    let nothing = "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nstatus: {}\n";
    let applied = a.apply(&format!("{path}/status?fieldManager=one"), nothing).ok();
    assert_eq!(applied["status"].get("message"), None);
    // A status is no way to the spec, and makes no object.
    a.apply(&format!("{PODS}/none/status?fieldManager=one"), &status.replace("name: p", "name: none"))
        .refused(404);
}

fn pod(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name, "labels": { "app": "a" } },
        "spec": { "containers": [{ "name": "c", "image": "i" }] },
    })
}

fn running(a: &Client, name: &str, ready: bool) {
    a.post(PODS, &pod(name)).ok();
    let ready = if ready { "True" } else { "False" };
    let status =
        json!({ "status": { "phase": "Running", "conditions": [{ "type": "Ready", "status": ready }] } });
    a.strategic(&format!("{PODS}/{name}/status"), &status).ok();
}

fn evict(a: &Client, name: &str, query: &str) -> kplane_tests::Answer {
    let eviction = json!({
        "apiVersion": "policy/v1", "kind": "Eviction", "metadata": { "name": name, "namespace": "default" },
        "deleteOptions": { "gracePeriodSeconds": 0 },
    });
    a.post(&format!("{PODS}/{name}/eviction{query}"), &eviction)
}

#[test]
fn evictions_count_against_the_budget() {
    let (a, _server) = setup();
    for name in ["one", "two", "three"] {
        running(&a, name, true);
    }
    // The pods belong to no controller, so the budget is what this test says it is.
    let budget = json!({
        "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": { "name": "b" },
        "spec": { "minAvailable": 2, "selector": { "matchLabels": { "app": "a" } } },
    });
    a.post(BUDGETS, &budget).ok();
    let path = format!("{BUDGETS}/b");
    let allow = |allowed: i64| {
        eventually("the budget stands", SOON, || {
            let generation = a.get(&path).ok()["metadata"]["generation"].clone();
            let status = json!({ "status": {
                "observedGeneration": generation, "disruptionsAllowed": allowed, "currentHealthy": 2 + allowed,
                "desiredHealthy": 2, "expectedPods": 3,
            } });
            a.merge(&format!("{path}/status"), &status).ok()["status"]["disruptionsAllowed"] == allowed
        });
    };
    allow(1);
    // A dry run takes nothing.
    assert_eq!(evict(&a, "one", "?dryRun=All").code, 201);
    a.get(&format!("{PODS}/one")).ok();
    allow(1);
    let answer = evict(&a, "one", "");
    assert_eq!(answer.code, 201, "{}", answer.text);
    a.get(&format!("{PODS}/one")).refused(404);
    let left = a.get(&path).ok();
    assert!(
        left["status"]["disruptedPods"].get("one").is_some() || left["status"]["disruptionsAllowed"] == 0,
        "{left}"
    );
    allow(0);
    let answer = evict(&a, "two", "");
    assert_eq!((answer.code, &answer.body["reason"]), (429, &json!("TooManyRequests")), "{}", answer.text);
    let cause = &answer.body["details"]["causes"][0];
    assert_eq!(cause["reason"], "DisruptionBudget");
    assert!(
        cause["message"]
            .as_str()
            .is_some_and(|text| text.starts_with("The disruption budget b needs 2 healthy pods")),
        "{cause}"
    );
    // What does not run is in nobody's way.
    a.post(PODS, &pod("pending")).ok();
    assert_eq!(evict(&a, "pending", "").code, 201);
    // What is not ready goes while enough others are.
    running(&a, "sick", false);
    allow(0);
    assert_eq!(evict(&a, "sick", "").code, 201);
    evict(&a, "gone", "").refused(404);
}

#[test]
fn a_pod_shows_where_its_node_is() {
    let (a, _server) = setup();
    let node = json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": { "name": "n", "labels": { "topology.kubernetes.io/zone": "z", "topology.kubernetes.io/region": "r", "other": "o" } },
    });
    a.post("/api/v1/nodes", &node).ok();
    a.post(PODS, &pod("p")).ok();
    let binding = json!({
        "apiVersion": "v1", "kind": "Binding", "metadata": { "name": "p" }, "target": { "apiVersion": "v1", "kind": "Node", "name": "n" },
    });
    a.post(&format!("{PODS}/p/binding"), &binding).ok();
    let expected =
        json!({ "app": "a", "topology.kubernetes.io/zone": "z", "topology.kubernetes.io/region": "r" });
    let bound = a.get(&format!("{PODS}/p")).ok();
    assert_eq!((&bound["spec"]["nodeName"], &bound["metadata"]["labels"]), (&json!("n"), &expected));
    let mut assigned = pod("q");
    assigned["spec"]["nodeName"] = "n".into();
    assert_eq!(a.post(PODS, &assigned).ok()["metadata"]["labels"], expected);
}
