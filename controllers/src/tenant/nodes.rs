//! Nodes: what is said of one that does not report, and the pods of one that is gone.

use std::collections::HashSet;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::Error;
use crate::runtime::raw;
use crate::tenant::api::{LEASES, NODES, PODS};
use crate::tenant::queue::Next;
use crate::tenant::tasks::Cx;
use crate::tenant::value::{
    annotation, condition, elapsed, flag, is_deleting, items, map_at, name, set_annotation, stamp, text, time,
};
use crate::tenant::workloads::pods::has_ended;

const COMPONENT: &str = "node-controller";
const TTL: &str = "node.alpha.kubernetes.io/ttl";
/// How long a node may say nothing before it counts as lost.
const GRACE: Duration = Duration::from_secs(50);
/// How long the pods of a node that is gone are left alone: it may come back.
pub const QUARANTINE: Duration = Duration::from_secs(40);
const HEARTBEATS: &str = "kube-node-lease";
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
const NOT_READY: &str = "node.kubernetes.io/not-ready";

/// Looks at one.
pub async fn reconcile(cx: &Cx<'_>) -> Result<Next, Error> {
    let Some(mut node) = cx.object(&NODES).await? else { return Ok(Next::Done) };
    if is_deleting(&node) {
        return Ok(Next::Done);
    }
    if annotation(&node, TTL).is_none() {
        let mut patch = json!({ "metadata": {} });
        set_annotation(&mut patch, TTL, "0");
        let Some(patched) = raw::optional(cx.api.patch(&NODES, "", name(&node), &patch).await)? else {
            return Ok(Next::Done);
        };
        node = patched;
    }
    let now = Timestamp::now();
    let lease = cx.api.get(&LEASES, HEARTBEATS, name(&node)).await?;
    let heard = last_heard(&node, lease.as_ref()).unwrap_or(now);
    let left = GRACE.saturating_sub(elapsed(heard, now));
    if left.is_zero() {
        node = lose(cx, node, now).await?;
    }
    taint(cx, &node, now).await?;
    // Whoever reports does so before its time is over, and is looked at then.
    Ok(if left.is_zero() { Next::Done } else { Next::After(left + Duration::from_secs(1)) })
}

/// When a node last said something, or came to be.
fn last_heard(node: &Value, lease: Option<&Value>) -> Option<Timestamp> {
    let reported = condition(node, "Ready")
        .filter(|c| text(c, "/status") != "Unknown")
        .and_then(|c| time(c, "/lastHeartbeatTime"));
    let renewed = lease.and_then(|lease| time(lease, "/spec/renewTime"));
    reported.into_iter().chain(renewed).chain(time(node, "/metadata/creationTimestamp")).max()
}

/// The conditions of a node that says nothing.
fn unknown(node: &Value, now: Timestamp) -> Vec<Value> {
    let mut conditions = items(node, "/status/conditions").to_vec();
    for kind in ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"] {
        let at = stamp(now);
        match conditions.iter_mut().find(|c| text(c, "/type") == kind) {
            None => conditions.push(json!({
                "type": kind, "status": "Unknown", "reason": "NodeStatusNeverUpdated",
                "message": "Kubelet never posted node status.",
                "lastHeartbeatTime": text(node, "/metadata/creationTimestamp"), "lastTransitionTime": at,
            })),
            Some(known) if text(known, "/status") != "Unknown" => {
                known["status"] = "Unknown".into();
                known["reason"] = "NodeStatusUnknown".into();
                known["message"] = "Kubelet stopped posting node status.".into();
                known["lastTransitionTime"] = at.into();
            }
            Some(_) => {}
        }
    }
    conditions
}

/// Notes that a node says nothing.
async fn lose(cx: &Cx<'_>, node: Value, now: Timestamp) -> Result<Value, Error> {
    let conditions = unknown(&node, now);
    if items(&node, "/status/conditions") == conditions {
        return Ok(node);
    }
    let mut next = node;
    map_at(&mut next, &["status"]).insert("conditions".into(), conditions.into());
    let written = cx.api.update_status(&NODES, &next).await?;
    let message = format!("Node {} status is now: NodeNotReady", name(&written));
    cx.api.normal(COMPONENT, &written, "NodeNotReady", &message);
    Ok(written)
}

