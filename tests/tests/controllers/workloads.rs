//! Deployments, ReplicationControllers, StatefulSets, DaemonSets, Jobs and disruption budgets.

use kplane_tests::{Client, eventually};
use serde_json::{Value, json};

use super::{
    CONTROLLERS, DEPLOYMENTS, PODS, REPLICA_SETS, SOON, deployment, has_condition, list, name, play,
    play_ready, replication_controller, setup, template, wait_event, wait_for, wait_gone, wait_until,
};

const JOBS: &str = "/apis/batch/v1/namespaces/default/jobs";
const STATEFUL_SETS: &str = "/apis/apps/v1/namespaces/default/statefulsets";
const DAEMON_SETS: &str = "/apis/apps/v1/namespaces/default/daemonsets";
const BUDGETS: &str = "/apis/policy/v1/namespaces/default/poddisruptionbudgets";
const QUOTAS: &str = "/api/v1/namespaces/default/resourcequotas";

/// Plays all pods that wait until something holds.
fn play_until(a: &Client, what: &str, mut holds: impl FnMut() -> bool) {
    eventually(what, SOON, || {
        for (at, pod) in list(a, PODS).iter().enumerate() {
            if pod["status"]["phase"] == "Pending" && pod["metadata"].get("deletionTimestamp").is_none() {
                let path = format!("{PODS}/{}/status", name(pod));
                let ip = format!("10.9.1.{}", at + 1);
                // It may be gone by now.
                let _ = a.merge(&path, &json!({ "status": { "phase": "Running", "podIP": ip, "podIPs": [{ "ip": ip }],
                    "conditions": [{ "type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z" }] } }));
            }
        }
        holds()
    });
}

fn is_rolled_out(deployment: &Value, replicas: u32) -> bool {
    let of = |field: &str| deployment["status"][field].as_u64().unwrap_or(0);
    deployment["status"]["observedGeneration"] == deployment["metadata"]["generation"]
        && ["replicas", "updatedReplicas", "availableReplicas"].iter().all(|f| of(f) == u64::from(replicas))
}

#[test]
fn a_deployment_rolls_out_rolls_back_and_scales() {
    let (a, server) = setup();
    let kubectl = server.vcp("a");
    let path = format!("{DEPLOYMENTS}/web");
    a.post(DEPLOYMENTS, &deployment("web", 3)).ok();
    play_until(&a, "the first rollout", || is_rolled_out(&a.get(&path).ok(), 3));
    let first = a.get(&path).ok();
    assert_eq!(first["metadata"]["annotations"]["deployment.kubernetes.io/revision"], "1");
    let set = &list(&a, REPLICA_SETS)[0];
    let hash = set["metadata"]["labels"]["pod-template-hash"].as_str().expect("a hash");
    assert_eq!(name(set), format!("web-{hash}"));
    assert!(has_condition(&first, "Available", "True") && has_condition(&first, "Progressing", "True"));

    kubectl.ok(&["set", "image", "deployment/web", "c=registry.k8s.io/pause:3.9"]);
    play_until(&a, "the second rollout", || is_rolled_out(&a.get(&path).ok(), 3));
    assert_eq!(list(&a, REPLICA_SETS).len(), 2);
    kubectl.ok(&["rollout", "status", "deployment/web", "--timeout=30s"]);
    kubectl.ok(&["rollout", "undo", "deployment/web"]);
    play_until(&a, "the way back", || is_rolled_out(&a.get(&path).ok(), 3));
    let back = a.get(&path).ok();
    assert_eq!(back["metadata"]["annotations"]["deployment.kubernetes.io/revision"], "3");
    assert_eq!(back["spec"]["template"]["spec"]["containers"][0]["image"], "registry.k8s.io/pause:3.10");
    assert_eq!(list(&a, REPLICA_SETS).len(), 2, "the first set serves again");

    kubectl.ok(&["scale", "deployment/web", "--replicas=1"]);
    wait_for(&a, PODS, 1);
    wait_event(&a, "web", "ScalingReplicaSet");
    let described = kubectl.ok(&["describe", "deployment", "web"]);
    assert!(described.contains("NewReplicaSet:"), "{described}");
}

