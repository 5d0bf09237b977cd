//! Watching a range of keys.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::Stream;
use tokio::sync::{Notify, mpsc};

use crate::{KeyValue, Result, Revision, prefix_end};

/// Asks for the changes of a half-open range of keys.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WatchRequest {
    /// The first key.
    pub start: Bytes,
    /// The key after the last one; empty: no upper bound.
    pub end: Bytes,
    /// The first revision whose changes are sent, past or future; `None`: those after the
    /// revision at which the watch was made.
    pub start_revision: Option<Revision>,
}

impl WatchRequest {
    /// The changes to the keys that begin with `prefix`.
    pub fn prefix(prefix: impl Into<Bytes>) -> Self {
        let start = prefix.into();
        let end = prefix_end(&start);
        WatchRequest { start, end, start_revision: None }
    }

    /// From `revision` on, itself included.
    pub fn from(mut self, revision: Revision) -> Self {
        self.start_revision = Some(revision);
        self
    }
}

/// What happened to a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    /// It was written.
    Put,
    /// It was deleted, or its time to live ran out.
    Delete,
}

/// A change of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// What happened.
    pub kind: EventKind,
    /// The key after the change. Of a deleted one only `key` and `mod_revision` (that of the
    /// deletion) are set.
    pub kv: KeyValue,
    /// The key before the change, unless it did not exist or compaction has removed it.
    pub prev_kv: Option<KeyValue>,
}

/// What a watch yields, in the order of revisions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WatchEvent {
    /// The changes of one revision in the range, complete.
    Events {
        /// The revision.
        revision: Revision,
        /// Its changes, in the order of the transaction's operations.
        events: Vec<Event>,
    },
    /// All changes up to and including this revision have been yielded.
    Progress(Revision),
}

impl WatchEvent {
    /// The revision up to which the watch has yielded everything with this event.
    pub fn revision(&self) -> Revision {
        match self {
            WatchEvent::Events { revision, .. } | WatchEvent::Progress(revision) => *revision,
        }
    }
}

/// The changes of a range as they happen. Ends after the first error: [`crate::Error::Compacted`]
/// when the watch fell behind compaction, anything else when the store is gone for good;
/// connections that break are mended unseen, without gaps or repeats. Dropping it ends the watch.
#[derive(Debug)]
pub struct WatchStream {
    events: mpsc::Receiver<Result<WatchEvent>>,
    handle: WatchHandle,
}

impl WatchStream {
    /// The receiving side of a watch whose backend sends into the channel's other side and
    /// answers the handle's requests.
    pub(crate) fn new(events: mpsc::Receiver<Result<WatchEvent>>, handle: WatchHandle) -> Self {
        WatchStream { events, handle }
    }

    /// The next event; `None` once the watch has ended.
    pub async fn recv(&mut self) -> Option<Result<WatchEvent>> {
        self.events.recv().await
    }

    /// A handle for asking the watch for its progress.
    pub fn handle(&self) -> WatchHandle {
        self.handle.clone()
    }

    /// See [`WatchHandle::request_progress`].
    pub fn request_progress(&self) {
        self.handle.request_progress();
    }
}

impl Stream for WatchStream {
    type Item = Result<WatchEvent>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.events.poll_recv(cx)
    }
}

/// Asks a watch for its progress, from anywhere.
#[derive(Debug, Clone, Default)]
pub struct WatchHandle {
    wanted: Arc<Notify>,
}

impl WatchHandle {
    /// Makes the watch yield a [`WatchEvent::Progress`] that is at least the store's revision at
    /// the time of this call. Requests made before the answer may share it; after a reconnection
    /// the request is made again by the watch.
    pub fn request_progress(&self) {
        self.wanted.notify_one();
    }

    /// Waits for a request.
    pub(crate) async fn requested(&self) {
        self.wanted.notified().await;
    }
}
