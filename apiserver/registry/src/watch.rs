//! Watches: the events of one resource of one VCP, from a revision on, without gap or repeat.

use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures::Stream;
use kplane_storage::{
    Event, EventKind as StoreEvent, WatchEvent, WatchRequest as StoreWatch, WatchStream as History,
};
use tokio::sync::mpsc;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

use crate::hot::{EventKind, HotSet, SetEvent, Subscription, transition};
use crate::registry::{Core, Registry};
use crate::sets::{ATTEMPTS, rel_of};
use crate::watchers::Filter;
use crate::{Error, ResourceKey, Stored, Vcp};

/// How often a watch that wants bookmarks gets one.
const BOOKMARKS: Duration = Duration::from_secs(60);

/// Where a watch begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WatchFrom {
    /// After the state at the time of the call.
    Now,
    /// After a revision.
    Revision(u64),
    /// With the present objects as additions; then what comes after.
    InitialEvents {
        /// The objects are as of this revision or a later one; those of the time of the call in any case.
        not_older_than: u64,
        /// Whether a bookmark follows them.
        bookmark: bool,
    },
}

/// What is watched.
#[derive(Clone, Debug)]
pub struct WatchRequest {
    /// The objects of one namespace; `None`: of all, or of a kind without namespaces.
    pub namespace: Option<Arc<str>>,
    /// Those of one name.
    pub name: Option<Arc<str>>,
    /// Where it begins.
    pub from: WatchFrom,
    /// Whether bookmarks are sent about every minute.
    pub bookmarks: bool,
}

/// What a watch yields.
#[derive(Clone, Debug)]
pub enum WatchItem {
    /// A change of an object.
    Event {
        /// What happened.
        kind: EventKind,
        /// The object now; a deleted one as it was last, at the revision of the deletion.
        object: Stored,
        /// The object before, except of an addition.
        previous: Option<Stored>,
    },
    /// All events up to a revision have been sent.
    Bookmark {
        /// The revision.
        revision: u64,
        /// Whether it is the one behind the initial events.
        initial_events_end: bool,
    },
}

impl From<&SetEvent> for WatchItem {
    fn from(event: &SetEvent) -> Self {
        Self::Event { kind: event.kind, object: event.object.clone(), previous: event.previous.clone() }
    }
}

impl Registry {
    /// Watches a resource. The stream ends after its first error.
    pub async fn watch(
        &self,
        vcp: &Vcp,
        resource: &ResourceKey,
        request: WatchRequest,
    ) -> Result<impl Stream<Item = Result<WatchItem, Error>> + Send + use<>, Error> {
        let watching = Watching::begin(&self.core, vcp, resource, request).await?;
        Ok(futures::stream::unfold(watching, |mut watching| async {
            let item = watching.next().await?;
            Some((item, watching))
        }))
    }
}

/// The state of one watch.
struct Watching {
    core: Arc<Core>,
    set: Arc<HotSet>,
    filter: Filter,
    ready: VecDeque<WatchItem>,
    /// What the store tells of the time before the live events.
    history: Option<History>,
    joined_at: u64,
    /// Events up to this revision are not wanted.
    after: u64,
    live: mpsc::Receiver<Arc<SetEvent>>,
    end: Arc<OnceLock<Error>>,
    bookmarks: Option<Interval>,
    done: bool,
}

impl Watching {
    async fn begin(
        core: &Arc<Core>,
        vcp: &Vcp,
        resource: &ResourceKey,
        request: WatchRequest,
    ) -> Result<Self, Error> {
        let filter = Filter::new(request.namespace.as_deref(), request.name.as_deref());
        if let WatchFrom::InitialEvents { not_older_than, .. } = request.from {
            core.reach_future(not_older_than).await?;
        }
        let mut failure = Error::VcpGone;
        for _ in 0..ATTEMPTS {
            let set = core.heat(vcp, resource).await?;
            let from = match request.from {
                WatchFrom::Revision(revision) => Some(revision),
                WatchFrom::Now | WatchFrom::InitialEvents { .. } => {
                    core.progress.fresh().await?;
                    None
                }
            };
            core.current(vcp)?;
            if let Some(from) = from.filter(|from| *from < set.vcp.fence) {
                return Err(Error::Expired { requested: from, oldest: set.vcp.fence });
            }
            // Before the set is joined: all up to here is in it.
            let progress = core.progress.revision();
            let initial = matches!(request.from, WatchFrom::InitialEvents { .. });
            match set.subscribe(filter.clone(), from, initial) {
                Ok(joined) => return Self::join(core, set, &request, filter, joined, progress).await,
                Err(error @ Error::Expired { .. }) => failure = error,
                Err(error) => return Err(error),
            }
        }
        Err(failure)
    }

