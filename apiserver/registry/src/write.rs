//! Creates, updates and deletes: one transaction each, fenced by the pin.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kplane_storage::{Compare, Error as StoreError, KeyValue, Op, Txn, TxnResponse};

use crate::doubt::Doubts;
use crate::encoded::TOMBSTONE_VALUE;
use crate::registry::Registry;
use crate::sets::ATTEMPTS;
use crate::{Encoded, Error, ObjectKey, Stored, Vcp, WriteError};

/// What else a write does, in the same transaction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Effects {
    /// What must hold for it; if it does not, the write is a conflict.
    pub compares: Vec<Compare>,
    /// What is done.
    pub ops: Vec<Op>,
}

impl From<Vec<Op>> for Effects {
    fn from(ops: Vec<Op>) -> Self {
        Self { compares: Vec::new(), ops }
    }
}

impl Effects {
    /// These and those.
    pub fn and(mut self, other: Self) -> Self {
        self.compares.extend(other.compares);
        self.ops.extend(other.ops);
        self
    }
}

enum Expected {
    /// There is none.
    Nothing,
    /// A tombstone, so none either.
    Tombstone(u64),
    /// It was last written then.
    Own(u64),
    /// It is a layer's, and the pin at this revision.
    Inherited(u64),
}

impl Expected {
    /// The last write of the key that is expected.
    fn written(&self) -> Option<u64> {
        match self {
            Self::Tombstone(at) | Self::Own(at) => Some(*at),
            Self::Nothing | Self::Inherited(_) => None,
        }
    }
}

enum Change {
    Put(Bytes, Option<Duration>),
    Delete,
}

impl Registry {
    /// Creates an object.
    pub async fn create(
        &self,
        vcp: &Vcp,
        key: &ObjectKey,
        object: Encoded,
        ttl: Option<Duration>,
        effects: Effects,
    ) -> Result<Stored, WriteError> {
        let bytes = self.bytes(object);
        let put = Change::Put(bytes.clone(), ttl);
        let revision = self.commit(vcp, key, Expected::Nothing, put, effects).await?;
        written(key, revision, &bytes)
    }

    /// Replaces an object, if it is still as expected.
    pub async fn update(
        &self,
        vcp: &Vcp,
        key: &ObjectKey,
        expected: &Stored,
        object: Encoded,
        ttl: Option<Duration>,
        effects: Effects,
    ) -> Result<Stored, WriteError> {
        let bytes = self.bytes(object);
        let put = Change::Put(bytes.clone(), ttl);
        let revision = self.commit(vcp, key, expectation(expected), put, effects).await?;
        written(key, revision, &bytes)
    }

    /// Deletes an object, if it is still as expected. Returns the revision of the deletion.
    pub async fn delete(
        &self,
        vcp: &Vcp,
        key: &ObjectKey,
        expected: &Stored,
        effects: Effects,
    ) -> Result<u64, WriteError> {
        self.commit(vcp, key, expectation(expected), Change::Delete, effects).await
    }

    /// Replacing an object beside another write of the same control plane, in its transaction: if the object is not as
    /// expected any more, that write is a conflict.
    pub fn beside(&self, vcp: &Vcp, key: &ObjectKey, expected: &Stored, object: Encoded) -> Effects {
        let core = &self.core;
        let object_key = core.keys.object(vcp.id, &key.resource, &key.rel());
        let compares = if expected.is_inherited() {
            // Its revision is that of the pin which names the layer.
            vec![
                Compare::unchanged(core.keys.pin(vcp.id), expected.revision()),
                Compare::absent(object_key.clone()),
            ]
        } else {
            vec![Compare::unchanged(object_key.clone(), expected.revision())]
        };
        Effects { compares, ops: vec![Op::Put { key: object_key, value: object.into_bytes(), ttl: None }] }
    }

    fn bytes(&self, object: Encoded) -> Bytes {
        match &self.core.marks {
            Some(marks) => object.into_marked(marks.next()),
            None => object.into_bytes(),
        }
    }

