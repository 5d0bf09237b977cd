//! Forgetting history: one of the replicas compacts in each interval.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use kplane_storage::Compactor;

use crate::Error;
use crate::registry::Core;

/// Compacts, each interval, to where the store was an interval ago.
pub(crate) async fn run(core: Arc<Core>) {
    let mut compactor = Compactor::new(core.keys.compaction());
    loop {
        tokio::time::sleep(core.options.history).await;
        if let Err(error) = core.compact(&mut compactor).await {
            tracing::warn!(%error, "the store was not compacted");
        }
    }
}

impl Core {
    async fn compact(&self, compactor: &mut Compactor) -> Result<(), Error> {
        compactor.step(&*self.store).await?;
        // The key tells what was compacted, by whichever replica.
        let read = self.store.get(&self.keys.compaction(), None).await?;
        let done = read.kv.and_then(|kv| std::str::from_utf8(&kv.value).ok()?.parse().ok());
        self.compacted.fetch_max(done.unwrap_or(0), Ordering::Relaxed);
        Ok(())
    }
}
