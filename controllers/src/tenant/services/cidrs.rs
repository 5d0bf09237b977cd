//! ServiceCIDRs: ready when they are there, and gone when no address needs them any more.

use std::net::IpAddr;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::Error;
use crate::runtime::raw;
use crate::tenant::api::{ADDRESSES, SERVICE_CIDRS};
use crate::tenant::object::object_path;
use crate::tenant::queue::Next;
use crate::tenant::tasks::{Cx, Holds};
use crate::tenant::value::{
    condition, elapsed, has_finalizer, is_deleting, items, label, name, stamp, text, time,
};

const COMPONENT: &str = "service-cidr-controller";
const FINALIZER: &str = "networking.k8s.io/service-cidr-finalizer";
const READY: &str = "Kubernetes Service CIDR is ready";
const IN_USE: &str =
    "There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new ServiceCIDR";
const MANAGED_BY: &str = "ipaddress.kubernetes.io/managed-by";
const ALLOCATOR: &str = "ipallocator.k8s.io";
/// How long those that give out addresses have to notice a deletion.
const GRACE: Duration = Duration::from_secs(10);

/// A range of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Range {
    first: IpAddr,
    bits: u32,
}

impl Range {
    fn parse(text: &str) -> Option<Self> {
        let (first, bits) = text.split_once('/')?;
        Some(Self { first: first.parse().ok()?, bits: bits.parse().ok()? })
    }

    fn holds(&self, address: IpAddr) -> bool {
        let same = |a: u128, b: u128, width: u32| {
            let shift = width.saturating_sub(self.bits);
            shift >= 128 || a >> shift == b >> shift
        };
        match (self.first, address) {
            (IpAddr::V4(a), IpAddr::V4(b)) => same(u32::from(a).into(), u32::from(b).into(), 32),
            (IpAddr::V6(a), IpAddr::V6(b)) => same(a.into(), b.into(), 128),
            _ => false,
        }
    }

    fn covers(&self, other: &Self) -> bool {
        self.bits <= other.bits && self.holds(other.first)
    }
}

fn ranges(cidr: &Value) -> Vec<Range> {
    items(cidr, "/spec/cidrs").iter().filter_map(Value::as_str).filter_map(Range::parse).collect()
}

/// Whether no address would be left without a range.
fn is_free(cidr: &Value, all: &[Value], addresses: &[Value]) -> bool {
    let others: Vec<Range> = all.iter().filter(|other| name(other) != name(cidr)).flat_map(ranges).collect();
    let own = ranges(cidr);
    if own.iter().all(|range| others.iter().any(|other| other.covers(range))) {
        return true;
    }
    !addresses.iter().filter_map(|object| name(object).parse::<IpAddr>().ok()).any(|address| {
        own.iter().any(|range| range.holds(address)) && !others.iter().any(|other| other.holds(address))
    })
}

/// Looks at those of a control plane.
pub async fn reconcile(cx: &Cx<'_>) -> Result<Next, Error> {
    cx.tasks.forget(&cx.key.cluster, "", Holds::ServiceCidrs);
    let all = cx.api.list(&SERVICE_CIDRS, "").await?;
    let mut wait: Option<Duration> = None;
    for cidr in &all {
        if is_deleting(cidr) {
            if has_finalizer(cidr, FINALIZER) {
                cx.tasks.note(&cx.key.cluster, "", Holds::ServiceCidrs);
                wait = wait.into_iter().chain(end(cx, cidr, &all).await?).min();
            }
            continue;
        }
        futures::future::try_join(hold(cx, cidr), tell(cx, cidr, "True", "", READY)).await?;
    }
    Ok(wait.map_or(Next::Done, Next::After))
}

/// Puts the finalizer on a range.
async fn hold(cx: &Cx<'_>, cidr: &Value) -> Result<(), Error> {
    if !has_finalizer(cidr, FINALIZER) {
        raw::optional(cx.api.add_finalizer(&SERVICE_CIDRS, cidr, FINALIZER).await)?;
    }
    Ok(())
}

async fn end(cx: &Cx<'_>, cidr: &Value, all: &[Value]) -> Result<Option<Duration>, Error> {
    let mut addresses = cx.api.list(&ADDRESSES, "").await?;
    // Those that users made by hand hold nothing.
    addresses.retain(|address| label(address, MANAGED_BY) == Some(ALLOCATOR));
    if !is_free(cidr, all, &addresses) {
        tell(cx, cidr, "False", "Terminating", IN_USE).await?;
        return Ok(None);
    }
    let since = time(cidr, "/metadata/deletionTimestamp");
    let been = since.map_or(GRACE, |since| elapsed(since, Timestamp::now()));
    if been < GRACE {
        return Ok(Some(GRACE - been));
    }
    let rest: Vec<&Value> = items(cidr, "/metadata/finalizers").iter().filter(|f| *f != FINALIZER).collect();
    let patch = json!({ "metadata": { "finalizers": rest } });
    raw::optional(cx.api.patch_unchanged(&SERVICE_CIDRS, cidr, patch).await)?;
    Ok(None)
}

/// Says whether a range is ready, unless it is said already.
async fn tell(cx: &Cx<'_>, cidr: &Value, holds: &str, reason: &str, message: &str) -> Result<(), Error> {
    let said = condition(cidr, "Ready").is_some_and(|c| {
        text(c, "/status") == holds && text(c, "/reason") == reason && text(c, "/message") == message
    });
    if said {
        return Ok(());
    }
    let body = json!({
        "apiVersion": SERVICE_CIDRS.api_version, "kind": SERVICE_CIDRS.kind,
        "metadata": { "name": name(cidr) },
        "status": { "conditions": [{
            "type": "Ready", "status": holds, "reason": reason, "message": message,
            "lastTransitionTime": stamp(Timestamp::now()),
        }]},
    });
    let path = object_path(SERVICE_CIDRS.api_version, SERVICE_CIDRS.plural, "", name(cidr));
    raw::optional(cx.api.apply(&format!("{path}/status"), COMPONENT, &body).await)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cidr(name: &str, range: &str) -> Value {
        json!({ "metadata": { "name": name }, "spec": { "cidrs": [range] } })
    }

    #[test]
    fn a_range_is_free_when_its_addresses_have_another() {
        let (a, b) = (cidr("a", "10.0.0.0/24"), cidr("b", "10.0.0.0/16"));
        let address = json!({ "metadata": { "name": "10.0.0.7" } });
        let addresses = std::slice::from_ref(&address);
        assert!(is_free(&a, &[a.clone(), b.clone()], addresses));
        assert!(!is_free(&a, std::slice::from_ref(&a), addresses));
        assert!(is_free(&a, std::slice::from_ref(&a), &[]));
        assert!(!is_free(&b, &[b.clone(), cidr("c", "10.1.0.0/16")], addresses));
    }
}
