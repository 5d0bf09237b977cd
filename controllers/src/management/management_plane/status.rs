//! The status of a management plane (no client required, but for Events).

use kplane_crds::conditions::{
    APISERVER_READY, CERTIFICATES_READY, FIELDS_SUPPORTED, READY, STORE_READY, reason,
};
use kplane_crds::v1alpha1::{ManagementPlane, ManagementPlaneStatus, Topology};

use super::apply::Applied;
use crate::management::context::Context;
use crate::management::plane::{Health, PlaneHealth};
use crate::runtime::conditions::{Conditions, find};

/// What one pass found.
pub enum Observed {
    /// It cannot be provided.
    Impossible {
        /// Why not.
        message: String,
    },
    /// This process serves.
    Embedded {
        /// The address.
        endpoint: String,
        /// What verifies it, in PEM.
        ca: String,
        /// The version of the server.
        version: String,
        /// How it is doing.
        health: Box<PlaneHealth>,
    },
    /// Pods serve.
    Deployed(Box<Applied>),
    /// A step failed.
    Failed(String),
}

/// The status after a pass.
pub fn compute(
    plane: &ManagementPlane,
    observed: &Observed,
    unsupported: &[&str],
    now: jiff::Timestamp,
) -> ManagementPlaneStatus {
    let generation = plane.metadata.generation;
    let mut status = plane.status.clone().unwrap_or_default();
    let mut conditions = Conditions::new(&status.conditions, generation, now);
    if unsupported.is_empty() {
        conditions.set(FIELDS_SUPPORTED, true, reason::RESOLVED, "every field that is set does something");
    } else {
        let message = format!("these fields do nothing here yet: {}", unsupported.join(", "));
        conditions.set(FIELDS_SUPPORTED, false, reason::UNSUPPORTED_FIELDS, message);
    }
    match observed {
        Observed::Impossible { message } => {
            conditions.stalled(reason::TOPOLOGY_IMPOSSIBLE, message.clone());
        }
        Observed::Failed(message) => {
            conditions.reconciling(reason::RETRYING, message.clone());
        }
        Observed::Embedded { endpoint, ca, version, health } => {
            status.topology = Some(Topology::Embedded);
            status.endpoint = Some(endpoint.clone());
            status.internal_endpoint = Some(endpoint.clone());
            status.ca_bundle = Some(ca.clone());
            status.version = Some(version.clone());
            let parts = [
                (STORE_READY, &health.store),
                (APISERVER_READY, &health.apiserver),
                (CERTIFICATES_READY, &health.certificates),
            ];
            for (type_, part) in parts {
                conditions.set(type_, part.ok, reason_of(part), part.message.clone());
            }
            match parts.iter().find(|(_, part)| !part.ok) {
                None => conditions.ready(reason::RECONCILED, "this process serves"),
                Some((_, part)) => conditions.reconciling(reason_of(part), part.message.clone()),
            };
        }
        Observed::Deployed(applied) => deployed(&mut status, &mut conditions, applied),
    }
    status.conditions = conditions.finish();
    status.observed_generation = generation.unwrap_or(status.observed_generation);
    status
}

/// The status of a management plane that is to go and does not, because of what would be lost.
pub fn refused(plane: &ManagementPlane, message: &str, now: jiff::Timestamp) -> ManagementPlaneStatus {
    let generation = plane.metadata.generation;
    let mut status = plane.status.clone().unwrap_or_default();
    let mut conditions = Conditions::new(&status.conditions, generation, now);
    conditions.stalled("ControlPlanesLeft", message.to_owned());
    status.conditions = conditions.finish();
    status.observed_generation = generation.unwrap_or(status.observed_generation);
    status
}

/// A condition's reason may not be empty.
fn reason_of(part: &Health) -> &str {
    if part.reason.is_empty() { reason::PROGRESSING } else { &part.reason }
}

