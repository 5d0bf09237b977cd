//! The end of a management plane: not while control planes would lose their server (client required).

use kplane_crds::v1alpha1::{ControlPlane, FINALIZER, FORCE_DELETE_ANNOTATION, ManagementPlane};
use kube::api::{Api, ListParams, Patch, PatchParams};
use kube::{Client, ResourceExt};
use serde_json::json;

use crate::Error;

/// Holds a management plane, so that its end can be refused.
pub async fn hold(client: &Client, plane: &ManagementPlane) -> Result<(), Error> {
    if plane.finalizers().iter().any(|finalizer| finalizer == FINALIZER) {
        return Ok(());
    }
    let mut finalizers = plane.finalizers().to_vec();
    finalizers.push(FINALIZER.to_owned());
    write(client, plane, finalizers).await
}

/// What is in the way of its end, in words; `None` when nothing is, and then it is let go.
pub async fn release(client: &Client, plane: &ManagementPlane) -> Result<Option<String>, Error> {
    if !plane.finalizers().iter().any(|finalizer| finalizer == FINALIZER) {
        return Ok(None);
    }
    // Then it goes although control planes are left. Their data stays in the store.
    if plane.annotations().get(FORCE_DELETE_ANNOTATION).is_none_or(|value| value != "true") {
        let left =
            Api::<ControlPlane>::all(client.clone()).list_metadata(&ListParams::default()).await?.items;
        if let Some(first) = left.first() {
            return Ok(Some(format!(
                "{} control planes are left, {:?} the first of them; delete them, or annotate the ManagementPlane with \
                 {FORCE_DELETE_ANNOTATION}=true to leave their data without a server",
                left.len(),
                first.name_any()
            )));
        }
    }
    let rest = plane.finalizers().iter().filter(|finalizer| *finalizer != FINALIZER).cloned().collect();
    write(client, plane, rest).await?;
    Ok(None)
}

async fn write(client: &Client, plane: &ManagementPlane, finalizers: Vec<String>) -> Result<(), Error> {
    let api: Api<ManagementPlane> = Api::all(client.clone());
    // Only over what was seen: another's finalizer must not be lost.
    let patch = json!({ "metadata": {
        "resourceVersion": plane.metadata.resource_version, "finalizers": finalizers,
    }});
    match api.patch(&plane.name_any(), &PatchParams::default(), &Patch::Merge(patch)).await {
        Ok(_) => Ok(()),
        Err(error) if crate::runtime::raw::is_not_found(&error) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
