//! Pods of one owner: which are its own, how one is made, and which goes first.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::time::Duration;

use futures::StreamExt;
use jiff::Timestamp;
use kplane_machinery::labels::Selector;
use serde_json::{Value, json};

use crate::Error;
use crate::runtime::raw;
use crate::tenant::api::{self, Api, Kind, PODS, is_terminating, words};
use crate::tenant::tasks::Cx;
use crate::tenant::value::{
    annotation, condition, controller_of, controller_reference, count, elapsed, is_controlled_by,
    is_deleting, is_true, items, name, namespace, number, text, time, uid,
};

/// At most this many pods are created or deleted in one look.
pub const BURST: usize = 500;
/// How many requests are under way at once.
const AT_ONCE: usize = 8;
/// What a pod costs to delete, as its owner's user sees it.
const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// The owner of some objects.
pub struct Parent<'a> {
    /// The object.
    pub object: &'a Value,
    /// Its kind.
    pub kind: &'static Kind,
    /// The name of its controller in Events.
    pub component: &'static str,
}

impl Parent<'_> {
    /// The reference by which its objects name it.
    pub fn reference(&self) -> Value {
        controller_reference(self.object, self.kind.api_version, self.kind.kind)
    }
}

/// The objects of a kind that an owner manages: those it does already, and those that match and that nobody does. What does
/// not match any more is let go.
pub async fn claim(
    cx: &Cx<'_>,
    parent: &Parent<'_>,
    kind: &'static Kind,
    selector: &Selector,
    adoptable: impl Fn(&Value) -> bool,
) -> Result<Vec<Value>, kube::Error> {
    let space = namespace(parent.object);
    let mut mine = Vec::new();
    let mut seen: HashSet<String> = HashSet::new();
    for object in cx.api.select(kind, space, selector).await? {
        seen.insert(name(&object).to_owned());
        match controller_of(&object) {
            Some(reference) => {
                if text(reference, "/uid") == uid(parent.object) {
                    mine.push(object);
                }
            }
            None if is_deleting(parent.object) || is_deleting(&object) || !adoptable(&object) => {}
            None => {
                let mut references = items(&object, "/metadata/ownerReferences").to_vec();
                references.push(parent.reference());
                let patch = json!({ "metadata": { "ownerReferences": references } });
                match cx.api.patch_unchanged(kind, &object, patch).await {
                    Ok(adopted) => mine.push(adopted),
                    Err(error) if raw::is_not_found(&error) => {}
                    Err(error) => return Err(error),
                }
            }
        }
    }
    // What is owned and does not match is not in the list.
    for place in cx.tasks.dependents(&cx.key.cluster, uid(parent.object)) {
        if !kind.holds(&place) || seen.contains(&*place.name) {
            continue;
        }
        let Some(object) = cx.api.get(kind, space, &place.name).await? else { continue };
        if is_deleting(&object) || is_deleting(parent.object) || !is_controlled_by(&object, parent.object) {
            continue;
        }
        if selector.matches_object(&object) {
            mine.push(object);
            continue;
        }
        let rest: Vec<&Value> = items(&object, "/metadata/ownerReferences")
            .iter()
            .filter(|r| text(r, "/uid") != uid(parent.object))
            .collect();
        let patch = json!({ "metadata": { "ownerReferences": rest } });
        raw::optional(cx.api.patch_unchanged(kind, &object, patch).await)?;
    }
    Ok(mine)
}

/// Whether a pod neither ended nor is being deleted.
pub fn is_active(pod: &Value) -> bool {
    !has_ended(pod) && !is_deleting(pod)
}

/// Whether all its containers ended for good.
pub fn has_ended(pod: &Value) -> bool {
    matches!(text(pod, "/status/phase"), "Succeeded" | "Failed")
}

/// Whether a pod answers.
pub fn is_ready(pod: &Value) -> bool {
    is_true(pod, "Ready")
}

fn ready_since(pod: &Value) -> Option<Timestamp> {
    condition(pod, "Ready").and_then(|c| time(c, "/lastTransitionTime"))
}

