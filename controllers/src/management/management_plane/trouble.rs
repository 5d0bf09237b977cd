//! What keeps the pods of a deployed management plane from running, in the cluster's own words (client required).

use serde_json::Value;

use kplane_crds::conditions::reason;

use super::build::{CONTROLLERS, ETCD_BACKUP, SELECTOR};
use crate::Error;
use crate::management::secrets::is_refused_by_policy;
use crate::runtime::raw::{self, Raw};

/// Why something does not run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// For programs.
    pub reason: &'static str,
    /// For people: which pod or volume, and what the cluster says of it.
    pub message: String,
}

/// Looks at the pods and claims of the management plane, or of one part of it; `None` when they say nothing that is wrong.
pub async fn look(raw: &Raw, namespace: &str, part: Option<&str>) -> Result<Option<Trouble>, Error> {
    let part = part.map(|name| format!(",app.kubernetes.io/name={name}")).unwrap_or_default();
    let selector = raw::encode(&format!("{SELECTOR}{part}"));
    let list = async |plural: &str| -> Result<Vec<Value>, Error> {
        let path = format!("/api/v1/namespaces/{namespace}/{plural}?labelSelector={selector}");
        let list = raw::optional(raw.get(&path).await)?.unwrap_or_default();
        Ok(list["items"].as_array().cloned().unwrap_or_default())
    };
    let mut pods = list("pods").await?;
    // What takes snapshots has a condition of its own, and who says this runs.
    let others = [ETCD_BACKUP, CONTROLLERS];
    pods.retain(|pod| others.iter().all(|name| pod["metadata"]["labels"]["app.kubernetes.io/name"] != *name));
    let claims = list("persistentvolumeclaims").await?;
    let classes = raw::optional(raw.get("/apis/storage.k8s.io/v1/storageclasses").await)?.unwrap_or_default();
    Ok(judge(&pods, &claims, classes["items"].as_array().map_or(&[][..], Vec::as_slice)))
}

/// Why a step failed, by reason and in words with the next step.
pub fn of_error(error: &Error, namespace: &str) -> (&'static str, String) {
    let message = error.to_string();
    if matches!(error, Error::GatewayApiMissing) {
        return ("GatewayApiMissing", message);
    }
    // A quota or another's policy refuses with the same code, and in other words.
    if let Error::Kube(error) = error
        && raw::code(error) == Some(403)
        && (message.contains(" cannot ") || is_refused_by_policy(error))
    {
        let message = format!(
            "the controllers may not do in the namespace {namespace} what a management plane needs: {message}; an administrator \
             allows it: make the namespace, and bind the ClusterRole kplane-plane in it to the service account of the controllers"
        );
        return (reason::FORBIDDEN, message);
    }
    if message.contains("provided port is already allocated") {
        let message = format!(
            "a port of the nodes is taken by another Service: {message}; set spec.exposure.nodePort to another, or leave it \
             out for the cluster to choose"
        );
        return (reason::PORT_TAKEN, message);
    }
    (reason::RETRYING, message)
}

/// The first of what is wrong, the causes before their consequences: a volume before the pod that waits for it.
fn judge(pods: &[Value], claims: &[Value], classes: &[Value]) -> Option<Trouble> {
    claims
        .iter()
        .find_map(|claim| of_claim(claim, classes))
        .or_else(|| pods.iter().find_map(of_image))
        .or_else(|| pods.iter().find_map(of_container))
        .or_else(|| pods.iter().find_map(of_scheduling))
        .or_else(|| claims.iter().find_map(of_lost_claim))
}

fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or_default()
}

/// A claim that no storage class can serve.
fn of_claim(claim: &Value, classes: &[Value]) -> Option<Trouble> {
    if claim["status"]["phase"] == "Bound" || claim["status"]["phase"] == "Lost" {
        return None;
    }
    let is_default = |class: &Value| {
        class["metadata"]["annotations"]["storageclass.kubernetes.io/is-default-class"] == "true"
    };
    let message = match claim["spec"]["storageClassName"].as_str() {
        Some(wanted) if wanted.is_empty() || classes.iter().any(|class| name(class) == wanted) => {
            return None;
        }
        Some(wanted) => format!(
            "the volume claim {:?} names the storage class {wanted:?}, which this cluster does not have; set \
             spec.store.etcd.managed.storageClassName",
            name(claim)
        ),
        None if classes.iter().any(is_default) => return None,
        None => format!(
            "the volume claim {:?} names no storage class, and this cluster has no default one; set \
             spec.store.etcd.managed.storageClassName, or make a PersistentVolume without a class for it",
            name(claim)
        ),
    };
    Some(Trouble { reason: "NoStorageClass", message })
}

/// A claim whose volume is gone.
fn of_lost_claim(claim: &Value) -> Option<Trouble> {
    let lost = claim["status"]["phase"] == "Lost";
    let message = format!(
        "the volume of the claim {:?} is gone; a member of etcd is replaced by itself while a quorum of the others is well, \
         else restore a snapshot",
        name(claim)
    );
    lost.then_some(Trouble { reason: "VolumeLost", message })
}

