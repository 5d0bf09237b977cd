//! The layers of a control plane together: later ones over earlier ones, loaded once for all who name them.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use kplane_storage::{Compare, Op, SharedStore, Txn};
use serde::{Deserialize, Serialize};
use tokio::sync::OnceCell;

use crate::keys::Keyspace;
use crate::layer::{ContentHash, Heir, Layer, LoadedLayer, Parameters, Template};
use crate::{Error, Stored, Vcp};

/// Below the store's limit for one request.
const CHUNK: usize = 512 * 1024;

/// The layers that a control plane names, and its parameters.
#[derive(Debug)]
pub struct LayerSet {
    id: SetId,
    content: OnceCell<Arc<Inherited>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct SetId {
    layers: Box<[ContentHash]>,
    parameters: Option<ContentHash>,
}

impl LayerSet {
    /// The layers, the lowest first.
    pub fn layers(&self) -> &[ContentHash] {
        &self.id.layers
    }

    /// What they hold, if somebody has loaded it.
    pub(crate) fn loaded(&self) -> Option<&Inherited> {
        self.content.get().map(|content| &**content)
    }

    /// The parameters, if there are any.
    pub fn parameters(&self) -> Option<ContentHash> {
        self.id.parameters
    }
}

/// What a control plane has without having written it.
#[derive(Debug, Default)]
pub(crate) struct Inherited {
    resources: HashMap<Box<str>, BTreeMap<Arc<str>, Arc<Template>>>,
    parameters: Arc<Parameters>,
}

static NOTHING: BTreeMap<Arc<str>, Arc<Template>> = BTreeMap::new();

impl Inherited {
    /// The objects of a resource, by `<group>/<resource>/`.
    pub fn resource(&self, tail: &str) -> &BTreeMap<Arc<str>, Arc<Template>> {
        self.resources.get(tail).unwrap_or(&NOTHING)
    }

    /// An object as a control plane has it.
    pub fn get(&self, vcp: &Vcp, tail: &str, rel: &str) -> Result<Option<Stored>, Error> {
        match self.resource(tail).get_key_value(rel) {
            None => Ok(None),
            Some((rel, template)) => self.heir(vcp, rel, template).map(Some),
        }
    }

    pub fn heir(&self, vcp: &Vcp, rel: &Arc<str>, template: &Arc<Template>) -> Result<Stored, Error> {
        let heir = Heir {
            template: template.clone(),
            parameters: self.parameters.clone(),
            uid: vcp.uid_bytes(),
            created: vcp.created,
            name: vcp.name.clone(),
        };
        Stored::inherited(rel.clone(), vcp.fence, heir)
    }
}

/// Loads layers, each once.
#[derive(Debug)]
pub(crate) struct Layers {
    store: SharedStore,
    keys: Keyspace,
    /// Weak: a set lives as long as a control plane that names it.
    sets: Mutex<HashMap<SetId, Weak<LayerSet>>>,
    loaded: Mutex<HashMap<ContentHash, Weak<LoadedLayer>>>,
}

#[derive(Serialize, Deserialize)]
struct Head {
    bytes: usize,
    chunks: usize,
}

impl Layers {
    pub fn new(store: SharedStore, keys: Keyspace) -> Self {
        Self { store, keys, sets: Mutex::default(), loaded: Mutex::default() }
    }

    /// The one set of these layers; nothing is loaded yet.
    pub fn set(&self, layers: &[ContentHash], parameters: Option<ContentHash>) -> Arc<LayerSet> {
        let id = SetId { layers: layers.into(), parameters };
        let mut sets = self.sets.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(set) = sets.get(&id).and_then(Weak::upgrade) {
            return set;
        }
        sets.retain(|_, set| set.strong_count() > 0);
        let set = Arc::new(LayerSet { id: id.clone(), content: OnceCell::new() });
        sets.insert(id, Arc::downgrade(&set));
        set
    }

    /// What a set holds, loaded by the first who asks.
    pub async fn content(&self, set: &LayerSet) -> Result<Arc<Inherited>, Error> {
        set.content.get_or_try_init(|| self.merge(&set.id)).await.cloned()
    }

