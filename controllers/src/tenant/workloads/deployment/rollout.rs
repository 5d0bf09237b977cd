//! Moving pods from the old ReplicaSets to the new one.

use std::time::Duration;

use serde_json::Value;

use super::numbers::{counted, max_unavailable, new_replicas, replicas, total};
use super::sets::{by_age, revision};
use super::status::is_complete;
use super::{Generations, Rollout};
use crate::Error;
use crate::tenant::api::REPLICA_SETS;
use crate::tenant::value::{controller_of, count, is_deleting, number, text, uid};
use crate::tenant::workloads::pods::has_ended;

const AVAILABLE: &str = "/status/availableReplicas";

impl Rollout<'_> {
    /// One step of a rolling update.
    pub(super) async fn roll(&mut self) -> Result<Option<Duration>, Error> {
        let mut generations = self.generations(true).await?;
        if self.grow_new(&mut generations).await? || self.shrink_old(&mut generations).await? {
            return self.sync_rollout(&generations).await;
        }
        if is_complete(&self.deployment, &self.deployment["status"]) {
            self.clean_up(&generations).await?;
        }
        self.sync_rollout(&generations).await
    }

    async fn grow_new(&mut self, generations: &mut Generations) -> Result<bool, Error> {
        let wanted = replicas(&self.deployment);
        let Some(new) = generations.new.clone() else { return Ok(false) };
        let size = replicas(&new);
        let next = match size.cmp(&wanted) {
            std::cmp::Ordering::Equal => return Ok(false),
            std::cmp::Ordering::Greater => wanted,
            std::cmp::Ordering::Less => new_replicas(&self.deployment, generations.all(), size),
        };
        let (changed, written) = self.scale_set(&new, next).await?;
        generations.new = Some(written);
        Ok(changed)
    }

    /// Takes pods from the old sets: first those that do not work, then as many as the new ones make up for.
    async fn shrink_old(&mut self, generations: &mut Generations) -> Result<bool, Error> {
        if total(&generations.old) == 0 {
            return Ok(false);
        }
        let least = replicas(&self.deployment) - max_unavailable(&self.deployment);
        let new_missing = generations.new.as_ref().map_or(0, |new| replicas(new) - count(new, AVAILABLE));
        let most = total(generations.all()) - least - new_missing;
        if most <= 0 {
            return Ok(false);
        }
        by_age(&mut generations.old);
        let mut gone = 0;
        for at in 0..generations.old.len() {
            let set = generations.old[at].clone();
            let idle = replicas(&set) - count(&set, AVAILABLE);
            if gone >= most || replicas(&set) == 0 || idle <= 0 {
                continue;
            }
            let down = idle.min(most - gone);
            let (_, written) = self.scale_set(&set, replicas(&set) - down).await?;
            generations.old[at] = written;
            gone += down;
        }
        let spare = counted(generations.all(), AVAILABLE) - least;
        let mut taken = 0;
        for at in 0..generations.old.len() {
            let set = generations.old[at].clone();
            if taken >= spare || replicas(&set) == 0 {
                continue;
            }
            let down = replicas(&set).min(spare - taken);
            let (_, written) = self.scale_set(&set, replicas(&set) - down).await?;
            generations.old[at] = written;
            taken += down;
        }
        Ok(gone + taken > 0)
    }

    /// One step of a rollout that ends the old pods before it begins the new ones.
    pub(super) async fn recreate(&mut self, pods: Vec<Value>) -> Result<Option<Duration>, Error> {
        let mut generations = self.generations(false).await?;
        let mut changed = false;
        for at in 0..generations.old.len() {
            let set = generations.old[at].clone();
            if replicas(&set) > 0 {
                let (scaled, written) = self.scale_set(&set, 0).await?;
                generations.old[at] = written;
                changed |= scaled;
            }
        }
        if changed {
            return self.sync_rollout(&generations).await;
        }
        let of_new = |pod: &Value| {
            let owner = controller_of(pod).map_or("", |owner| text(owner, "/uid"));
            generations.new.as_ref().is_some_and(|new| uid(new) == owner)
        };
        let running = pods.iter().any(|pod| !of_new(pod) && !has_ended(pod));
        if running || counted(&generations.old, "/status/replicas") > 0 {
            return self.sync_rollout(&generations).await;
        }
        if generations.new.is_none() {
            generations = self.generations(true).await?;
        }
        if let Some(new) = generations.new.clone() {
            let (_, written) = self.scale_set(&new, replicas(&self.deployment)).await?;
            generations.new = Some(written);
        }
        if is_complete(&self.deployment, &self.deployment["status"]) {
            self.clean_up(&generations).await?;
        }
        self.sync_rollout(&generations).await
    }

    /// Deletes the oldest ReplicaSets without pods, down to as many as are to be kept.
    pub(super) async fn clean_up(&mut self, generations: &Generations) -> Result<(), Error> {
        let Some(kept) = number(&self.deployment, "/spec/revisionHistoryLimit")
            .filter(|n| *n != i64::from(i32::MAX))
            .and_then(|n| usize::try_from(n).ok())
        else {
            return Ok(());
        };
        let mut old: Vec<&Value> = generations.old.iter().filter(|set| !is_deleting(set)).collect();
        let many = old.len().saturating_sub(kept);
        old.sort_by_key(|set| revision(set));
        for set in old.into_iter().take(many) {
            let unseen = count(set, "/metadata/generation") > count(set, "/status/observedGeneration");
            if count(set, "/status/replicas") != 0 || replicas(set) != 0 || unseen {
                continue;
            }
            self.cx.api.delete(&REPLICA_SETS, set, None).await?;
        }
        Ok(())
    }
}
