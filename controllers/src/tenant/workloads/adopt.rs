//! Pods and ReplicaSets that nobody manages: those that may want them are told.

use serde_json::Value;

use super::pods::{has_ended, selector_of};
use crate::Error;
use crate::tenant::api::{
    DAEMON_SETS, DEPLOYMENTS, JOBS, Kind, PODS, REPLICA_SETS, REPLICATION_CONTROLLERS, STATEFUL_SETS,
};
use crate::tenant::queue::Next;
use crate::tenant::tasks::{Cx, Holds, Task};
use crate::tenant::value::{controller_of, is_deleting, name};

const MANAGERS: [(&Kind, Task); 5] = [
    (&REPLICA_SETS, Task::ReplicaSet),
    (&REPLICATION_CONTROLLERS, Task::ReplicationController),
    (&STATEFUL_SETS, Task::StatefulSet),
    (&DAEMON_SETS, Task::DaemonSet),
    (&JOBS, Task::Job),
];

/// Looks at a namespace.
pub async fn reconcile(cx: &Cx<'_>) -> Result<Next, Error> {
    let (cluster, space) = (&cx.key.cluster, &*cx.key.namespace);
    let free = |objects: Vec<Value>| -> Vec<Value> {
        objects
            .into_iter()
            .filter(|o| controller_of(o).is_none() && !is_deleting(o) && !has_ended(o))
            .collect()
    };
    let pods = free(cx.api.list(&PODS, space).await?);
    if !pods.is_empty() {
        cx.tasks.forget(cluster, space, Holds::Workloads);
        let mut any = false;
        for (kind, task) in MANAGERS {
            let found = cx.api.list(kind, space).await?;
            any |= !found.is_empty();
            tell(cx, kind, task, &found, &pods);
        }
        if any {
            cx.tasks.note(cluster, space, Holds::Workloads);
        }
    }
    let sets = free(cx.api.list(&REPLICA_SETS, space).await?);
    if !sets.is_empty() {
        cx.tasks.forget(cluster, space, Holds::Deployments);
        let found = cx.api.list(&DEPLOYMENTS, space).await?;
        if !found.is_empty() {
            cx.tasks.note(cluster, space, Holds::Deployments);
        }
        tell(cx, &DEPLOYMENTS, Task::Deployment, &found, &sets);
    }
    Ok(Next::Done)
}

fn tell(cx: &Cx<'_>, kind: &Kind, task: Task, managers: &[Value], free: &[Value]) {
    for manager in managers {
        let Some(selector) = selector_of(manager, kind) else { continue };
        if !selector.is_empty() && free.iter().any(|object| selector.matches_object(object)) {
            cx.add(task, name(manager));
        }
    }
}
