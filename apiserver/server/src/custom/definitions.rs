//! [`Definitions`]: the custom kinds of the control planes in use.
//!
//! A definition is compiled once by its content, however many control planes hold it, and forgotten when the last that was
//! in use is. Of a control plane in use, only the revisions of its definitions are kept, not the definitions themselves:
//! what a definition says is large, and nobody but its own clients reads it. A question is answered at a revision read
//! after it was asked, so that a kind that was deleted is gone at once, in every replica.

use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use kplane_kinds::ResourceDef;
use kplane_machinery::Status;
use kplane_registry::{
    Changes, Error, ListRequest, ObjectKey, Registry, Stored, Tracker, Vcp, VcpId, VcpState,
};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::compile::{condition, is_established};
use super::names::Names;
use super::{compile, resource_key};
use crate::endpoints::failures;

/// How many definitions are read at once.
const PAGE: usize = 64;
/// How long the kinds of a control plane are remembered that nobody asks for.
const IDLE: Duration = Duration::from_secs(300);
/// How many control planes may give names at once.
const NAMING: usize = 64;

/// What a definition comes to, whoever has it.
pub struct Fact {
    /// The definition's name: `<plural>.<group>`.
    pub name: Arc<str>,
    /// The group.
    pub group: Arc<str>,
    /// The names it was given.
    pub accepted: Names,
    /// Whether its names are accepted and it is established, so that nothing is left to do for it.
    pub settled: bool,
    /// The kind it makes, while it is established; or why it cannot be read.
    def: Result<Option<Arc<ResourceDef>>, String>,
}

impl Fact {
    /// One of which only the names matter.
    pub fn of_names(name: &str, group: &str, accepted: &Value) -> Self {
        let accepted = Names::of(accepted);
        Self { name: name.into(), group: group.into(), accepted, settled: true, def: Ok(None) }
    }

    /// The kind, if there is one.
    pub fn kind(&self) -> Result<Option<&Arc<ResourceDef>>, Status> {
        match &self.def {
            Ok(def) => Ok(def.as_ref()),
            Err(why) => Err(Status::internal(format!("the definition {} cannot be read: {why}", self.name))),
        }
    }
}

/// A definition of a control plane.
#[derive(Clone)]
struct Entry {
    revision: u64,
    fact: Arc<Fact>,
}

/// The definitions of a control plane, by name.
type View = Arc<[Entry]>;

/// What is kept of a control plane in use.
struct Slot {
    /// Seconds since the start.
    used: AtomicU64,
    view: tokio::sync::Mutex<View>,
}

/// The definitions in use.
pub struct Definitions {
    tracker: Arc<Tracker>,
    facts: Mutex<Facts>,
    slots: Mutex<HashMap<VcpId, Arc<Slot>>>,
    started: Instant,
    naming: [tokio::sync::Mutex<()>; NAMING],
}

/// What definitions come to, by the digest of what they are made of. Weak: a fact lives while a view holds it.
#[derive(Default)]
struct Facts {
    by_content: HashMap<[u8; 32], Weak<Fact>>,
    /// How many there may be before those that are gone are looked for.
    room: usize,
}

