//! Gets and lists.

use std::sync::Arc;
use std::time::Duration;

use kplane_storage::{KeyValue, Op, Txn};

use crate::hot::{HotSet, Span};
use crate::page::Place;
use crate::registry::{Core, Registry};
use crate::sets::ATTEMPTS;
use crate::{Error, ObjectKey, ResourceKey, Stored, Vcp, VcpState};

/// How long a read waits for a revision that is yet to come, as upstream does.
pub(crate) const FUTURE: Duration = Duration::from_secs(3);

/// How new a list must be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ResourceVersion {
    /// It shows every write acknowledged before the list began.
    #[default]
    Unset,
    /// Whatever is at hand.
    Any,
    /// As of this revision or a later one.
    NotOlderThan(u64),
    /// As of this very revision.
    Exact(u64),
}

/// Which objects of a resource are listed.
#[derive(Clone, Debug, Default)]
pub struct ListRequest {
    /// Those of one namespace; `None`: of all, or of a kind without namespaces.
    pub namespace: Option<Arc<str>>,
    /// Those of one name.
    pub name: Option<Arc<str>>,
    /// Not more than so many.
    pub limit: Option<usize>,
    /// Those behind this one, which need not exist: the end of the page before.
    pub after: Option<ObjectKey>,
    /// How many there are behind it at the one revision that is asked for, as the page before told: counting them takes
    /// longer than reading a page.
    pub behind: Option<u64>,
    /// How new.
    pub version: ResourceVersion,
}

/// Objects in the order of namespaces and names.
#[derive(Clone, Debug, Default)]
pub struct ListPage {
    /// The objects.
    pub items: Vec<Stored>,
    /// The revision they were read at; a next page is read at exactly this one.
    pub revision: u64,
    /// The last object, if there are more behind it.
    pub next: Option<ObjectKey>,
    /// How many more there are, if that is known.
    pub remaining: Option<u64>,
}

type Predicate<'a> = &'a (dyn Fn(&Stored) -> bool + Sync);

impl Registry {
    /// Reads an object. The answer shows every write acknowledged before.
    pub async fn get(&self, vcp: &Vcp, key: &ObjectKey) -> Result<Option<Stored>, Error> {
        let core = &self.core;
        if let Some(set) = core.hot(vcp, &key.resource).filter(|set| set.is_ready()) {
            core.progress.fresh().await?;
            core.present(vcp)?;
            // A set that ended meanwhile knows nothing; the store does.
            if let Ok(object) = set.get(&key.rel()) {
                return Ok(object);
            }
        }
        core.note_read(vcp, &key.resource);
        core.read_object(vcp, key).await
    }

    /// What a VCP's layers hold of an object, whether or not the VCP has one of its own over it.
    pub async fn inherited(&self, vcp: &Vcp, key: &ObjectKey) -> Result<Option<Stored>, Error> {
        self.core.layers.content(&vcp.layers).await?.get(vcp, &key.resource.tail(), &key.rel())
    }

    /// Lists objects.
    pub async fn list(
        &self,
        vcp: &Vcp,
        resource: &ResourceKey,
        request: ListRequest,
    ) -> Result<ListPage, Error> {
        self.core.list(vcp, resource, request, None).await
    }

    /// A mark that stays the same for as long as these resources do, as of a time after the call began; `None` when one
    /// of them is cold. What was made of the objects under one mark is good while the mark is.
    pub async fn mark(&self, vcp: &Vcp, resources: &[ResourceKey]) -> Result<Option<Vec<u64>>, Error> {
        self.core.progress.fresh().await?;
        let vcp = self.core.present(vcp)?;
        let mut mark = vec![vcp.fence];
        for resource in resources {
            match self.core.hot(&vcp, resource).and_then(|set| set.mark()) {
                Some((loaded, revision)) => mark.extend([loaded, revision]),
                None => return Ok(None),
            }
        }
        Ok(Some(mark))
    }

