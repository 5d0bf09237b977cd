//! sig-network: services, endpoints, ingresses, addresses.

use crate::common::*;

#[test]
fn endpoints_should_test_the_lifecycle_of_an_endpoint() {
    let (a, _kubectl, _server) = setup();
    let endpoints = json!({
        "apiVersion": "v1", "kind": "Endpoints", "metadata": { "name": "testservice" },
        "subsets": [{ "addresses": [{ "ip": "10.0.0.24" }], "ports": [{ "name": "http", "port": 80 }] }],
    });
    supports_api_operations(
        &a,
        "/api/v1/namespaces/default/endpoints",
        &endpoints,
        Some("/api/v1/endpoints"),
    );
}

#[test]
fn ingress_api_should_support_creating_ingress_api_operations() {
    let (a, _kubectl, _server) = setup();
    let ingress = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": { "name": "ingress" },
        "spec": { "defaultBackend": { "service": { "name": "s", "port": { "number": 80 } } } },
    });
    let path = "/apis/networking.k8s.io/v1/namespaces/default/ingresses";
    supports_api_operations(&a, path, &ingress, Some("/apis/networking.k8s.io/v1/ingresses"));
    a.post(path, &ingress).ok();
    let status = json!({ "status": { "loadBalancer": { "ingress": [{ "ip": "169.1.1.1" }] } } });
    a.merge(&format!("{path}/ingress/status"), &status).ok();
    assert_eq!(a.get(&format!("{path}/ingress")).ok()["status"], status["status"]);
}

#[test]
fn api_server_should_have_endpoints_and_endpointslices_pointing_to_api_server() {
    let (a, _kubectl, server) = setup();
    let endpoints = a.get("/api/v1/namespaces/default/endpoints/kubernetes").ok();
    assert_eq!(endpoints["subsets"].as_array().map(Vec::len), Some(1));
    assert_eq!(endpoints["subsets"][0]["ports"][0]["port"], server.port());
    let slices = a
        .get("/apis/discovery.k8s.io/v1/namespaces/default/endpointslices?labelSelector=kubernetes.io%2Fservice-name%3Dkubernetes")
        .ok();
    let slices = slices["items"].as_array().expect("slices");
    assert_eq!(slices.len(), 1);
    assert_eq!(slices[0]["ports"][0]["port"], endpoints["subsets"][0]["ports"][0]["port"]);
    assert_eq!(slices[0]["endpoints"][0]["addresses"][0], endpoints["subsets"][0]["addresses"][0]["ip"]);
}

#[test]
fn api_server_should_provide_secure_master_service() {
    let (a, _kubectl, _server) = setup();
    let service = a.get("/api/v1/namespaces/default/services/kubernetes").ok();
    assert_eq!(service["spec"]["ports"][0]["port"], 443);
}

#[test]
fn endpointslice_should_support_creating_endpointslice_api_operations() {
    let (a, _kubectl, _server) = setup();
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": { "name": "e2e-example-ing" },
        "addressType": "IPv4", "endpoints": [{ "addresses": ["1.2.3.4", "5.6.7.8"] }], "ports": [{ "name": "http", "port": 80 }],
    });
    let collection = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";
    supports_api_operations(&a, collection, &slice, Some("/apis/discovery.k8s.io/v1/endpointslices"));
}

#[test]
fn ingressclass_api_should_support_creating_ingressclass_api_operations() {
    let (a, _kubectl, _server) = setup();
    let class = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "IngressClass", "metadata": { "name": "e2e-class" },
        "spec": { "controller": "example.com/controller" },
    });
    supports_api_operations(&a, "/apis/networking.k8s.io/v1/ingressclasses", &class, None);
}

#[test]
fn servicecidr_and_ipaddress_api_should_support_ipaddress_api_operations() {
    let (a, _kubectl, _server) = setup();
    let collection = "/apis/networking.k8s.io/v1/ipaddresses";
    discovered(&a, collection);
    let address = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "IPAddress",
        "metadata": { "name": "192.168.1.5", "labels": { "ipaddress.kubernetes.io/ip-family": "IPv4", "e2e": "true" } },
        "spec": { "parentRef": { "group": "", "resource": "services", "namespace": "default", "name": "test-service" } },
    });
    let path = format!("{collection}/192.168.1.5");
    let selected = format!("{collection}?labelSelector=e2e%3Dtrue");
    let made = a.post(collection, &address).ok();
    let watch = a.watch(&format!("{selected}&resourceVersion={}", version(&made)));
    assert_eq!(names(&a.get(&selected).ok()), ["192.168.1.5"]);
    let patched = a.merge(&path, &json!({ "metadata": { "annotations": { "patched": "true" } } })).ok();
    assert_eq!(patched["metadata"]["annotations"]["patched"], "true");
    watch.until("MODIFIED", "192.168.1.5");
    update(&a, &path, |object| object["metadata"]["annotations"]["updated"] = "true".into());
    // What it is for does not change.
    a.merge(&path, &json!({ "spec": { "parentRef": { "name": "other" } } })).refused(422);
    a.delete(&path).ok();
    watch.until("DELETED", "192.168.1.5");
    a.post(collection, &address).ok();
    a.delete(&selected).ok();
    assert_eq!(names(&a.get(&selected).ok()), [""; 0]);
    let bad = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "IPAddress", "metadata": { "name": "192.168.01.5" },
        "spec": { "parentRef": { "resource": "services", "namespace": "default", "name": "s" } },
    });
    a.post(collection, &bad).refused(422);
}

