//! Endpoints and EndpointSlices.

use kplane_tests::{Client, eventually};
use serde_json::{Value, json};

use super::{
    DEPLOYMENTS, PODS, SOON, deployment, list, name, play_ready, setup, wait_for, wait_gone, wait_until,
};

const SERVICES: &str = "/api/v1/namespaces/default/services";
const ENDPOINTS: &str = "/api/v1/namespaces/default/endpoints";
const SLICES: &str = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";
const CIDRS: &str = "/apis/networking.k8s.io/v1/servicecidrs";

fn service(name: &str, selector: Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": { "name": name },
        "spec": { "selector": selector, "ports": [{ "name": "http", "port": 80, "protocol": "TCP" }] },
    })
}

fn slices(a: &Client, service: &str) -> Vec<Value> {
    list(a, &format!("{SLICES}?labelSelector=kubernetes.io%2Fservice-name%3D{service}"))
}

fn addresses(slices: &[Value]) -> Vec<String> {
    let endpoints =
        slices.iter().flat_map(|slice| slice["endpoints"].as_array().cloned().unwrap_or_default());
    let mut found: Vec<String> =
        endpoints.map(|e| e["addresses"][0].as_str().unwrap_or_default().to_owned()).collect();
    found.sort();
    found
}

#[test]
fn should_create_and_delete_endpoint_slices_for_a_service_with_a_selector_that_matches_no_pods() {
    let (a, _server) = setup();
    a.post(SERVICES, &service("empty", json!({ "does-not-match-anything": "x" }))).ok();
    wait_until(&a, &format!("{ENDPOINTS}/empty"), "it has no subsets", |e| e.get("subsets").is_none());
    eventually("there is one slice", SOON, || slices(&a, "empty").len() == 1);
    let slice = &slices(&a, "empty")[0];
    assert!(slice["endpoints"].as_array().is_none_or(Vec::is_empty), "{slice}");
    assert_eq!(slice["metadata"]["ownerReferences"][0]["kind"], "Service");
    a.delete(&format!("{SERVICES}/empty")).ok();
    wait_gone(&a, &format!("{ENDPOINTS}/empty"));
    eventually("the slice is gone", SOON, || slices(&a, "empty").is_empty());
}

#[test]
fn should_mirror_a_custom_endpoints_resource_through_create_update_and_delete() {
    let (a, _server) = setup();
    a.post(SERVICES, &service("custom", Value::Null)).ok();
    let endpoints = |ip: &str| {
        json!({
            "apiVersion": "v1", "kind": "Endpoints", "metadata": { "name": "custom" },
            "subsets": [{ "addresses": [{ "ip": ip }], "ports": [{ "name": "http", "port": 80, "protocol": "TCP" }] }],
        })
    };
    a.post(ENDPOINTS, &endpoints("10.1.2.3")).ok();
    eventually("it is mirrored", SOON, || addresses(&slices(&a, "custom")) == ["10.1.2.3"]);
    let slice = &slices(&a, "custom")[0];
    let by = &slice["metadata"]["labels"]["endpointslice.kubernetes.io/managed-by"];
    assert_eq!(by, "endpointslicemirroring-controller.k8s.io");
    assert_eq!(slice["metadata"]["ownerReferences"][0]["kind"], "Endpoints");
    a.put(&format!("{ENDPOINTS}/custom"), &endpoints("10.2.3.4")).ok();
    eventually("the change is mirrored", SOON, || addresses(&slices(&a, "custom")) == ["10.2.3.4"]);
    a.delete(&format!("{ENDPOINTS}/custom")).ok();
    eventually("the mirror is gone", SOON, || slices(&a, "custom").is_empty());
}

#[test]
fn services_lead_to_the_pods_that_are_ready() {
    let (a, _server) = setup();
    a.post(DEPLOYMENTS, &deployment("web", 2)).ok();
    a.post(SERVICES, &service("web", json!({ "name": "web" }))).ok();
    let pods = wait_for(&a, PODS, 2);
    for (pod, ip) in pods.iter().zip(["10.9.0.1", "10.9.0.2"]) {
        play_ready(&a, name(pod), ip);
    }
    eventually("both are there", SOON, || addresses(&slices(&a, "web")) == ["10.9.0.1", "10.9.0.2"]);
    wait_until(&a, &format!("{ENDPOINTS}/web"), "it has both", |e| {
        e["subsets"][0]["addresses"].as_array().is_some_and(|all| all.len() == 2)
    });
    let slice = &slices(&a, "web")[0];
    assert_eq!(
        slice["endpoints"][0]["conditions"],
        json!({ "ready": true, "serving": true, "terminating": false })
    );
    assert_eq!(slice["ports"], json!([{ "name": "http", "port": 80, "protocol": "TCP" }]));
    // One that is relabelled is no longer led to.
    let relabelled = json!({ "metadata": { "labels": { "name": "other" } } });
    a.merge(&format!("{PODS}/{}", name(&pods[0])), &relabelled).ok();
    eventually("one is left", SOON, || addresses(&slices(&a, "web")) == ["10.9.0.2"]);
}

#[test]
fn ranges_of_service_addresses_are_ready_and_wait_for_their_addresses() {
    let (a, _server) = setup();
    let cidr = json!({ "apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR",
        "metadata": { "name": "extra" }, "spec": { "cidrs": ["10.200.0.0/24"] } });
    a.post(CIDRS, &cidr).ok();
    let ready = wait_until(&a, &format!("{CIDRS}/extra"), "it is ready", |c| {
        super::has_condition(c, "Ready", "True")
    });
    assert_eq!(ready["metadata"]["finalizers"], json!(["networking.k8s.io/service-cidr-finalizer"]));
    let address = json!({ "apiVersion": "networking.k8s.io/v1", "kind": "IPAddress",
        "metadata": { "name": "10.200.0.7", "labels": { "ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io" } },
        "spec": { "parentRef": { "resource": "services", "namespace": "default", "name": "x" } } });
    a.post("/apis/networking.k8s.io/v1/ipaddresses", &address).ok();
    a.delete(&format!("{CIDRS}/extra")).ok();
    wait_until(&a, &format!("{CIDRS}/extra"), "it is held", |c| super::has_condition(c, "Ready", "False"));
    a.delete("/apis/networking.k8s.io/v1/ipaddresses/10.200.0.7").ok();
    wait_gone(&a, &format!("{CIDRS}/extra"));
}
