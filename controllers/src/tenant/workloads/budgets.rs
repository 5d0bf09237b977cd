//! PodDisruptionBudgets: how many of the pods they select may be disturbed now.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use kplane_machinery::labels::Selector;
use serde_json::{Map, Value, json};

use super::pods::{has_ended, is_ready};
use crate::Error;
use crate::tenant::api::{
    BUDGETS, DEPLOYMENTS, JOBS, PODS, REPLICA_SETS, REPLICATION_CONTROLLERS, STATEFUL_SETS,
};
use crate::tenant::object::object_path;
use crate::tenant::queue::Next;
use crate::tenant::tasks::{Cx, Holds};
use crate::tenant::value::{
    condition, controller_of, count, elapsed, is_deleting, name, number, scaled, stamp, text, uid,
};

const COMPONENT: &str = "controllermanager";
/// How long a pod that was to be disturbed counts as gone before it is.
const DISTURBED: Duration = Duration::from_secs(120);

/// What a budget comes to.
#[derive(Debug, PartialEq, Eq)]
struct Count {
    expected: i64,
    desired: i64,
    healthy: i64,
}

/// Looks at those of a namespace.
pub async fn reconcile(cx: &Cx<'_>) -> Result<Next, Error> {
    let space = &*cx.key.namespace;
    cx.tasks.forget(&cx.key.cluster, space, Holds::Budgets);
    let budgets = cx.api.list(&BUDGETS, space).await?;
    if budgets.is_empty() {
        return Ok(Next::Done);
    }
    cx.tasks.note(&cx.key.cluster, space, Holds::Budgets);
    let pods: Vec<Value> =
        cx.api.list(&PODS, space).await?.into_iter().filter(|pod| !has_ended(pod)).collect();
    let mut wait = None;
    let mut failure = None;
    for budget in budgets.iter().filter(|budget| !is_deleting(budget)) {
        match one(cx, budget, &pods).await {
            Ok(soon) => wait = wait.into_iter().chain(soon).min(),
            Err(error) => failure = failure.or(Some(error)),
        }
    }
    match failure {
        Some(error) => Err(error),
        None => Ok(wait.map_or(Next::Done, Next::After)),
    }
}

async fn one(cx: &Cx<'_>, budget: &Value, all: &[Value]) -> Result<Option<Duration>, Error> {
    let selector = match Selector::from_label_selector(budget.pointer("/spec/selector")) {
        Ok(selector) => selector,
        Err(why) => {
            tracing::debug!(budget = name(budget), why, "a selector cannot be read");
            return Ok(None);
        }
    };
    let pods: Vec<&Value> = all.iter().filter(|pod| selector.matches_object(pod)).collect();
    let now = Timestamp::now();
    let (disturbed, wait) = disturbed(budget, &pods, now);
    let healthy = pods
        .iter()
        .filter(|pod| !is_deleting(pod) && is_ready(pod) && !disturbed.contains_key(name(pod)))
        .count();
    let healthy = i64::try_from(healthy).unwrap_or(i64::MAX);
    let status = match expected(cx, budget, &pods).await? {
        Ok(expected) => {
            let count = Count { expected, desired: desired(budget, expected), healthy };
            status(budget, &count, disturbed, now)
        }
        Err(why) => {
            let message = format!("Failed to calculate the number of expected pods: {why}");
            cx.api.warning(COMPONENT, budget, "CalculateExpectedPodCountFailed", &message);
            failed(budget, &why, now)
        }
    };
    if status != budget["status"] {
        if pods.is_empty() {
            cx.api.normal(COMPONENT, budget, "NoPods", "No matching pods found");
        }
        let mut changed = budget.clone();
        changed["status"] = status;
        cx.api.update_status(&BUDGETS, &changed).await?;
    }
    Ok(wait)
}

