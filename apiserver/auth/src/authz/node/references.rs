//! What a pod refers to: all that the node it runs on may read for it.

use std::collections::BTreeSet;

use kplane_machinery::object;
use serde_json::Value;

/// What one pod refers to, in its own namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodReferences {
    /// The pod's namespace.
    pub namespace: String,
    /// The node it is bound to; empty while it is bound to none.
    pub node: String,
    /// Its service account.
    pub service_account: String,
    /// Secrets.
    pub secrets: BTreeSet<String>,
    /// ConfigMaps.
    pub config_maps: BTreeSet<String>,
    /// PersistentVolumeClaims.
    pub volume_claims: BTreeSet<String>,
    /// ResourceClaims.
    pub resource_claims: BTreeSet<String>,
}

const MIRROR: &str = "kubernetes.io/config.mirror";

fn each<'a>(value: &'a Value, field: &str) -> impl Iterator<Item = &'a Value> {
    value.get(field).and_then(Value::as_array).into_iter().flatten()
}

fn text(value: &Value, path: &[&str]) -> Option<String> {
    Some(object::str_at(value, path)).filter(|text| !text.is_empty()).map(str::to_owned)
}

impl PodReferences {
    /// Reads a pod.
    pub fn of(pod: &Value) -> Self {
        let mut found = Self {
            namespace: object::namespace(pod).to_owned(),
            node: object::str_at(pod, &["spec", "nodeName"]).to_owned(),
            ..Self::default()
        };
        // A mirror pod is made by its node, which must not gain anything by it.
        if pod.pointer("/metadata/annotations").is_some_and(|all| all.get(MIRROR).is_some()) {
            return found;
        }
        let Some(spec) = pod.get("spec") else { return found };
        found.service_account = object::str_at(spec, &["serviceAccountName"]).to_owned();
        found.secrets.extend(each(spec, "imagePullSecrets").filter_map(|secret| text(secret, &["name"])));
        for containers in ["initContainers", "containers", "ephemeralContainers"] {
            each(spec, containers).for_each(|container| found.container(container));
        }
        each(spec, "volumes").for_each(|volume| found.volume(volume, object::name(pod)));
        found
            .resource_claims
            .extend(each(spec, "resourceClaims").filter_map(|claim| text(claim, &["resourceClaimName"])));
        if let Some(status) = pod.get("status") {
            found.resource_claims.extend(
                each(status, "resourceClaimStatuses").filter_map(|claim| text(claim, &["resourceClaimName"])),
            );
            found.resource_claims.extend(text(status, &["extendedResourceClaimStatus", "resourceClaimName"]));
        }
        found
    }

    fn container(&mut self, container: &Value) {
        for source in each(container, "envFrom") {
            self.secrets.extend(text(source, &["secretRef", "name"]));
            self.config_maps.extend(text(source, &["configMapRef", "name"]));
        }
        for variable in each(container, "env") {
            self.secrets.extend(text(variable, &["valueFrom", "secretKeyRef", "name"]));
            self.config_maps.extend(text(variable, &["valueFrom", "configMapKeyRef", "name"]));
        }
    }

    fn volume(&mut self, volume: &Value, pod: &str) {
        self.secrets.extend(text(volume, &["secret", "secretName"]));
        self.config_maps.extend(text(volume, &["configMap", "name"]));
        self.volume_claims.extend(text(volume, &["persistentVolumeClaim", "claimName"]));
        if volume.get("ephemeral").is_some_and(Value::is_object) {
            self.volume_claims.insert(format!("{pod}-{}", object::str_at(volume, &["name"])));
        }
        if let Some(projected) = volume.get("projected") {
            for source in each(projected, "sources") {
                self.secrets.extend(text(source, &["secret", "name"]));
                self.config_maps.extend(text(source, &["configMap", "name"]));
            }
        }
        for kind in ["cephfs", "flexVolume", "rbd", "scaleIO", "iscsi", "storageos"] {
            self.secrets.extend(text(volume, &[kind, "secretRef", "name"]));
        }
        self.secrets.extend(text(volume, &["azureFile", "secretName"]));
        self.secrets.extend(text(volume, &["csi", "nodePublishSecretRef", "name"]));
    }
}

