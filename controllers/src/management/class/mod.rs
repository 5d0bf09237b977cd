//! `ControlPlaneClass`: makes layers of its add-ons, and says which of its fields do something.

mod addons;
mod status;

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use kplane_crds::v1alpha1::{ControlPlaneClass, ManagementPlane};
use kube::runtime::controller::Action;
use kube::runtime::reflector::ObjectRef;
use kube::runtime::{Controller, watcher};
use kube::{Api, ResourceExt};
use tokio_util::sync::CancellationToken;

use super::context::{Context, POLL, error_policy};
use super::run::{changes, drain};
use crate::Error;

/// How often the layers of add-ons are uploaded again: the shared API server keeps one that nobody names for an hour.
const UPLOAD_AGAIN: Duration = Duration::from_secs(20 * 60);
/// How often the ConfigMap of an add-on is looked for that is not there or not valid, if no change is seen.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// Runs the controller.
pub async fn run(context: Arc<Context>, shutdown: CancellationToken) {
    let client = context.client.clone();
    let (stream, reader) = changes(Api::<ControlPlaneClass>::all(client.clone()));
    let by_addon = reader.clone();
    let by_plane = reader.clone();
    let controller = Controller::for_stream(stream, reader)
        .watches_stream(
            context.planes.watch::<ConfigMap>(watcher::Config::default()),
            move |config_map: ConfigMap| {
                let name = config_map.name_any();
                let all = by_addon.state();
                let named = all.iter().filter(|class| class.spec.addons.contains(&name));
                named.map(|class| ObjectRef::from_obj(class.as_ref())).collect::<Vec<_>>()
            },
        )
        .watches(
            Api::<ManagementPlane>::all(client),
            watcher::Config::default(),
            move |_: ManagementPlane| {
                let all = by_plane.state();
                let with = all.iter().filter(|class| !class.spec.addons.is_empty());
                with.map(|class| ObjectRef::from_obj(class.as_ref())).collect::<Vec<_>>()
            },
        )
        .graceful_shutdown_on(shutdown.cancelled_owned())
        .run(reconcile, error_policy, context);
    drain("ControlPlaneClass", controller).await;
}

async fn reconcile(class: Arc<ControlPlaneClass>, context: Arc<Context>) -> Result<Action, Error> {
    let known = class.status.as_ref().map(|status| status.addons.as_slice()).unwrap_or_default();
    let (addons, error) = match addons::resolve(&class.spec.addons, known, &context).await {
        Ok(addons) => (addons, None),
        Err(error) => (addons::Addons::unreached(&class.spec.addons, known, &error), Some(error)),
    };
    let status = status::compute(&class, &addons, jiff::Timestamp::now());
    let api: Api<ControlPlaneClass> = Api::all(context.client.clone());
    crate::runtime::status::write(&api, class.as_ref(), class.status.as_ref(), &status).await?;
    match error {
        // There is no way to the server yet: waited for, not failed.
        Some(Error::PlaneUnknown(_)) => Ok(Action::requeue(POLL)),
        Some(error) => Err(error),
        None => {
            context.succeeded(class.as_ref());
            Ok(match (class.spec.addons.is_empty(), addons.problem.is_some()) {
                (true, _) => Action::await_change(),
                (false, true) => Action::requeue(LOOK_AGAIN),
                (false, false) => Action::requeue(UPLOAD_AGAIN),
            })
        }
    }
}
