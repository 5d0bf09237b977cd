//! Whether what was written has reached all that runs (client required).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::stream::{self, StreamExt};
use k8s_openapi::api::core::v1::Secret;
use kplane_crds::names;
use kplane_crds::v1alpha1::{KUBECONFIG_EXTERNAL_KEY, KUBECONFIG_KEY, ManagementPlane};
use serde_json::Value;

use super::authority::Authority;
use super::build::{APISERVER, CERTIFICATES_ANNOTATION, Digests, ETCD};
use super::validate::{Deployed, Store};
use crate::Error;
use crate::management::credential;
use crate::management::secrets::Secrets;
use crate::runtime::raw::{self, Raw};

const CONTROL_PLANES: &str = "/apis/controlplane.kplane.dev/v1alpha1/controlplanes";
const CREDENTIALS: &str = "/apis/controlplane.kplane.dev/v1alpha1/controlplanecredentials";
/// How many objects are listed at once.
const PAGE: u32 = 200;
/// How many Secrets are read at once.
const AT_ONCE: usize = 16;

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

/// Whether every kubeconfig that the controllers have written is as the authority's next step needs it. Each is looked at
/// where its object says that it is, until one is not.
pub async fn by_kubeconfigs(raw: &Raw, secrets: &Secrets, authority: &Authority) -> Result<bool, Error> {
    let mut written = Vec::new();
    raw.pages(CONTROL_PLANES, PAGE, |object| {
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        written.push((names::namespace(name), names::kubeconfig_secret(name)));
    })
    .await?;
    let mut credentials = Vec::new();
    raw.pages(CREDENTIALS, PAGE, |object| credentials.push(object)).await?;
    for credential in credentials {
        written.push(credential::secret_reference(&serde_json::from_value(credential)?));
    }
    let mut looks = stream::iter(written)
        .map(async |(namespace, name)| secrets.find(&namespace, &name).await)
        .buffer_unordered(AT_ONCE);
    while let Some(found) = looks.next().await {
        if found?.secret().is_some_and(|secret| is_behind(secret, authority)) {
            tracing::debug!("kubeconfigs are to be written anew before the next step");
            return Ok(false);
        }
    }
    Ok(true)
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

fn is_behind(secret: &Secret, authority: &Authority) -> bool {
    let keys = [KUBECONFIG_KEY, KUBECONFIG_EXTERNAL_KEY];
    let data = |key: &&str| secret.data.as_ref()?.get(*key);
    keys.iter().filter_map(data).filter_map(|bytes| trusted(&bytes.0)).any(|pem| authority.is_behind(&pem))
}

/// What the kubeconfig in a Secret trusts.
fn trusted(kubeconfig: &[u8]) -> Option<String> {
    let config: Value = serde_saphyr::from_str(std::str::from_utf8(kubeconfig).ok()?).ok()?;
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
        assert_eq!(trusted(config.to_string().as_bytes()).as_deref(), Some("pem"));
        assert_eq!(trusted(b""), None);
    }
}
