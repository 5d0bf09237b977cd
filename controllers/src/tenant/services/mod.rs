//! Where Services lead: their Endpoints and EndpointSlices, and the ranges of their addresses.
//!
//! The Services of a namespace are looked at together, upon one read of its pods: a pod that changes is then no matter of
//! finding out which Services selected it before and which do now.

pub mod cidrs;
mod endpoints;
mod mirror;
mod slices;

use std::collections::HashMap;

use kplane_machinery::labels::Selector;
use serde_json::{Value, json};

use crate::Error;
use crate::tenant::api::{ENDPOINTS, NODES, PODS, SERVICES, SLICES, is_terminating};
use crate::tenant::queue::Next;
use crate::tenant::tasks::{Cx, Holds};
use crate::tenant::value::{count, flag, is_deleting, items, label, name, namespace, number, text, uid};
use crate::tenant::workloads::pods::has_ended;

/// The label of a slice with the name of its Service.
const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// The label of a slice with who writes it.
const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
/// The label of what belongs to a Service without an address.
const HEADLESS: &str = "service.kubernetes.io/headless";
const ZONE: &str = "topology.kubernetes.io/zone";

/// What a namespace has.
struct Namespace {
    pods: Vec<Value>,
    /// The zones of the nodes that the pods are on.
    zones: HashMap<String, String>,
    endpoints: Vec<Value>,
    slices: Vec<Value>,
}

/// Looks at the Services of a namespace; or, with a name, at what is left of one that is gone.
pub async fn reconcile(cx: &Cx<'_>) -> Result<Next, Error> {
    if !cx.key.name.is_empty() {
        return endpoints::clean_up(cx).await;
    }
    let space = &*cx.key.namespace;
    cx.tasks.forget(&cx.key.cluster, space, Holds::Services);
    let services = cx.api.list(&SERVICES, space).await?;
    let endpoints = cx.api.list(&ENDPOINTS, space).await?;
    if services.is_empty() && endpoints.is_empty() {
        return Ok(Next::Done);
    }
    cx.tasks.note(&cx.key.cluster, space, Holds::Services);
    let selecting = |service: &&Value| has_selector(service) && text(service, "/spec/type") != "ExternalName";
    let (mut pods, mut zones) = (Vec::new(), HashMap::new());
    if services.iter().any(|service| selecting(&service)) {
        pods = cx.api.list(&PODS, space).await?;
        if pods.iter().any(|pod| !text(pod, "/spec/nodeName").is_empty()) {
            for node in cx.api.list(&NODES, "").await? {
                if let Some(zone) = label(&node, ZONE) {
                    zones.insert(name(&node).to_owned(), zone.to_owned());
                }
            }
        }
    }
    let slices = cx.api.list(&SLICES, space).await?;
    let all = Namespace { pods, zones, endpoints, slices };
    let mut failure = None;
    for service in services.iter().filter(|service| !is_deleting(service)).filter(selecting) {
        let selected = all.selected(service);
        if let Err(error) = endpoints::sync(cx, &all, service, &selected).await {
            failure = failure.or(Some(error));
        }
        if let Err(error) = slices::sync(cx, &all, service, &selected).await {
            failure = failure.or(Some(error));
        }
    }
    if let Err(error) = mirror::sync(cx, &all, &services).await {
        failure = failure.or(Some(error));
    }
    match failure {
        // Nothing is made any more where the namespace is going.
        Some(Error::Kube(error)) if is_terminating(&error) => Ok(Next::Done),
        Some(error) => Err(error),
        None => Ok(Next::Done),
    }
}

impl Namespace {
    /// The pods that a Service selects.
    fn selected(&self, service: &Value) -> Vec<&Value> {
        let selector = Selector::from_map(service.pointer("/spec/selector"));
        self.pods.iter().filter(|pod| selector.matches_object(pod)).collect()
    }
}

/// Whether a Service says which pods it leads to.
fn has_selector(service: &Value) -> bool {
    service.pointer("/spec/selector").and_then(Value::as_object).is_some_and(|s| !s.is_empty())
}

/// Whether a Service has no address of its own.
fn is_headless(service: &Value) -> bool {
    text(service, "/spec/clusterIP") == "None"
}

