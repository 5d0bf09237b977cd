//! The hot sets: which resources of which VCPs are in memory.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use kplane_storage::{RangeRequest, prefix_end, successor};

use crate::hot::{Entry, HotSet};
use crate::registry::Core;
use crate::{Error, ResourceKey, Vcp, VcpId};

/// As many keys are read at once.
pub(crate) const PAGE: usize = 500;
/// How often a read begins again when what it reads from is replaced under it.
pub(crate) const ATTEMPTS: usize = 8;

/// The hot sets by scope.
#[derive(Debug, Default)]
pub(crate) struct Sets {
    map: RwLock<BTreeMap<Arc<str>, Arc<HotSet>>>,
}

impl Sets {
    pub fn get(&self, scope: &str) -> Option<Arc<HotSet>> {
        self.map.read().unwrap_or_else(PoisonError::into_inner).get(scope).cloned()
    }

    pub fn all(&self) -> Vec<Arc<HotSet>> {
        self.map.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// The set of a scope, or a new one if `make` makes one. Whether it is new is told too.
    fn get_or_insert(
        &self,
        scope: &str,
        make: impl FnOnce() -> Option<HotSet>,
    ) -> Option<(Arc<HotSet>, bool)> {
        let mut map = self.map.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(set) = map.get(scope) {
            return Some((set.clone(), false));
        }
        let set = Arc::new(make()?);
        map.insert(set.scope.clone(), set.clone());
        Some((set, true))
    }

    /// Ends a set; what is read next is loaded anew.
    pub fn end(&self, set: &Arc<HotSet>, reason: Error) {
        let mut map = self.map.write().unwrap_or_else(PoisonError::into_inner);
        if map.get(&set.scope).is_some_and(|held| Arc::ptr_eq(held, set)) {
            map.remove(&set.scope);
        }
        drop(map);
        set.end(reason);
    }

    /// Ends the sets of a VCP.
    pub fn end_vcp(&self, id: VcpId, reason: &Error) {
        let prefix: Arc<str> = format!("{id}/").into();
        let mut map = self.map.write().unwrap_or_else(PoisonError::into_inner);
        let scopes: Vec<Arc<str>> = map
            .range(prefix.clone()..)
            .map(|(scope, _)| scope)
            .take_while(|s| s.starts_with(&*prefix))
            .cloned()
            .collect();
        for scope in scopes {
            if let Some(set) = map.remove(&scope) {
                set.end(reason.clone());
            }
        }
    }

    /// Ends all sets.
    pub fn end_all(&self, reason: &Error) {
        let map = std::mem::take(&mut *self.map.write().unwrap_or_else(PoisonError::into_inner));
        for set in map.values() {
            set.end(reason.clone());
        }
    }
}

impl Core {
    /// The VCP as the feed knows it, if that is newer than the caller's.
    pub fn current(&self, vcp: &Vcp) -> Result<Arc<Vcp>, Error> {
        match self.directory.get(vcp.id) {
            Some(known) if known.fence >= vcp.fence => match known.state() {
                crate::VcpState::Active => Ok(known),
                _ => Err(Error::VcpGone),
            },
            _ => Ok(Arc::new(vcp.clone())),
        }
    }

    /// The VCP after a fresh revision was reached: what the directory does not have then is gone.
    pub fn present(&self, vcp: &Vcp) -> Result<Arc<Vcp>, Error> {
        let known = self.directory.get(vcp.id).ok_or(Error::VcpGone)?;
        if known.state() == crate::VcpState::Active { Ok(known) } else { Err(Error::VcpGone) }
    }

    /// The set of a resource if it is hot.
    pub fn hot(&self, vcp: &Vcp, resource: &ResourceKey) -> Option<Arc<HotSet>> {
        let set = self.sets.get(&resource.scope(vcp.id))?;
        self.touch(&set);
        Some(set)
    }

    pub fn touch(&self, set: &HotSet) {
        set.used.store(self.clock(), Ordering::Relaxed);
    }

