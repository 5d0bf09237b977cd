//! sig-api-machinery: quotas.

use crate::common::*;

const QUOTAS: &str = "/api/v1/namespaces/default/resourcequotas";

fn quota(name: &str, hard: Value) -> Value {
    json!({ "apiVersion": "v1", "kind": "ResourceQuota", "metadata": { "name": name }, "spec": { "hard": hard } })
}

/// What the quota tests demand of everything at once.
fn every_hard() -> Value {
    json!({
        "pods": "5", "services": "10", "services.nodeports": "1", "services.loadbalancers": "1", "replicationcontrollers": "10",
        "resourcequotas": "1", "configmaps": "10", "secrets": "10", "cpu": "1", "memory": "500Mi", "persistentvolumeclaims": "10",
        "requests.storage": "10Gi", "ephemeral-storage": "50Gi", "count/replicasets.apps": "5",
    })
}

/// Makes the quota and waits until it is counted; gives what is in use.
fn counted(a: &Client, name: &str, hard: Value) -> Value {
    a.post(QUOTAS, &quota(name, hard.clone())).ok();
    let fields = hard.as_object().expect("limits").len();
    let path = format!("{QUOTAS}/{name}");
    let shown = shows(a, "the quota is counted", &path, |object| {
        object["status"]["hard"] == hard
            && object["status"]["used"].as_object().is_some_and(|used| used.len() == fields)
    });
    shown["status"]["used"].clone()
}

#[track_caller]
fn uses(a: &Client, name: &str, resource: &str, amount: &str) {
    shows(a, &format!("{amount} {resource} are in use"), &format!("{QUOTAS}/{name}"), |object| {
        object["status"]["used"][resource] == amount
    });
}

fn one_more(amount: &Value) -> String {
    (amount.as_str().and_then(|text| text.parse::<u32>().ok()).expect("a count") + 1).to_string()
}

#[test]
fn resourcequota_should_create_a_resourcequota_and_ensure_its_status_is_promptly_calculated() {
    let (a, _kubectl, _server) = setup();
    let used = counted(&a, "test-quota", every_hard());
    assert_eq!(used["resourcequotas"], "1");
    assert_eq!(used["pods"], "0");
    // Counted in the API server itself: a second one is one too many.
    assert!(a.post(QUOTAS, &quota("second", json!({ "pods": "1" }))).refused(403).contains("exceeded quota"));
}

#[test]
fn resourcequota_should_create_a_resourcequota_and_capture_the_life_of_a_configmap() {
    let (a, _kubectl, _server) = setup();
    let used = counted(&a, "test-quota", every_hard());
    a.post(CONFIG_MAPS, &config_map("test", "a")).ok();
    uses(&a, "test-quota", "configmaps", &one_more(&used["configmaps"]));
    a.delete(&format!("{CONFIG_MAPS}/test")).ok();
    uses(&a, "test-quota", "configmaps", used["configmaps"].as_str().expect("a count"));
}

#[test]
fn resourcequota_should_create_a_resourcequota_and_capture_the_life_of_a_secret() {
    let (a, _kubectl, _server) = setup();
    let used = counted(&a, "test-quota", every_hard());
    let secret = json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "test" }, "stringData": { "a": "b" } });
    a.post("/api/v1/namespaces/default/secrets", &secret).ok();
    uses(&a, "test-quota", "secrets", &one_more(&used["secrets"]));
    a.delete("/api/v1/namespaces/default/secrets/test").ok();
    uses(&a, "test-quota", "secrets", used["secrets"].as_str().expect("a count"));
}

