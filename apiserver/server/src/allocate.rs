//! Addresses and ports that a Service is given: unique within its control plane.

use std::collections::HashSet;
use std::net::Ipv4Addr;

use kplane_admission::Reader;
use kplane_machinery::field::{FieldError, Path};
use kplane_machinery::{GroupResource, Status, object};
use rand::Rng;
use serde_json::{Value, json};

use crate::app::App;
use crate::endpoints::cx::{Cx, Resource};

/// The range of service addresses: 10.96.0.0/12.
const FIRST_ADDRESS: u32 = u32::from_be_bytes([10, 96, 0, 0]);
const ADDRESSES: u32 = 1 << 20;
/// The range of node ports.
const NODE_PORTS: std::ops::Range<i64> = 30000..32768;

impl App {
    /// Gives a Service what it lacks. Other kinds are given nothing.
    pub async fn allocate(
        &self,
        cx: &Cx,
        resource: &Resource,
        object: &mut Value,
        old: Option<&Value>,
    ) -> Result<(), Status> {
        let is_service = resource.def.group.is_empty() && &*resource.def.plural == "services";
        if !is_service || object["spec"].is_null() {
            return Ok(());
        }
        if let Some(old) = old {
            keep(object, old);
        }
        if needs_nothing(object, old) {
            return finish(object);
        }
        let others = cx.reader().list(&GroupResource::new("", "services"), "").await?;
        let others: Vec<&Value> =
            others.iter().filter(|other| object::uid(other) != object::uid(object)).collect();
        let given = object::str_at(object, &["spec", "clusterIP"]);
        if let Ok(given) = given.parse::<Ipv4Addr>()
            && !in_default_range(given)
            && !self.in_other_range(cx, given).await?
        {
            let why = "the provided network does not match the current range";
            return Err(not_allocated(resource, object, &given.to_string(), why));
        }
        allocate_address(resource, object, &others)?;
        allocate_ports(resource, object, &others)?;
        finish(object)
    }

    /// Whether an address lies in a range that a ServiceCIDR adds.
    async fn in_other_range(&self, cx: &Cx, address: Ipv4Addr) -> Result<bool, Status> {
        let ranges = cx.reader().list(&GroupResource::new("networking.k8s.io", "servicecidrs"), "").await?;
        let ranges = ranges.iter().filter_map(|range| range["spec"]["cidrs"].as_array()).flatten();
        Ok(ranges.filter_map(Value::as_str).any(|range| contains(range, address)))
    }
}

fn in_default_range(address: Ipv4Addr) -> bool {
    u32::from(address).checked_sub(FIRST_ADDRESS).is_some_and(|offset| offset < ADDRESSES)
}

fn contains(range: &str, address: Ipv4Addr) -> bool {
    let Some((first, bits)) = range.split_once('/') else { return false };
    let (Ok(first), Ok(bits)) = (first.parse::<Ipv4Addr>(), bits.parse::<u32>()) else { return false };
    let differing = u32::from(first) ^ u32::from(address);
    bits <= 32 && differing.checked_shr(32 - bits).unwrap_or(0) == 0
}

/// An address that was asked for and cannot be had.
fn not_allocated(resource: &Resource, object: &Value, address: &str, why: &str) -> Status {
    let error = FieldError::invalid(
        &Path::new("spec").child("clusterIPs"),
        &json!([address]),
        format!("failed to allocate IP {address}: {why}"),
    );
    Status::invalid(&resource.def.group_kind(), object::name(object), &vec![error])
}

fn service_type(object: &Value) -> &str {
    match object::str_at(object, &["spec", "type"]) {
        "" => "ClusterIP",
        given => given,
    }
}

fn has_address(object: &Value) -> bool {
    service_type(object) == "ExternalName" || !object::str_at(object, &["spec", "clusterIP"]).is_empty()
}

fn wants_ports(object: &Value) -> bool {
    match service_type(object) {
        "NodePort" => true,
        "LoadBalancer" => object["spec"]["allocateLoadBalancerNodePorts"].as_bool() != Some(false),
        _ => false,
    }
}

/// Whether all that a Service asks for is what it has already.
fn needs_nothing(object: &Value, old: Option<&Value>) -> bool {
    let address = &object["spec"]["clusterIP"];
    let has_address = has_address(object)
        && (service_type(object) == "ExternalName"
            || address == "None"
            || old.is_some_and(|old| old["spec"]["clusterIP"] == *address));
    let had: Vec<i64> = old.map(node_ports).unwrap_or_default();
    has_address && (!wants_ports(object) || node_ports(object).iter().all(|port| had.contains(port)))
}

/// The node port of each port; 0 for one that has none.
fn node_ports(object: &Value) -> Vec<i64> {
    let ports = object["spec"]["ports"].as_array().map(Vec::as_slice).unwrap_or_default();
    ports.iter().map(|port| port["nodePort"].as_i64().unwrap_or(0)).collect()
}

/// What an update leaves out stays what it was.
fn keep(object: &mut Value, old: &Value) {
    if service_type(object) == "ExternalName" || service_type(old) == "ExternalName" {
        return;
    }
    for field in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
        let absent = match &object["spec"][field] {
            Value::Null => true,
            Value::String(text) => text.is_empty(),
            Value::Array(list) => list.is_empty(),
            _ => false,
        };
        if absent && let Some(kept) = old["spec"].get(field) {
            object["spec"][field] = kept.clone();
        }
    }
    // Who changes the one address alone means the list as well.
    let (one, list) = (&object["spec"]["clusterIP"], &object["spec"]["clusterIPs"]);
    if *one != old["spec"]["clusterIP"] && *list == old["spec"]["clusterIPs"] && one.is_string() {
        object["spec"]["clusterIPs"] = json!([one]);
    }
    if wants_ports(object) && wants_ports(old) {
        let known: Vec<Value> = old["spec"]["ports"].as_array().cloned().unwrap_or_default();
        for port in object["spec"]["ports"].as_array_mut().into_iter().flatten() {
            // By name: everything else of the port may have changed.
            let same = |other: &&Value| other["name"] == port["name"];
            if port["nodePort"].as_i64().unwrap_or(0) == 0
                && let Some(number) = known.iter().find(same).and_then(|p| p["nodePort"].as_i64())
            {
                port["nodePort"] = number.into();
            }
        }
    }
}

