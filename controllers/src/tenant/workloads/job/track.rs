//! Counting pods once: noting them, letting them go, counting them.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::policy::{self, Meaning, has_failed, is_indexed};
use super::{COMPONENT, Look, TRACKING, indexes, many};
use crate::Error;
use crate::runtime::raw;
use crate::tenant::api::{JOBS, PODS};
use crate::tenant::tasks::Cx;
use crate::tenant::value::{
    controller_of, count, has_finalizer, is_deleting, is_true, items, map_at, number, set_count, stamp, text,
    uid,
};
use crate::tenant::workloads::pods;

/// At most this many pods are noted at once.
const MOST_NOTED: usize = 500;

/// Takes the finalizer from a pod.
pub async fn release(cx: &Cx<'_>, pod: &Value) -> Result<(), Error> {
    if !has_finalizer(pod, TRACKING) {
        return Ok(());
    }
    let rest: Vec<&Value> = items(pod, "/metadata/finalizers").iter().filter(|f| *f != TRACKING).collect();
    let patch = json!({ "metadata": { "finalizers": rest } });
    raw::optional(cx.api.patch_unchanged(&PODS, pod, patch).await)?;
    Ok(())
}

/// Gives a pod that runs the finalizer: one that was adopted has none.
pub async fn hold(cx: &Cx<'_>, pod: &mut Value) -> Result<(), Error> {
    if has_finalizer(pod, TRACKING) || !pods::is_active(pod) {
        return Ok(());
    }
    let mut all = items(pod, "/metadata/finalizers").to_vec();
    all.push(TRACKING.into());
    let patch = json!({ "metadata": { "finalizers": all } });
    if let Some(held) = raw::optional(cx.api.patch_unchanged(&PODS, pod, patch).await)? {
        *pod = held;
    }
    Ok(())
}

/// Lets go of the pods of a namespace whose Job is gone: nobody will count them.
pub async fn release_lost(cx: &Cx<'_>) -> Result<(), Error> {
    let space = &*cx.key.namespace;
    let mut jobs: BTreeMap<String, String> = BTreeMap::new();
    for pod in cx.api.list(&PODS, space).await? {
        if !has_finalizer(&pod, TRACKING) {
            continue;
        }
        if let Some(owner) = controller_of(&pod) {
            if text(owner, "/kind") != JOBS.kind {
                continue;
            }
            let job_name = text(owner, "/name");
            if !jobs.contains_key(job_name) {
                let job = cx.api.get(&JOBS, space, job_name).await?;
                jobs.insert(job_name.to_owned(), job.as_ref().map_or("", uid).to_owned());
            }
            if jobs.get(job_name).is_some_and(|there| there == text(owner, "/uid")) {
                continue;
            }
        }
        release(cx, &pod).await?;
    }
    Ok(())
}

