//! Making sure that a write without an answer is not done later.
//!
//! Every write compares the last write of its server's ticket, a key of the store. Taking a new ticket writes that key, and
//! no write that shows the old one can be done from then on, wherever it still waits: a revision never comes again.

use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use kplane_storage::{Compare, Error, Op, SharedStore, Txn};
use tokio::sync::Mutex;

use crate::keys::Keyspace;

/// Among how many keys servers choose. Two that share one take new tickets more often, and that is all.
const KEYS: u128 = 64;

/// The ticket of this server.
#[derive(Debug)]
pub(crate) struct Ticket {
    key: Bytes,
    /// The revision at which it was taken; 0: none was.
    taken: AtomicU64,
    taking: Mutex<()>,
}

impl Ticket {
    /// None is taken before the first write.
    pub fn new(keys: &Keyspace) -> Self {
        let number = uuid::Uuid::new_v4().as_u128() % KEYS;
        Self { key: keys.ticket(number), taken: AtomicU64::new(0), taking: Mutex::new(()) }
    }

    /// What writes have to show; one is taken if there is none.
    pub async fn current(&self, store: &SharedStore) -> Result<u64, Error> {
        match self.taken.load(Ordering::Acquire) {
            0 => self.replace(store, 0).await,
            taken => Ok(taken),
        }
    }

    /// Takes a new one, unless that was done since `old`. When this has succeeded, writes that show `old` are done already
    /// or never.
    pub async fn replace(&self, store: &SharedStore, old: u64) -> Result<u64, Error> {
        let _taking = self.taking.lock().await;
        let taken = self.taken.load(Ordering::Acquire);
        if taken != old {
            return Ok(taken);
        }
        let put = store.txn(Txn::new().and_then([Op::put(self.key.clone(), "")])).await;
        let response = put.map_err(|error| match error {
            // If it was written, nobody shows it: the next who tries takes another.
            Error::UnknownOutcome(why) => Error::Unavailable(why),
            other => other,
        })?;
        self.taken.store(response.revision, Ordering::Release);
        Ok(response.revision)
    }

    /// Showing it.
    pub fn shown(&self, taken: u64) -> Compare {
        Compare::unchanged(self.key.clone(), taken)
    }

    /// Reading it.
    pub fn read(&self) -> Op {
        Op::get(self.key.clone())
    }
}
