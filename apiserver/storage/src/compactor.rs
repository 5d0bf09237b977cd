//! Compaction at intervals, by kube-apiserver's protocol: of several replicas over one store one
//! compacts in each interval, and what is younger than an interval always stays.

use std::time::Duration;

use bytes::Bytes;

use crate::{Compare, CompareOp, Error, Op, Result, Revision, Store, Txn};

/// Takes part in the compaction of a store. All replicas must use the same key, whose version is
/// the number of the interval and whose value the revision compacted at.
#[derive(Debug)]
pub struct Compactor {
    key: Bytes,
    interval: u64,
    revision: Revision,
}

impl Compactor {
    /// Takes part by means of `key`.
    pub fn new(key: impl Into<Bytes>) -> Self {
        Compactor { key: key.into(), interval: 0, revision: 0 }
    }

    /// Does what is to be done once an interval: if no other replica was quicker, compacts at the
    /// revision that was current at the last call. Returns it if so.
    pub async fn step(&mut self, store: &dyn Store) -> Result<Option<Revision>> {
        let value = self.revision.to_string();
        let txn = Txn::new()
            .when([Compare::version(self.key.clone(), CompareOp::Equal, self.interval)])
            .and_then([Op::put(self.key.clone(), value)])
            .or_else([Op::get(self.key.clone())]);
        let response = store.txn(txn).await?;
        let compact_at = self.revision;
        self.revision = response.revision;
        if !response.succeeded {
            self.interval = response.kv(0).map_or(0, |kv| kv.version);
            return Ok(None);
        }
        self.interval += 1;
        if compact_at == 0 {
            // Only the second interval knows how old its revisions are.
            return Ok(None);
        }
        match store.compact(compact_at).await {
            Ok(()) => Ok(Some(compact_at)),
            // Somebody else did more.
            Err(Error::Compacted { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Takes part for as long as it is polled. Failures are logged, and the next interval is
    /// another chance.
    pub async fn run(mut self, store: &dyn Store, interval: Duration) {
        loop {
            tokio::time::sleep(interval).await;
            match self.step(store).await {
                Ok(Some(revision)) => tracing::info!(revision, "compacted the store"),
                Ok(None) => {}
                Err(error) => tracing::warn!(%error, "cannot compact the store"),
            }
        }
    }
}