/// The secrets that a persistent volume names: namespace and name. One without a namespace is in that of its claim.
pub fn secrets_of_volume(volume: &Value) -> BTreeSet<(String, String)> {
    let claim = object::str_at(volume, &["spec", "claimRef", "namespace"]);
    let mut found = BTreeSet::new();
    let mut add = |source: &[&str], name: &str, namespace: &str| {
        let at = |last: &str| {
            let mut path = vec!["spec"];
            path.extend(source);
            path.push(last);
            object::str_at(volume, &path)
        };
        let (name, namespace) = (at(name), at(namespace));
        if !name.is_empty() {
            found.insert((if namespace.is_empty() { claim } else { namespace }.to_owned(), name.to_owned()));
        }
    };
    add(&["azureFile"], "secretName", "secretNamespace");
    for kind in ["cephfs", "flexVolume", "rbd", "scaleIO", "iscsi", "storageos"] {
        add(&[kind, "secretRef"], "name", "namespace");
    }
    for reference in
        ["controllerPublishSecretRef", "nodePublishSecretRef", "nodeStageSecretRef", "nodeExpandSecretRef"]
    {
        add(&["csi", reference], "name", "namespace");
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn all_that_a_pod_names_is_found() {
        let pod = json!({
            "metadata": {"name": "p", "namespace": "farm"},
            "spec": {
                "nodeName": "n", "serviceAccountName": "owl", "imagePullSecrets": [{"name": "pull"}],
                "initContainers": [{"env": [{"valueFrom": {"configMapKeyRef": {"name": "env-map"}}}]}],
                "containers": [{"envFrom": [{"secretRef": {"name": "from"}}, {"configMapRef": {"name": "from-map"}}],
                                "env": [{"valueFrom": {"secretKeyRef": {"name": "env"}}}, {"name": "plain"}]}],
                "volumes": [
                    {"name": "a", "secret": {"secretName": "volume"}}, {"name": "b", "configMap": {"name": "volume-map"}},
                    {"name": "c", "persistentVolumeClaim": {"claimName": "claim"}}, {"name": "d", "ephemeral": {}},
                    {"name": "e", "projected": {"sources": [{"secret": {"name": "projected"}}, {"configMap": {"name": "m"}}]}},
                    {"name": "f", "csi": {"nodePublishSecretRef": {"name": "csi"}}},
                ],
                "resourceClaims": [{"name": "x", "resourceClaimName": "gpu"}],
            },
            "status": {"resourceClaimStatuses": [{"name": "y", "resourceClaimName": "made"}]},
        });
        let found = PodReferences::of(&pod);
        let of = |names: &BTreeSet<String>| names.iter().cloned().collect::<Vec<_>>().join(" ");
        assert_eq!((&*found.node, &*found.service_account), ("n", "owl"));
        assert_eq!(of(&found.secrets), "csi env from projected pull volume");
        assert_eq!(of(&found.config_maps), "env-map from-map m volume-map");
        assert_eq!(of(&found.volume_claims), "claim p-d");
        assert_eq!(of(&found.resource_claims), "gpu made");
        let mut mirror = pod;
        mirror["metadata"]["annotations"] = json!({ MIRROR: "x" });
        assert!(PodReferences::of(&mirror).secrets.is_empty());
    }

    #[test]
    fn a_volume_names_secrets_of_its_claim_or_elsewhere() {
        let volume = json!({"spec": {
            "claimRef": {"namespace": "farm"},
            "csi": {"nodePublishSecretRef": {"name": "a", "namespace": "far"}}, "azureFile": {"secretName": "b"},
        }});
        let found: Vec<_> = secrets_of_volume(&volume).into_iter().collect();
        assert_eq!(found, [("far".to_owned(), "a".to_owned()), ("farm".to_owned(), "b".to_owned())]);
    }
}