/// What the pod's containers wait for (`waiting`) or died of (`terminated`): reasons with words.
fn states<'a>(pod: &'a Value, state: &str) -> Vec<(&'a str, &'a str)> {
    let lists = ["initContainerStatuses", "containerStatuses"];
    let containers = lists.into_iter().flat_map(|list| pod["status"][list].as_array().into_iter().flatten());
    containers
        .filter_map(|container| {
            let found = container["state"].get(state).or_else(|| container["lastState"].get(state))?;
            Some((found["reason"].as_str()?, found["message"].as_str().unwrap_or_default()))
        })
        .collect()
}

fn of_image(pod: &Value) -> Option<Trouble> {
    let (why, said) = states(pod, "waiting").into_iter().find(|(why, _)| {
        matches!(*why, "ErrImagePull" | "ImagePullBackOff" | "InvalidImageName" | "ErrImageNeverPull")
    })?;
    let message = format!("the image of the pod {:?} cannot be had ({why}): {said}", name(pod));
    Some(Trouble { reason: "ImageUnavailable", message: message.trim_end_matches([':', ' ']).to_owned() })
}

fn of_container(pod: &Value) -> Option<Trouble> {
    let (why, said) = states(pod, "waiting").into_iter().find(|(why, _)| {
        matches!(
            *why,
            "CrashLoopBackOff" | "CreateContainerConfigError" | "CreateContainerError" | "RunContainerError"
        )
    })?;
    // That it waits for its next start says little; what it died of, more.
    let died = states(pod, "terminated").into_iter().next();
    let said = match (why, died) {
        ("CrashLoopBackOff", Some((why, said))) => format!("{why} {said}"),
        _ => said.to_owned(),
    };
    let message = format!(
        "the pod {:?} does not run ({why}): {}; see `kubectl logs --previous`",
        name(pod),
        said.trim()
    );
    Some(Trouble { reason: "PodFailing", message })
}

fn of_scheduling(pod: &Value) -> Option<Trouble> {
    let conditions = pod["status"]["conditions"].as_array()?;
    let found = conditions.iter().find(|c| c["type"] == "PodScheduled" && c["status"] == "False")?;
    let message = found["message"].as_str().unwrap_or("no node fits");
    let message = format!("the pod {:?} is on no node: {message}", name(pod));
    Some(Trouble { reason: "Unschedulable", message })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn waiting(reason: &str) -> Value {
        json!({ "metadata": { "name": "owl-0" }, "status": { "containerStatuses": [{
            "state": { "waiting": { "reason": reason, "message": "back-off 5m" } },
            "lastState": { "terminated": { "reason": "Error", "message": "no key" } },
        }]}})
    }

    #[test]
    fn an_image_that_cannot_be_pulled_is_named() {
        let trouble = judge(&[waiting("ImagePullBackOff")], &[], &[]).unwrap();
        assert_eq!(trouble.reason, "ImageUnavailable");
        assert!(trouble.message.contains("owl-0") && trouble.message.contains("back-off 5m"), "{trouble:?}");
        assert_eq!(judge(&[waiting("ContainerCreating")], &[], &[]), None);
    }

    #[test]
    fn a_port_that_is_taken_is_told_from_other_errors() {
        let refused = "Service \"x\" is invalid: spec.ports[0].nodePort: Invalid value: 30443: provided port is already allocated";
        assert_eq!(of_error(&Error::Wait(refused.into()), "barn").0, reason::PORT_TAKEN);
        assert_eq!(of_error(&Error::Wait("no".into()), "barn").0, reason::RETRYING);
    }

    #[test]
    fn a_pod_that_dies_says_of_what() {
        let trouble = judge(&[waiting("CrashLoopBackOff")], &[], &[]).unwrap();
        assert_eq!(trouble.reason, "PodFailing");
        assert!(trouble.message.contains("Error no key"), "{trouble:?}");
    }

    #[test]
    fn a_claim_without_a_class_comes_before_the_pod_that_waits_for_it() {
        let pod = json!({ "metadata": { "name": "owl-0" }, "status": { "conditions": [
            { "type": "PodScheduled", "status": "False", "message": "unbound claims" },
        ]}});
        let claim =
            json!({ "metadata": { "name": "data-owl-0" }, "spec": {}, "status": { "phase": "Pending" } });
        let trouble = judge(std::slice::from_ref(&pod), std::slice::from_ref(&claim), &[]).unwrap();
        assert_eq!(trouble.reason, "NoStorageClass");
        let class = json!({ "metadata": { "name": "std", "annotations": {
            "storageclass.kubernetes.io/is-default-class": "true",
        }}});
        let trouble = judge(&[pod], &[claim], &[class]).unwrap();
        assert_eq!((trouble.reason, trouble.message.contains("unbound claims")), ("Unschedulable", true));
    }
}
