//! `ManagementPlane`: the store and the shared API server, in this process or in pods.
//!
//! `dereference → validate → build → apply → status`. For topology Embedded nothing is built: the process that serves
//! says how it is doing.

mod apply;
mod authority;
mod build;
mod certificates;
mod delete;
mod encryption;
mod issue;
mod status;
mod store;
mod taken_up;
#[cfg(test)]
mod tests;
mod trouble;
mod upgrade;
mod validate;

use std::sync::Arc;
use std::time::Duration;

use futures::stream::{BoxStream, StreamExt};
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::core::v1::Secret;
use kplane_crds::v1alpha1::{MANAGEMENT_PLANE_NAME, ManagementPlane};
use kube::Api;
use kube::runtime::controller::Action;
use kube::runtime::reflector::ObjectRef;
use kube::runtime::{Controller, watcher};
use tokio_util::sync::CancellationToken;

use super::context::{Context, POLL, error_policy};
use super::plane::EmbeddedPlane;
use super::run::{changes, drain};
use crate::Error;
use status::Observed;
use validate::Decision;

/// How often what is deployed is looked at when nothing tells of a change.
const LOOK_AGAIN: Duration = Duration::from_secs(10);
/// How long the record of a failed upgrade may take to be read again.
const AT_ONCE: Duration = Duration::from_millis(500);
/// How often etcd is asked how it does once all is well: nothing tells of it.
const LOOK_AT_ETCD: Duration = Duration::from_secs(60);
/// How often certificates are looked at once all is well.
const LOOK_AT_CERTIFICATES: Duration = Duration::from_secs(3600);

/// Runs the controller.
pub async fn run(context: Arc<Context>, shutdown: CancellationToken) {
    let client = context.client.clone();
    let (stream, reader) = changes(Api::<ManagementPlane>::all(client));
    let planes = &context.planes;
    let ours = || watcher::Config::default().labels(build::SELECTOR);
    let controller = Controller::for_stream(stream, reader)
        // By name, not by owner: a reference made of an owner in no namespace and its object in one would be taken for
        // another plane, and both be worked on at once.
        .watches_stream(planes.watch::<Deployment>(ours()), |_| the_plane())
        .watches_stream(planes.watch::<StatefulSet>(ours()), |_| the_plane())
        .watches_stream(planes.watch::<Secret>(ours()), |_| the_plane())
        .reconcile_all_on(health_changes(context.planes.embedded()))
        .graceful_shutdown_on(shutdown.cancelled_owned())
        .run(reconcile, error_policy, context);
    drain("ManagementPlane", controller).await;
}

/// The one management plane.
fn the_plane() -> Option<ObjectRef<ManagementPlane>> {
    Some(ObjectRef::new(MANAGEMENT_PLANE_NAME))
}

/// Ticks whenever the process that serves is doing better or worse.
fn health_changes(embedded: Option<&EmbeddedPlane>) -> BoxStream<'static, ()> {
    let Some(embedded) = embedded else { return futures::stream::pending().boxed() };
    futures::stream::unfold(embedded.health.clone(), |mut health| async move {
        if health.changed().await.is_err() {
            // Nobody will tell any more; the last word stands.
            return futures::future::pending().await;
        }
        Some(((), health))
    })
    .boxed()
}

async fn reconcile(plane: Arc<ManagementPlane>, context: Arc<Context>) -> Result<Action, Error> {
    let now = jiff::Timestamp::now();
    context.planes.is_in(&plane.spec.namespace);
    if plane.metadata.deletion_timestamp.is_some() {
        let Some(message) = delete::release(&context.client, &plane).await? else {
            return Ok(Action::await_change());
        };
        let new = status::refused(&plane, &message, now);
        let api: Api<ManagementPlane> = Api::all(context.client.clone());
        crate::runtime::status::write(&api, plane.as_ref(), plane.status.as_ref(), &new).await?;
        status::announce(&plane, &new, &context).await;
        return Ok(Action::requeue(LOOK_AGAIN));
    }
    delete::hold(&context.client, &plane).await?;
    let (observed, error) = match validate::validate(&plane, context.planes.embedded()) {
        Decision::Impossible { message } => (Observed::Impossible { message }, None),
        Decision::Embedded(embedded) => {
            let health = Box::new(embedded.health.borrow().clone());
            let observed = Observed::Embedded {
                endpoint: embedded.endpoint.clone(),
                ca: embedded.ca.clone(),
                version: embedded.version.clone(),
                health,
            };
            (observed, None)
        }
        Decision::Deployed(deployed) => match apply::apply(&plane, &deployed, &context, now).await {
            Ok(applied) => (Observed::Deployed(Box::new(applied)), None),
            Err(error) => {
                let (reason, message) = trouble::of_error(&error, &plane.spec.namespace);
                (Observed::Failed { reason, message }, Some(error))
            }
        },
    };
    let unsupported = validate::unsupported(&plane.spec, context.planes.embedded());
    let new = status::compute(&plane, &observed, &unsupported, now);
    let api: Api<ManagementPlane> = Api::all(context.client.clone());
    crate::runtime::status::write(&api, plane.as_ref(), plane.status.as_ref(), &new).await?;
    status::announce(&plane, &new, &context).await;
    if let Some(error) = error {
        return Err(error);
    }
    context.succeeded(plane.as_ref());
    Ok(match observed {
        // What ran is put back at once.
        Observed::Deployed(applied) if applied.failed_upgrade.is_some() => Action::requeue(AT_ONCE),
        Observed::Deployed(applied) if applied.store.busy => Action::requeue(POLL),
        Observed::Deployed(applied) if applied.is_settled() => {
            let next = applied.look_again.into_iter().chain(applied.renew_at).min();
            let left = next.map(|then| then.as_second().saturating_sub(now.as_second()));
            let left = left.map(|seconds| Duration::from_secs(u64::try_from(seconds).unwrap_or(0) + 1));
            let most = if applied.has_etcd() { LOOK_AT_ETCD } else { LOOK_AT_CERTIFICATES };
            Action::requeue(left.unwrap_or(most).min(most))
        }
        Observed::Deployed(_) => Action::requeue(LOOK_AGAIN),
        _ => Action::await_change(),
    })
}
