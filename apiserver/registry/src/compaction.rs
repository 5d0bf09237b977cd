//! Forgetting history: the protocol of kube-apiserver, by which one of several replicas compacts at a time.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use kplane_storage::{Compare, CompareOp, Op, Txn};

use crate::Error;
use crate::registry::Core;

/// Compacts, each interval, to where the store was an interval ago.
pub(crate) async fn run(core: Arc<Core>) {
    let mut round = Round::default();
    loop {
        tokio::time::sleep(core.options.history).await;
        match core.compact(&round).await {
            Ok(next) => round = next,
            Err(error) => tracing::warn!(%error, "the store was not compacted"),
        }
    }
}

/// What one round leaves to the next.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Round {
    /// How often the shared key was written, as far as we know.
    turn: u64,
    /// The store's revision then.
    revision: u64,
}

impl Core {
    /// One round. Whoever first writes the key that all share has the turn.
    pub(crate) async fn compact(&self, round: &Round) -> Result<Round, Error> {
        let key = self.keys.compaction();
        let txn = Txn::new()
            .when([Compare::version(key.clone(), CompareOp::Equal, round.turn)])
            .and_then([Op::put(key.clone(), round.revision.to_string())])
            .or_else([Op::get(key)]);
        let response = self.store.txn(txn).await?;
        if !response.succeeded {
            let kv = response.kv(0);
            if let Some(done) = kv.and_then(|kv| std::str::from_utf8(&kv.value).ok()?.parse::<u64>().ok()) {
                self.compacted.fetch_max(done, Ordering::Relaxed);
            }
            return Ok(Round { turn: kv.map_or(0, |kv| kv.version), revision: response.revision });
        }
        if round.revision > 0 {
            match self.store.compact(round.revision).await {
                // Somebody else was further.
                Ok(()) | Err(kplane_storage::Error::Compacted { .. }) => {}
                Err(error) => return Err(error.into()),
            }
            self.compacted.fetch_max(round.revision, Ordering::Relaxed);
        }
        Ok(Round { turn: round.turn + 1, revision: response.revision })
    }
}
