//! The ReplicaSets of a Deployment: which is of the present template, and making it.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::numbers::{DESIRED, MOST, max_surge, new_replicas, replicas};
use super::{COMPONENT, Generations, HASH, REVISION, Rollout};
use crate::Error;
use crate::runtime::raw;
use crate::tenant::api::{DEPLOYMENTS, REPLICA_SETS, is_terminating, words};
use crate::tenant::value::{
    FNV_SEED, annotation, canonical, condition, controller_reference, count, fnv1a, is_controlled_by, map_at,
    name, namespace, number, safe_encode, set_annotation, text, time,
};

const HISTORY: &str = "deployment.kubernetes.io/revision-history";
/// How long the history may become, in characters.
const LONGEST_HISTORY: usize = 2000;
/// The annotations of a Deployment that its ReplicaSets do not take over.
const OWN: [&str; 6] = [
    "kubectl.kubernetes.io/last-applied-configuration",
    REVISION,
    HISTORY,
    DESIRED,
    MOST,
    "deprecated.deployment.rollback.to",
];

/// A template without the label that tells its hash.
fn bare(template: &Value) -> Value {
    let mut template = template.clone();
    if let Some(labels) = template.pointer_mut("/metadata/labels").and_then(Value::as_object_mut) {
        labels.remove(HASH);
    }
    template
}

/// The hash of a template.
pub fn hash(template: &Value, collisions: Option<i64>) -> String {
    let mut hash = fnv1a(FNV_SEED, canonical(template).as_bytes());
    if let Some(collisions) = collisions {
        hash = fnv1a(hash, &collisions.to_le_bytes());
    }
    safe_encode(&hash.to_string())
}

