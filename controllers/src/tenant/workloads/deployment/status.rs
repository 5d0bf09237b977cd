//! The status of a Deployment.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::numbers::{counted, max_unavailable, replicas, total};
use super::sets::{has_deadline, set_condition};
use super::{Generations, Rollout};
use crate::Error;
use crate::tenant::value::{condition, count, elapsed, flag, name, number, set_count, text, time};
use crate::tenant::workloads::pods::{generation, remove_condition};

const DONE: &str = "NewReplicaSetAvailable";
const TIMED_OUT: &str = "ProgressDeadlineExceeded";
const PAUSED: &str = "DeploymentPaused";

/// Whether all pods are of the present template, and available.
pub fn is_complete(deployment: &Value, status: &Value) -> bool {
    let wanted = replicas(deployment);
    count(status, "/updatedReplicas") == wanted
        && count(status, "/replicas") == wanted
        && count(status, "/availableReplicas") == wanted
        && count(status, "/observedGeneration") >= generation(deployment)
}

/// Whether anything moved since the last status.
fn progressed(before: &Value, now: &Value) -> bool {
    let old = |status: &Value| count(status, "/replicas") - count(status, "/updatedReplicas");
    let more = |field: &str| count(now, field) > count(before, field);
    more("/updatedReplicas") || old(now) < old(before) || more("/readyReplicas") || more("/availableReplicas")
}

fn of_status<'a>(status: &'a Value, kind: &str) -> Option<&'a Value> {
    status.get("conditions")?.as_array()?.iter().find(|c| text(c, "/type") == kind)
}

fn deadline(deployment: &Value) -> Duration {
    Duration::from_secs(count(deployment, "/spec/progressDeadlineSeconds").max(0).unsigned_abs())
}

fn timed_out(deployment: &Value, status: &Value, now: Timestamp) -> bool {
    let Some(progressing) = of_status(status, "Progressing") else { return false };
    match text(progressing, "/reason") {
        DONE => false,
        TIMED_OUT => true,
        _ => time(progressing, "/lastUpdateTime")
            .is_some_and(|since| elapsed(since, now) > deadline(deployment)),
    }
}

/// The counts, and whether there are as many pods as there must be.
fn counts(deployment: &Value, generations: &Generations, now: Timestamp) -> Value {
    let all = generations.all();
    let sum = |field: &str| counted(all.iter().copied(), field);
    let available = sum("/status/availableReplicas");
    let mut status = json!({});
    if let Some(conditions) = deployment["status"].get("conditions") {
        status["conditions"] = conditions.clone();
    }
    if let Some(collisions) = number(deployment, "/status/collisionCount") {
        status["collisionCount"] = collisions.into();
    }
    set_count(&mut status, "observedGeneration", generation(deployment));
    set_count(&mut status, "replicas", sum("/status/replicas"));
    set_count(&mut status, "updatedReplicas", counted(&generations.new, "/status/replicas"));
    set_count(&mut status, "readyReplicas", sum("/status/readyReplicas"));
    set_count(&mut status, "availableReplicas", available);
    set_count(&mut status, "unavailableReplicas", (total(all.iter().copied()) - available).max(0));
    // A set that nobody has looked at yet has had no pods that could end.
    let known = |set: &Value| {
        number(set, "/status/terminatingReplicas").is_some()
            || number(set, "/status/observedGeneration").is_none()
    };
    if all.iter().all(|set| known(set)) {
        status["terminatingReplicas"] = sum("/status/terminatingReplicas").into();
    }
    let (holds, reason, message) = if available >= replicas(deployment) - max_unavailable(deployment) {
        ("True", "MinimumReplicasAvailable", "Deployment has minimum availability.")
    } else {
        ("False", "MinimumReplicasUnavailable", "Deployment does not have minimum availability.")
    };
    set_condition(&mut status, "Available", holds, reason, message, now);
    status
}

/// What the status of a Deployment that rolls out should be.
fn rolling(deployment: &Value, generations: &Generations, now: Timestamp) -> Value {
    let mut status = counts(deployment, generations, now);
    let before = condition(deployment, "Progressing");
    if !has_deadline(deployment) {
        remove_condition(&mut status, "Progressing");
    }
    let was_done = count(&status, "/replicas") == count(&status, "/updatedReplicas")
        && before.is_some_and(|c| text(c, "/reason") == DONE);
    if has_deadline(deployment) && !was_done {
        let subject = match &generations.new {
            Some(new) => format!("ReplicaSet {:?}", name(new)),
            None => format!("Deployment {:?}", name(deployment)),
        };
        if is_complete(deployment, &status) {
            let message = format!("{subject} has successfully progressed.");
            set_condition(&mut status, "Progressing", "True", DONE, &message, now);
        } else if progressed(&deployment["status"], &status) {
            let since = before.filter(|c| text(c, "/status") == "True").cloned();
            remove_condition(&mut status, "Progressing");
            let message = format!("{subject} is progressing.");
            set_condition(&mut status, "Progressing", "True", "ReplicaSetUpdated", &message, now);
            if let Some(since) = since
                && let Some(list) = status.get_mut("conditions").and_then(Value::as_array_mut)
                && let Some(last) = list.last_mut()
            {
                last["lastTransitionTime"] = since["lastTransitionTime"].clone();
            }
        } else if timed_out(deployment, &status, now) {
            let message = format!("{subject} has timed out progressing.");
            set_condition(&mut status, "Progressing", "False", TIMED_OUT, &message, now);
        }
    }
    let failures = generations.new.iter().chain(&generations.old);
    match failures.filter_map(|set| condition(set, "ReplicaFailure")).next() {
        Some(failure) => {
            let field = |key: &str| text(failure, key);
            let at = time(failure, "/lastTransitionTime").unwrap_or(now);
            set_condition(
                &mut status,
                "ReplicaFailure",
                field("/status"),
                field("/reason"),
                field("/message"),
                at,
            );
        }
        None => {
            remove_condition(&mut status, "ReplicaFailure");
        }
    }
    status
}