#[test]
fn servicecidr_and_ipaddress_api_should_support_servicecidr_api_operations() {
    let (a, _kubectl, _server) = setup();
    let collection = "/apis/networking.k8s.io/v1/servicecidrs";
    discovered(&a, collection);
    let range = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR", "metadata": { "name": "e2e", "labels": { "e2e": "true" } },
        "spec": { "cidrs": ["10.196.196.0/24"] },
    });
    let path = format!("{collection}/e2e");
    let selected = format!("{collection}?labelSelector=e2e%3Dtrue");
    let made = a.post(collection, &range).ok();
    let watch = a.watch(&format!("{selected}&resourceVersion={}", version(&made)));
    assert_eq!(names(&a.get(&selected).ok()), ["e2e"]);
    let patched = a.merge(&path, &json!({ "metadata": { "annotations": { "patched": "true" } } })).ok();
    assert_eq!(patched["metadata"]["annotations"]["patched"], "true");
    watch.until("MODIFIED", "e2e");
    update(&a, &path, |object| object["metadata"]["annotations"]["updated"] = "true".into());
    let status = json!({ "conditions": [
        { "type": "E2E", "status": "True", "reason": "R", "message": "m", "lastTransitionTime": "2026-01-01T00:00:00Z" },
    ] });
    a.strategic(&format!("{path}/status"), &json!({ "status": status })).ok();
    assert!(a.get(&format!("{path}/status")).ok()["status"]["conditions"].to_string().contains("E2E"));
    a.delete(&path).ok();
    eventually("it is gone", SOON, || a.get(&path).code == 404);
    a.post(collection, &range).ok();
    a.delete(&selected).ok();
    eventually("all are gone", SOON, || names(&a.get(&selected).ok()).is_empty());
}

const SERVICES: &str = "/api/v1/namespaces/default/services";

fn service(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": { "name": name, "labels": { "test-service-static": "true" } },
        "spec": { "type": "LoadBalancer", "ports": [{ "name": "http", "port": 80, "protocol": "TCP" }] },
    })
}

#[test]
fn services_should_complete_a_service_status_lifecycle() {
    let (a, _kubectl, _server) = setup();
    let path = format!("{SERVICES}/test-service");
    let made = a.post(SERVICES, &service("test-service")).ok();
    let watch = a.watch(&format!(
        "{SERVICES}?labelSelector=test-service-static%3Dtrue&resourceVersion={}",
        version(&made)
    ));
    let status = json!({ "loadBalancer": { "ingress": [{ "ip": "203.0.113.1" }] } });
    let patched = a
        .merge(
            &format!("{path}/status"),
            &json!({ "metadata": { "annotations": { "patchedstatus": "true" } }, "status": status }),
        )
        .ok();
    assert_eq!(patched["status"]["loadBalancer"]["ingress"][0]["ip"], "203.0.113.1");
    assert_eq!(watch.until("MODIFIED", "test-service")["metadata"]["annotations"]["patchedstatus"], "true");
    update(&a, &format!("{path}/status"), |object| {
        object["status"]["conditions"] = json!([{
            "type": "StatusUpdate", "status": "True", "reason": "E2E", "message": "m", "lastTransitionTime": "2026-01-01T00:00:00Z",
        }]);
    });
    assert_eq!(watch.until("MODIFIED", "test-service")["status"]["conditions"][0]["type"], "StatusUpdate");
    let patched =
        a.strategic(&path, &json!({ "metadata": { "labels": { "test-service": "patched" } } })).ok();
    assert_eq!(patched["metadata"]["labels"]["test-service"], "patched");
    watch.until("MODIFIED", "test-service");
    a.delete(&path).ok();
    watch.until("DELETED", "test-service");
}

#[test]
fn services_should_delete_a_collection_of_services() {
    let (a, _kubectl, _server) = setup();
    for (i, name) in ["e2e-svc-a", "e2e-svc-b", "e2e-svc-c"].iter().enumerate() {
        let mut object = service(name);
        object["metadata"]["labels"] = json!({ "e2e-delete": (i < 2).to_string() });
        object["spec"]["type"] = "ClusterIP".into();
        a.post(SERVICES, &object).ok();
    }
    let selected = format!("{SERVICES}?labelSelector=e2e-delete%3Dtrue");
    assert_eq!(names(&a.get(&selected).ok()).len(), 2);
    a.delete(&selected).ok();
    let left = names(&a.get(SERVICES).ok());
    assert_eq!(left, ["e2e-svc-c", "kubernetes"]);
}

#[test]
fn services_should_find_a_service_from_listing_all_namespaces() {
    let (a, _kubectl, _server) = setup();
    let list = a.get("/api/v1/services").ok();
    let items = list["items"].as_array().expect("a list");
    assert!(
        items
            .iter()
            .any(|s| s["metadata"]["name"] == "kubernetes" && s["metadata"]["namespace"] == "default")
    );
}