/// Says, unless it is disarmed, that changes were taken and not made use of.
struct Taken<'a> {
    tracker: &'a Tracker,
    id: VcpId,
    used: bool,
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        if !self.used {
            self.tracker.put_back(self.id);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Definitions {
    /// Those of a registry's control planes.
    pub fn new(registry: &Registry) -> Self {
        Self {
            tracker: registry.track(&resource_key()),
            facts: Mutex::default(),
            slots: Mutex::default(),
            started: Instant::now(),
            naming: std::array::from_fn(|_| tokio::sync::Mutex::default()),
        }
    }

    /// Held by who gives names to a definition of a control plane, from reading the others to writing it: of two that want
    /// one name at once, one must see the other.
    pub async fn naming(&self, id: VcpId) -> tokio::sync::MutexGuard<'_, ()> {
        let mut hasher = std::collections::hash_map::DefaultHasher::new();
        id.hash(&mut hasher);
        self.naming[hasher.finish() as usize % NAMING].lock().await
    }

    /// The kind of a custom resource in a control plane; `None` when there is none that is established.
    pub async fn get(
        &self,
        registry: &Registry,
        vcp: &Vcp,
        group: &str,
        plural: &str,
    ) -> Result<Option<Arc<ResourceDef>>, Status> {
        let name = format!("{plural}.{group}");
        let view = self.view(registry, vcp).await?;
        match view.binary_search_by(|entry| (*entry.fact.name).cmp(&name)) {
            Ok(at) => Ok(view[at].fact.kind()?.cloned()),
            Err(_) => Ok(None),
        }
    }

    /// Every custom kind of a control plane. One that cannot be read is told of in the log, and does not hide the others.
    pub async fn all(&self, registry: &Registry, vcp: &Vcp) -> Result<Vec<Arc<ResourceDef>>, Status> {
        let view = self.view(registry, vcp).await?;
        Ok(view
            .iter()
            .filter_map(|entry| match entry.fact.kind() {
                Ok(def) => def.cloned(),
                Err(error) => {
                    tracing::error!(vcp = %vcp.name, %error, "a custom kind is not served");
                    None
                }
            })
            .collect())
    }

    /// What the definitions of a group come to.
    pub async fn of_group(
        &self,
        registry: &Registry,
        vcp: &Vcp,
        group: &str,
    ) -> Result<Vec<Arc<Fact>>, Status> {
        let view = self.view(registry, vcp).await?;
        Ok(view.iter().map(|entry| &entry.fact).filter(|fact| *fact.group == *group).cloned().collect())
    }

    /// Forgets the control planes that nobody asked about for a while.
    pub fn sweep(&self) {
        let before = self.clock().saturating_sub(IDLE.as_secs());
        lock(&self.slots).retain(|id, slot| {
            let kept = slot.used.load(Ordering::Relaxed) >= before || Arc::strong_count(slot) > 1;
            if !kept {
                self.tracker.forget(*id);
            }
            kept
        });
    }

    fn clock(&self) -> u64 {
        self.started.elapsed().as_secs()
    }

    fn slot(&self, id: VcpId) -> Arc<Slot> {
        let now = self.clock();
        let mut slots = lock(&self.slots);
        let slot = slots.entry(id).or_insert_with(|| {
            // What the tracker knows is of a view that is gone.
            self.tracker.forget(id);
            Arc::new(Slot { used: AtomicU64::new(now), view: tokio::sync::Mutex::new(Arc::new([])) })
        });
        slot.used.store(now, Ordering::Relaxed);
        slot.clone()
    }

    /// The definitions of a control plane as of a time after the call began.
    async fn view(&self, registry: &Registry, vcp: &Vcp) -> Result<View, Status> {
        let known = registry.vcp_by_id(vcp.id).await.map_err(failures::store)?;
        let vcp = known
            .filter(|vcp| vcp.state() == VcpState::Active)
            .ok_or_else(|| failures::store(Error::VcpGone))?;
        let slot = self.slot(vcp.id);
        let mut view = slot.view.lock().await;
        let changes = self.tracker.take(vcp.id);
        let mut taken = Taken { tracker: &self.tracker, id: vcp.id, used: false };
        match changes {
            Changes::Some(names) if names.is_empty() => {}
            Changes::Some(names) => *view = self.refresh(registry, &vcp, &view, &names).await?,
            Changes::All => *view = self.load(registry, &vcp, &view).await?,
        }
        taken.used = true;
        Ok(view.clone())
    }

    async fn load(&self, registry: &Registry, vcp: &Vcp, known: &View) -> Result<View, Status> {
        let mut entries = Vec::new();
        let mut request = ListRequest { limit: Some(PAGE), ..ListRequest::default() };
        loop {
            let page = registry.list(vcp, &resource_key(), request.clone()).await.map_err(failures::store)?;
            for stored in &page.items {
                let same = known
                    .binary_search_by(|entry| (*entry.fact.name).cmp(stored.name()))
                    .ok()
                    .map(|at| &known[at])
                    .filter(|entry| entry.revision == stored.revision());
                entries.push(match same {
                    Some(entry) => entry.clone(),
                    None => self.entry(stored)?,
                });
            }
            match page.next {
                Some(next) => request.after = Some(next),
                None => break,
            }
        }
        entries.sort_by(|a, b| a.fact.name.cmp(&b.fact.name));
        entries.dedup_by(|a, b| a.fact.name == b.fact.name);
        Ok(entries.into())
    }

    async fn refresh(
        &self,
        registry: &Registry,
        vcp: &Vcp,
        known: &View,
        names: &[Arc<str>],
    ) -> Result<View, Status> {
        let mut entries = known.to_vec();
        for name in names {
            let key = ObjectKey { resource: resource_key(), namespace: None, name: name.clone() };
            let now = registry.get(vcp, &key).await.map_err(failures::store)?;
            let now = now.map(|stored| self.entry(&stored)).transpose()?;
            match (entries.binary_search_by(|entry| entry.fact.name.cmp(name)), now) {
                (Ok(at), Some(entry)) => entries[at] = entry,
                (Ok(at), None) => drop(entries.remove(at)),
                (Err(at), Some(entry)) => entries.insert(at, entry),
                (Err(_), None) => {}
            }
        }
        Ok(entries.into())
    }

    fn entry(&self, stored: &Stored) -> Result<Entry, Status> {
        let crd = stored.to_value().map_err(Status::internal)?;
        let name = Arc::from(stored.name());
        Ok(Entry { revision: stored.revision(), fact: self.fact(name, &crd) })
    }

    /// What a definition comes to, compiled unless its like is known already.
    fn fact(&self, name: Arc<str>, crd: &Value) -> Arc<Fact> {
        let digest = content(crd);
        if let Some(fact) = lock(&self.facts).by_content.get(&digest).and_then(Weak::upgrade) {
            return fact;
        }
        let def = if is_established(crd) {
            compile(crd).map(|def| Some(Arc::new(def))).map_err(|status| status.message)
        } else {
            Ok(None)
        };
        let fact = Arc::new(Fact {
            name,
            group: crd["spec"]["group"].as_str().unwrap_or("").into(),
            accepted: Names::of(&crd["status"]["acceptedNames"]),
            settled: is_established(crd) && condition(crd, "NamesAccepted") == Some("True"),
            def,
        });
        let mut facts = lock(&self.facts);
        // Another may have been as quick.
        if let Some(other) = facts.by_content.get(&digest).and_then(Weak::upgrade) {
            return other;
        }
        if facts.by_content.len() >= facts.room {
            facts.by_content.retain(|_, fact| fact.strong_count() > 0);
            facts.room = 2 * facts.by_content.len() + 16;
        }
        facts.by_content.insert(digest, Arc::downgrade(&fact));
        fact
    }
}

