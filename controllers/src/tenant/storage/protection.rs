//! Claims that pods use, volumes that claims have, and classes that either names, do not go.

use serde_json::Value;

use super::release;
use crate::Error;
use crate::tenant::api::{ATTRIBUTES_CLASSES, CLAIMS, PODS, VOLUMES};
use crate::tenant::tasks::{Cx, Holds};
use crate::tenant::value::{has_finalizer, is_deleting, items, name, namespace, text};

const CLAIM: &str = "kubernetes.io/pvc-protection";
const VOLUME: &str = "kubernetes.io/pv-protection";
const ATTRIBUTES_CLASS: &str = "kubernetes.io/vac-protection";

/// Whether a claim or a volume has, or is to have, the attributes of a class.
fn names_class(object: &Value, class: &Value) -> bool {
    [
        "/spec/volumeAttributesClassName",
        "/status/currentVolumeAttributesClassName",
        "/status/modifyVolumeStatus/targetVolumeAttributesClassName",
    ]
    .iter()
    .any(|path| text(object, path) == name(class))
}

/// Whether a pod that is on a node uses a claim. One that is on none will not be started with it.
fn uses(pod: &Value, claim: &Value) -> bool {
    let ephemeral = |volume: &Value| {
        volume.get("ephemeral").is_some_and(Value::is_object)
            && format!("{}-{}", name(pod), text(volume, "/name")) == name(claim)
    };
    !text(pod, "/spec/nodeName").is_empty()
        && items(pod, "/spec/volumes").iter().any(|volume| {
            text(volume, "/persistentVolumeClaim/claimName") == name(claim) || ephemeral(volume)
        })
}

/// Lets go of what may go.
pub async fn reconcile(cx: &Cx<'_>, volumes: &[Value], claims: &[Value]) -> Result<(), Error> {
    // Noted before the pods are read: one that goes meanwhile brings this back.
    cx.tasks.forget(&cx.key.cluster, "", Holds::HeldClaims);
    if claims.iter().any(|claim| is_deleting(claim) && has_finalizer(claim, CLAIM)) {
        cx.tasks.note(&cx.key.cluster, "", Holds::HeldClaims);
    }
    for claim in claims.iter().filter(|claim| is_deleting(claim) && has_finalizer(claim, CLAIM)) {
        let pods = cx.api.list(&PODS, namespace(claim)).await?;
        if !pods.iter().any(|pod| uses(pod, claim)) {
            release(cx, &CLAIMS, claim, CLAIM).await?;
        }
    }
    for volume in volumes.iter().filter(|volume| is_deleting(volume) && has_finalizer(volume, VOLUME)) {
        if text(volume, "/status/phase") != "Bound" {
            release(cx, &VOLUMES, volume, VOLUME).await?;
        }
    }
    for class in cx.api.list(&ATTRIBUTES_CLASSES, "").await? {
        let waits = is_deleting(&class) && has_finalizer(&class, ATTRIBUTES_CLASS);
        if waits && !claims.iter().chain(volumes).any(|object| names_class(object, &class)) {
            release(cx, &ATTRIBUTES_CLASSES, &class, ATTRIBUTES_CLASS).await?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_class_is_held_by_what_has_it_or_will() {
        let class = json!({ "metadata": { "name": "gold" } });
        assert!(names_class(&json!({ "spec": { "volumeAttributesClassName": "gold" } }), &class));
        let target =
            json!({ "status": { "modifyVolumeStatus": { "targetVolumeAttributesClassName": "gold" } } });
        assert!(names_class(&target, &class));
        assert!(!names_class(&json!({ "spec": { "volumeAttributesClassName": "silver" } }), &class));
    }

    #[test]
    fn a_pod_on_a_node_holds_its_claims() {
        let claim = json!({ "metadata": { "name": "data" } });
        let mut pod = json!({ "metadata": { "name": "p" },
            "spec": { "volumes": [{ "name": "v", "persistentVolumeClaim": { "claimName": "data" } }] } });
        assert!(!uses(&pod, &claim));
        pod["spec"]["nodeName"] = "n".into();
        assert!(uses(&pod, &claim));
        assert!(uses(
            &json!({ "metadata": { "name": "p" }, "spec": { "nodeName": "n",
                "volumes": [{ "name": "v", "ephemeral": {} }] } }),
            &json!({ "metadata": { "name": "p-v" } })
        ));
    }
}
