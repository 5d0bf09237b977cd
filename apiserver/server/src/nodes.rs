//! The pods that are bound to nodes, for what nodes may read.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use kplane_auth::authz::node::{NodePods, PodReferences};
use kplane_machinery::Status;
use kplane_registry::{ListRequest, ResourceKey, Stored, VcpId};

use crate::endpoints::failures;
use crate::endpoints::reader::VcpReader;

/// How many control planes with nodes are remembered. What is forgotten is read again.
const KEPT: usize = 64;

type PodKey = (String, String);
type Known = HashMap<PodKey, (u64, Arc<PodReferences>)>;

/// What the pods of control planes with nodes refer to, each as of the revision it was read at.
#[derive(Default)]
pub struct NodeIndexes {
    kept: Mutex<HashMap<VcpId, Known>>,
}

impl NodeIndexes {
    /// Takes in the pods as they are, reading only those that changed, and gives the ones on a node.
    fn pods_on(&self, id: VcpId, pods: &[Stored], node: &str) -> Result<Vec<Arc<PodReferences>>, Status> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let mut known = kept.remove(&id).unwrap_or_default();
        let mut current = Known::with_capacity(pods.len());
        let mut found = Vec::new();
        for stored in pods {
            let key = (stored.namespace().unwrap_or_default().to_owned(), stored.name().to_owned());
            let entry = match known.remove(&key).filter(|(revision, _)| *revision == stored.revision()) {
                Some(entry) => entry,
                None => {
                    let pod = stored.to_value().map_err(Status::internal)?;
                    (stored.revision(), Arc::new(PodReferences::of(&pod)))
                }
            };
            if entry.1.node == node {
                found.push(entry.1.clone());
            }
            current.insert(key, entry);
        }
        if kept.len() >= KEPT {
            kept.clear();
        }
        kept.insert(id, current);
        Ok(found)
    }
}

#[async_trait]
impl NodePods for VcpReader<'_> {
    async fn pods_on(&self, node: &str) -> Result<Vec<Arc<PodReferences>>, Status> {
        let (app, vcp) = (self.app(), self.vcp());
        let page = app
            .registry
            .list(vcp, &ResourceKey::new("", "pods"), ListRequest::default())
            .await
            .map_err(failures::store)?;
        app.identities.nodes().pods_on(vcp.id, &page.items, node)
    }
}