fn allocate_address(resource: &Resource, object: &mut Value, others: &[&Value]) -> Result<(), Status> {
    let given = object::str_at(object, &["spec", "clusterIP"]).to_owned();
    let taken: HashSet<&str> =
        others.iter().map(|other| object::str_at(other, &["spec", "clusterIP"])).collect();
    if has_address(object) {
        if given != "None" && taken.contains(given.as_str()) {
            return Err(not_allocated(resource, object, &given, "provided IP is already allocated"));
        }
        return Ok(());
    }
    let mut rng = rand::rng();
    // The lower part of the range is kept for addresses that are asked for.
    let reserved = 256;
    for _ in 0..1024 {
        let address = Ipv4Addr::from(FIRST_ADDRESS + rng.random_range(reserved..ADDRESSES - 1)).to_string();
        if !taken.contains(address.as_str()) {
            object["spec"]["clusterIP"] = address.into();
            return Ok(());
        }
    }
    Err(Status::internal("failed to allocate a serviceIP: range is full"))
}

fn allocate_ports(resource: &Resource, object: &mut Value, others: &[&Value]) -> Result<(), Status> {
    if !wants_ports(object) {
        return Ok(());
    }
    let mut taken: HashSet<i64> = others
        .iter()
        .flat_map(|other| other["spec"]["ports"].as_array().into_iter().flatten())
        .filter_map(|port| port["nodePort"].as_i64())
        .collect();
    let name = object::name(object).to_owned();
    let kind = resource.def.group_kind();
    let mut rng = rand::rng();
    for (i, port) in object["spec"]["ports"].as_array_mut().into_iter().flatten().enumerate() {
        let path = Path::new("spec").child("ports").index(i).child("nodePort");
        let number = port["nodePort"].as_i64().unwrap_or(0);
        if number != 0 {
            let why = if !NODE_PORTS.contains(&number) {
                Some("provided port is not in the valid range. The range of valid ports is 30000-32767")
            } else if !taken.insert(number) {
                Some("provided port is already allocated")
            } else {
                None
            };
            if let Some(why) = why {
                let error = FieldError::invalid(&path, &number.into(), why);
                return Err(Status::invalid(&kind, &name, &vec![error]));
            }
            continue;
        }
        let free = (0..4096).map(|_| rng.random_range(NODE_PORTS)).find(|n| !taken.contains(n));
        let Some(number) = free else {
            return Err(Status::internal("failed to allocate a nodePort: range is full"));
        };
        taken.insert(number);
        port["nodePort"] = number.into();
    }
    Ok(())
}

/// What follows from the address.
fn finish(object: &mut Value) -> Result<(), Status> {
    let is_external = service_type(object) == "ExternalName";
    let Some(spec) = object["spec"].as_object_mut() else { return Ok(()) };
    if is_external {
        for field in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
            spec.remove(field);
        }
        return Ok(());
    }
    let Some(address) = spec.get("clusterIP").and_then(Value::as_str).map(str::to_owned) else {
        return Ok(());
    };
    spec.entry("clusterIPs").or_insert_with(|| json!([address]));
    spec.entry("ipFamilies").or_insert_with(|| json!([if address.contains(':') { "IPv6" } else { "IPv4" }]));
    spec.entry("ipFamilyPolicy").or_insert_with(|| "SingleStack".into());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_contain_their_addresses() {
        let within = |range, address: [u8; 4]| contains(range, Ipv4Addr::from(address));
        assert!(within("10.200.0.0/24", [10, 200, 0, 255]) && !within("10.200.0.0/24", [10, 200, 1, 0]));
        assert!(within("1.2.3.4/32", [1, 2, 3, 4]) && !within("1.2.3.4/32", [1, 2, 3, 5]));
        assert!(
            within("0.0.0.0/0", [9, 9, 9, 9]) && !within("::/0", [9, 9, 9, 9]) && !within("x", [9, 9, 9, 9])
        );
        assert!(
            in_default_range(Ipv4Addr::new(10, 96, 0, 1)) && !in_default_range(Ipv4Addr::new(10, 112, 0, 0))
        );
    }

    #[test]
    fn updates_keep_what_they_leave_out() {
        let old = json!({"spec": {"type": "NodePort", "clusterIP": "10.96.1.1", "clusterIPs": ["10.96.1.1"],
            "ports": [{"name": "a", "port": 80, "nodePort": 30001}]}});
        let mut new = json!({"spec": {"type": "NodePort", "ports": [{"name": "a", "port": 81}]}});
        keep(&mut new, &old);
        assert_eq!(new["spec"]["clusterIPs"], json!(["10.96.1.1"]));
        assert_eq!(new["spec"]["ports"][0]["nodePort"], 30001);
        assert!(needs_nothing(&new, Some(&old)) && !needs_nothing(&new, None));
        let mut moved = json!({"spec": {"clusterIP": "10.96.1.2", "ports": []}});
        keep(&mut moved, &old);
        assert_eq!(moved["spec"]["clusterIPs"], json!(["10.96.1.2"]));
    }
}
