//! DaemonSets: a pod on every node that it fits.

mod eligible;
mod rollout;

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::pods::{self, Parent};
use super::revisions::{self, REVISION_LABEL};
use crate::Error;
use crate::tenant::api::{DAEMON_SETS, NODES, PODS};
use crate::tenant::queue::Next;
use crate::tenant::tasks::{Cx, Holds, Task};
use crate::tenant::value::{
    annotation, count, is_deleting, label, map_at, name, namespace, set_count, text, time,
};
use eligible::Fit;

const COMPONENT: &str = "daemonset-controller";
/// The generation of the template, as an annotation of old and as a label of pods.
const TEMPLATE_GENERATION: &str = "deprecated.daemonset.template.generation";
const GENERATION_LABEL: &str = "pod-template-generation";

/// One look at one DaemonSet.
struct Look<'a> {
    cx: &'a Cx<'a>,
    set: &'a Value,
    nodes: Vec<Value>,
    /// By node.
    pods: BTreeMap<String, Vec<Value>>,
    /// The name of the present revision's hash.
    hash: String,
    now: Timestamp,
}

/// The nodes of a control plane changed: all its DaemonSets are looked at.
pub async fn all(cx: &Cx<'_>) -> Result<Next, Error> {
    cx.tasks.forget(&cx.key.cluster, "", Holds::DaemonSets);
    for set in cx.api.list(&DAEMON_SETS, "").await? {
        cx.tasks.note(&cx.key.cluster, "", Holds::DaemonSets);
        cx.tasks.add(&cx.key.cluster, Task::DaemonSet, namespace(&set), name(&set));
    }
    Ok(Next::Done)
}

/// Looks at one.
pub async fn reconcile(cx: &Cx<'_>) -> Result<Next, Error> {
    let Some(set) = cx.object(&DAEMON_SETS).await? else { return Ok(Next::Done) };
    let Some(selector) = pods::selector_of(&set, &DAEMON_SETS) else { return Ok(Next::Done) };
    if selector.is_empty() {
        let message = "This daemon set is selecting all pods. A non-empty selector is required.";
        cx.api.warning(COMPONENT, &set, "SelectingAll", message);
        return Ok(Next::Done);
    }
    if is_deleting(&set) {
        return Ok(Next::Done);
    }
    let parent = Parent { object: &set, kind: &DAEMON_SETS, component: COMPONENT };
    let mut known = revisions::of(cx, &parent, &selector).await?;
    let mut collisions = count(&set, "/status/collisionCount");
    let before = collisions;
    let current = revisions::present(cx, &parent, &mut known, &mut collisions).await?;
    let hash = label(&current, REVISION_LABEL).unwrap_or_default().to_owned();
    let mut by_node: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for pod in pods::claim(cx, &parent, &PODS, &selector, |_| true).await? {
        by_node.entry(eligible::node_of(&pod)).or_default().push(pod);
    }
    let nodes = cx.api.list(&NODES, "").await?;
    let mut look = Look { cx, set: &set, nodes, pods: by_node, hash, now: Timestamp::now() };
    let result = match look.manage().await {
        Ok(()) => look.roll().await,
        Err(error) => Err(error),
    };
    let (mut status, wait) = look.status();
    if collisions != before {
        status["collisionCount"] = collisions.into();
    }
    if status != set["status"] {
        let mut changed = set.clone();
        changed["status"] = status;
        cx.api.merge_status(&DAEMON_SETS, &set, &changed).await?;
    }
    result?;
    let in_use = |revision: &Value| {
        let hash = label(revision, REVISION_LABEL);
        name(revision) == name(&current)
            || look.pods.values().flatten().any(|pod| label(pod, REVISION_LABEL) == hash)
    };
    revisions::clean_up(cx, &set, &known, in_use).await?;
    Ok(wait.map_or(Next::Done, Next::After))
}

