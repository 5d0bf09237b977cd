//! What the failures and successes of pods mean for their Job (no client required).

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use super::indexes;
use crate::tenant::value::{
    annotation, condition, count, elapsed, flag, is_deleting, items, label, name, namespace, number, text,
    time,
};

/// The index of a pod of an indexed Job.
pub const INDEX: &str = "batch.kubernetes.io/job-completion-index";
/// How often the index of a pod had failed when it was made.
pub const INDEX_FAILURES: &str = "batch.kubernetes.io/job-index-failure-count";
/// The first wait after a failure.
const FIRST_WAIT: Duration = Duration::from_secs(10);
/// The longest.
const LONGEST_WAIT: Duration = Duration::from_secs(600);

/// Whether each pod has an index of its own.
pub fn is_indexed(job: &Value) -> bool {
    text(job, "/spec/completionMode") == "Indexed"
}

/// The index of a pod.
pub fn index_of(pod: &Value) -> Option<i64> {
    annotation(pod, INDEX).or_else(|| label(pod, INDEX))?.parse().ok().filter(|n| *n >= 0)
}

/// Whether pods are replaced only once they have failed, and not as soon as they are deleted.
pub fn waits_for_failure(job: &Value) -> bool {
    text(job, "/spec/podReplacementPolicy") == "Failed" || job.pointer("/spec/podFailurePolicy").is_some()
}

/// Whether a pod counts as failed.
pub fn has_failed(job: &Value, pod: &Value) -> bool {
    match text(pod, "/status/phase") {
        "Failed" => true,
        "Succeeded" => false,
        // One that is deleted may never come to fail.
        _ => is_deleting(pod) && !waits_for_failure(job),
    }
}

/// What a failed pod means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// One more failure.
    Counts,
    /// Nothing.
    Ignored,
    /// The end of its index.
    FailsIndex,
    /// The end of the Job, for this reason.
    FailsJob(String),
}

/// What a failed pod means by the failure policy of its Job.
pub fn meaning(job: &Value, pod: &Value) -> Meaning {
    for (at, rule) in items(job, "/spec/podFailurePolicy/rules").iter().enumerate() {
        let action = text(rule, "/action");
        let Some(because) = matches(rule, pod) else { continue };
        return match action {
            "Ignore" => Meaning::Ignored,
            "FailIndex" => Meaning::FailsIndex,
            "FailJob" => Meaning::FailsJob(format!("{because} matching FailJob rule at index {at}")),
            _ => Meaning::Counts,
        };
    }
    Meaning::Counts
}

fn matches(rule: &Value, pod: &Value) -> Option<String> {
    let pod_name = format!("{}/{}", namespace(pod), name(pod));
    if let Some(codes) = rule.get("onExitCodes").filter(|c| c.is_object()) {
        let wanted = text(codes, "/containerName");
        let listed = |code: i64| items(codes, "/values").iter().any(|v| v.as_i64() == Some(code));
        let all = ["/status/containerStatuses", "/status/initContainerStatuses"];
        return all.into_iter().flat_map(|list| items(pod, list)).find_map(|container| {
            let code = number(container, "/state/terminated/exitCode").filter(|code| *code != 0)?;
            let named = wanted.is_empty() || wanted == text(container, "/name");
            let fits = if text(codes, "/operator") == "NotIn" { !listed(code) } else { listed(code) };
            (named && fits).then(|| {
                format!(
                    "Container {} for pod {pod_name} failed with exit code {code}",
                    text(container, "/name")
                )
            })
        });
    }
    items(rule, "/onPodConditions").iter().find_map(|wanted| {
        let kind = text(wanted, "/type");
        let found = condition(pod, kind)?;
        (text(found, "/status") == text(wanted, "/status"))
            .then(|| format!("Pod {pod_name} has condition {kind}"))
    })
}

/// The rule of the success policy that holds, if one does.
pub fn success(job: &Value, succeeded: &BTreeSet<i64>) -> Option<String> {
    let completions = count(job, "/spec/completions");
    items(job, "/spec/successPolicy/rules").iter().enumerate().find_map(|(at, rule)| {
        let wanted = text(rule, "/succeededIndexes");
        let chosen = indexes::parse(wanted, completions);
        let many = if wanted.is_empty() { succeeded.len() } else { succeeded.intersection(&chosen).count() };
        let least = number(rule, "/succeededCount").and_then(|n| usize::try_from(n).ok());
        let holds = match least {
            Some(least) => many >= least,
            None => !wanted.is_empty() && many == chosen.len(),
        };
        holds.then(|| format!("Matched rules at index {at}"))
    })
}

