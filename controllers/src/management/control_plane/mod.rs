//! `ControlPlane`: claims a path at the shared API server and writes the credentials.
//!
//! `dereference → validate → build → apply → status`, and `delete` when the object goes.

mod apply;
mod build;
mod delete;
mod dereference;
mod status;
#[cfg(test)]
mod tests;
mod validate;

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use kplane_crds::v1alpha1::{
    ControlPlane, ControlPlaneClass, ControlPlaneEndpoint, FINALIZER, ManagementPlane, NAME_LABEL,
};
use kube::api::{Patch, PatchParams};
use kube::runtime::controller::{Action, Config};
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::{Controller, watcher};
use kube::{Api, ResourceExt};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::context::{Context, POLL, error_policy};
use super::run::{changes, drain, owner_of};
use crate::Error;
use crate::runtime::raw;

/// How soon a path that another holds is looked at again.
const RETRY_REFUSED: Duration = Duration::from_secs(30);

/// Runs the controller.
pub async fn run(context: Arc<Context>, shutdown: CancellationToken) {
    let client = context.client.clone();
    let (stream, reader) = changes(Api::<ControlPlane>::all(client.clone()));
    let by_endpoint = reader.clone();
    let by_class = reader.clone();
    let by_plane = reader.clone();
    let controller = Controller::for_stream(stream, reader)
        .with_config(Config::default().concurrency(context.options.concurrency))
        .watches(
            Api::<ControlPlaneEndpoint>::all(client.clone()),
            watcher::Config::default(),
            move |endpoint| of_endpoint(&by_endpoint, &endpoint),
        )
        .watches(
            Api::<ControlPlaneClass>::all(client.clone()),
            watcher::Config::default(),
            move |class: ControlPlaneClass| {
                let name = class.name_any();
                select(&by_class, move |cp| cp.spec.class_ref.as_ref().is_some_and(|r| r.name == name))
            },
        )
        // A new address or certificate of the management plane is one for every control plane.
        .watches(
            Api::<ManagementPlane>::all(client.clone()),
            watcher::Config::default(),
            move |_: ManagementPlane| select(&by_plane, |_| true),
        )
        .graceful_shutdown_on(shutdown.cancelled_owned());
    let controller = if context.secrets.can_watch() {
        // A Secret that somebody deletes or changes is written again.
        // By name, not by owner: an owner in no namespace would not be the one that is worked on already.
        controller.watches(
            Api::<Secret>::all(client),
            watcher::Config::default().labels(NAME_LABEL),
            |secret: Secret| owner_of(&secret.metadata),
        )
    } else {
        controller
    };
    drain("ControlPlane", controller.run(reconcile, error_policy, context)).await;
}

fn select(
    store: &Store<ControlPlane>,
    wanted: impl Fn(&ControlPlane) -> bool,
) -> Vec<ObjectRef<ControlPlane>> {
    store.state().iter().filter(|cp| wanted(cp)).map(|cp| ObjectRef::from_obj(cp.as_ref())).collect()
}

/// The control planes of an endpoint: its owner, or those that name it.
fn of_endpoint(store: &Store<ControlPlane>, endpoint: &ControlPlaneEndpoint) -> Vec<ObjectRef<ControlPlane>> {
    let owner = endpoint.metadata.owner_references.iter().flatten().find(|o| o.kind == "ControlPlane");
    match owner {
        // Owned ones are the many; their owner is found without a search.
        Some(owner) => vec![ObjectRef::new(&owner.name)],
        None => {
            let name = endpoint.name_any();
            select(store, |cp| cp.spec.endpoint_ref.as_ref().is_some_and(|r| r.name == name))
        }
    }
}

async fn reconcile(control_plane: Arc<ControlPlane>, context: Arc<Context>) -> Result<Action, Error> {
    let action = if control_plane.metadata.deletion_timestamp.is_some() {
        delete::run(&control_plane, &context).await?
    } else {
        provide(&control_plane, &context).await?
    };
    context.succeeded(control_plane.as_ref());
    Ok(action)
}

/// One pass towards what the spec asks. The status is written whatever happens.
async fn provide(control_plane: &ControlPlane, context: &Context) -> Result<Action, Error> {
    let now = jiff::Timestamp::now();
    // Looking is free; nothing is written before the finalizer is there.
    let (finalizer, found) = tokio::join!(
        ensure_finalizer(control_plane, context),
        dereference::dereference(control_plane, context)
    );
    finalizer?;
    let progress = match found {
        Err(error) => status::Progress::failed(error),
        Ok(found) => match validate::validate(control_plane, found) {
            Err(refusal) => status::Progress::refused(refusal),
            Ok(valid) => {
                let lifetime = context.options.credential_lifetime;
                let prepared = build::build(control_plane, valid, lifetime, now);
                apply::apply(control_plane, prepared, context, now).await
            }
        },
    };
    let new = status::compute(control_plane, &progress, now);
    let api: Api<ControlPlane> = Api::all(context.client.clone());
    crate::runtime::status::write(&api, control_plane, control_plane.status.as_ref(), &new).await?;
    status::announce(control_plane, &new, context).await;
    if let Some(error) = progress.error {
        return Err(error);
    }
    Ok(match (progress.refusal, progress.validity) {
        (Some(refusal), _) => Action::requeue(if refusal.stalled { RETRY_REFUSED } else { POLL }),
        (None, Some(validity)) => {
            let then = context.secrets.look_again(validity.until_renewal(now));
            Action::requeue(then.max(Duration::from_secs(1)))
        }
        (None, None) => Action::requeue(POLL),
    })
}

async fn ensure_finalizer(control_plane: &ControlPlane, context: &Context) -> Result<(), Error> {
    if control_plane.finalizers().iter().any(|f| f == FINALIZER) {
        return Ok(());
    }
    let mut finalizers = control_plane.finalizers().to_vec();
    finalizers.push(FINALIZER.to_owned());
    set_finalizers(control_plane, context, &finalizers).await
}

/// Writes the finalizers. The resourceVersion guards those that others set.
async fn set_finalizers(
    control_plane: &ControlPlane,
    context: &Context,
    finalizers: &[String],
) -> Result<(), Error> {
    let api: Api<ControlPlane> = Api::all(context.client.clone());
    let name = control_plane.name_any();
    let mut version = control_plane.metadata.resource_version.clone();
    let mut finalizers = finalizers.to_vec();
    for _ in 0..5 {
        let patch = json!({ "metadata": {
            "uid": control_plane.metadata.uid,
            "resourceVersion": version,
            "finalizers": finalizers,
        }});
        match api.patch(&name, &PatchParams::default(), &Patch::Merge(&patch)).await {
            Ok(_) => return Ok(()),
            Err(error) if raw::is_not_found(&error) => return Ok(()),
            Err(error) if raw::is_conflict(&error) => {
                let Some(current) = api.get_opt(&name).await? else { return Ok(()) };
                if current.metadata.uid != control_plane.metadata.uid {
                    return Ok(());
                }
                let ours = finalizers.iter().any(|f| f == FINALIZER);
                finalizers = current.finalizers().iter().filter(|f| *f != FINALIZER).cloned().collect();
                if ours {
                    finalizers.push(FINALIZER.to_owned());
                }
                version = current.metadata.resource_version;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Err(Error::Wait("the finalizers changed too often".into()))
}
