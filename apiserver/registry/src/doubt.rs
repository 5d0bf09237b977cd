//! Writes whose outcome the store could not tell.
//!
//! When a member of etcd ends, or the lead moves, a write may stay without an answer: it was done, will be done, or never.
//! A new ticket excludes that it will be; then the history of its key, in which it shows by its mark, tells whether it was.
//! If not, it is made again. Only when the store cannot be asked in time is the outcome told to be unknown.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use kplane_storage::{Error as StoreError, Event, EventKind, Op, WatchEvent, WatchRequest, successor};
use tokio::time::{Instant, sleep, timeout_at};

use crate::WriteError;
use crate::encoded::{self, Mark};
use crate::registry::Core;

const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// Gives every write a mark of its own, among those of all servers.
#[derive(Debug)]
pub(crate) struct Marks {
    next: AtomicU64,
}

impl Marks {
    pub fn new() -> Self {
        let (start, _) = uuid::Uuid::new_v4().as_u64_pair();
        Self { next: AtomicU64::new(start) }
    }

    pub fn next(&self) -> Mark {
        self.next.fetch_add(1, Ordering::Relaxed).to_be_bytes()
    }
}

/// The doubts that a write meets.
#[derive(Debug)]
pub(crate) struct Doubts {
    /// The write is later than this revision.
    since: u64,
    /// When to stop looking, once there was one.
    deadline: Option<Instant>,
}

impl Doubts {
    /// There are none yet. `since` is a revision before the write.
    pub fn new(since: u64) -> Self {
        Self { since, deadline: None }
    }

    /// Finds out about an attempt to do this that showed this ticket: the revision at which it was done, or `None` when
    /// it was not and never will be.
    pub async fn settle(
        &mut self,
        core: &Core,
        op: &Op,
        ticket: u64,
        why: String,
    ) -> Result<Option<u64>, WriteError> {
        let unknown = || WriteError::Unknown(why.clone());
        let (key, sought) = Sought::of(op).ok_or_else(unknown)?;
        let deadline = *self.deadline.get_or_insert_with(|| Instant::now() + core.options.doubt);
        let mut pause = FIRST_PAUSE;
        loop {
            match timeout_at(deadline, self.find(core, key, sought, ticket)).await {
                Ok(Ok(found)) => {
                    tracing::info!(%why, done = found.is_some(), "a write in doubt was looked for");
                    return Ok(found);
                }
                Ok(Err(error)) if error.is_retriable() => {
                    tracing::debug!(%error, "a write in doubt cannot be looked for yet");
                }
                Ok(Err(error)) => {
                    tracing::warn!(%error, "a write in doubt cannot be looked for");
                    return Err(unknown());
                }
                Err(_) => return Err(unknown()),
            }
            if Instant::now() + pause >= deadline {
                return Err(unknown());
            }
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn find(
        &self,
        core: &Core,
        key: &Bytes,
        sought: Sought,
        ticket: u64,
    ) -> Result<Option<u64>, StoreError> {
        core.ticket.replace(&core.store, ticket).await?;
        let now = core.store.current_revision().await?;
        let request = WatchRequest { start: key.clone(), end: successor(key), start_revision: None };
        let mut history = core.store.watch(request.from(self.since + 1)).await?;
        history.request_progress();
        while let Some(event) = history.recv().await {
            let reached = match event? {
                WatchEvent::Progress(revision) => revision,
                WatchEvent::Events { revision, events } => {
                    if events.iter().any(|event| sought.is(event)) {
                        return Ok(Some(revision));
                    }
                    revision
                }
            };
            if reached >= now {
                return Ok(None);
            }
        }
        Err(StoreError::Unavailable("the watch on a key ended".into()))
    }
}

/// How a write shows in the history of its key.
#[derive(Clone, Copy, Debug)]
enum Sought {
    Mark(Mark),
    /// Another's of these is as good: who deletes wants it gone.
    Tombstone,
    Deletion,
}

impl Sought {
    /// `None` for a write that cannot be told from others.
    fn of(op: &Op) -> Option<(&Bytes, Self)> {
        match op {
            Op::Put { key, value, .. } if encoded::is_tombstone(value) => Some((key, Self::Tombstone)),
            Op::Put { key, value, .. } => Some((key, Self::Mark(encoded::mark(value)?))),
            Op::Delete { key } => Some((key, Self::Deletion)),
            _ => None,
        }
    }

    fn is(self, event: &Event) -> bool {
        match (self, event.kind) {
            (Self::Mark(mark), EventKind::Put) => encoded::mark(&event.kv.value) == Some(mark),
            (Self::Tombstone, EventKind::Put) => encoded::is_tombstone(&event.kv.value),
            (Self::Deletion, kind) => kind == EventKind::Delete,
            (Self::Mark(_) | Self::Tombstone, EventKind::Delete) => false,
        }
    }
}
