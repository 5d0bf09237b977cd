//! From a Service of a control plane to an address that answers for it.
//!
//! A cluster address is an address of no network that the server is in, so what is dialled is a ready endpoint.

use std::net::{IpAddr, SocketAddr};

use kplane_admission::Reader;
use kplane_machinery::{GroupResource, object};
use rand::seq::IndexedRandom;
use serde_json::Value;

/// What answers for a port of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Backend {
    /// A ready endpoint.
    Address(SocketAddr),
    /// Another name, and the port: an `ExternalName`.
    Name(String, u16),
}

/// Why there is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unresolved {
    /// There is no such Service.
    NoService(String),
    /// It has no such port.
    NoPort(String),
    /// Nothing is ready behind it.
    NoEndpoints(String),
    /// The control plane could not be read.
    Unknown(String),
}

impl std::fmt::Display for Unresolved {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NoService(why) | Self::NoPort(why) | Self::NoEndpoints(why) | Self::Unknown(why) => {
                f.write_str(why)
            }
        }
    }
}

/// Finds what answers for a port of a Service.
pub async fn resolve(
    reader: &dyn Reader,
    namespace: &str,
    name: &str,
    port: u16,
) -> Result<Backend, Unresolved> {
    let unknown = |status: kplane_machinery::Status| Unresolved::Unknown(status.message);
    let services = GroupResource::new("", "services");
    let service = reader.get(&services, namespace, name).await.map_err(unknown)?;
    let service = service.ok_or_else(|| Unresolved::NoService(format!("service {name:?} not found")))?;
    if object::str_at(&service, &["spec", "type"]) == "ExternalName" {
        return Ok(Backend::Name(object::str_at(&service, &["spec", "externalName"]).to_owned(), port));
    }
    let listed = service["spec"]["ports"].as_array();
    let found = listed.into_iter().flatten().find(|listed| listed["port"].as_u64() == Some(port.into()));
    let found = found
        .ok_or_else(|| Unresolved::NoPort(format!("no service port {port} found for service {name:?}")))?;
    let port_name = found["name"].as_str().unwrap_or("");
    // The one object first: it is one read.
    let endpoints = GroupResource::new("", "endpoints");
    let endpoints = reader.get(&endpoints, namespace, name).await.map_err(unknown)?;
    let mut ready = endpoints.as_ref().map(|object| of_endpoints(object, port_name)).unwrap_or_default();
    if ready.is_empty() {
        let slices = GroupResource::new("discovery.k8s.io", "endpointslices");
        for slice in reader.list(&slices, namespace).await.map_err(unknown)? {
            if slice["metadata"]["labels"]["kubernetes.io/service-name"] == name {
                ready.extend(of_slice(&slice, port_name));
            }
        }
    }
    let chosen = ready.choose(&mut rand::rng()).copied();
    chosen
        .map(Backend::Address)
        .ok_or_else(|| Unresolved::NoEndpoints(format!("no endpoints available for service {name:?}")))
}

fn address(ip: &Value, port: Option<u64>) -> Option<SocketAddr> {
    let ip: IpAddr = ip.as_str()?.parse().ok()?;
    Some(SocketAddr::new(ip, u16::try_from(port?).ok()?))
}

fn port_named(ports: &Value, name: &str) -> Option<u64> {
    let named = |port: &&Value| port.get("name").and_then(Value::as_str).unwrap_or("") == name;
    ports.as_array()?.iter().find(named)?["port"].as_u64()
}

fn of_endpoints(endpoints: &Value, port: &str) -> Vec<SocketAddr> {
    let subsets = endpoints["subsets"].as_array();
    let addresses = subsets.into_iter().flatten().flat_map(|subset| {
        let port = port_named(&subset["ports"], port);
        let listed = subset["addresses"].as_array();
        listed.into_iter().flatten().filter_map(move |at| address(&at["ip"], port))
    });
    addresses.collect()
}

fn of_slice(slice: &Value, port: &str) -> Vec<SocketAddr> {
    let port = port_named(&slice["ports"], port);
    let listed = slice["endpoints"].as_array();
    let ready = listed.into_iter().flatten().filter(|endpoint| endpoint["conditions"]["ready"] != false);
    let addresses = ready.flat_map(|endpoint| endpoint["addresses"].as_array().into_iter().flatten());
    addresses.filter_map(|ip| address(ip, port)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn ready_addresses_are_those_of_the_named_port() {
        let endpoints = json!({"subsets": [
            {
                "addresses": [{"ip": "10.0.0.1"}], "notReadyAddresses": [{"ip": "10.0.0.2"}],
                "ports": [{"name": "https", "port": 8443}, {"name": "metrics", "port": 9090}],
            },
            {"addresses": [{"ip": "10.0.0.3"}], "ports": [{"name": "metrics", "port": 9090}]},
        ]});
        assert_eq!(of_endpoints(&endpoints, "https"), ["10.0.0.1:8443".parse().unwrap()]);
        let slice = json!({
            "ports": [{"name": "", "port": 443}],
            "endpoints": [
                {"addresses": ["fd00::1"], "conditions": {"ready": true}},
                {"addresses": ["fd00::2"], "conditions": {"ready": false}},
                {"addresses": ["fd00::3"]},
            ],
        });
        assert_eq!(of_slice(&slice, "").len(), 2);
        assert_eq!(of_slice(&slice, "other"), []);
    }
}