    async fn join(
        core: &Arc<Core>,
        set: Arc<HotSet>,
        request: &WatchRequest,
        filter: Filter,
        joined: Subscription,
        progress: u64,
    ) -> Result<Self, Error> {
        let after = if let WatchFrom::Revision(revision) = request.from { revision } else { 0 };
        let added = |object: Stored| WatchItem::Event { kind: EventKind::Added, object, previous: None };
        let mut ready: VecDeque<WatchItem> = joined.objects.into_iter().map(added).collect();
        ready.extend(joined.replay.iter().map(|event| WatchItem::from(&**event)));
        if let WatchFrom::InitialEvents { bookmark: true, .. } = request.from {
            let revision = progress.max(joined.joined_at);
            ready.push_back(WatchItem::Bookmark { revision, initial_events_end: true });
        }
        let mut history = None;
        if joined.needs_history {
            let range = StoreWatch::prefix(core.keys.scope(&set.scope)).from(after + 1);
            let stream = core.store.watch(range).await.map_err(|e| Error::from(e).asked(after))?;
            // So that it says when it has come to where the live events begin.
            stream.request_progress();
            history = Some(stream);
        }
        let bookmarks = request.bookmarks.then(|| {
            let mut ticks = interval_at(Instant::now() + BOOKMARKS, BOOKMARKS);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            ticks
        });
        Ok(Self {
            core: core.clone(),
            set,
            filter,
            ready,
            history,
            joined_at: joined.joined_at,
            after,
            live: joined.events,
            end: joined.end,
            bookmarks,
            done: false,
        })
    }

    async fn next(&mut self) -> Option<Result<WatchItem, Error>> {
        loop {
            if let Some(item) = self.ready.pop_front() {
                return Some(Ok(item));
            }
            if self.done {
                return None;
            }
            if let Some(history) = &mut self.history {
                let event = history.recv().await;
                if let Err(error) = self.remember(event) {
                    self.done = true;
                    return Some(Err(error.asked(self.after)));
                }
                continue;
            }
            tokio::select! {
                biased;
                event = self.live.recv() => match event {
                    Some(event) => self.push(&event),
                    None => {
                        self.done = true;
                        return self.end.get().cloned().map(Err);
                    }
                },
                () = tick(&mut self.bookmarks) => self.bookmark(),
            }
        }
    }

    fn push(&mut self, event: &SetEvent) {
        if event.revision > self.after {
            self.ready.push_back(event.into());
        }
    }

    /// All that happened up to the feed's revision is in the channel before that revision is told.
    fn bookmark(&mut self) {
        let revision = self.core.progress.revision();
        let mut last = self.joined_at.max(self.after);
        loop {
            match self.live.try_recv() {
                Ok(event) => {
                    last = last.max(event.revision);
                    self.push(&event);
                }
                Err(mpsc::error::TryRecvError::Empty) => break,
                Err(mpsc::error::TryRecvError::Disconnected) => return,
            }
        }
        if revision >= last {
            self.ready.push_back(WatchItem::Bookmark { revision, initial_events_end: false });
        }
    }

    /// Takes in what the store tells of the past.
    fn remember(&mut self, event: Option<kplane_storage::Result<WatchEvent>>) -> Result<(), Error> {
        let event = match event {
            Some(event) => event?,
            None => return Err(Error::Unavailable("the watch on the store ended".into())),
        };
        let revision = event.revision();
        if let WatchEvent::Events { events, .. } = event
            && revision <= self.joined_at
        {
            let prefix = self.core.keys.scope(&self.set.scope);
            for event in &events {
                let rel: Arc<str> = rel_of(&event.kv.key, &prefix)?.into();
                if self.filter.matches(&rel)
                    && let Some(event) = self.past(&rel, event, revision)?
                {
                    self.ready.push_back((&event).into());
                }
            }
        }
        if revision >= self.joined_at {
            self.history = None;
        }
        Ok(())
    }

    fn past(&self, rel: &Arc<str>, event: &Event, revision: u64) -> Result<Option<SetEvent>, Error> {
        let hidden = self.set.inherited.get(&self.set.vcp, &self.set.tail, rel)?;
        let is_new = event.kind == StoreEvent::Put && event.kv.version <= 1;
        let before = match &event.prev_kv {
            Some(kv) => Stored::own(rel.clone(), kv.mod_revision, kv.value[..].into())?,
            None if is_new => hidden.clone(),
            // Compaction has taken what was before: this cannot be told truly.
            None => return Err(Error::Expired { requested: self.after, oldest: revision }),
        };
        let after = match event.kind {
            StoreEvent::Put => Stored::own(rel.clone(), revision, event.kv.value[..].into())?,
            StoreEvent::Delete => hidden,
        };
        Ok(transition(before, after, revision))
    }
}

async fn tick(ticks: &mut Option<Interval>) {
    match ticks {
        Some(ticks) => {
            ticks.tick().await;
        }
        None => std::future::pending().await,
    }
}