#[test]
fn resourcequota_should_create_a_resourcequota_and_capture_the_life_of_a_service() {
    let (a, _kubectl, _server) = setup();
    let used = counted(&a, "test-quota", every_hard());
    let services = "/api/v1/namespaces/default/services";
    let service = |name: &str, kind: &str| json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "name": name }, "spec": { "type": kind, "ports": [{ "port": 80 }] } });
    a.post(services, &service("cluster-ip", "ClusterIP")).ok();
    a.post(services, &service("node-port", "NodePort")).ok();
    uses(&a, "test-quota", "services.nodeports", "1");
    for kind in ["NodePort", "LoadBalancer"] {
        let refused = a.post(services, &service("one-too-many", kind)).refused(403);
        assert!(refused.contains("exceeded quota"), "{refused}");
    }
    let before: u32 = used["services"].as_str().and_then(|text| text.parse().ok()).expect("a count");
    uses(&a, "test-quota", "services", &(before + 2).to_string());
    uses(&a, "test-quota", "services.nodeports", "1");
    for name in ["cluster-ip", "node-port"] {
        a.delete(&format!("{services}/{name}")).ok();
    }
    uses(&a, "test-quota", "services", &before.to_string());
    uses(&a, "test-quota", "services.nodeports", "0");
}

fn sized(name: &str, cpu: &str, memory: &str) -> Value {
    let mut object = pod(name);
    object["spec"]["containers"][0]["resources"] = json!({
        "requests": { "cpu": cpu, "memory": memory, "ephemeral-storage": "30Gi" },
        "limits": { "cpu": cpu, "memory": memory, "ephemeral-storage": "30Gi" },
    });
    object
}

#[test]
fn resourcequota_should_create_a_resourcequota_and_capture_the_life_of_a_pod() {
    let (a, _kubectl, _server) = setup();
    counted(&a, "test-quota", every_hard());
    a.post(PODS, &sized("test-pod", "500m", "252Mi")).ok();
    for (resource, amount) in
        [("pods", "1"), ("cpu", "500m"), ("memory", "252Mi"), ("ephemeral-storage", "30Gi")]
    {
        uses(&a, "test-quota", resource, amount);
    }
    for refused in [sized("fail-cpu", "600m", "100Mi"), sized("fail-memory", "100m", "300Mi")] {
        assert!(a.post(PODS, &refused).refused(403).contains("exceeded quota"));
    }
    // A pod that does not say what it needs is refused where that is limited.
    let told = a.post(PODS, &pod("fail-unsized")).refused(403);
    assert!(told.contains("must specify"), "{told}");
    a.merge(&format!("{PODS}/test-pod"), &json!({ "metadata": { "labels": { "a": "b" } } })).ok();
    a.delete_with(
        &format!("{PODS}/test-pod"),
        &json!({ "apiVersion": "v1", "kind": "DeleteOptions", "gracePeriodSeconds": 0 }),
    )
    .ok();
    for (resource, amount) in [("pods", "0"), ("cpu", "0"), ("memory", "0")] {
        uses(&a, "test-quota", resource, amount);
    }
}

#[test]
fn resourcequota_should_create_a_resourcequota_and_capture_the_life_of_a_replication_controller() {
    let (a, _kubectl, _server) = setup();
    counted(&a, "test-quota", every_hard());
    let controller = json!({
        "apiVersion": "v1", "kind": "ReplicationController", "metadata": { "name": "test-rc" },
        "spec": { "replicas": 0, "selector": { "a": "b" }, "template": { "metadata": { "labels": { "a": "b" } }, "spec": pod("x")["spec"] } },
    });
    let collection = "/api/v1/namespaces/default/replicationcontrollers";
    a.post(collection, &controller).ok();
    uses(&a, "test-quota", "replicationcontrollers", "1");
    let background =
        json!({ "apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background" });
    a.delete_with(&format!("{collection}/test-rc"), &background).ok();
    uses(&a, "test-quota", "replicationcontrollers", "0");
}

