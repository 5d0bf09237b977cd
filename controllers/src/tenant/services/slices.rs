//! The EndpointSlices of a Service.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{
    HEADLESS, MANAGED_BY, Namespace, SERVICE_NAME, counts, hostname, is_headless, ports, reference,
    takes_unready,
};
use crate::Error;
use crate::tenant::api::{SERVICES, SLICES};
use crate::tenant::tasks::Cx;
use crate::tenant::value::{
    canonical, controller_reference, is_deleting, items, label, map_at, name, namespace, text, uid,
};
use crate::tenant::workloads::pods::is_ready;

const WRITER: &str = "endpointslice-controller.k8s.io";
/// As many endpoints as a slice has.
const MOST: usize = 100;

/// The families of addresses of a Service.
fn families(service: &Value) -> Vec<String> {
    let named: Vec<String> =
        items(service, "/spec/ipFamilies").iter().filter_map(Value::as_str).map(str::to_owned).collect();
    match named.is_empty() {
        true if text(service, "/spec/clusterIP").contains(':') => vec!["IPv6".to_owned()],
        true => vec!["IPv4".to_owned()],
        false => named,
    }
}

fn endpoint(all: &Namespace, service: &Value, pod: &Value, ip: &str) -> Value {
    let serving = is_ready(pod);
    let terminating = is_deleting(pod);
    let ready = takes_unready(service) || (serving && !terminating);
    let mut endpoint = json!({
        "addresses": [ip],
        "conditions": { "ready": ready, "serving": serving, "terminating": terminating },
        "targetRef": reference(pod),
    });
    let node = text(pod, "/spec/nodeName");
    if !node.is_empty() {
        endpoint["nodeName"] = node.into();
    }
    if let Some(zone) = all.zones.get(node) {
        endpoint["zone"] = zone.as_str().into();
    }
    if let Some(hostname) = hostname(service, pod) {
        endpoint["hostname"] = hostname.into();
    }
    endpoint
}

fn labels(service: &Value) -> Map<String, Value> {
    let mut labels =
        service.pointer("/metadata/labels").and_then(Value::as_object).cloned().unwrap_or_default();
    labels.remove(HEADLESS);
    if is_headless(service) {
        labels.insert(HEADLESS.into(), "".into());
    }
    labels.insert(SERVICE_NAME.into(), name(service).into());
    labels.insert(MANAGED_BY.into(), WRITER.into());
    labels
}

/// What is to be written to the slices of one set of ports.
#[derive(Debug, Default)]
pub struct Plan {
    /// New slices, by their endpoints.
    pub create: Vec<Vec<Value>>,
    /// Known slices, with what they are to hold.
    pub update: Vec<(Value, Vec<Value>)>,
    /// Known slices that hold nothing any more.
    pub delete: Vec<Value>,
}

/// What tells an endpoint from others: its address, and its pod.
fn place(endpoint: &Value) -> String {
    format!("{} {}", canonical(&endpoint["addresses"]), text(endpoint, "/targetRef/uid"))
}

/// Puts endpoints into slices: those that are in one stay there, new ones fill up what has room.
pub fn plan(known: Vec<Value>, wanted: Vec<Value>, most: usize) -> Plan {
    let mut wanted: BTreeMap<String, Value> = wanted.into_iter().map(|e| (place(&e), e)).collect();
    let mut plan = Plan::default();
    let mut kept: Vec<(Value, Vec<Value>)> = Vec::new();
    for slice in known {
        let stays = items(&slice, "/endpoints").iter().filter_map(|e| wanted.remove(&place(e))).collect();
        kept.push((slice, stays));
    }
    let mut rest = wanted.into_values();
    for (_, endpoints) in &mut kept {
        let room = most.saturating_sub(endpoints.len());
        endpoints.extend(rest.by_ref().take(room));
    }
    let rest: Vec<Value> = rest.collect();
    plan.create = rest.chunks(most.max(1)).map(<[Value]>::to_vec).collect();
    for (slice, endpoints) in kept {
        if endpoints.is_empty() { plan.delete.push(slice) } else { plan.update.push((slice, endpoints)) }
    }
    plan
}

/// What a set of slices has in common.
pub struct Common<'a> {
    /// The object they belong to.
    pub owner: &'a Value,
    /// Its kind.
    pub kind: &'static crate::tenant::api::Kind,
    /// Their labels.
    pub labels: Map<String, Value>,
    /// Their annotations, if these are decided here.
    pub annotations: Option<Map<String, Value>>,
    /// The family of their addresses.
    pub family: String,
    /// Their ports.
    pub ports: Vec<Value>,
}

impl Common<'_> {
    fn slice(&self, endpoints: Vec<Value>) -> Value {
        let mut slice = json!({
            "apiVersion": SLICES.api_version, "kind": SLICES.kind,
            "metadata": {
                "generateName": format!("{}-", name(self.owner)),
                "namespace": namespace(self.owner),
                "labels": self.labels,
                "ownerReferences": [controller_reference(self.owner, self.kind.api_version, self.kind.kind)],
            },
            "addressType": self.family,
            "endpoints": endpoints,
            "ports": self.ports,
        });
        if let Some(annotations) = self.annotations.as_ref().filter(|a| !a.is_empty()) {
            slice["metadata"]["annotations"] = annotations.clone().into();
        }
        slice
    }

    fn fits(&self, slice: &Value, endpoints: &[Value]) -> bool {
        let annotations = slice.pointer("/metadata/annotations").and_then(Value::as_object);
        items(slice, "/endpoints") == endpoints
            && slice.pointer("/metadata/labels").and_then(Value::as_object) == Some(&self.labels)
            && self.annotations.as_ref().is_none_or(|wanted| {
                annotations.is_none_or(Map::is_empty) && wanted.is_empty() || annotations == Some(wanted)
            })
    }

    /// Writes what a plan says.
    pub async fn carry_out(&self, cx: &Cx<'_>, plan: Plan) -> Result<(), Error> {
        for (slice, endpoints) in plan.update {
            if self.fits(&slice, &endpoints) {
                continue;
            }
            let mut next = slice.clone();
            next["metadata"]["labels"] = self.labels.clone().into();
            if let Some(annotations) = &self.annotations {
                next["metadata"]["annotations"] = annotations.clone().into();
            }
            next["endpoints"] = endpoints.into();
            cx.api.update(&SLICES, &next).await?;
        }
        for endpoints in plan.create {
            cx.api.create(&SLICES, namespace(self.owner), &self.slice(endpoints)).await?;
        }
        for slice in plan.delete {
            cx.api.delete(&SLICES, &slice, None).await?;
        }
        Ok(())
    }
}

