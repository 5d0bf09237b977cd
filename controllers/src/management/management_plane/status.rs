//! The status of a management plane (no client required, but for Events).

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kplane_crds::conditions::{
    APISERVER_READY, BACKUP_SUCCEEDED, CERTIFICATES_READY, FIELDS_SUPPORTED, READY, STORE_READY, UPGRADING,
    reason,
};
use kplane_crds::v1alpha1::{ManagementPlane, ManagementPlaneStatus, StoreStatus, Topology};

use super::apply::Applied;
use super::authority::Phase;
use super::encryption::Step;
use super::upgrade::Rollout;
use crate::management::context::Context;
use crate::management::plane::{Health, PlaneHealth};
use crate::runtime::conditions::{Conditions, find};

/// In what steps the size of the store is told.
const SIZE_STEP: i64 = 16 << 20;

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
    Failed {
        /// For programs.
        reason: &'static str,
        /// For people.
        message: String,
    },
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
        Observed::Failed { reason, message } => {
            conditions.reconciling(reason, message.clone());
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
    let issued = match applied.expires {
        Some(expires) => format!("the certificates are issued; the first ends at {expires:.0}"),
        None => "the certificates are issued".to_owned(),
    };
    let (why, issued) = match applied.authorities {
        Some(Phase::Trusting) => (
            "TrustingNewAuthority",
            format!(
                "{issued}; an authority is being replaced: pods and kubeconfigs are told to trust the new one"
            ),
        ),
        Some(Phase::Overlapping) => {
            let until = applied.look_again.map(|until| format!(" until {until:.0}")).unwrap_or_default();
            let told = "an authority was replaced: all is signed by the new one, and the old one is trusted";
            ("OldAuthorityTrusted", format!("{issued}; {told}{until}"))
        }
        _ => match applied.encryption {
            None | Some(Step::Settled) => (reason::RECONCILED, issued),
            Some(step) => ("ReplacingEncryptionKey", format!("{issued}; {}", step.in_words())),
        },
    };
    conditions.set(CERTIFICATES_READY, true, why, issued);
    store(status, conditions, applied);
    let (available, wanted) = applied.apiserver;
    let message = format!("{available} of {wanted} replicas of the API server are available");
    let why = if available > 0 { reason::RECONCILED } else { reason::PROGRESSING };
    conditions.set(APISERVER_READY, available > 0, why, message.clone());
    let note = applied.store.note.as_ref().filter(|note| note.stops());
    let upgrading = upgrade(status, conditions, applied);
    if let Some((kept, message)) = upgrading.kept {
        // What ran goes on running: only somebody who changes the spec gets further.
        conditions.stalled(kept, message);
    } else if applied.is_ready() && upgrading.going {
        conditions.ready("Upgrading", message);
    } else if applied.is_ready() {
        conditions.ready(reason::RECONCILED, message);
    } else if let Some(note) =
        note.filter(|note| applied.trouble.is_none() || note.reason != reason::QUORUM_LOST)
    {
        // What keeps its pods from running is said with it; of a quorum that is lost it is the cause.
        let message = match &applied.trouble {
            Some(trouble) => format!("{}; {}", note.message, trouble.message),
            None => note.message.clone(),
        };
        conditions.reconciling(note.reason, message);
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

/// What an upgrade means for readiness.
struct Upgrading {
    /// Whether a rollout goes on.
    going: bool,
    /// Why the version is not what the spec wants: reason and message.
    kept: Option<(&'static str, String)>,
}

/// Says which version runs, and how a change of it is.
fn upgrade(status: &mut ManagementPlaneStatus, conditions: &mut Conditions, applied: &Applied) -> Upgrading {
    let Some(plan) = &applied.plan else { return Upgrading { going: false, kept: None } };
    if applied.rollout == Some(Rollout::Done) {
        status.version = Some(plan.run.version.clone());
        status.image = Some(plan.run.image.clone());
        if plan.kept.is_none() {
            status.failed_upgrade = None;
        }
    }
    if let Some(failed) = &applied.failed_upgrade {
        status.failed_upgrade = Some(failed.clone());
        conditions.set(UPGRADING, false, "UpgradeFailed", failed.message.clone());
        return Upgrading { going: false, kept: Some(("UpgradeFailed", failed.message.clone())) };
    }
    if let Some(kept) = &plan.kept {
        conditions.set(UPGRADING, false, kept.reason, kept.message.clone());
        return Upgrading { going: false, kept: Some((kept.reason, kept.message.clone())) };
    }
    match &plan.from {
        Some(from) if applied.rollout != Some(Rollout::Done) => {
            let message = format!("from {} to {}", from.image, plan.run.image);
            conditions.set(UPGRADING, true, "RollingOut", message);
            Upgrading { going: true, kept: None }
        }
        _ => {
            conditions.set(
                UPGRADING,
                false,
                reason::RECONCILED,
                format!("{} is what is wanted", plan.run.image),
            );
            Upgrading { going: false, kept: None }
        }
    }
}

/// What is known of the store and its snapshots.
fn store(status: &mut ManagementPlaneStatus, conditions: &mut Conditions, applied: &Applied) {
    let report = &applied.store;
    match (&report.note, applied.etcd) {
        (Some(note), _) => {
            conditions.set(STORE_READY, applied.store_ready(), note.reason, note.message.clone());
        }
        (None, Some((ready, wanted))) => {
            let message = format!("{ready} of {wanted} members of etcd are ready");
            let why = match (applied.store_ready(), ready < wanted) {
                (true, false) => reason::RECONCILED,
                // A quorum goes on without it; the next that is lost ends that.
                (true, true) => reason::MEMBER_MISSING,
                (false, _) => reason::PROGRESSING,
            };
            conditions.set(STORE_READY, applied.store_ready(), why, message);
        }
        (None, None) if applied.apiserver.0 > 0 => {
            conditions.set(STORE_READY, true, reason::RECONCILED, "the API server is ready, so its store is");
        }
        (None, None) => {
            conditions.unknown(STORE_READY, reason::PROGRESSING, "only the API server can tell");
        }
    }
    let known = status.store.take().unwrap_or_default();
    let backups = report.backups.as_ref();
    let new = StoreStatus {
        members: report.members.or(known.members),
        // In steps, so that growth alone is not news all the time.
        size_bytes: report.size.map(|size| size.div_euclid(SIZE_STEP) * SIZE_STEP).or(known.size_bytes),
        last_backup: backups.and_then(|backups| backups.last.clone()).or(known.last_backup),
        restored_from: report.restored_from.clone().or(known.restored_from),
    };
    status.store = (new != StoreStatus::default()).then_some(new);
    match backups {
        None => {
            conditions.remove(BACKUP_SUCCEEDED);
        }
        Some(backups) => {
            let message = backups.message.clone();
            match backups.succeeded {
                Some(succeeded) => conditions.set(BACKUP_SUCCEEDED, succeeded, backups.reason, message),
                None => conditions.unknown(BACKUP_SUCCEEDED, backups.reason, message),
            };
        }
    }
}

/// Emits an Event when a condition that people wait for, or its reason, changes.
pub async fn announce(plane: &ManagementPlane, new: &ManagementPlaneStatus, context: &Context) {
    let old = plane.status.as_ref().map_or(&[][..], |status| &status.conditions);
    let changed = |type_: &str| {
        let new = find(&new.conditions, type_)?;
        let same = |old: &Condition| old.status == new.status && old.reason == new.reason;
        (!find(old, type_).is_some_and(same)).then_some(new)
    };
    if let Some(ready) = changed(READY) {
        let reason = if ready.status == "True" { "Ready" } else { ready.reason.as_str() };
        if ready.status == "True" {
            context.events.normal(plane, reason, &ready.message).await;
        } else {
            context.events.warning(plane, reason, &ready.message).await;
        }
    }
    for type_ in [STORE_READY, BACKUP_SUCCEEDED] {
        let Some(changed) = changed(type_) else { continue };
        match changed.status.as_str() {
            // That a part is as it should be, or on its way, is no news by itself.
            _ if [reason::RECONCILED, reason::PROGRESSING].contains(&changed.reason.as_str()) => {}
            "False" => context.events.warning(plane, &changed.reason, &changed.message).await,
            _ => context.events.normal(plane, &changed.reason, &changed.message).await,
        }
    }
    // Their first word is no news, and what keeps the plane from being ready was said.
    for type_ in [CERTIFICATES_READY, UPGRADING] {
        if let Some(changed) = changed(type_).filter(|_| find(old, type_).is_some()) {
            let reason = if changed.reason == reason::RECONCILED { type_ } else { changed.reason.as_str() };
            context.events.normal(plane, reason, &changed.message).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::management::management_plane::upgrade::{Kept, Plan, Release};
    use crate::runtime::conditions::is_true;
    use kplane_crds::conditions::STALLED;
    use kplane_crds::v1alpha1::{FailedUpgrade, ManagementPlaneSpec};

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
    fn the_store_says_what_is_wrong_with_it_and_what_was_saved() {
        use crate::management::management_plane::store::{Backups, Note};
        use kplane_crds::v1alpha1::BackupStatus;
        let mut applied = Applied { etcd: Some((3, 3)), apiserver: (2, 2), ..Applied::default() };
        applied.endpoint = Some("https://x".into());
        let of = |applied: &Applied, type_: &str| {
            let status = computed(&Observed::Deployed(Box::new(applied.clone())));
            find(&status.conditions, type_).map(|c| (c.status.clone(), c.reason.clone()))
        };
        let is = |status: &str, reason: &str| Some((status.to_owned(), reason.to_owned()));
        applied.store.note = Some(Note { reason: reason::SCALING, message: "one joins".into() });
        assert_eq!(of(&applied, STORE_READY), is("True", "Scaling"));
        assert_eq!(of(&applied, READY), is("True", "Reconciled"));
        applied.store.note = Some(Note { reason: reason::NO_SPACE, message: "full".into() });
        assert_eq!(of(&applied, STORE_READY), is("False", "NoSpace"));
        assert_eq!(of(&applied, READY), is("False", "NoSpace"));
        assert_eq!(of(&applied, BACKUP_SUCCEEDED), None);
        applied.store.backups = Some(Backups {
            last: Some(BackupStatus { name: "kplane-1.db".into(), ..BackupStatus::default() }),
            succeeded: Some(false),
            reason: reason::BACKUP_FAILED,
            message: "no".into(),
        });
        assert_eq!(of(&applied, BACKUP_SUCCEEDED), is("False", "BackupFailed"));
        let status = computed(&Observed::Deployed(Box::new(applied)));
        assert_eq!(status.store.unwrap().last_backup.unwrap().name, "kplane-1.db");
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

    fn planned(kept: Option<Kept>) -> Applied {
        let release = |version: &str| Release { image: format!("i:{version}"), version: version.into() };
        let from = kept.is_none().then(|| release("v1"));
        let plan = Plan { run: release(if kept.is_none() { "v2" } else { "v1" }), from, kept };
        Applied {
            endpoint: Some("https://x".into()),
            apiserver: (2, 2),
            plan: Some(plan),
            rollout: Some(Rollout::Going),
            ..Applied::default()
        }
    }

    #[test]
    fn an_upgrade_is_seen_and_the_version_is_the_one_that_runs() {
        let mut applied = planned(None);
        let status = computed(&Observed::Deployed(Box::new(applied.clone())));
        assert!(is_true(&status.conditions, UPGRADING) && is_true(&status.conditions, READY));
        assert_eq!(find(&status.conditions, READY).unwrap().reason, "Upgrading");
        assert_eq!(status.version, None);
        applied.rollout = Some(Rollout::Done);
        let status = computed(&Observed::Deployed(Box::new(applied)));
        assert_eq!((status.version.as_deref(), status.image.as_deref()), (Some("v2"), Some("i:v2")));
        assert!(!is_true(&status.conditions, UPGRADING));
    }

    #[test]
    fn an_upgrade_that_cannot_be_stalls_and_says_what_to_do() {
        let kept = Kept { reason: "VersionSkew", message: "go by v1.3 first".into() };
        let status = computed(&Observed::Deployed(Box::new(planned(Some(kept)))));
        let ready = find(&status.conditions, READY).unwrap();
        assert_eq!((ready.status.as_str(), ready.reason.as_str()), ("False", "VersionSkew"));
        assert!(is_true(&status.conditions, STALLED));
        let failed = FailedUpgrade { image: "i:v2".into(), generation: 1, message: "mend it".into() };
        let applied = Applied { failed_upgrade: Some(failed.clone()), ..planned(None) };
        let status = computed(&Observed::Deployed(Box::new(applied)));
        assert_eq!(find(&status.conditions, READY).unwrap().reason, "UpgradeFailed");
        assert_eq!(status.failed_upgrade, Some(failed));
    }

    #[test]
    fn the_replacement_of_an_authority_is_seen() {
        let why = |authorities| {
            let applied = Applied { authorities, ..planned(None) };
            let status = computed(&Observed::Deployed(Box::new(applied)));
            find(&status.conditions, CERTIFICATES_READY).unwrap().reason.clone()
        };
        assert_eq!(why(Some(Phase::Settled)), reason::RECONCILED);
        assert_eq!(why(Some(Phase::Trusting)), "TrustingNewAuthority");
        assert_eq!(why(Some(Phase::Overlapping)), "OldAuthorityTrusted");
    }
}
