//! Those who watch a hot set.

use std::sync::{Arc, OnceLock};

use tokio::sync::mpsc;

use crate::Error;
use crate::hot::SetEvent;
use crate::keys::{namespace_prefix, push_segment};

/// Which objects of a resource a watch is about.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filter {
    prefix: String,
    name: Option<String>,
}

impl Filter {
    pub fn new(namespace: Option<&str>, name: Option<&str>) -> Self {
        let name = name.map(|name| {
            let mut encoded = String::new();
            push_segment(&mut encoded, name);
            encoded
        });
        Self { prefix: namespace.map(namespace_prefix).unwrap_or_default(), name }
    }

    pub fn matches(&self, rel: &str) -> bool {
        rel.starts_with(&self.prefix)
            && self.name.as_deref().is_none_or(|name| rel.rsplit('/').next() == Some(name))
    }
}

/// The sending side of one watch.
#[derive(Debug)]
struct Watcher {
    filter: Filter,
    events: mpsc::Sender<Arc<SetEvent>>,
    /// Why it ended, told before the channel closes.
    end: Arc<OnceLock<Error>>,
}

impl Watcher {
    /// Whether anybody still receives.
    fn is_there(&self) -> bool {
        !self.events.is_closed()
    }
}

/// The sending sides of all watches of a set. Of those that were given up there are never more than of the others, but for a few.
#[derive(Debug, Default)]
pub(crate) struct Watchers(Vec<Watcher>);

/// Where the events of a watch arrive, and why it ended when it did.
pub(crate) type Joined = (mpsc::Receiver<Arc<SetEvent>>, Arc<OnceLock<Error>>);

impl Watchers {
    /// One more.
    pub fn join(&mut self, filter: Filter, buffer: usize) -> Joined {
        if self.0.len() == self.0.capacity() {
            // Those that were given up make room before the list grows.
            self.sweep();
            self.0.reserve(self.0.len().max(4));
        }
        let (sender, events) = mpsc::channel(buffer);
        let end = Arc::new(OnceLock::new());
        self.0.push(Watcher { filter, events: sender, end: end.clone() });
        (events, end)
    }

    /// Tells those it concerns of an event of the object with this key.
    pub fn tell(&mut self, rel: &str, event: &Arc<SetEvent>) {
        self.0.retain(|watcher| {
            if !watcher.filter.matches(rel) {
                return true;
            }
            match watcher.events.try_send(event.clone()) {
                Ok(()) => true,
                Err(mpsc::error::TrySendError::Closed(_)) => false,
                Err(mpsc::error::TrySendError::Full(_)) => {
                    // Whoever set another reason first was right too.
                    let _ = watcher.end.set(Error::TooSlow);
                    false
                }
            }
        });
    }

    /// Ends them all.
    pub fn end(&self, reason: &Error) {
        for watcher in &self.0 {
            // A watch that was cut off before keeps that reason.
            let _ = watcher.end.set(reason.clone());
        }
    }

    /// Forgets those that were given up, and says how many are left.
    pub fn sweep(&mut self) -> usize {
        self.0.retain(Watcher::is_there);
        self.0.len()
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.iter().filter(|watcher| watcher.is_there()).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn watches_that_are_begun_and_dropped_leave_little_behind() {
        let mut watchers = Watchers::default();
        let kept: Vec<_> = (0..10).map(|_| watchers.join(Filter::default(), 1)).collect();
        for _ in 0..10_000 {
            drop(watchers.join(Filter::default(), 1));
            assert_eq!(watchers.count(), 10);
            assert!(watchers.0.len() <= 40, "{}", watchers.0.len());
        }
        drop(kept);
        assert_eq!((watchers.count(), watchers.sweep()), (0, 0));
    }
}