impl Look<'_> {
    fn parent(&self) -> Parent<'_> {
        Parent { object: self.set, kind: &DAEMON_SETS, component: COMPONENT }
    }

    fn on(&self, node: &str) -> &[Value] {
        self.pods.get(node).map_or(&[], Vec::as_slice)
    }

    fn min_ready(&self) -> i64 {
        count(self.set, "/spec/minReadySeconds")
    }

    /// Whether a pod is of the present template.
    fn is_present(&self, pod: &Value) -> bool {
        label(pod, REVISION_LABEL) == Some(self.hash.as_str())
            || annotation(self.set, TEMPLATE_GENERATION)
                .is_some_and(|generation| label(pod, GENERATION_LABEL) == Some(generation))
    }

    /// The pod for a node.
    fn pod_for(&self, node: &str) -> Value {
        let mut pod = pods::from_template(&self.set["spec"]["template"], &self.parent());
        let labels = map_at(&mut pod, &["metadata", "labels"]);
        labels.insert(REVISION_LABEL.into(), self.hash.as_str().into());
        if let Some(generation) = annotation(self.set, TEMPLATE_GENERATION) {
            labels.insert(GENERATION_LABEL.into(), generation.into());
        }
        eligible::bind(&mut pod, node);
        pod
    }

    /// Creates pods where one is missing, deletes those that are too many or on the wrong node.
    async fn manage(&mut self) -> Result<(), Error> {
        let mut missing = Vec::new();
        let mut going: Vec<Value> = Vec::new();
        let surge = rollout::max_surge(self.set, self.nodes.len()) > 0;
        for node in &self.nodes {
            let fit = eligible::fit(self.set, node);
            let all = self.on(name(node));
            if !fit.stays {
                going.extend(all.iter().filter(|pod| !is_deleting(pod)).cloned());
                continue;
            }
            let mut running: Vec<&Value> = Vec::new();
            for pod in all.iter().filter(|pod| !is_deleting(pod)) {
                if pods::has_ended(pod) {
                    let kind = if text(pod, "/status/phase") == "Failed" {
                        ("FailedDaemonPod", "failed", true)
                    } else {
                        ("SucceededDaemonPod", "succeeded", false)
                    };
                    let message = format!(
                        "Found {} daemon pod {}/{} on node {}, will try to kill it",
                        kind.1,
                        namespace(pod),
                        name(pod),
                        name(node)
                    );
                    let api = &self.cx.api;
                    if kind.2 {
                        api.warning(COMPONENT, self.set, kind.0, &message);
                    } else {
                        api.normal(COMPONENT, self.set, kind.0, &message);
                    }
                    going.push(pod.clone());
                } else {
                    running.push(pod);
                }
            }
            if fit.runs && all.is_empty() {
                missing.push(self.pod_for(name(node)));
            } else if running.len() > 1 && !surge {
                // The oldest stays.
                running.sort_by_key(|pod| time(pod, "/metadata/creationTimestamp"));
                going.extend(running.into_iter().skip(1).cloned());
            }
        }
        // The nodes of these are gone.
        for (node, pods) in &self.pods {
            if !node.is_empty() && !self.nodes.iter().any(|known| name(known) == node) {
                going.extend(pods.iter().filter(|pod| !is_deleting(pod)).cloned());
            }
        }
        missing.truncate(pods::BURST);
        let parent = Parent { object: self.set, kind: &DAEMON_SETS, component: COMPONENT };
        let (created, failure) = pods::create_many(&self.cx.api, &parent, missing).await;
        for pod in created {
            self.pods.entry(eligible::node_of(&pod)).or_default().push(pod);
        }
        let (_, other) = pods::delete_many(&self.cx.api, &parent, going.iter().collect()).await;
        pods::first(failure.or(other))
    }

    /// What the status should be, and when it has to be looked at again.
    fn status(&self) -> (Value, Option<std::time::Duration>) {
        let (mut desired, mut current, mut wrong, mut ready, mut available, mut updated) = (0, 0, 0, 0, 0, 0);
        let mut wait: Option<std::time::Duration> = None;
        for node in &self.nodes {
            let Fit { runs, .. } = eligible::fit(self.set, node);
            let all = self.on(name(node));
            if !runs {
                wrong += i64::from(!all.is_empty());
                continue;
            }
            desired += 1;
            let oldest = all.iter().min_by_key(|pod| {
                (is_deleting(pod), !pods::is_ready(pod), time(pod, "/metadata/creationTimestamp"))
            });
            let Some(pod) = oldest else { continue };
            current += 1;
            if pods::is_ready(pod) {
                ready += 1;
                let (is, soon) = pods::availability(pod, self.min_ready(), self.now);
                available += i64::from(is);
                wait = wait.into_iter().chain(soon).min();
            }
            updated += i64::from(self.is_present(pod));
        }
        let mut status = json!({
            "currentNumberScheduled": current, "numberMisscheduled": wrong, "desiredNumberScheduled": desired,
            "numberReady": ready,
        });
        set_count(&mut status, "observedGeneration", pods::generation(self.set));
        set_count(&mut status, "updatedNumberScheduled", updated);
        set_count(&mut status, "numberAvailable", available);
        set_count(&mut status, "numberUnavailable", desired - available);
        for kept in ["conditions", "collisionCount"] {
            if let Some(value) = self.set["status"].get(kept) {
                status[kept] = value.clone();
            }
        }
        (status, wait)
    }
}

/// A whole number of nodes, or a share of them.
fn part(set: &Value, field: &str, total: usize) -> i64 {
    let total = i64::try_from(total).unwrap_or(i64::MAX);
    set.pointer(&format!("/spec/updateStrategy/rollingUpdate/{field}"))
        .and_then(|value| crate::tenant::value::scaled(value, total, true))
        .unwrap_or(0)
}