#[test]
fn resourcequota_should_create_a_resourcequota_and_capture_the_life_of_a_replica_set() {
    let (a, _kubectl, _server) = setup();
    counted(&a, "test-quota", every_hard());
    let set = json!({
        "apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": { "name": "test-rs" },
        "spec": { "replicas": 0, "selector": { "matchLabels": { "a": "b" } }, "template": { "metadata": { "labels": { "a": "b" } }, "spec": pod("x")["spec"] } },
    });
    let collection = "/apis/apps/v1/namespaces/default/replicasets";
    a.post(collection, &set).ok();
    uses(&a, "test-quota", "count/replicasets.apps", "1");
    a.delete(&format!("{collection}/test-rs")).ok();
    uses(&a, "test-quota", "count/replicasets.apps", "0");
}

#[test]
fn resourcequota_should_be_able_to_update_and_delete_resourcequota() {
    let (a, _kubectl, _server) = setup();
    a.post(QUOTAS, &quota("test-quota", json!({ "cpu": "1", "memory": "500Mi" }))).ok();
    let path = format!("{QUOTAS}/test-quota");
    assert_eq!(a.get(&path).ok()["spec"]["hard"], json!({ "cpu": "1", "memory": "500Mi" }));
    let changed = update(&a, &path, |object| object["spec"]["hard"] = json!({ "cpu": "2", "memory": "1Gi" }));
    assert_eq!(changed["spec"]["hard"], json!({ "cpu": "2", "memory": "1Gi" }));
    a.delete(&path).ok();
    a.get(&path).refused(404);
}

#[test]
fn resourcequota_should_apply_changes_to_a_resourcequota_status() {
    let (a, _kubectl, _server) = setup();
    let path = format!("{QUOTAS}/e2e-rq-status");
    a.post(QUOTAS, &quota("e2e-rq-status", json!({ "cpu": "500m", "memory": "500Mi" }))).ok();
    shows(&a, "the quota is counted", &path, |object| object["status"]["hard"]["cpu"] == "500m");
    // Whatever a client says of the status, the counting sets it right again.
    let mut status = a.get(&format!("{path}/status")).ok();
    status["status"]["hard"] = json!({ "cpu": "2", "memory": "1Gi" });
    let written = a.put(&format!("{path}/status"), &status);
    assert!(matches!(written.code, 200 | 409), "{}", written.text);
    update(&a, &path, |object| object["spec"]["hard"] = json!({ "cpu": "1", "memory": "1Gi" }));
    shows(&a, "the status follows the spec", &path, |object| {
        object["status"]["hard"] == json!({ "cpu": "1", "memory": "1Gi" })
    });
    let patched = a
        .merge(&format!("{path}/status"), &json!({ "status": { "hard": { "cpu": "1", "memory": "2Gi" } } }))
        .ok();
    assert_eq!(patched["status"]["hard"]["memory"], "2Gi");
    shows(&a, "the status follows the spec", &path, |object| object["status"]["hard"]["memory"] == "1Gi");
}

fn scoped(name: &str, scope: &str, hard: Value) -> Value {
    let mut object = quota(name, hard);
    object["spec"]["scopes"] = json!([scope]);
    object
}

#[test]
fn resourcequota_should_verify_resourcequota_with_terminating_scopes() {
    let (a, _kubectl, _server) = setup();
    for (name, scope) in [("terminating", "Terminating"), ("not-terminating", "NotTerminating")] {
        a.post(QUOTAS, &scoped(name, scope, json!({ "pods": "5", "cpu": "1", "memory": "500Mi" }))).ok();
        uses(&a, name, "pods", "0");
    }
    let now = json!({ "apiVersion": "v1", "kind": "DeleteOptions", "gracePeriodSeconds": 0 });
    a.post(PODS, &sized("long-running", "500m", "200Mi")).ok();
    uses(&a, "not-terminating", "pods", "1");
    uses(&a, "not-terminating", "cpu", "500m");
    uses(&a, "terminating", "pods", "0");
    a.delete_with(&format!("{PODS}/long-running"), &now).ok();
    uses(&a, "not-terminating", "pods", "0");
    let mut short = sized("terminating-pod", "500m", "200Mi");
    short["spec"]["activeDeadlineSeconds"] = 3600.into();
    a.post(PODS, &short).ok();
    uses(&a, "terminating", "pods", "1");
    uses(&a, "not-terminating", "pods", "0");
    a.delete_with(&format!("{PODS}/terminating-pod"), &now).ok();
    uses(&a, "terminating", "pods", "0");
}

