//! Trackers: which objects of one resource changed, for whoever keeps something made of them in memory.
//!
//! A hot set keeps the objects; a tracker keeps only the names of those that changed since they were last asked for, and
//! only of the VCPs that somebody asked about.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use crate::{ResourceKey, VcpId};

/// More changes than these are all of them.
const MOST_NAMES: usize = 64;

/// What changed since it was last asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Changes {
    /// These objects without a namespace, by name; perhaps none.
    Some(Vec<Arc<str>>),
    /// Anything.
    All,
}

/// The changes of one resource of cluster scope, by VCP.
#[derive(Debug)]
pub struct Tracker {
    tail: String,
    vcps: Mutex<HashMap<VcpId, Changes>>,
}

impl Tracker {
    fn lock(&self) -> MutexGuard<'_, HashMap<VcpId, Changes>> {
        self.vcps.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What changed in a VCP since the last call; all, the first time. What is read after this call is as new as the
    /// changes it told of, if the caller has waited for a fresh revision before.
    pub fn take(&self, id: VcpId) -> Changes {
        self.lock().insert(id, Changes::Some(Vec::new())).unwrap_or(Changes::All)
    }

    /// What was taken was not made use of.
    pub fn put_back(&self, id: VcpId) {
        self.lock().insert(id, Changes::All);
    }

    /// Nobody asks about this VCP any more.
    pub fn forget(&self, id: VcpId) {
        self.lock().remove(&id);
    }

    fn changed(&self, id: VcpId, name: &str) {
        if let Some(changes) = self.lock().get_mut(&id) {
            match changes {
                Changes::Some(names) if names.len() >= MOST_NAMES => *changes = Changes::All,
                Changes::Some(names) if names.iter().all(|known| **known != *name) => names.push(name.into()),
                _ => {}
            }
        }
    }
}

/// The trackers of a registry.
#[derive(Debug, Default)]
pub(crate) struct Trackers {
    all: RwLock<Vec<Arc<Tracker>>>,
}

impl Trackers {
    fn each(&self, run: impl Fn(&Tracker)) {
        self.all.read().unwrap_or_else(PoisonError::into_inner).iter().for_each(|tracker| run(tracker));
    }

    pub fn add(&self, resource: &ResourceKey) -> Arc<Tracker> {
        let tracker = Arc::new(Tracker { tail: resource.tail(), vcps: Mutex::default() });
        self.all.write().unwrap_or_else(PoisonError::into_inner).push(tracker.clone());
        tracker
    }

    /// An object was written or deleted.
    pub fn changed(&self, id: VcpId, tail: &str, rel: &str) {
        self.each(|tracker| {
            if tracker.tail == tail {
                tracker.changed(id, rel);
            }
        });
    }

    /// The layers of a VCP may have changed.
    pub fn moved(&self, id: VcpId) {
        self.each(|tracker| {
            if let Some(changes) = tracker.lock().get_mut(&id) {
                *changes = Changes::All;
            }
        });
    }

    /// A VCP is gone.
    pub fn gone(&self, id: VcpId) {
        self.each(|tracker| tracker.forget(id));
    }

    /// Changes may have been missed.
    pub fn missed(&self) {
        self.each(|tracker| tracker.lock().values_mut().for_each(|changes| *changes = Changes::All));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_changed_is_told_and_only_to_who_asked() {
        let trackers = Trackers::default();
        let resource = ResourceKey::new("g", "things");
        let tracker = trackers.add(&resource);
        let id = VcpId::parse("00000000000000000000000000000001").unwrap();
        trackers.changed(id, &resource.tail(), "before");
        assert_eq!(tracker.take(id), Changes::All);
        trackers.changed(id, &resource.tail(), "a");
        trackers.changed(id, &resource.tail(), "a");
        trackers.changed(id, "other/things/", "b");
        trackers.changed(VcpId::ROOT, &resource.tail(), "c");
        assert_eq!(tracker.take(id), Changes::Some(vec!["a".into()]));
        assert_eq!(tracker.take(id), Changes::Some(Vec::new()));
        trackers.moved(id);
        trackers.changed(id, &resource.tail(), "a");
        assert_eq!(tracker.take(id), Changes::All);
        for i in 0..=MOST_NAMES {
            trackers.changed(id, &resource.tail(), &i.to_string());
        }
        assert_eq!(tracker.take(id), Changes::All);
        trackers.missed();
        assert_eq!(tracker.take(id), Changes::All);
        trackers.gone(id);
        assert!(tracker.lock().is_empty());
    }
}
