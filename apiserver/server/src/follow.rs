//! Loops over the objects of all control planes: what is there first, then every change; and all of it again after a failure.
//!
//! Such a loop holds nothing for control planes where nothing changes.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt};
use kplane_machinery::Status;
use kplane_registry::{
    AcrossEvent, AcrossItem, AcrossPosition, AcrossRequest, EventKind, ResourceKey, Stored, Vcp,
};

use crate::app::App;
use crate::endpoints::failures;

/// How long to wait before a loop begins again after a failure.
const BACKOFF: Duration = Duration::from_secs(1);

/// Runs something that should run until the server ends, again whenever it does not.
pub async fn again<F: Future<Output = Result<(), Status>>>(app: &Arc<App>, what: &str, run: impl Fn() -> F) {
    while !app.shutdown.is_cancelled() {
        if let Err(status) = run().await {
            tracing::warn!(%status, "{what} could not be followed; trying again");
        }
        tokio::select! {
            () = app.shutdown.cancelled() => {}
            () = tokio::time::sleep(BACKOFF) => {}
        }
    }
}

/// An object that is there, or what happened to it.
#[derive(Debug)]
pub struct Seen {
    /// What happened; `None` for one that was there when the loop began.
    pub change: Option<EventKind>,
    /// Whose it is.
    pub vcp: Arc<Vcp>,
    /// Its kind.
    pub resource: ResourceKey,
    /// The object.
    pub object: Stored,
}

impl Seen {
    /// Whether it is no more.
    pub fn gone(&self) -> bool {
        self.change == Some(EventKind::Deleted)
    }
}

/// The objects of a resource, and all changes to them.
pub fn objects(app: &Arc<App>, resource: ResourceKey) -> Objects {
    follow(app, resource.clone(), Some(resource))
}

/// The objects of a resource, and all changes to objects of any.
pub fn objects_and_all_changes(app: &Arc<App>, resource: ResourceKey) -> Objects {
    follow(app, resource, None)
}

/// What is seen, until the server ends or something fails.
pub struct Objects {
    app: Arc<App>,
    seen: Pin<Box<dyn Stream<Item = Result<Seen, Status>> + Send>>,
}

impl Objects {
    /// The next; `None` when there is nothing more to see. What is not waited for to the end is not lost.
    pub async fn next(&mut self) -> Result<Option<Seen>, Status> {
        tokio::select! {
            () = self.app.shutdown.cancelled() => Ok(None),
            seen = self.seen.next() => seen.transpose(),
        }
    }
}

type Changes = Pin<Box<dyn Stream<Item = Result<AcrossEvent, kplane_registry::Error>> + Send>>;

/// How far it has come.
enum Stage {
    Listing { ready: VecDeque<AcrossItem>, after: Option<AcrossPosition>, revision: Option<u64>, more: bool },
    Watching(Changes),
}

fn follow(app: &Arc<App>, listed: ResourceKey, watched: Option<ResourceKey>) -> Objects {
    let begun = Stage::Listing { ready: VecDeque::new(), after: None, revision: None, more: true };
    let state = (app.clone(), listed, watched, begun);
    let seen = futures::stream::try_unfold(state, |(app, listed, watched, mut stage)| async move {
        loop {
            stage = match stage {
                Stage::Listing { mut ready, after, revision, more } => {
                    if let Some(AcrossItem { vcp, resource, object }) = ready.pop_front() {
                        let seen = Seen { change: None, vcp, resource, object };
                        let stage = Stage::Listing { ready, after, revision, more };
                        return Ok(Some((seen, (app, listed, watched, stage))));
                    }
                    if more {
                        let request = AcrossRequest { after, revision, limit: None };
                        let page = app.registry.list_all(Some(&listed), request).await;
                        let page = page.map_err(failures::store)?;
                        Stage::Listing {
                            ready: page.items.into(),
                            more: page.next.is_some(),
                            after: page.next,
                            revision: Some(page.revision),
                        }
                    } else {
                        let changes = app.registry.watch_all(watched.as_ref(), revision).await;
                        Stage::Watching(Box::pin(changes.map_err(failures::store)?))
                    }
                }
                Stage::Watching(mut changes) => {
                    let Some(change) = changes.next().await else { return Ok(None) };
                    let change = change.map_err(failures::store)?;
                    if let AcrossEvent::Event { kind, vcp, resource, object, .. } = change {
                        let seen = Seen { change: Some(kind), vcp, resource, object };
                        let stage = Stage::Watching(changes);
                        return Ok(Some((seen, (app, listed, watched, stage))));
                    }
                    Stage::Watching(changes)
                }
            };
        }
    });
    Objects { app: app.clone(), seen: Box::pin(seen) }
}
