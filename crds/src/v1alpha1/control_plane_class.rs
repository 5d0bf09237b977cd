//! `ControlPlaneClass`: defaults and limits that control planes share.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ControlPlaneMode, DeletionPolicy, JwtAuthenticator};
use crate::reference::LocalObjectReference;

/// The defaults and limits of the control planes of a class.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "controlplane.kplane.dev",
    version = "v1alpha1",
    kind = "ControlPlaneClass",
    plural = "controlplaneclasses",
    category = "kplane",
    status = "ControlPlaneClassStatus",
    derive = "PartialEq",
    doc = "A ControlPlaneClass holds the defaults and limits of the control planes that name it.",
    printcolumn(name = "Modes", type_ = "string", json_path = ".spec.modesAllowed"),
    printcolumn(name = "Deletion", type_ = "string", json_path = ".spec.deletionPolicy"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    ),
    printcolumn(
        name = "Addons",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"AddonsReady\")].status",
        priority = 1
    ),
    printcolumn(
        name = "Supported",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"FieldsSupported\")].status",
        priority = 1
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct ControlPlaneClassSpec {
    /// The add-ons of a control plane of this class: names of ConfigMaps in the namespace of the management plane, whose
    /// data is manifests in YAML. Every control plane of the class has the objects, without a copy of its own, until it
    /// changes one.
    #[schemars(length(max = 64))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addons: Vec<String>,

    /// The deletion policy of control planes that set none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion_policy: Option<DeletionPolicy>,

    /// The credentials that a control plane of this class gets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<ClassAuth>,

    /// The modes that a control plane of this class may have; all when empty.
    #[schemars(length(max = 2), extend("x-kubernetes-list-type" = "set"))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub modes_allowed: Vec<ControlPlaneMode>,

    /// A gateway before the API server. It does nothing yet, and a condition says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<ClassGateway>,

    /// What calls that a control plane of this class directs, such as webhooks and aggregated APIs, may reach besides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub egress: Option<Egress>,

    /// What a control plane of this class may use. What is not set is not limited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<ClassLimits>,
}

/// What a control plane may use. The server reads the limits anew every few seconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClassLimits {
    /// Requests answered at once by a server; never more than half of all that it answers.
    #[schemars(range(min = 1))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests_in_flight: Option<i32>,
    /// Requests begun in a second at a server.
    #[schemars(range(min = 1))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests_per_second: Option<i32>,
    /// Objects kept. Those that every control plane begins with are not counted.
    #[schemars(range(min = 0))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub objects: Option<i64>,
    /// Bytes of the objects kept, such as 64Mi.
    #[schemars(length(max = 20), regex(pattern = r"^[0-9]+(Ki|Mi|Gi|Ti|k|M|G|T)?$"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<String>,
    /// Watches open at once at a server.
    #[schemars(range(min = 0))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watches: Option<i32>,
}

/// What the calls that a control plane directs may reach.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Egress {
    /// Ranges of addresses that may be reached although they are denied otherwise: loopback and link-local addresses,
    /// those of the API server's machine, and what the plane denies. The API server itself stays out of reach.
    #[schemars(length(max = 64), inner(length(min = 1, max = 64)), extend("x-kubernetes-list-type" = "set"))]
    #[serde(rename = "allowedCIDRs", default, skip_serializing_if = "Vec::is_empty")]
    pub allowed_cidrs: Vec<String>,
}

/// The credentials that a control plane gets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClassAuth {
    /// How users of the control plane are known: basic, the default, is by client certificate; oidc is by the tokens of
    /// issuers besides. Others do nothing, and a condition says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The ClusterRole of the user in the kubeconfig of the control plane. admin and cluster-admin, and nothing,
    /// are the administrator of the whole control plane.
    #[schemars(length(max = 253))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_role: Option<String>,
    /// The issuers whose tokens are accepted: as jwt of an AuthenticationConfiguration (apiserver.config.k8s.io/v1).
    #[schemars(length(max = 16))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub issuers: Vec<JwtAuthenticator>,
}

/// A gateway before the API server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClassGateway {
    /// The Gateway that routes are attached to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_ref: Option<NamespacedReference>,
    /// The template of the host name; {{.Name}} stands for the name of the control plane.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname_template: Option<String>,
    /// The Service of the shared API server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_server_ref: Option<ServicePortReference>,
}

/// Names an object in a namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NamespacedReference {
    /// The name of the object.
    pub name: String,
    /// The namespace of the object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
}

/// Names a port of a Service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ServicePortReference {
    /// The name of the Service.
    pub name: String,
    /// The namespace of the Service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// The port.
    #[schemars(range(min = 1, max = 65535))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<i32>,
}

/// An add-on as control planes get it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClassAddon {
    /// The name of the add-on.
    pub name: String,
    /// The content hash of its layer at the shared API server.
    pub layer: String,
    /// How many objects it holds.
    #[serde(default)]
    pub objects: i64,
}

/// What is known of a class.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ControlPlaneClassStatus {
    /// The generation of the spec that the controller last acted on.
    #[serde(default = "crate::conditions::unobserved")]
    pub observed_generation: i64,

    /// The add-ons as control planes get them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addons: Vec<ClassAddon>,

    /// The latest observations: Ready, AddonsReady and FieldsSupported.
    #[schemars(schema_with = "crate::conditions::schema")]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}

impl Default for ControlPlaneClassStatus {
    fn default() -> Self {
        Self {
            observed_generation: crate::conditions::unobserved(),
            addons: Vec::new(),
            conditions: Vec::new(),
        }
    }
}

impl ControlPlaneClass {
    /// A reference to this class.
    pub fn reference(&self) -> LocalObjectReference {
        LocalObjectReference::new(self.metadata.name.clone().unwrap_or_default())
    }
}
