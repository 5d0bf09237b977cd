//! Removes the data of control planes whose records are being deleted. One loop over root's records; it holds nothing
//! for those that stay.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use kplane_kinds::tenancy::{DATA_FINALIZER, GROUP, VERSION};
use kplane_machinery::{Status, object};
use kplane_registry::{AcrossEvent, ListRequest, Stored};
use serde_json::Value;
use tokio::sync::Semaphore;

use super::{PLURAL, id_of, resource_key, roles, terminating};
use crate::app::App;
use crate::endpoints::cx::{Cx, Resource};
use crate::endpoints::failures;
use crate::endpoints::managed::Tracking;
use crate::endpoints::write::{self, Change, Preconditions};
use crate::follow;

const BACKOFF: Duration = Duration::from_secs(1);
/// As many control planes follow their layers at once.
const MOVING: usize = 4;
/// As many records a page, so that many of them need not be in memory at once.
const PAGE: usize = 500;

/// Runs until the server ends.
pub async fn run(app: Arc<App>) {
    if let Err(status) = roles::reconcile_all(&app).await {
        tracing::warn!(%status, "the policy of control planes could not follow their layers");
    }
    follow::again(&app, "the records of control planes", || follow(&app)).await;
}

async fn follow(app: &Arc<App>) -> Result<(), Status> {
    let root = app.registry.root();
    let mut request = ListRequest { limit: Some(PAGE), ..ListRequest::default() };
    let revision = loop {
        let page =
            app.registry.list(&root, &resource_key(), request.clone()).await.map_err(failures::store)?;
        for stored in &page.items {
            consider(app, stored).await;
        }
        match page.next {
            Some(next) => {
                request.after = Some(next);
                request.version = kplane_registry::ResourceVersion::Exact(page.revision);
            }
            None => break page.revision,
        }
    };
    // Not a watch of root's records alone: that would hold them all in memory.
    let events =
        app.registry.watch_all(Some(&resource_key()), Some(revision)).await.map_err(failures::store)?;
    futures::pin_mut!(events);
    let moving = Arc::new(Semaphore::new(MOVING));
    loop {
        let item = tokio::select! {
            () = app.shutdown.cancelled() => return Ok(()),
            item = events.next() => match item {
                Some(item) => item.map_err(failures::store)?,
                None => return Ok(()),
            },
        };
        if let AcrossEvent::Event { vcp, object, previous, .. } = item
            && vcp.is_root()
        {
            consider(app, &object).await;
            if let Some(previous) = previous {
                follow_layers(app, &previous, &object, &moving);
            }
        }
    }
}

/// Lets the policy of a control plane that moved to other layers follow them.
fn follow_layers(app: &Arc<App>, before: &Stored, after: &Stored, moving: &Arc<Semaphore>) {
    let (Ok(before), Ok(after)) = (before.to_value(), after.to_value()) else { return };
    if before["spec"]["layers"] == after["spec"]["layers"] || terminating(&after) {
        return;
    }
    let (app, moving) = (app.clone(), moving.clone());
    tokio::spawn(async move {
        let name = object::name(&after);
        loop {
            let Ok(permit) = moving.acquire().await else { return };
            let reconciled = match app.registry.vcp(name).await {
                Ok(Some(vcp)) => roles::reconcile(&app, &vcp).await,
                Ok(None) => return,
                Err(error) => Err(failures::store(error)),
            };
            match reconciled {
                Err(status) if status.code != 404 => {
                    tracing::warn!(name, %status, "the policy of a control plane could not follow its layers; trying again");
                }
                _ => return,
            }
            drop(permit);
            tokio::select! {
                () = app.shutdown.cancelled() => return,
                () = tokio::time::sleep(BACKOFF) => {}
            }
        }
    });
}

/// Begins the removal of a record's data, if that is asked for. A failure is tried again until the data is gone.
async fn consider(app: &Arc<App>, stored: &Stored) {
    let record = match stored.to_value() {
        Ok(record) => record,
        Err(error) => return tracing::error!(%error, name = stored.name(), "a record cannot be read"),
    };
    if !terminating(&record) || !is_held(&record) {
        return;
    }
    let app = app.clone();
    tokio::spawn(async move {
        while let Err(status) = destroy(&app, &record).await {
            if status.code == 404 {
                return;
            }
            tracing::warn!(name = object::name(&record), %status, "a control plane could not be destroyed; trying again");
            tokio::select! {
                () = app.shutdown.cancelled() => return,
                () = tokio::time::sleep(BACKOFF) => {}
            }
        }
    });
}

fn is_held(record: &Value) -> bool {
    record["metadata"]["finalizers"].as_array().is_some_and(|all| all.iter().any(|f| f == DATA_FINALIZER))
}

/// Removes the data, then lets the record go.
async fn destroy(app: &Arc<App>, record: &Value) -> Result<(), Status> {
    app.registry.destroy_range(id_of(record)?).await.map_err(failures::store)?;
    let def = app
        .kinds
        .get(GROUP, PLURAL)
        .ok_or_else(|| Status::internal("the kind VirtualCluster is missing from the table"))?;
    let resource = Resource { def: def.clone(), version: VERSION.into() };
    let name = object::name(record);
    let cx = Cx::system(app, &app.registry.root(), "", name);
    let change = Change {
        name,
        subresource: None,
        create: false,
        preconditions: Preconditions { uid: Some(object::uid(record).to_owned()), resource_version: None },
        tracking: Tracking::update("kplane-apiserver", None),
        operation: kplane_admission::Operation::Update,
    };
    write::update(&cx, &resource, change, |old| {
        let mut record = old.cloned().ok_or_else(|| Status::not_found(&resource.group_resource(), name))?;
        let kept: Vec<Value> = record["metadata"]["finalizers"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|f| *f != DATA_FINALIZER)
            .cloned()
            .collect();
        object::set_meta(&mut record, "finalizers", (!kept.is_empty()).then(|| kept.into()));
        Ok(record)
    })
    .await
    .map(|_| ())
}
