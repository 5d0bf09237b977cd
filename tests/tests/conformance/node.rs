//! sig-node: what pods are made of, nodes, leases, devices.

use crate::common::*;

#[test]
fn configmap_should_run_through_a_configmap_lifecycle() {
    let (a, _kubectl, _server) = setup();
    supports_api_operations(&a, CONFIG_MAPS, &config_map("test", "a"), Some("/api/v1/configmaps"));
}

#[test]
fn configmap_should_fail_to_create_configmap_with_empty_key() {
    let (a, _kubectl, _server) = setup();
    let mut object = config_map("empty", "a");
    object["data"] = json!({ "": "value" });
    a.post(CONFIG_MAPS, &object).refused(422);
    let secret = json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "empty" }, "data": { "": "dmFsdWU=" } });
    a.post("/api/v1/namespaces/default/secrets", &secret).refused(422);
}

#[test]
fn secrets_should_patch_a_secret() {
    let (a, _kubectl, _server) = setup();
    let secret = json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "test" }, "data": { "key": "dmFsdWU=" } });
    supports_api_operations(&a, "/api/v1/namespaces/default/secrets", &secret, Some("/api/v1/secrets"));
}

#[test]
fn lease_lease_api_should_be_available() {
    let (a, _kubectl, _server) = setup();
    let lease = json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": { "name": "lease" },
        "spec": { "holderIdentity": "holder", "leaseDurationSeconds": 30, "acquireTime": "2026-01-01T00:00:00.000000Z", "leaseTransitions": 0 },
    });
    let path = "/apis/coordination.k8s.io/v1/namespaces/default/leases";
    supports_api_operations(&a, path, &lease, Some("/apis/coordination.k8s.io/v1/leases"));
}

#[test]
fn node_lifecycle_should_run_through_the_lifecycle_of_a_node() {
    let (a, _kubectl, _server) = setup();
    let node = json!({
        "apiVersion": "v1", "kind": "Node", "metadata": { "name": "e2e-fake-node" }, "spec": { "unschedulable": false },
        "status": { "phase": "Running", "conditions": [{ "type": "Ready", "status": "True", "reason": "KubeletReady" }] },
    });
    supports_api_operations(&a, "/api/v1/nodes", &node, None);
    a.post("/api/v1/nodes", &node).ok();
    let path = "/api/v1/nodes/e2e-fake-node";
    let patched = a
        .strategic(
            &format!("{path}/status"),
            &json!({ "status": { "capacity": { "example.com/dongle": "4" } } }),
        )
        .ok();
    assert_eq!(patched["status"]["capacity"]["example.com/dongle"], "4");
    update(&a, &format!("{path}/status"), |object| object["status"]["allocatable"] = json!({ "pods": "3" }));
    assert_eq!(a.get(&format!("{path}/status")).ok()["status"]["allocatable"]["pods"], "3");
    a.delete(path).ok();
    a.get(path).refused(404);
}

const TEMPLATES: &str = "/api/v1/namespaces/default/podtemplates";

fn template(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "PodTemplate", "metadata": { "name": name, "labels": { "podtemplate-set": "true" } },
        "template": { "spec": { "containers": [{ "name": "nginx", "image": "nginx" }] } },
    })
}

#[test]
fn podtemplates_should_run_the_lifecycle_of_podtemplates() {
    let (a, _kubectl, _server) = setup();
    supports_api_operations(&a, TEMPLATES, &template("nginx-pod-template"), Some("/api/v1/podtemplates"));
}

#[test]
fn podtemplates_should_delete_a_collection_of_pod_templates() {
    let (a, _kubectl, _server) = setup();
    for name in ["test-podtemplate-1", "test-podtemplate-2", "test-podtemplate-3"] {
        a.post(TEMPLATES, &template(name)).ok();
    }
    let selected = format!("{TEMPLATES}?labelSelector=podtemplate-set%3Dtrue");
    assert_eq!(names(&a.get(&selected).ok()).len(), 3);
    a.delete(&selected).ok();
    assert_eq!(names(&a.get(&selected).ok()), [""; 0]);
}

#[test]
fn podtemplates_should_replace_a_pod_template() {
    let (a, _kubectl, _server) = setup();
    a.post(TEMPLATES, &template("pt")).ok();
    let replaced = update(&a, &format!("{TEMPLATES}/pt"), |object| {
        object["metadata"]["annotations"] = json!({ "updated": "true" });
        object["template"]["spec"]["containers"][0]["image"] = "nginx:2".into();
    });
    assert_eq!(replaced["metadata"]["annotations"]["updated"], "true");
    assert_eq!(replaced["template"]["spec"]["containers"][0]["image"], "nginx:2");
}

#[test]
fn pods_extended_pods_set_qos_class_should_be_set_on_pods_with_matching_resource_requests_and_limits_for_memory_and_cpu()
 {
    let (a, _kubectl, _server) = setup();
    let sizes = json!({ "cpu": "100m", "memory": "100Mi" });
    let mut guaranteed = pod("guaranteed");
    guaranteed["spec"]["containers"][0]["resources"] = json!({ "requests": sizes, "limits": sizes });
    assert_eq!(a.post(PODS, &guaranteed).ok()["status"]["qosClass"], "Guaranteed");
    let mut burstable = pod("burstable");
    burstable["spec"]["containers"][0]["resources"] = json!({ "requests": sizes });
    assert_eq!(a.post(PODS, &burstable).ok()["status"]["qosClass"], "Burstable");
    assert_eq!(a.post(PODS, &pod("besteffort")).ok()["status"]["qosClass"], "BestEffort");
    assert_eq!(a.get(&format!("{PODS}/guaranteed")).ok()["status"]["qosClass"], "Guaranteed");
}

