//! StatefulSets: pods that have numbers, and keep their names and claims.

mod identity;
mod update;

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::pods::{self, Parent};
use super::revisions::{self, REVISION_LABEL};
use crate::Error;
use crate::tenant::api::{PODS, STATEFUL_SETS};
use crate::tenant::queue::Next;
use crate::tenant::tasks::Cx;
use crate::tenant::value::{count, is_deleting, label, name, number, set_count, text};

const COMPONENT: &str = "statefulset-controller";

/// One look at one StatefulSet.
struct Look<'a> {
    cx: &'a Cx<'a>,
    set: &'a Value,
    /// The revision that was in force before the present rollout.
    current: Value,
    /// The revision of the present template.
    update: Value,
    status: Value,
    /// When it has to be looked at again.
    wait: Option<Duration>,
    now: Timestamp,
}

/// Looks at one.
pub async fn reconcile(cx: &Cx<'_>) -> Result<Next, Error> {
    let Some(set) = cx.object(&STATEFUL_SETS).await? else { return Ok(Next::Done) };
    let Some(selector) = pods::selector_of(&set, &STATEFUL_SETS) else { return Ok(Next::Done) };
    let parent = Parent { object: &set, kind: &STATEFUL_SETS, component: COMPONENT };
    let mut known = revisions::of(cx, &parent, &selector).await?;
    let members = |pod: &Value| identity::ordinal(&set, pod).is_some();
    let pods = pods::claim(cx, &parent, &PODS, &selector, members).await?;
    let mut collisions = count(&set, "/status/collisionCount");
    let update = revisions::present(cx, &parent, &mut known, &mut collisions).await?;
    let current = known
        .iter()
        .find(|revision| name(revision) == text(&set, "/status/currentRevision"))
        .unwrap_or(&update)
        .clone();
    let mut status = json!({
        "observedGeneration": pods::generation(&set),
        "currentRevision": name(&current), "updateRevision": name(&update), "collisionCount": collisions,
    });
    if let Some(conditions) = set.pointer("/status/conditions") {
        status["conditions"] = conditions.clone();
    }
    let mut look = Look { cx, set: &set, current, update, status, wait: None, now: Timestamp::now() };
    // What was done so far is told even if the rest failed.
    let result = look.act(&pods).await;
    look.complete();
    if look.status != set["status"] {
        let mut changed = set.clone();
        changed["status"] = look.status.clone();
        cx.api.merge_status(&STATEFUL_SETS, &set, &changed).await?;
    }
    result?;
    let in_use = |revision: &Value| {
        [&look.current, &look.update].iter().any(|used| name(used) == name(revision))
            || pods.iter().any(|pod| label(pod, REVISION_LABEL) == Some(name(revision)))
    };
    revisions::clean_up(cx, &set, &known, in_use).await?;
    Ok(look.wait.map_or(Next::Done, Next::After))
}

impl Look<'_> {
    fn replicas(&self) -> i64 {
        number(self.set, "/spec/replicas").unwrap_or(1)
    }

    fn first_ordinal(&self) -> i64 {
        count(self.set, "/spec/ordinals/start")
    }

    /// Whether pods come and go one after the other.
    fn is_ordered(&self) -> bool {
        text(self.set, "/spec/podManagementPolicy") != "Parallel"
    }

    fn is_available(&mut self, pod: &Value) -> bool {
        let ready = text(pod, "/status/phase") == "Running";
        let (is, soon) = pods::availability(pod, count(self.set, "/spec/minReadySeconds"), self.now);
        if let Some(soon) = soon {
            self.wait = Some(self.wait.map_or(soon, |wait| wait.min(soon)));
        }
        ready && is
    }

    fn add(&mut self, field: &str, many: i64) {
        let now = count(&self.status, &format!("/{field}")) + many;
        self.status[field] = now.max(0).into();
    }

    /// Counts the pods that are there.
    fn tally(&mut self, pods: &[Value]) {
        for field in ["replicas", "availableReplicas"] {
            self.status[field] = 0.into();
        }
        for pod in pods {
            self.add("replicas", 1);
            if text(pod, "/status/phase") == "Running" && pods::is_ready(pod) {
                self.add("readyReplicas", 1);
                if self.is_available(pod) {
                    self.add("availableReplicas", 1);
                }
            }
            self.count_revision(pod, 1);
        }
    }

    /// Counts a pod under the revisions it was made from.
    fn count_revision(&mut self, pod: &Value, many: i64) {
        if is_deleting(pod) {
            return;
        }
        let of = label(pod, REVISION_LABEL).unwrap_or_default();
        if of == name(&self.current) {
            self.add("currentReplicas", many);
        }
        if of == name(&self.update) {
            self.add("updatedReplicas", many);
        }
    }

    /// A rollout is over when all pods are of the new revision and ready.
    fn complete(&mut self) {
        let of = |field: &str| count(&self.status, &format!("/{field}"));
        let all = of("replicas");
        if text(self.set, "/spec/updateStrategy/type") != "OnDelete"
            && of("updatedReplicas") == all
            && of("readyReplicas") == all
            && !is_deleting(self.set)
        {
            self.status["currentReplicas"] = all.into();
            self.status["currentRevision"] = name(&self.update).into();
        }
        for field in ["readyReplicas", "currentReplicas", "updatedReplicas"] {
            let now = count(&self.status, &format!("/{field}"));
            set_count(&mut self.status, field, now);
        }
    }
}