/// The pods that were to be disturbed and are not gone yet, and when that is to be looked at again.
fn disturbed(budget: &Value, pods: &[&Value], now: Timestamp) -> (Map<String, Value>, Option<Duration>) {
    let mut kept = Map::new();
    let mut wait: Option<Duration> = None;
    for (pod, since) in
        budget.pointer("/status/disruptedPods").and_then(Value::as_object).into_iter().flatten()
    {
        let there = pods.iter().any(|p| name(p) == pod && !is_deleting(p));
        let been = since.as_str().and_then(|t| t.parse().ok()).map_or(DISTURBED, |t| elapsed(t, now));
        if there && been < DISTURBED {
            kept.insert(pod.clone(), since.clone());
            wait = wait.into_iter().chain([DISTURBED - been]).min();
        }
    }
    (kept, wait)
}

/// How many pods there should be; the inner error is one of the budget, to be told.
async fn expected(cx: &Cx<'_>, budget: &Value, pods: &[&Value]) -> Result<Result<i64, String>, Error> {
    let by_number = budget.pointer("/spec/minAvailable").is_some_and(Value::is_number)
        && budget.pointer("/spec/maxUnavailable").is_none_or(Value::is_null);
    if by_number {
        return Ok(Ok(i64::try_from(pods.len()).unwrap_or(i64::MAX)));
    }
    // Each that manages some of the pods counts once.
    let mut sizes: BTreeMap<String, i64> = BTreeMap::new();
    for pod in pods {
        let Some(owner) = controller_of(pod) else { continue };
        if sizes.contains_key(text(owner, "/uid")) {
            continue;
        }
        match size(cx, owner).await? {
            Ok(Some((uid, size))) => {
                sizes.insert(text(owner, "/uid").to_owned(), 0);
                sizes.insert(uid, size);
            }
            Ok(None) => {}
            Err(why) => return Ok(Err(why)),
        }
    }
    Ok(Ok(sizes.values().sum()))
}

/// How many pods one that manages pods wants: its uid, or that of its own manager, and the number.
async fn size(cx: &Cx<'_>, owner: &Value) -> Result<Result<Option<(String, i64)>, String>, Error> {
    let space = &*cx.key.namespace;
    let (owner_name, owner_uid) = (text(owner, "/name"), text(owner, "/uid"));
    let wants = |object: &Value| number(object, "/spec/replicas").unwrap_or(1);
    for kind in [&REPLICA_SETS, &REPLICATION_CONTROLLERS, &STATEFUL_SETS] {
        if text(owner, "/kind") != kind.kind || text(owner, "/apiVersion") != kind.api_version {
            continue;
        }
        let found = cx.api.get(kind, space, owner_name).await?.filter(|found| uid(found) == owner_uid);
        let Some(found) = found else { return Ok(Ok(None)) };
        if let Some(above) = controller_of(&found).filter(|above| text(above, "/kind") == DEPLOYMENTS.kind) {
            let deployment = cx.api.get(&DEPLOYMENTS, space, text(above, "/name")).await?;
            return Ok(Ok(deployment
                .filter(|deployment| uid(deployment) == text(above, "/uid"))
                .map(|deployment| (uid(&deployment).to_owned(), wants(&deployment)))));
        }
        return Ok(Ok(Some((owner_uid.to_owned(), wants(&found)))));
    }
    let unscaled = format!(
        "{}.{} does not implement the scale subresource",
        text(owner, "/kind"),
        text(owner, "/apiVersion")
    );
    if text(owner, "/kind") == JOBS.kind {
        return Ok(Err(unscaled));
    }
    let resource = cx
        .tasks
        .discovery()
        .of_kind(&cx.key.cluster, text(owner, "/apiVersion"), text(owner, "/kind"))
        .await?;
    let Some(resource) = resource else { return Ok(Err(unscaled)) };
    let path = object_path(&resource.api_version, &resource.plural, space, owner_name);
    if cx.api.get_path(&path).await?.is_none_or(|found| uid(&found) != owner_uid) {
        return Ok(Ok(None));
    }
    match cx.api.get_path(&format!("{path}/scale")).await? {
        Some(scale) => Ok(Ok(Some((owner_uid.to_owned(), count(&scale, "/spec/replicas"))))),
        None => Ok(Err(unscaled)),
    }
}