/// What a kind is made of: the spec, the names that were accepted, and how far the definition has come.
fn content(crd: &Value) -> [u8; 32] {
    let mut digest = Sha256::new();
    digest.update(crd["spec"].to_string());
    digest.update([0]);
    digest.update(crd["status"]["acceptedNames"].to_string());
    for name in ["Established", "NamesAccepted", "Terminating"] {
        digest.update([0]);
        digest.update(condition(crd, name).unwrap_or(""));
    }
    digest.finalize().into()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use kplane_registry::{Encoded, NewVcp, RegistryOptions};
    use kplane_storage::{EmbeddedOptions, EmbeddedStore};
    use serde_json::json;

    use super::*;

    fn definition(established: &str) -> Value {
        json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": "owls.birds.test"},
            "spec": {
                "group": "birds.test", "scope": "Namespaced", "names": {"plural": "owls", "kind": "Owl"},
                "versions": [{"name": "v1", "served": true, "storage": true,
                    "schema": {"openAPIV3Schema": {"type": "object"}}}],
            },
            "status": {
                "acceptedNames": {"plural": "owls", "singular": "owl", "kind": "Owl", "listKind": "OwlList"},
                "conditions": [{"type": "Established", "status": established}],
            },
        })
    }

    #[tokio::test]
    async fn kinds_are_shared_by_content_and_as_fresh_as_reads() {
        let folder = std::env::temp_dir().join(format!("kplane-definitions-{}", uuid::Uuid::new_v4()));
        let store = EmbeddedStore::open(&folder, EmbeddedOptions::default()).unwrap();
        let registry = Registry::open(Arc::new(store), RegistryOptions::default()).await.unwrap();
        let definitions = Definitions::new(&registry);
        let mut vcps = Vec::new();
        for name in ["a", "b"] {
            let new = NewVcp {
                uid: uuid::Uuid::new_v4().to_string(),
                name: name.into(),
                created: 0,
                layers: Vec::new(),
                parameters: None,
                credentials: Default::default(),
            };
            vcps.push(registry.create_vcp(&new).await.unwrap());
        }
        let key = ObjectKey::new(resource_key(), None, "owls.birds.test");
        let encode = |crd: &Value| Encoded::new(crd, 1).unwrap();
        let get = async |vcp: &Vcp| definitions.get(&registry, vcp, "birds.test", "owls").await.unwrap();
        assert!(get(&vcps[0]).await.is_none());
        let mut stored = Vec::new();
        for vcp in &vcps {
            let new = encode(&definition("False"));
            stored.push(registry.create(vcp, &key, new, None, Default::default()).await.unwrap());
            assert!(get(vcp).await.is_none(), "it is not established");
        }
        for (vcp, stored) in vcps.iter().zip(&mut stored) {
            let new = encode(&definition("True"));
            *stored = registry.update(vcp, &key, stored, new, None, Default::default()).await.unwrap();
        }
        let (a, b) = (get(&vcps[0]).await.unwrap(), get(&vcps[1]).await.unwrap());
        assert!(Arc::ptr_eq(&a, &b), "the like is compiled once");
        let weak = Arc::downgrade(&a);
        drop((a, b));
        registry.delete(&vcps[0], &key, &stored[0], Default::default()).await.unwrap();
        assert!(get(&vcps[0]).await.is_none(), "what was deleted is gone at once");
        assert!(weak.upgrade().is_some());
        registry.delete(&vcps[1], &key, &stored[1], Default::default()).await.unwrap();
        assert!(definitions.all(&registry, &vcps[1]).await.unwrap().is_empty());
        assert!(weak.upgrade().is_none(), "it is freed when the last is gone");
        assert_eq!(registry.stats().hot_sets, 0, "asking heats nothing");
        drop(registry);
        let _ = std::fs::remove_dir_all(&folder);
    }
}
