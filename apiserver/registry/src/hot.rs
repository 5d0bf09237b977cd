//! A hot set: the objects of one resource of one VCP in memory, its latest events, and those who watch it.

use std::collections::VecDeque;
use std::collections::btree_map::{self, BTreeMap};
use std::iter::Peekable;
use std::ops::Bound;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};

use crate::encoded::{self, Form};
use crate::keys::namespace_prefix;
use crate::layer::Template;
use crate::layer_set::Inherited;
use crate::watchers::{Filter, Watchers};
use crate::{Error, Stored, Vcp};

/// What an entry of a set costs beside its bytes and its key, roughly.
const ENTRY: usize = 96;

/// What happened to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum EventKind {
    Added,
    Modified,
    Deleted,
}

/// A change of one object of a set.
#[derive(Debug)]
pub(crate) struct SetEvent {
    pub kind: EventKind,
    /// As it is now; of a deleted one as it was, at the revision of the deletion.
    pub object: Stored,
    pub previous: Option<Stored>,
    pub revision: u64,
}

/// What becomes visible when an object goes from one state to another at a revision.
pub(crate) fn transition(before: Option<Stored>, after: Option<Stored>, revision: u64) -> Option<SetEvent> {
    let (kind, object, previous) = match (before, after) {
        (None, None) => return None,
        (None, Some(after)) => (EventKind::Added, after.at(revision), None),
        (Some(before), Some(after)) => (EventKind::Modified, after.at(revision), Some(before)),
        (Some(before), None) => (EventKind::Deleted, before.at(revision), Some(before)),
    };
    Some(SetEvent { kind, object, previous, revision })
}

/// A write to a key, from the feed. Without a value the key was removed.
#[derive(Debug)]
pub(crate) struct Change {
    pub rel: Arc<str>,
    pub revision: u64,
    pub value: Option<Arc<[u8]>>,
}

/// A key of a set and its value, which may be a tombstone.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub revision: u64,
    pub bytes: Arc<[u8]>,
}

impl Entry {
    pub fn new(revision: u64, bytes: &[u8]) -> Result<Self, Error> {
        // Checked once, here, so that what is in memory can be read.
        encoded::read(bytes)?;
        Ok(Self { revision, bytes: bytes.into() })
    }

    pub fn is_tombstone(&self) -> bool {
        matches!(encoded::read(&self.bytes), Ok(Form::Tombstone))
    }

    pub fn stored(&self, rel: &Arc<str>) -> Result<Option<Stored>, Error> {
        Stored::own(rel.clone(), self.revision, self.bytes.clone())
    }
}

/// A range of keys of one resource.
#[derive(Clone, Debug)]
pub(crate) struct Span {
    start: Bound<String>,
    end: Option<String>,
}

impl Span {
    /// What is behind `after`, in a namespace or in all.
    pub fn new(namespace: Option<&str>, after: Option<&str>) -> Self {
        let prefix = namespace.map(namespace_prefix);
        let end = prefix.as_ref().map(|prefix| format!("{}0", prefix.trim_end_matches('/')));
        let start = match (prefix, after) {
            (Some(prefix), Some(after)) if after < prefix.as_str() => Bound::Included(prefix),
            (_, Some(after)) => Bound::Excluded(after.to_owned()),
            (Some(prefix), None) => Bound::Included(prefix),
            (None, None) => Bound::Unbounded,
        };
        Self { start, end }
    }

    /// The same, but only what is behind a key that is in it.
    pub fn behind(&self, rel: &str) -> Self {
        Self { start: Bound::Excluded(rel.to_owned()), end: self.end.clone() }
    }

    /// The first key that may be in it, and the end.
    pub fn keys(&self) -> (String, Option<&str>) {
        let start = match &self.start {
            Bound::Unbounded => String::new(),
            Bound::Included(start) => start.clone(),
            Bound::Excluded(start) => format!("{start}\0"),
        };
        (start, self.end.as_deref())
    }

    /// The part of a map in the range.
    pub fn range<'a, V>(&self, map: &'a BTreeMap<Arc<str>, V>) -> btree_map::Range<'a, Arc<str>, V> {
        let start = match &self.start {
            Bound::Unbounded => Bound::Unbounded,
            Bound::Included(start) => Bound::Included(start.as_str()),
            Bound::Excluded(start) => Bound::Excluded(start.as_str()),
        };
        match &self.end {
            None => map.range::<str, _>((start, Bound::Unbounded)),
            Some(end) => {
                // An empty range must not begin behind its end.
                let empty = matches!(start, Bound::Included(s) | Bound::Excluded(s) if s >= end.as_str());
                let start = if empty { Bound::Included(end.as_str()) } else { start };
                map.range::<str, _>((start, Bound::Excluded(end.as_str())))
            }
        }
    }
}