#[test]
fn resourcequota_should_verify_resourcequota_with_best_effort_scope() {
    let (a, _kubectl, _server) = setup();
    for (name, scope) in [("besteffort", "BestEffort"), ("not-besteffort", "NotBestEffort")] {
        a.post(QUOTAS, &scoped(name, scope, json!({ "pods": "5" }))).ok();
        uses(&a, name, "pods", "0");
    }
    let now = json!({ "apiVersion": "v1", "kind": "DeleteOptions", "gracePeriodSeconds": 0 });
    a.post(PODS, &pod("besteffort-pod")).ok();
    uses(&a, "besteffort", "pods", "1");
    uses(&a, "not-besteffort", "pods", "0");
    a.delete_with(&format!("{PODS}/besteffort-pod"), &now).ok();
    uses(&a, "besteffort", "pods", "0");
    a.post(PODS, &sized("burstable-pod", "500m", "200Mi")).ok();
    uses(&a, "not-besteffort", "pods", "1");
    uses(&a, "besteffort", "pods", "0");
    a.delete_with(&format!("{PODS}/burstable-pod"), &now).ok();
    uses(&a, "not-besteffort", "pods", "0");
}

#[test]
fn resourcequota_should_manage_the_lifecycle_of_a_resourcequota() {
    let (a, _kubectl, _server) = setup();
    let quota = json!({
        "apiVersion": "v1", "kind": "ResourceQuota", "metadata": { "name": "quota" },
        "spec": { "hard": { "cpu": "1", "memory": "500Mi" } },
    });
    let path = "/api/v1/namespaces/default/resourcequotas";
    supports_api_operations(&a, path, &quota, Some("/api/v1/resourcequotas"));
}

#[test]
fn resourcequota_should_hold_at_every_moment_while_many_write_at_once() {
    let (a, _kubectl, _server) = setup();
    let before = counted(&a, "test-quota", json!({ "configmaps": "8" }));
    let free: usize = 8 - before["configmaps"].as_str().and_then(|text| text.parse().ok()).unwrap_or(8);
    assert!(free >= 2, "{before}");
    let held = || a.get(CONFIG_MAPS).ok()["items"].as_array().map_or(0, Vec::len);
    let busy = std::sync::atomic::AtomicUsize::new(6);
    // Each makes some and takes half of them away again, so that counts and charges come between each other all the time.
    std::thread::scope(|scope| {
        for writer in 0..6 {
            let (a, busy) = (&a, &busy);
            scope.spawn(move || {
                for i in 0..12 {
                    let name = format!("map-{writer}-{i}");
                    let answer = a.post(CONFIG_MAPS, &config_map(&name, "a"));
                    match answer.code {
                        201 if i % 2 == 0 => drop(a.delete(&format!("{CONFIG_MAPS}/{name}")).ok()),
                        201 => {}
                        _ => assert!(answer.text.contains("exceeded quota"), "{}", answer.text),
                    }
                }
                busy.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
            });
        }
        while busy.load(std::sync::atomic::Ordering::SeqCst) > 0 {
            let count = held();
            assert!(count <= 8, "{count} config maps under a quota of 8");
        }
    });
    // What was taken away may be used again, to the last one and no further.
    eventually("all of the quota can be used", SOON, || {
        a.post(CONFIG_MAPS, &config_map(&format!("last-{}", held()), "a")).code == 403 && held() == 8
    });
    uses(&a, "test-quota", "configmaps", "8");
}
