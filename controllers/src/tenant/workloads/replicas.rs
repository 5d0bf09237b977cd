//! ReplicaSets and ReplicationControllers: so many pods, no more and no fewer.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::pods::{self, Parent};
use crate::Error;
use crate::tenant::api::{Kind, PODS, REPLICA_SETS, REPLICATION_CONTROLLERS, is_terminating, words};
use crate::tenant::queue::Next;
use crate::tenant::tasks::Cx;
use crate::tenant::value::{controller_of, count, is_deleting, label, namespace, number, set_count, text};

/// What the two kinds differ in.
#[derive(Clone, Copy)]
pub struct Flavour {
    kind: &'static Kind,
    component: &'static str,
    /// Whether the status counts the pods that are on their way out.
    counts_terminating: bool,
}

/// ReplicaSets.
pub const SET: Flavour =
    Flavour { kind: &REPLICA_SETS, component: "replicaset-controller", counts_terminating: true };
/// ReplicationControllers.
pub const CONTROLLER: Flavour = Flavour {
    kind: &REPLICATION_CONTROLLERS,
    component: "replication-controller",
    counts_terminating: false,
};

/// Looks at one.
pub async fn reconcile(cx: &Cx<'_>, flavour: Flavour) -> Result<Next, Error> {
    let Some(object) = cx.object(flavour.kind).await? else { return Ok(Next::Done) };
    let Some(selector) = pods::selector_of(&object, flavour.kind) else { return Ok(Next::Done) };
    let parent = Parent { object: &object, kind: flavour.kind, component: flavour.component };
    let claimed = pods::claim(cx, &parent, &PODS, &selector, |pod| !pods::has_ended(pod)).await?;
    let terminating = claimed.iter().filter(|pod| is_deleting(pod) && !pods::has_ended(pod)).count();
    let active: Vec<Value> = claimed.into_iter().filter(pods::is_active).collect();
    let failure = if is_deleting(&object) { None } else { manage(cx, &parent, &active).await? };
    let now = Timestamp::now();
    let (status, wait) = status(&object, &active, terminating, flavour, failure.as_ref(), now);
    if status != object["status"] {
        let mut changed = object.clone();
        changed["status"] = status;
        cx.api.merge_status(flavour.kind, &object, &changed).await?;
    }
    pods::first(failure)?;
    Ok(wait.map_or(Next::Done, Next::After))
}

/// Creates what is missing, or deletes what is too much.
async fn manage(cx: &Cx<'_>, parent: &Parent<'_>, active: &[Value]) -> Result<Option<kube::Error>, Error> {
    let wanted = usize::try_from(number(parent.object, "/spec/replicas").unwrap_or(1)).unwrap_or(0);
    if active.len() < wanted {
        let many = (wanted - active.len()).min(pods::BURST);
        let pod = pods::from_template(&parent.object["spec"]["template"], parent);
        let (created, failure) = pods::create_many(&cx.api, parent, vec![pod; many]).await;
        if created.len() < many && failure.as_ref().is_some_and(is_terminating) {
            return Ok(None);
        }
        // More than a burst is left for the next look.
        return Ok(failure);
    }
    if active.len() > wanted {
        let many = (active.len() - wanted).min(pods::BURST);
        let related = related(cx, parent, active).await?;
        let going = pods::to_delete(active, &related, many, Timestamp::now());
        return Ok(pods::delete_many(&cx.api, parent, going).await.1);
    }
    Ok(None)
}

/// The pods of all ReplicaSets of the same owner: they count when the fullest nodes are looked for.
async fn related(cx: &Cx<'_>, parent: &Parent<'_>, active: &[Value]) -> Result<Vec<Value>, kube::Error> {
    let Some(owner) = controller_of(parent.object).map(|owner| text(owner, "/uid").to_owned()) else {
        return Ok(active.to_vec());
    };
    let mut all = active.to_vec();
    for place in cx.tasks.dependents(&cx.key.cluster, &owner) {
        if !REPLICA_SETS.holds(&place) || *place.name == *text(parent.object, "/metadata/name") {
            continue;
        }
        let Some(sibling) = cx.api.get(&REPLICA_SETS, namespace(parent.object), &place.name).await? else {
            continue;
        };
        if let Some(selector) = pods::selector_of(&sibling, &REPLICA_SETS) {
            all.extend(cx.api.select(&PODS, namespace(parent.object), &selector).await?);
        }
    }
    Ok(all)
}

