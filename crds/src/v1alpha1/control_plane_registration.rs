//! `ControlPlaneRegistration`: what a downstream controller needs to serve a control plane.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::reference::{LocalObjectReference, SecretReference};

/// Which control plane is registered, and for which services.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "controlplane.kplane.dev",
    version = "v1alpha1",
    kind = "ControlPlaneRegistration",
    plural = "controlplaneregistrations",
    category = "kplane",
    status = "ControlPlaneRegistrationStatus",
    derive = "PartialEq",
    doc = "A ControlPlaneRegistration hands a control plane to the services that act in it, such as controllers or a scheduler: its status names the address and the kubeconfig.",
    printcolumn(name = "ControlPlane", type_ = "string", json_path = ".spec.controlPlaneRef.name"),
    printcolumn(name = "Endpoint", type_ = "string", json_path = ".status.resolvedEndpoint"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct ControlPlaneRegistrationSpec {
    /// The control plane.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub control_plane_ref: Option<LocalObjectReference>,

    /// The endpoint to use, if not that of the control plane.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint_ref: Option<LocalObjectReference>,

    /// The Secret with the kubeconfig to use, if not that of the control plane.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kubeconfig_secret_ref: Option<SecretReference>,

    /// The services that act in the control plane.
    #[schemars(length(max = 3), extend("x-kubernetes-list-type" = "set"))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<RegistrationService>,

    /// Whether the services are shared with other control planes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<RegistrationMode>,
}

/// A service that acts in a control plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RegistrationService {
    /// Controllers.
    Controllers,
    /// A scheduler.
    Scheduler,
    /// What runs workloads.
    Workloads,
}

/// Whether services are shared with other control planes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RegistrationMode {
    /// Shared.
    Shared,
    /// For this control plane alone.
    Dedicated,
}

/// What the references of a registration lead to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ControlPlaneRegistrationStatus {
    /// Whether all references are resolved.
    #[serde(default)]
    pub ready: bool,

    /// The address of the control plane.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolved_endpoint: Option<String>,

    /// The Secret with the kubeconfig.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolved_kubeconfig_secret_ref: Option<SecretReference>,

    /// The generation of the spec that the controller last acted on.
    #[serde(default = "crate::conditions::unobserved")]
    pub observed_generation: i64,

    /// The latest observations: Ready, Reconciling and Stalled.
    #[schemars(schema_with = "crate::conditions::schema")]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}

impl Default for ControlPlaneRegistrationStatus {
    fn default() -> Self {
        Self {
            ready: false,
            resolved_endpoint: None,
            resolved_kubeconfig_secret_ref: None,
            observed_generation: crate::conditions::unobserved(),
            conditions: Vec::new(),
        }
    }
}
