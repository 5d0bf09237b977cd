//! Giving somebody a role in a control plane, and taking it back.
//!
//! A certificate carries no right of its own: it names a user made from the uid of the object it is for, and a
//! ClusterRoleBinding inside the control plane gives that user its role. It also names its generation, and the record of
//! the control plane says which one is good; so it is called back by a change of the record. The epoch of the record
//! calls back all at once, as when a control plane that was detached is adopted.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference, Time};
use kplane_crds::tenancy::{
    self, CredentialRequest, CredentialRequestSpec, CredentialRequestStatus, Revocation, VirtualCluster,
};
use kplane_crds::v1alpha1::{EXPIRATION_ANNOTATION, NAME_LABEL, ROTATE_ANNOTATION};
use kube::api::{Api, PostParams};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::kubeconfig::{Addresses, INPUTS_ANNOTATION, ISSUED_ANNOTATION, secret_data};
use super::plane::Access;
use crate::Error;
use crate::runtime::raw::{self, Raw};

const BINDINGS: &str = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings";

/// A role for one user in one control plane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The name in the path of the control plane.
    pub cluster_path: String,
    /// The name of the ClusterRoleBinding.
    pub binding: String,
    /// The name of the user.
    pub user: String,
    /// The uid of the user: that of the object which the grant is for.
    pub uid: String,
    /// The name of the ClusterRole.
    pub role: String,
    /// Which generation of the user's certificates is good.
    pub generation: String,
}

/// The generation of certificates that are made while nothing asks for others.
const FIRST_GENERATION: &str = "1";

/// The generation of an object's certificates: another with every value of the annotation that rotates them.
pub fn generation(rotation: Option<&str>) -> String {
    match rotation.filter(|rotation| !rotation.is_empty()) {
        None => FIRST_GENERATION.to_owned(),
        Some(rotation) => Sha256::digest(rotation).iter().take(8).map(|byte| format!("{byte:02x}")).collect(),
    }
}

/// The value of the annotation that rotates an object's certificate.
pub fn rotation(metadata: &ObjectMeta) -> Option<String> {
    metadata.annotations.as_ref()?.get(ROTATE_ANNOTATION).cloned()
}

/// Makes a record's revocations say that only this generation of a user's certificates is good, or none. The first one
/// needs no saying. Those that have ended are forgotten.
pub fn revoke_others(
    revocations: &mut BTreeMap<String, Revocation>,
    user: &str,
    generation: Option<&str>,
    until: jiff::Timestamp,
    now: jiff::Timestamp,
) {
    let required = revocations.get(user).map(|revocation| revocation.generation.as_deref());
    let wanted = generation;
    if required != Some(wanted) && (required.is_some() || wanted != Some(FIRST_GENERATION)) {
        let revocation = Revocation { generation: wanted.map(str::to_owned), until: Some(Time(until)) };
        revocations.insert(user.to_owned(), revocation);
    }
    // A generation beside the first is still asked for after the others have ended.
    revocations.retain(|name, revocation| {
        name == user
            || revocation.generation.is_some()
            || revocation.until.as_ref().is_none_or(|until| until.0 > now)
    });
}

impl Grant {
    fn object(&self) -> Value {
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {
                "name": self.binding,
                "labels": { "app.kubernetes.io/managed-by": "kplane-controllers" },
            },
            "roleRef": {
                "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": self.role,
            },
            "subjects": [{
                "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": self.user,
            }],
        })
    }

    fn path(&self) -> String {
        format!("{BINDINGS}/{}", raw::encode(&self.binding))
    }

    /// Sees to it that the binding is as it should be.
    pub async fn ensure(&self, access: &Access) -> Result<(), Error> {
        let cluster = Raw::new(access.client.clone()).cluster(&self.cluster_path);
        let wanted = self.object();
        // Most often it is not there yet: then this is the one request.
        match cluster.post(BINDINGS, &wanted).await {
            Ok(_) => return Ok(()),
            Err(error) if raw::is_conflict(&error) => {}
            Err(error) => return Err(error.into()),
        }
        let path = self.path();
        let Some(mut current) = raw::optional(cluster.get(&path).await)? else {
            return Err(Error::Wait("the role binding changed while it was looked at".into()));
        };
        if current["roleRef"] == wanted["roleRef"] && current["subjects"] == wanted["subjects"] {
            return Ok(());
        }
        if current["roleRef"] == wanted["roleRef"] {
            current["subjects"] = wanted["subjects"].clone();
            cluster.put(&path, &current).await?;
        } else {
            // A roleRef cannot be changed.
            raw::optional(cluster.delete(&path, None).await)?;
            cluster.post(BINDINGS, &wanted).await?;
        }
        Ok(())
    }

    /// Sees to it that the binding is still as it should be: one read, when it is.
    pub async fn verify(&self, access: &Access) -> Result<(), Error> {
        let cluster = Raw::new(access.client.clone()).cluster(&self.cluster_path);
        let wanted = self.object();
        match raw::optional(cluster.get(&self.path()).await)? {
            Some(current)
                if current["roleRef"] == wanted["roleRef"] && current["subjects"] == wanted["subjects"] =>
            {
                Ok(())
            }
            _ => self.ensure(access).await,
        }
    }

    /// Takes the role back. A control plane that is gone or detached has nothing to take back.
    pub async fn revoke(&self, access: &Access) -> Result<(), Error> {
        let cluster = Raw::new(access.client.clone()).cluster(&self.cluster_path);
        raw::optional(cluster.delete(&self.path(), None).await)?;
        Ok(())
    }
}