    /// The set of a resource, loaded if it was cold.
    pub async fn heat(self: &Arc<Self>, vcp: &Vcp, resource: &ResourceKey) -> Result<Arc<HotSet>, Error> {
        let scope = resource.scope(vcp.id);
        let mut failure = Error::Unavailable("a resource could not be loaded".into());
        for _ in 0..ATTEMPTS {
            let set = match self.sets.get(&scope) {
                Some(set) => set,
                None => {
                    let current = self.current(vcp)?;
                    let inherited = self.layers.content(&current.layers).await?;
                    // Under the lock of the sets: a pin that moves is in the directory before its sets are ended.
                    let made = self.sets.get_or_insert(&scope, || {
                        let known = self.directory.get(current.id);
                        let stale = known.is_some_and(|known| known.fence > current.fence);
                        let tail = resource.tail();
                        (!stale).then(|| {
                            HotSet::new(
                                scope.as_str().into(),
                                &tail,
                                current.clone(),
                                inherited.clone(),
                                self.limits,
                            )
                        })
                    });
                    match made {
                        None => continue,
                        Some((set, false)) => set,
                        Some((set, true)) => {
                            tokio::spawn(self.clone().load(set.clone()));
                            set
                        }
                    }
                }
            };
            self.touch(&set);
            match set.ready().await {
                Ok(()) => return Ok(set),
                // It was ended before it was loaded: begin again.
                Err(error @ Error::Expired { .. }) => failure = error,
                Err(error) => return Err(error),
            }
        }
        Err(failure)
    }

    async fn load(self: Arc<Self>, set: Arc<HotSet>) {
        let loaded = async {
            let (objects, revision) = self.read_all(&set.scope).await?;
            // The layers must be those of this very revision, or a watch from it would miss their change.
            let pin =
                self.store.get(&self.keys.pin(set.vcp.id), Some(revision)).await?.kv.ok_or(Error::VcpGone)?;
            if pin.mod_revision != set.vcp.fence {
                self.progress.reach(revision).await?;
                return Err(Error::Expired { requested: revision, oldest: pin.mod_revision });
            }
            set.install(objects, revision)
        };
        if let Err(error) = loaded.await {
            tracing::warn!(scope = %set.scope, %error, "a resource was not loaded");
            self.sets.end(&set, error);
        }
    }

    /// All keys of a scope at one revision.
    async fn read_all(&self, scope: &str) -> Result<(BTreeMap<Arc<str>, Entry>, u64), Error> {
        let prefix = self.keys.scope(scope);
        let end = prefix_end(prefix.as_bytes());
        let mut objects = BTreeMap::new();
        let mut request = RangeRequest::between(prefix.clone(), end.clone()).limit(PAGE);
        request.skip_count = true;
        loop {
            let page = self.store.range(request.clone()).await?;
            let revision = *request.revision.get_or_insert(page.revision);
            for kv in &page.kvs {
                objects.insert(rel_of(&kv.key, &prefix)?.into(), Entry::new(kv.mod_revision, &kv.value)?);
            }
            match page.kvs.last() {
                Some(last) if page.more => request.start = successor(&last.key),
                _ => return Ok((objects, revision)),
            }
        }
    }

    /// Forgets what nobody has used for a while, and what is over the budget.
    pub fn sweep(&self) {
        let now = Instant::now();
        let clock = self.clock();
        let idle = u64::try_from(self.options.idle.as_millis()).unwrap_or(u64::MAX);
        self.usages.sweep(clock.saturating_sub(idle));
        self.reads.forget();
        let mut unused = Vec::new();
        let mut total = 0;
        for set in self.sets.all() {
            let watchers = set.sweep(now);
            let used = set.used.load(Ordering::Relaxed);
            total += set.bytes();
            if watchers == 0 {
                unused.push((used, set));
            }
        }
        unused.sort_by_key(|(used, _)| *used);
        for (used, set) in unused {
            let over = total > self.options.memory_budget;
            if clock.saturating_sub(used) < idle && !over {
                break;
            }
            total = total.saturating_sub(set.bytes());
            self.sets.end(&set, Error::Expired { requested: 0, oldest: 0 });
        }
    }
}

/// The key below a prefix.
pub(crate) fn rel_of<'a>(key: &'a [u8], prefix: &str) -> Result<&'a str, Error> {
    let foreign = || Error::Corrupt(format!("the key {:?} is not ours", String::from_utf8_lossy(key)));
    std::str::from_utf8(key).ok().and_then(|key| key.strip_prefix(prefix)).ok_or_else(foreign)
}

/// How often the sweeper looks, for an idle time.
pub(crate) fn sweep_period(idle: Duration) -> Duration {
    (idle / 5).clamp(Duration::from_millis(100), Duration::from_secs(30))
}
