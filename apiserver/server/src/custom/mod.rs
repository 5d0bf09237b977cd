//! Custom resources: kinds that CustomResourceDefinitions make, each in its own control plane.
//!
//! A definition is compiled once by its content, however many control planes hold it, and forgotten when the last one
//! that was in use is. A request for a custom resource reads its definition as freshly as any object: a kind that
//! was deleted is gone at once, in every replica.

mod compile;
pub mod controller;
mod strategy;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use kplane_kinds::ResourceDef;
use kplane_machinery::Status;
use kplane_registry::{ListRequest, ObjectKey, Registry, ResourceKey, Stored, Vcp, VcpId};
use serde_json::Value;
use sha2::{Digest, Sha256};

pub use compile::{compile, is_established};

use crate::endpoints::failures;

/// The definitions in use.
#[derive(Default)]
pub struct Definitions {
    /// By the digest of what a kind is made of. Weak: a definition lives while somebody recently used it.
    compiled: Mutex<HashMap<[u8; 32], Weak<ResourceDef>>>,
    /// The most recently used, held.
    recent: Mutex<Recent>,
}

/// How many (control plane, definition) pairs are remembered.
const RECENT: usize = 4096;

/// The revision of a definition, and what it compiled to; nothing while its names are not accepted.
type Compiled = (u64, Option<Arc<ResourceDef>>);

/// A bounded memory of which revision of which object compiled to what.
#[derive(Default)]
struct Recent {
    by_object: HashMap<(VcpId, Arc<str>), Compiled>,
}

/// Where definitions are stored.
pub fn resource_key() -> ResourceKey {
    ResourceKey::new("apiextensions.k8s.io", "customresourcedefinitions")
}

impl Definitions {
    /// The kind of a custom resource in a control plane; `None` when there is none that is established.
    pub async fn get(
        &self,
        registry: &Registry,
        vcp: &Vcp,
        group: &str,
        plural: &str,
    ) -> Result<Option<Arc<ResourceDef>>, Status> {
        let key =
            ObjectKey { resource: resource_key(), namespace: None, name: format!("{plural}.{group}").into() };
        match registry.get(vcp, &key).await.map_err(failures::store)? {
            Some(stored) => self.compiled(vcp, &stored),
            None => Ok(None),
        }
    }

    /// Every custom kind of a control plane.
    pub async fn all(&self, registry: &Registry, vcp: &Vcp) -> Result<Vec<Arc<ResourceDef>>, Status> {
        let page =
            registry.list(vcp, &resource_key(), ListRequest::default()).await.map_err(failures::store)?;
        let mut defs = Vec::new();
        for stored in &page.items {
            defs.extend(self.compiled(vcp, stored)?);
        }
        Ok(defs)
    }

    /// What a stored definition makes; `None` while its names are not accepted.
    fn compiled(&self, vcp: &Vcp, stored: &Stored) -> Result<Option<Arc<ResourceDef>>, Status> {
        let id = (vcp.id, Arc::<str>::from(stored.name()));
        {
            let recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some((revision, def)) = recent.by_object.get(&id)
                && *revision == stored.revision()
            {
                return Ok(def.clone());
            }
        }
        let crd = stored.to_value().map_err(Status::internal)?;
        let def = if is_established(&crd) { Some(self.shared(&crd)?) } else { None };
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        if recent.by_object.len() >= RECENT {
            recent.by_object.clear();
        }
        recent.by_object.insert(id, (stored.revision(), def.clone()));
        drop(recent);
        Ok(def)
    }

    /// Compiles a definition, or finds that its like is compiled already.
    fn shared(&self, crd: &Value) -> Result<Arc<ResourceDef>, Status> {
        let digest = content(crd);
        {
            let compiled = self.compiled.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(def) = compiled.get(&digest).and_then(Weak::upgrade) {
                return Ok(def);
            }
        }
        let def = Arc::new(compile(crd)?);
        let mut compiled = self.compiled.lock().unwrap_or_else(PoisonError::into_inner);
        compiled.retain(|_, def| def.strong_count() > 0);
        compiled.insert(digest, Arc::downgrade(&def));
        Ok(def)
    }
}

/// What a kind is made of: the spec, and the names that were accepted.
fn content(crd: &Value) -> [u8; 32] {
    let mut digest = Sha256::new();
    digest.update(crd["spec"].to_string());
    digest.update([0]);
    digest.update(crd["status"]["acceptedNames"].to_string());
    digest.finalize().into()
}
