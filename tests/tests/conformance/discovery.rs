//! sig-api-machinery: discovery, plain and aggregated.

use crate::common::*;

const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// The resources of a group and version in an aggregated document.
fn aggregated_resources(list: &Value, group: &str, version: &str) -> Vec<String> {
    let groups = list["items"].as_array().expect("groups").iter();
    groups
        .filter(|found| found["metadata"]["name"].as_str().unwrap_or("") == group)
        .flat_map(|found| found["versions"].as_array().cloned().unwrap_or_default())
        .filter(|found| found["version"] == version)
        .flat_map(|found| found["resources"].as_array().cloned().unwrap_or_default())
        .filter_map(|resource| resource["resource"].as_str().map(str::to_owned))
        .collect()
}

#[test]
fn aggregateddiscovery_should_support_aggregated_discovery_interface() {
    let (a, _kubectl, _server) = setup();
    let apis = a.get_as("/apis", AGGREGATED).ok();
    for (group, version, resource) in [
        ("admissionregistration.k8s.io", "v1", "mutatingwebhookconfigurations"),
        ("apiextensions.k8s.io", "v1", "customresourcedefinitions"),
        ("apps", "v1", "deployments"),
        ("authentication.k8s.io", "v1", "tokenreviews"),
        ("authorization.k8s.io", "v1", "subjectaccessreviews"),
        ("autoscaling", "v1", "horizontalpodautoscalers"),
        ("autoscaling", "v2", "horizontalpodautoscalers"),
        ("batch", "v1", "cronjobs"),
        ("certificates.k8s.io", "v1", "certificatesigningrequests"),
        ("coordination.k8s.io", "v1", "leases"),
        ("discovery.k8s.io", "v1", "endpointslices"),
        ("networking.k8s.io", "v1", "networkpolicies"),
        ("policy", "v1", "poddisruptionbudgets"),
        ("scheduling.k8s.io", "v1", "priorityclasses"),
        ("storage.k8s.io", "v1", "volumeattachments"),
    ] {
        let found = aggregated_resources(&apis, group, version);
        assert!(found.iter().any(|name| name == resource), "{resource} of {group}/{version}: {found:?}");
    }
    let core = aggregated_resources(&a.get_as("/api", AGGREGATED).ok(), "", "v1");
    for resource in ["pods", "services", "namespaces", "configmaps", "nodes"] {
        assert!(core.iter().any(|name| name == resource), "{resource}: {core:?}");
    }
}

#[test]
fn aggregateddiscovery_should_support_aggregated_discovery_interface_for_crds() {
    let (a, kubectl, _server) = setup();
    define(&a, "agg.example.com", "foos", "Foo", open_schema());
    let apis = a.get_as("/apis", AGGREGATED).ok();
    assert_eq!(aggregated_resources(&apis, "agg.example.com", "v1"), ["foos"]);
    assert!(kubectl.ok(&["api-resources", "--api-group=agg.example.com"]).contains("foos"));
    a.delete(&format!("{DEFINITIONS}/foos.agg.example.com")).ok();
    eventually("it is offered no more", SOON, || {
        aggregated_resources(&a.get_as("/apis", AGGREGATED).ok(), "agg.example.com", "v1").is_empty()
    });
}

#[test]
fn aggregateddiscovery_should_support_raw_aggregated_discovery_endpoint_accept_headers() {
    let (a, _kubectl, _server) = setup();
    for path in ["/api", "/apis"] {
        let answer = a.get_as(path, AGGREGATED);
        assert_eq!(answer.content_type, AGGREGATED);
        let list = answer.ok();
        assert_eq!(
            (&list["kind"], &list["apiVersion"]),
            (&json!("APIGroupDiscoveryList"), &json!("apidiscovery.k8s.io/v2"))
        );
        let both = format!("{AGGREGATED},application/json");
        assert_eq!(a.get_as(path, &both).ok()["kind"], "APIGroupDiscoveryList");
        let plain = a.get_as(path, "application/json").ok();
        assert_eq!(plain["kind"], if path == "/api" { "APIVersions" } else { "APIGroupList" });
        // A form that nobody knows is passed over.
        let unknown = "application/json;g=apidiscovery.k8s.io;v=v9;as=APIGroupDiscoveryList,application/json";
        assert_ne!(a.get_as(path, unknown).ok()["kind"], "APIGroupDiscoveryList");
    }
}

#[test]
fn discovery_should_validate_preferredversion_for_each_apigroup() {
    let (a, _kubectl, _server) = setup();
    let groups = a.get("/apis").ok();
    let groups = groups["groups"].as_array().expect("groups");
    assert!(groups.len() > 15);
    for group in groups {
        let versions = group["versions"].as_array().expect("versions");
        assert!(versions.contains(&group["preferredVersion"]), "{group}");
        let one = a.get(&format!("/apis/{}", group["name"].as_str().expect("a name"))).ok();
        assert_eq!(one["preferredVersion"], group["preferredVersion"]);
    }
}

#[test]
fn discovery_should_locate_the_groupversion_and_a_resource_within_each_apigroup() {
    let (a, _kubectl, _server) = setup();
    for (version, resource) in [
        ("admissionregistration.k8s.io/v1", "validatingwebhookconfigurations"),
        ("apiextensions.k8s.io/v1", "customresourcedefinitions"),
        ("apiregistration.k8s.io/v1", "apiservices"),
        ("apps/v1", "deployments"),
        ("authentication.k8s.io/v1", "tokenreviews"),
        ("authorization.k8s.io/v1", "selfsubjectaccessreviews"),
        ("autoscaling/v1", "horizontalpodautoscalers"),
        ("autoscaling/v2", "horizontalpodautoscalers"),
        ("batch/v1", "jobs"),
        ("certificates.k8s.io/v1", "certificatesigningrequests"),
        ("coordination.k8s.io/v1", "leases"),
        ("discovery.k8s.io/v1", "endpointslices"),
        ("events.k8s.io/v1", "events"),
        ("networking.k8s.io/v1", "ingresses"),
        ("node.k8s.io/v1", "runtimeclasses"),
        ("policy/v1", "poddisruptionbudgets"),
        ("scheduling.k8s.io/v1", "priorityclasses"),
        ("storage.k8s.io/v1", "csinodes"),
    ] {
        let list = a.get(&format!("/apis/{version}")).ok();
        assert_eq!(list["groupVersion"], version);
        let resources = list["resources"].as_array().expect("resources");
        assert!(resources.iter().any(|found| found["name"] == resource), "{resource} in {version}");
    }
}

#[test]
fn aggregateddiscovery_should_support_raw_aggregated_discovery_request_for_crds() {
    let (a, _kubectl, _server) = setup();
    define(&a, "agg.example.com", "foos", "Foo", open_schema());
    let accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
    let answer = a.get_as("/apis", accept);
    assert!(answer.content_type.contains("as=APIGroupDiscoveryList"), "{}", answer.content_type);
    let list = answer.ok();
    let found = list["items"]
        .as_array()
        .expect("groups")
        .iter()
        .find(|group| group["metadata"]["name"] == "agg.example.com");
    assert_eq!(found.expect("the group")["versions"][0]["resources"][0]["resource"], "foos");
    let core = a.get_as("/api", accept).ok();
    assert_eq!(core["kind"], "APIGroupDiscoveryList");
}
