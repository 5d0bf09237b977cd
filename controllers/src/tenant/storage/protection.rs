//! Claims that pods use, and volumes that claims have, do not go.

use serde_json::Value;

use super::release;
use crate::Error;
use crate::tenant::api::{CLAIMS, PODS, VOLUMES};
use crate::tenant::tasks::{Cx, Holds};
use crate::tenant::value::{has_finalizer, is_deleting, items, name, namespace, text};

const CLAIM: &str = "kubernetes.io/pvc-protection";
const VOLUME: &str = "kubernetes.io/pv-protection";

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
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

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
