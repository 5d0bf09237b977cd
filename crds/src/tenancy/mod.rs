//! `tenancy.kplane.dev/v1alpha1`: the record that a shared API server keeps of a virtual control plane.
//!
//! The server has these kinds built in; here are the types for its clients. No CustomResourceDefinition is made of
//! them.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta, Time};
use kube::CustomResource;
use serde::{Deserialize, Serialize};

use crate::v1alpha1::{ClassLimits, DeletionPolicy, Egress, JwtAuthenticator};

/// The API group.
pub const GROUP: &str = "tenancy.kplane.dev";
/// The version of this module's kinds.
pub const VERSION: &str = "v1alpha1";

/// The annotation, on objects read over all control planes, with the name of the control plane.
pub const CLUSTER_ANNOTATION: &str = "kplane.dev/cluster";

/// What is wanted of a virtual control plane.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "tenancy.kplane.dev",
    version = "v1alpha1",
    kind = "VirtualCluster",
    plural = "virtualclusters",
    status = "VirtualClusterStatus",
    derive = "PartialEq",
    schema = "disabled"
)]
#[serde(rename_all = "camelCase")]
pub struct VirtualClusterSpec {
    /// The object that declared this control plane, if one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<VirtualClusterOwner>,

    /// What deleting this record does with the data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion_policy: Option<DeletionPolicy>,

    /// The path answers as if there were no control plane, credentials are refused, and all data is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detached: Option<bool>,

    /// The ControlPlaneClass this control plane was made with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class_name: Option<String>,

    /// What this control plane may use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<ClassLimits>,

    /// The layers this control plane starts from, by content hash, the lowest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub layers: Vec<String>,

    /// What calls that this control plane directs, such as webhooks, may reach besides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub egress: Option<Egress>,

    /// Only certificates and tokens issued in this epoch are good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential_epoch: Option<i64>,

    /// The users of whose certificates only one generation is good, or none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub revocations: BTreeMap<String, Revocation>,

    /// How users of the control plane are known besides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<VirtualClusterAuth>,
}

/// Which of a user's certificates are good.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Revocation {
    /// The one generation that is good; none when it is not set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<String>,
    /// When the last certificate of another generation ends, and this may be forgotten.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Time>,
}

/// How users of a virtual control plane are known beside certificates and service account tokens.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VirtualClusterAuth {
    /// The issuers whose tokens are accepted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub issuers: Vec<JwtAuthenticator>,
}

/// The object that declared a virtual control plane.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VirtualClusterOwner {
    /// The API version of the owner.
    pub api_version: String,
    /// The kind of the owner.
    pub kind: String,
    /// The name of the owner.
    pub name: String,
    /// The uid of the owner, by which the path is claimed.
    pub uid: String,
}

/// What is known of a virtual control plane.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VirtualClusterStatus {
    /// Where the control plane is in its life: Pending, Active, Detached or Terminating.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<String>,

    /// The identity under which the data of the control plane is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,

    /// The generation last acted on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// The latest observations of the control plane.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}

/// Stores objects that control planes share: the body of a POST to `layers`, which only root's administrators may do. The
/// answer holds the content hash, for `spec.layers` of a `VirtualCluster`.
///
/// A layer that nobody names is kept for an hour after it was last posted.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Layer {
    /// `tenancy.kplane.dev/v1alpha1`.
    pub api_version: String,
    /// `Layer`.
    pub kind: String,
    /// A name for error messages.
    pub metadata: ObjectMeta,
    /// What it holds.
    pub spec: LayerSpec,
    /// The answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<LayerStatus>,
}

impl Layer {
    /// A layer of these manifests.
    pub fn new(name: &str, manifests: Vec<String>) -> Self {
        Self {
            api_version: format!("{GROUP}/{VERSION}"),
            kind: "Layer".into(),
            metadata: ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() },
            spec: LayerSpec { manifests },
            status: None,
        }
    }
}

/// What a layer holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerSpec {
    /// Objects in YAML.
    pub manifests: Vec<String>,
}

/// What was made of the manifests.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerStatus {
    /// The content hash.
    pub hash: String,
    /// How many objects the layer holds.
    #[serde(default)]
    pub objects: i64,
}

/// Asks for a client certificate that one virtual control plane accepts: the body of a POST to the subresource
/// `credentials` of a `VirtualCluster`, which only root's administrators may use.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CredentialRequest {
    /// `tenancy.kplane.dev/v1alpha1`.
    pub api_version: String,
    /// `CredentialRequest`.
    pub kind: String,
    /// What is asked for.
    pub spec: CredentialRequestSpec,
    /// The answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<CredentialRequestStatus>,
}

impl CredentialRequest {
    /// A request with this spec.
    pub fn new(spec: CredentialRequestSpec) -> Self {
        Self {
            api_version: format!("{GROUP}/{VERSION}"),
            kind: "CredentialRequest".into(),
            spec,
            status: None,
        }
    }
}

/// Whose certificate is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CredentialRequestSpec {
    /// The name of the user.
    pub user: String,
    /// The uid of the user, which tells apart users of one name over time.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub uid: String,
    /// The groups of the user.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    /// Which generation of the user's certificates it is of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<String>,
    /// How long the certificate is to be valid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expiration_seconds: Option<i64>,
}

/// The certificate that was made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CredentialRequestStatus {
    /// The certificate: PEM, in base64.
    pub client_certificate_data: String,
    /// Its private key: PEM, in base64.
    pub client_key_data: String,
    /// The certificates by which the server is verified: PEM, in base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_authority_data: Option<String>,
    /// When the certificate ends.
    pub expiration_timestamp: Time,
}
