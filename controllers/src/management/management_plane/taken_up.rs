//! Whether what was written has reached all that runs (client required).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kplane_crds::v1alpha1::{KUBECONFIG_EXTERNAL_KEY, KUBECONFIG_KEY, ManagementPlane, NAME_LABEL};
use serde_json::Value;

use super::authority::Authority;
use super::build::{APISERVER, CERTIFICATES_ANNOTATION, Digests, ETCD};
use super::validate::{Deployed, Store};
use crate::Error;
use crate::runtime::raw::{self, Raw};

/// How many Secrets are read at once.
const PAGE: u32 = 200;

/// Whether every pod has started with these certificates.
pub async fn by_pods(
    plane: &ManagementPlane,
    deployed: &Deployed,
    raw: &Raw,
    digests: &Digests,
) -> Result<bool, Error> {
    let namespace = &plane.spec.namespace;
    let get = async |plural: &str, name: &str| {
        raw::optional(raw.get(&format!("/apis/apps/v1/namespaces/{namespace}/{plural}/{name}")).await)
    };
    if let Store::Managed(_) = deployed.store
        && !get("statefulsets", ETCD).await?.is_some_and(|set| is_rolled_out(&set, &digests.etcd))
    {
        return Ok(false);
    }
    Ok(get("deployments", APISERVER).await?.is_some_and(|set| is_rolled_out(&set, &digests.apiserver)))
}

/// Whether every kubeconfig that the controllers have written is as the authority's next step needs it.
pub async fn by_kubeconfigs(raw: &Raw, authority: &Authority) -> Result<bool, Error> {
    let mut behind = 0;
    let path = format!("/api/v1/secrets?labelSelector={}", raw::encode(NAME_LABEL));
    raw.pages(&path, PAGE, |secret| behind += usize::from(is_behind(&secret, authority))).await?;
    if behind > 0 {
        tracing::debug!(behind, "kubeconfigs are to be written anew before the next step");
    }
    Ok(behind == 0)
}

/// Whether all pods of a Deployment or StatefulSet are of its template, ready, and of this digest.
fn is_rolled_out(object: &Value, digest: &str) -> bool {
    let (spec, status) = (&object["spec"], &object["status"]);
    let count = |key: &str| status[key].as_i64().unwrap_or(0);
    let wanted = spec["replicas"].as_i64().unwrap_or(1);
    spec["template"]["metadata"]["annotations"][CERTIFICATES_ANNOTATION] == digest
        && status["observedGeneration"] == object["metadata"]["generation"]
        && ["replicas", "updatedReplicas", "readyReplicas"].iter().all(|key| count(key) == wanted)
        && count("terminatingReplicas") == 0
}

fn is_behind(secret: &Value, authority: &Authority) -> bool {
    let keys = [KUBECONFIG_KEY, KUBECONFIG_EXTERNAL_KEY];
    keys.iter().any(|key| trusted(&secret["data"][key]).is_some_and(|trusted| authority.is_behind(&trusted)))
}

/// What the kubeconfig in a Secret trusts.
fn trusted(data: &Value) -> Option<String> {
    let text = String::from_utf8(STANDARD.decode(data.as_str()?).ok()?).ok()?;
    let config: Value = serde_saphyr::from_str(&text).ok()?;
    let encoded = config["clusters"][0]["cluster"]["certificate-authority-data"].as_str()?;
    String::from_utf8(STANDARD.decode(encoded).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn pods_that_are_not_all_new_and_ready_have_not_taken_it_up() {
        let object = |status: Value| {
            json!({
                "metadata": { "generation": 2 },
                "spec": { "replicas": 2, "template": {
                    "metadata": { "annotations": { CERTIFICATES_ANNOTATION: "d" } },
                }},
                "status": status,
            })
        };
        let status = |updated: i64, generation: i64| json!({ "replicas": 2, "updatedReplicas": updated, "readyReplicas": 2, "observedGeneration": generation });
        assert!(is_rolled_out(&object(status(2, 2)), "d"));
        assert!(!is_rolled_out(&object(status(2, 2)), "other"));
        assert!(!is_rolled_out(&object(status(1, 2)), "d"));
        assert!(!is_rolled_out(&object(status(2, 1)), "d"), "nobody has looked at it yet");
        let mut ending = object(status(2, 2));
        ending["status"]["terminatingReplicas"] = 1.into();
        assert!(!is_rolled_out(&ending, "d"));
    }

    #[test]
    fn what_a_kubeconfig_trusts_is_found() {
        let ca = STANDARD.encode("pem");
        let config = json!({ "clusters": [{ "cluster": { "certificate-authority-data": ca } }] });
        assert_eq!(trusted(&STANDARD.encode(config.to_string()).into()).as_deref(), Some("pem"));
        assert_eq!(trusted(&Value::Null), None);
    }
}
