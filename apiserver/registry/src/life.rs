//! The life of a VCP: how it is found, created, closed, opened again, moved to other layers and destroyed.

use std::sync::Arc;

use kplane_storage::{Compare, Op, RangeRequest, Txn, prefix_end};

use crate::registry::{Core, Registry};
use crate::sets::ATTEMPTS;
use crate::vcp::Pin;
use crate::write::Effects;
use crate::{ContentHash, CredentialPolicy, Error, Layer, Parameters, Vcp, VcpId, VcpState, WriteError};

/// As many keys are removed in one transaction.
const CHUNK: usize = 100;

/// A VCP to create.
#[derive(Clone, Debug)]
pub struct NewVcp {
    /// The uid of its record, which becomes its identity.
    pub uid: String,
    /// Its name in paths.
    pub name: String,
    /// When its record was created, in seconds since 1970.
    pub created: i64,
    /// What it starts from, the lowest layer first.
    pub layers: Vec<ContentHash>,
    /// What differs between VCPs of the same layers.
    pub parameters: Option<ContentHash>,
    /// Which credentials are good.
    pub credentials: CredentialPolicy,
}

impl Registry {
    /// Finds a VCP by its name. That there is none is said only of a time after the call began.
    pub async fn vcp(&self, name: &str) -> Result<Option<Arc<Vcp>>, Error> {
        if let Some(vcp) = self.core.directory.named(name).filter(|vcp| !vcp.is_root()) {
            return Ok(Some(vcp));
        }
        self.core.progress.fresh().await?;
        Ok(self.core.directory.named(name).filter(|vcp| !vcp.is_root()))
    }

    /// The control plane that administers the others.
    pub fn root(&self) -> Arc<Vcp> {
        // The pin of root is made when the registry is opened, and nothing removes it.
        self.core.directory.get(VcpId::ROOT).unwrap_or_else(|| self.core.root.clone())
    }

    /// A VCP by its identity, in whatever state it is, as of a time after the call began.
    pub async fn vcp_by_id(&self, id: VcpId) -> Result<Option<Arc<Vcp>>, Error> {
        self.core.progress.fresh().await?;
        Ok(self.core.directory.get(id))
    }

    /// Up to `limit` active VCPs, root among them, in the order of their identities from `id` on.
    pub fn vcps(&self, id: VcpId, limit: usize) -> Vec<Arc<Vcp>> {
        self.core.directory.from(id, limit)
    }

    /// Stores a layer, unless it is there.
    pub async fn ensure_layer(&self, layer: &Layer) -> Result<ContentHash, Error> {
        self.core.layers.ensure_layer(layer).await
    }

    /// Stores parameters, unless they are there.
    pub async fn ensure_parameters(&self, parameters: &Parameters) -> Result<ContentHash, Error> {
        self.core.layers.ensure_parameters(parameters).await
    }

    /// What the write that creates a VCP's record does besides: it makes the VCP.
    pub fn creation(&self, new: &NewVcp) -> Result<Effects, Error> {
        let id = VcpId::parse(&new.uid).ok_or_else(|| Error::Invalid(format!("{:?} is no uid", new.uid)))?;
        let pin = Pin {
            name: new.name.clone(),
            uid: crate::keys::uuid(id.bytes()),
            created: new.created,
            layers: new.layers.clone(),
            parameters: new.parameters,
            state: VcpState::Active,
            credentials: new.credentials.clone(),
        };
        let key = self.core.keys.pin(id);
        Ok(Effects { compares: vec![Compare::absent(key.clone())], ops: vec![Op::put(key, pin.encode()?)] })
    }

    /// What the write that changes a VCP's record does besides, when the VCP goes into another state or to other layers, or its
    /// credentials change: closed, nobody can write into it any more, whatever they know of it. Nothing, if all is so
    /// already.
    ///
    /// Of the layers, those `before` give way to those `after`; the others stay.
    pub fn change(
        &self,
        id: VcpId,
        state: VcpState,
        credentials: &CredentialPolicy,
        before: &[ContentHash],
        after: &[ContentHash],
    ) -> Result<Effects, Error> {
        let vcp = self.core.directory.get(id).ok_or(Error::VcpGone)?;
        let kept = vcp.layers.layers().iter().filter(|hash| !before.contains(hash)).copied();
        let mut layers: Vec<ContentHash> = kept.collect();
        for hash in after {
            if !layers.contains(hash) {
                layers.push(*hash);
            }
        }
        if vcp.state() == state && vcp.credentials() == credentials && layers == vcp.layers.layers() {
            return Ok(Effects::default());
        }
        let new = after.iter().filter(|hash| !vcp.layers.layers().contains(hash)).copied();
        let mut effects = self.core.rewrite(&vcp, |pin| {
            pin.state = state;
            pin.credentials = credentials.clone();
            pin.layers = layers;
        })?;
        effects.compares.extend(self.layers_stay(&new.collect::<Vec<_>>()));
        Ok(effects)
    }

