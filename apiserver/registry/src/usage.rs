//! How much a VCP keeps: its own objects and their bytes, for those whose class limits it.
//!
//! Counted once from the store when it is first asked for, then kept current by the feed, so that every replica sees the
//! writes of all; forgotten when nobody has asked for a while.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kplane_storage::{Event, EventKind, KeyValue, RangeRequest, prefix_end, successor};

use crate::encoded::TOMBSTONE_VALUE;
use crate::registry::{Core, Registry};
use crate::{Error, Vcp, VcpId};

/// As many keys are read at once.
const PAGE: usize = 500;

/// What a VCP keeps. What it inherits from layers is not counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Objects.
    pub objects: u64,
    /// Their bytes as stored.
    pub bytes: u64,
}

/// Those that are counted at the moment.
#[derive(Debug, Default)]
pub(crate) struct Usages {
    entries: Mutex<HashMap<VcpId, Arc<Entry>>>,
    /// How many there are, so that the feed need not look when there are none.
    count: AtomicUsize,
}

#[derive(Debug)]
struct Entry {
    state: Mutex<State>,
    /// One counts, the others wait for it.
    counting: tokio::sync::Mutex<()>,
    asked: AtomicU64,
}

#[derive(Debug)]
enum State {
    /// Not counted yet; what happened meanwhile.
    Waiting(Vec<(u64, Delta)>),
    Counted(Delta),
}

#[derive(Clone, Copy, Debug, Default)]
struct Delta {
    objects: i64,
    bytes: i64,
}

impl Delta {
    fn of(kv: &KeyValue) -> Self {
        if kv.value == TOMBSTONE_VALUE {
            return Self::default();
        }
        Self { objects: 1, bytes: i64::try_from(kv.value.len()).unwrap_or(i64::MAX) }
    }

    fn add(&mut self, other: Self) {
        self.objects += other.objects;
        self.bytes += other.bytes;
    }

    fn less(self, other: Self) -> Self {
        Self { objects: self.objects - other.objects, bytes: self.bytes - other.bytes }
    }
}

impl Entry {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn counted(&self) -> Option<Usage> {
        match &*self.lock() {
            State::Counted(sum) => Some(Usage {
                objects: u64::try_from(sum.objects).unwrap_or(0),
                bytes: u64::try_from(sum.bytes).unwrap_or(0),
            }),
            State::Waiting(_) => None,
        }
    }
}

impl Usages {
    fn entries(&self) -> MutexGuard<'_, HashMap<VcpId, Arc<Entry>>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn entry(&self, id: VcpId) -> Arc<Entry> {
        let mut entries = self.entries();
        let entry = entries.entry(id).or_insert_with(|| {
            Arc::new(Entry {
                state: Mutex::new(State::Waiting(Vec::new())),
                counting: tokio::sync::Mutex::default(),
                asked: AtomicU64::new(0),
            })
        });
        let entry = entry.clone();
        self.count.store(entries.len(), Ordering::Release);
        entry
    }

    fn remove(&self, gone: impl Fn(VcpId, &Entry) -> bool) {
        let mut entries = self.entries();
        entries.retain(|id, entry| !gone(*id, entry));
        if entries.is_empty() {
            entries.shrink_to_fit();
        }
        self.count.store(entries.len(), Ordering::Release);
    }

    /// Takes in a change of an object.
    pub fn change(&self, id: VcpId, event: &Event, revision: u64) {
        if self.count.load(Ordering::Acquire) == 0 {
            return;
        }
        let Some(entry) = self.entries().get(&id).cloned() else { return };
        let before = match &event.prev_kv {
            Some(kv) => Delta::of(kv),
            None if event.kind == EventKind::Put && event.kv.version <= 1 => Delta::default(),
            // Compaction has taken what was before: it is counted anew.
            None => return self.remove(|other, _| other == id),
        };
        let after = if event.kind == EventKind::Put { Delta::of(&event.kv) } else { Delta::default() };
        let change = after.less(before);
        match &mut *entry.lock() {
            State::Waiting(changes) => changes.push((revision, change)),
            State::Counted(sum) => sum.add(change),
        }
    }

    /// Forgets all, because something may have been missed.
    pub fn forget(&self) {
        self.remove(|_, _| true);
    }

    /// Forgets what nobody has asked for since.
    pub fn sweep(&self, since: u64) {
        self.remove(|_, entry| entry.asked.load(Ordering::Relaxed) < since);
    }
}

impl Registry {
    /// What a VCP keeps, about as of now.
    pub async fn usage(&self, vcp: &Vcp) -> Result<Usage, Error> {
        let core = &self.core;
        let entry = core.usages.entry(vcp.id);
        entry.asked.store(core.clock(), Ordering::Relaxed);
        if let Some(usage) = entry.counted() {
            return Ok(usage);
        }
        let _one = entry.counting.lock().await;
        if let Some(usage) = entry.counted() {
            return Ok(usage);
        }
        let (mut sum, revision) = core.count_all(vcp.id).await?;
        // What the feed brings up to that revision is counted already; what it brought before the entry was there is
        // older than the reading.
        core.progress.reach(revision).await?;
        let mut state = entry.lock();
        if let State::Waiting(changes) = &*state {
            changes.iter().filter(|(at, _)| *at > revision).for_each(|(_, change)| sum.add(*change));
        }
        *state = State::Counted(sum);
        drop(state);
        Ok(entry.counted().unwrap_or_default())
    }
}

impl Core {
    async fn count_all(&self, id: VcpId) -> Result<(Delta, u64), Error> {
        let prefix = self.keys.vcp(id);
        let end = prefix_end(prefix.as_bytes());
        let mut request = RangeRequest::between(prefix, end).limit(PAGE);
        request.skip_count = true;
        let mut sum = Delta::default();
        loop {
            let page = self.store.range(request.clone()).await?;
            let revision = *request.revision.get_or_insert(page.revision);
            page.kvs.iter().for_each(|kv| sum.add(Delta::of(kv)));
            match page.kvs.last() {
                Some(last) if page.more => request.start = successor(&last.key),
                _ => return Ok((sum, revision)),
            }
        }
    }
}