    async fn merge(&self, id: &SetId) -> Result<Arc<Inherited>, Error> {
        let parameters = match &id.parameters {
            None => Parameters::default(),
            Some(hash) => Parameters::read(&self.read("parameters", *hash).await?)?,
        };
        let mut resources: HashMap<Box<str>, BTreeMap<Arc<str>, Arc<Template>>> = HashMap::new();
        for hash in &id.layers {
            let layer = self.layer(*hash).await?;
            for (tail, rel, template) in &layer.objects {
                if let Some(name) = template.parameters().find(|name| !parameters.has(name)) {
                    return Err(Error::Corrupt(format!("layer {hash} needs the parameter {name:?}")));
                }
                let objects = match resources.get_mut(tail.as_str()) {
                    Some(objects) => objects,
                    None => resources.entry(tail.as_str().into()).or_default(),
                };
                objects.insert(rel.clone(), template.clone());
            }
        }
        Ok(Arc::new(Inherited { resources, parameters: Arc::new(parameters) }))
    }

    async fn layer(&self, hash: ContentHash) -> Result<Arc<LoadedLayer>, Error> {
        if let Some(layer) = self.lock_loaded().get(&hash).and_then(Weak::upgrade) {
            return Ok(layer);
        }
        let layer = Arc::new(LoadedLayer::read(&self.read("layers", hash).await?)?);
        let mut loaded = self.lock_loaded();
        loaded.retain(|_, layer| layer.strong_count() > 0);
        loaded.insert(hash, Arc::downgrade(&layer));
        drop(loaded);
        Ok(layer)
    }

    fn lock_loaded(&self) -> std::sync::MutexGuard<'_, HashMap<ContentHash, Weak<LoadedLayer>>> {
        self.loaded.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn read(&self, kind: &str, hash: ContentHash) -> Result<Vec<u8>, Error> {
        let key = self.keys.content(kind, &hash.to_string());
        let missing = || Error::Corrupt(format!("{kind}/{hash} is missing or incomplete"));
        let head = self.store.get(key.as_bytes(), None).await?.kv.ok_or_else(missing)?;
        let head: Head = serde_json::from_slice(&head.value).map_err(|_| missing())?;
        let mut bytes = Vec::with_capacity(head.bytes);
        for chunk in 0..head.chunks {
            let key = format!("{key}/{chunk:06}");
            bytes.extend_from_slice(
                &self.store.get(key.as_bytes(), None).await?.kv.ok_or_else(missing)?.value,
            );
        }
        if ContentHash::of(&bytes) == hash { Ok(bytes) } else { Err(missing()) }
    }

    /// The layers that somebody names, as far as is known here.
    pub fn named(&self) -> HashSet<ContentHash> {
        let sets = self.sets.lock().unwrap_or_else(PoisonError::into_inner);
        let held = sets.iter().filter(|(_, set)| set.strong_count() > 0);
        held.flat_map(|(id, _)| id.layers.iter().copied()).collect()
    }

    /// Stores a layer, unless it is there.
    pub async fn ensure_layer(&self, layer: &Layer) -> Result<ContentHash, Error> {
        self.ensure("layers", layer.hash(), layer.bytes(), false).await
    }

    /// Stores a layer whatever is there.
    pub async fn write_layer(&self, layer: &Layer) -> Result<ContentHash, Error> {
        self.ensure("layers", layer.hash(), layer.bytes(), true).await
    }

    /// Stores parameters, unless they are there.
    pub async fn ensure_parameters(&self, parameters: &Parameters) -> Result<ContentHash, Error> {
        self.ensure("parameters", parameters.hash(), parameters.bytes(), false).await
    }

    async fn ensure(
        &self,
        kind: &str,
        hash: ContentHash,
        bytes: &[u8],
        anew: bool,
    ) -> Result<ContentHash, Error> {
        let key = self.keys.content(kind, &hash.to_string());
        if !anew && self.store.get(key.as_bytes(), None).await?.kv.is_some() {
            return Ok(hash);
        }
        let chunks = bytes.chunks(CHUNK);
        let head = Head { bytes: bytes.len(), chunks: chunks.len() };
        // The head last: what has one is complete. Two who do this at once write the same.
        for (i, chunk) in chunks.enumerate() {
            self.store.put(format!("{key}/{i:06}").into(), chunk.to_vec().into()).await?;
        }
        let head = serde_json::to_vec(&head).map_err(|e| Error::Invalid(e.to_string()))?;
        let unless = (!anew).then(|| Compare::absent(key.clone()));
        self.store.txn(Txn::new().when(unless).and_then([Op::put(key, head)])).await?;
        Ok(hash)
    }
}