    /// A VCP by its identity, as far as the feed has come: as new as the last read that waited for it.
    pub fn known(&self, id: VcpId) -> Option<Arc<Vcp>> {
        self.core.directory.get(id)
    }

    /// Creates a VCP by itself.
    pub async fn create_vcp(&self, new: &NewVcp) -> Result<Arc<Vcp>, WriteError> {
        let effects = self.creation(new)?;
        let response = self.core.store.txn(Txn::new().when(effects.compares).and_then(effects.ops)).await?;
        if !response.succeeded {
            return Err(WriteError::AlreadyExists);
        }
        self.core.progress.reach(response.revision).await?;
        let id = VcpId::parse(&new.uid).ok_or(WriteError::VcpGone)?;
        self.core.directory.get(id).ok_or(WriteError::VcpGone)
    }

    /// Closes a VCP: when this returns, nobody can write into it any more.
    pub async fn close_vcp(&self, id: VcpId, state: VcpState) -> Result<(), Error> {
        self.core.repin(id, |pin| pin.state = state).await
    }

    /// Opens a closed VCP again.
    pub async fn reopen_vcp(&self, id: VcpId) -> Result<(), Error> {
        self.core.repin(id, |pin| pin.state = VcpState::Active).await
    }

    /// Moves a VCP to other layers. Nothing is written if it has them.
    pub async fn set_layers(
        &self,
        id: VcpId,
        layers: &[ContentHash],
        parameters: Option<ContentHash>,
    ) -> Result<(), Error> {
        let set = |pin: &mut Pin| {
            pin.layers = layers.to_vec();
            pin.parameters = parameters;
        };
        self.core.repin(id, set).await
    }

    /// Removes the data of a VCP that is [`VcpState::Destroying`], in chunks, and then its pin. May be called again after
    /// it failed, and by several at once.
    pub async fn destroy_range(&self, id: VcpId) -> Result<(), Error> {
        let core = &self.core;
        let Some(vcp) = self.vcp_by_id(id).await? else { return Ok(()) };
        if vcp.state() != VcpState::Destroying {
            return Err(Error::Invalid(format!("the control plane {} is not being destroyed", vcp.name)));
        }
        let pin = core.keys.pin(id);
        let prefix = core.keys.vcp(id);
        let end = prefix_end(prefix.as_bytes());
        let unchanged = Compare::unchanged(pin.clone(), vcp.fence);
        loop {
            let mut request = RangeRequest::between(prefix.clone(), end.clone()).limit(CHUNK);
            request.keys_only = true;
            request.skip_count = true;
            let page = core.store.range(request).await?;
            let txn = if page.kvs.is_empty() {
                let empty = Compare::range_empty(prefix.clone(), end.clone());
                Txn::new().when([unchanged.clone(), empty]).and_then([Op::delete(pin.clone())])
            } else {
                let deletes = page.kvs.into_iter().map(|kv| Op::delete(kv.key));
                Txn::new().when([unchanged.clone()]).and_then(deletes)
            };
            let last = txn.compares.len() > 1;
            let response = core.store.txn(txn).await?;
            if !response.succeeded {
                core.progress.reach(response.revision).await?;
                return match core.directory.get(id) {
                    None => Ok(()),
                    Some(_) => Err(Error::Unavailable(format!("the pin of {id} was moved meanwhile"))),
                };
            }
            if last {
                return core.progress.reach(response.revision).await;
            }
        }
    }
}

impl Core {
    /// Writes a pin anew, if it is still the one known.
    fn rewrite(&self, vcp: &Vcp, change: impl FnOnce(&mut Pin)) -> Result<Effects, Error> {
        let mut pin = vcp.pin();
        change(&mut pin);
        let key = self.keys.pin(vcp.id);
        let compares = vec![Compare::unchanged(key.clone(), vcp.fence)];
        Ok(Effects { compares, ops: vec![Op::put(key, pin.encode()?)] })
    }

    async fn repin(&self, id: VcpId, change: impl Fn(&mut Pin)) -> Result<(), Error> {
        self.progress.fresh().await?;
        for _ in 0..ATTEMPTS {
            let vcp = self.directory.get(id).ok_or(Error::VcpGone)?;
            let (old, mut new) = (vcp.pin(), vcp.pin());
            change(&mut new);
            if old == new {
                return Ok(());
            }
            let effects = self.rewrite(&vcp, &change)?;
            let response = self.store.txn(Txn::new().when(effects.compares).and_then(effects.ops)).await?;
            self.progress.reach(response.revision).await?;
            if response.succeeded {
                return Ok(());
            }
        }
        Err(Error::Unavailable(format!("the pin of {id} is written by too many at once")))
    }
}
