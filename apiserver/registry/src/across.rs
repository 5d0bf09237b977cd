//! Reads over all VCPs, for root: of what is written in them, not of what they inherit. They heat nothing.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use futures::Stream;
use kplane_storage::{
    Event, EventKind as StoreEvent, Op, OpResult, RangeRequest, Txn, WatchEvent, WatchRequest as StoreWatch,
    prefix_end,
};
use tokio::sync::mpsc;

use crate::hot::{EventKind, transition};
use crate::keys::Parsed;
use crate::registry::{Core, Registry};
use crate::sets::rel_of;
use crate::vcp::Directory;
use crate::{Error, ObjectKey, ResourceKey, Stored, Vcp, VcpId};

/// As many VCPs are read in one transaction, and as many objects of each.
const VCPS: usize = 16;
const OBJECTS: usize = 32;
const DEFAULT_LIMIT: usize = 500;
/// Stands for every resource where a `<group>/<resource>/` would: no resource has an empty one.
const EVERYTHING: &str = "";

/// Where a page ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcrossPosition {
    /// The VCP.
    pub id: VcpId,
    /// The last object.
    pub key: ObjectKey,
}

/// A page of what is in all VCPs.
#[derive(Clone, Debug, Default)]
pub struct AcrossRequest {
    /// About how many objects; `None`: some.
    pub limit: Option<usize>,
    /// Behind this one.
    pub after: Option<AcrossPosition>,
    /// As of this revision; `None`: now.
    pub revision: Option<u64>,
}

/// An object and whose it is.
#[derive(Clone, Debug)]
pub struct AcrossItem {
    /// Whose.
    pub vcp: Arc<Vcp>,
    /// Its kind.
    pub resource: ResourceKey,
    /// The object.
    pub object: Stored,
}

/// Objects in the order of their VCPs' identities.
#[derive(Clone, Debug)]
pub struct AcrossPage {
    /// The objects.
    pub items: Vec<AcrossItem>,
    /// The revision they were read at.
    pub revision: u64,
    /// Where the next page begins, if there may be one.
    pub next: Option<AcrossPosition>,
}

/// A change in some VCP.
#[derive(Clone, Debug)]
pub enum AcrossEvent {
    /// A change of an object.
    Event {
        /// What happened.
        kind: EventKind,
        /// Whose the object is.
        vcp: Arc<Vcp>,
        /// Its kind.
        resource: ResourceKey,
        /// The object, as in [`crate::WatchItem`].
        object: Stored,
        /// The object before.
        previous: Option<Stored>,
    },
    /// All events up to a revision have been sent.
    Bookmark {
        /// The revision.
        revision: u64,
    },
}

