//! CronJobs: a Job at each time of a schedule.

use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::schedule::Schedule;
use crate::Error;
use crate::runtime::raw;
use crate::tenant::api::{CRON_JOBS, JOBS, is_terminating, words};
use crate::tenant::queue::Next;
use crate::tenant::tasks::Cx;
use crate::tenant::value::{
    controller_reference, flag, is_controlled_by, is_deleting, is_true, items, map_at, name, namespace,
    number, set_annotation, stamp, text, time, uid,
};

const COMPONENT: &str = "cronjob-controller";
/// The time that a Job was made for.
const SCHEDULED: &str = "batch.kubernetes.io/cronjob-scheduled-timestamp";
/// More missed times than this are told of.
const MANY_MISSED: i64 = 100;
/// So that it is not looked at a moment too early.
const LATE: Duration = Duration::from_millis(100);

/// One look at one CronJob.
struct Look<'a> {
    cx: &'a Cx<'a>,
    cron: Value,
    jobs: Vec<Value>,
    now: Timestamp,
}

/// Looks at one.
pub async fn reconcile(cx: &Cx<'_>) -> Result<Next, Error> {
    let Some(cron) = cx.object(&CRON_JOBS).await? else { return Ok(Next::Done) };
    let jobs = cx.api.list(&JOBS, &cx.key.namespace).await?;
    let jobs = jobs.into_iter().filter(|job| is_controlled_by(job, &cron)).collect();
    let before = cron["status"].clone();
    let mut look = Look { cx, cron, jobs, now: Timestamp::now() };
    look.clean_up().await?;
    look.settle().await?;
    let result = look.start().await;
    if look.cron["status"] != before {
        cx.api.update_status(&CRON_JOBS, &look.cron).await?;
    }
    Ok(result?.map_or(Next::Done, Next::After))
}

fn is_finished(job: &Value) -> bool {
    super::job::is_finished(job)
}

/// The time of a schedule that should be acted upon, if one passed since the last, and how many did.
fn missed(schedule: &Schedule, earliest: Timestamp, now: Timestamp) -> (Option<Timestamp>, i64) {
    let Some(first) = schedule.after(earliest).filter(|first| *first <= now) else { return (None, 0) };
    let Some(second) = schedule.after(first).filter(|second| *second <= now) else { return (Some(first), 1) };
    // The distance of the first two tells about how many there were, and where to begin looking for the last.
    let step = second.duration_since(first).as_secs().max(1);
    let passed = now.duration_since(first).as_secs() / step + 1;
    let near = SignedDuration::from_secs(now.duration_since(first).as_secs() - 2 * step);
    let mut last = second;
    let from = first + near;
    if from > second {
        // A schedule with uneven steps may have none so late: then it is looked for from the start.
        last = schedule.after(from).filter(|t| *t <= now).unwrap_or(second);
    }
    while let Some(next) = schedule.after(last).filter(|next| *next <= now) {
        last = next;
    }
    (Some(last), passed)
}

