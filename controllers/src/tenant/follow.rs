//! One list and watch over all control planes.

use std::time::Duration;

use futures::StreamExt;
use kube::core::WatchEvent;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::Error;
use crate::runtime::backoff::Backoff;
use crate::runtime::raw::{self, Raw};

/// Every materialised object of every control plane, as metadata.
const OBJECTS: &str = "/objects";
/// How many objects a page of the list has.
const PAGE: u32 = 500;

/// Sees what happens.
pub trait Sink: Send {
    /// A list begins: what is not listed until it ends is not there.
    fn begin(&mut self);
    /// An object of the list.
    fn listed(&mut self, object: &Value);
    /// The list is whole.
    fn end(&mut self);
    /// An object was made or changed.
    fn applied(&mut self, object: &Value);
    /// An object is gone.
    fn deleted(&mut self, object: &Value);
}

/// Lists, then watches, for ever: from where a watch ended, or from a new list when that is too long ago.
pub async fn follow(raw: &Raw, mut sink: impl Sink, shutdown: &CancellationToken) {
    let all = raw.cluster("*");
    let backoff = Backoff::default();
    let mut version: Option<String> = None;
    loop {
        let result = tokio::select! {
            () = shutdown.cancelled() => return,
            result = pass(&all, &mut sink, &mut version) => result,
        };
        let wait = match result {
            Ok(()) => {
                backoff.succeeded(OBJECTS);
                continue;
            }
            Err(error) => {
                if matches!(&error, Error::Kube(error) if raw::code(error) == Some(410)) {
                    version = None;
                    Duration::ZERO
                } else {
                    let wait = backoff.failed(OBJECTS);
                    tracing::warn!(%error, ?wait, "the watch over all control planes failed");
                    wait
                }
            }
        };
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(wait) => {}
        }
    }
}

/// One list, if there is none to go on from, and one watch to its end.
async fn pass(all: &Raw, sink: &mut impl Sink, version: &mut Option<String>) -> Result<(), Error> {
    let from = match version {
        Some(version) => version.clone(),
        None => {
            sink.begin();
            let listed = all.pages(OBJECTS, PAGE, |object| sink.listed(&object)).await?;
            sink.end();
            *version = Some(listed.clone());
            listed
        }
    };
    let events = all.watch(OBJECTS, &from).await?;
    futures::pin_mut!(events);
    while let Some(event) = events.next().await {
        match event? {
            WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                note(version, &object);
                sink.applied(&object);
            }
            WatchEvent::Deleted(object) => {
                note(version, &object);
                sink.deleted(&object);
            }
            WatchEvent::Bookmark(bookmark) => *version = Some(bookmark.metadata.resource_version),
            WatchEvent::Error(status) => return Err(kube::Error::Api(status).into()),
        }
    }
    Ok(())
}

fn note(version: &mut Option<String>, object: &Value) {
    if let Some(seen) = object.pointer("/metadata/resourceVersion").and_then(Value::as_str) {
        *version = Some(seen.to_owned());
    }
}
