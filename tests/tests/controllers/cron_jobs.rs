//! CronJobs. Upstream's tests wait for minutes; here the last time of a schedule is set back, so that one is due at once.

use kplane_tests::{Client, eventually};
use serde_json::{Value, json};

use super::{SOON, list, name, setup, wait_event, wait_for, wait_until};

const CRON_JOBS: &str = "/apis/batch/v1/namespaces/default/cronjobs";
const JOBS: &str = "/apis/batch/v1/namespaces/default/jobs";

fn job_spec() -> Value {
    json!({ "template": { "spec": { "restartPolicy": "OnFailure",
        "containers": [{ "name": "c", "image": "registry.k8s.io/pause:3.10" }] } } })
}

fn cron_job(policy: &str, suspend: bool) -> Value {
    json!({
        "apiVersion": "batch/v1", "kind": "CronJob", "metadata": { "name": "cron" },
        "spec": { "schedule": "*/1 * * * ?", "concurrencyPolicy": policy, "suspend": suspend,
            "jobTemplate": { "spec": job_spec() } },
    })
}

/// A Job of the CronJob's that runs, as one of an earlier time would.
fn running(a: &Client, cron: &Value) -> Value {
    let owner = json!({ "apiVersion": "batch/v1", "kind": "CronJob", "name": "cron", "controller": true,
        "uid": cron["metadata"]["uid"] });
    let job = json!({ "apiVersion": "batch/v1", "kind": "Job",
        "metadata": { "name": "cron-earlier", "ownerReferences": [owner] }, "spec": job_spec() });
    a.post(JOBS, &job).ok()
}

/// Makes a CronJob, with an earlier Job that runs if asked for, and a time that is due.
fn due(a: &Client, policy: &str, with_running: bool) {
    // Not yet: first its state is played.
    let cron = a.post(CRON_JOBS, &cron_job(policy, true)).ok();
    let mut status = json!({ "lastScheduleTime": "2026-01-01T00:00:00Z" });
    if with_running {
        let job = running(a, &cron);
        status["active"] = json!([{ "apiVersion": "batch/v1", "kind": "Job", "name": name(&job),
            "namespace": "default", "uid": job["metadata"]["uid"] }]);
    }
    a.merge(&format!("{CRON_JOBS}/cron/status"), &json!({ "status": status })).ok();
    a.merge(&format!("{CRON_JOBS}/cron"), &json!({ "spec": { "suspend": false } })).ok();
}

#[test]
fn should_schedule_multiple_jobs_concurrently() {
    let (a, _server) = setup();
    due(&a, "Allow", true);
    wait_for(&a, JOBS, 2);
    let cron = wait_until(&a, &format!("{CRON_JOBS}/cron"), "both are active", |cron| {
        cron["status"]["active"].as_array().is_some_and(|active| active.len() == 2)
    });
    assert_ne!(cron["status"]["lastScheduleTime"], "2026-01-01T00:00:00Z");
    let jobs = list(&a, JOBS);
    let made = jobs.iter().find(|job| name(job) != "cron-earlier").expect("a new one");
    assert_eq!(made["metadata"]["ownerReferences"][0]["name"], "cron");
    assert!(made["metadata"]["annotations"]["batch.kubernetes.io/cronjob-scheduled-timestamp"].is_string());
    wait_event(&a, "cron", "SuccessfulCreate");
}

#[test]
fn should_replace_jobs_when_replace_concurrent() {
    let (a, _server) = setup();
    due(&a, "Replace", true);
    eventually("the earlier job is replaced", SOON, || {
        let jobs = list(&a, JOBS);
        jobs.len() == 1 && name(&jobs[0]) != "cron-earlier"
    });
}

#[test]
fn should_not_schedule_new_jobs_when_forbid_concurrent() {
    let (a, _server) = setup();
    due(&a, "Forbid", true);
    wait_event(&a, "cron", "JobAlreadyActive");
    assert_eq!(list(&a, JOBS).len(), 1);
    // When it is over the next has its turn.
    let now = json!({ "status": { "conditions": [
        { "type": "SuccessCriteriaMet", "status": "True" } ] } });
    a.merge(&format!("{JOBS}/cron-earlier/status"), &now).ok();
    wait_event(&a, "cron", "SawCompletedJob");
    wait_event(&a, "cron", "SuccessfulCreate");
}

#[test]
fn should_not_schedule_jobs_when_suspended() {
    let (a, _server) = setup();
    a.post(CRON_JOBS, &cron_job("Allow", true)).ok();
    let status = json!({ "status": { "lastScheduleTime": "2026-01-01T00:00:00Z" } });
    a.merge(&format!("{CRON_JOBS}/cron/status"), &status).ok();
    // What is seen after it has been looked at too.
    let other = json!({ "apiVersion": "batch/v1", "kind": "Job", "metadata": { "name": "other" }, "spec": job_spec() });
    a.post(JOBS, &other).ok();
    wait_until(&a, &format!("{JOBS}/other"), "it was looked at", |job| {
        job["status"]["startTime"].is_string()
    });
    assert_eq!(list(&a, JOBS).len(), 1, "none but the other");
    // The time is due all the while: once it may, it starts.
    a.merge(&format!("{CRON_JOBS}/cron"), &json!({ "spec": { "suspend": false } })).ok();
    wait_for(&a, JOBS, 2);
}
