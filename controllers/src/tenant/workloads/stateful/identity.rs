//! What makes a pod of a StatefulSet that pod: its name, its labels, its claims.

use serde_json::{Value, json};

use super::{COMPONENT, Look};
use crate::Error;
use crate::runtime::raw;
use crate::tenant::api::{CLAIMS, PODS, STATEFUL_SETS, is_terminating, words};
use crate::tenant::value::{
    controller_reference, flag, is_deleting, items, label, map_at, name, namespace, text, uid,
};
use crate::tenant::workloads::pods::{Parent, from_template};
use crate::tenant::workloads::revisions::{REVISION_LABEL, template};

const POD_NAME: &str = "statefulset.kubernetes.io/pod-name";
const POD_INDEX: &str = "apps.kubernetes.io/pod-index";

/// The number of a pod of a StatefulSet.
pub fn ordinal(set: &Value, pod: &Value) -> Option<i64> {
    let (parent, number) = name(pod).rsplit_once('-')?;
    (parent == name(set) && !number.is_empty()).then_some(())?;
    number.bytes().all(|b| b.is_ascii_digit()).then_some(())?;
    number.parse().ok()
}

fn claim_name(set: &Value, template: &Value, ordinal: i64) -> String {
    format!("{}-{}-{ordinal}", name(template), name(set))
}

/// A pod of this number, of this revision.
pub fn pod(set: &Value, revision: &Value, ordinal: i64) -> Value {
    let parent = Parent { object: set, kind: &STATEFUL_SETS, component: COMPONENT };
    let mut pod = from_template(&template(revision), &parent);
    map_at(&mut pod, &["metadata"]).remove("generateName");
    let pod_name = format!("{}-{ordinal}", name(set));
    pod["metadata"]["name"] = pod_name.as_str().into();
    map_at(&mut pod, &["metadata", "labels"]).insert(REVISION_LABEL.into(), name(revision).into());
    identify(set, &mut pod, ordinal);
    pod["spec"]["hostname"] = pod_name.into();
    if !text(set, "/spec/serviceName").is_empty() {
        pod["spec"]["subdomain"] = set["spec"]["serviceName"].clone();
    }
    let claims = items(set, "/spec/volumeClaimTemplates");
    if !claims.is_empty() {
        let mut volumes: Vec<Value> = claims
            .iter()
            .map(|claim| {
                json!({ "name": name(claim), "persistentVolumeClaim": {
                    "claimName": claim_name(set, claim, ordinal) } })
            })
            .collect();
        let of_claim = |volume: &Value| claims.iter().any(|claim| name(claim) == text(volume, "/name"));
        volumes.extend(items(&pod, "/spec/volumes").iter().filter(|v| !of_claim(v)).cloned());
        pod["spec"]["volumes"] = volumes.into();
    }
    pod
}

/// Gives a pod the labels of its number. Says whether it lacked one.
pub fn identify(set: &Value, pod: &mut Value, ordinal: i64) -> bool {
    let pod_name = format!("{}-{ordinal}", name(set));
    let index = ordinal.to_string();
    let changed = label(pod, POD_NAME) != Some(&pod_name) || label(pod, POD_INDEX) != Some(&index);
    let labels = map_at(pod, &["metadata", "labels"]);
    labels.insert(POD_NAME.into(), pod_name.into());
    labels.insert(POD_INDEX.into(), index.into());
    changed
}

/// Who owns a claim, by the policy of its StatefulSet: the set if claims go with it, the pod if claims go when it is scaled
/// away. `None` if nobody does.
fn claim_owner(set: &Value, pod: Option<&Value>, condemned: bool) -> Option<Value> {
    let goes =
        |when: &str| text(set, &format!("/spec/persistentVolumeClaimRetentionPolicy/{when}")) == "Delete";
    match pod {
        Some(pod) if condemned && goes("whenScaled") => Some(controller_reference(pod, "v1", "Pod")),
        _ if goes("whenDeleted") => {
            Some(controller_reference(set, STATEFUL_SETS.api_version, STATEFUL_SETS.kind))
        }
        _ => None,
    }
}