#[test]
fn a_deployment_that_recreates_ends_the_old_pods_first() {
    let (a, _server) = setup();
    let mut made = deployment("web", 2);
    made["spec"]["strategy"] = json!({ "type": "Recreate" });
    made["spec"]["revisionHistoryLimit"] = 0.into();
    let path = format!("{DEPLOYMENTS}/web");
    a.post(DEPLOYMENTS, &made).ok();
    play_until(&a, "the first rollout", || is_rolled_out(&a.get(&path).ok(), 2));
    let first: Vec<String> = list(&a, PODS).iter().map(|pod| name(pod).to_owned()).collect();
    a.strategic(
        &path,
        &json!({ "spec": { "template": { "metadata": { "annotations": { "again": "yes" } } } } }),
    )
    .ok();
    play_until(&a, "the second rollout", || is_rolled_out(&a.get(&path).ok(), 2));
    assert!(list(&a, PODS).iter().all(|pod| !first.contains(&name(pod).to_owned())));
    // No old set is to be kept.
    wait_for(&a, REPLICA_SETS, 1);
}

#[test]
fn should_get_and_update_a_replication_controller_scale() {
    let (a, _server) = setup();
    a.post(CONTROLLERS, &replication_controller("rc", 1)).ok();
    wait_for(&a, PODS, 1);
    let path = format!("{CONTROLLERS}/rc/scale");
    let mut scale = wait_until(&a, &path, "the pod is counted", |scale| scale["status"]["replicas"] == 1);
    scale["spec"]["replicas"] = 2.into();
    a.put(&path, &scale).ok();
    wait_for(&a, PODS, 2);
    wait_until(&a, &format!("{CONTROLLERS}/rc"), "both are counted", |rc| rc["status"]["replicas"] == 2);
}

#[test]
fn should_surface_a_failure_condition_on_a_common_issue_like_exceeded_quota() {
    let (a, _server) = setup();
    let quota = json!({ "apiVersion": "v1", "kind": "ResourceQuota", "metadata": { "name": "two" },
        "spec": { "hard": { "pods": "2" } } });
    a.post(QUOTAS, &quota).ok();
    wait_until(&a, &format!("{QUOTAS}/two"), "it counts", |quota| quota["status"]["hard"]["pods"] == "2");
    a.post(CONTROLLERS, &replication_controller("rc", 3)).ok();
    let path = format!("{CONTROLLERS}/rc");
    let failed = wait_until(&a, &path, "the failure shows", |rc| has_condition(rc, "ReplicaFailure", "True"));
    let condition = &failed["status"]["conditions"][0];
    assert_eq!(condition["reason"], "FailedCreate");
    assert!(condition["message"].as_str().is_some_and(|m| m.contains("exceeded quota: two")), "{condition}");
    wait_event(&a, "rc", "FailedCreate");
    a.merge(&path, &json!({ "spec": { "replicas": 2 } })).ok();
    wait_until(&a, &path, "the failure is over", |rc| !has_condition(rc, "ReplicaFailure", "True"));
}

#[test]
fn pods_are_adopted_and_released_by_their_labels() {
    let (a, _server) = setup();
    let pod = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "orphan", "labels": { "name": "rc" } },
        "spec": template("rc")["spec"] });
    a.post(PODS, &pod).ok();
    a.post(CONTROLLERS, &replication_controller("rc", 1)).ok();
    let orphan = format!("{PODS}/orphan");
    wait_until(&a, &orphan, "it is adopted", |pod| pod["metadata"]["ownerReferences"][0]["name"] == "rc");
    assert_eq!(list(&a, PODS).len(), 1);
    a.merge(&orphan, &json!({ "metadata": { "labels": { "name": "other" } } })).ok();
    wait_until(&a, &orphan, "it is released", |pod| {
        pod["metadata"]["ownerReferences"].as_array().is_none_or(Vec::is_empty)
    });
    wait_for(&a, PODS, 2);
}

