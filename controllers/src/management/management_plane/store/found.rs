//! What the management cluster knows of a managed etcd (client required).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kplane_crds::v1alpha1::ManagementPlane;
use serde_json::Value;

use super::{items, restore, scale};
use crate::Error;
use crate::management::management_plane::build::{
    APISERVER, ATTEMPT_ANNOTATION, ETCD, FORMED_ANNOTATION, Start, TIDY,
};
use crate::runtime::raw::{self, Raw};

/// What etcd says when it has no data and is to take part in a cluster that is there: it was given nobody to ask.
const WITHOUT_DATA: &[&str] = &["cannot fetch cluster info from peer urls", "has already been bootstrapped"];

/// What there is.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// The StatefulSet.
    pub set: restore::Found,
    /// How many of its pods are ready.
    pub ready: i64,
    /// How many API servers there are, those on their way out too: for a while they go on.
    pub apiservers: i64,
    /// The pods and claims of members.
    pub pods: scale::Pods,
    /// What stands on the claims of what became of the data.
    pub mark: restore::Mark,
    /// The id of the cluster, once there was one.
    pub formed: Option<String>,
    /// What a member without data begins with.
    pub start: Option<Start>,
}

/// Reads it.
pub async fn look(plane: &ManagementPlane, raw: &Raw) -> Result<Found, Error> {
    let namespace = &plane.spec.namespace;
    let get = async |api: &str, plural: &str, name: &str| {
        raw::optional(raw.get(&format!("{api}/namespaces/{namespace}/{plural}/{name}")).await)
    };
    let set = get("/apis/apps/v1", "statefulsets", ETCD).await?;
    let map = get("/api/v1", "configmaps", ETCD).await?;
    let deployment = get("/apis/apps/v1", "deployments", APISERVER).await?;
    let claims =
        raw::optional(raw.get(&format!("/api/v1/namespaces/{namespace}/persistentvolumeclaims")).await)?;
    let members = pods(raw, namespace, ETCD).await?;
    let servers = pods(raw, namespace, APISERVER).await?;
    let found = read(set.as_ref(), map.as_ref(), items(&claims.unwrap_or_default()), &members);
    Ok(Found { apiservers: running(deployment.as_ref(), &servers), ..found })
}

/// The pods of this name.
pub async fn pods(raw: &Raw, namespace: &str, name: &str) -> Result<Vec<Value>, Error> {
    let selector = raw::encode(&format!("app.kubernetes.io/name={name},app.kubernetes.io/part-of=kplane"));
    let list = raw.get(&format!("/api/v1/namespaces/{namespace}/pods?labelSelector={selector}")).await?;
    Ok(items(&list).to_vec())
}

/// A value of a Secret.
pub fn decoded(secret: &Value, key: &str) -> Option<Vec<u8>> {
    STANDARD.decode(secret.get("data")?.get(key)?.as_str()?).ok()
}

fn number(object: Option<&Value>, pointer: &str) -> i64 {
    object.and_then(|object| object.pointer(pointer)).and_then(Value::as_i64).unwrap_or(0)
}

/// How many pods of a Deployment may still run. It does not count those that are being deleted itself.
fn running(deployment: Option<&Value>, pods: &[Value]) -> i64 {
    let over = |pod: &&Value| matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
    let there = pods.iter().filter(|pod| !over(pod)).count();
    number(deployment, "/status/replicas").max(i64::try_from(there).unwrap_or(0))
}

fn read(set: Option<&Value>, map: Option<&Value>, claims: &[Value], pods: &[Value]) -> Found {
    let text = |object: Option<&Value>, pointer: &str| {
        object.and_then(|object| object.pointer(pointer)).and_then(Value::as_str).map(str::to_owned)
    };
    let escaped = |key: &str| key.replace('/', "~1");
    let attempt = format!("/spec/template/metadata/annotations/{}", escaped(ATTEMPT_ANNOTATION));
    let formed = format!("/metadata/annotations/{}", escaped(FORMED_ANNOTATION));
    let name = |object: &Value| object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    let pods_there = || pods.iter().filter_map(|pod| Some((index(&name(pod), "")?, pod)));
    let claims_there = || claims.iter().filter_map(|claim| Some((index(&name(claim), "data-")?, claim)));
    Found {
        set: restore::Found {
            exists: set.is_some(),
            attempt: text(set, &attempt).unwrap_or_default(),
            replicas: i32::try_from(number(set, "/spec/replicas")).unwrap_or(0),
            // A pod that is on its way out may still write.
            pods: number(set, "/status/replicas").max(i64::try_from(pods_there().count()).unwrap_or(0)),
            tidied: set.is_some_and(tidied),
        },
        ready: number(set, "/status/readyReplicas"),
        apiservers: 0,
        pods: scale::Pods {
            replicas: i32::try_from(number(set, "/spec/replicas")).unwrap_or(0),
            there: pods_there().map(|(at, _)| at).collect(),
            without_data: pods_there().filter(|(_, pod)| says_without_data(pod)).map(|(at, _)| at).collect(),
            claims: claims_there().map(|(at, _)| at).collect(),
            lost_claims: claims_there()
                .filter(|(_, claim)| claim["status"]["phase"] == "Lost")
                .map(|(at, _)| at)
                .collect(),
        },
        mark: {
            let mut claims: Vec<_> = claims_there().collect();
            claims.sort_by_key(|(at, _)| *at);
            let marks = claims.iter().map(|(_, claim)| restore::Mark::read(claim));
            marks.into_iter().find(|mark| *mark != restore::Mark::default()).unwrap_or_default()
        },
        formed: text(map, &formed),
        start: map.map(start),
    }
}