/// Whether a pod has been ready for long enough; if not yet, how long until it will have been.
pub fn availability(pod: &Value, min_ready: i64, now: Timestamp) -> (bool, Option<Duration>) {
    if !is_ready(pod) {
        return (false, None);
    }
    let wanted = Duration::from_secs(min_ready.max(0).unsigned_abs());
    if wanted.is_zero() {
        return (true, None);
    }
    match ready_since(pod) {
        Some(since) => {
            let been = elapsed(since, now);
            if been >= wanted { (true, None) } else { (false, Some(wanted - been)) }
        }
        None => (false, None),
    }
}

/// A pod from a template (`GetPodFromTemplate`).
pub fn from_template(template: &Value, parent: &Parent<'_>) -> Value {
    let metadata = &template["metadata"];
    let mut pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "generateName": prefix(name(parent.object)),
            "namespace": namespace(parent.object),
            "ownerReferences": [parent.reference()],
        },
        "spec": template["spec"],
    });
    for field in ["labels", "annotations", "finalizers"] {
        if metadata[field].as_object().is_some_and(|m| !m.is_empty())
            || metadata[field].as_array().is_some_and(|l| !l.is_empty())
        {
            pod["metadata"][field] = metadata[field].clone();
        }
    }
    pod
}

fn prefix(name: &str) -> String {
    // A name that is too long for a prefix is used as it is.
    if name.len() < 253 { format!("{name}-") } else { name.to_owned() }
}

/// Creates a pod and tells of it.
pub async fn create(api: &Api, parent: &Parent<'_>, pod: &Value) -> Result<Value, kube::Error> {
    match api.create(&PODS, namespace(parent.object), pod).await {
        Ok(created) => {
            let message = format!("Created pod: {}", name(&created));
            api.normal(parent.component, parent.object, "SuccessfulCreate", &message);
            Ok(created)
        }
        Err(error) => {
            if !is_terminating(&error) {
                let message = format!("Error creating: {}", words(&error));
                api.warning(parent.component, parent.object, "FailedCreate", &message);
            }
            Err(error)
        }
    }
}

/// Deletes a pod and tells of it.
pub async fn delete(api: &Api, parent: &Parent<'_>, pod: &Value) -> Result<(), kube::Error> {
    match api.delete(&PODS, pod, None).await {
        Ok(()) => {
            let message = format!("Deleted pod: {}", name(pod));
            api.normal(parent.component, parent.object, "SuccessfulDelete", &message);
            Ok(())
        }
        Err(error) => {
            let message = format!("Error deleting: {}", words(&error));
            api.warning(parent.component, parent.object, "FailedDelete", &message);
            Err(error)
        }
    }
}

/// Creates so many pods: one, then two, then four at once, so that what fails for all fails once. Answers how many were
/// created, and the first failure.
pub async fn create_many(
    api: &Api,
    parent: &Parent<'_>,
    pods: Vec<Value>,
) -> (Vec<Value>, Option<kube::Error>) {
    let mut created = Vec::new();
    let mut pods = pods.into_iter();
    let mut batch = 1;
    loop {
        let now: Vec<Value> = pods.by_ref().take(batch).collect();
        if now.is_empty() {
            return (created, None);
        }
        let results: Vec<_> = futures::stream::iter(now)
            .map(|pod| async move { create(api, parent, &pod).await })
            .buffer_unordered(AT_ONCE)
            .collect()
            .await;
        let mut failure = None;
        for result in results {
            match result {
                Ok(pod) => created.push(pod),
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        if failure.is_some() {
            return (created, failure);
        }
        batch *= 2;
    }
}

/// Deletes pods. Answers how many went, and the first failure.
pub async fn delete_many(api: &Api, parent: &Parent<'_>, pods: Vec<&Value>) -> (usize, Option<kube::Error>) {
    let deletions: Vec<_> = pods.into_iter().map(|pod| delete(api, parent, pod)).collect();
    let results: Vec<_> = futures::stream::iter(deletions).buffer_unordered(AT_ONCE).collect().await;
    let gone = results.iter().filter(|r| r.is_ok()).count();
    (gone, results.into_iter().find_map(Result::err))
}

/// How many pods that run does each node have, of those that belong together.
fn rank_by_node<'a>(pods: impl Iterator<Item = &'a Value>) -> std::collections::HashMap<String, i64> {
    let mut ranks = std::collections::HashMap::new();
    for pod in pods.filter(|pod| is_active(pod)) {
        *ranks.entry(text(pod, "/spec/nodeName").to_owned()).or_insert(0) += 1;
    }
    ranks
}

/// Those that are to go, so many of them, the least useful first (`ActivePodsWithRanks`). `related` are the pods that share
/// their nodes' burden.
pub fn to_delete<'a>(pods: &'a [Value], related: &[Value], many: usize, now: Timestamp) -> Vec<&'a Value> {
    let mut ordered: Vec<&Value> = pods.iter().collect();
    if many < ordered.len() {
        let ranks = rank_by_node(related.iter());
        ordered.sort_by(|a, b| {
            let rank = |pod: &Value| ranks.get(text(pod, "/spec/nodeName")).copied().unwrap_or(0);
            compare(a, b, rank(a), rank(b), now)
        });
    }
    ordered.truncate(many);
    ordered
}