#[test]
fn a_stateful_set_makes_its_pods_in_order_and_rolls_them_from_the_last() {
    let (a, _server) = setup();
    let set = json!({
        "apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": { "name": "db" },
        "spec": { "serviceName": "db", "replicas": 2, "selector": { "matchLabels": { "name": "db" } },
            "template": template("db"),
            "volumeClaimTemplates": [{ "metadata": { "name": "data" }, "spec": { "accessModes": ["ReadWriteOnce"],
                "resources": { "requests": { "storage": "1Gi" } } } }] },
    });
    a.post(STATEFUL_SETS, &set).ok();
    let path = format!("{STATEFUL_SETS}/db");
    let pods = wait_for(&a, PODS, 1);
    assert_eq!(name(&pods[0]), "db-0");
    assert_eq!(pods[0]["metadata"]["labels"]["apps.kubernetes.io/pod-index"], "0");
    wait_until(&a, "/api/v1/namespaces/default/persistentvolumeclaims/data-db-0", "it is there", |_| true);
    play_ready(&a, "db-0", "10.9.0.1");
    wait_for(&a, PODS, 2);
    play_ready(&a, "db-1", "10.9.0.2");
    let ready = wait_until(&a, &path, "both are ready", |set| set["status"]["readyReplicas"] == 2);
    assert_eq!(ready["status"]["currentRevision"], ready["status"]["updateRevision"]);
    let old = ready["status"]["updateRevision"].clone();
    a.strategic(
        &path,
        &json!({ "spec": { "template": { "metadata": { "annotations": { "again": "yes" } } } } }),
    )
    .ok();
    // The last goes first.
    eventually("the last is of the new revision", SOON, || {
        let pod = a.get(&format!("{PODS}/db-1"));
        pod.code == 200 && pod.ok()["metadata"]["labels"]["controller-revision-hash"] != old
    });
    assert_eq!(a.get(&format!("{PODS}/db-0")).ok()["metadata"]["labels"]["controller-revision-hash"], old);
    play_until(&a, "the rollout", || {
        let set = a.get(&path).ok();
        set["status"]["updatedReplicas"] == 2
            && set["status"]["readyReplicas"] == 2
            && set["status"]["currentRevision"] == set["status"]["updateRevision"]
    });
    a.merge(&path, &json!({ "spec": { "replicas": 1 } })).ok();
    wait_gone(&a, &format!("{PODS}/db-1"));
    assert_eq!(list(&a, PODS).len(), 1);
}

#[test]
fn a_daemon_set_has_a_pod_on_every_node_that_it_fits() {
    let (a, _server) = setup();
    for (node, zone) in [("n1", "a"), ("n2", "b")] {
        let node = json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": node, "labels": { "zone": zone } } });
        a.post("/api/v1/nodes", &node).ok();
    }
    let mut set = json!({
        "apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": { "name": "agent" },
        "spec": { "selector": { "matchLabels": { "name": "agent" } }, "template": template("agent") },
    });
    set["spec"]["template"]["spec"]["tolerations"] = json!([{ "operator": "Exists" }]);
    a.post(DAEMON_SETS, &set).ok();
    wait_for(&a, PODS, 2);
    let path = format!("{DAEMON_SETS}/agent");
    a.strategic(&path, &json!({ "spec": { "template": { "spec": { "nodeSelector": { "zone": "a" } } } } }))
        .ok();
    let only = |pods: &[Value]| pods.len() == 1 && pods[0].to_string().contains("\"n1\"");
    play_until(&a, "one node is left", || only(&list(&a, PODS)));
    wait_until(&a, &path, "it counts one", |set| set["status"]["desiredNumberScheduled"] == 1);
    // A node that joins gets its pod.
    let node = json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": "n3", "labels": { "zone": "a" } } });
    a.post("/api/v1/nodes", &node).ok();
    wait_for(&a, PODS, 2);
}

fn job(name: &str, spec: Value) -> Value {
    let mut job =
        json!({ "apiVersion": "batch/v1", "kind": "Job", "metadata": { "name": name }, "spec": spec });
    job["spec"]["template"] = json!({ "spec": { "restartPolicy": "Never",
        "containers": [{ "name": "c", "image": "registry.k8s.io/pause:3.10" }] } });
    job
}