impl Look<'_> {
    /// Counts what ended, and tells how the Job is.
    pub(super) async fn track(&mut self) -> Result<(), Error> {
        let mut before = json!({ "status": self.read.clone() });
        self.settle();
        let (let_go, all_noted) = self.note();
        self.tally();
        self.announce();
        self.write(&mut before).await?;
        for pod in &let_go {
            release(self.cx, pod).await?;
        }
        let gone: Vec<String> = let_go.iter().map(|pod| uid(pod).to_owned()).collect();
        for pod in &mut self.pods {
            if gone.iter().any(|g| g == uid(pod)) {
                let rest: Vec<Value> =
                    items(pod, "/metadata/finalizers").iter().filter(|f| *f != TRACKING).cloned().collect();
                pod["metadata"]["finalizers"] = rest.into();
            }
        }
        self.settle();
        let finished = all_noted && self.finish();
        self.write(&mut before).await?;
        if finished {
            self.tell().await;
        }
        Ok(())
    }

    /// Counts what was noted and let go.
    fn settle(&mut self) {
        let held: Vec<String> = self
            .pods
            .iter()
            .filter(|pod| has_finalizer(pod, TRACKING))
            .map(|pod| uid(pod).to_owned())
            .collect();
        for list in ["succeeded", "failed"] {
            let noted = items(&self.job, &format!("/status/uncountedTerminatedPods/{list}")).to_vec();
            let (kept, counted): (Vec<Value>, Vec<Value>) =
                noted.into_iter().partition(|noted| held.iter().any(|held| noted == held));
            let total = count(&self.job, &format!("/status/{list}")) + many(counted.len());
            if !counted.is_empty() {
                set_count(&mut self.job["status"], list, total);
            }
            let map = map_at(&mut self.job, &["status", "uncountedTerminatedPods"]);
            if kept.is_empty() {
                map.remove(list);
            } else {
                map.insert(list.into(), kept.into());
            }
        }
    }

    /// Notes pods that ended. Answers those that can be let go once that is written, and whether these are all.
    fn note(&mut self) -> (Vec<Value>, bool) {
        let job = self.job.clone();
        let completions = number(&job, "/spec/completions").unwrap_or(i64::MAX);
        let noted: Vec<String> = ["succeeded", "failed"]
            .into_iter()
            .flat_map(|list| items(&job, &format!("/status/uncountedTerminatedPods/{list}")))
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect();
        let (mut succeeded, mut failed, mut let_go) = (Vec::new(), Vec::new(), Vec::new());
        let mut total = noted.len();
        let failing = self.ending.as_ref().is_some_and(|ending| !ending.success);
        let per_index = number(&job, "/spec/backoffLimitPerIndex").is_some();
        for pod in self.pods.iter().filter(|pod| has_finalizer(pod, TRACKING)) {
            let has_succeeded = text(pod, "/status/phase") == "Succeeded";
            let has_failed = has_failed(&job, pod);
            if !has_succeeded && !has_failed && !is_deleting(&job) && self.ending.is_none() {
                continue;
            }
            // The last failed pod of an index tells how often the index failed, until another does.
            if per_index && has_failed && self.ending.is_none() && self.is_last_of_index(pod) {
                continue;
            }
            if total >= MOST_NOTED {
                break;
            }
            let_go.push(pod.clone());
            if noted.iter().any(|noted| noted == uid(pod)) {
                continue;
            }
            let index = policy::index_of(pod);
            let in_range = !is_indexed(&job) || index.is_some_and(|index| index < completions);
            if has_succeeded {
                match index.filter(|_| is_indexed(&job)) {
                    // The index is enough to count it once.
                    Some(index) if in_range => {
                        self.succeeded.insert(index);
                    }
                    _ if is_indexed(&job) => {}
                    _ => {
                        succeeded.push(Value::from(uid(pod)));
                        total += 1;
                    }
                }
            } else if (has_failed || failing) && in_range && policy::meaning(&job, pod) != Meaning::Ignored {
                failed.push(Value::from(uid(pod)));
                total += 1;
            }
        }
        for (list, new) in [("succeeded", succeeded), ("failed", failed)] {
            if !new.is_empty() {
                let mut all = items(&self.job, &format!("/status/uncountedTerminatedPods/{list}")).to_vec();
                all.extend(new);
                map_at(&mut self.job, &["status", "uncountedTerminatedPods"]).insert(list.into(), all.into());
            }
        }
        if is_indexed(&self.job) {
            let status = &mut self.job["status"];
            set_count(status, "succeeded", many(self.succeeded.len()));
            let mut put = |key: &str, value: String| {
                let map = map_at(status, &[]);
                if value.is_empty() {
                    map.remove(key)
                } else {
                    map.insert(key.into(), value.into())
                };
            };
            put("completedIndexes", indexes::format(&self.succeeded));
            if per_index {
                put("failedIndexes", indexes::format(&self.failed));
            }
        }
        (let_go, total < MOST_NOTED)
    }

    fn is_last_of_index(&self, pod: &Value) -> bool {
        let Some(index) = policy::index_of(pod) else { return false };
        if self.succeeded.contains(&index) || self.failed.contains(&index) {
            return false;
        }
        let created = |pod: &Value| text(pod, "/metadata/creationTimestamp").to_owned();
        !self.pods.iter().any(|other| {
            uid(other) != uid(pod)
                && policy::index_of(other) == Some(index)
                && (created(other), uid(other)) > (created(pod), uid(pod))
        })
    }

    /// Says that the Job is about to end, before its pods are let go.
    fn announce(&mut self) {
        if let Some(ending) = self.ending.clone() {
            let kind = if ending.success { "SuccessCriteriaMet" } else { "FailureTarget" };
            self.set_condition(kind, "True", &ending.reason, &ending.message);
        }
    }

    /// Ends the Job, once all its pods ended and are counted. Says whether it did.
    fn finish(&mut self) -> bool {
        let Some(ending) = self.ending.clone() else { return false };
        let empty =
            |list: &str| items(&self.job, &format!("/status/uncountedTerminatedPods/{list}")).is_empty();
        let quiet = self.terminating() == 0 && self.active().is_empty();
        if !quiet || !empty("succeeded") || !empty("failed") || is_deleting(&self.job) {
            return false;
        }
        let kind = if ending.success { "Complete" } else { "Failed" };
        let ended = self.set_condition(kind, "True", &ending.reason, &ending.message);
        if ended && ending.success {
            self.job["status"]["completionTime"] = stamp(self.now).into();
        }
        self.tally();
        ended
    }

    async fn tell(&self) {
        let api = &self.cx.api;
        if is_true(&self.job, "Complete") {
            api.normal(COMPONENT, &self.job, "Completed", "Job completed");
        } else if let Some(ending) = &self.ending {
            api.warning(COMPONENT, &self.job, &ending.reason, &ending.message);
        }
    }
}