/// The taints that the state of a node calls for.
fn wanted(node: &Value) -> Vec<(&'static str, &'static str)> {
    let status = |kind: &str| condition(node, kind).map_or("", |c| text(c, "/status")).to_owned();
    let mut taints = Vec::new();
    match status("Ready").as_str() {
        "False" => taints.extend([(NOT_READY, "NoSchedule"), (NOT_READY, "NoExecute")]),
        "Unknown" => taints.extend([(UNREACHABLE, "NoSchedule"), (UNREACHABLE, "NoExecute")]),
        _ => {}
    }
    let pressures = [
        ("MemoryPressure", "node.kubernetes.io/memory-pressure"),
        ("DiskPressure", "node.kubernetes.io/disk-pressure"),
        ("PIDPressure", "node.kubernetes.io/pid-pressure"),
        ("NetworkUnavailable", "node.kubernetes.io/network-unavailable"),
    ];
    taints.extend(
        pressures.into_iter().filter(|(kind, _)| status(kind) == "True").map(|(_, key)| (key, "NoSchedule")),
    );
    if flag(node, "/spec/unschedulable") {
        taints.push(("node.kubernetes.io/unschedulable", "NoSchedule"));
    }
    taints
}

/// Whether a taint is one that is set here.
fn is_ours(taint: &Value) -> bool {
    const KEYS: [&str; 7] = [
        NOT_READY,
        UNREACHABLE,
        "node.kubernetes.io/memory-pressure",
        "node.kubernetes.io/disk-pressure",
        "node.kubernetes.io/pid-pressure",
        "node.kubernetes.io/network-unavailable",
        "node.kubernetes.io/unschedulable",
    ];
    KEYS.contains(&text(taint, "/key")) && matches!(text(taint, "/effect"), "NoSchedule" | "NoExecute")
}

/// Brings the taints of a node to what its state calls for.
async fn taint(cx: &Cx<'_>, node: &Value, now: Timestamp) -> Result<(), Error> {
    // A node that never reported keeps what it was admitted with.
    if condition(node, "Ready").is_none() && !flag(node, "/spec/unschedulable") {
        return Ok(());
    }
    let wanted = wanted(node);
    let is = |taint: &Value, of: &(&str, &str)| text(taint, "/key") == of.0 && text(taint, "/effect") == of.1;
    let known = items(node, "/spec/taints");
    let mut next: Vec<Value> = known
        .iter()
        .filter(|taint| !is_ours(taint) || wanted.iter().any(|w| is(taint, w)))
        .cloned()
        .collect();
    for missing in wanted.iter().filter(|w| !known.iter().any(|taint| is(taint, w))) {
        next.push(json!({ "key": missing.0, "effect": missing.1, "timeAdded": stamp(now) }));
    }
    if next.as_slice() != known {
        let patch = json!({ "spec": { "taints": next } });
        raw::optional(cx.api.patch_unchanged(&NODES, node, patch).await)?;
    }
    Ok(())
}

/// Ends the pods of nodes that are gone.
pub async fn lost_pods(cx: &Cx<'_>) -> Result<Next, Error> {
    let nodes: HashSet<String> =
        cx.api.list(&NODES, "").await?.iter().map(|node| name(node).to_owned()).collect();
    for pod in cx.api.list(&PODS, "").await? {
        let node = text(&pod, "/spec/nodeName");
        if node.is_empty() || nodes.contains(node) {
            continue;
        }
        if !has_ended(&pod) {
            let mut failed = pod.clone();
            let now = stamp(Timestamp::now());
            let mut conditions = items(&pod, "/status/conditions").to_vec();
            conditions.retain(|c| text(c, "/type") != "DisruptionTarget");
            conditions.push(json!({
                "type": "DisruptionTarget", "status": "True", "reason": "DeletionByPodGC",
                "message": "PodGC: node no longer exists", "lastTransitionTime": now,
            }));
            let status = map_at(&mut failed, &["status"]);
            status.insert("phase".into(), "Failed".into());
            status.insert("conditions".into(), conditions.into());
            raw::optional(cx.api.update_status(&PODS, &failed).await)?;
        }
        cx.api.delete_now(&PODS, &pod).await?;
    }
    Ok(Next::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_never_reported_is_unreachable_after_a_while() {
        let node = json!({ "metadata": { "name": "n", "creationTimestamp": "2026-01-01T00:00:00Z" } });
        let heard = last_heard(&node, None).unwrap();
        assert_eq!(heard, "2026-01-01T00:00:00Z".parse().unwrap());
        let lease = json!({ "spec": { "renewTime": "2026-01-01T00:01:00.000000Z" } });
        assert_eq!(last_heard(&node, Some(&lease)).unwrap(), "2026-01-01T00:01:00Z".parse().unwrap());
        let conditions = unknown(&node, "2026-01-01T00:01:00Z".parse().unwrap());
        assert_eq!(conditions.len(), 4);
        assert_eq!(conditions[0]["reason"], "NodeStatusNeverUpdated");
        let mut lost = node;
        lost["status"]["conditions"] = conditions.into();
        assert_eq!(wanted(&lost), [(UNREACHABLE, "NoSchedule"), (UNREACHABLE, "NoExecute")]);
    }
}