/// Whether a Service leads to pods that are not ready too.
fn takes_unready(service: &Value) -> bool {
    flag(service, "/spec/publishNotReadyAddresses")
}

/// The address of a pod, of a family.
fn address<'a>(pod: &'a Value, family: &str) -> Option<&'a str> {
    let of_family = |ip: &str| ip.contains(':') == (family == "IPv6");
    items(pod, "/status/podIPs")
        .iter()
        .map(|entry| text(entry, "/ip"))
        .chain([text(pod, "/status/podIP")])
        .find(|ip| !ip.is_empty() && of_family(ip))
}

/// Whether a Service may lead to a pod at all.
fn counts(pod: &Value, terminating_too: bool) -> bool {
    !has_ended(pod) && !text(pod, "/status/podIP").is_empty() && (terminating_too || !is_deleting(pod))
}

/// The name by which a headless Service knows a pod.
fn hostname<'a>(service: &Value, pod: &'a Value) -> Option<&'a str> {
    let hostname = text(pod, "/spec/hostname");
    let known = !hostname.is_empty()
        && text(pod, "/spec/subdomain") == name(service)
        && namespace(pod) == namespace(service);
    known.then_some(hostname)
}

/// The number of the port of a pod that a port of a Service leads to.
fn target_port(service_port: &Value, pod: &Value) -> Option<i64> {
    let target = &service_port["targetPort"];
    if let Some(named) = target.as_str() {
        let protocol = |port: &Value| match text(port, "/protocol") {
            "" => "TCP".to_owned(),
            other => other.to_owned(),
        };
        let sidecars = items(pod, "/spec/initContainers")
            .iter()
            .filter(|container| text(container, "/restartPolicy") == "Always");
        return items(pod, "/spec/containers")
            .iter()
            .chain(sidecars)
            .flat_map(|container| items(container, "/ports"))
            .find(|port| text(port, "/name") == named && protocol(port) == protocol(service_port))
            .and_then(|port| number(port, "/containerPort"));
    }
    match target.as_i64() {
        Some(port) if port != 0 => Some(port),
        _ => Some(count(service_port, "/port")).filter(|port| *port != 0),
    }
}

/// The ports of a pod that a Service leads to, as an object of either kind names them.
fn ports(service: &Value, pod: &Value, named_always: bool) -> Vec<Value> {
    items(service, "/spec/ports")
        .iter()
        .filter_map(|service_port| {
            let number = target_port(service_port, pod)?;
            let protocol = match text(service_port, "/protocol") {
                "" => "TCP",
                other => other,
            };
            let mut port = json!({ "port": number, "protocol": protocol });
            let port_name = text(service_port, "/name");
            if named_always || !port_name.is_empty() {
                port["name"] = port_name.into();
            }
            if let Some(app) = service_port.get("appProtocol").filter(|app| app.is_string()) {
                port["appProtocol"] = app.clone();
            }
            Some(port)
        })
        .collect()
}

/// The reference of an endpoint to its pod.
fn reference(pod: &Value) -> Value {
    json!({ "kind": "Pod", "namespace": namespace(pod), "name": name(pod), "uid": uid(pod) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_found_by_number_and_by_name() {
        let pod =
            json!({ "spec": { "containers": [{ "ports": [{ "name": "web", "containerPort": 8080 }] }] } });
        assert_eq!(
            target_port(&json!({ "port": 80, "targetPort": "web", "protocol": "TCP" }), &pod),
            Some(8080)
        );
        assert_eq!(target_port(&json!({ "port": 80, "targetPort": "dns" }), &pod), None);
        assert_eq!(target_port(&json!({ "port": 80, "targetPort": 81 }), &pod), Some(81));
        assert_eq!(target_port(&json!({ "port": 80 }), &pod), Some(80));
    }

    #[test]
    fn addresses_are_of_the_family_asked_for() {
        let pod = json!({ "status": { "podIP": "10.0.0.1", "podIPs": [{ "ip": "10.0.0.1" }, { "ip": "fd00::1" }] } });
        assert_eq!(address(&pod, "IPv4"), Some("10.0.0.1"));
        assert_eq!(address(&pod, "IPv6"), Some("fd00::1"));
    }
}
