//! The Endpoints of a Service.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::{HEADLESS, Namespace, counts, hostname, is_headless, ports, reference, takes_unready};
use crate::Error;
use crate::tenant::api::{ENDPOINTS, SERVICES, is_terminating, words};
use crate::tenant::queue::Next;
use crate::tenant::tasks::Cx;
use crate::tenant::value::{
    annotation, canonical, is_deleting, items, label, map_at, name, namespace, set_annotation, text,
};
use crate::tenant::workloads::pods::is_ready;

const COMPONENT: &str = "endpoint-controller";
const MANAGED_BY: &str = "endpoints.kubernetes.io/managed-by";
const OVER_CAPACITY: &str = "endpoints.kubernetes.io/over-capacity";
/// As many addresses as there may be.
const MOST: usize = 1000;

/// Deletes the Endpoints of a Service that is gone.
pub async fn clean_up(cx: &Cx<'_>) -> Result<Next, Error> {
    if cx.object(&SERVICES).await?.is_some() {
        return Ok(Next::Done);
    }
    if let Some(endpoints) = cx.object(&ENDPOINTS).await?
        && !is_deleting(&endpoints)
    {
        cx.api.delete(&ENDPOINTS, &endpoints, None).await?;
    }
    Ok(Next::Done)
}

/// One address, whether it is ready, and the ports it has.
struct Found {
    address: Value,
    ready: bool,
    ports: Vec<Value>,
}

fn find(service: &Value, pods: &[&Value]) -> Vec<Found> {
    let family = match items(service, "/spec/ipFamilies").first().and_then(Value::as_str) {
        Some(family) => family.to_owned(),
        None if text(service, "/spec/clusterIP").contains(':') => "IPv6".to_owned(),
        None => "IPv4".to_owned(),
    };
    let mut found = Vec::new();
    for pod in pods {
        if !counts(pod, takes_unready(service)) {
            continue;
        }
        let Some(ip) = super::address(pod, &family) else { continue };
        let mut address = json!({ "ip": ip, "targetRef": reference(pod) });
        if !text(pod, "/spec/nodeName").is_empty() {
            address["nodeName"] = pod["spec"]["nodeName"].clone();
        }
        if let Some(hostname) = hostname(service, pod).filter(|_| is_headless(service)) {
            address["hostname"] = hostname.into();
        }
        let ready = takes_unready(service) || is_ready(pod);
        let of_pod = ports(service, pod, false);
        if of_pod.is_empty() && !(items(service, "/spec/ports").is_empty() && is_headless(service)) {
            continue;
        }
        found.push(Found { address, ready, ports: of_pod });
    }
    found
}

/// The addresses with the same ports, by address and pod.
#[derive(Default)]
struct Group {
    ports: Vec<Value>,
    ready: BTreeMap<String, Value>,
    unready: BTreeMap<String, Value>,
}

/// Addresses with the same ports together, in an order that depends on nothing else.
fn subsets(mut found: Vec<Found>) -> (Vec<Value>, bool) {
    let over = found.len() > MOST;
    if over {
        // Those that are ready come first.
        found.sort_by_key(|one| !one.ready);
        found.truncate(MOST);
    }
    let mut groups: BTreeMap<String, Group> = BTreeMap::new();
    for one in found {
        let mut ports = one.ports;
        ports.sort_by_cached_key(canonical);
        let key = canonical(&Value::from(ports.clone()));
        let group = groups.entry(key).or_insert_with(|| Group { ports, ..Group::default() });
        let place = format!("{} {}", text(&one.address, "/ip"), text(&one.address, "/targetRef/uid"));
        let list = if one.ready { &mut group.ready } else { &mut group.unready };
        list.insert(place, one.address);
    }
    let made = groups
        .into_values()
        .map(|Group { ports, ready, unready }| {
            let mut subset = json!({});
            let mut put = |key: &str, list: Vec<Value>| {
                if !list.is_empty() {
                    subset[key] = list.into();
                }
            };
            put("addresses", ready.into_values().collect());
            put("notReadyAddresses", unready.into_values().collect());
            put("ports", ports);
            subset
        })
        .collect();
    (made, over)
}

/// The labels of the Endpoints of a Service.
fn labels(service: &Value) -> Map<String, Value> {
    let mut labels =
        service.pointer("/metadata/labels").and_then(Value::as_object).cloned().unwrap_or_default();
    labels.remove(HEADLESS);
    if is_headless(service) {
        labels.insert(HEADLESS.into(), "".into());
    }
    labels.insert(MANAGED_BY.into(), COMPONENT.into());
    labels
}

