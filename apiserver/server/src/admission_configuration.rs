//! What control planes say of admission, found anew only when it changed.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use kplane_admission::Configuration;
use kplane_machinery::Status;
use kplane_registry::{ListRequest, Registry, ResourceKey, ResourceVersion, Vcp, VcpId};
use serde_json::Value;

use crate::endpoints::failures;

/// How many control planes are remembered.
const RECENT: usize = 4096;

/// A mark, and what was made of the objects under it.
type Known = (Vec<u64>, Arc<Configuration>);

/// The configurations of those control planes that were written to last. Each is known by the mark of what it was made of,
/// so that a write costs one look at whether anything changed, and a control plane without any shares the empty one.
#[derive(Default)]
pub struct Configurations {
    recent: Mutex<HashMap<VcpId, Known>>,
    empty: Arc<Configuration>,
}

impl Configurations {
    /// What a control plane says, as of a time after the call began.
    pub async fn get(&self, registry: &Registry, vcp: &Vcp) -> Result<Arc<Configuration>, Status> {
        let keys = Configuration::RESOURCES.map(|plural| ResourceKey::new(Configuration::GROUP, plural));
        let mut mark = registry.mark(vcp, &keys).await.map_err(failures::store)?;
        if mark.is_none() {
            // The first look warms them up.
            for key in &keys {
                list(registry, vcp, key).await?;
            }
            mark = registry.mark(vcp, &keys).await.map_err(failures::store)?;
        }
        if let Some(mark) = &mark
            && let Some(known) = self.known(vcp.id, mark)
        {
            return Ok(known);
        }
        // Read after the mark: what is newer than the mark is found out by the next request.
        let mut objects: [Vec<Value>; Configuration::RESOURCES.len()] = Default::default();
        for (listed, key) in objects.iter_mut().zip(&keys) {
            *listed = list(registry, vcp, key).await?;
        }
        let read = Configuration::read(objects);
        let found = if read.is_empty() { self.empty.clone() } else { Arc::new(read) };
        if let Some(mark) = mark {
            let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
            if recent.len() >= RECENT {
                recent.clear();
            }
            recent.insert(vcp.id, (mark, found.clone()));
        }
        Ok(found)
    }

    fn known(&self, id: VcpId, mark: &[u64]) -> Option<Arc<Configuration>> {
        let recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.get(&id).filter(|(held, _)| held == mark).map(|(_, found)| found.clone())
    }
}

/// All objects of a resource, as new as the mark that was taken before.
async fn list(registry: &Registry, vcp: &Vcp, key: &ResourceKey) -> Result<Vec<Value>, Status> {
    let request = ListRequest { version: ResourceVersion::Any, ..ListRequest::default() };
    let page = registry.list(vcp, key, request).await.map_err(failures::store)?;
    page.items.iter().map(|stored| stored.to_value().map_err(Status::internal)).collect()
}