/// Objects of a control plane over those of its layers.
#[derive(Debug)]
pub(crate) enum Visible<'a> {
    Own(&'a Arc<str>, &'a Entry),
    Inherited(&'a Arc<str>, &'a Arc<Template>),
}

impl Visible<'_> {
    pub fn stored(&self, vcp: &Vcp, inherited: &Inherited) -> Result<Option<Stored>, Error> {
        match self {
            Self::Own(rel, entry) => entry.stored(rel),
            Self::Inherited(rel, template) => inherited.heir(vcp, rel, template).map(Some),
        }
    }
}

/// Merges the two in the order of keys, without what tombstones hide.
pub(crate) fn merge<'a>(
    own: impl Iterator<Item = (&'a Arc<str>, &'a Entry)>,
    inherited: btree_map::Range<'a, Arc<str>, Arc<Template>>,
) -> impl Iterator<Item = Visible<'a>> {
    let mut own: Peekable<_> = own.peekable();
    let mut inherited = inherited.peekable();
    std::iter::from_fn(move || {
        loop {
            match (own.peek(), inherited.peek()) {
                (None, None) => return None,
                (None, Some(_)) => return inherited.next().map(|(rel, t)| Visible::Inherited(rel, t)),
                (Some((a, _)), Some((b, _))) if b < a => {
                    return inherited.next().map(|(rel, t)| Visible::Inherited(rel, t));
                }
                (Some((a, _)), other) => {
                    if other.is_some_and(|(b, _)| b == a) {
                        inherited.next();
                    }
                    match own.next() {
                        Some((_, entry)) if entry.is_tombstone() => {}
                        Some((rel, entry)) => return Some(Visible::Own(rel, entry)),
                        None => return None,
                    }
                }
            }
        }
    })
}

/// The receiving side of one watch.
#[derive(Debug)]
pub(crate) struct Subscription {
    pub events: mpsc::Receiver<Arc<SetEvent>>,
    pub end: Arc<OnceLock<Error>>,
    /// What was there, when asked for.
    pub objects: Vec<Stored>,
    /// Events since the revision asked for, when they are remembered.
    pub replay: Vec<Arc<SetEvent>>,
    /// The live events are those after this revision.
    pub joined_at: u64,
    /// The revision asked for is older than what is remembered: the store must tell what was up to `joined_at`.
    pub needs_history: bool,
}

/// Bounds of a set's memory of the past.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub window_events: usize,
    pub window_bytes: usize,
    pub window_age: Duration,
    pub watch_buffer: usize,
}

#[derive(Debug)]
struct Loaded {
    objects: BTreeMap<Arc<str>, Entry>,
    loaded_at: u64,
    /// The last change applied, or `loaded_at`.
    revision: u64,
    window: VecDeque<(Instant, Arc<SetEvent>)>,
    window_bytes: usize,
    /// Every event after this revision is in the window.
    window_from: u64,
    watchers: Watchers,
}

#[derive(Debug)]
enum State {
    /// What the feed brings meanwhile.
    Loading(Vec<Change>),
    Ready(Box<Loaded>),
    Ended(Error),
}

/// The objects of one resource of one VCP.
#[derive(Debug)]
pub(crate) struct HotSet {
    pub scope: Arc<str>,
    pub tail: Box<str>,
    pub vcp: Arc<Vcp>,
    pub inherited: Arc<Inherited>,
    limits: Limits,
    state: Mutex<State>,
    settled: watch::Sender<bool>,
    /// Milliseconds on the registry's clock.
    pub used: AtomicU64,
    bytes: AtomicUsize,
}

/// What a list shows of a set.
#[derive(Debug)]
pub(crate) struct Snapshot {
    pub items: Vec<Stored>,
    /// How many more there are behind the items.
    pub remaining: u64,
    /// The last change the set has seen.
    pub revision: u64,
}

