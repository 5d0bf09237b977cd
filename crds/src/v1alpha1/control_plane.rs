//! `ControlPlane`: one virtual control plane, declared.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Exports;
use crate::reference::{LocalObjectReference, SecretReference, TypedLocalObjectReference};

/// What is wanted of a control plane.
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "controlplane.kplane.dev",
    version = "v1alpha1",
    kind = "ControlPlane",
    plural = "controlplanes",
    shortname = "vcp",
    category = "kplane",
    status = "ControlPlaneStatus",
    derive = "PartialEq",
    doc = "A ControlPlane is one isolated Kubernetes API, served by the shared API server of the management plane.",
    selectable = ".spec.classRef.name",
    printcolumn(name = "Mode", type_ = "string", json_path = ".spec.mode"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].reason"
    ),
    printcolumn(name = "Class", type_ = "string", json_path = ".spec.classRef.name", priority = 1),
    printcolumn(name = "Endpoint", type_ = "string", json_path = ".status.endpoint", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new("(has(self.spec.virtual) && has(self.spec.virtual.clusterPath)) || (self.metadata.name.size() <= 63 && self.metadata.name.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$'))").message("the name must be a DNS label of at most 63 characters when spec.virtual.clusterPath is not set"),
    validation = Rule::new("!((has(self.spec.virtual) && has(self.spec.virtual.clusterPath) ? self.spec.virtual.clusterPath : self.metadata.name) in ['root', 'management', '*'])").message("root, management and * are reserved names"),
    validation = Rule::new("(has(self.spec.virtual) && has(self.spec.virtual.clusterPath) ? self.spec.virtual.clusterPath : self.metadata.name) == (has(oldSelf.spec.virtual) && has(oldSelf.spec.virtual.clusterPath) ? oldSelf.spec.virtual.clusterPath : oldSelf.metadata.name)").message("spec.virtual.clusterPath is immutable")
)]
#[serde(rename_all = "camelCase")]
pub struct ControlPlaneSpec {
    /// The ControlPlaneClass that holds the defaults and limits of this control plane. Without one, none apply.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class_ref: Option<LocalObjectReference>,

    /// How the control plane is provided: Virtual shares one API server with others; Dedicated is not supported yet.
    #[serde(default)]
    pub mode: ControlPlaneMode,

    /// The ControlPlaneEndpoint with the addresses of this control plane. Without one, an endpoint is made from
    /// the management plane.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint_ref: Option<LocalObjectReference>,

    /// What deleting this object does. Retain, the default, detaches: credentials are revoked, the path answers as
    /// if there were no control plane, and the data is kept until a ControlPlane with its adoptUID takes it up.
    /// Destroy removes the data. When not set, the class decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion_policy: Option<DeletionPolicy>,

    /// The settings of mode Virtual.
    #[serde(default, skip_serializing_if = "Option::is_none", rename = "virtual")]
    pub virtual_: Option<VirtualSpec>,

    /// The settings of mode Dedicated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dedicated: Option<DedicatedSpec>,

    /// The other forms in which the kubeconfig is written, for Argo CD and Cluster API.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exports: Option<Box<Exports>>,
}

/// The settings of a virtual control plane.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VirtualSpec {
    /// The name in the path /clusters/<clusterPath>/control-plane; the name of this object when not set. It cannot
    /// be changed, and only one object can hold it.
    #[schemars(length(max = 63), regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_path: Option<String>,

    /// The uid of the retained VirtualCluster at the path, as its record and status.virtualClusterUID show it.
    /// Naming it adopts the record with all its data; a retained one is never taken over without.
    #[schemars(length(max = 64))]
    #[serde(default, skip_serializing_if = "Option::is_none", rename = "adoptUID")]
    pub adopt_uid: Option<String>,
}

/// The settings of a dedicated control plane. Not supported yet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DedicatedSpec {
    /// The provider of the control plane.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_ref: Option<TypedLocalObjectReference>,
    /// The parameters given to the provider.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameters_ref: Option<TypedLocalObjectReference>,
}

/// How a control plane is provided.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ControlPlaneMode {
    /// One of many in a shared API server.
    #[default]
    Virtual,
    /// Its own API server.
    Dedicated,
}

/// What deleting the object of a control plane does. Retain detaches: credentials are revoked, the path answers as if
/// there were no control plane, and the data is kept until a ControlPlane whose adoptUID names it takes it up. Destroy
/// removes the data. When not set, the class decides, and else it is Retain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DeletionPolicy {
    /// It is kept, out of reach, until it is adopted.
    #[default]
    Retain,
    /// It is removed.
    Destroy,
}

/// What is known of a control plane.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ControlPlaneStatus {
    /// The address of the control plane inside the management cluster, path included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,

    /// The address of the control plane from outside, path included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_endpoint: Option<String>,

    /// The Secret with the kubeconfigs, under the keys kubeconfig and kubeconfig-external.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kubeconfig_secret_ref: Option<SecretReference>,

    /// The Secrets that hold the kubeconfig in other forms.
    #[schemars(extend("x-kubernetes-list-type" = "atomic"))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exported_secret_refs: Vec<SecretReference>,

    /// The uid of the VirtualCluster that holds the data; the one to name when a retained one is to be adopted.
    #[serde(default, skip_serializing_if = "Option::is_none", rename = "virtualClusterUID")]
    pub virtual_cluster_uid: Option<String>,

    /// When the credentials in the Secret end. They are renewed before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials_expiration_time: Option<Time>,

    /// The epoch of the credentials: what was issued in another one is good no more. It goes on when all are revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential_epoch: Option<i64>,

    /// The value of the annotation controlplane.kplane.dev/rotate that the certificate in the Secret was made for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotation: Option<String>,

    /// The generation of the spec that the controller last acted on.
    #[serde(default = "crate::conditions::unobserved")]
    pub observed_generation: i64,

    /// The latest observations: Ready, Accepted, AddonsReady, EndpointReady, CredentialsReady, ExportsReady,
    /// Reconciling and Stalled.
    #[schemars(schema_with = "crate::conditions::schema")]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}

impl Default for ControlPlaneStatus {
    fn default() -> Self {
        Self {
            endpoint: None,
            external_endpoint: None,
            kubeconfig_secret_ref: None,
            exported_secret_refs: Vec::new(),
            virtual_cluster_uid: None,
            credentials_expiration_time: None,
            credential_epoch: None,
            rotation: None,
            observed_generation: crate::conditions::unobserved(),
            conditions: Vec::new(),
        }
    }
}

impl ControlPlane {
    /// The name in the path: the one the spec sets, or the object's own.
    pub fn cluster_path(&self) -> &str {
        self.spec
            .virtual_
            .as_ref()
            .and_then(|v| v.cluster_path.as_deref())
            .or(self.metadata.name.as_deref())
            .unwrap_or_default()
    }
}