/// How many pods have to be well.
fn desired(budget: &Value, expected: i64) -> i64 {
    if let Some(unavailable) = budget.pointer("/spec/maxUnavailable").filter(|v| !v.is_null()) {
        let unavailable = scaled(unavailable, expected, true).unwrap_or(0);
        return (expected - unavailable).max(0);
    }
    match budget.pointer("/spec/minAvailable") {
        Some(least) => scaled(least, expected, true).unwrap_or(0),
        None => 0,
    }
}

fn allowed_condition(budget: &Value, holds: &str, reason: &str, message: &str, now: Timestamp) -> Value {
    let since = condition(budget, "DisruptionAllowed")
        .filter(|known| text(known, "/status") == holds)
        .map_or_else(|| stamp(now), |known| text(known, "/lastTransitionTime").to_owned());
    json!({
        "type": "DisruptionAllowed", "status": holds, "observedGeneration": budget["metadata"]["generation"],
        "lastTransitionTime": since, "reason": reason, "message": message,
    })
}

fn status(budget: &Value, count: &Count, disturbed: Map<String, Value>, now: Timestamp) -> Value {
    let allowed = if count.expected <= 0 { 0 } else { (count.healthy - count.desired).max(0) };
    let (holds, reason) =
        if allowed > 0 { ("True", "SufficientPods") } else { ("False", "InsufficientPods") };
    let mut status = json!({
        "observedGeneration": budget["metadata"]["generation"],
        "disruptionsAllowed": allowed, "currentHealthy": count.healthy,
        "desiredHealthy": count.desired, "expectedPods": count.expected,
        "conditions": [allowed_condition(budget, holds, reason, "", now)],
    });
    if !disturbed.is_empty() {
        status["disruptedPods"] = disturbed.into();
    }
    status
}

/// What a budget that cannot be counted comes to: nothing may be disturbed.
fn failed(budget: &Value, why: &str, now: Timestamp) -> Value {
    let mut status = budget["status"].clone();
    status["disruptionsAllowed"] = 0.into();
    status["observedGeneration"] = budget["metadata"]["generation"].clone();
    status["conditions"] = json!([allowed_condition(budget, "False", "SyncFailed", why, now)]);
    status
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_to_be_well_is_counted_from_either_end() {
        let budget = |spec: Value| json!({ "spec": spec });
        assert_eq!(desired(&budget(json!({ "minAvailable": 2 })), 5), 2);
        assert_eq!(desired(&budget(json!({ "minAvailable": "50%" })), 5), 3);
        assert_eq!(desired(&budget(json!({ "maxUnavailable": "30%" })), 5), 3);
        assert_eq!(desired(&budget(json!({ "maxUnavailable": 7 })), 5), 0);
    }

    #[test]
    fn what_may_be_disturbed_is_what_is_well_beyond_what_has_to_be() {
        let budget = json!({ "metadata": { "generation": 1 } });
        let now = Timestamp::UNIX_EPOCH;
        let of = |expected, desired, healthy| {
            let count = Count { expected, desired, healthy };
            status(&budget, &count, Map::new(), now)
        };
        assert_eq!(of(3, 2, 3)["disruptionsAllowed"], 1);
        assert_eq!(of(3, 2, 3)["conditions"][0]["reason"], "SufficientPods");
        assert_eq!(of(0, 1, 0)["disruptionsAllowed"], 0);
        assert_eq!(of(0, 1, 0)["conditions"][0]["reason"], "InsufficientPods");
    }

    #[test]
    fn a_disturbed_pod_is_forgotten_after_a_while() {
        let budget = json!({ "status": { "disruptedPods": {
            "a": "2026-01-01T00:00:00Z", "b": "2026-01-01T00:01:30Z", "gone": "2026-01-01T00:01:30Z" } } });
        let (a, b) = (json!({ "metadata": { "name": "a" } }), json!({ "metadata": { "name": "b" } }));
        let now = "2026-01-01T00:02:00Z".parse().unwrap();
        let (kept, wait) = disturbed(&budget, &[&a, &b], now);
        assert_eq!(kept.keys().collect::<Vec<_>>(), ["b"]);
        assert_eq!(wait, Some(Duration::from_secs(90)));
    }
}