/// Writes to the record of a control plane which generation of a user's certificates is good. Effective at once in every
/// replica of the server.
pub async fn write_revocation(
    access: &Access,
    cluster_path: &str,
    user: &str,
    generation: Option<&str>,
    lifetime: std::time::Duration,
    now: jiff::Timestamp,
) -> Result<(), Error> {
    let records: Api<VirtualCluster> = Api::all(access.client.clone());
    let until = now.checked_add(lifetime).unwrap_or(jiff::Timestamp::MAX);
    let Some(mut record) = records.get_opt(cluster_path).await? else { return Ok(()) };
    let before = record.spec.revocations.clone();
    revoke_others(&mut record.spec.revocations, user, generation, until, now);
    if record.spec.revocations != before {
        // The resourceVersion goes with it: who was faster is not overwritten.
        records.replace(cluster_path, &PostParams::default(), &record).await?;
    }
    Ok(())
}

/// Asks the shared API server for a client certificate that one control plane accepts.
pub async fn request(
    access: &Access,
    grant: &Grant,
    lifetime: std::time::Duration,
) -> Result<CredentialRequestStatus, Error> {
    let request = CredentialRequest::new(CredentialRequestSpec {
        user: grant.user.clone(),
        uid: grant.uid.clone(),
        groups: Vec::new(),
        generation: Some(grant.generation.clone()),
        expiration_seconds: Some(i64::try_from(lifetime.as_secs()).unwrap_or(i64::MAX)),
    });
    let path = format!(
        "/apis/{}/{}/virtualclusters/{}/credentials",
        tenancy::GROUP,
        tenancy::VERSION,
        raw::encode(&grant.cluster_path)
    );
    let answer = Raw::new(access.client.clone()).post(&path, &serde_json::to_value(&request)?).await?;
    let answer: CredentialRequest = serde_json::from_value(answer)?;
    answer.status.ok_or_else(|| Error::Convert {
        what: "the answer to a request for credentials",
        message: "it has no status".into(),
    })
}

/// A digest of what a Secret is made for: when it changes, the Secret is written anew.
pub fn inputs(
    grant: &Grant,
    record_uid: &str,
    epoch: i64,
    addresses: &Addresses,
    lifetime: std::time::Duration,
) -> String {
    let mut digest = Sha256::new();
    for part in [
        &grant.cluster_path,
        &grant.user,
        &grant.generation,
        record_uid,
        &epoch.to_string(),
        &addresses.internal,
        &addresses.internal_ca,
        &addresses.external,
        &addresses.external_ca,
        &lifetime.as_secs().to_string(),
    ] {
        digest.update(part.as_bytes());
        digest.update([0]);
    }
    digest.finalize().iter().take(12).map(|byte| format!("{byte:02x}")).collect()
}

/// What a Secret with kubeconfigs is made of.
pub struct SecretPlan {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The name of the ControlPlane, for the label.
    pub control_plane: String,
    /// Its owner.
    pub owner: OwnerReference,
    /// The role it is for.
    pub grant: Grant,
    /// The addresses of its kubeconfigs.
    pub addresses: Addresses,
    /// The digest of all this.
    pub inputs: String,
}

impl SecretPlan {
    /// The Secret with this certificate.
    pub fn build(&self, credential: &CredentialRequestStatus, now: jiff::Timestamp) -> Result<Secret, Error> {
        let mut addresses = self.addresses.clone();
        // The server that made the certificate knows best what verifies it.
        if addresses.internal_ca.is_empty()
            && let Some(pem) =
                credential.certificate_authority_data.as_ref().and_then(|d| STANDARD.decode(d).ok())
            && let Ok(pem) = String::from_utf8(pem)
        {
            addresses.internal_ca = pem.clone();
            if addresses.external_ca.is_empty() {
                addresses.external_ca = pem;
            }
        }
        Ok(Secret {
            metadata: ObjectMeta {
                name: Some(self.name.clone()),
                namespace: Some(self.namespace.clone()),
                labels: Some(BTreeMap::from([(NAME_LABEL.to_owned(), self.control_plane.clone())])),
                annotations: Some(BTreeMap::from([
                    (INPUTS_ANNOTATION.to_owned(), self.inputs.clone()),
                    (ISSUED_ANNOTATION.to_owned(), now.to_string()),
                    (EXPIRATION_ANNOTATION.to_owned(), credential.expiration_timestamp.0.to_string()),
                ])),
                owner_references: Some(vec![self.owner.clone()]),
                ..ObjectMeta::default()
            },
            type_: Some("Opaque".into()),
            data: Some(secret_data(&addresses, "controlplane-user", credential)?),
            ..Secret::default()
        })
    }
}

