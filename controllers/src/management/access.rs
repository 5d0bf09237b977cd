//! Giving somebody a role in a control plane, and taking it back.
//!
//! A certificate cannot be called back, so it carries no right of its own: it names a user made from the uid of the
//! object it is for, and a ClusterRoleBinding inside the control plane gives that user its role. Without the
//! binding the certificate opens nothing. That also holds for a control plane that is detached and adopted later:
//! the adopter's binding names the adopter's user.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kplane_crds::tenancy::{self, CredentialRequest, CredentialRequestSpec, CredentialRequestStatus};
use kplane_crds::v1alpha1::NAME_LABEL;
use kube::api::{Api, PostParams};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::kubeconfig::{
    Addresses, EXPIRATION_ANNOTATION, INPUTS_ANNOTATION, ISSUED_ANNOTATION, secret_data,
};
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
    /// The name of the ClusterRole.
    pub role: String,
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

/// Asks the shared API server for a client certificate that one control plane accepts.
pub async fn request(
    access: &Access,
    cluster_path: &str,
    user: &str,
    lifetime: std::time::Duration,
) -> Result<CredentialRequestStatus, Error> {
    let request = CredentialRequest::new(CredentialRequestSpec {
        user: user.to_owned(),
        groups: Vec::new(),
        expiration_seconds: Some(i64::try_from(lifetime.as_secs()).unwrap_or(i64::MAX)),
    });
    let path = format!(
        "/apis/{}/{}/virtualclusters/{}/credentials",
        tenancy::GROUP,
        tenancy::VERSION,
        raw::encode(cluster_path)
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
    addresses: &Addresses,
    lifetime: std::time::Duration,
) -> String {
    let mut digest = Sha256::new();
    for part in [
        &grant.cluster_path,
        &grant.user,
        record_uid,
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
        let grant =
            Grant { cluster_path: "owl".into(), binding: "b".into(), user: "u".into(), role: "view".into() };
        let hour = std::time::Duration::from_secs(3600);
        let one = inputs(&grant, "1", &Addresses::default(), hour);
        assert_eq!(one, inputs(&grant, "1", &Addresses::default(), hour));
        assert_ne!(one, inputs(&grant, "2", &Addresses::default(), hour));
        let moved = Addresses { external: "https://x".into(), ..Addresses::default() };
        assert_ne!(one, inputs(&grant, "1", &moved, hour));
    }

    #[test]
    fn a_certificate_carries_no_right_but_its_binding() {
        let grant = Grant {
            cluster_path: "owl".into(),
            binding: "kplane:control-plane".into(),
            user: "kplane:control-plane:1".into(),
            role: "cluster-admin".into(),
        };
        let object = grant.object();
        assert_eq!(object["subjects"][0]["name"], "kplane:control-plane:1");
        assert_eq!(object["roleRef"]["name"], "cluster-admin");
        assert_eq!(grant.path(), format!("{BINDINGS}/kplane%3Acontrol-plane"));
    }
}
