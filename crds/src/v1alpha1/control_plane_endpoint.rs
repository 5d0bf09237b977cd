//! `ControlPlaneEndpoint`: where a control plane is reached.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The addresses of a control plane.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "controlplane.kplane.dev",
    version = "v1alpha1",
    kind = "ControlPlaneEndpoint",
    plural = "controlplaneendpoints",
    category = "kplane",
    status = "ControlPlaneEndpointStatus",
    derive = "PartialEq",
    doc = "A ControlPlaneEndpoint says where a control plane is reached: from inside the management cluster, from outside, and by nodes that join.",
    printcolumn(name = "Endpoint", type_ = "string", json_path = ".status.endpoint"),
    printcolumn(name = "External", type_ = "string", json_path = ".status.externalEndpoint"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct ControlPlaneEndpointSpec {
    /// The address inside the management cluster, with or without the path /clusters/<name>/control-plane.
    #[schemars(length(max = 2048), regex(pattern = r"^https://[^\s]+$"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,

    /// The address from outside; that of endpoint when not set.
    #[schemars(length(max = 2048), regex(pattern = r"^https://[^\s]+$"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_endpoint: Option<String>,

    /// The address for nodes that join; that of externalEndpoint when not set.
    #[schemars(length(max = 2048), regex(pattern = r"^https://[^\s]+$"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub join_endpoint: Option<String>,

    /// The certificates, in PEM, by which clients verify the external address, if they are not those of the
    /// management plane: set this when something before the API server ends TLS.
    #[schemars(length(max = 1048576))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_ca_bundle: Option<String>,
}

/// The addresses in force.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ControlPlaneEndpointStatus {
    /// The address inside the management cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,

    /// The address from outside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_endpoint: Option<String>,

    /// The address for nodes that join.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub join_endpoint: Option<String>,

    /// The generation of the spec that the controller last acted on.
    #[serde(default = "crate::conditions::unobserved")]
    pub observed_generation: i64,

    /// The latest observations: Ready, Reconciling and Stalled.
    #[schemars(schema_with = "crate::conditions::schema")]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}

impl Default for ControlPlaneEndpointStatus {
    fn default() -> Self {
        Self {
            endpoint: None,
            external_endpoint: None,
            join_endpoint: None,
            observed_generation: crate::conditions::unobserved(),
            conditions: Vec::new(),
        }
    }
}