/// The number of a rollout, or 0.
pub fn revision(object: &Value) -> i64 {
    annotation(object, REVISION).and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// In the order in which they were made.
pub fn by_age(sets: &mut [Value]) {
    sets.sort_by_cached_key(|set| (time(set, "/metadata/creationTimestamp"), name(set).to_owned()));
}

/// What the new ReplicaSet takes over from its Deployment. Says whether anything changed.
fn annotate(deployment: &Value, set: &mut Value, number: i64, exists: bool) -> bool {
    let mut changed = false;
    for (key, value) in
        deployment.pointer("/metadata/annotations").and_then(Value::as_object).into_iter().flatten()
    {
        if !OWN.contains(&key.as_str())
            && let Some(value) = value.as_str()
        {
            changed |= annotation(set, key) != Some(value);
            set_annotation(set, key, value);
        }
    }
    let known = annotation(set, REVISION).map(str::to_owned);
    let before = revision(set);
    if before < number {
        set_annotation(set, REVISION, &number.to_string());
        changed = true;
        if let Some(known) = known {
            let history = annotation(set, HISTORY).unwrap_or_default();
            let mut kept = history;
            // The oldest numbers make room.
            while !kept.is_empty() && kept.len() + known.len() + 1 > LONGEST_HISTORY {
                kept = kept.split_once(',').map_or("", |(_, rest)| rest);
            }
            let history = if kept.is_empty() { known } else { format!("{kept},{known}") };
            set_annotation(set, HISTORY, &history);
        }
    }
    if !exists {
        changed |= note_replicas(deployment, set);
    }
    changed
}

/// Notes on a ReplicaSet how many pods its Deployment wants. Says whether that is news.
pub fn note_replicas(deployment: &Value, set: &mut Value) -> bool {
    let wanted = replicas(deployment);
    let most = wanted + max_surge(deployment);
    let one = set_annotation(set, DESIRED, &wanted.to_string());
    let other = set_annotation(set, MOST, &most.to_string());
    one || other
}

/// Whether a Deployment is to progress within some time.
pub fn has_deadline(deployment: &Value) -> bool {
    number(deployment, "/spec/progressDeadlineSeconds").is_some_and(|n| n != i64::from(i32::MAX))
}

impl Rollout<'_> {
    /// The ReplicaSet of the present template, made if asked for, and all others.
    pub(super) async fn generations(&mut self, make: bool) -> Result<Generations, Error> {
        let wanted = bare(&self.deployment["spec"]["template"]);
        by_age(&mut self.sets);
        let new = self.sets.iter().find(|set| bare(&set["spec"]["template"]) == wanted).cloned();
        let is_new = |set: &Value| new.as_ref().is_some_and(|new| name(new) == name(set));
        let old: Vec<Value> = self.sets.iter().filter(|set| !is_new(set)).cloned().collect();
        let number = old.iter().map(revision).max().unwrap_or(0) + 1;
        let new = match new {
            Some(found) => Some(self.found(found, number).await?),
            None if make => Some(self.make(&old, number).await?),
            None => None,
        };
        Ok(Generations { new, old })
    }

    /// Brings the ReplicaSet of the present template up to date.
    async fn found(&mut self, mut set: Value, number: i64) -> Result<Value, Error> {
        let mut changed = annotate(&self.deployment, &mut set, number, true);
        let ready = count(&self.deployment, "/spec/minReadySeconds");
        if count(&set, "/spec/minReadySeconds") != ready {
            set["spec"]["minReadySeconds"] = ready.into();
            changed = true;
        }
        if changed {
            let written = self.cx.api.update(&REPLICA_SETS, &set).await?;
            self.replace(&written);
            return Ok(written);
        }
        let revision = annotation(&set, REVISION).unwrap_or_default().to_owned();
        let mut changed = set_annotation(&mut self.deployment, REVISION, &revision);
        if has_deadline(&self.deployment) && condition(&self.deployment, "Progressing").is_none() {
            let message = format!("Found new replica set {:?}", name(&set));
            self.set_condition("Progressing", "True", "FoundNewReplicaSet", &message);
            changed = true;
        }
        self.unwritten |= changed;
        Ok(set)
    }

    /// Makes the ReplicaSet of the present template.
    async fn make(&mut self, old: &[Value], number: i64) -> Result<Value, Error> {
        let deployment = &self.deployment;
        let template = &deployment["spec"]["template"];
        let hash = hash(template, number_of_collisions(deployment));
        let mut template = template.clone();
        map_at(&mut template, &["metadata", "labels"]).insert(HASH.into(), hash.as_str().into());
        let mut selector = deployment["spec"]["selector"].clone();
        map_at(&mut selector, &["matchLabels"]).insert(HASH.into(), hash.as_str().into());
        let set_name = format!("{}-{hash}", name(deployment));
        let mut set = json!({
            "apiVersion": "apps/v1", "kind": "ReplicaSet",
            "metadata": {
                "name": set_name, "namespace": namespace(deployment),
                "labels": template["metadata"]["labels"],
                "ownerReferences": [
                    controller_reference(deployment, DEPLOYMENTS.api_version, DEPLOYMENTS.kind)
                ],
            },
            "spec": { "replicas": 0, "selector": selector, "template": template },
        });
        let ready = count(deployment, "/spec/minReadySeconds");
        if ready != 0 {
            set["spec"]["minReadySeconds"] = ready.into();
        }
        let wanted = new_replicas(deployment, old, 0);
        set["spec"]["replicas"] = wanted.into();
        annotate(deployment, &mut set, number, false);
        let api = &self.cx.api;
        let (created, exists) = match api.create(&REPLICA_SETS, namespace(deployment), &set).await {
            Ok(created) => (created, false),
            Err(error) if raw::is_conflict(&error) => {
                let found = api.get(&REPLICA_SETS, namespace(deployment), &set_name).await?;
                match found {
                    Some(found)
                        if is_controlled_by(&found, deployment)
                            && bare(&found["spec"]["template"]) == bare(&deployment["spec"]["template"]) =>
                    {
                        (found, true)
                    }
                    // Another template has the same hash: with one more collision noted it is another.
                    Some(_) => {
                        let collisions = number_of_collisions(deployment).unwrap_or(0) + 1;
                        self.deployment["status"]["collisionCount"] = collisions.into();
                        self.write_status().await?;
                        return Err(error.into());
                    }
                    None => return Err(error.into()),
                }
            }
            Err(error) if is_terminating(&error) => return Err(error.into()),
            Err(error) => {
                let message = format!("Failed to create new replica set {set_name:?}: {}", words(&error));
                api.warning(COMPONENT, deployment, "ReplicaSetCreateError", &message);
                if has_deadline(deployment) {
                    self.set_condition("Progressing", "False", "ReplicaSetCreateError", &message);
                    self.write_status().await?;
                }
                return Err(error.into());
            }
        };
        if !exists && wanted > 0 {
            let message = format!("Scaled up replica set {set_name} from 0 to {wanted}");
            api.normal(COMPONENT, deployment, "ScalingReplicaSet", &message);
        }
        let mut changed = set_annotation(&mut self.deployment, REVISION, &number.to_string());
        if !exists && has_deadline(&self.deployment) {
            let message = format!("Created new replica set {set_name:?}");
            self.set_condition("Progressing", "True", "NewReplicaSetCreated", &message);
            changed = true;
        }
        self.replace(&created);
        // Written with the status that this look comes to.
        self.unwritten |= changed;
        Ok(created)
    }

    /// Sets a condition of the Deployment's status, unless it has that status and reason already.
    pub(super) fn set_condition(&mut self, kind: &str, holds: &str, reason: &str, message: &str) {
        set_condition(&mut self.deployment["status"], kind, holds, reason, message, Timestamp::now());
    }
}