/// Which of two goes first.
fn compare(a: &Value, b: &Value, rank_a: i64, rank_b: i64, now: Timestamp) -> Ordering {
    let assigned = |pod: &Value| !text(pod, "/spec/nodeName").is_empty();
    let phase = |pod: &Value| match text(pod, "/status/phase") {
        "Unknown" => 1,
        "Running" => 2,
        _ => 0,
    };
    let cost = |pod: &Value| annotation(pod, DELETION_COST).and_then(|c| c.parse::<i32>().ok()).unwrap_or(0);
    // Ages are told apart by their order of magnitude.
    let age = |at: Option<Timestamp>| {
        at.map(|at| {
            let seconds = elapsed(at, now).as_secs();
            if seconds == 0 { 0 } else { u64::from(seconds.ilog2()) + 1 }
        })
    };
    let restarts = |pod: &Value| {
        items(pod, "/status/containerStatuses").iter().map(|s| count(s, "/restartCount")).max().unwrap_or(0)
    };
    assigned(a)
        .cmp(&assigned(b))
        .then_with(|| phase(a).cmp(&phase(b)))
        .then_with(|| is_ready(a).cmp(&is_ready(b)))
        .then_with(|| cost(a).cmp(&cost(b)))
        .then_with(|| rank_b.cmp(&rank_a))
        .then_with(|| {
            if is_ready(a) && is_ready(b) {
                // Those that became ready last go first.
                age(ready_since(a)).cmp(&age(ready_since(b)))
            } else {
                Ordering::Equal
            }
        })
        .then_with(|| restarts(b).cmp(&restarts(a)))
        .then_with(|| {
            let created = |pod: &Value| age(time(pod, "/metadata/creationTimestamp"));
            created(a).cmp(&created(b))
        })
        .then_with(|| uid(a).cmp(uid(b)))
}

/// The selector of an owner; `None` if it cannot be read, of which there is nothing to do but wait for a better one.
pub fn selector_of(object: &Value, kind: &Kind) -> Option<Selector> {
    let selector = object.pointer("/spec/selector");
    if kind.plural == api::REPLICATION_CONTROLLERS.plural {
        return Some(Selector::from_map(selector));
    }
    match Selector::from_label_selector(selector) {
        Ok(selector) => Some(selector),
        Err(why) => {
            tracing::debug!(kind = kind.kind, name = name(object), why, "a selector cannot be read");
            None
        }
    }
}

/// The generation that was seen of an object.
pub fn generation(object: &Value) -> i64 {
    number(object, "/metadata/generation").unwrap_or(0)
}

/// Sets a condition as the older kinds have them, without an observed generation; one whose status, reason and message stay
/// keeps its times. Says whether anything changed.
pub fn set_condition(
    status: &mut Value,
    kind: &str,
    holds: &str,
    reason: &str,
    message: &str,
    now: Timestamp,
) -> bool {
    let list = crate::tenant::value::map_at(status, &[]).entry("conditions").or_insert_with(|| json!([]));
    if !list.is_array() {
        *list = json!([]);
    }
    let Some(list) = list.as_array_mut() else { return false };
    let known = list.iter().position(|c| text(c, "/type") == kind);
    let mut since = crate::tenant::value::stamp(now);
    if let Some(at) = known {
        let known = &list[at];
        if text(known, "/status") == holds {
            if text(known, "/reason") == reason && text(known, "/message") == message {
                return false;
            }
            since = text(known, "/lastTransitionTime").to_owned();
        }
        list.remove(at);
    }
    let mut condition = json!({ "type": kind, "status": holds, "lastTransitionTime": since });
    if !reason.is_empty() {
        condition["reason"] = reason.into();
    }
    if !message.is_empty() {
        condition["message"] = message.into();
    }
    list.push(condition);
    true
}