    /// Lists the objects that satisfy a predicate. A limit counts only those.
    pub async fn list_where(
        &self,
        vcp: &Vcp,
        resource: &ResourceKey,
        request: ListRequest,
        predicate: &(dyn Fn(&Stored) -> bool + Sync),
    ) -> Result<ListPage, Error> {
        self.core.list(vcp, resource, request, Some(predicate)).await
    }
}

impl Core {
    /// Reads an object and its VCP's pin from the store, together.
    pub async fn read_object(&self, vcp: &Vcp, key: &ObjectKey) -> Result<Option<Stored>, Error> {
        let rel = key.rel();
        let gets = [Op::get(self.keys.pin(vcp.id)), Op::get(self.keys.object(vcp.id, &key.resource, &rel))];
        let response = self.store.txn(Txn::new().and_then(gets)).await?;
        let vcp = self.judge(vcp, response.kv(0))?;
        self.effective(&vcp, &key.resource, &rel, response.kv(1)).await
    }

    /// The VCP as its pin has it.
    pub fn judge(&self, vcp: &Vcp, pin: Option<&KeyValue>) -> Result<Arc<Vcp>, Error> {
        let pin = pin.ok_or(Error::VcpGone)?;
        let now = if pin.mod_revision == vcp.fence { vcp.clone() } else { self.read_pin(pin)? };
        if now.state() == VcpState::Active { Ok(Arc::new(now)) } else { Err(Error::VcpGone) }
    }

    /// What is visible of a key with this value.
    pub async fn effective(
        &self,
        vcp: &Vcp,
        resource: &ResourceKey,
        rel: &Arc<str>,
        kv: Option<&KeyValue>,
    ) -> Result<Option<Stored>, Error> {
        match kv {
            Some(kv) => Stored::own(rel.clone(), kv.mod_revision, kv.value[..].into()),
            None => self.layers.content(&vcp.layers).await?.get(vcp, &resource.tail(), rel),
        }
    }