fn pods_of(a: &Client, job: &str) -> Vec<Value> {
    list(a, &format!("{PODS}?labelSelector=job-name%3D{job}"))
}

#[test]
fn a_job_ends_when_so_many_pods_have_succeeded_or_one_too_many_has_failed() {
    let (a, _server) = setup();
    a.post(JOBS, &job("sums", json!({ "completions": 3, "parallelism": 2, "completionMode": "Indexed" })))
        .ok();
    let path = format!("{JOBS}/sums");
    eventually("two run", SOON, || pods_of(&a, "sums").len() == 2);
    eventually("all three succeeded", SOON, || {
        for pod in pods_of(&a, "sums").iter().filter(|pod| pod["status"]["phase"] == "Pending") {
            play(&a, name(pod), &json!({ "phase": "Succeeded" }));
        }
        has_condition(&a.get(&path).ok(), "Complete", "True")
    });
    let done = a.get(&path).ok();
    assert_eq!(done["status"]["succeeded"], 3);
    assert_eq!(done["status"]["completedIndexes"], "0-2");
    assert!(done["status"]["completionTime"].is_string());
    assert_eq!(done["status"]["uncountedTerminatedPods"], json!({}));
    let pods = pods_of(&a, "sums");
    assert_eq!(pods.len(), 3);
    assert!(pods.iter().all(|pod| pod["metadata"]["finalizers"].as_array().is_none_or(Vec::is_empty)));
    wait_event(&a, "sums", "Completed");

    a.post(JOBS, &job("fails", json!({ "backoffLimit": 0 }))).ok();
    eventually("it runs", SOON, || pods_of(&a, "fails").len() == 1);
    play(&a, name(&pods_of(&a, "fails")[0]), &json!({ "phase": "Failed" }));
    let path = format!("{JOBS}/fails");
    let failed = wait_until(&a, &path, "it failed", |job| has_condition(job, "Failed", "True"));
    assert_eq!(failed["status"]["failed"], 1);
    assert!(failed.to_string().contains("BackoffLimitExceeded"), "{failed}");
}

#[test]
fn a_job_is_suspended_resumed_and_removed_when_its_time_is_over() {
    let (a, _server) = setup();
    let path = format!("{JOBS}/later");
    a.post(JOBS, &job("later", json!({ "suspend": true, "ttlSecondsAfterFinished": 1 }))).ok();
    wait_until(&a, &path, "it is suspended", |job| has_condition(job, "Suspended", "True"));
    assert!(pods_of(&a, "later").is_empty());
    a.merge(&path, &json!({ "spec": { "suspend": false } })).ok();
    eventually("it runs", SOON, || pods_of(&a, "later").len() == 1);
    wait_until(&a, &path, "it is resumed", |job| has_condition(job, "Suspended", "False"));
    play(&a, name(&pods_of(&a, "later")[0]), &json!({ "phase": "Succeeded" }));
    wait_gone(&a, &path);
    eventually("its pods are gone", SOON, || pods_of(&a, "later").is_empty());
}

#[test]
fn should_create_a_pod_disruption_budget_that_counts() {
    let (a, _server) = setup();
    a.post(DEPLOYMENTS, &deployment("web", 3)).ok();
    let budget = json!({ "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": { "name": "web" },
        "spec": { "maxUnavailable": "34%", "selector": { "matchLabels": { "name": "web" } } } });
    a.post(BUDGETS, &budget).ok();
    let path = format!("{BUDGETS}/web");
    wait_until(&a, &path, "it expects three", |budget| budget["status"]["expectedPods"] == 3);
    play_until(&a, "all are well", || a.get(&path).ok()["status"]["currentHealthy"] == 3);
    let counted = wait_until(&a, &path, "some may be disturbed", |b| b["status"]["disruptionsAllowed"] == 2);
    assert!(has_condition(&counted, "DisruptionAllowed", "True"));
    assert_eq!(counted["status"]["desiredHealthy"], 1);
}
