//! What every control plane starts with, as upstream's API server and controllers make it: system namespaces, the RBAC
//! policy, priority classes, flow control, default service accounts, the `kubernetes` service.
//!
//! The objects are the same for all control planes but for a few values, which stand as placeholders in texts:
//!
//! | placeholder | replaced by |
//! |---|---|
//! | `${ca}` | the CA's certificate, in PEM |
//! | `${service-ip}` | the address of the `kubernetes` service |
//! | `${service-cidr}` | the range of service addresses |
//! | `${host-ip}` | the address of the server |
//! | `${created}` | the creation of the control plane, RFC 3339 |
//! | `${port}` | the port of the server, **as a number** |
//!
//! A text that is a numeric placeholder and nothing else is replaced with its quotes. [`fill`] does all this on a
//! value; whoever keeps objects as JSON text may replace `"${port}"`, quotes and all, by the digits.

mod controllers;
mod flow;
mod managed;
mod policy;
mod roles;

use kplane_machinery::field::go_quote;
use serde_json::{Value, json};

/// One object to start with.
#[derive(Clone, Debug, PartialEq)]
pub struct BootstrapObject {
    /// The group, empty for core.
    pub group: &'static str,
    /// The version.
    pub version: &'static str,
    /// The kind.
    pub kind: &'static str,
    /// The plural resource.
    pub resource: &'static str,
    /// The namespace, for what is in one.
    pub namespace: Option<&'static str>,
    /// The name; a placeholder where it is a parameter.
    pub name: String,
    /// The whole object, with `apiVersion`, `kind` and `managedFields`, without what differs by control plane: uid,
    /// creationTimestamp and resourceVersion.
    pub value: Value,
}

/// What stands for the placeholders.
#[derive(Clone, Debug)]
pub struct Parameters<'a> {
    /// `${ca}`.
    pub ca: &'a str,
    /// `${front-proxy-ca}`.
    pub front_proxy_ca: &'a str,
    /// `${uid}`.
    pub uid: &'a str,
    /// `${service-ip}`.
    pub service_ip: &'a str,
    /// `${service-cidr}`.
    pub service_cidr: &'a str,
    /// `${host-ip}`.
    pub host_ip: &'a str,
    /// `${created}`.
    pub created: &'a str,
    /// `${port}`.
    pub port: u16,
}

/// Replaces the placeholders in a value.
pub fn fill(value: &mut Value, parameters: &Parameters<'_>) {
    match value {
        Value::String(text) if text == "${port}" => *value = parameters.port.into(),
        Value::String(text) if text.contains("${") => {
            for (placeholder, by) in [
                ("${ca}", parameters.ca),
                ("${front-proxy-ca}", parameters.front_proxy_ca),
                ("${uid}", parameters.uid),
                ("${service-ip}", parameters.service_ip),
                ("${service-cidr}", parameters.service_cidr),
                ("${host-ip}", parameters.host_ip),
                ("${created}", parameters.created),
            ] {
                if text.contains(placeholder) {
                    *text = text.replace(placeholder, by);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| fill(item, parameters)),
        Value::Object(fields) => fields.values_mut().for_each(|field| fill(field, parameters)),
        _ => {}
    }
}

/// Who manages what the API server makes.
pub const APISERVER: &str = "kube-apiserver";
/// Who manages the objects of flow control.
const FLOW_CONTROL: &str = "api-priority-and-fairness-config-producer-v1";
/// Who manages what the controllers make.
const CONTROLLER_MANAGER: &str = "kube-controller-manager";

/// The system namespaces.
pub const NAMESPACES: [&str; 4] = ["default", "kube-node-lease", "kube-public", "kube-system"];

/// The priority of each API: group, version, of the group, of the version.
const APIS: &[(&str, &str, i64, i64)] = &[
    ("", "v1", 18000, 1),
    ("apps", "v1", 17800, 15),
    ("events.k8s.io", "v1", 17750, 15),
    ("authentication.k8s.io", "v1", 17700, 15),
    ("authorization.k8s.io", "v1", 17600, 15),
    ("autoscaling", "v1", 17500, 15),
    ("autoscaling", "v2", 17500, 30),
    ("batch", "v1", 17400, 15),
    ("certificates.k8s.io", "v1", 17300, 15),
    ("networking.k8s.io", "v1", 17200, 15),
    ("policy", "v1", 17100, 15),
    ("rbac.authorization.k8s.io", "v1", 17000, 15),
    ("storage.k8s.io", "v1", 16800, 15),
    ("apiextensions.k8s.io", "v1", 16700, 15),
    ("admissionregistration.k8s.io", "v1", 16700, 15),
    ("scheduling.k8s.io", "v1", 16600, 15),
    ("coordination.k8s.io", "v1", 16500, 15),
    ("node.k8s.io", "v1", 16300, 15),
    ("discovery.k8s.io", "v1", 16200, 15),
    ("resource.k8s.io", "v1", 16200, 15),
    ("flowcontrol.apiserver.k8s.io", "v1", 16100, 21),
];

/// A kind of object to start with.
#[derive(Clone, Copy)]
struct Kind {
    group: &'static str,
    kind: &'static str,
    resource: &'static str,
    /// Paths that the creator of an object does not manage.
    unmanaged: &'static [&'static str],
}

const fn kind(group: &'static str, kind: &'static str, resource: &'static str) -> Kind {
    Kind { group, kind, resource, unmanaged: &[] }
}

impl Kind {
    /// The same, its creators not managing these paths.
    const fn without(self, unmanaged: &'static [&'static str]) -> Self {
        Self { unmanaged, ..self }
    }

    /// An object: its metadata beyond the name and namespace, and its other fields.
    fn object(
        self,
        namespace: Option<&'static str>,
        name: &str,
        manager: Option<&'static str>,
        metadata: Value,
        fields: Value,
    ) -> BootstrapObject {
        let api_version = if self.group.is_empty() { "v1".to_owned() } else { format!("{}/v1", self.group) };
        let mut value = json!({ "apiVersion": api_version, "kind": self.kind, "metadata": { "name": name } });
        if let Some(namespace) = namespace {
            value["metadata"]["namespace"] = namespace.into();
        }
        for (target, from) in [("metadata", metadata), ("", fields)] {
            let Value::Object(from) = from else { continue };
            for (key, field) in from {
                if target.is_empty() {
                    value[key] = field;
                } else {
                    value[target][key] = field;
                }
            }
        }
        if let Some(manager) = manager {
            let entry = managed::updated(&value, manager, self.unmanaged);
            value["metadata"]["managedFields"] = json!([entry]);
        }
        BootstrapObject {
            group: self.group,
            version: "v1",
            kind: self.kind,
            resource: self.resource,
            namespace,
            name: name.to_owned(),
            value,
        }
    }
}

