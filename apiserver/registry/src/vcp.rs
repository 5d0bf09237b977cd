//! Virtual control planes: their pins in the store, and the directory of them in memory.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError, RwLock};

use kplane_storage::KeyValue;
use serde::{Deserialize, Serialize};

use crate::keys::uuid;
use crate::layer_set::Layers;
use crate::{ContentHash, Error, LayerSet, VcpId};

/// Where a VCP is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum VcpState {
    /// It is read and written.
    Active,
    /// Closed, with its data kept for adoption.
    Detached,
    /// Closed, and its data are being removed.
    Destroying,
}

/// Which of the credentials issued for a VCP are good. It says only what is not: most say nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CredentialPolicy {
    /// Only what was issued in this epoch is good.
    #[serde(skip_serializing_if = "is_zero", default)]
    pub epoch: u64,
    /// Users of whose certificates only one generation is good, or none. Those of other users are good.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub generations: BTreeMap<String, Option<String>>,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl CredentialPolicy {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// A virtual control plane: the tenant, carried from the route to the key.
#[derive(Clone, Debug)]
pub struct Vcp {
    /// Its immutable identity, under which its data are kept.
    pub id: VcpId,
    /// Its name in paths.
    pub name: Arc<str>,
    /// When it was created, in seconds since 1970.
    pub created: i64,
    /// The revision of its pin. A write is done only while the pin is still at it.
    pub fence: u64,
    /// What it starts from.
    pub layers: Arc<LayerSet>,
    pub(crate) state: VcpState,
    uid: [u8; 16],
    credentials: Option<Box<CredentialPolicy>>,
}

static NO_POLICY: CredentialPolicy = CredentialPolicy { epoch: 0, generations: BTreeMap::new() };

impl Vcp {
    /// Its uid, as Kubernetes writes uids.
    pub fn uid(&self) -> String {
        uuid(self.uid)
    }

    /// Whether this is root.
    pub fn is_root(&self) -> bool {
        self.id.is_root()
    }

    /// Where it is in its life.
    pub fn state(&self) -> VcpState {
        self.state
    }

    /// Which credentials are good.
    pub fn credentials(&self) -> &CredentialPolicy {
        self.credentials.as_deref().unwrap_or(&NO_POLICY)
    }

    pub(crate) fn uid_bytes(&self) -> [u8; 16] {
        self.uid
    }

    /// What its pin says.
    pub(crate) fn pin(&self) -> Pin {
        Pin {
            name: self.name.to_string(),
            uid: self.uid(),
            created: self.created,
            layers: self.layers.layers().to_vec(),
            parameters: self.layers.parameters(),
            state: self.state,
            credentials: self.credentials().clone(),
        }
    }

    /// Reads a VCP from its pin.
    pub(crate) fn from_pin(id: VcpId, kv: &KeyValue, layers: &Layers) -> Result<Self, Error> {
        let pin: Pin =
            serde_json::from_slice(&kv.value).map_err(|e| Error::Corrupt(format!("the pin of {id}: {e}")))?;
        let uid =
            VcpId::parse(&pin.uid).ok_or_else(|| Error::Corrupt(format!("the uid in the pin of {id}")))?;
        Ok(Self {
            id,
            name: pin.name.into(),
            created: pin.created,
            fence: kv.mod_revision,
            layers: layers.set(&pin.layers, pin.parameters),
            state: pin.state,
            uid: uid.bytes(),
            credentials: (!pin.credentials.is_default()).then(|| Box::new(pin.credentials)),
        })
    }
}

/// The value of a pin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Pin {
    pub name: String,
    pub uid: String,
    pub created: i64,
    pub layers: Vec<ContentHash>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub parameters: Option<ContentHash>,
    pub state: VcpState,
    #[serde(skip_serializing_if = "CredentialPolicy::is_default", default)]
    pub credentials: CredentialPolicy,
}

impl Pin {
    pub fn encode(&self) -> Result<Vec<u8>, Error> {
        serde_json::to_vec(self).map_err(|e| Error::Invalid(e.to_string()))
    }
}

/// All VCPs, kept current by the feed.
#[derive(Debug, Default)]
pub(crate) struct Directory {
    tables: RwLock<Tables>,
}

#[derive(Debug, Default)]
struct Tables {
    by_id: BTreeMap<VcpId, Arc<Vcp>>,
    /// The active ones.
    by_name: HashMap<Arc<str>, Arc<Vcp>>,
}

impl Tables {
    fn remove(&mut self, id: VcpId) -> Option<Arc<Vcp>> {
        let old = self.by_id.remove(&id)?;
        if self.by_name.get(&old.name).is_some_and(|named| named.id == id) {
            self.by_name.remove(&old.name);
        }
        Some(old)
    }

    fn insert(&mut self, vcp: Arc<Vcp>) {
        if vcp.state == VcpState::Active {
            self.by_name.insert(vcp.name.clone(), vcp.clone());
        }
        self.by_id.insert(vcp.id, vcp);
    }
}

impl Directory {
    fn read(&self) -> std::sync::RwLockReadGuard<'_, Tables> {
        self.tables.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, Tables> {
        self.tables.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn named(&self, name: &str) -> Option<Arc<Vcp>> {
        self.read().by_name.get(name).cloned()
    }

    pub fn get(&self, id: VcpId) -> Option<Arc<Vcp>> {
        self.read().by_id.get(&id).cloned()
    }

    pub fn len(&self) -> usize {
        self.read().by_id.len()
    }

    /// Up to `limit` active VCPs from `id` on.
    pub fn from(&self, id: VcpId, limit: usize) -> Vec<Arc<Vcp>> {
        let tables = self.read();
        let active = tables.by_id.range(id..).map(|(_, vcp)| vcp).filter(|vcp| vcp.state == VcpState::Active);
        active.take(limit).cloned().collect()
    }

    /// Takes in a pin that was written; returns what was known before.
    pub fn put(&self, vcp: Vcp) -> Option<Arc<Vcp>> {
        let mut tables = self.write();
        let old = tables.remove(vcp.id);
        tables.insert(Arc::new(vcp));
        old
    }

    pub fn remove(&self, id: VcpId) -> Option<Arc<Vcp>> {
        self.write().remove(id)
    }

    pub fn replace(&self, vcps: Vec<Vcp>) {
        let mut tables = Tables::default();
        tables.by_name.reserve(vcps.len());
        for vcp in vcps {
            tables.insert(Arc::new(vcp));
        }
        *self.write() = tables;
    }
}