/// What the status should be, and when it has to be looked at again.
fn status(
    object: &Value,
    active: &[Value],
    terminating: usize,
    flavour: Flavour,
    failure: Option<&kube::Error>,
    now: Timestamp,
) -> (Value, Option<Duration>) {
    let mut status = if object["status"].is_object() { object["status"].clone() } else { json!({}) };
    let labels = object.pointer("/spec/template/metadata/labels").and_then(Value::as_object);
    let labelled =
        |pod: &Value| labels.into_iter().flatten().all(|(key, value)| label(pod, key) == value.as_str());
    let min_ready = count(object, "/spec/minReadySeconds");
    let mut wait: Option<Duration> = None;
    let mut available = 0;
    for pod in active {
        let (is, soon) = pods::availability(pod, min_ready, now);
        available += i64::from(is);
        wait = match (wait, soon) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
    }
    let many = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
    status["replicas"] = many(active.len()).into();
    set_count(&mut status, "fullyLabeledReplicas", many(active.iter().filter(|p| labelled(p)).count()));
    set_count(&mut status, "readyReplicas", many(active.iter().filter(|p| pods::is_ready(p)).count()));
    set_count(&mut status, "availableReplicas", available);
    if flavour.counts_terminating {
        status["terminatingReplicas"] = many(terminating).into();
    }
    status["observedGeneration"] = pods::generation(object).into();
    match failure {
        Some(error) => {
            let wanted = number(object, "/spec/replicas").unwrap_or(1);
            let reason = if many(active.len()) < wanted { "FailedCreate" } else { "FailedDelete" };
            // The first failure stands until it is mended.
            if !crate::tenant::value::is_true(object, "ReplicaFailure") {
                pods::set_condition(&mut status, "ReplicaFailure", "True", reason, &words(error), now);
            }
        }
        None => {
            pods::remove_condition(&mut status, "ReplicaFailure");
        }
    }
    (status, wait)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_of_zero_are_not_written() {
        let object = json!({
            "metadata": { "generation": 1 },
            "spec": { "replicas": 0, "template": { "metadata": { "labels": { "a": "b" } } } },
            "status": { "replicas": 0 },
        });
        let now = Timestamp::UNIX_EPOCH;
        let (of_set, _) = status(&object, &[], 0, SET, None, now);
        assert_eq!(of_set, json!({ "replicas": 0, "terminatingReplicas": 0, "observedGeneration": 1 }));
        let (of_controller, _) = status(&object, &[], 0, CONTROLLER, None, now);
        assert_eq!(of_controller, json!({ "replicas": 0, "observedGeneration": 1 }));
    }

    #[test]
    fn pods_are_counted_by_what_they_are() {
        let object = json!({
            "metadata": { "generation": 2 },
            "spec": { "replicas": 2, "minReadySeconds": 10,
                "template": { "metadata": { "labels": { "a": "b" } } } },
        });
        let pod = |ready: &str, labels: Value| {
            json!({
                "metadata": { "labels": labels },
                "status": { "conditions": [{ "type": "Ready", "status": ready,
                    "lastTransitionTime": "2026-01-01T00:00:00Z" }] },
            })
        };
        let active = [pod("True", json!({ "a": "b" })), pod("False", json!({}))];
        let now = "2026-01-01T00:00:04Z".parse().unwrap();
        let (status, wait) = status(&object, &active, 1, SET, None, now);
        assert_eq!(
            status,
            json!({ "replicas": 2, "fullyLabeledReplicas": 1, "readyReplicas": 1, "terminatingReplicas": 1,
                "observedGeneration": 2 })
        );
        assert_eq!(wait, Some(Duration::from_secs(6)));
    }
}
