//! The providers `kind`, `k3s` and `existing`: the controllers, and by them the management plane, in a Kubernetes
//! cluster.
//!
//! ```text
//! up:   tool (make the cluster, load the image) → manifests (apply what config/ holds) → ManagementPlane → Ready
//! down: contexts → with --delete-data: control planes → ManagementPlane → manifests → the cluster, if `up` made it
//! ```
//!
//! `kind` and `k3d` are run as programs; everything else goes through the API, so that a GitOps tool gets the same by
//! applying the same manifests.

mod checks;
mod down;
mod image;
mod manifests;
mod tool;
mod up;

use futures::future::BoxFuture;

use super::{DownRequest, Provider, ProviderName, UpRequest};
use crate::app::App;
use crate::error::Result;

pub use checks::{Check, checks};
pub use image::IMAGE_ARCHIVE;

/// The port of every node where the API server is reached.
const NODE_PORT: u16 = 30443;
/// Marks the namespace of kplane in a cluster that `up` made for it: deleting the data deletes that cluster.
const MADE_BY_UP: &str = "kplane.dev/cluster-made-by-up";
/// The manager of the fields that `up` applies.
const MANAGER: &str = "kubectl-kplane";

/// The provider.
pub struct Cluster(pub ProviderName);

impl Provider for Cluster {
    fn up<'a>(&'a self, app: &'a App, request: &'a UpRequest) -> BoxFuture<'a, Result<()>> {
        Box::pin(up::up(self.0, app, request))
    }

    fn down<'a>(&'a self, app: &'a App, request: &'a DownRequest) -> BoxFuture<'a, Result<()>> {
        Box::pin(down::down(self.0, app, request))
    }
}
