//! EndpointSlices of the Endpoints that users write for Services without a selector.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::slices::{Common, Plan, annotations_without, of, plan, ports_key, without_reserved};
use super::{MANAGED_BY, Namespace, SERVICE_NAME, endpoints, has_selector};
use crate::Error;
use crate::tenant::api::ENDPOINTS;
use crate::tenant::tasks::Cx;
use crate::tenant::value::{annotation, is_deleting, items, label, name, text};

const WRITER: &str = "endpointslicemirroring-controller.k8s.io";
const SKIP: &str = "endpointslice.kubernetes.io/skip-mirror";
const LEADER: &str = "control-plane.alpha.kubernetes.io/leader";
/// As many endpoints of one subset as are mirrored.
const MOST: usize = 1000;
/// The annotations that are not copied.
const NOT_COPIED: [&str; 2] =
    ["kubectl.kubernetes.io/last-applied-configuration", "endpoints.kubernetes.io/last-change-trigger-time"];

/// Whether Endpoints are to have slices.
fn is_mirrored(endpoints: &Value, services: &[Value]) -> bool {
    label(endpoints, SKIP) != Some("true")
        && annotation(endpoints, LEADER).is_none()
        && !is_deleting(endpoints)
        && !endpoints::is_own(endpoints)
        && services.iter().any(|service| name(service) == name(endpoints) && !has_selector(service))
}

fn labels(endpoints: &Value) -> Map<String, Value> {
    let mut labels =
        endpoints.pointer("/metadata/labels").and_then(Value::as_object).cloned().unwrap_or_default();
    without_reserved(&mut labels);
    labels.insert(SERVICE_NAME.into(), name(endpoints).into());
    labels.insert(MANAGED_BY.into(), WRITER.into());
    labels
}

fn endpoint(address: &Value, ready: bool) -> Value {
    let mut endpoint = json!({
        "addresses": [text(address, "/ip")],
        "conditions": { "ready": ready },
    });
    for (from, to) in [("hostname", "hostname"), ("nodeName", "nodeName"), ("targetRef", "targetRef")] {
        if let Some(value) = address.get(from).filter(|v| !v.is_null() && *v != "") {
            endpoint[to] = value.clone();
        }
    }
    endpoint
}

/// Ports and endpoints, by family and ports.
type Groups = BTreeMap<(&'static str, String), (Vec<Value>, Vec<Value>)>;

/// The endpoints of Endpoints, by family and ports.
fn groups(object: &Value) -> Groups {
    let mut groups = Groups::new();
    for subset in items(object, "/subsets") {
        let ports: Vec<Value> = items(subset, "/ports")
            .iter()
            .map(|port| {
                let mut port = port.clone();
                if port.get("name").is_none() {
                    port["name"] = "".into();
                }
                port
            })
            .collect();
        let ready = items(subset, "/addresses").iter().map(|address| endpoint(address, true));
        let unready = items(subset, "/notReadyAddresses").iter().map(|address| endpoint(address, false));
        for endpoint in ready.chain(unready).take(MOST) {
            let family = if text(&endpoint, "/addresses/0").contains(':') { "IPv6" } else { "IPv4" };
            let group =
                groups.entry((family, ports_key(&ports))).or_insert_with(|| (ports.clone(), Vec::new()));
            group.1.push(endpoint);
        }
    }
    groups
}

/// Brings the slices of the Endpoints of a namespace to where they should be.
pub async fn sync(cx: &Cx<'_>, all: &Namespace, services: &[Value]) -> Result<(), Error> {
    for object in all.endpoints.iter().filter(|endpoints| is_mirrored(endpoints, services)) {
        let mut known: BTreeMap<(String, String), Vec<Value>> = BTreeMap::new();
        for slice in of(all, name(object), WRITER) {
            let key = (text(slice, "/addressType").to_owned(), ports_key(items(slice, "/ports")));
            known.entry(key).or_default().push(slice.clone());
        }
        let common = |family: &str, ports: Vec<Value>| Common {
            owner: object,
            kind: &ENDPOINTS,
            labels: labels(object),
            annotations: Some(annotations_without(object, &NOT_COPIED)),
            family: family.to_owned(),
            ports,
        };
        for ((family, key), (ports, wanted)) in groups(object) {
            let slices = known.remove(&(family.to_owned(), key)).unwrap_or_default();
            common(family, ports).carry_out(cx, plan(slices, wanted, MOST)).await?;
        }
        let left = Plan { delete: known.into_values().flatten().collect(), ..Plan::default() };
        common("IPv4", Vec::new()).carry_out(cx, left).await?;
    }
    // Those of Endpoints that are not mirrored any more: their owner is there, so nobody collects them.
    for slice in
        all.slices.iter().filter(|slice| label(slice, MANAGED_BY) == Some(WRITER) && !is_deleting(slice))
    {
        let of = label(slice, SERVICE_NAME).unwrap_or_default();
        let kept = all.endpoints.iter().any(|e| name(e) == of && is_mirrored(e, services));
        if !kept {
            cx.api.delete(&crate::tenant::api::SLICES, slice, None).await?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_of_services_without_a_selector_are_mirrored() {
        let service =
            |selector: Value| json!({ "metadata": { "name": "db" }, "spec": { "selector": selector } });
        let object = json!({ "metadata": { "name": "db" } });
        assert!(is_mirrored(&object, &[service(json!(null))]));
        assert!(!is_mirrored(&object, &[service(json!({ "a": "b" }))]));
        assert!(!is_mirrored(&object, &[]));
        let skipped = json!({ "metadata": { "name": "db", "labels": { SKIP: "true" } } });
        assert!(!is_mirrored(&skipped, &[service(json!(null))]));
    }

    #[test]
    fn a_subset_becomes_endpoints_by_family() {
        let object = json!({ "subsets": [{ "addresses": [{ "ip": "10.0.0.1" }],
            "notReadyAddresses": [{ "ip": "fd00::1" }], "ports": [{ "port": 80, "protocol": "TCP" }] }] });
        let groups: Vec<_> = groups(&object).into_iter().collect();
        assert_eq!(groups.len(), 2);
        assert_eq!(groups[0].0.0, "IPv4");
        assert_eq!(groups[0].1.1[0]["conditions"]["ready"], true);
        assert_eq!(groups[1].1.1[0]["conditions"]["ready"], false);
        assert_eq!(groups[1].1.0[0]["name"], "");
    }
}
