//! What a write adds to the usage of quotas goes into the transaction of the write itself: either both are stored or neither
//! is. So whoever counts anew and then writes what it counted, if the quota has not changed since it was read, can neither
//! lose a charge nor count one twice.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use kplane_machinery::{Status, object};
use kplane_registry::{Effects, Encoded, ObjectKey, ResourceKey, VcpId};
use serde_json::Value;
use tokio::sync::OwnedMutexGuard;

use super::admitting::Admission;
use super::cx::Cx;
use super::failures;
use super::objects::SCHEMA_EPOCH;
use super::write::MAX_ATTEMPTS;

const QUOTAS: &str = "resourcequotas";

/// What the write of this object does to quotas; nothing for one that is only tried.
pub async fn of(
    cx: &Cx,
    admission: &Admission<'_>,
    object: &Value,
    old: Option<&Value>,
) -> Result<Effects, Status> {
    for _ in 0..MAX_ATTEMPTS {
        let charged = admission.charge(object, old).await?;
        if charged.is_empty() || admission.is_dry_run() {
            return Ok(Effects::default());
        }
        if let Some(effects) = effects(cx, &charged).await? {
            return Ok(effects);
        }
    }
    Err(too_many(""))
}

/// 409: others were faster every time.
pub fn too_many(name: &str) -> Status {
    let quotas = kplane_machinery::GroupResource::new("", QUOTAS);
    Status::conflict(&quotas, name, "the usage was changed by others; please try again")
}

/// `None` when a quota is not any more as it was when it was charged.
async fn effects(cx: &Cx, charged: &[Value]) -> Result<Option<Effects>, Status> {
    let mut effects = Effects::default();
    for quota in charged {
        let key =
            ObjectKey::new(ResourceKey::new("", QUOTAS), Some(object::namespace(quota)), object::name(quota));
        let stored = cx.app.registry.get(&cx.vcp, &key).await.map_err(failures::store)?;
        let same = stored.filter(|stored| stored.revision().to_string() == object::resource_version(quota));
        let Some(stored) = same else { return Ok(None) };
        let encoded = Encoded::new(quota, SCHEMA_EPOCH).map_err(Status::internal)?;
        effects = effects.and(cx.app.registry.beside(&cx.vcp, &key, &stored, encoded));
    }
    Ok(Some(effects))
}

/// A namespace of a control plane.
type Place = (VcpId, Arc<str>);

/// Writes to a namespace whose charges met others', one after the other. Empty while nobody contends.
#[derive(Default)]
pub struct Queues(Mutex<HashMap<Place, Arc<tokio::sync::Mutex<()>>>>);

/// A turn of a queue, until it is dropped.
pub struct Ticket<'a> {
    queues: &'a Queues,
    place: Place,
    guard: Option<OwnedMutexGuard<()>>,
}

impl Queues {
    /// Waits for a turn.
    pub async fn enter(&self, vcp: VcpId, namespace: &str) -> Ticket<'_> {
        let place: Place = (vcp, namespace.into());
        let mut ticket = Ticket { queues: self, place: place.clone(), guard: None };
        let queue = self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(place).or_default().clone();
        ticket.guard = Some(queue.lock_owned().await);
        ticket
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        self.guard = None;
        let mut queues = self.queues.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Others that wait hold the queue as well.
        if queues.get(&self.place).is_some_and(|queue| Arc::strong_count(queue) == 1) {
            queues.remove(&self.place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_turn_at_a_time_and_nothing_is_kept() {
        let queues = Queues::default();
        let first = queues.enter(VcpId::ROOT, "a").await;
        let other = queues.enter(VcpId::ROOT, "b").await;
        let mut second = Box::pin(queues.enter(VcpId::ROOT, "a"));
        assert!(futures::poll!(&mut second).is_pending());
        drop(first);
        let second = second.await;
        // One that gives up while it waits leaves nothing behind either.
        let mut third = Box::pin(queues.enter(VcpId::ROOT, "a"));
        assert!(futures::poll!(&mut third).is_pending());
        drop(third);
        drop((second, other));
        assert!(queues.0.lock().unwrap().is_empty());
    }
}
