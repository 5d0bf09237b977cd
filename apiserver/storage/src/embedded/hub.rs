//! Hands committed changes to watches.
//!
//! The writer publishes; each watch is a task that takes the changes from a short ring in memory
//! when it keeps up and from the file when it does not, so a slow watch costs no memory.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::{Error, Event, Revision};

/// How much of the newest history is kept in memory for the watches that have not taken it yet.
const RING_BYTES: usize = 8 << 20;
/// How many revisions a watch takes at once.
const TAKEN_AT_ONCE: usize = 256;

/// The changes of one revision.
#[derive(Debug)]
pub(super) struct Change {
    pub(super) revision: Revision,
    pub(super) events: Vec<Event>,
}

impl Change {
    fn bytes(&self) -> usize {
        self.events
            .iter()
            .map(|event| {
                let prev = event.prev_kv.as_ref().map_or(0, |kv| kv.value.len());
                200 + event.kv.key.len() + event.kv.value.len() + prev
            })
            .sum()
    }
}

/// What the writer last made known.
#[derive(Debug, Clone)]
pub(super) struct Published {
    pub(super) revision: Revision,
    /// Set once, when the store can no longer be used.
    pub(super) ended: Option<Error>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Hub {
    published: watch::Sender<Published>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Consecutive revisions, the first being `first`.
    ring: VecDeque<Arc<Change>>,
    first: Revision,
    bytes: usize,
    /// What each watch wants next.
    watches: HashMap<u64, Revision>,
    next_watch: u64,
}

/// What a watch finds in the ring.
pub(super) enum Taken {
    /// These revisions, the wanted one first; none when it is not there yet.
    Changes(Vec<Arc<Change>>),
    /// The wanted revision is no longer in memory.
    OnlyInFile,
}

impl Hub {
    pub(super) fn new(revision: Revision) -> Self {
        Hub {
            published: watch::Sender::new(Published { revision, ended: None }),
            state: Mutex::new(State {
                ring: VecDeque::new(),
                first: revision + 1,
                bytes: 0,
                watches: HashMap::new(),
                next_watch: 0,
            }),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The current revision: everything up to it is durable.
    pub(super) fn current(&self) -> Revision {
        self.published.borrow().revision
    }

    /// Why the store can no longer be used, if so.
    pub(super) fn ended(&self) -> Option<Error> {
        self.published.borrow().ended.clone()
    }

    /// Follows what is published.
    pub(super) fn subscribe(&self) -> watch::Receiver<Published> {
        self.published.subscribe()
    }

    /// Whether anybody watches: if not, the writer need not collect the changes.
    pub(super) fn is_watched(&self) -> bool {
        !self.state().watches.is_empty()
    }

    /// Makes everything up to `revision` known. `changes` are all revisions since the last call,
    /// or `None` if they were not collected.
    pub(super) fn publish(&self, changes: Option<Vec<Change>>, revision: Revision) {
        {
            let mut state = self.state();
            match changes {
                Some(changes) if !state.watches.is_empty() => {
                    for change in changes {
                        state.bytes += change.bytes();
                        state.ring.push_back(Arc::new(change));
                    }
                    state.trim();
                }
                _ => state.clear(revision + 1),
            }
        }
        self.published.send_modify(|published| published.revision = revision);
    }

    /// Ends all watches, with this error.
    pub(super) fn end(&self, error: Error) {
        self.published.send_modify(|published| {
            published.ended.get_or_insert(error);
        });
    }

    /// Registers a watch that wants `next`.
    pub(super) fn register(self: &Arc<Self>, next: Revision) -> Registration {
        let mut state = self.state();
        let id = state.next_watch;
        state.next_watch += 1;
        state.watches.insert(id, next);
        drop(state);
        Registration { hub: self.clone(), id }
    }
}

impl State {
    fn clear(&mut self, first: Revision) {
        self.ring = VecDeque::new();
        self.bytes = 0;
        self.first = first;
    }

    /// Forgets what every watch has taken, and the oldest beyond the memory allowed.
    fn trim(&mut self) {
        let wanted = self.watches.values().min().copied().unwrap_or(u64::MAX);
        while let Some(front) = self.ring.front() {
            if front.revision >= wanted && self.bytes <= RING_BYTES {
                break;
            }
            self.bytes -= front.bytes();
            self.first = front.revision + 1;
            self.ring.pop_front();
        }
    }
}

/// A watch's place in the hub; dropping it gives the place up.
pub(super) struct Registration {
    hub: Arc<Hub>,
    id: u64,
}

impl Registration {
    /// What the ring has from `next` on; all before it may be forgotten.
    pub(super) fn take(&self, next: Revision) -> Taken {
        let mut state = self.hub.state();
        state.watches.insert(self.id, next);
        state.trim();
        if next < state.first {
            return Taken::OnlyInFile;
        }
        let skip = (next - state.first) as usize;
        Taken::Changes(state.ring.iter().skip(skip).take(TAKEN_AT_ONCE).cloned().collect())
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let mut state = self.hub.state();
        state.watches.remove(&self.id);
        if state.watches.is_empty() {
            let first = state.ring.back().map_or(state.first, |last| last.revision + 1);
            state.clear(first);
        } else {
            state.trim();
        }
    }
}