/// The key of a set of ports, however they are ordered.
pub fn ports_key(ports: &[Value]) -> String {
    let mut keys: Vec<String> = ports.iter().map(canonical).collect();
    keys.sort();
    keys.join(" ")
}

/// The slices of an object that one writer wrote.
pub fn of<'a>(all: &'a Namespace, service: &'a str, writer: &'a str) -> impl Iterator<Item = &'a Value> {
    all.slices.iter().filter(move |slice| {
        label(slice, SERVICE_NAME) == Some(service)
            && label(slice, MANAGED_BY) == Some(writer)
            && !is_deleting(slice)
    })
}

/// Brings the slices of a Service to where they should be.
pub async fn sync(cx: &Cx<'_>, all: &Namespace, service: &Value, pods: &[&Value]) -> Result<(), Error> {
    let families = families(service);
    for slice in of(all, name(service), WRITER) {
        if !families.iter().any(|family| family == text(slice, "/addressType")) {
            cx.api.delete(&SLICES, slice, None).await?;
        }
    }
    for family in families {
        sync_family(cx, all, service, pods, &family).await?;
    }
    Ok(())
}

async fn sync_family(
    cx: &Cx<'_>,
    all: &Namespace,
    service: &Value,
    pods: &[&Value],
    family: &str,
) -> Result<(), Error> {
    let mut groups: BTreeMap<String, (Vec<Value>, Vec<Value>)> = BTreeMap::new();
    for pod in pods.iter().filter(|pod| counts(pod, true)) {
        let Some(ip) = super::address(pod, family) else { continue };
        let of_pod = ports(service, pod, true);
        let group = groups.entry(ports_key(&of_pod)).or_insert_with(|| (of_pod, Vec::new()));
        group.1.push(endpoint(all, service, pod, ip));
    }
    let mut known: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for slice in of(all, name(service), WRITER).filter(|slice| text(slice, "/addressType") == family) {
        known.entry(ports_key(items(slice, "/ports"))).or_default().push(slice.clone());
    }
    let common = |ports: Vec<Value>| Common {
        owner: service,
        kind: &SERVICES,
        labels: labels(service),
        annotations: None,
        family: family.to_owned(),
        ports,
    };
    if groups.is_empty() {
        // One slice stays, so that it is known that there is nothing.
        let mut slices: Vec<Value> = known.into_values().flatten().collect();
        slices.sort_by_cached_key(|slice| uid(slice).to_owned());
        let mut slices = slices.into_iter();
        let mut plan = Plan::default();
        match slices.next() {
            Some(kept) => plan.update.push((kept, Vec::new())),
            None => plan.create.push(Vec::new()),
        }
        plan.delete = slices.collect();
        return common(Vec::new()).carry_out(cx, plan).await;
    }
    for (key, (ports, endpoints)) in groups {
        let slices = known.remove(&key).unwrap_or_default();
        common(ports).carry_out(cx, plan(slices, endpoints, MOST)).await?;
    }
    let left = Plan { delete: known.into_values().flatten().collect(), ..Plan::default() };
    common(Vec::new()).carry_out(cx, left).await
}

/// Takes the labels of a slice that are decided by its writer out of those that are copied.
pub fn without_reserved(labels: &mut Map<String, Value>) {
    for key in [SERVICE_NAME, MANAGED_BY, HEADLESS] {
        labels.remove(key);
    }
}

/// The annotations of an object, without some.
pub fn annotations_without(object: &Value, left_out: &[&str]) -> Map<String, Value> {
    let mut object = object.clone();
    let map = map_at(&mut object, &["metadata", "annotations"]);
    for key in left_out {
        map.remove(*key);
    }
    map.clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(n: u32) -> Value {
        json!({ "addresses": [format!("10.0.0.{n}")], "targetRef": { "uid": n.to_string() } })
    }

    #[test]
    fn endpoints_stay_in_their_slices_and_new_ones_fill_them() {
        let slice = |name: &str, of: &[u32]| json!({ "metadata": { "name": name }, "endpoints": of.iter().map(|n| endpoint(*n)).collect::<Vec<_>>() });
        let known = vec![slice("a", &[1, 2]), slice("b", &[3])];
        let made = plan(known, [2, 4, 5, 6].map(endpoint).to_vec(), 2);
        assert_eq!(made.update.len(), 2);
        assert_eq!(made.update[0].1, [endpoint(2), endpoint(4)]);
        assert_eq!(made.update[1].1, [endpoint(5), endpoint(6)]);
        assert!(made.create.is_empty() && made.delete.is_empty());
        let made = plan(vec![slice("a", &[1])], Vec::new(), 2);
        assert_eq!(made.delete.len(), 1);
        let made = plan(Vec::new(), (0..5).map(endpoint).collect(), 2);
        assert_eq!(made.create.iter().map(Vec::len).collect::<Vec<_>>(), [2, 2, 1]);
    }
}