fn deployed(status: &mut ManagementPlaneStatus, conditions: &mut Conditions, applied: &Applied) {
    status.topology = Some(Topology::Deployed);
    status.internal_endpoint = Some(applied.internal_endpoint.clone());
    status.ca_bundle = Some(applied.ca.clone());
    if applied.endpoint.is_some() {
        status.endpoint.clone_from(&applied.endpoint);
    }
    if applied.apiserver.0 > 0 {
        status.version = Some(applied.version.clone());
    }
    let issued = match applied.expires {
        Some(expires) => format!("the certificates are issued; the first ends at {expires:.0}"),
        None => "the certificates are issued".to_owned(),
    };
    conditions.set(CERTIFICATES_READY, true, reason::RECONCILED, issued);
    match applied.etcd {
        Some((ready, wanted)) => {
            let message = format!("{ready} of {wanted} members of etcd are ready");
            let why = match (applied.store_ready(), ready < wanted) {
                (true, false) => reason::RECONCILED,
                // A quorum goes on without it; the next that is lost ends that.
                (true, true) => "MemberMissing",
                (false, _) => reason::PROGRESSING,
            };
            conditions.set(STORE_READY, applied.store_ready(), why, message);
        }
        None if applied.apiserver.0 > 0 => {
            conditions.set(STORE_READY, true, reason::RECONCILED, "the API server is ready, so its store is");
        }
        None => {
            conditions.unknown(STORE_READY, reason::PROGRESSING, "only the API server can tell");
        }
    }
    let (available, wanted) = applied.apiserver;
    let message = format!("{available} of {wanted} replicas of the API server are available");
    let why = if available > 0 { reason::RECONCILED } else { reason::PROGRESSING };
    conditions.set(APISERVER_READY, available > 0, why, message.clone());
    if applied.is_ready() {
        conditions.ready(reason::RECONCILED, message);
    } else if let Some(trouble) = &applied.trouble {
        conditions.reconciling(trouble.reason, trouble.message.clone());
    } else if !applied.store_ready() {
        conditions.reconciling("StorePending", "waiting for a quorum of etcd");
    } else if available == 0 {
        conditions.reconciling("ApiserverPending", message);
    } else {
        conditions.reconciling(reason::ENDPOINT_PENDING, "waiting for the address of the load balancer");
    }
}

/// Emits an Event when readiness or its reason changes.
pub async fn announce(plane: &ManagementPlane, new: &ManagementPlaneStatus, context: &Context) {
    let old = plane.status.as_ref().and_then(|s| find(&s.conditions, READY));
    let Some(new) = find(&new.conditions, READY) else { return };
    if old.is_some_and(|old| old.status == new.status && old.reason == new.reason) {
        return;
    }
    if new.status == "True" {
        context.events.normal(plane, "Ready", &new.message).await;
    } else {
        context.events.warning(plane, &new.reason, &new.message).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::conditions::is_true;
    use kplane_crds::conditions::STALLED;
    use kplane_crds::v1alpha1::ManagementPlaneSpec;

    fn computed(observed: &Observed) -> ManagementPlaneStatus {
        let plane = ManagementPlane::new("default", ManagementPlaneSpec::default());
        compute(&plane, observed, &[], jiff::Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn an_embedded_plane_is_as_ready_as_its_worst_part() {
        let observed = |health| Observed::Embedded {
            endpoint: "https://127.0.0.1:8443".into(),
            ca: "pem".into(),
            version: "v1".into(),
            health: Box::new(health),
        };
        let status = computed(&observed(PlaneHealth::ok()));
        assert!(is_true(&status.conditions, READY) && is_true(&status.conditions, STORE_READY));
        assert_eq!(status.endpoint.as_deref(), Some("https://127.0.0.1:8443"));
        let sick = PlaneHealth { store: Health::failed("DiskFull", "no space"), ..PlaneHealth::ok() };
        let status = computed(&observed(sick));
        assert_eq!(find(&status.conditions, READY).unwrap().reason, "DiskFull");
        assert!(is_true(&status.conditions, APISERVER_READY));
    }

    #[test]
    fn an_impossible_topology_stalls() {
        let status = computed(&Observed::Impossible { message: "no".into() });
        assert!(is_true(&status.conditions, STALLED));
        assert_eq!(find(&status.conditions, READY).unwrap().reason, reason::TOPOLOGY_IMPOSSIBLE);
    }

    #[test]
    fn a_deployed_plane_waits_for_its_parts_in_order() {
        let mut applied = Applied { etcd: Some((0, 3)), apiserver: (0, 2), ..Applied::default() };
        let why = |applied: &Applied| {
            let status = computed(&Observed::Deployed(Box::new(applied.clone())));
            find(&status.conditions, READY).unwrap().reason.clone()
        };
        assert_eq!(why(&applied), "StorePending");
        applied.etcd = Some((3, 3));
        assert_eq!(why(&applied), "ApiserverPending");
        applied.apiserver = (2, 2);
        assert_eq!(why(&applied), reason::ENDPOINT_PENDING);
        applied.endpoint = Some("https://x".into());
        assert_eq!(why(&applied), reason::RECONCILED);
    }
}