/// Whether pods that restart in place did so too often.
pub fn restarts_too_often(job: &Value, pods: &[Value]) -> bool {
    if text(job, "/spec/template/spec/restartPolicy") != "OnFailure" {
        return false;
    }
    let restarts: i64 = pods
        .iter()
        .filter(|pod| matches!(text(pod, "/status/phase"), "Running" | "Pending"))
        .flat_map(|pod| {
            items(pod, "/status/initContainerStatuses").iter().chain(items(pod, "/status/containerStatuses"))
        })
        .map(|container| count(container, "/restartCount"))
        .sum();
    let limit = number(job, "/spec/backoffLimit").unwrap_or(6);
    if limit == 0 { restarts > 0 } else { restarts >= limit }
}

/// When a pod ended.
fn ended_at(pod: &Value) -> Option<Timestamp> {
    let containers = items(pod, "/status/containerStatuses");
    containers
        .iter()
        .filter_map(|container| time(container, "/state/terminated/finishedAt"))
        .max()
        .or_else(|| condition(pod, "Ready").and_then(|c| time(c, "/lastTransitionTime")))
        .or_else(|| time(pod, "/metadata/deletionTimestamp"))
        .or_else(|| time(pod, "/metadata/creationTimestamp"))
}

/// How long to wait before a failed pod is replaced: longer after each failure that no success came after.
pub fn wait<'a>(
    job: &Value,
    pods: impl Iterator<Item = &'a Value> + Clone,
    now: Timestamp,
) -> Option<Duration> {
    let succeeded = |pod: &&Value| text(pod, "/status/phase") == "Succeeded";
    let last_success = pods.clone().filter(succeeded).filter_map(ended_at).max();
    let failures: Vec<Timestamp> = pods
        .filter(|pod| has_failed(job, pod))
        .filter_map(ended_at)
        .filter(|at| last_success.is_none_or(|success| *at > success))
        .collect();
    let last = failures.iter().max()?;
    let doublings = u32::try_from(failures.len() - 1).unwrap_or(u32::MAX).min(16);
    let wanted = FIRST_WAIT.saturating_mul(1 << doublings).min(LONGEST_WAIT);
    Some(wanted.saturating_sub(elapsed(*last, now))).filter(|wait| !wait.is_zero())
}

/// Whether a Job is not to run.
pub fn is_suspended(job: &Value) -> bool {
    flag(job, "/spec/suspend")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(phase: &str, code: i64) -> Value {
        json!({
            "metadata": { "name": "p", "namespace": "farm" },
            "status": { "phase": phase, "containerStatuses": [{ "name": "main",
                "state": { "terminated": { "exitCode": code, "finishedAt": "2026-01-01T00:00:00Z" } } }] },
        })
    }

    #[test]
    fn the_first_rule_that_matches_says_what_a_failure_means() {
        let rule = |action: &str, values: Value| {
            json!({ "action": action,
            "onExitCodes": { "operator": "In", "values": values } })
        };
        let job = json!({ "spec": { "podFailurePolicy": { "rules": [
            rule("Ignore", json!([1])), rule("FailJob", json!([1, 2])) ] } } });
        assert_eq!(meaning(&job, &pod("Failed", 1)), Meaning::Ignored);
        assert_eq!(
            meaning(&job, &pod("Failed", 2)),
            Meaning::FailsJob(
                "Container main for pod farm/p failed with exit code 2 matching FailJob rule at index 1"
                    .into()
            )
        );
        assert_eq!(meaning(&job, &pod("Failed", 3)), Meaning::Counts);
    }

    #[test]
    fn waits_double_until_a_success() {
        let job = json!({});
        let now = "2026-01-01T00:00:04Z".parse().unwrap();
        let failed = pod("Failed", 1);
        assert_eq!(wait(&job, [&failed].into_iter(), now), Some(Duration::from_secs(6)));
        assert_eq!(wait(&job, [&failed, &failed].into_iter(), now), Some(Duration::from_secs(16)));
        assert_eq!(wait(&job, [&failed, &pod("Succeeded", 0)].into_iter(), now), None);
    }

    #[test]
    fn success_is_what_the_policy_says() {
        let job = json!({ "spec": { "completions": 5, "successPolicy": { "rules": [
            { "succeededIndexes": "0-2", "succeededCount": 2 }, { "succeededIndexes": "4" } ] } } });
        let of = |list: &[i64]| success(&job, &list.iter().copied().collect());
        assert_eq!(of(&[0, 3]), None);
        assert_eq!(of(&[0, 2]).as_deref(), Some("Matched rules at index 0"));
        assert_eq!(of(&[4]).as_deref(), Some("Matched rules at index 1"));
    }
}