impl Look<'_> {
    fn active(&self) -> &[Value] {
        items(&self.cron, "/status/active")
    }

    fn forget(&mut self, gone: &str) {
        let rest: Vec<Value> = self.active().iter().filter(|r| text(r, "/uid") != gone).cloned().collect();
        if rest.is_empty() {
            map_at(&mut self.cron, &["status"]).remove("active");
        } else {
            self.cron["status"]["active"] = rest.into();
        }
    }

    fn normal(&self, reason: &str, message: &str) {
        self.cx.api.normal(COMPONENT, &self.cron, reason, message);
    }

    fn warning(&self, reason: &str, message: &str) {
        self.cx.api.warning(COMPONENT, &self.cron, reason, message);
    }

    /// Deletes the oldest finished Jobs, down to as many as are to be kept.
    async fn clean_up(&mut self) -> Result<(), Error> {
        for (kind, limit) in
            [("Complete", "successfulJobsHistoryLimit"), ("Failed", "failedJobsHistoryLimit")]
        {
            let Some(kept) = number(&self.cron, &format!("/spec/{limit}")) else { continue };
            let mut done: Vec<Value> =
                self.jobs.iter().filter(|job| is_true(job, kind) && !is_deleting(job)).cloned().collect();
            done.sort_by_cached_key(|job| (time(job, "/status/startTime"), name(job).to_owned()));
            let too_many = done.len().saturating_sub(usize::try_from(kept).unwrap_or(0));
            for job in done.into_iter().take(too_many) {
                self.delete(&job).await?;
            }
        }
        Ok(())
    }

    async fn delete(&mut self, job: &Value) -> Result<(), Error> {
        if let Err(error) = self.cx.api.delete(&JOBS, job, Some("Background")).await {
            let message = format!("Deleted job: {}", words(&error));
            self.warning("FailedDelete", &message);
            return Err(error.into());
        }
        self.jobs.retain(|known| uid(known) != uid(job));
        self.forget(uid(job));
        self.normal("SuccessfulDelete", &format!("Deleted job {}", name(job)));
        Ok(())
    }

    /// Brings the list of active Jobs to what there is.
    async fn settle(&mut self) -> Result<(), Error> {
        for job in self.jobs.clone() {
            let listed = self.active().iter().any(|r| text(r, "/uid") == uid(&job));
            if !listed && !is_finished(&job) {
                let message =
                    format!("Saw a job that the controller did not create or forgot: {}", name(&job));
                self.warning("UnexpectedJob", &message);
            } else if listed && is_finished(&job) {
                let kind = if is_true(&job, "Complete") { "Complete" } else { "Failed" };
                self.forget(uid(&job));
                let message = format!("Saw completed job: {}, condition: {kind}", name(&job));
                self.normal("SawCompletedJob", &message);
            }
            if let Some(done) = time(&job, "/status/completionTime").filter(|_| is_true(&job, "Complete"))
                && time(&self.cron, "/status/lastSuccessfulTime").is_none_or(|known| known < done)
            {
                self.cron["status"]["lastSuccessfulTime"] = stamp(done).into();
            }
        }
        for reference in self.active().to_vec() {
            if self.jobs.iter().any(|job| uid(job) == text(&reference, "/uid")) {
                continue;
            }
            let job_name = text(&reference, "/name");
            let there = self.cx.api.get(&JOBS, &self.cx.key.namespace, job_name).await?;
            if there.is_none_or(|job| uid(&job) != text(&reference, "/uid")) {
                self.normal("MissingJob", &format!("Active job went missing: {job_name}"));
                self.forget(text(&reference, "/uid"));
            }
        }
        Ok(())
    }

    async fn schedule(&self) -> Option<Schedule> {
        let zone_name = text(&self.cron, "/spec/timeZone");
        let zone = match zone_name {
            "" => TimeZone::UTC,
            named => match TimeZone::get(named) {
                Ok(zone) => zone,
                Err(error) => {
                    let message = format!("invalid timeZone: {named:?}: {error}");
                    self.warning("UnknownTimeZone", &message);
                    return None;
                }
            },
        };
        let text = text(&self.cron, "/spec/schedule");
        match Schedule::parse(text, zone) {
            Ok(schedule) => Some(schedule),
            Err(why) => {
                self.warning("UnparseableSchedule", &format!("unparseable schedule: {text:?} : {why}"));
                None
            }
        }
    }

    fn until_next(&self, schedule: &Schedule) -> Option<Duration> {
        let next = schedule.after(self.now)?;
        Some(Duration::try_from(next.duration_since(self.now)).unwrap_or_default() + LATE)
    }

    /// Makes the Job whose time has come. Answers when the next is due.
    async fn start(&mut self) -> Result<Option<Duration>, Error> {
        if is_deleting(&self.cron) || flag(&self.cron, "/spec/suspend") {
            return Ok(None);
        }
        let Some(schedule) = self.schedule().await else { return Ok(None) };
        let next = self.until_next(&schedule);
        let deadline = number(&self.cron, "/spec/startingDeadlineSeconds").map(SignedDuration::from_secs);
        let mut earliest = time(&self.cron, "/status/lastScheduleTime")
            .or_else(|| time(&self.cron, "/metadata/creationTimestamp"))
            .unwrap_or(self.now);
        if let Some(deadline) = deadline {
            earliest = earliest.max(self.now - deadline);
        }
        let (Some(due), many) = missed(&schedule, earliest, self.now) else { return Ok(next) };
        if many > MANY_MISSED {
            let message = "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew";
            self.warning("TooManyMissedTimes", message);
        }
        if deadline.is_some_and(|deadline| due + deadline < self.now) {
            let message = format!("Missed scheduled time to start a job: {}", stamp(due));
            self.warning("MissSchedule", &message);
            return Ok(next);
        }
        let job_name = format!("{}-{}", name(&self.cron), due.as_second() / 60);
        let listed = self.active().iter().any(|r| text(r, "/name") == job_name);
        if listed || time(&self.cron, "/status/lastScheduleTime") == Some(due) {
            return Ok(next);
        }
        match text(&self.cron, "/spec/concurrencyPolicy") {
            "Forbid" if !self.active().is_empty() => {
                let message =
                    "Not starting job because prior execution is running and concurrency policy is Forbid";
                self.normal("JobAlreadyActive", message);
                return Ok(next);
            }
            "Replace" => {
                let running: Vec<Value> = self
                    .jobs
                    .iter()
                    .filter(|job| self.active().iter().any(|r| text(r, "/uid") == uid(job)))
                    .cloned()
                    .collect();
                for job in running {
                    self.delete(&job).await?;
                }
            }
            _ => {}
        }
        if let Some(job) = self.create(&job_name, due).await? {
            let mut active = self.active().to_vec();
            active.push(json!({
                "kind": JOBS.kind, "namespace": namespace(&job), "name": name(&job), "uid": uid(&job),
                "apiVersion": JOBS.api_version, "resourceVersion": text(&job, "/metadata/resourceVersion"),
            }));
            map_at(&mut self.cron, &["status"]).insert("active".into(), active.into());
        }
        map_at(&mut self.cron, &["status"]).insert("lastScheduleTime".into(), stamp(due).into());
        Ok(next)
    }

    /// Creates the Job of a time. `None` if it is there and over.
    async fn create(&self, job_name: &str, due: Timestamp) -> Result<Option<Value>, Error> {
        let template = &self.cron["spec"]["jobTemplate"];
        let mut job = json!({
            "apiVersion": JOBS.api_version, "kind": JOBS.kind,
            "metadata": {
                "name": job_name, "namespace": namespace(&self.cron),
                "ownerReferences": [
                    controller_reference(&self.cron, CRON_JOBS.api_version, CRON_JOBS.kind)
                ],
            },
            "spec": template["spec"],
        });
        for field in ["labels", "annotations"] {
            if template["metadata"][field].is_object() {
                job["metadata"][field] = template["metadata"][field].clone();
            }
        }
        set_annotation(&mut job, SCHEDULED, &stamp(due));
        match self.cx.api.create(&JOBS, namespace(&self.cron), &job).await {
            Ok(created) => {
                self.normal("SuccessfulCreate", &format!("Created job {job_name}"));
                Ok(Some(created))
            }
            Err(error) if raw::is_conflict(&error) => {
                // It was made, and the status that says so was not written.
                let there = self.cx.api.get(&JOBS, namespace(&self.cron), job_name).await?;
                match there {
                    Some(there) if is_controlled_by(&there, &self.cron) => {
                        Ok((!is_finished(&there)).then_some(there))
                    }
                    _ => Err(error.into()),
                }
            }
            Err(error) => {
                if !is_terminating(&error) {
                    self.warning("FailedCreate", &format!("Error creating job: {}", words(&error)));
                }
                Err(error.into())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn the_last_missed_time_is_the_one_to_act_upon() {
        let schedule = Schedule::parse("*/5 * * * *", TimeZone::UTC).unwrap();
        let from = at("2026-01-01T00:01:00Z");
        assert_eq!(missed(&schedule, from, at("2026-01-01T00:04:00Z")), (None, 0));
        assert_eq!(
            missed(&schedule, from, at("2026-01-01T00:05:01Z")),
            (Some(at("2026-01-01T00:05:00Z")), 1)
        );
        assert_eq!(
            missed(&schedule, from, at("2026-01-01T00:12:00Z")),
            (Some(at("2026-01-01T00:10:00Z")), 2)
        );
        let (last, many) = missed(&schedule, from, at("2026-01-02T00:12:00Z"));
        assert_eq!(last, Some(at("2026-01-02T00:10:00Z")));
        assert!(many > MANY_MISSED);
    }
}