    async fn list(
        self: &Arc<Self>,
        vcp: &Vcp,
        resource: &ResourceKey,
        request: ListRequest,
        predicate: Option<Predicate<'_>>,
    ) -> Result<ListPage, Error> {
        let named;
        let predicate: Option<Predicate<'_>> = match &request.name {
            None => predicate,
            Some(name) => {
                named = |stored: &Stored| {
                    stored.name() == &**name && predicate.is_none_or(|predicate| predicate(stored))
                };
                Some(&named)
            }
        };
        let span =
            Span::new(request.namespace.as_deref(), request.after.as_ref().map(ObjectKey::rel).as_deref());
        match request.version {
            ResourceVersion::Exact(revision) => {
                let vcp = self.vcp_at(vcp, revision).await?;
                return self.list_store(&vcp, resource, &request, &span, predicate, revision).await;
            }
            ResourceVersion::NotOlderThan(revision) => self.reach_future(revision).await?,
            ResourceVersion::Unset | ResourceVersion::Any => {}
        }
        let mut failure = Error::VcpGone;
        for _ in 0..ATTEMPTS {
            let hot = self.hot(vcp, resource).filter(|set| set.is_ready());
            // One page, or one object, is not worth the whole.
            let one = request.namespace.is_some() && request.name.is_some();
            if hot.is_none() && (request.limit.is_some() || one) {
                let revision = self.progress.fresh().await?;
                let vcp = self.present(vcp)?;
                // What is known of the pin must hold at that revision.
                if vcp.fence > revision {
                    continue;
                }
                self.note_read(&vcp, resource);
                return self.list_store(&vcp, resource, &request, &span, predicate, revision).await;
            }
            let set = match hot {
                Some(set) => set,
                None => self.heat(vcp, resource).await?,
            };
            if request.version == ResourceVersion::Unset {
                self.progress.fresh().await?;
                self.present(vcp)?;
            }
            match self.list_hot(&set, resource, &request, &span, predicate).await {
                Ok(page) => return Ok(page),
                Err(error @ Error::Expired { .. }) => failure = error,
                Err(error) => return Err(error),
            }
        }
        Err(failure)
    }

    async fn list_hot(
        &self,
        set: &HotSet,
        resource: &ResourceKey,
        request: &ListRequest,
        span: &Span,
        predicate: Option<Predicate<'_>>,
    ) -> Result<ListPage, Error> {
        // Before the snapshot: all up to here is in it.
        let progress = self.progress.revision();
        let (items, revision, more, remaining) = match (predicate, &request.namespace, &request.name) {
            (None, ..) => {
                let snapshot = set.snapshot(span, request.limit)?;
                (snapshot.items, snapshot.revision, snapshot.remaining > 0, Some(snapshot.remaining))
            }
            (Some(predicate), Some(namespace), Some(name)) if request.after.is_none() => {
                let rel = crate::keys::rel(Some(namespace), name);
                let (object, revision) = set.get_at(&rel)?;
                (object.into_iter().filter(|o| predicate(o)).collect(), revision, false, None)
            }
            (Some(predicate), ..) => {
                let snapshot = set.snapshot(span, None)?;
                let mut items = Vec::new();
                let mut more = false;
                for (i, object) in snapshot.items.into_iter().enumerate() {
                    // Other requests are not to wait until all have been looked at.
                    if i % 128 == 127 {
                        tokio::task::yield_now().await;
                    }
                    if predicate(&object) {
                        if request.limit.is_some_and(|limit| items.len() >= limit) {
                            more = true;
                            break;
                        }
                        items.push(object);
                    }
                }
                (items, snapshot.revision, more, None)
            }
        };
        Ok(finish(resource, items, progress.max(revision), more, remaining))
    }

    async fn list_store(
        &self,
        vcp: &Vcp,
        resource: &ResourceKey,
        request: &ListRequest,
        span: &Span,
        predicate: Option<Predicate<'_>>,
        revision: u64,
    ) -> Result<ListPage, Error> {
        let inherited = self.layers.content(&vcp.layers).await?;
        if let (Some(namespace), Some(name), None) = (&request.namespace, &request.name, &request.after) {
            let rel = crate::keys::rel(Some(namespace), name);
            let key = self.keys.object(vcp.id, resource, &rel);
            let read = self.store.get(&key, Some(revision)).await;
            let kv = read.map_err(|e| Error::from(e).asked(revision))?.kv;
            let object = self.effective(vcp, resource, &rel, kv.as_ref()).await?;
            let items = object.into_iter().filter(|o| predicate.is_none_or(|wanted| wanted(o))).collect();
            return Ok(finish(resource, items, revision, false, None));
        }
        let behind = request.behind.filter(|_| matches!(request.version, ResourceVersion::Exact(_)));
        let place = Place { vcp, inherited: &inherited, resource, revision: Some(revision), behind };
        let page = self.page(place, span, request.limit, predicate).await?;
        Ok(finish(resource, page.items, revision, page.more, page.remaining))
    }

    /// The VCP as it was at a revision.
    async fn vcp_at(&self, vcp: &Vcp, revision: u64) -> Result<Arc<Vcp>, Error> {
        let progress = self.progress.revision();
        let known = self.current(vcp)?;
        if known.fence <= revision && revision <= progress {
            return Ok(known);
        }
        if revision > progress {
            self.reach_future(revision).await?;
        }
        let read = self.store.get(&self.keys.pin(vcp.id), Some(revision)).await;
        match read.map_err(|e| Error::from(e).asked(revision))?.kv {
            Some(pin) => Ok(Arc::new(self.read_pin(&pin)?)),
            None => Err(Error::Expired { requested: revision, oldest: known.fence }),
        }
    }

    /// Waits a little for a revision that may be yet to come.
    pub async fn reach_future(&self, revision: u64) -> Result<(), Error> {
        if self.progress.reach_within(revision, FUTURE).await {
            return Ok(());
        }
        Err(Error::TooLarge { requested: revision, current: self.progress.revision() })
    }
}

fn finish(
    resource: &ResourceKey,
    items: Vec<Stored>,
    revision: u64,
    more: bool,
    remaining: Option<u64>,
) -> ListPage {
    let last = items.last().filter(|_| more);
    let next = last.map(|last| ObjectKey::new(resource.clone(), last.namespace(), last.name()));
    ListPage { next, revision, remaining: remaining.filter(|_| more), items }
}
