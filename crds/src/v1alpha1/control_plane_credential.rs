//! `ControlPlaneCredential`: a role in one control plane, for a time, written to a Secret.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Exports;
use crate::reference::{LocalObjectReference, SecretReference};

/// The role that is given, where and for how long.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "controlplane.kplane.dev",
    version = "v1alpha1",
    kind = "ControlPlaneCredential",
    plural = "controlplanecredentials",
    category = "kplane",
    status = "ControlPlaneCredentialStatus",
    derive = "PartialEq",
    doc = "A ControlPlaneCredential gives a role in one control plane and writes a kubeconfig with it to a Secret, renewed while the object lives. Deleting the object revokes it.",
    printcolumn(name = "ControlPlane", type_ = "string", json_path = ".spec.controlPlaneRef.name"),
    printcolumn(name = "Role", type_ = "string", json_path = ".spec.role"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    ),
    printcolumn(name = "Expires", type_ = "string", json_path = ".status.expirationTime"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct ControlPlaneCredentialSpec {
    /// The control plane. It cannot be changed.
    #[x_kube(validation = Rule::new("self == oldSelf").message("controlPlaneRef is immutable"))]
    pub control_plane_ref: LocalObjectReference,

    /// The ClusterRole, in the control plane, that the credential has everywhere in it.
    #[schemars(length(min = 1, max = 253))]
    #[serde(default = "default_role")]
    pub role: String,

    /// How long a certificate is valid; a new one is written to the Secret when two thirds have passed.
    #[schemars(regex(pattern = r"^([0-9]+(s|m|h))+$"))]
    #[x_kube(validation = Rule::new("duration(self) >= duration('10m') && duration(self) <= duration('8760h')").message("duration must be between 10m and 8760h"))]
    #[serde(default = "default_duration")]
    pub duration: String,

    /// The Secret to write. When not set, it is <name>-kubeconfig in the namespace of the control plane. It cannot
    /// be changed, and a Secret that is there and not ours is left alone.
    #[x_kube(validation = Rule::new("self == oldSelf").message("secretRef is immutable"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretReference>,

    /// The other forms in which the kubeconfig is written, for Argo CD and Cluster API.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exports: Option<Box<Exports>>,
}

/// The role when none is named.
fn default_role() -> String {
    "view".into()
}

/// The duration when none is named.
fn default_duration() -> String {
    "24h".into()
}

/// What is known of a credential.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ControlPlaneCredentialStatus {
    /// The Secret with the kubeconfigs, under the keys kubeconfig and kubeconfig-external.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretReference>,

    /// The Secrets that hold the kubeconfig in other forms.
    #[schemars(extend("x-kubernetes-list-type" = "atomic"))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exported_secret_refs: Vec<SecretReference>,

    /// The name of the user in the control plane.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,

    /// When the certificate in the Secret ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expiration_time: Option<Time>,

    /// The value of the annotation controlplane.kplane.dev/rotate that the certificate in the Secret was made for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotation: Option<String>,

    /// The generation of the spec that the controller last acted on.
    #[serde(default = "crate::conditions::unobserved")]
    pub observed_generation: i64,

    /// The latest observations: Ready, ExportsReady, Reconciling and Stalled.
    #[schemars(schema_with = "crate::conditions::schema")]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}

impl Default for ControlPlaneCredentialStatus {
    fn default() -> Self {
        Self {
            secret_ref: None,
            exported_secret_refs: Vec::new(),
            user: None,
            expiration_time: None,
            rotation: None,
            observed_generation: crate::conditions::unobserved(),
            conditions: Vec::new(),
        }
    }
}