impl Registry {
    /// Lists one resource over all VCPs, or all resources.
    pub async fn list_all(
        &self,
        resource: Option<&ResourceKey>,
        request: AcrossRequest,
    ) -> Result<AcrossPage, Error> {
        let core = &self.core;
        let revision = match request.revision {
            Some(revision) => {
                core.reach_future(revision).await?;
                revision
            }
            None => core.progress.fresh().await?,
        };
        let limit = request.limit.unwrap_or(DEFAULT_LIMIT).max(1);
        let mut items: Vec<AcrossItem> = Vec::new();
        let mut after = request.after.map(|position| {
            let key = core.keys.object(position.id, &position.key.resource, &position.key.rel());
            (position.id, key)
        });
        loop {
            let mut first = after.as_ref().map_or(VcpId::ROOT, |(id, _)| *id);
            let mut vcps = VCPS;
            if first.is_root() {
                vcps = 1;
            } else {
                // Those without a key, which are nearly all when there are many, are passed over at once.
                let start = after.as_ref().map(|(_, key)| kplane_storage::successor(key)).unwrap_or_default();
                match core.next_used(start, revision).await? {
                    Some(id) => first = id,
                    None => return Ok(AcrossPage { items, revision, next: None }),
                }
            }
            let vcps = core.directory.from(first, vcps + 1);
            let last = vcps.len().saturating_sub(1);
            let more =
                if vcps.len() > 1 && (first.is_root() || last == VCPS) { Some(vcps[last].id) } else { None };
            let batch = if more.is_some() { &vcps[..last] } else { &vcps[..] };
            let wanted = (limit - items.len()).min(OBJECTS);
            let ops = batch.iter().map(|vcp| {
                let prefix = match resource {
                    Some(resource) => core.keys.scope(&resource.scope(vcp.id)),
                    None => core.keys.vcp(vcp.id),
                };
                let start = match &after {
                    Some((id, key)) if *id == vcp.id => {
                        kplane_storage::successor(key).max(prefix.clone().into())
                    }
                    _ => prefix.clone().into(),
                };
                let mut range = RangeRequest::between(start, prefix_end(prefix.as_bytes())).limit(wanted);
                range.revision = Some(revision);
                range.skip_count = true;
                Op::Range(range)
            });
            let response = core.store.txn(Txn::new().and_then(ops)).await;
            let response = response.map_err(|e| Error::from(e).asked(revision))?;
            after = None;
            'vcps: for (vcp, result) in batch.iter().zip(&response.results) {
                let OpResult::Range(range) = result else {
                    return Err(Error::Corrupt("the store answered a range with something else".into()));
                };
                for kv in &range.kvs {
                    if let Some((resource, object)) =
                        core.across_object(&kv.key, kv.mod_revision, &kv.value)?
                    {
                        items.push(AcrossItem { vcp: vcp.clone(), resource, object });
                    }
                    if items.len() >= limit {
                        after = Some((vcp.id, kv.key.clone()));
                        break 'vcps;
                    }
                }
                if let Some(last) = range.kvs.last().filter(|_| range.more) {
                    after = Some((vcp.id, last.key.clone()));
                    break;
                }
            }
            if items.len() >= limit {
                let next = items.last().map(|last| AcrossPosition {
                    id: last.vcp.id,
                    key: ObjectKey::new(last.resource.clone(), last.object.namespace(), last.object.name()),
                });
                return Ok(AcrossPage { items, revision, next });
            }
            match (&after, more) {
                (Some(_), _) => {}
                // The beginning of the next VCP: nothing of it is before its own prefix.
                (None, Some(id)) => after = Some((id, core.keys.vcp(id).into())),
                (None, None) => return Ok(AcrossPage { items, revision, next: None }),
            }
        }
    }

    /// Watches one resource over all VCPs, or all resources, after a revision or from now on. The stream ends after its
    /// first error.
    pub async fn watch_all(
        &self,
        resource: Option<&ResourceKey>,
        from: Option<u64>,
    ) -> Result<impl Stream<Item = Result<AcrossEvent, Error>> + Send + use<>, Error> {
        let watching = WatchingAll::begin(&self.core, resource, from).await?;
        Ok(futures::stream::unfold(watching, |mut watching| async {
            let item = watching.next().await?;
            Some((item, watching))
        }))
    }
}

impl Core {
    /// The VCP of the first key of any from `start` on, root's excepted: root's keys are behind all others.
    async fn next_used(&self, start: bytes::Bytes, revision: u64) -> Result<Option<VcpId>, Error> {
        let mut range = RangeRequest::between(start, self.keys.vcp(VcpId::ROOT)).limit(1).at(revision);
        range.keys_only = true;
        range.skip_count = true;
        let range = self.store.range(range).await.map_err(|e| Error::from(e).asked(revision))?;
        let Some(kv) = range.kvs.first() else { return Ok(None) };
        match self.keys.parse(&kv.key) {
            Some(Parsed::Object { id, .. }) => Ok(Some(id)),
            _ => Err(Error::Corrupt(format!("the key {:?} is not ours", String::from_utf8_lossy(&kv.key)))),
        }
    }

    /// An object from its whole key; `None` for a tombstone.
    fn across_object(
        &self,
        key: &[u8],
        revision: u64,
        value: &[u8],
    ) -> Result<Option<(ResourceKey, Stored)>, Error> {
        let Some(Parsed::Object { tail, rel, .. }) = self.keys.parse(key) else {
            return Err(Error::Corrupt(format!("the key {:?} is not ours", String::from_utf8_lossy(key))));
        };
        let object = Stored::own(rel.into(), revision, value.into())?;
        object.map(|object| Ok((ResourceKey::from_tail(tail)?, object))).transpose()
    }
}

