//! Scaling a Deployment without a rollout: its ReplicaSets share what comes or goes.

use std::time::Duration;

use serde_json::Value;

use super::numbers::{desired, is_saturated, max_surge, replicas, share, total};
use super::sets::{by_age, note_replicas};
use super::{COMPONENT, Generations, Rollout};
use crate::Error;
use crate::tenant::api::REPLICA_SETS;
use crate::tenant::value::{flag, name, text, time, uid};

impl Rollout<'_> {
    /// Whether the Deployment was scaled since its ReplicaSets were.
    pub(super) fn is_scaling(&self, generations: &Generations) -> bool {
        let wanted = replicas(&self.deployment);
        generations
            .all()
            .into_iter()
            .filter(|set| replicas(set) > 0)
            .any(|set| desired(set).is_some_and(|n| n != wanted))
    }

    /// Scales, and rolls nothing out.
    pub(super) async fn sync_scale(&mut self) -> Result<Option<Duration>, Error> {
        let mut generations = self.generations(false).await?;
        self.scale(&mut generations).await?;
        if flag(&self.deployment, "/spec/paused") {
            self.clean_up(&generations).await?;
        }
        self.sync_status(&generations).await
    }

    async fn scale(&mut self, generations: &mut Generations) -> Result<(), Error> {
        let wanted = replicas(&self.deployment);
        let active: Vec<Value> =
            generations.all().into_iter().filter(|set| replicas(set) > 0).cloned().collect();
        if active.len() <= 1 {
            by_age(&mut generations.old);
            // The only one with pods, or else the newest.
            let Some(set) =
                active.into_iter().next().or(generations.new.clone()).or(generations.old.last().cloned())
            else {
                return Ok(());
            };
            let (_, written) = self.scale_set(&set, wanted).await?;
            put(generations, written);
            return Ok(());
        }
        if is_saturated(&self.deployment, generations.new.as_ref()) {
            for set in generations.old.clone() {
                if replicas(&set) > 0 {
                    let (_, written) = self.scale_set(&set, 0).await?;
                    put(generations, written);
                }
            }
            return Ok(());
        }
        if text(&self.deployment, "/spec/strategy/type") == "Recreate" {
            return Ok(());
        }
        self.scale_in_proportion(generations, active).await
    }

    async fn scale_in_proportion(
        &mut self,
        generations: &mut Generations,
        mut active: Vec<Value>,
    ) -> Result<(), Error> {
        let wanted = replicas(&self.deployment);
        let allowed = if wanted > 0 { wanted + max_surge(&self.deployment) } else { 0 };
        let to_add = allowed - total(&active);
        // The largest first; of equal ones the newest when growing, the oldest when shrinking.
        active.sort_by(|a, b| {
            let age = |set: &Value| time(set, "/metadata/creationTimestamp");
            let ages = if to_add > 0 { age(b).cmp(&age(a)) } else { age(a).cmp(&age(b)) };
            replicas(b).cmp(&replicas(a)).then(ages)
        });
        let mut added = 0;
        let mut sizes = Vec::new();
        for set in &active {
            let part = share(&self.deployment, set, to_add, added);
            added += part;
            sizes.push(replicas(set) + part);
        }
        if let Some(first) = sizes.first_mut() {
            // What rounding left over.
            *first = (*first + to_add - added).max(0);
        }
        for (set, size) in active.iter().zip(sizes) {
            let (_, written) = self.scale_set(set, size).await?;
            put(generations, written);
        }
        Ok(())
    }

    /// Scales a ReplicaSet, and notes on it what its Deployment wants. Says whether its size is another, and answers what
    /// was written.
    pub(super) async fn scale_set(&mut self, set: &Value, size: i64) -> Result<(bool, Value), Error> {
        let before = replicas(set);
        let mut changed = set.clone();
        changed["spec"]["replicas"] = size.into();
        let noted = note_replicas(&self.deployment, &mut changed);
        if before == size && !noted {
            return Ok((false, changed));
        }
        let written = self.cx.api.update(&REPLICA_SETS, &changed).await?;
        self.replace(&written);
        if before != size {
            let direction = if size > before { "up" } else { "down" };
            let message = format!("Scaled {direction} replica set {} from {before} to {size}", name(set));
            self.cx.api.normal(COMPONENT, &self.deployment, "ScalingReplicaSet", &message);
        }
        Ok((before != size, written))
    }
}

fn put(generations: &mut Generations, written: Value) {
    let places = generations.old.iter_mut().chain(generations.new.as_mut());
    for place in places {
        if uid(place) == uid(&written) {
            *place = written;
            return;
        }
    }
}
