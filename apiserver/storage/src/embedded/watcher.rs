//! A watch of the embedded store: one task that reads the ring or the file and sends.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc;

use super::hub::{Hub, Registration, Taken};
use super::tables::{LOG, decode_log, get_at};
use super::{Shared, blocking, storage_error, table_error};
use crate::validate::in_range;
use crate::{
    Error, Event, EventKind, KeyValue, Result, Revision, WatchEvent, WatchHandle, WatchRequest, WatchStream,
};

/// How many events wait for a slow reader before the watch falls back on the file.
const BUFFERED: usize = 128;
/// How much of the log one read of the file goes through, and how much it may yield.
const REVISIONS_AT_ONCE: usize = 4096;
const BYTES_AT_ONCE: usize = 4 << 20;

pub(super) fn start(shared: &Arc<Shared>, request: WatchRequest) -> Result<WatchStream> {
    // Registered before the state is looked at, so that nothing falls between.
    let registration = shared.hub.register(u64::MAX);
    let snapshot = shared.snapshot()?;
    let next = match request.start_revision {
        None => snapshot.current + 1,
        Some(start) => start.max(1),
    };
    if next < snapshot.compacted {
        return Err(Error::Compacted { compact_revision: snapshot.compacted });
    }
    drop(snapshot);
    let (sender, receiver) = mpsc::channel(BUFFERED);
    let handle = WatchHandle::default();
    let watcher = Watcher {
        hub: shared.hub.clone(),
        shared: shared.clone(),
        registration,
        start: request.start,
        end: request.end,
        next,
        sender,
        handle: handle.clone(),
    };
    tokio::spawn(watcher.run());
    Ok(WatchStream::new(receiver, handle))
}

struct Watcher {
    hub: Arc<Hub>,
    shared: Arc<Shared>,
    registration: Registration,
    start: Bytes,
    end: Bytes,
    /// The first revision not yet sent.
    next: Revision,
    sender: mpsc::Sender<Result<WatchEvent>>,
    handle: WatchHandle,
}

/// The reader is gone.
struct Gone;

impl Watcher {
    async fn run(mut self) {
        let mut published = self.hub.subscribe();
        let mut progress = false;
        loop {
            let state = published.borrow_and_update().clone();
            match self.send_up_to(state.revision).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    let _ = self.sender.send(Err(error)).await;
                    return;
                }
                Err(Gone) => return,
            }
            if progress {
                progress = false;
                let event = WatchEvent::Progress(state.revision);
                if self.sender.send(Ok(event)).await.is_err() {
                    return;
                }
            }
            if let Some(error) = state.ended {
                let _ = self.sender.send(Err(error)).await;
                return;
            }
            tokio::select! {
                changed = published.changed() => if changed.is_err() { return },
                () = self.handle.requested() => progress = true,
                () = self.sender.closed() => return,
            }
        }
    }

    /// Sends everything up to the published revision `current`.
    async fn send_up_to(&mut self, current: Revision) -> Result<Result<()>, Gone> {
        while self.next <= current {
            match self.registration.take(self.next) {
                Taken::Changes(changes) => {
                    if changes.is_empty() {
                        return Ok(Err(Error::Corrupt(format!(
                            "revision {} was published but is nowhere",
                            self.next
                        ))));
                    }
                    for change in changes {
                        let events = change
                            .events
                            .iter()
                            .filter(|event| in_range(&event.kv.key, &self.start, &self.end))
                            .cloned()
                            .collect();
                        self.send(change.revision, events).await?;
                    }
                }
                Taken::OnlyInFile => {
                    let (shared, next) = (self.shared.clone(), self.next);
                    let (start, end) = (self.start.clone(), self.end.clone());
                    let read = blocking(move || read_log(&shared, next, current, &start, &end)).await;
                    match read {
                        Ok((changes, reached)) => {
                            for (revision, events) in changes {
                                self.send(revision, events).await?;
                            }
                            self.next = reached;
                        }
                        Err(error) => return Ok(Err(error)),
                    }
                }
            }
        }
        // Nothing older is wanted any more.
        self.registration.take(self.next);
        Ok(Ok(()))
    }

    async fn send(&mut self, revision: Revision, events: Vec<Event>) -> Result<(), Gone> {
        if !events.is_empty() {
            let event = WatchEvent::Events { revision, events };
            self.sender.send(Ok(event)).await.map_err(|_| Gone)?;
        }
        self.next = revision + 1;
        Ok(())
    }
}

type Changes = Vec<(Revision, Vec<Event>)>;

/// Reads changes from the file: those in the range from revision `from` on, not beyond `to`; and
/// the first revision not read.
fn read_log(
    shared: &Shared,
    from: Revision,
    to: Revision,
    start: &[u8],
    end: &[u8],
) -> Result<(Changes, Revision)> {
    let snapshot = shared.snapshot()?;
    if from < snapshot.compacted {
        return Err(Error::Compacted { compact_revision: snapshot.compacted });
    }
    let versions = snapshot.versions()?;
    let log = snapshot.transaction.open_table(LOG).map_err(table_error)?;
    let mut changes = Vec::new();
    let mut bytes = 0;
    for (steps, entry) in log.range(from..=to).map_err(storage_error)?.enumerate() {
        let (revision, keys) = entry.map_err(storage_error)?;
        let revision = revision.value();
        if steps >= REVISIONS_AT_ONCE || bytes >= BYTES_AT_ONCE {
            return Ok((changes, revision));
        }
        let mut events = Vec::new();
        for key in decode_log(keys.value())? {
            if !in_range(key, start, end) {
                continue;
            }
            let kv = get_at(&versions, key, revision, false)?;
            let prev_kv = get_at(&versions, key, revision - 1, false)?;
            let event = match kv {
                Some(kv) => Event { kind: EventKind::Put, kv, prev_kv },
                None => Event {
                    kind: EventKind::Delete,
                    kv: KeyValue {
                        key: Bytes::copy_from_slice(key),
                        mod_revision: revision,
                        ..Default::default()
                    },
                    prev_kv,
                },
            };
            bytes += event.kv.key.len() + event.kv.value.len();
            bytes += event.prev_kv.as_ref().map_or(0, |kv| kv.value.len());
            events.push(event);
        }
        if !events.is_empty() {
            changes.push((revision, events));
        }
    }
    Ok((changes, to + 1))
}
