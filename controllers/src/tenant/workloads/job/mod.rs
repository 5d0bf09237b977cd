//! Jobs: pods that run until so many have succeeded.
//!
//! Every pod carries a finalizer until it is counted. A pod that ended is first noted by its uid in the status, then let
//! go, then counted: so that each is counted once, whatever fails in between.

mod indexes;
mod make;
mod policy;
mod track;

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::pods::{self, Parent};
use crate::Error;
use crate::runtime::raw;
use crate::tenant::api::{JOBS, PODS};
use crate::tenant::queue::Next;
use crate::tenant::tasks::Cx;
use crate::tenant::value::{
    condition, controller_of, count, elapsed, has_finalizer, is_deleting, is_true, items, map_at, name,
    number, set_count, stamp, text, time, uid,
};
use policy::{Meaning, has_failed, is_indexed, is_suspended};

const COMPONENT: &str = "job-controller";
/// The finalizer of pods that are not counted yet.
pub const TRACKING: &str = "batch.kubernetes.io/job-tracking";
const OWN: &str = "kubernetes.io/job-controller";

/// How a Job ends.
#[derive(Clone, Debug)]
struct Ending {
    success: bool,
    reason: String,
    message: String,
}

/// One look at one Job.
struct Look<'a> {
    cx: &'a Cx<'a>,
    job: Value,
    /// The status as it was read.
    read: Value,
    pods: Vec<Value>,
    succeeded: BTreeSet<i64>,
    failed: BTreeSet<i64>,
    ending: Option<Ending>,
    wait: Option<Duration>,
    now: Timestamp,
}

/// Whether a Job is over.
pub fn is_finished(job: &Value) -> bool {
    is_true(job, "Complete") || is_true(job, "Failed")
}

/// Looks at one.
pub async fn reconcile(cx: &Cx<'_>) -> Result<Next, Error> {
    if cx.key.name.is_empty() {
        track::release_lost(cx).await?;
        return Ok(Next::Done);
    }
    let Some(job) = cx.object(&JOBS).await? else { return Ok(Next::Done) };
    if !matches!(text(&job, "/spec/managedBy"), "" | OWN) {
        return Ok(Next::Done);
    }
    let Some(selector) = pods::selector_of(&job, &JOBS) else { return Ok(Next::Done) };
    let parent = Parent { object: &job, kind: &JOBS, component: COMPONENT };
    if is_finished(&job) {
        let pods = cx.api.select(&PODS, &cx.key.namespace, &selector).await?;
        for pod in pods.iter().filter(|pod| controller_of(pod).is_some_and(|o| text(o, "/uid") == uid(&job)))
        {
            track::release(cx, pod).await?;
        }
        return finished(cx, &job).await;
    }
    let mut pods = pods::claim(cx, &parent, &PODS, &selector, |_| true).await?;
    for pod in &mut pods {
        track::hold(cx, pod).await?;
    }
    let mut look = Look::new(cx, job, pods);
    look.decide();
    let failure = look.act().await?;
    let result = look.track().await;
    pods::first(failure)?;
    result?;
    Ok(look.wait.map_or(Next::Done, Next::After))
}

/// A Job that is over goes when its time has come.
async fn finished(cx: &Cx<'_>, job: &Value) -> Result<Next, Error> {
    let Some(ttl) = number(job, "/spec/ttlSecondsAfterFinished") else { return Ok(Next::Done) };
    if is_deleting(job) {
        return Ok(Next::Done);
    }
    let ended = ["Complete", "Failed"]
        .into_iter()
        .filter(|kind| is_true(job, kind))
        .find_map(|kind| condition(job, kind).and_then(|c| time(c, "/lastTransitionTime")));
    let Some(ended) = ended else { return Ok(Next::Done) };
    let ttl = Duration::from_secs(ttl.max(0).unsigned_abs());
    let been = elapsed(ended, Timestamp::now());
    if been < ttl {
        return Ok(Next::After(ttl - been));
    }
    cx.api.delete(&JOBS, job, Some("Foreground")).await?;
    Ok(Next::Done)
}

impl<'a> Look<'a> {
    fn new(cx: &'a Cx<'a>, mut job: Value, pods: Vec<Value>) -> Self {
        let read = job["status"].clone();
        if !job["status"].is_object() {
            job["status"] = json!({});
        }
        let completions = number(&job, "/spec/completions").unwrap_or(0);
        let succeeded = indexes::parse(text(&job, "/status/completedIndexes"), completions);
        let failed = indexes::parse(text(&job, "/status/failedIndexes"), completions);
        Self { cx, job, read, pods, succeeded, failed, ending: None, wait: None, now: Timestamp::now() }
    }