type Happened = (u64, AcrossEvent);

#[derive(Debug)]
struct Watcher {
    events: mpsc::Sender<Happened>,
    end: Arc<OnceLock<Error>>,
}

/// Those who watch over all VCPs, by `<group>/<resource>/`.
#[derive(Debug)]
pub(crate) struct Across {
    watchers: Mutex<HashMap<Box<str>, Vec<Watcher>>>,
    buffer: usize,
}

impl Across {
    pub fn new(buffer: usize) -> Self {
        Self { watchers: Mutex::default(), buffer }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Box<str>, Vec<Watcher>>> {
        self.watchers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn join(&self, tail: &str) -> (mpsc::Receiver<Happened>, Arc<OnceLock<Error>>) {
        let (sender, events) = mpsc::channel(self.buffer);
        let end = Arc::new(OnceLock::new());
        self.lock().entry(tail.into()).or_default().push(Watcher { events: sender, end: end.clone() });
        (events, end)
    }

    /// Ends all watches.
    pub fn end(&self, reason: &Error) {
        for watcher in std::mem::take(&mut *self.lock()).into_values().flatten() {
            // A watch that was cut off before keeps that reason.
            let _ = watcher.end.set(reason.clone());
        }
    }

    pub fn count(&self) -> usize {
        self.lock().values().map(Vec::len).sum()
    }

    /// Tells those who watch of a change.
    pub fn announce(
        &self,
        directory: &Directory,
        id: VcpId,
        tail: &str,
        rel: &str,
        event: &Event,
        revision: u64,
    ) {
        let mut all = self.lock();
        if !all.contains_key(tail) && !all.contains_key(EVERYTHING) {
            return;
        }
        // Of one that is gone nothing can be told; one that is being destroyed still tells what it loses.
        let Some(vcp) = directory.get(id) else { return };
        let happened = happened(vcp, tail, rel, event, revision);
        for tail in [tail, EVERYTHING] {
            Self::tell(&mut all, tail, &happened, revision);
        }
    }

    fn tell(
        all: &mut HashMap<Box<str>, Vec<Watcher>>,
        tail: &str,
        happened: &Result<Option<AcrossEvent>, Error>,
        revision: u64,
    ) {
        let Some(watchers) = all.get_mut(tail) else { return };
        watchers.retain(|watcher| {
            let reason = match happened {
                Ok(None) => return true,
                Ok(Some(event)) => match watcher.events.try_send((revision, event.clone())) {
                    Ok(()) => return true,
                    Err(mpsc::error::TrySendError::Closed(_)) => return false,
                    Err(mpsc::error::TrySendError::Full(_)) => Error::TooSlow,
                },
                Err(error) => error.clone(),
            };
            // Whoever set another reason first was right too.
            let _ = watcher.end.set(reason);
            false
        });
        if watchers.is_empty() {
            all.remove(tail);
        }
    }
}

fn happened(
    vcp: Arc<Vcp>,
    tail: &str,
    rel: &str,
    event: &Event,
    revision: u64,
) -> Result<Option<AcrossEvent>, Error> {
    let rel: Arc<str> = rel.into();
    let resource = ResourceKey::from_tail(tail)?;
    let before = match &event.prev_kv {
        Some(kv) => Stored::own(rel.clone(), kv.mod_revision, kv.value[..].into())?,
        None if event.kind == StoreEvent::Put && event.kv.version <= 1 => None,
        // Compaction has taken what was before: this cannot be told truly.
        None => return Err(Error::Expired { requested: 0, oldest: revision }),
    };
    let after = match event.kind {
        StoreEvent::Put => Stored::own(rel.clone(), revision, event.kv.value[..].into())?,
        StoreEvent::Delete => None,
    };
    // A tombstone over what was inherited: the deletion of an object that was never written. Whoever wrote the tombstone
    // has loaded the layers; a replica that has not shows nothing.
    let before = match (before, &after, event.kind) {
        (None, None, StoreEvent::Put) => match vcp.layers.loaded() {
            Some(inherited) => inherited.get(&vcp, tail, &rel)?,
            None => None,
        },
        (before, ..) => before,
    };
    Ok(transition(before, after, revision).map(|event| AcrossEvent::Event {
        kind: event.kind,
        vcp,
        resource,
        object: event.object,
        previous: event.previous,
    }))
}

struct WatchingAll {
    core: Arc<Core>,
    tail: String,
    ready: std::collections::VecDeque<AcrossEvent>,
    history: Option<kplane_storage::WatchStream>,
    joined_at: u64,
    after: u64,
    live: mpsc::Receiver<Happened>,
    end: Arc<OnceLock<Error>>,
    bookmarks: tokio::time::Interval,
    done: bool,
}

impl WatchingAll {
    async fn begin(
        core: &Arc<Core>,
        resource: Option<&ResourceKey>,
        from: Option<u64>,
    ) -> Result<Self, Error> {
        if from.is_none() {
            core.progress.fresh().await?;
        }
        let tail = resource.map_or_else(|| EVERYTHING.to_owned(), ResourceKey::tail);
        let (live, end) = core.across.join(&tail);
        // After joining: whatever is later comes by the channel.
        let joined_at = core.progress.revision();
        let mut history = None;
        if let Some(from) = from.filter(|from| *from < joined_at) {
            let range = StoreWatch::prefix(core.keys.base().to_owned()).from(from + 1);
            let stream = core.store.watch(range).await.map_err(|e| Error::from(e).asked(from))?;
            stream.request_progress();
            history = Some(stream);
        }
        let period = std::time::Duration::from_secs(60);
        let mut bookmarks = tokio::time::interval_at(tokio::time::Instant::now() + period, period);
        bookmarks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let after = from.unwrap_or(0).max(joined_at);
        let ready = std::collections::VecDeque::new();
        Ok(Self {
            core: core.clone(),
            tail,
            ready,
            history,
            joined_at,
            after,
            live,
            end,
            bookmarks,
            done: false,
        })
    }

    async fn next(&mut self) -> Option<Result<AcrossEvent, Error>> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(Ok(event));
            }
            if self.done {
                return None;
            }
            if let Some(history) = &mut self.history {
                let event = history.recv().await;
                if let Err(error) = self.remember(event) {
                    self.done = true;
                    return Some(Err(error));
                }
                continue;
            }
            tokio::select! {
                biased;
                event = self.live.recv() => match event {
                    Some((revision, event)) if revision > self.after => return Some(Ok(event)),
                    Some(_) => {}
                    None => {
                        self.done = true;
                        return self.end.get().cloned().map(Err);
                    }
                },
                _ = self.bookmarks.tick() => self.bookmark(),
            }
        }
    }

    fn bookmark(&mut self) {
        let revision = self.core.progress.revision();
        let mut last = self.after;
        loop {
            match self.live.try_recv() {
                Ok((at, event)) if at > self.after => {
                    last = last.max(at);
                    self.ready.push_back(event);
                }
                Ok(_) => {}
                Err(mpsc::error::TryRecvError::Empty) => break,
                Err(mpsc::error::TryRecvError::Disconnected) => return,
            }
        }
        if revision >= last {
            self.ready.push_back(AcrossEvent::Bookmark { revision });
        }
    }

    fn remember(&mut self, event: Option<kplane_storage::Result<WatchEvent>>) -> Result<(), Error> {
        let event = match event {
            Some(event) => event?,
            None => return Err(Error::Unavailable("the watch on the store ended".into())),
        };
        let revision = event.revision();
        if let WatchEvent::Events { events, .. } = event
            && revision <= self.joined_at
        {
            for event in &events {
                let Some(Parsed::Object { id, scope, tail, .. }) = self.core.keys.parse(&event.kv.key) else {
                    continue;
                };
                if tail != self.tail && self.tail != EVERYTHING {
                    continue;
                }
                let rel = rel_of(&event.kv.key, &self.core.keys.scope(scope))?;
                if let Some(vcp) = self.core.directory.get(id) {
                    self.ready.extend(happened(vcp, tail, rel, event, revision)?);
                }
            }
        }
        if revision >= self.joined_at {
            self.history = None;
        }
        Ok(())
    }
}