impl HotSet {
    pub fn new(
        scope: Arc<str>,
        tail: &str,
        vcp: Arc<Vcp>,
        inherited: Arc<Inherited>,
        limits: Limits,
    ) -> Self {
        Self {
            scope,
            tail: tail.into(),
            vcp,
            inherited,
            limits,
            state: Mutex::new(State::Loading(Vec::new())),
            settled: watch::Sender::new(false),
            used: AtomicU64::new(0),
            bytes: AtomicUsize::new(0),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// About how much memory it takes.
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Waits until the set is loaded; the error is why it ended instead.
    pub async fn ready(&self) -> Result<(), Error> {
        // The sender is in self, so that waiting cannot fail.
        let _ = self.settled.subscribe().wait_for(|settled| *settled).await;
        match &*self.lock() {
            State::Ended(error) => Err(error.clone()),
            State::Ready(_) | State::Loading(_) => Ok(()),
        }
    }

    /// Takes in what the store had at a revision, and what the feed brought since.
    pub fn install(&self, objects: BTreeMap<Arc<str>, Entry>, revision: u64) -> Result<(), Error> {
        let mut state = self.lock();
        let pending = match &mut *state {
            State::Loading(pending) => std::mem::take(pending),
            State::Ended(error) => return Err(error.clone()),
            State::Ready(_) => return Err(Error::Invalid("a set was loaded twice".into())),
        };
        let bytes = objects.iter().map(|(rel, entry)| rel.len() + entry.bytes.len() + ENTRY).sum();
        self.bytes.store(bytes, Ordering::Relaxed);
        let mut loaded = Box::new(Loaded {
            objects,
            loaded_at: revision,
            revision,
            window: VecDeque::new(),
            window_bytes: 0,
            window_from: revision,
            watchers: Watchers::default(),
        });
        for change in pending {
            self.apply_one(&mut loaded, change)?;
        }
        *state = State::Ready(loaded);
        drop(state);
        self.settled.send_replace(true);
        Ok(())
    }

    /// Takes in the changes of one revision.
    pub fn apply(&self, changes: Vec<Change>) -> Result<(), Error> {
        match &mut *self.lock() {
            State::Loading(pending) => pending.extend(changes),
            State::Ended(_) => {}
            State::Ready(loaded) => {
                for change in changes {
                    self.apply_one(loaded, change)?;
                }
            }
        }
        Ok(())
    }

    fn apply_one(&self, loaded: &mut Loaded, change: Change) -> Result<(), Error> {
        let Change { rel, revision, value } = change;
        if revision <= loaded.loaded_at {
            return Ok(());
        }
        let hidden = self.inherited.get(&self.vcp, &self.tail, &rel)?;
        let before = match loaded.objects.get_key_value(&rel) {
            Some((rel, entry)) => entry.stored(rel)?,
            None => hidden.clone(),
        };
        let old = match value {
            Some(bytes) => {
                let entry = Entry::new(revision, &bytes)?;
                self.bytes.fetch_add(rel.len() + entry.bytes.len() + ENTRY, Ordering::Relaxed);
                loaded.objects.insert(rel.clone(), entry)
            }
            None => loaded.objects.remove(&rel),
        };
        if let Some(old) = old {
            self.bytes.fetch_sub(rel.len() + old.bytes.len() + ENTRY, Ordering::Relaxed);
        }
        let after = match loaded.objects.get_key_value(&rel) {
            Some((rel, entry)) => entry.stored(rel)?,
            None => hidden,
        };
        loaded.revision = loaded.revision.max(revision);
        if let Some(event) = transition(before, after, revision) {
            self.announce(loaded, &rel, Arc::new(event));
        }
        Ok(())
    }

    fn announce(&self, loaded: &mut Loaded, rel: &str, event: Arc<SetEvent>) {
        loaded.watchers.tell(rel, &event);
        let weight = event_bytes(&event);
        loaded.window_bytes += weight;
        self.bytes.fetch_add(weight, Ordering::Relaxed);
        loaded.window.push_back((Instant::now(), event));
        self.trim(loaded, None);
    }

    /// Forgets old events. All events of one revision go together.
    fn trim(&self, loaded: &mut Loaded, now: Option<Instant>) {
        while let Some((at, event)) = loaded.window.front() {
            let too_old = now.is_some_and(|now| now.saturating_duration_since(*at) > self.limits.window_age);
            let too_many = loaded.window.len() > self.limits.window_events
                || loaded.window_bytes > self.limits.window_bytes;
            if !too_old && !too_many && event.revision > loaded.window_from {
                break;
            }
            loaded.window_from = loaded.window_from.max(event.revision);
            let weight = event_bytes(event);
            loaded.window_bytes = loaded.window_bytes.saturating_sub(weight);
            self.bytes.fetch_sub(weight, Ordering::Relaxed);
            loaded.window.pop_front();
        }
    }

    /// Ends the set and its watches.
    pub fn end(&self, reason: Error) {
        let old = std::mem::replace(&mut *self.lock(), State::Ended(reason.clone()));
        if let State::Ready(loaded) = old {
            loaded.watchers.end(&reason);
        }
        self.settled.send_replace(true);
    }

    /// Forgets old events, and says how many watch.
    pub fn sweep(&self, now: Instant) -> usize {
        match &mut *self.lock() {
            State::Ready(loaded) => {
                self.trim(loaded, Some(now));
                loaded.watchers.sweep()
            }
            // One that is being loaded is wanted.
            State::Loading(_) => 1,
            State::Ended(_) => 0,
        }
    }

    /// How many objects are in it, tombstones not counted, and how many watch it.
    pub fn count(&self) -> (usize, usize) {
        match &*self.lock() {
            State::Ready(loaded) => (loaded.objects.len(), loaded.watchers.count()),
            State::Loading(_) | State::Ended(_) => (0, 0),
        }
    }

    fn loaded<'a>(&self, state: &'a mut State) -> Result<&'a mut Loaded, Error> {
        match state {
            State::Ready(loaded) => Ok(loaded),
            State::Ended(error) => Err(error.clone()),
            State::Loading(_) => Err(Error::Unavailable("a set is still being loaded".into())),
        }
    }