    fn active(&self) -> Vec<Value> {
        self.pods.iter().filter(|pod| pods::is_active(pod)).cloned().collect()
    }

    fn terminating(&self) -> usize {
        self.pods.iter().filter(|pod| is_deleting(pod) && !pods::has_ended(pod)).count()
    }

    fn noted(&self, list: &str) -> BTreeSet<&str> {
        items(&self.job, &format!("/status/uncountedTerminatedPods/{list}"))
            .iter()
            .filter_map(Value::as_str)
            .collect()
    }

    /// Pods that ended and are not counted or noted yet.
    fn uncounted(&self, ended: impl Fn(&Value) -> bool) -> impl Iterator<Item = &Value> {
        let mut noted = self.noted("succeeded");
        noted.extend(self.noted("failed"));
        let noted: BTreeSet<String> = noted.into_iter().map(str::to_owned).collect();
        self.pods
            .iter()
            .filter(move |pod| has_finalizer(pod, TRACKING) && ended(pod) && !noted.contains(uid(pod)))
    }

    /// How many pods succeeded, counted or not.
    fn successes(&self) -> i64 {
        if is_indexed(&self.job) {
            let mut all = self.succeeded.clone();
            let completions = count(&self.job, "/spec/completions");
            all.extend(
                self.uncounted(|pod| text(pod, "/status/phase") == "Succeeded")
                    .filter_map(policy::index_of)
                    .filter(|index| *index < completions),
            );
            return i64::try_from(all.len()).unwrap_or(i64::MAX);
        }
        let fresh = self.uncounted(|pod| text(pod, "/status/phase") == "Succeeded").count();
        count(&self.job, "/status/succeeded") + many(self.noted("succeeded").len() + fresh)
    }

    /// How many pods failed, counted or not.
    fn failures(&self) -> i64 {
        let fresh = self
            .uncounted(|pod| has_failed(&self.job, pod))
            .filter(|pod| policy::meaning(&self.job, pod) != Meaning::Ignored)
            .count();
        count(&self.job, "/status/failed") + many(self.noted("failed").len() + fresh)
    }

    /// Decides whether the Job ends now.
    fn decide(&mut self) {
        let job = &self.job;
        let earlier = |kind: &str| condition(job, kind).filter(|c| text(c, "/status") == "True");
        let known = earlier("FailureTarget")
            .map(|c| (false, c))
            .or_else(|| earlier("SuccessCriteriaMet").map(|c| (true, c)));
        if let Some((success, c)) = known {
            self.ending = Some(Ending {
                success,
                reason: text(c, "/reason").to_owned(),
                message: text(c, "/message").to_owned(),
            });
            return;
        }
        let failure = |reason: &str, message: &str| {
            Some(Ending { success: false, reason: reason.into(), message: message.into() })
        };
        let failed_job =
            self.uncounted(|pod| has_failed(job, pod)).find_map(|pod| match policy::meaning(job, pod) {
                Meaning::FailsJob(why) => Some(why),
                _ => None,
            });
        if let Some(why) = failed_job {
            self.ending = failure("PodFailurePolicy", &why);
            return;
        }
        let limit = number(job, "/spec/backoffLimit").unwrap_or(6);
        let deadline = number(job, "/spec/activeDeadlineSeconds");
        let started = time(job, "/status/startTime");
        let until = deadline.zip(started).map(|(seconds, started)| {
            Duration::from_secs(seconds.max(0).unsigned_abs()).saturating_sub(elapsed(started, self.now))
        });
        let until = until.filter(|_| !is_suspended(job));
        if self.failures() > limit || policy::restarts_too_often(job, &self.pods) {
            self.ending = failure("BackoffLimitExceeded", "Job has reached the specified backoff limit");
        } else if until == Some(Duration::ZERO) {
            self.ending = failure("DeadlineExceeded", "Job was active longer than specified deadline");
        } else if let Some(until) = until {
            self.wait = self.wait.into_iter().chain([until]).min();
        }
        if self.ending.is_none() && is_indexed(&self.job) {
            self.decide_by_index();
        }
    }