/// Removes a condition. Says whether it was there.
pub fn remove_condition(status: &mut Value, kind: &str) -> bool {
    let Some(list) = status.get_mut("conditions").and_then(Value::as_array_mut) else { return false };
    let before = list.len();
    list.retain(|c| text(c, "/type") != kind);
    let changed = list.len() != before;
    if list.is_empty() {
        crate::tenant::value::map_at(status, &[]).remove("conditions");
    }
    changed
}

/// The error of the first of some writes, after all were tried.
pub fn first(failure: Option<kube::Error>) -> Result<(), Error> {
    match failure {
        // Nothing can be created where the namespace is going, and nothing has to be.
        Some(error) if is_terminating(&error) => Ok(()),
        Some(error) => Err(error.into()),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(name: &str, node: &str, phase: &str, ready: bool) -> Value {
        json!({
            "metadata": { "name": name, "uid": name, "creationTimestamp": "2026-01-01T00:00:00Z" },
            "spec": { "nodeName": node },
            "status": { "phase": phase, "conditions": [{
                "type": "Ready", "status": if ready { "True" } else { "False" },
                "lastTransitionTime": "2026-01-01T00:00:10Z",
            }]},
        })
    }

    #[test]
    fn the_least_useful_go_first() {
        let now: Timestamp = "2026-01-01T01:00:00Z".parse().unwrap();
        let pods = [
            pod("ready", "n1", "Running", true),
            pod("starting", "n1", "Running", false),
            pod("waiting", "", "Pending", false),
            pod("crowded", "n2", "Running", true),
        ];
        let related = [pod("a", "n2", "Running", true), pod("b", "n2", "Running", true)];
        let order: Vec<&str> = to_delete(&pods, &related, 3, now).into_iter().map(name).collect();
        assert_eq!(order, ["waiting", "starting", "crowded"]);
    }

    #[test]
    fn a_cheap_pod_goes_before_a_dear_one() {
        let now: Timestamp = "2026-01-01T01:00:00Z".parse().unwrap();
        let mut dear = pod("dear", "n1", "Running", true);
        dear["metadata"]["annotations"] = json!({ DELETION_COST: "10" });
        let pods = [dear, pod("cheap", "n1", "Running", true)];
        assert_eq!(name(to_delete(&pods, &[], 1, now)[0]), "cheap");
    }

    #[test]
    fn a_pod_is_available_when_it_has_been_ready_for_long_enough() {
        let pod = pod("a", "n", "Running", true);
        let now: Timestamp = "2026-01-01T00:00:15Z".parse().unwrap();
        assert_eq!(availability(&pod, 0, now), (true, None));
        assert_eq!(availability(&pod, 5, now), (true, None));
        assert_eq!(availability(&pod, 8, now), (false, Some(Duration::from_secs(3))));
    }

    #[test]
    fn a_pod_takes_after_its_template() {
        let owner = json!({ "metadata": { "name": "rs", "namespace": "farm", "uid": "u" } });
        let parent = Parent { object: &owner, kind: &api::REPLICA_SETS, component: "test" };
        let template =
            json!({ "metadata": { "labels": { "a": "b" }, "annotations": {} }, "spec": { "x": 1 } });
        let pod = from_template(&template, &parent);
        assert_eq!(pod["metadata"]["generateName"], "rs-");
        assert_eq!(pod["metadata"]["labels"], json!({ "a": "b" }));
        assert!(pod["metadata"].get("annotations").is_none());
        assert_eq!(pod["metadata"]["ownerReferences"][0]["kind"], "ReplicaSet");
        assert_eq!(pod["spec"], json!({ "x": 1 }));
    }
}
