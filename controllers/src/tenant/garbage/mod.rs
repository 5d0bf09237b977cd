//! Garbage collection: what has owners goes when the last of them does.
//!
//! The [`graph`] keeps those objects that have owners or wait for their dependents, and nothing of all others; an
//! owner that is not in it is looked up. The [`collect`] module decides and acts upon one object.

mod collect;
mod graph;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::discovery::Discovery;
use super::object::{Identity, Place, Seen};
use super::queue::{Next, Queue, Worker};
use crate::Error;
use crate::runtime::raw::Raw;
use graph::Graph;

/// Collects garbage.
pub struct Garbage {
    raw: Raw,
    discovery: Arc<Discovery>,
    graph: Mutex<Graph>,
    queue: Queue<Identity>,
}

impl Garbage {
    /// Works through this client.
    pub fn new(raw: Raw, discovery: Arc<Discovery>) -> Self {
        Self { raw, discovery, graph: Mutex::default(), queue: Queue::default() }
    }

    fn graph(&self) -> MutexGuard<'_, Graph> {
        self.graph.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add_all(&self, identities: Vec<Identity>) {
        for identity in identities {
            self.queue.add(identity);
        }
    }

    /// Where the dependents of an object are, as far as is known: the most recent may be missing, and some may be gone.
    pub fn dependents(&self, owner: &Identity) -> Vec<Place> {
        self.graph().dependents(owner).into_iter().map(|dependent| dependent.place).collect()
    }

    /// A list begins.
    pub fn begin(&self) {
        self.graph().begin();
    }

    /// An object of the list.
    pub fn listed(&self, seen: &Seen) {
        self.graph().listed(seen);
    }

    /// The list is whole. `exists` knows the uids that were in it.
    pub fn end(&self, exists: impl Fn(&str, &str) -> bool) {
        let work = self.graph().end(exists);
        self.add_all(work);
    }

    /// An object was made or changed.
    pub fn applied(&self, seen: &Seen) {
        let work = self.graph().applied(seen);
        self.add_all(work);
    }

    /// An object is gone.
    pub fn deleted(&self, seen: &Seen) {
        let work = self.graph().deleted(&seen.identity());
        self.add_all(work);
    }
}

impl Worker for Garbage {
    type Key = Identity;
    const NAME: &'static str = "garbage";

    fn queue(&self) -> &Queue<Identity> {
        &self.queue
    }

    async fn reconcile(&self, key: Identity) -> Result<Next, Error> {
        self.collect(&key).await
    }
}
