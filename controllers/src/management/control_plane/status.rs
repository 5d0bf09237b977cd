//! The status of a ControlPlane (no client required, but for Events).

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kplane_crds::conditions::{
    ACCEPTED, ADDONS_READY, CREDENTIALS_READY, ENDPOINT_READY, EXPORTS_READY, READY, reason,
};
use kplane_crds::reference::SecretReference;
use kplane_crds::v1alpha1::{ControlPlane, ControlPlaneStatus};

use super::validate::{AddonsState, Refusal};
use crate::Error;
use crate::management::access::rotation;
use crate::management::context::Context;
use crate::management::exports::Exported;
use crate::management::kubeconfig::Validity;
use crate::runtime::conditions::{Conditions, find};

/// How far one pass came.
#[derive(Default)]
pub struct Progress {
    /// The uid of the record, once the path is ours.
    pub record_uid: Option<String>,
    /// The epoch of the credentials, once the path is ours.
    pub epoch: Option<i64>,
    /// How the add-ons of the class are, once the record is written.
    pub addons: Option<AddonsState>,
    /// The addresses, inside and outside, once they are known.
    pub addresses: Option<(String, String)>,
    /// The Secret, once it is written.
    pub secret: Option<SecretReference>,
    /// How long the Secret is good.
    pub validity: Option<Validity>,
    /// How far the other forms of the credentials came, once the Secret is written.
    pub exported: Option<Exported>,
    /// Why the pass went no further.
    pub refusal: Option<Refusal>,
    /// What failed.
    pub error: Option<Error>,
}

impl Progress {
    /// A pass that was refused.
    pub fn refused(refusal: Refusal) -> Self {
        Self { refusal: Some(refusal), ..Self::default() }
    }

    /// A pass that failed.
    pub fn failed(error: Error) -> Self {
        Self::default().and_failed(error)
    }

    /// A pass that failed after it came this far.
    pub fn and_failed(self, error: Error) -> Self {
        Self { error: Some(error), ..self }
    }

    /// A pass that came to the other forms of the credentials.
    pub fn and_exported(mut self, mut exported: Exported) -> Self {
        self.error = exported.error.take();
        if let (None, Some((reason, message))) = (&self.error, &exported.trouble) {
            let (condition, message) = (EXPORTS_READY, message.clone());
            self.refusal = Some(Refusal { condition, reason, message, stalled: true });
        }
        self.exported = Some(exported);
        self
    }
}

/// The status after a pass. What the pass did not reach stays as it was last known.
pub fn compute(
    control_plane: &ControlPlane,
    progress: &Progress,
    now: jiff::Timestamp,
) -> ControlPlaneStatus {
    let generation = control_plane.metadata.generation;
    let mut status = control_plane.status.clone().unwrap_or_default();
    let mut conditions = Conditions::new(&status.conditions, generation, now);
    if let Some(uid) = &progress.record_uid {
        status.virtual_cluster_uid = Some(uid.clone());
        status.credential_epoch = progress.epoch;
        conditions.set(ACCEPTED, true, reason::RECONCILED, "the path belongs to this control plane");
    }
    match &progress.addons {
        None => {}
        Some(AddonsState::None) => {
            conditions.remove(ADDONS_READY);
        }
        Some(AddonsState::Ready) => {
            conditions.set(ADDONS_READY, true, reason::RECONCILED, "the add-ons of the class are there");
        }
        Some(AddonsState::Pending(why)) => {
            conditions.set(ADDONS_READY, false, reason::ADDONS_PENDING, why.clone());
        }
    }
    if let Some((internal, external)) = &progress.addresses {
        status.endpoint = Some(internal.clone());
        status.external_endpoint = Some(external.clone());
        conditions.set(ENDPOINT_READY, true, reason::RESOLVED, external.clone());
    }
    if let (Some(secret), Some(validity)) = (&progress.secret, progress.validity) {
        status.kubeconfig_secret_ref = Some(secret.clone());
        status.credentials_expiration_time = Some(Time(validity.expires));
        status.rotation = rotation(&control_plane.metadata);
        conditions.set(CREDENTIALS_READY, true, reason::RECONCILED, "the kubeconfigs are in the Secret");
    }
    if let Some(exported) = &progress.exported {
        status.exported_secret_refs.clone_from(&exported.recorded);
        exported.tell(&mut conditions);
    }
    let pending = match &progress.addons {
        Some(AddonsState::Pending(why)) => Some(why.clone()),
        _ => None,
    };
    match (&progress.error, &progress.refusal) {
        (Some(error), _) => {
            let message = error.to_string();
            if progress.addresses.is_some() {
                failed_unless_valid(&mut conditions, &status, &message, now);
            }
            conditions.reconciling(reason::RETRYING, message);
        }
        (None, Some(refusal)) => {
            if refusal.condition != READY {
                conditions.set(refusal.condition, false, refusal.reason, refusal.message.clone());
            }
            if refusal.stalled {
                conditions.stalled(refusal.reason, refusal.message.clone());
            } else {
                conditions.reconciling(refusal.reason, refusal.message.clone());
            }
        }
        (None, None) if progress.validity.is_some() && pending.is_some() => {
            conditions.reconciling(reason::ADDONS_PENDING, pending.unwrap_or_default());
        }
        (None, None) if progress.validity.is_some() => {
            conditions.ready(reason::RECONCILED, "the control plane is ready");
        }
        (None, None) => {
            conditions.reconciling(reason::CREDENTIALS_PENDING, "the credentials are not written yet");
        }
    }
    status.observed_generation = generation.unwrap_or(status.observed_generation);
    status.conditions = conditions.finish();
    status
}

/// A failed renewal takes the credentials' readiness only when those that are there have ended.
fn failed_unless_valid(
    conditions: &mut Conditions,
    status: &ControlPlaneStatus,
    message: &str,
    now: jiff::Timestamp,
) {
    let valid = status.credentials_expiration_time.as_ref().is_some_and(|end| end.0 > now);
    if !valid {
        conditions.set(CREDENTIALS_READY, false, reason::RETRYING, message);
    }
}

/// Emits an Event when readiness changes, or its reason while it is not ready.
pub async fn announce(control_plane: &ControlPlane, new: &ControlPlaneStatus, context: &Context) {
    let old = control_plane.status.as_ref().and_then(|s| find(&s.conditions, READY));
    let Some(new) = find(&new.conditions, READY) else { return };
    if old.is_some_and(|old| old.status == new.status && old.reason == new.reason) {
        return;
    }
    if new.status == "True" {
        context.events.normal(control_plane, "Ready", &new.message).await;
    } else {
        context.events.warning(control_plane, &new.reason, &new.message).await;
    }
}
