//! Other forms of a kubeconfig, for tools that look for clusters in Secrets of a shape of their own.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The other forms in which the credentials are written, beside the Secret with the kubeconfigs. Each is a Secret in a
/// namespace that is there already. It is renewed with the credentials, it goes with the field or with this object, and a
/// Secret that is there and not ours is left alone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Exports {
    /// As a cluster of Argo CD.
    #[serde(default, skip_serializing_if = "Option::is_none", rename = "argoCD")]
    pub argo_cd: Option<ArgoCdExport>,

    /// As the kubeconfig of a cluster of Cluster API.
    #[serde(default, skip_serializing_if = "Option::is_none", rename = "clusterAPI")]
    pub cluster_api: Option<ClusterApiExport>,
}

/// A Secret by which Argo CD knows a cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ArgoCdExport {
    /// The namespace of Argo CD. For deployed controllers its label controlplane.kplane.dev/kubeconfigs must be allowed.
    #[schemars(length(min = 1, max = 63))]
    #[serde(default = "argo_cd_namespace")]
    pub namespace: String,

    /// The name of the Secret. When not set, it is kplane-<name>, or kplane-credential-<name> for a credential.
    #[schemars(length(min = 1, max = 253))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_name: Option<String>,

    /// How Argo CD calls the cluster, in destination.name of an Application; the name of this object when not set.
    #[schemars(length(min = 1, max = 253))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_name: Option<String>,

    /// The AppProject that the cluster belongs to, if it is not for all of them.
    #[schemars(length(min = 1, max = 253))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,

    /// More labels of the Secret, by which the cluster generator of an ApplicationSet selects.
    #[schemars(extend("maxProperties" = 32))]
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,

    /// Which address Argo CD is given.
    #[serde(default)]
    pub endpoint: ExportedEndpoint,
}

/// A Secret by which Cluster API, and what is made for it, finds the kubeconfig of a cluster: <clusterName>-kubeconfig.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClusterApiExport {
    /// The namespace of the Cluster. For deployed controllers its label controlplane.kplane.dev/kubeconfigs must be allowed.
    #[schemars(length(min = 1, max = 63))]
    pub namespace: String,

    /// The name of the Cluster; the name of this object when not set.
    #[schemars(length(min = 1, max = 63))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_name: Option<String>,

    /// Which address the kubeconfig has.
    #[serde(default)]
    pub endpoint: ExportedEndpoint,
}

/// One of the two addresses of a control plane: Internal, that inside the management cluster, or External, that from
/// outside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ExportedEndpoint {
    /// That inside the management cluster.
    #[default]
    Internal,
    /// That from outside.
    External,
}

/// The namespace that Argo CD's own manifests are made for.
fn argo_cd_namespace() -> String {
    "argocd".into()
}

impl Default for ArgoCdExport {
    fn default() -> Self {
        Self {
            namespace: argo_cd_namespace(),
            secret_name: None,
            cluster_name: None,
            project: None,
            labels: BTreeMap::new(),
            endpoint: ExportedEndpoint::default(),
        }
    }
}