    fn decide_by_index(&mut self) {
        let job = &self.job;
        let completions = count(job, "/spec/completions");
        let mut succeeded = self.succeeded.clone();
        succeeded.extend(
            self.uncounted(|pod| text(pod, "/status/phase") == "Succeeded").filter_map(policy::index_of),
        );
        let mut ending = policy::success(job, &succeeded).map(|message| Ending {
            success: true,
            reason: "SuccessPolicy".into(),
            message,
        });
        if let Some(limit) = number(job, "/spec/backoffLimitPerIndex") {
            let mut failed = self.failed.clone();
            for index in 0..completions {
                let gone = self.pods.iter().any(|pod| {
                    policy::index_of(pod) == Some(index)
                        && has_failed(job, pod)
                        && policy::meaning(job, pod) == Meaning::FailsIndex
                });
                if gone || make::failures_of_index(job, &self.pods, index) > limit {
                    failed.insert(index);
                }
            }
            let most = number(job, "/spec/maxFailedIndexes");
            if most.is_some_and(|most| many(failed.len()) > most) {
                ending = ending.or(Some(Ending {
                    success: false,
                    reason: "MaxFailedIndexesExceeded".into(),
                    message: "Job has exceeded the specified maximal number of failed indexes".into(),
                }));
            } else if !failed.is_empty() && many(failed.len() + succeeded.len()) >= completions {
                ending = ending.or(Some(Ending {
                    success: false,
                    reason: "FailedIndexes".into(),
                    message: "Job has failed indexes".into(),
                }));
            }
            self.failed = failed;
        }
        self.ending = ending;
    }

    /// Creates and deletes pods. Answers the first failure of those writes; the status is told in any case.
    async fn act(&mut self) -> Result<Option<kube::Error>, Error> {
        if self.job.pointer("/status/startTime").is_none() && !is_suspended(&self.job) {
            self.job["status"]["startTime"] = stamp(self.now).into();
            if let Some(seconds) = number(&self.job, "/spec/activeDeadlineSeconds") {
                let until = Duration::from_secs(seconds.max(0).unsigned_abs());
                self.wait = self.wait.into_iter().chain([until]).min();
            }
        }
        let job = self.job.clone();
        let parent = Parent { object: &job, kind: &JOBS, component: COMPONENT };
        let active = self.active();
        if self.ending.is_some() {
            let (_, failure) = pods::delete_many(&self.cx.api, &parent, active.iter().collect()).await;
            self.reread().await?;
            return Ok(failure);
        }
        if is_deleting(&job) {
            return Ok(None);
        }
        let failure = if is_suspended(&job) {
            self.drop_pods(&parent, active.iter().collect()).await?
        } else {
            self.fill(&parent, &active).await?
        };
        let done = match number(&job, "/spec/completions") {
            Some(completions) => self.successes() >= completions,
            None => self.successes() > 0 && self.active().is_empty(),
        };
        if done {
            let message = "Reached expected number of succeeded pods";
            self.ending =
                Some(Ending { success: true, reason: "CompletionsReached".into(), message: message.into() });
        } else if is_suspended(&job) {
            if self.set_condition("Suspended", "True", "JobSuspended", "Job suspended") {
                self.cx.api.normal(COMPONENT, &job, "Suspended", "Job suspended");
            }
        } else if is_true(&job, "Suspended") {
            self.set_condition("Suspended", "False", "JobResumed", "Job resumed");
            self.cx.api.normal(COMPONENT, &job, "Resumed", "Job resumed");
            self.job["status"]["startTime"] = stamp(self.now).into();
        }
        Ok(failure)
    }

