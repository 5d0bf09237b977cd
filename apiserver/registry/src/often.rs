//! Which resources are read so often that they are worth holding in memory, though nobody lists or watches them.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};

use kplane_storage::{RangeRequest, prefix_end};

use crate::registry::Core;
use crate::{Error, ResourceKey, Vcp};

/// So many reads of the store between two sweeps are often.
const OFTEN: u32 = 256;
/// A resource of more objects is left in the store: it would push much else out.
const LARGEST: u64 = 10_000;
/// The reads of so many resources are counted at once; a flood of others makes the counting begin anew.
const COUNTED: usize = 1024;

/// The reads of the store since the last sweep, by the hash of their scope.
#[derive(Debug, Default)]
pub(crate) struct Reads(Mutex<HashMap<u64, u32>>);

impl Reads {
    /// Counts one. Says so when it is the one that makes them often.
    fn note(&self, scope: &str) -> bool {
        let mut hasher = DefaultHasher::new();
        scope.hash(&mut hasher);
        let hash = hasher.finish();
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.len() >= COUNTED && !counts.contains_key(&hash) {
            counts.clear();
        }
        let count = counts.entry(hash).or_insert(0);
        *count = count.saturating_add(1);
        *count == OFTEN
    }

    /// Begins anew.
    pub fn forget(&self) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *counts = HashMap::new();
    }
}

impl Core {
    /// Notes that a resource was read from the store, and has it loaded when that is often.
    pub fn note_read(self: &Arc<Self>, vcp: &Vcp, resource: &ResourceKey) {
        if !self.reads.note(&resource.scope(vcp.id)) {
            return;
        }
        let (core, vcp, resource) = (self.clone(), vcp.clone(), resource.clone());
        tokio::spawn(async move {
            if let Err(error) = core.heat_if_small(&vcp, &resource).await {
                tracing::debug!(vcp = %vcp.name, %error, "a resource that is read often stays in the store");
            }
        });
    }

    async fn heat_if_small(self: &Arc<Self>, vcp: &Vcp, resource: &ResourceKey) -> Result<(), Error> {
        let prefix = self.keys.scope(&resource.scope(vcp.id));
        let mut request = RangeRequest::between(prefix.clone(), prefix_end(prefix.as_bytes()));
        request.count_only = true;
        if self.store.range(request).await?.count <= LARGEST {
            self.heat(vcp, resource).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_are_counted_between_sweeps() {
        let reads = Reads::default();
        let often = |n: u32| (0..n).filter(|_| reads.note("a")).count();
        assert_eq!(often(OFTEN - 1), 0);
        reads.forget();
        assert_eq!(often(OFTEN - 1), 0);
        assert_eq!((often(1), often(1000)), (1, 0));
        // Many scopes take no more room.
        (0..10 * COUNTED).for_each(|n| assert!(!reads.note(&n.to_string())));
        assert!(reads.0.lock().unwrap().len() <= COUNTED);
    }
}
