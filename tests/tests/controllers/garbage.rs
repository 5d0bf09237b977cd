//! The garbage collector.

use kplane_tests::eventually;
use serde_json::{Value, json};

use super::{
    CONTROLLERS, DEPLOYMENTS, PODS, REPLICA_SETS, SOON, deployment, list, name, policy,
    replication_controller, setup, wait_for, wait_gone, wait_until,
};

#[test]
fn should_delete_pods_created_by_rc_when_not_orphaning() {
    let (a, _server) = setup();
    a.post(CONTROLLERS, &replication_controller("rc", 3)).ok();
    wait_for(&a, PODS, 3);
    a.delete_with(&format!("{CONTROLLERS}/rc"), &policy("Background")).ok();
    wait_gone(&a, &format!("{CONTROLLERS}/rc"));
    wait_for(&a, PODS, 0);
}

#[test]
fn should_orphan_pods_created_by_rc_if_delete_options_say_so() {
    let (a, _server) = setup();
    a.post(CONTROLLERS, &replication_controller("rc", 3)).ok();
    wait_for(&a, PODS, 3);
    wait_until(&a, &format!("{CONTROLLERS}/rc"), "its pods are counted", |rc| rc["status"]["replicas"] == 3);
    a.delete_with(&format!("{CONTROLLERS}/rc"), &policy("Orphan")).ok();
    wait_gone(&a, &format!("{CONTROLLERS}/rc"));
    let pods = wait_for(&a, PODS, 3);
    assert!(pods.iter().all(|pod| pod["metadata"]["ownerReferences"].as_array().is_none_or(Vec::is_empty)));
    // Another of the same selector takes them over.
    a.post(CONTROLLERS, &replication_controller("rc", 3)).ok();
    eventually("the pods are adopted", SOON, || {
        list(&a, PODS).iter().all(|pod| pod["metadata"]["ownerReferences"][0]["name"] == "rc")
    });
    assert_eq!(list(&a, PODS).len(), 3);
}

#[test]
fn should_delete_rs_created_by_deployment_when_not_orphaning() {
    let (a, _server) = setup();
    a.post(DEPLOYMENTS, &deployment("web", 2)).ok();
    wait_for(&a, REPLICA_SETS, 1);
    wait_for(&a, PODS, 2);
    a.delete_with(&format!("{DEPLOYMENTS}/web"), &policy("Background")).ok();
    wait_for(&a, REPLICA_SETS, 0);
    wait_for(&a, PODS, 0);
}

#[test]
fn should_orphan_rs_created_by_deployment_when_propagation_policy_is_orphan() {
    let (a, _server) = setup();
    a.post(DEPLOYMENTS, &deployment("web", 2)).ok();
    wait_for(&a, REPLICA_SETS, 1);
    wait_for(&a, PODS, 2);
    a.delete_with(&format!("{DEPLOYMENTS}/web"), &policy("Orphan")).ok();
    wait_gone(&a, &format!("{DEPLOYMENTS}/web"));
    let sets = list(&a, REPLICA_SETS);
    assert_eq!(sets.len(), 1);
    assert!(sets[0]["metadata"]["ownerReferences"].as_array().is_none_or(Vec::is_empty), "{}", sets[0]);
    assert_eq!(list(&a, PODS).len(), 2);
}

#[test]
fn should_keep_the_rc_around_until_all_its_pods_are_deleted_if_the_delete_options_says_so() {
    let (a, _server) = setup();
    a.post(CONTROLLERS, &replication_controller("rc", 2)).ok();
    let pods = wait_for(&a, PODS, 2);
    // One of them takes its time.
    let held = format!("{PODS}/{}", name(&pods[0]));
    a.merge(&held, &json!({ "metadata": { "finalizers": ["test.kplane.dev/held"] } })).ok();
    a.delete_with(&format!("{CONTROLLERS}/rc"), &policy("Foreground")).ok();
    wait_for(&a, PODS, 1);
    let rc = a.get(&format!("{CONTROLLERS}/rc")).ok();
    assert_eq!(rc["metadata"]["finalizers"], json!(["foregroundDeletion"]));
    a.merge(&held, &json!({ "metadata": { "finalizers": [] } })).ok();
    wait_gone(&a, &format!("{CONTROLLERS}/rc"));
    wait_for(&a, PODS, 0);
}

fn reference(kind: &str, owner: &Value) -> Value {
    let api_version = "v1";
    json!({ "apiVersion": api_version, "kind": kind, "name": name(owner), "uid": owner["metadata"]["uid"] })
}

#[test]
fn should_not_delete_dependents_that_have_both_valid_owner_and_owner_thats_waiting_for_dependents_to_be_deleted()
 {
    let (a, _server) = setup();
    a.post(CONTROLLERS, &replication_controller("going", 4)).ok();
    let staying = a.post(CONTROLLERS, &replication_controller("staying", 0)).ok();
    let pods = wait_for(&a, PODS, 4);
    for pod in &pods[..2] {
        let mut owners = pod["metadata"]["ownerReferences"].as_array().cloned().unwrap();
        owners.push(reference("ReplicationController", &staying));
        let path = format!("{PODS}/{}", name(pod));
        a.merge(&path, &json!({ "metadata": { "ownerReferences": owners } })).ok();
    }
    a.delete_with(&format!("{CONTROLLERS}/going"), &policy("Foreground")).ok();
    wait_gone(&a, &format!("{CONTROLLERS}/going"));
    let left = wait_for(&a, PODS, 2);
    for pod in left {
        assert!(pod["metadata"].get("deletionTimestamp").is_none());
        let owners = pod["metadata"]["ownerReferences"].as_array().cloned().unwrap();
        assert_eq!(owners.len(), 1, "{owners:?}");
        assert_eq!(owners[0]["name"], "staying");
    }
}

#[test]
fn should_not_be_blocked_by_dependency_circle() {
    let (a, _server) = setup();
    let pod = |name: &str| {
        json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name },
            "spec": super::template(name)["spec"] })
    };
    let made: Vec<Value> = ["one", "two", "three"].iter().map(|name| a.post(PODS, &pod(name)).ok()).collect();
    for (at, owner) in [(0, 2), (1, 0), (2, 1)] {
        let mut owner = reference("Pod", &made[owner]);
        owner["controller"] = true.into();
        owner["blockOwnerDeletion"] = true.into();
        let patch = json!({ "metadata": { "ownerReferences": [owner] } });
        a.merge(&format!("{PODS}/{}", name(&made[at])), &patch).ok();
    }
    a.delete_with(&format!("{PODS}/one"), &policy("Foreground")).ok();
    wait_for(&a, PODS, 0);
}
