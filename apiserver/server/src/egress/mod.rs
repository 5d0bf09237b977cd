//! Calls that leave the server: under which policy, and on whose word.

pub mod post;
pub mod service;

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context as _;
use kplane_egress::{Caller, IpNet, Policy, parse_ranges};
use kplane_kinds::tenancy::GROUP;
use kplane_machinery::{Status, object};
use kplane_registry::{ObjectKey, Vcp};
use serde_json::Value;

use crate::app::App;
use crate::endpoints::failures;
use crate::options::Options;
use crate::tenancy::resource_key;

/// What the flags allow and deny.
pub fn policy(options: &Options, address: SocketAddr) -> anyhow::Result<Policy> {
    let ranges = |flag: &str, given: &[String]| -> anyhow::Result<Vec<IpNet>> {
        let given = given.iter().map(String::as_str).filter(|text| !text.is_empty());
        parse_ranges(given).map_err(anyhow::Error::msg).with_context(|| flag.to_owned())
    };
    let mut own = vec![address];
    // The store's servers, where they are given by address.
    own.extend(options.etcd_servers.iter().filter_map(|url| {
        let authority = url.split_once("://").map_or(url.as_str(), |(_, rest)| rest);
        authority.trim_end_matches('/').parse::<SocketAddr>().ok()
    }));
    Ok(Policy {
        denied: ranges("--egress-denied-cidrs", &options.egress_denied_cidrs)?,
        allowed: ranges("--egress-allowed-cidrs", &options.egress_allowed_cidrs)?,
        own,
    })
}

impl App {
    /// On whose word a call is made that an object of a control plane directs. What the control plane may reach is read
    /// from its record, as fresh as any read.
    pub async fn caller(&self, vcp: &Vcp) -> Result<Caller, Status> {
        if vcp.is_root() {
            return Ok(Caller::Root);
        }
        let key = ObjectKey { resource: resource_key(), namespace: None, name: vcp.name.clone() };
        let root = self.registry.root();
        let record = self.registry.get(&root, &key).await.map_err(failures::store)?;
        let record = record.ok_or_else(|| failures::store(kplane_registry::Error::VcpGone))?;
        let record = record.to_value().map_err(Status::internal)?;
        // Another of the same name has grants of its own.
        if object::uid(&record) != vcp.uid() {
            return Err(failures::store(kplane_registry::Error::VcpGone));
        }
        let given = record["spec"]["egress"]["allowedCIDRs"].as_array();
        let allowed = parse_ranges(given.into_iter().flatten().filter_map(Value::as_str));
        let allowed = allowed.map_err(|why| {
            Status::internal(format!(
                "{GROUP}: spec.egress.allowedCIDRs of VirtualCluster {}: {why}",
                vcp.name
            ))
        })?;
        Ok(Caller::Tenant { id: vcp.id.to_string().into(), allowed: Arc::from(allowed) })
    }
}