/// All objects that a control plane starts with.
pub fn objects() -> Vec<BootstrapObject> {
    let mut objects = Vec::new();
    namespaces(&mut objects);
    policy::add(&mut objects);
    priority_classes(&mut objects);
    flow::add(&mut objects);
    authentication(&mut objects);
    service(&mut objects);
    api_services(&mut objects);
    objects
}

fn namespaces(objects: &mut Vec<BootstrapObject>) {
    let description = "Contains a CA bundle that can be used to verify the kube-apiserver when using internal \
                       endpoints such as the internal service IP or kubernetes.default.svc. No other usage is \
                       guaranteed across distributions of Kubernetes clusters.";
    for name in NAMESPACES {
        objects.push(kind("", "Namespace", "namespaces").without(&["spec"]).object(
            None,
            name,
            Some(APISERVER),
            json!({ "labels": { "kubernetes.io/metadata.name": name } }),
            json!({ "spec": { "finalizers": ["kubernetes"] }, "status": { "phase": "Active" } }),
        ));
        objects.push(kind("", "ServiceAccount", "serviceaccounts").object(
            Some(name),
            "default",
            None,
            Value::Null,
            Value::Null,
        ));
        objects.push(kind("", "ConfigMap", "configmaps").object(
            Some(name),
            "kube-root-ca.crt",
            Some(CONTROLLER_MANAGER),
            json!({ "annotations": { "kubernetes.io/description": description } }),
            json!({ "data": { "ca.crt": "${ca}" } }),
        ));
    }
}

fn priority_classes(objects: &mut Vec<BootstrapObject>) {
    for (name, value, description) in [
        (
            "system-cluster-critical",
            2_000_000_000_i64,
            "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.",
        ),
        (
            "system-node-critical",
            2_000_001_000,
            "Used for system critical pods that must not be moved from their current node.",
        ),
    ] {
        objects.push(kind("scheduling.k8s.io", "PriorityClass", "priorityclasses").object(
            None,
            name,
            Some(APISERVER),
            json!({ "generation": 1 }),
            json!({ "value": value, "description": description, "preemptionPolicy": "PreemptLowerPriority" }),
        ));
    }
}

/// What extension servers read to know whom to trust: the API server speaks for users in the name of their control plane.
fn authentication(objects: &mut Vec<BootstrapObject>) {
    objects.push(kind("", "ConfigMap", "configmaps").object(
        Some("kube-system"),
        "extension-apiserver-authentication",
        Some(APISERVER),
        Value::Null,
        json!({ "data": {
            "client-ca-file": "${ca}",
            "requestheader-allowed-names": "[\"front-proxy-client:${uid}\"]",
            "requestheader-client-ca-file": "${front-proxy-ca}",
            "requestheader-extra-headers-prefix": "[\"X-Remote-Extra-\"]",
            "requestheader-group-headers": "[\"X-Remote-Group\"]",
            "requestheader-uid-headers": "[\"X-Remote-Uid\"]",
            "requestheader-username-headers": "[\"X-Remote-User\"]",
        } }),
    ));
}