/// Whether two lists of subsets are the same, however they are ordered.
fn same(a: &[Value], b: &[Value]) -> bool {
    let sorted = |subsets: &[Value]| -> BTreeSet<String> {
        subsets
            .iter()
            .map(|subset| {
                let mut subset = subset.clone();
                for list in ["addresses", "notReadyAddresses", "ports"] {
                    if let Some(list) = subset.get_mut(list).and_then(Value::as_array_mut) {
                        list.sort_by_cached_key(canonical);
                    }
                }
                canonical(&subset)
            })
            .collect()
    };
    sorted(a) == sorted(b)
}

/// Brings the Endpoints of a Service to where they should be.
pub async fn sync(cx: &Cx<'_>, all: &Namespace, service: &Value, pods: &[&Value]) -> Result<(), Error> {
    let (subsets, over) = subsets(find(service, pods));
    let known = all.endpoints.iter().find(|endpoints| name(endpoints) == name(service));
    let labels = labels(service);
    if let Some(known) = known {
        let told = annotation(known, OVER_CAPACITY).is_some();
        if same(items(known, "/subsets"), &subsets)
            && known.pointer("/metadata/labels").and_then(Value::as_object) == Some(&labels)
            && told == over
        {
            return Ok(());
        }
        if is_deleting(known) {
            return Ok(());
        }
    }
    let mut next = known.cloned().unwrap_or_else(|| {
        json!({
            "apiVersion": ENDPOINTS.api_version, "kind": ENDPOINTS.kind,
            "metadata": { "name": name(service), "namespace": namespace(service) },
        })
    });
    next["metadata"]["labels"] = labels.into();
    if over {
        set_annotation(&mut next, OVER_CAPACITY, "truncated");
    } else if annotation(&next, OVER_CAPACITY).is_some() {
        map_at(&mut next, &["metadata", "annotations"]).remove(OVER_CAPACITY);
    }
    if subsets.is_empty() {
        map_at(&mut next, &[]).remove("subsets");
    } else {
        next["subsets"] = subsets.into();
    }
    let (result, verb) = match known {
        Some(_) => (cx.api.update(&ENDPOINTS, &next).await, "update"),
        None => (cx.api.create(&ENDPOINTS, namespace(service), &next).await, "create"),
    };
    if let Err(error) = result {
        if !is_terminating(&error) && !crate::runtime::raw::is_conflict(&error) {
            let message = format!(
                "Failed to {verb} endpoint {}/{}: {}",
                namespace(service),
                name(service),
                words(&error)
            );
            let reason = if verb == "create" { "FailedToCreateEndpoint" } else { "FailedToUpdateEndpoint" };
            cx.api.warning(COMPONENT, &next, reason, &message);
        }
        return Err(error.into());
    }
    Ok(())
}

/// Whether Endpoints are written here, and not by a user.
pub fn is_own(endpoints: &Value) -> bool {
    label(endpoints, MANAGED_BY) == Some(COMPONENT)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(number: u8, ready: &str) -> Value {
        json!({
            "metadata": { "name": format!("p{number}"), "namespace": "farm", "uid": format!("u{number}") },
            "spec": { "nodeName": "n1", "containers": [] },
            "status": { "podIP": format!("10.0.0.{number}"),
                "conditions": [{ "type": "Ready", "status": ready }] },
        })
    }

    #[test]
    fn addresses_are_ready_or_not_and_share_their_ports() {
        let service = json!({ "metadata": { "name": "web", "namespace": "farm" },
            "spec": { "clusterIP": "10.1.0.1", "ipFamilies": ["IPv4"],
                "ports": [{ "port": 80, "targetPort": 8080, "protocol": "TCP" }] } });
        let (a, b) = (pod(1, "True"), pod(2, "False"));
        let (made, over) = subsets(find(&service, &[&b, &a]));
        assert!(!over);
        assert_eq!(made.len(), 1);
        assert_eq!(made[0]["addresses"][0]["ip"], "10.0.0.1");
        assert_eq!(made[0]["notReadyAddresses"][0]["ip"], "10.0.0.2");
        assert_eq!(made[0]["ports"], json!([{ "port": 8080, "protocol": "TCP" }]));
        assert!(subsets(find(&service, &[])).0.is_empty());
    }
}