const CLASSES: &str = "/apis/node.k8s.io/v1/runtimeclasses";

fn with_class(name: &str) -> Value {
    let mut object = pod(&format!("test-runtimeclass-{name}"));
    object["spec"]["runtimeClassName"] = name.into();
    object
}

#[test]
fn runtimeclass_should_reject_a_pod_requesting_a_non_existent_runtimeclass() {
    let (a, _kubectl, _server) = setup();
    let told = a.post(PODS, &with_class("nonexistent")).refused(403);
    assert!(told.contains("RuntimeClass \"nonexistent\" not found"), "{told}");
}

#[test]
fn runtimeclass_should_reject_a_pod_requesting_a_deleted_runtimeclass() {
    let (a, _kubectl, _server) = setup();
    let class = json!({ "apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": { "name": "delete-me" }, "handler": "runc" });
    a.post(CLASSES, &class).ok();
    a.post(PODS, &with_class("delete-me")).ok();
    a.delete(&format!("{CLASSES}/delete-me")).ok();
    let mut second = with_class("delete-me");
    second["metadata"]["name"] = "late".into();
    let told = a.post(PODS, &second).refused(403);
    assert!(told.contains("not found"), "{told}");
}

#[test]
fn runtimeclass_should_support_runtimeclasses_api_operations() {
    let (a, _kubectl, _server) = setup();
    let class = json!({ "apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": { "name": "e2e-class" }, "handler": "handler-0" });
    supports_api_operations(&a, CLASSES, &class, None);
}

#[test]
fn secrets_should_fail_to_create_secret_due_to_empty_secret_key() {
    let (a, _kubectl, _server) = setup();
    let secret = json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "empty" }, "data": { "": "dmFsdWUtMQ0K" } });
    a.post("/api/v1/namespaces/default/secrets", &secret).refused(422);
}

#[test]
fn sysctls_should_reject_invalid_sysctls() {
    let (a, _kubectl, _server) = setup();
    let mut object = pod("sysctl");
    object["spec"]["securityContext"]["sysctls"] = json!([
        { "name": "foo-", "value": "bar" }, { "name": "kernel.shmmax", "value": "100000000" },
        { "name": "safe-and-unsafe", "value": "100000000" }, { "name": "bar..", "value": "42" },
    ]);
    let told = a.post(PODS, &object).refused(422);
    for (bad, index) in [("foo-", 0), ("bar..", 3)] {
        assert!(
            told.contains(&format!("spec.securityContext.sysctls[{index}].name: Invalid value: \"{bad}\"")),
            "{told}"
        );
    }
    assert!(!told.contains("kernel.shmmax") && !told.contains("safe-and-unsafe"), "{told}");
}

const DEVICES: &str = "/apis/resource.k8s.io/v1";

#[test]
fn crud_tests_resource_k8s_io_v1_deviceclass() {
    let (a, _kubectl, _server) = setup();
    let class = json!({ "apiVersion": "resource.k8s.io/v1", "kind": "DeviceClass", "metadata": { "name": "e2e-class" }, "spec": {} });
    supports_api_operations(&a, &format!("{DEVICES}/deviceclasses"), &class, None);
}

fn claim_spec() -> Value {
    json!({ "devices": { "requests": [{ "name": "req-0", "exactly": { "deviceClassName": "example.com" } }] } })
}

#[test]
fn crud_tests_resource_k8s_io_v1_resourceclaim() {
    let (a, _kubectl, _server) = setup();
    let claim = json!({ "apiVersion": "resource.k8s.io/v1", "kind": "ResourceClaim", "metadata": { "name": "e2e-claim" }, "spec": claim_spec() });
    let collection = format!("{DEVICES}/namespaces/default/resourceclaims");
    supports_api_operations(&a, &collection, &claim, Some(&format!("{DEVICES}/resourceclaims")));
    a.post(&collection, &claim).ok();
    let path = format!("{collection}/e2e-claim");
    let allocation = json!({ "allocation": { "devices": { "results": [
        { "request": "req-0", "driver": "driver.example.com", "pool": "pool", "device": "dev-0" },
    ] } } });
    let patched = a.merge(&format!("{path}/status"), &json!({ "status": allocation })).ok();
    assert_eq!(patched["status"]["allocation"]["devices"]["results"][0]["device"], "dev-0");
    assert_eq!(a.get(&format!("{path}/status")).ok()["status"], patched["status"]);
}

#[test]
fn crud_tests_resource_k8s_io_v1_resourceclaimtemplate() {
    let (a, _kubectl, _server) = setup();
    let template = json!({
        "apiVersion": "resource.k8s.io/v1", "kind": "ResourceClaimTemplate", "metadata": { "name": "e2e-template" },
        "spec": { "spec": claim_spec() },
    });
    let collection = format!("{DEVICES}/namespaces/default/resourceclaimtemplates");
    supports_api_operations(&a, &collection, &template, Some(&format!("{DEVICES}/resourceclaimtemplates")));
}

#[test]
fn crud_tests_resource_k8s_io_v1_resourceslice() {
    let (a, _kubectl, _server) = setup();
    let slice = json!({
        "apiVersion": "resource.k8s.io/v1", "kind": "ResourceSlice", "metadata": { "name": "e2e-slice" },
        "spec": {
            "driver": "driver.example.com", "nodeName": "worker", "devices": [{ "name": "dev-0" }],
            "pool": { "name": "worker", "generation": 1, "resourceSliceCount": 1 },
        },
    });
    supports_api_operations(&a, &format!("{DEVICES}/resourceslices"), &slice, None);
}