impl Look<'_> {
    /// Creates the claims that a pod needs and that are not there.
    pub(super) async fn create_claims(&self, pod: &Value, ordinal: i64) -> Result<(), Error> {
        let space = namespace(self.set);
        for template in items(self.set, "/spec/volumeClaimTemplates") {
            let claim = claim_name(self.set, template, ordinal);
            if let Some(known) = self.cx.api.get(&CLAIMS, space, &claim).await? {
                if is_deleting(&known) {
                    let why = format!("pvc {claim} is being deleted");
                    return Err(Error::Wait(why));
                }
                continue;
            }
            let mut made = template.clone();
            made["apiVersion"] = CLAIMS.api_version.into();
            made["kind"] = CLAIMS.kind.into();
            made["metadata"]["name"] = claim.as_str().into();
            made["metadata"]["namespace"] = space.into();
            map_at(&mut made, &[]).remove("status");
            let wanted = self.set.pointer("/spec/selector/matchLabels").and_then(Value::as_object).cloned();
            map_at(&mut made, &["metadata", "labels"]).extend(wanted.unwrap_or_default());
            if let Some(owner) = claim_owner(self.set, None, false) {
                made["metadata"]["ownerReferences"] = json!([owner]);
            }
            let set_name = name(self.set);
            let subject = format!("create Claim {claim} Pod {} in StatefulSet {set_name}", name(pod));
            match self.cx.api.create(&CLAIMS, space, &made).await {
                Ok(_) => {
                    let message = format!("{subject} success");
                    self.cx.api.normal(COMPONENT, self.set, "SuccessfulCreate", &message);
                }
                Err(error) if raw::is_conflict(&error) => {}
                Err(error) => {
                    if !is_terminating(&error) {
                        let message = format!("{subject} failed error: {}", words(&error));
                        self.cx.api.warning(COMPONENT, self.set, "FailedCreate", &message);
                    }
                    return Err(error.into());
                }
            }
        }
        Ok(())
    }

    /// Lets the claims of a pod go or stay with whom the policy says.
    pub(super) async fn own_claims(&self, pod: &Value, ordinal: i64, condemned: bool) -> Result<(), Error> {
        for template in items(self.set, "/spec/volumeClaimTemplates") {
            let claim = claim_name(self.set, template, ordinal);
            let Some(known) = self.cx.api.get(&CLAIMS, namespace(self.set), &claim).await? else { continue };
            let owners = items(&known, "/metadata/ownerReferences");
            let is_ours = |owner: &Value| {
                (text(owner, "/kind") == "StatefulSet" && text(owner, "/name") == name(self.set))
                    || (text(owner, "/kind") == "Pod" && text(owner, "/name") == name(pod))
            };
            // Another that manages the claim is left alone.
            if owners.iter().any(|owner| flag(owner, "/controller") && !is_ours(owner)) {
                continue;
            }
            let wanted = claim_owner(self.set, Some(pod), condemned);
            let mut next: Vec<Value> = owners.iter().filter(|o| !is_ours(o)).cloned().collect();
            next.extend(wanted.clone());
            let wanted_uid = wanted.as_ref().map_or("", |owner| text(owner, "/uid"));
            let has: Vec<&str> = owners.iter().filter(|o| is_ours(o)).map(|o| text(o, "/uid")).collect();
            let fits = if wanted.is_some() { has == [wanted_uid] } else { has.is_empty() };
            if !fits {
                let patch = json!({ "metadata": { "ownerReferences": next } });
                raw::optional(self.cx.api.patch_unchanged(&CLAIMS, &known, patch).await)?;
            }
        }
        Ok(())
    }

    /// Creates a pod and its claims, and tells of it.
    pub(super) async fn create_pod(&self, pod: &Value, ordinal: i64) -> Result<Value, Error> {
        self.create_claims(pod, ordinal).await?;
        let subject = format!("create Pod {} in StatefulSet {}", name(pod), name(self.set));
        match self.cx.api.create(&PODS, namespace(self.set), pod).await {
            Ok(created) => {
                let message = format!("{subject} successful");
                self.cx.api.normal(COMPONENT, self.set, "SuccessfulCreate", &message);
                Ok(created)
            }
            Err(error) => {
                if !is_terminating(&error) && !raw::is_conflict(&error) {
                    let message = format!("{subject} failed error: {}", words(&error));
                    self.cx.api.warning(COMPONENT, self.set, "FailedCreate", &message);
                }
                Err(error.into())
            }
        }
    }

    /// Deletes a pod, and tells of it.
    pub(super) async fn delete_pod(&self, pod: &Value) -> Result<(), Error> {
        let subject = format!("delete Pod {} in StatefulSet {}", name(pod), name(self.set));
        match self.cx.api.delete(&PODS, pod, None).await {
            Ok(()) => {
                let message = format!("{subject} successful");
                self.cx.api.normal(COMPONENT, self.set, "SuccessfulDelete", &message);
                Ok(())
            }
            Err(error) => {
                let message = format!("{subject} failed error: {}", words(&error));
                self.cx.api.warning(COMPONENT, self.set, "FailedDelete", &message);
                Err(error.into())
            }
        }
    }

    /// Whether a claim of a pod is owned by an earlier pod of the same name: it is about to go.
    pub(super) async fn is_stale(&self, pod: &Value, ordinal: i64) -> Result<bool, Error> {
        let policy = "/spec/persistentVolumeClaimRetentionPolicy/whenScaled";
        if text(self.set, policy) != "Delete" {
            return Ok(false);
        }
        for template in items(self.set, "/spec/volumeClaimTemplates") {
            let claim = claim_name(self.set, template, ordinal);
            let Some(known) = self.cx.api.get(&CLAIMS, namespace(self.set), &claim).await? else { continue };
            let stale = items(&known, "/metadata/ownerReferences").iter().any(|owner| {
                text(owner, "/kind") == "Pod"
                    && text(owner, "/name") == name(pod)
                    && text(owner, "/uid") != uid(pod)
            });
            if stale {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set() -> Value {
        json!({
            "metadata": { "name": "db", "namespace": "farm", "uid": "u" },
            "spec": { "serviceName": "db", "volumeClaimTemplates": [{ "metadata": { "name": "data" } }] },
        })
    }

    #[test]
    fn numbers_are_read_from_names() {
        let number = |pod: &str| ordinal(&set(), &json!({ "metadata": { "name": pod } }));
        assert_eq!(number("db-12"), Some(12));
        assert_eq!(number("db-x"), None);
        assert_eq!(number("other-1"), None);
    }

    #[test]
    fn a_pod_has_its_own_name_and_claims() {
        let revision = json!({ "metadata": { "name": "db-abc" }, "data": { "spec": { "template": {
            "metadata": { "labels": { "a": "b" } },
            "spec": { "volumes": [{ "name": "data", "emptyDir": {} }, { "name": "tmp", "emptyDir": {} }] },
            "$patch": "replace" } } } });
        let pod = pod(&set(), &revision, 3);
        assert_eq!(name(&pod), "db-3");
        assert_eq!(pod["metadata"]["labels"][POD_INDEX], "3");
        assert_eq!(pod["metadata"]["labels"][REVISION_LABEL], "db-abc");
        assert_eq!(pod["spec"]["hostname"], "db-3");
        assert_eq!(pod["spec"]["volumes"][0]["persistentVolumeClaim"]["claimName"], "data-db-3");
        assert_eq!(pod["spec"]["volumes"].as_array().unwrap().len(), 2);
        assert!(!identify(&set(), &mut pod.clone(), 3));
    }

    #[test]
    fn claims_go_with_whom_the_policy_says() {
        let mut set = set();
        let pod = json!({ "metadata": { "name": "db-0", "uid": "p" } });
        assert_eq!(claim_owner(&set, Some(&pod), true), None);
        set["spec"]["persistentVolumeClaimRetentionPolicy"] =
            json!({ "whenDeleted": "Delete", "whenScaled": "Delete" });
        assert_eq!(claim_owner(&set, Some(&pod), true).unwrap()["kind"], "Pod");
        assert_eq!(claim_owner(&set, Some(&pod), false).unwrap()["kind"], "StatefulSet");
    }
}
