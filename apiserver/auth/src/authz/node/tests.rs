use std::collections::HashMap;

use kplane_machinery::fields::Term;
use serde_json::{Value, json};

use super::*;
use crate::authz::Selectors;

#[derive(Default)]
struct World(HashMap<(String, String, String), Value>);

impl World {
    fn with(mut self, resource: &str, object: Value) -> Self {
        let key = (resource.into(), object::namespace(&object).into(), object::name(&object).into());
        self.0.insert(key, object);
        self
    }
}

#[async_trait]
impl ObjectReader for World {
    async fn get(
        &self,
        _: &str,
        resource: &str,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Value>, Status> {
        Ok(self.0.get(&(resource.into(), namespace.into(), name.into())).cloned())
    }
}

#[async_trait]
impl NodePods for World {
    async fn pods_on(&self, node: &str) -> Result<Vec<Arc<PodReferences>>, Status> {
        let pods = self.0.iter().filter(|((resource, ..), _)| resource == "pods");
        let all = pods.map(|(_, pod)| Arc::new(PodReferences::of(pod)));
        Ok(all.filter(|pod| pod.node == node).collect())
    }
}

fn world() -> World {
    World::default()
        .with(
            "pods",
            json!({"metadata": {"name": "p", "namespace": "farm"}, "spec": {
                "nodeName": "barn", "serviceAccountName": "owl",
                "volumes": [{"secret": {"secretName": "key"}}, {"configMap": {"name": "map"}},
                            {"persistentVolumeClaim": {"claimName": "hay"}}]}}),
        )
        .with(
            "persistentvolumeclaims",
            json!({"metadata": {"name": "hay", "namespace": "farm"}, "spec": {"volumeName": "pv"}}),
        )
        .with(
            "persistentvolumes",
            json!({"metadata": {"name": "pv"}, "spec": {"claimRef": {"namespace": "farm", "name": "hay"},
                   "csi": {"nodePublishSecretRef": {"name": "mount", "namespace": "vault"}}}}),
        )
        .with("volumeattachments", json!({"metadata": {"name": "va"}, "spec": {"nodeName": "barn"}}))
}

async fn ask(node: &str, verb: &str, what: (&str, &str, &str), at: (&str, &str)) -> Verdict {
    let user = UserInfo::new(format!("system:node:{node}"), [NODES]);
    let (group, resource, subresource) = what;
    let attributes = Attributes {
        subresource,
        namespace: at.0,
        name: at.1,
        ..Attributes::of_resource(&user, verb, group, resource)
    };
    authorize(&attributes, &world()).await.unwrap()
}

#[tokio::test]
async fn a_node_reads_what_its_pods_use_and_nothing_else() {
    for (what, at) in [
        (("", "secrets", ""), ("farm", "key")),
        (("", "secrets", ""), ("vault", "mount")),
        (("", "configmaps", ""), ("farm", "map")),
        (("", "persistentvolumeclaims", ""), ("farm", "hay")),
        (("", "persistentvolumes", ""), ("", "pv")),
        (("", "pods", ""), ("farm", "p")),
        (("storage.k8s.io", "volumeattachments", ""), ("", "va")),
    ] {
        assert!(ask("barn", "get", what, at).await.allowed(), "{what:?} {at:?}");
        let other = ask("shed", "get", what, at).await;
        assert_eq!(other.reason, "no relationship found between node 'shed' and this object", "{what:?}");
    }
    assert!(!ask("barn", "get", ("", "secrets", ""), ("farm", "other")).await.allowed());
    assert!(!ask("barn", "get", ("", "secrets", ""), ("vault", "key")).await.allowed());
    assert_eq!(
        ask("barn", "list", ("", "secrets", ""), ("", "")).await.reason,
        "can only read namespaced object of this type"
    );
    assert_eq!(ask("barn", "list", ("", "secrets", ""), ("farm", "")).await.reason, "No Object name found");
    assert_eq!(
        ask("barn", "update", ("", "secrets", ""), ("farm", "key")).await.reason,
        "can only read resources of this type"
    );
    assert!(ask("barn", "create", ("", "serviceaccounts", "token"), ("farm", "owl")).await.allowed());
    assert!(!ask("barn", "create", ("", "serviceaccounts", "token"), ("farm", "default")).await.allowed());
}

#[tokio::test]
async fn a_node_has_its_own_objects() {
    assert!(ask("barn", "get", ("", "nodes", ""), ("", "barn")).await.allowed());
    assert_eq!(
        ask("barn", "get", ("", "nodes", ""), ("", "shed")).await.reason,
        "node 'barn' cannot read 'shed', only its own Node object"
    );
    let lease = ("coordination.k8s.io", "leases", "");
    assert!(ask("barn", "update", lease, ("kube-node-lease", "barn")).await.allowed());
    assert!(!ask("barn", "update", lease, ("kube-node-lease", "shed")).await.allowed());
    assert!(!ask("barn", "update", lease, ("farm", "barn")).await.allowed());
    assert!(ask("barn", "create", ("", "events", ""), ("farm", "")).await.allowed());
    assert!(!ask("barn", "delete", ("apps", "deployments", ""), ("farm", "x")).await.allowed());
    assert_eq!(
        ask("", "get", ("", "nodes", ""), ("", "x")).await.reason,
        "unknown node for user \"system:node:\""
    );
}

#[tokio::test]
async fn a_node_lists_the_pods_bound_to_it() {
    let user = UserInfo::new("system:node:barn", [NODES]);
    let narrowed = |value: &str| Selectors {
        fields: vec![Term { field: "spec.nodeName".into(), value: value.into(), negated: false }],
        labels: Vec::new(),
    };
    for (value, allowed) in [("barn", true), ("shed", false)] {
        let selectors = narrowed(value);
        let attributes =
            Attributes { selectors: Some(&selectors), ..Attributes::of_resource(&user, "list", "", "pods") };
        assert_eq!(authorize(&attributes, &world()).await.unwrap().allowed(), allowed);
    }
    let stranger = UserInfo::new("system:node:barn", ["dev"]);
    let attributes = Attributes::of_resource(&stranger, "get", "", "nodes");
    assert_eq!(authorize(&attributes, &world()).await.unwrap(), Verdict::no_opinion(""));
}