/// Whether an object is controlled by the owner of this uid.
pub fn is_controlled_by(metadata: &ObjectMeta, uid: &str) -> bool {
    metadata.owner_references.iter().flatten().any(|owner| owner.controller == Some(true) && owner.uid == uid)
}

/// Writes a Secret over the one that is there, or makes it.
pub async fn write_secret(
    api: &Api<Secret>,
    mut secret: Secret,
    current: Option<&Secret>,
) -> Result<Secret, kube::Error> {
    let name = secret.metadata.name.clone().unwrap_or_default();
    match current {
        None => api.create(&PostParams::default(), &secret).await,
        Some(current) => {
            secret.metadata.resource_version = current.metadata.resource_version.clone();
            secret.metadata.uid = current.metadata.uid.clone();
            // What others wrote on it stays.
            let merged = |old: &Option<BTreeMap<String, String>>, new: Option<BTreeMap<String, String>>| {
                let mut all = old.clone().unwrap_or_default();
                all.extend(new.unwrap_or_default());
                Some(all)
            };
            secret.metadata.labels = merged(&current.metadata.labels, secret.metadata.labels.take());
            secret.metadata.annotations =
                merged(&current.metadata.annotations, secret.metadata.annotations.take());
            secret.metadata.finalizers = current.metadata.finalizers.clone();
            api.replace(&name, &PostParams::default(), &secret).await
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_change_with_each_part() {
        let grant = Grant {
            cluster_path: "owl".into(),
            binding: "b".into(),
            user: "u".into(),
            uid: "1".into(),
            role: "view".into(),
            generation: "1".into(),
        };
        let hour = std::time::Duration::from_secs(3600);
        let one = inputs(&grant, "1", 0, &Addresses::default(), hour);
        assert_eq!(one, inputs(&grant, "1", 0, &Addresses::default(), hour));
        assert_ne!(one, inputs(&grant, "2", 0, &Addresses::default(), hour));
        let moved = Addresses { external: "https://x".into(), ..Addresses::default() };
        assert_ne!(one, inputs(&grant, "1", 0, &moved, hour));
        assert_ne!(one, inputs(&grant, "1", 1, &Addresses::default(), hour));
        let rotated = Grant { generation: generation(Some("now")), ..grant };
        assert_ne!(one, inputs(&rotated, "1", 0, &Addresses::default(), hour));
    }

    #[test]
    fn revocations_are_written_when_they_say_something_and_forgotten_when_they_have_ended() {
        let at = |second| jiff::Timestamp::from_second(second).unwrap();
        let mut all = BTreeMap::new();
        revoke_others(&mut all, "a", Some("1"), at(100), at(0));
        assert!(all.is_empty());
        let next = generation(Some("x"));
        revoke_others(&mut all, "a", Some(&next), at(100), at(0));
        assert_eq!(all["a"].generation.as_deref(), Some(&*next));
        revoke_others(&mut all, "b", None, at(100), at(0));
        assert_eq!((all.len(), all["b"].generation.as_deref()), (2, None));
        revoke_others(&mut all, "a", Some(&next), at(300), at(200));
        assert_eq!(all.keys().collect::<Vec<_>>(), ["a"]);
        assert_eq!(all["a"].until, Some(Time(at(100))));
        revoke_others(&mut all, "a", Some("1"), at(300), at(200));
        assert_eq!(all["a"].generation.as_deref(), Some("1"));
    }

    #[test]
    fn a_certificate_carries_no_right_but_its_binding() {
        let grant = Grant {
            cluster_path: "owl".into(),
            binding: "kplane:control-plane".into(),
            user: "kplane:control-plane:1".into(),
            uid: "1".into(),
            role: "cluster-admin".into(),
            generation: "1".into(),
        };
        let object = grant.object();
        assert_eq!(object["subjects"][0]["name"], "kplane:control-plane:1");
        assert_eq!(object["roleRef"]["name"], "cluster-admin");
        assert_eq!(grant.path(), format!("{BINDINGS}/kplane%3Acontrol-plane"));
    }
}
