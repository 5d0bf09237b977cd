//! What a ControlPlaneCredential comes to (no client required).

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kplane_crds::conditions::reason;
use kplane_crds::names;
use kplane_crds::v1alpha1::{ControlPlane, ControlPlaneCredential, GROUP, VERSION};
use kube::ResourceExt;

use crate::management::access::{Grant, SecretPlan, generation, inputs, rotation};
use crate::management::kubeconfig::Addresses;
use crate::management::plane::Access;
use crate::runtime::duration;

/// Why nothing is written.
#[derive(Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The reason.
    pub reason: &'static str,
    /// The message.
    pub message: String,
    /// Whether nothing but a change by somebody else helps.
    pub stalled: bool,
}

impl Refusal {
    /// Something is waited for.
    pub fn waiting(reason: &'static str, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), stalled: false }
    }

    /// Nothing more happens.
    pub fn stalled(reason: &'static str, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), stalled: true }
    }
}

/// What is to be written.
pub struct Plan {
    /// The Secret, with its role.
    pub secret: SecretPlan,
    /// How long a certificate is valid.
    pub lifetime: Duration,
    /// The uid of the record of the control plane.
    record_uid: String,
    /// The epoch of its credentials.
    epoch: i64,
}

impl Plan {
    /// Adds what only the management plane knows.
    pub fn complete(&mut self, access: &Access) {
        self.secret.addresses.internal_ca.clone_from(&access.ca);
        self.secret.addresses.external_ca.clone_from(&access.ca);
        self.secret.inputs =
            inputs(&self.secret.grant, &self.record_uid, self.epoch, &self.secret.addresses, self.lifetime);
    }
}

/// The role that a credential gives in the control plane at this path.
pub fn grant(credential: &ControlPlaneCredential, cluster_path: &str) -> Grant {
    let uid = credential.uid().unwrap_or_default();
    let name = format!("kplane:credential:{uid}");
    Grant {
        cluster_path: cluster_path.to_owned(),
        binding: name.clone(),
        user: name,
        uid,
        role: credential.spec.role.clone(),
        generation: generation(rotation(&credential.metadata).as_deref()),
    }
}

/// The owner reference that points at a credential.
pub fn owner(credential: &ControlPlaneCredential) -> OwnerReference {
    OwnerReference {
        api_version: format!("{GROUP}/{VERSION}"),
        kind: "ControlPlaneCredential".into(),
        name: credential.name_any(),
        uid: credential.uid().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

/// The namespace and name of the Secret of a credential.
pub fn secret_reference(credential: &ControlPlaneCredential) -> (String, String) {
    let reference = credential.spec.secret_ref.clone().unwrap_or_default();
    (
        reference.namespace.unwrap_or_else(|| names::namespace(&credential.spec.control_plane_ref.name)),
        reference.name.unwrap_or_else(|| names::credential_secret(&credential.name_any())),
    )
}

/// Decides what is to be written.
pub fn plan(
    credential: &ControlPlaneCredential,
    control_plane: Option<&ControlPlane>,
) -> Result<Plan, Refusal> {
    let name = &credential.spec.control_plane_ref.name;
    let lifetime = duration::parse(&credential.spec.duration).ok_or_else(|| {
        Refusal::stalled(reason::INVALID_SPEC, format!("{:?} is no duration", credential.spec.duration))
    })?;
    let Some(control_plane) = control_plane else {
        return Err(Refusal::waiting(
            reason::CONTROL_PLANE_NOT_FOUND,
            format!("there is no ControlPlane {name}"),
        ));
    };
    let status = control_plane.status.clone().unwrap_or_default();
    let (Some(internal), Some(external), Some(record_uid)) =
        (status.endpoint, status.external_endpoint, status.virtual_cluster_uid)
    else {
        return Err(Refusal::waiting(
            reason::CONTROL_PLANE_PENDING,
            format!("ControlPlane {name} is not ready"),
        ));
    };
    if control_plane.metadata.deletion_timestamp.is_some() {
        return Err(Refusal::waiting(
            reason::CONTROL_PLANE_PENDING,
            format!("ControlPlane {name} is being deleted"),
        ));
    }
    let (namespace, secret) = secret_reference(credential);
    Ok(Plan {
        secret: SecretPlan {
            namespace,
            name: secret,
            control_plane: name.clone(),
            owner: owner(credential),
            grant: grant(credential, control_plane.cluster_path()),
            addresses: Addresses { internal, external, ..Addresses::default() },
            inputs: String::new(),
        },
        lifetime,
        record_uid,
        epoch: status.credential_epoch.unwrap_or(0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use kplane_crds::reference::LocalObjectReference;
    use kplane_crds::v1alpha1::{ControlPlaneCredentialSpec, ControlPlaneSpec, ControlPlaneStatus};

    fn credential() -> ControlPlaneCredential {
        let mut credential = ControlPlaneCredential::new(
            "ci",
            ControlPlaneCredentialSpec {
                control_plane_ref: LocalObjectReference::new("owl"),
                role: "edit".into(),
                duration: "1h".into(),
                secret_ref: None,
                exports: None,
            },
        );
        credential.metadata.uid = Some("7".into());
        credential
    }

    #[test]
    fn a_credential_waits_for_its_control_plane() {
        let refused = |control_plane| plan(&credential(), control_plane).err().map(|r| r.reason);
        assert_eq!(refused(None), Some(reason::CONTROL_PLANE_NOT_FOUND));
        let mut owl = ControlPlane::new("owl", ControlPlaneSpec::default());
        assert_eq!(refused(Some(&owl)), Some(reason::CONTROL_PLANE_PENDING));
        owl.status = Some(ControlPlaneStatus {
            endpoint: Some("https://in".into()),
            external_endpoint: Some("https://out".into()),
            virtual_cluster_uid: Some("1".into()),
            ..ControlPlaneStatus::default()
        });
        let plan = plan(&credential(), Some(&owl)).unwrap_or_else(|r| panic!("{r:?}"));
        assert_eq!(plan.secret.namespace, "kplane-cp-owl");
        assert_eq!(plan.secret.name, "ci-kubeconfig");
        assert_eq!(plan.secret.grant.role, "edit");
        assert_eq!(plan.secret.grant.user, "kplane:credential:7");
        assert_eq!(plan.lifetime.as_secs(), 3600);
    }
}
