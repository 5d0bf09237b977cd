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
        if needs_nothing(object) {
            return finish(object);
        }
        let others = cx.reader().list(&GroupResource::new("", "services"), "").await?;
        let others: Vec<&Value> =
            others.iter().filter(|other| object::uid(other) != object::uid(object)).collect();
        allocate_address(resource, object, &others)?;
        allocate_ports(resource, object, &others)?;
        finish(object)
    }
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

fn needs_nothing(object: &Value) -> bool {
    let ports_given = object["spec"]["ports"]
        .as_array()
        .is_none_or(|ports| ports.iter().all(|p| p["nodePort"].as_i64().is_some_and(|n| n != 0)));
    has_address(object) && (!wants_ports(object) || ports_given)
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
    if wants_ports(object) && wants_ports(old) {
        let known: Vec<Value> = old["spec"]["ports"].as_array().cloned().unwrap_or_default();
        for port in object["spec"]["ports"].as_array_mut().into_iter().flatten() {
            let same =
                |other: &&Value| other["port"] == port["port"] && other["protocol"] == port["protocol"];
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
            let error = FieldError::invalid(
                &Path::new("spec").child("clusterIPs"),
                &json!([given]),
                format!("failed to allocate IP {given}: provided IP is already allocated"),
            );
            return Err(Status::invalid(&resource.def.group_kind(), object::name(object), &vec![error]));
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