fn service(objects: &mut Vec<BootstrapObject>) {
    let (default, name) = (Some("default"), "kubernetes");
    let ports = json!([{ "name": "https", "port": "${port}", "protocol": "TCP" }]);
    objects.push(kind("", "Service", "services").without(&["spec.clusterIPs", "spec.ipFamilies"]).object(
        default,
        name,
        Some(APISERVER),
        json!({ "labels": { "component": "apiserver", "provider": "kubernetes" } }),
        json!({
            "spec": {
                "ports": [{ "name": "https", "protocol": "TCP", "port": 443, "targetPort": "${port}" }],
                "clusterIP": "${service-ip}", "clusterIPs": ["${service-ip}"], "type": "ClusterIP",
                "sessionAffinity": "None", "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack",
                "internalTrafficPolicy": "Cluster",
            },
            "status": { "loadBalancer": {} },
        }),
    ));
    objects.push(kind("", "Endpoints", "endpoints").object(
        default,
        name,
        Some(APISERVER),
        json!({ "labels": { "endpointslice.kubernetes.io/skip-mirror": "true" } }),
        json!({ "subsets": [{ "addresses": [{ "ip": "${host-ip}" }], "ports": ports }] }),
    ));
    objects.push(kind("discovery.k8s.io", "EndpointSlice", "endpointslices").object(
        default,
        name,
        Some(APISERVER),
        json!({ "generation": 1, "labels": { "kubernetes.io/service-name": name } }),
        json!({
            "addressType": "IPv4",
            "endpoints": [{ "addresses": ["${host-ip}"], "conditions": { "ready": true } }],
            "ports": ports,
        }),
    ));
    let mut cidr =
        kind("networking.k8s.io", "ServiceCIDR", "servicecidrs").without(&["metadata.finalizers"]).object(
            None,
            name,
            Some(APISERVER),
            json!({ "finalizers": ["networking.k8s.io/service-cidr-finalizer"] }),
            json!({
                "spec": { "cidrs": ["${service-cidr}"] },
                "status": { "conditions": [{
                    "type": "Ready", "status": "True", "lastTransitionTime": "${created}", "reason": "",
                    "message": "Kubernetes Service CIDR is ready",
                }] },
            }),
        );
    let ready = |manager, fields: &[&str]| {
        managed::applied(&cidr.value, manager, "status", managed::condition("Ready", fields))
    };
    let mut finalizer = managed::updated(&cidr.value, CONTROLLER_MANAGER, &["metadata", "spec"]);
    finalizer["fieldsV1"] = json!({ "f:metadata": { "f:finalizers": {
        ".": {}, "v:\"networking.k8s.io/service-cidr-finalizer\"": {},
    } } });
    let created = cidr.value["metadata"]["managedFields"][0].clone();
    cidr.value["metadata"]["managedFields"] = json!([
        ready("kubernetes-service-cidr-controller", &["status", "type"]),
        ready("service-cidr-controller", &["lastTransitionTime", "message", "reason", "status", "type"]),
        created,
        finalizer,
    ]);
    objects.push(cidr);
    objects.push(kind("networking.k8s.io", "IPAddress", "ipaddresses").object(
        None,
        "${service-ip}",
        Some(APISERVER),
        json!({ "labels": {
            "ipaddress.kubernetes.io/ip-family": "IPv4",
            "ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io",
        } }),
        json!({ "spec": { "parentRef": { "resource": "services", "namespace": "default", "name": name } } }),
    ));
}

fn api_services(objects: &mut Vec<BootstrapObject>) {
    for (group, version, group_priority, version_priority) in APIS {
        let mut spec = json!({
            "version": version, "groupPriorityMinimum": group_priority, "versionPriority": version_priority,
        });
        if !group.is_empty() {
            spec["group"] = (*group).into();
        }
        objects.push(kind("apiregistration.k8s.io", "APIService", "apiservices").object(
            None,
            &format!("{version}.{group}"),
            Some(APISERVER),
            json!({ "labels": { "kube-aggregator.kubernetes.io/automanaged": "onstart" } }),
            json!({
                "spec": spec,
                "status": { "conditions": [{
                    "type": "Available", "status": "True", "lastTransitionTime": "${created}", "reason": "Local",
                    "message": "Local APIServices are always available",
                }] },
            }),
        ));
    }
}

/// The words of a flow schema that found its priority level.
fn found_level(name: &str) -> String {
    format!(
        "This FlowSchema references the PriorityLevelConfiguration object named {} and it exists",
        go_quote(name)
    )
}

#[cfg(test)]
mod tests;
