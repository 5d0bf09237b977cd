//! Builds what a ControlPlane needs (no client required).

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kplane_crds::names;
use kplane_crds::tenancy::{VirtualCluster, VirtualClusterAuth, VirtualClusterOwner, VirtualClusterSpec};
use kplane_crds::v1alpha1::{
    ControlPlane, ControlPlaneEndpoint, ControlPlaneEndpointSpec, GROUP, NAME_LABEL, REVOKE_ALL_ANNOTATION,
    VERSION,
};
use kube::ResourceExt;

use super::validate::{Claim, EndpointPlan, Valid};
use crate::management::access::{self, Grant};

/// The ClusterRoleBinding, in a control plane, of the user of its kubeconfig.
pub const BINDING: &str = "kplane:control-plane";

/// What is to be written.
pub struct Prepared {
    /// The record, or `None` when it is as it should be.
    pub record: Option<VirtualCluster>,
    /// The endpoint, or `None` when it is as it should be.
    pub endpoint: Option<ControlPlaneEndpoint>,
    /// The namespace, or `None` when it is there.
    pub namespace: Option<Namespace>,
    /// The role of the kubeconfig's user.
    pub grant: Grant,
    /// What it was built from.
    pub valid: Valid,
}

/// Builds it.
pub fn build(
    control_plane: &ControlPlane,
    valid: Valid,
    lifetime: std::time::Duration,
    now: jiff::Timestamp,
) -> Prepared {
    let uid = control_plane.uid().unwrap_or_default();
    let grant = Grant {
        cluster_path: valid.cluster_path.clone(),
        binding: BINDING.to_owned(),
        user: format!("kplane:control-plane:{uid}"),
        uid: uid.to_string(),
        role: valid.role.clone(),
        generation: access::generation(access::rotation(&control_plane.metadata).as_deref()),
    };
    Prepared {
        record: record(control_plane, &valid, &grant, lifetime, now),
        endpoint: endpoint(control_plane, &valid),
        namespace: valid.found.namespace.is_none().then(|| namespace(control_plane)),
        grant,
        valid,
    }
}

/// The owner reference that points at a ControlPlane.
pub fn owner(control_plane: &ControlPlane) -> OwnerReference {
    OwnerReference {
        api_version: format!("{GROUP}/{VERSION}"),
        kind: "ControlPlane".into(),
        name: control_plane.name_any(),
        uid: control_plane.uid().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

fn record(
    control_plane: &ControlPlane,
    valid: &Valid,
    grant: &Grant,
    lifetime: std::time::Duration,
    now: jiff::Timestamp,
) -> Option<VirtualCluster> {
    let owner = VirtualClusterOwner {
        api_version: format!("{GROUP}/{VERSION}"),
        kind: "ControlPlane".into(),
        name: control_plane.name_any(),
        uid: control_plane.uid().unwrap_or_default(),
    };
    let (mut record, before) = match &valid.claim {
        Claim::Create => (VirtualCluster::new(&valid.cluster_path, VirtualClusterSpec::default()), None),
        Claim::Keep(record) | Claim::Adopt(record) => (record.as_ref().clone(), Some(record.spec.clone())),
    };
    record.spec.owner = Some(owner);
    record.spec.deletion_policy = Some(valid.deletion_policy);
    // What a class granted ends with it; without one, what an administrator wrote into the record holds.
    if valid.class_name.is_some() || record.spec.class_name.is_some() {
        record.spec.egress.clone_from(&valid.egress);
    }
    record.spec.class_name.clone_from(&valid.class_name);
    record.spec.layers.clone_from(&valid.layers);
    record.spec.limits.clone_from(&valid.limits);
    if record.spec.detached == Some(true) {
        record.spec.detached = Some(false);
    }
    record.spec.auth =
        (!valid.issuers.is_empty()).then(|| VirtualClusterAuth { issuers: valid.issuers.clone() });
    let until = now.checked_add(lifetime).unwrap_or(jiff::Timestamp::MAX);
    access::revoke_others(&mut record.spec.revocations, &grant.user, Some(&grant.generation), until, now);
    revoke_all(control_plane, &mut record);
    (before.as_ref() != Some(&record.spec)).then_some(record)
}

/// Begins another epoch when the annotation asks for one that this record has not seen. What a record is made with has
/// nothing to revoke.
fn revoke_all(control_plane: &ControlPlane, record: &mut VirtualCluster) {
    let asked = control_plane.metadata.annotations.as_ref().and_then(|all| all.get(REVOKE_ALL_ANNOTATION));
    let Some(asked) = asked.filter(|asked| !asked.is_empty()) else { return };
    let seen = record.metadata.annotations.get_or_insert_default();
    if seen.get(REVOKE_ALL_ANNOTATION) != Some(asked) {
        seen.insert(REVOKE_ALL_ANNOTATION.to_owned(), asked.clone());
        record.spec.credential_epoch = Some(record.spec.credential_epoch.unwrap_or(0) + 1);
    }
}

fn endpoint(control_plane: &ControlPlane, valid: &Valid) -> Option<ControlPlaneEndpoint> {
    let spec = ControlPlaneEndpointSpec {
        endpoint: Some(valid.addresses.internal.clone()),
        external_endpoint: Some(valid.addresses.external.clone()),
        join_endpoint: None,
        external_ca_bundle: None,
    };
    let name = control_plane.name_any();
    match (&valid.endpoint, &valid.found.endpoint) {
        (EndpointPlan::Named, _) => None,
        (EndpointPlan::Keep, Some(current)) if current.spec == spec => None,
        (EndpointPlan::Keep, Some(current)) => Some(ControlPlaneEndpoint { spec, ..current.clone() }),
        (EndpointPlan::Keep | EndpointPlan::Create, _) => {
            let mut endpoint = ControlPlaneEndpoint::new(&name, spec);
            endpoint.metadata.owner_references = Some(vec![owner(control_plane)]);
            endpoint.metadata.labels = Some(BTreeMap::from([(NAME_LABEL.to_owned(), name)]));
            Some(endpoint)
        }
    }
}

fn namespace(control_plane: &ControlPlane) -> Namespace {
    let name = control_plane.name_any();
    Namespace {
        metadata: ObjectMeta {
            name: Some(names::namespace(&name)),
            labels: Some(BTreeMap::from([(NAME_LABEL.to_owned(), name)])),
            owner_references: Some(vec![owner(control_plane)]),
            ..ObjectMeta::default()
        },
        ..Namespace::default()
    }
}