    /// Whether it is loaded and current.
    pub fn is_ready(&self) -> bool {
        matches!(&*self.lock(), State::Ready(_))
    }

    /// When it was loaded and changed last, if it is loaded and current.
    pub fn mark(&self) -> Option<(u64, u64)> {
        match &*self.lock() {
            State::Ready(loaded) => Some((loaded.loaded_at, loaded.revision)),
            State::Loading(_) | State::Ended(_) => None,
        }
    }

    /// One object.
    pub fn get(&self, rel: &str) -> Result<Option<Stored>, Error> {
        self.get_at(rel).map(|(object, _)| object)
    }

    /// One object, and the last change the set has seen.
    pub fn get_at(&self, rel: &str) -> Result<(Option<Stored>, u64), Error> {
        let mut state = self.lock();
        let loaded = self.loaded(&mut state)?;
        let object = match loaded.objects.get_key_value(rel) {
            Some((rel, entry)) => entry.stored(rel)?,
            None => self.inherited.get(&self.vcp, &self.tail, rel)?,
        };
        Ok((object, loaded.revision))
    }

    /// The objects of a range, at most `limit` of them.
    pub fn snapshot(&self, span: &Span, limit: Option<usize>) -> Result<Snapshot, Error> {
        let mut state = self.lock();
        let loaded = self.loaded(&mut state)?;
        let mut visible = merge(span.range(&loaded.objects), span.range(self.inherited.resource(&self.tail)));
        let mut items = Vec::with_capacity(limit.unwrap_or(loaded.objects.len()).min(loaded.objects.len()));
        while limit.is_none_or(|limit| items.len() < limit) {
            let Some(object) = visible.next() else { break };
            items.extend(object.stored(&self.vcp, &self.inherited)?);
        }
        let remaining = if limit.is_some() { visible.count() as u64 } else { 0 };
        Ok(Snapshot { items, remaining, revision: loaded.revision })
    }

    /// Joins the watchers. Without a revision the events begin after the present state.
    pub fn subscribe(&self, filter: Filter, from: Option<u64>, objects: bool) -> Result<Subscription, Error> {
        let mut state = self.lock();
        let loaded = self.loaded(&mut state)?;
        let joined_at = loaded.revision;
        let mut shown = Vec::new();
        if objects {
            let all = Span::new(None, None);
            for object in merge(all.range(&loaded.objects), all.range(self.inherited.resource(&self.tail))) {
                let (Visible::Own(rel, _) | Visible::Inherited(rel, _)) = &object;
                if filter.matches(rel) {
                    shown.extend(object.stored(&self.vcp, &self.inherited)?);
                }
            }
        }
        let needs_history = from.is_some_and(|from| from < loaded.window_from);
        let replay = match from {
            Some(from) if !needs_history => {
                let wanted =
                    |event: &&Arc<SetEvent>| event.revision > from && filter.matches(event.object.rel());
                loaded.window.iter().map(|(_, event)| event).filter(wanted).cloned().collect()
            }
            _ => Vec::new(),
        };
        let (events, end) = loaded.watchers.join(filter, self.limits.watch_buffer);
        Ok(Subscription { events, end, objects: shown, replay, joined_at, needs_history })
    }
}

fn event_bytes(event: &SetEvent) -> usize {
    // The present state is counted with the objects; what only the window keeps alive is the one before.
    event.previous.as_ref().map_or(0, Stored::len) + 2 * ENTRY
}
