//! Bringing the pods of a StatefulSet to where they should be, one step at a time.

use serde_json::Value;

use super::{COMPONENT, Look, identity};
use crate::Error;
use crate::tenant::api::PODS;
use crate::tenant::value::{count, is_deleting, label, name, scaled, text};
use crate::tenant::workloads::pods::{has_ended, is_ready};
use crate::tenant::workloads::revisions::REVISION_LABEL;

/// Whether to go on with the next pod.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Go {
    On,
    No,
}

impl Look<'_> {
    /// Whether a pod runs and answers.
    fn is_healthy(pod: &Value) -> bool {
        text(pod, "/status/phase") == "Running" && is_ready(pod) && !is_deleting(pod)
    }

    /// How many pods keep the revision before the present one.
    fn partition(&self) -> i64 {
        if text(self.set, "/spec/updateStrategy/type") == "OnDelete" {
            return 0;
        }
        count(self.set, "/spec/updateStrategy/rollingUpdate/partition")
    }

    /// Creates, deletes and replaces what has its turn.
    pub(super) async fn act(&mut self, pods: &[Value]) -> Result<(), Error> {
        self.tally(pods);
        if is_deleting(self.set) {
            return Ok(());
        }
        let (first, wanted) = (self.first_ordinal(), self.replicas());
        let in_range = |ordinal: i64| ordinal >= first && ordinal < first + wanted;
        let mut numbered: Vec<(i64, Value)> =
            pods.iter().filter_map(|pod| Some((identity::ordinal(self.set, pod)?, pod.clone()))).collect();
        numbered.sort_by_key(|(ordinal, _)| *ordinal);
        let (kept, mut condemned): (Vec<_>, Vec<_>) =
            numbered.into_iter().partition(|(ordinal, _)| in_range(*ordinal));
        condemned.reverse();
        let mut replicas: Vec<(i64, Option<Value>)> = (first..first + wanted)
            .map(|n| (n, kept.iter().find(|(ordinal, _)| *ordinal == n).map(|(_, pod)| pod.clone())))
            .collect();
        for (ordinal, pod) in &mut replicas {
            let (go, now) = self.replica(*ordinal, pod.take()).await?;
            *pod = now;
            if go == Go::No {
                return Ok(());
            }
        }
        let sick = replicas
            .iter()
            .filter_map(|(_, pod)| pod.as_ref())
            .chain(condemned.iter().rev().map(|(_, pod)| pod))
            .find(|pod| !Self::is_healthy(pod))
            .map(|pod| name(pod).to_owned());
        for (ordinal, pod) in &condemned {
            if self.condemned(*ordinal, pod, sick.as_deref()).await? == Go::No {
                return Ok(());
            }
        }
        self.roll(&replicas).await
    }

    /// One pod that should be there.
    async fn replica(&mut self, ordinal: i64, pod: Option<Value>) -> Result<(Go, Option<Value>), Error> {
        let ordered = self.is_ordered();
        let pod = match pod {
            Some(pod) if has_ended(&pod) => {
                if !is_deleting(&pod) {
                    let message = format!(
                        "StatefulSet {}/{} is recreating failed Pod {}",
                        self.cx.key.namespace,
                        name(self.set),
                        name(&pod)
                    );
                    self.cx.api.warning(COMPONENT, self.set, "RecreatingFailedPod", &message);
                    self.delete_pod(&pod).await?;
                }
                // The new one comes when this one is gone.
                return Ok((Go::No, Some(pod)));
            }
            Some(pod) => pod,
            None => {
                let keeps = ordinal < self.first_ordinal() + self.partition();
                let revision = if keeps { self.current.clone() } else { self.update.clone() };
                let made = identity::pod(self.set, &revision, ordinal);
                if self.is_stale(&made, ordinal).await? {
                    return Ok((Go::No, None));
                }
                let created = self.create_pod(&made, ordinal).await?;
                self.add("replicas", 1);
                self.count_revision(&created, 1);
                let go = if ordered { Go::No } else { Go::On };
                return Ok((go, Some(created)));
            }
        };
        if text(&pod, "/status/phase") == "Pending" && !is_deleting(&pod) {
            self.create_claims(&pod, ordinal).await?;
        }
        if ordered && (is_deleting(&pod) || !Self::is_healthy(&pod) || !self.is_available(&pod)) {
            return Ok((Go::No, Some(pod)));
        }
        self.own_claims(&pod, ordinal, false).await?;
        let mut changed = pod.clone();
        if identity::identify(self.set, &mut changed, ordinal) {
            let written = self.cx.api.update(&PODS, &changed).await?;
            return Ok((Go::On, Some(written)));
        }
        Ok((Go::On, Some(pod)))
    }

    /// One pod that is too many.
    async fn condemned(&mut self, ordinal: i64, pod: &Value, sick: Option<&str>) -> Result<Go, Error> {
        let ordered = self.is_ordered();
        if is_deleting(pod) {
            return Ok(if ordered { Go::No } else { Go::On });
        }
        // While another is not well, only that one may go.
        let well = Self::is_healthy(pod) && self.is_available(pod);
        if ordered && !well && sick.is_some_and(|sick| sick != name(pod)) {
            return Ok(Go::No);
        }
        self.own_claims(pod, ordinal, true).await?;
        self.delete_pod(pod).await?;
        self.count_revision(pod, -1);
        Ok(if ordered { Go::No } else { Go::On })
    }

    /// Replaces pods of an earlier revision, the last ones first.
    async fn roll(&mut self, replicas: &[(i64, Option<Value>)]) -> Result<(), Error> {
        if text(self.set, "/spec/updateStrategy/type") == "OnDelete" {
            return Ok(());
        }
        let most = self
            .set
            .pointer("/spec/updateStrategy/rollingUpdate/maxUnavailable")
            .and_then(|value| scaled(value, self.replicas(), true))
            .unwrap_or(1)
            .max(1);
        let least = self.first_ordinal() + self.partition();
        let mut away = 0;
        let update = name(&self.update).to_owned();
        // Those of the present revision that are not well yet use up what may be unavailable.
        for (ordinal, pod) in replicas.iter().rev() {
            let Some(pod) = pod.as_ref().filter(|_| *ordinal >= least) else { continue };
            let outdated = label(pod, REVISION_LABEL) != Some(update.as_str());
            if outdated && !is_deleting(pod) {
                if away >= most {
                    return Ok(());
                }
                self.delete_pod(pod).await?;
                self.count_revision(pod, -1);
                away += 1;
            } else if !Self::is_healthy(pod) || !self.is_available(pod) {
                away += 1;
            }
            if away >= most {
                return Ok(());
            }
        }
        Ok(())
    }
}
