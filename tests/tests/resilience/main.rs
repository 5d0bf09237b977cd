//! A deployed plane in the very processes that its pods are: three etcd members and two API servers, under load.

mod authorities;
mod crashes;
mod upgrades;

use std::time::Duration;

use kplane_tests::{Client, Plane};
use serde_json::json;

/// How many write at once.
const WRITERS: usize = 4;
/// How long a rollout of everything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(240);

/// A control plane at the plane.
fn control_plane(plane: &Plane, name: &str) -> Client {
    let client = plane.client();
    let record = json!({
        "apiVersion": "tenancy.kplane.dev/v1alpha1", "kind": "VirtualCluster", "metadata": { "name": name },
    });
    client.post("/apis/tenancy.kplane.dev/v1alpha1/virtualclusters", &record).ok();
    client.vcp(name)
}