impl Rollout<'_> {
    /// Notes that a Deployment was paused or resumed: that time does not count against its deadline.
    pub(super) async fn note_paused(&mut self) -> Result<(), Error> {
        if !has_deadline(&self.deployment) {
            return Ok(());
        }
        let reason = condition(&self.deployment, "Progressing").map_or("", |c| text(c, "/reason")).to_owned();
        let paused = flag(&self.deployment, "/spec/paused");
        if reason == TIMED_OUT || paused == (reason == PAUSED) {
            return Ok(());
        }
        if paused {
            self.set_condition("Progressing", "Unknown", PAUSED, "Deployment is paused");
        } else {
            self.set_condition("Progressing", "Unknown", "DeploymentResumed", "Deployment is resumed");
        }
        self.write_status().await
    }

    /// Writes the counts.
    pub(super) async fn sync_status(&mut self, generations: &Generations) -> Result<Option<Duration>, Error> {
        let status = counts(&self.deployment, generations, Timestamp::now());
        if self.unwritten || status != self.deployment["status"] {
            self.deployment["status"] = status;
            self.write_status().await?;
        }
        Ok(None)
    }

    /// Writes how far a rollout is. Answers when it has to be looked at again, because it may be stuck.
    pub(super) async fn sync_rollout(
        &mut self,
        generations: &Generations,
    ) -> Result<Option<Duration>, Error> {
        let now = Timestamp::now();
        let status = rolling(&self.deployment, generations, now);
        if self.unwritten || status != self.deployment["status"] {
            self.deployment["status"] = status;
            self.write_status().await?;
        }
        let status = &self.deployment["status"];
        let Some(progressing) = of_status(status, "Progressing").filter(|_| has_deadline(&self.deployment))
        else {
            return Ok(None);
        };
        if is_complete(&self.deployment, status) || matches!(text(progressing, "/reason"), TIMED_OUT | DONE) {
            return Ok(None);
        }
        let been = time(progressing, "/lastUpdateTime").map_or(Duration::ZERO, |since| elapsed(since, now));
        Ok(Some(deadline(&self.deployment).saturating_sub(been) + Duration::from_secs(1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deployment(status: Value) -> Value {
        json!({
            "metadata": { "name": "web", "generation": 1 },
            "spec": { "replicas": 1, "progressDeadlineSeconds": 600,
                "strategy": { "type": "RollingUpdate",
                    "rollingUpdate": { "maxSurge": "25%", "maxUnavailable": "25%" } } },
            "status": status,
        })
    }

    fn generations(available: i64) -> Generations {
        let mut new = json!({ "metadata": { "name": "web-1" }, "spec": { "replicas": 1 },
            "status": { "replicas": 1, "terminatingReplicas": 0 } });
        set_count(&mut new["status"], "readyReplicas", available);
        set_count(&mut new["status"], "availableReplicas", available);
        Generations { new: Some(new), old: Vec::new() }
    }

    #[test]
    fn a_rollout_progresses_then_is_done() {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let status = rolling(&deployment(json!({})), &generations(0), now);
        assert_eq!(status["unavailableReplicas"], 1);
        assert_eq!(of_status(&status, "Available").unwrap()["status"], "False");
        assert_eq!(of_status(&status, "Progressing").unwrap()["reason"], "ReplicaSetUpdated");
        let status = rolling(&deployment(status), &generations(1), now);
        assert_eq!(of_status(&status, "Progressing").unwrap()["reason"], DONE);
        assert_eq!(
            of_status(&status, "Progressing").unwrap()["message"],
            "ReplicaSet \"web-1\" has successfully progressed."
        );
        assert!(status.get("unavailableReplicas").is_none());
    }

    #[test]
    fn a_rollout_that_does_not_move_times_out() {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let status = rolling(&deployment(json!({})), &generations(0), now);
        let later: Timestamp = "2026-01-01T00:11:00Z".parse().unwrap();
        let status = rolling(&deployment(status), &generations(0), later);
        assert_eq!(of_status(&status, "Progressing").unwrap()["reason"], TIMED_OUT);
        assert_eq!(of_status(&status, "Progressing").unwrap()["status"], "False");
    }
}