/// Whether all pods of a StatefulSet run, and are such as remove first what a restore has replaced.
fn tidied(set: &Value) -> bool {
    let inits = set.pointer("/spec/template/spec/initContainers").and_then(Value::as_array);
    let removes = inits.is_some_and(|inits| inits.iter().any(|init| init["name"] == TIDY));
    let set = Some(set);
    let wanted = number(set, "/spec/replicas");
    removes
        && number(set, "/status/observedGeneration") >= number(set, "/metadata/generation")
        && ["/status/replicas", "/status/updatedReplicas", "/status/readyReplicas"]
            .iter()
            .all(|count| number(set, count) == wanted)
}

/// Which member this is the pod or claim of.
fn index(name: &str, prefix: &str) -> Option<i32> {
    name.strip_prefix(prefix)?.strip_prefix(ETCD)?.strip_prefix('-')?.parse().ok()
}

/// Whether a member's last words are that it has no data.
fn says_without_data(pod: &Value) -> bool {
    let Some(statuses) = pod["status"]["containerStatuses"].as_array() else { return false };
    statuses.iter().any(|status| {
        if status["ready"] == true || status["state"]["running"].is_object() && status["started"] == true {
            return false;
        }
        let said = |state: &str| status[state]["terminated"]["message"].as_str().unwrap_or_default();
        [said("state"), said("lastState")]
            .iter()
            .any(|said| WITHOUT_DATA.iter().any(|words| said.contains(words)))
    })
}

/// What a ConfigMap of ours gives to members without data.
fn start(map: &Value) -> Start {
    let text = |key: &str| map["data"][key].as_str().unwrap_or_default();
    let indexes: Vec<i32> = text("ETCD_INITIAL_CLUSTER")
        .split(',')
        .filter_map(|each| index(each.split('=').next()?, ""))
        .collect();
    match text("ETCD_INITIAL_CLUSTER_STATE") {
        "new" => Start::New(indexes),
        _ if indexes.is_empty() => Start::Nobody,
        _ => Start::Join(indexes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::management::management_plane::build::member;
    use serde_json::json;

    #[test]
    fn a_server_runs_until_its_pod_is_gone_or_has_ended() {
        let pod =
            |phase: &str| json!({ "metadata": { "deletionTimestamp": "x" }, "status": { "phase": phase } });
        let scaled_down = json!({ "status": {} });
        assert_eq!(running(Some(&scaled_down), &[pod("Running"), pod("Succeeded")]), 1);
        assert_eq!(running(Some(&json!({ "status": { "replicas": 2 } })), &[]), 2);
    }

    #[test]
    fn all_pods_have_removed_what_was_replaced_when_they_all_run() {
        let set = |init: &str, ready: i64| {
            json!({
                "metadata": { "generation": 2 },
                "spec": { "replicas": 3, "template": { "spec": { "initContainers": [{ "name": init }] } } },
                "status": { "observedGeneration": 2, "replicas": 3, "updatedReplicas": 3, "readyReplicas": ready },
            })
        };
        assert!(tidied(&set("tidy", 3)));
        assert!(!tidied(&set("tidy", 2)) && !tidied(&set("finish", 3)));
    }

    #[test]
    fn what_there_is_is_read() {
        let set = json!({
            "spec": { "replicas": 2, "template": {
                "metadata": { "annotations": { ATTEMPT_ANNOTATION: "a_1" } }, "spec": { "initContainers": [] },
            }},
            "status": { "replicas": 1, "readyReplicas": 1 },
        });
        let map = json!({
            "metadata": { "annotations": { FORMED_ANNOTATION: "ab" } },
            "data": {
                "ETCD_INITIAL_CLUSTER": "kplane-etcd-0=https://x:2380,kplane-etcd-2=https://y:2380",
                "ETCD_INITIAL_CLUSTER_STATE": "existing",
            },
        });
        let claims = [
            json!({ "metadata": { "name": "data-kplane-etcd-2", "annotations": {
                restore::RESTORED_ANNOTATION: "b",
            }}}),
            json!({ "metadata": { "name": "data-kplane-etcd-0" } }),
            json!({ "metadata": { "name": "data-kplane-etcd-1" }, "status": { "phase": "Lost" } }),
            json!({ "metadata": { "name": "kplane-etcd-backup" } }),
        ];
        let said = "{\"level\":\"fatal\",\"error\":\"cannot fetch cluster info from peer urls: could not retrieve\"}";
        let pods = [
            json!({ "metadata": { "name": member(0) }, "status": { "containerStatuses": [{ "ready": true }] } }),
            json!({ "metadata": { "name": member(1) }, "status": { "containerStatuses": [{
                "state": { "waiting": {} }, "lastState": { "terminated": { "message": said } },
            }]}}),
        ];
        let found = read(Some(&set), Some(&map), &claims, &pods);
        assert_eq!((found.set.attempt.as_str(), found.set.pods), ("a_1", 2));
        assert_eq!(found.start, Some(Start::Join(vec![0, 2])));
        assert_eq!(found.formed.as_deref(), Some("ab"));
        assert_eq!((found.pods.claims, found.pods.lost_claims), (vec![2, 0, 1], vec![1]));
        assert_eq!((found.pods.there, found.pods.without_data), (vec![0, 1], vec![1]));
        assert_eq!(found.mark.restored.as_deref(), Some("b"));
    }
}
