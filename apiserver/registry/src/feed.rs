//! The feed: the one watch on the prefix, which keeps the directory and the hot sets current.

use std::sync::Arc;
use std::time::Duration;

use kplane_storage::{
    Event, EventKind as StoreEvent, KeyValue, RangeRequest, WatchEvent, WatchRequest, WatchStream,
    prefix_end, successor,
};

use crate::hot::{Change, HotSet};
use crate::keys::Parsed;
use crate::registry::Core;
use crate::vcp::Vcp;
use crate::{Error, VcpId, VcpState};

const PINS_PAGE: usize = 2000;
const RETRY: Duration = Duration::from_millis(100);
const RETRY_MOST: Duration = Duration::from_secs(5);

/// Keeps everything current, until the registry is dropped.
pub(crate) async fn run(core: Arc<Core>, mut stream: WatchStream) {
    loop {
        let failure = match stream.recv().await {
            Some(Ok(event)) => {
                core.take_in(event);
                continue;
            }
            Some(Err(error)) => error.into(),
            None => Error::Unavailable("the watch on the store ended".into()),
        };
        tracing::warn!(error = %failure, "the watch on the store failed; everything is read anew");
        core.forget();
        let mut wait = RETRY;
        stream = loop {
            match core.begin().await {
                Ok(stream) => break stream,
                Err(error) => tracing::warn!(%error, "the store cannot be watched"),
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(RETRY_MOST);
        };
    }
}

impl Core {
    /// Reads the directory and watches what comes after.
    pub async fn begin(&self) -> Result<WatchStream, Error> {
        let (vcps, revision) = self.read_pins().await?;
        // Sets that were loaded while nobody watched may have missed something. Whatever is loaded from here on is
        // read at `revision` or later.
        self.forget();
        self.directory.replace(vcps);
        let request = WatchRequest::prefix(self.keys.base().to_owned()).from(revision + 1);
        let stream = self.store.watch(request).await?;
        self.progress.follow(stream.handle());
        self.progress.advance(revision);
        Ok(stream)
    }

    async fn read_pins(&self) -> Result<(Vec<Vcp>, u64), Error> {
        let prefix = self.keys.pins();
        let end = prefix_end(prefix.as_bytes());
        let mut request = RangeRequest::between(prefix, end).limit(PINS_PAGE);
        request.skip_count = true;
        let mut vcps = Vec::new();
        loop {
            let page = self.store.range(request.clone()).await?;
            let revision = *request.revision.get_or_insert(page.revision);
            for kv in &page.kvs {
                vcps.push(self.read_pin(kv)?);
            }
            match page.kvs.last() {
                Some(last) if page.more => request.start = successor(&last.key),
                _ => return Ok((vcps, revision)),
            }
        }
    }

    pub fn read_pin(&self, kv: &KeyValue) -> Result<Vcp, Error> {
        match self.keys.parse(&kv.key) {
            Some(Parsed::Pin(id)) => Vcp::from_pin(id, kv, &self.layers),
            _ => Err(Error::Corrupt(format!("the key {:?} is no pin", String::from_utf8_lossy(&kv.key)))),
        }
    }

    /// Ends all that depends on the feed.
    pub fn forget(&self) {
        let reason = Error::Expired { requested: 0, oldest: self.progress.revision() };
        self.sets.end_all(&reason);
        self.trackers.missed();
        self.across.end(&reason);
        self.usages.forget();
    }

    /// Takes in the changes of a revision.
    pub fn take_in(&self, event: WatchEvent) {
        let (revision, events) = match event {
            WatchEvent::Progress(revision) => return self.progress.advance(revision),
            WatchEvent::Events { revision, events } => (revision, events),
        };
        // A set sees the changes of one revision together.
        let mut changes: Vec<(Arc<HotSet>, Vec<Change>)> = Vec::new();
        for event in &events {
            match self.keys.parse(&event.kv.key) {
                Some(Parsed::Object { scope, tail, rel, id }) => {
                    if let Some(set) = self.sets.get(scope) {
                        let value = (event.kind == StoreEvent::Put).then(|| Arc::from(&event.kv.value[..]));
                        let change = Change { rel: rel.into(), revision, value };
                        match changes.iter_mut().find(|(held, _)| Arc::ptr_eq(held, &set)) {
                            Some((_, changes)) => changes.push(change),
                            None => changes.push((set, vec![change])),
                        }
                    }
                    self.trackers.changed(id, tail, rel);
                    self.usages.change(id, event, revision);
                    self.across.announce(&self.directory, id, tail, rel, event, revision);
                }
                Some(Parsed::Pin(id)) => self.take_in_pin(id, event),
                Some(Parsed::Meta) => {}
                None => {
                    tracing::warn!(key = %String::from_utf8_lossy(&event.kv.key), "a foreign key was written")
                }
            }
        }
        for (set, changes) in changes {
            if let Err(error) = set.apply(changes) {
                tracing::error!(scope = %set.scope, %error, "a change cannot be read");
                self.sets.end(&set, error);
            }
        }
        self.progress.advance(revision);
    }

    fn take_in_pin(&self, id: VcpId, event: &Event) {
        let (old, reason) = match event.kind {
            StoreEvent::Delete => (self.directory.remove(id), Error::VcpGone),
            StoreEvent::Put => match self.read_pin(&event.kv) {
                Ok(vcp) => {
                    let reason = match vcp.state() {
                        VcpState::Active => Error::Expired { requested: 0, oldest: vcp.fence },
                        VcpState::Detached | VcpState::Destroying => Error::VcpGone,
                    };
                    (self.directory.put(vcp), reason)
                }
                Err(error) => {
                    tracing::error!(%id, %error, "a pin cannot be read");
                    (self.directory.remove(id), error)
                }
            },
        };
        match reason {
            Error::VcpGone => self.trackers.gone(id),
            _ => self.trackers.moved(id),
        }
        // Of one that is new nothing can be hot.
        if old.is_some() {
            self.sets.end_vcp(id, &reason);
        }
    }
}