fn number_of_collisions(deployment: &Value) -> Option<i64> {
    number(deployment, "/status/collisionCount")
}

/// Sets a condition of a Deployment's status, unless it has that status and reason already.
pub fn set_condition(
    status: &mut Value,
    kind: &str,
    holds: &str,
    reason: &str,
    message: &str,
    now: Timestamp,
) {
    let list = map_at(status, &[]).entry("conditions").or_insert_with(|| json!([]));
    if !list.is_array() {
        *list = json!([]);
    }
    let Some(list) = list.as_array_mut() else { return };
    let stamp = crate::tenant::value::stamp(now);
    let mut since = stamp.clone();
    if let Some(at) = list.iter().position(|c| text(c, "/type") == kind) {
        if text(&list[at], "/status") == holds {
            if text(&list[at], "/reason") == reason {
                return;
            }
            since = text(&list[at], "/lastTransitionTime").to_owned();
        }
        list.remove(at);
    }
    list.push(json!({
        "type": kind, "status": holds, "lastUpdateTime": stamp, "lastTransitionTime": since,
        "reason": reason, "message": message,
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_is_told_by_all_but_its_own_hash() {
        let template = json!({ "metadata": { "labels": { "a": "b" } }, "spec": { "x": 1 } });
        let mut labelled = template.clone();
        labelled["metadata"]["labels"][HASH] = "abc".into();
        assert_eq!(bare(&template), bare(&labelled));
        assert_ne!(hash(&template, None), hash(&template, Some(1)));
        assert!(hash(&template, None).len() <= 10);
    }

    #[test]
    fn a_set_remembers_the_rollouts_it_served() {
        let deployment = json!({ "metadata": { "annotations": { "a": "b", REVISION: "1" } },
            "spec": { "replicas": 2 } });
        let mut set = json!({ "metadata": {} });
        assert!(annotate(&deployment, &mut set, 1, true));
        assert_eq!(set["metadata"]["annotations"], json!({ "a": "b", REVISION: "1" }));
        assert!(!annotate(&deployment, &mut set, 1, true));
        assert!(annotate(&deployment, &mut set, 3, true));
        assert!(annotate(&deployment, &mut set, 5, true));
        assert_eq!(set["metadata"]["annotations"][HISTORY], "1,3");
    }
}