    async fn commit(
        &self,
        vcp: &Vcp,
        key: &ObjectKey,
        mut expected: Expected,
        change: Change,
        effects: Effects,
    ) -> Result<u64, WriteError> {
        let core = &self.core;
        let rel = key.rel();
        let mut vcp = core.current(vcp)?;
        let pin_key = core.keys.pin(vcp.id);
        let object_key = core.keys.object(vcp.id, &key.resource, &rel);
        let reads = || [Op::get(pin_key.clone()), Op::get(object_key.clone()), core.ticket.read()];
        let mut doubts = Doubts::new(core.progress.revision().max(expected.written().unwrap_or(0)));
        for _ in 0..ATTEMPTS {
            let inherited = core.layers.content(&vcp.layers).await?;
            let hides = inherited.resource(&key.resource.tail()).contains_key(&rel);
            let compare = match expected {
                // Only the store knows whether a tombstone is over the layer's object.
                Expected::Nothing if hides => None,
                Expected::Nothing => Some(Compare::absent(object_key.clone())),
                Expected::Tombstone(at) | Expected::Own(at) => {
                    Some(Compare::unchanged(object_key.clone(), at))
                }
                Expected::Inherited(fence) if hides && fence == vcp.fence => {
                    Some(Compare::absent(object_key.clone()))
                }
                Expected::Inherited(_) => None,
            };
            let response: TxnResponse = match compare {
                None => core.store.txn(Txn::new().and_then(reads())).await?,
                Some(compare) => {
                    let op = match &change {
                        Change::Put(value, ttl) => {
                            Op::Put { key: object_key.clone(), value: value.clone(), ttl: *ttl }
                        }
                        Change::Delete if hides => Op::put(object_key.clone(), TOMBSTONE_VALUE),
                        Change::Delete => Op::delete(object_key.clone()),
                    };
                    let ticket = core.ticket.current(&core.store).await?;
                    let pin = Compare::unchanged(pin_key.clone(), vcp.fence);
                    let txn = Txn::new()
                        .when([core.ticket.shown(ticket), pin, compare])
                        .when(effects.compares.iter().cloned())
                        .and_then([op.clone()])
                        .and_then(effects.ops.iter().cloned())
                        .or_else(reads());
                    let response = match core.store.txn(txn).await {
                        Err(StoreError::UnknownOutcome(why)) => {
                            match doubts.settle(core, &op, ticket, why).await? {
                                Some(revision) => return Ok(revision),
                                None => continue,
                            }
                        }
                        answer => answer?,
                    };
                    if response.succeeded {
                        return Ok(response.revision);
                    }
                    if response.kv(2).map(|kv| kv.mod_revision) != Some(ticket) {
                        core.ticket.replace(&core.store, ticket).await?;
                        continue;
                    }
                    response
                }
            };
            let now = core.judge(&vcp, response.kv(0))?;
            let moved = now.fence != vcp.fence;
            vcp = now;
            let found = response.kv(1);
            let current = core.effective(&vcp, &key.resource, &rel, found).await?;
            match (&expected, found) {
                (Expected::Nothing | Expected::Tombstone(_), _) if current.is_some() => {
                    return Err(WriteError::AlreadyExists);
                }
                (Expected::Nothing | Expected::Tombstone(_), Some(tombstone))
                    if !known(&expected, tombstone) =>
                {
                    expected = Expected::Tombstone(tombstone.mod_revision);
                    continue;
                }
                (Expected::Tombstone(_), None) => {
                    expected = Expected::Nothing;
                    continue;
                }
                (Expected::Own(at), Some(found)) if found.mod_revision == *at && moved => continue,
                (Expected::Nothing | Expected::Tombstone(_), _) if moved => continue,
                _ => {}
            }
            // Another write came between, to the object or to what the effects compare: what is read next must see it.
            core.progress.reach(response.revision).await?;
            return Err(WriteError::Conflict(current));
        }
        Err(WriteError::Store(Error::Unavailable("a write met too many others".into())))
    }
}

fn known(expected: &Expected, found: &KeyValue) -> bool {
    matches!(expected, Expected::Tombstone(at) if *at == found.mod_revision)
}

fn expectation(expected: &Stored) -> Expected {
    if expected.is_inherited() {
        Expected::Inherited(expected.revision())
    } else {
        Expected::Own(expected.revision())
    }
}

fn written(key: &ObjectKey, revision: u64, bytes: &Bytes) -> Result<Stored, WriteError> {
    let stored = Stored::own(key.rel(), revision, Arc::from(&bytes[..]))?;
    stored.ok_or_else(|| WriteError::Store(Error::Corrupt("an object was written as a tombstone".into())))
}
