//! Control planes: what both plugins do with them.

mod create;
pub mod credentials;
mod delete;
mod describe;
mod exec;
mod list;
mod revoke;

use k8s_openapi::jiff::Timestamp;
use kplane_crds::tenancy::VirtualCluster;
use kplane_crds::v1alpha1::ControlPlane;
use kube::ResourceExt;
use kube::api::{Api, ListParams};
use serde_json::Value;

pub use create::{Adopt, CreateOptions, create};
pub use credentials::{CredentialOptions, get_credentials, use_control_plane};
pub use delete::{DeleteOptions, delete};
pub use describe::describe;
pub use exec::credential;
pub use list::{ListOptions, get, list, list_contexts};
pub use revoke::{RevokeOptions, Which, revoke, rotate};

use crate::app::Management;
use crate::error::{Error, Result, is_not_found, is_unknown_kind, not_installed};
use crate::names::nearest;
use crate::table::age;

/// How a result names a control plane, as kubectl would.
fn resource_name(name: &str) -> String {
    format!("controlplane.controlplane.kplane.dev/{name}")
}

/// Control planes of the management cluster.
fn api(management: &Management) -> Api<ControlPlane> {
    Api::all(management.client.clone())
}

/// One control plane; one that is not there is an error that says which there are.
async fn read(management: &Management, name: &str) -> Result<ControlPlane> {
    match api(management).get(name).await {
        Ok(object) => Ok(object),
        Err(error) if is_unknown_kind(&error) => Err(not_installed(&error)),
        Err(error) if is_not_found(&error) => Err(not_found(management, name).await),
        Err(error) => Err(error.into()),
    }
}

/// There is no control plane of this name: which is meant?
async fn not_found(management: &Management, name: &str) -> Error {
    let error = Error::new(format!(
        "Error from server (NotFound): controlplanes.controlplane.kplane.dev {name:?} not found"
    ));
    let names: Vec<String> = match api(management).list_metadata(&ListParams::default()).await {
        Ok(list) => list.items.iter().map(ResourceExt::name_any).collect(),
        // The first error matters more than that there is nothing to propose.
        Err(_) => Vec::new(),
    };
    let error = match nearest(name, names.iter().map(String::as_str)) {
        Some(near) => error.hint(format!("did you mean {near:?}?")),
        None => error,
    };
    error.hint("see those there are with `kubectl vcp list`")
}

/// The record of a control plane in root, when the management cluster is root; `None` when there is no such record,
/// or it is kept elsewhere.
async fn record(management: &Management, name: &str) -> Result<Option<VirtualCluster>> {
    Ok(Api::<VirtualCluster>::all(management.client.clone()).get_opt(name).await?)
}

/// Whether a record is kept without a control plane.
fn is_detached(record: &VirtualCluster) -> bool {
    record.spec.detached == Some(true)
}

/// The name of a class, when one is set.
fn class(plane: &ControlPlane) -> String {
    plane.spec.class_ref.as_ref().map(|class| class.name.clone()).unwrap_or_default()
}

/// The address for clients outside, or else inside.
fn endpoint(plane: &ControlPlane) -> String {
    let status = plane.status.as_ref();
    status.and_then(|s| s.external_endpoint.clone().or_else(|| s.endpoint.clone())).unwrap_or_default()
}

/// How old an object is, in kubectl's words.
fn age_of(object: &impl ResourceExt) -> String {
    match object.creation_timestamp() {
        Some(time) => age(Timestamp::now().as_second() - time.0.as_second()),
        None => "<unknown>".into(),
    }
}

/// An object as it would be shown to a program.
fn to_value(object: &impl serde::Serialize) -> Result<Value> {
    serde_json::to_value(object).map_err(|error| Error::new("cannot show the object").caused_by(&error))
}