    /// Brings the number of running pods to what is wanted.
    async fn fill(&mut self, parent: &Parent<'_>, active: &[Value]) -> Result<Option<kube::Error>, Error> {
        let job = parent.object;
        let parallelism = number(job, "/spec/parallelism").unwrap_or(1);
        let succeeded = self.successes();
        let running = many(active.len());
        let wanted = match number(job, "/spec/completions") {
            None if succeeded > 0 => running,
            None => parallelism,
            Some(completions) => (completions - succeeded - many(self.failed.len())).clamp(0, parallelism),
        };
        let mut done = self.succeeded.clone();
        done.extend(&self.failed);
        done.extend(
            self.uncounted(|pod| text(pod, "/status/phase") == "Succeeded").filter_map(policy::index_of),
        );
        let mut going = if is_indexed(job) { make::useless_indexes(job, active, &done) } else { Vec::new() };
        let too_many = usize::try_from(running - wanted).unwrap_or(0);
        if too_many > going.len() {
            let rest: Vec<Value> =
                active.iter().filter(|pod| !going.iter().any(|g| uid(g) == uid(pod))).cloned().collect();
            let more = pods::to_delete(&rest, &[], too_many - going.len(), self.now);
            let names: Vec<&str> = more.into_iter().map(uid).collect();
            going.extend(active.iter().filter(|pod| names.contains(&uid(pod))));
        }
        if !going.is_empty() {
            return self.drop_pods(parent, going).await;
        }
        let terminating = if policy::waits_for_failure(job) { many(self.terminating()) } else { 0 };
        let missing = usize::try_from(wanted - terminating - running).unwrap_or(0).min(pods::BURST);
        if missing == 0 {
            return Ok(None);
        }
        let per_index = number(job, "/spec/backoffLimitPerIndex").is_some();
        if !per_index && let Some(wait) = policy::wait(job, self.pods.iter(), self.now) {
            self.wait = self.wait.into_iter().chain([wait]).min();
            return Ok(None);
        }
        let made: Vec<Value> = if is_indexed(job) {
            make::missing_indexes(job, active, &done, missing)
                .into_iter()
                .filter_map(|index| {
                    let failures = per_index.then(|| make::failures_of_index(job, &self.pods, index));
                    let of_index = self.pods.iter().filter(|pod| policy::index_of(pod) == Some(index));
                    let wait = per_index.then(|| policy::wait(job, of_index, self.now)).flatten();
                    self.wait = self.wait.into_iter().chain(wait).min();
                    wait.is_none().then(|| make::pod(job, Some((index, failures))))
                })
                .collect()
        } else {
            vec![make::pod(job, None); missing]
        };
        let (created, failure) = pods::create_many(&self.cx.api, parent, made).await;
        self.pods.extend(created);
        Ok(failure)
    }

    /// Deletes pods that are not wanted: they are not counted.
    async fn drop_pods(
        &mut self,
        parent: &Parent<'_>,
        going: Vec<&Value>,
    ) -> Result<Option<kube::Error>, Error> {
        if going.is_empty() {
            return Ok(None);
        }
        for pod in &going {
            track::release(self.cx, pod).await?;
        }
        let failure = pods::delete_many(&self.cx.api, parent, going).await.1;
        self.reread().await?;
        Ok(failure)
    }

    /// Reads the pods again after some were deleted.
    async fn reread(&mut self) -> Result<(), Error> {
        let mut left = Vec::new();
        for pod in &self.pods {
            if let Some(now) = self.cx.api.get(&PODS, &self.cx.key.namespace, name(pod)).await?
                && uid(&now) == uid(pod)
            {
                left.push(now);
            }
        }
        self.pods = left;
        Ok(())
    }

    /// Sets a condition. Says whether anything changed.
    fn set_condition(&mut self, kind: &str, holds: &str, reason: &str, message: &str) -> bool {
        let list = map_at(&mut self.job, &["status"]).entry("conditions").or_insert_with(|| json!([]));
        if !list.is_array() {
            *list = json!([]);
        }
        let Some(list) = list.as_array_mut() else { return false };
        let now = stamp(self.now);
        let next = json!({
            "type": kind, "status": holds, "lastProbeTime": now, "lastTransitionTime": now,
            "reason": reason, "message": message,
        });
        match list.iter_mut().find(|c| text(c, "/type") == kind) {
            Some(known) if text(known, "/status") == holds => false,
            Some(known) => {
                *known = next;
                true
            }
            None => {
                list.push(next);
                true
            }
        }
    }

    /// Writes the status, if it is another.
    async fn write(&mut self, before: &mut Value) -> Result<(), Error> {
        if self.job["status"] == before["status"] {
            return Ok(());
        }
        let written = raw::optional(self.cx.api.update_status(&JOBS, &self.job).await)?;
        if let Some(written) = written {
            self.job = written.clone();
            *before = written;
        }
        Ok(())
    }

    /// Counts what runs.
    fn tally(&mut self) {
        let active = self.active();
        let ready = active.iter().filter(|pod| pods::is_ready(pod)).count();
        let terminating = self.terminating();
        let status = &mut self.job["status"];
        set_count(status, "active", many(active.len()));
        status["ready"] = many(ready).into();
        status["terminating"] = many(terminating).into();
    }
}

fn many(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}
