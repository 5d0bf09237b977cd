//! The metadata of one object of one control plane.

use std::sync::Arc;

use serde_json::Value;

/// The annotation with the name of the control plane.
const CLUSTER: &str = "kplane.dev/cluster";
/// The annotation with the apiVersion of the object's own kind.
const API_VERSION: &str = "kplane.dev/api-version";
/// The annotation with the object's own kind.
const KIND: &str = "kplane.dev/kind";
/// The annotation with the plural of the object's own kind.
const RESOURCE: &str = "kplane.dev/resource";

/// The finalizer of foreground deletion: dependents go first.
pub const FOREGROUND: &str = "foregroundDeletion";
/// The finalizer of orphaning: dependents are let go first.
pub const ORPHAN: &str = "orphan";

/// Which object, in which control plane.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Identity {
    /// The control plane.
    pub cluster: Arc<str>,
    /// The uid.
    pub uid: Arc<str>,
}

impl super::queue::Key for Identity {
    fn cluster(&self) -> &Arc<str> {
        &self.cluster
    }
}

/// Where an object is found.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// The control plane.
    pub cluster: Arc<str>,
    /// The apiVersion of its kind.
    pub api_version: Box<str>,
    /// The plural of its kind.
    pub resource: Box<str>,
    /// The namespace; empty for an object of the whole cluster.
    pub namespace: Box<str>,
    /// The name.
    pub name: Box<str>,
}

impl Place {
    /// The path of the object in its control plane.
    pub fn path(&self) -> String {
        object_path(&self.api_version, &self.resource, &self.namespace, &self.name)
    }
}

/// The path of a collection in a control plane.
pub fn collection_path(api_version: &str, resource: &str, namespace: &str) -> String {
    let root = if api_version.contains('/') { "/apis/" } else { "/api/" };
    if namespace.is_empty() {
        format!("{root}{api_version}/{resource}")
    } else {
        format!("{root}{api_version}/namespaces/{namespace}/{resource}")
    }
}

/// The path of an object in a control plane.
pub fn object_path(api_version: &str, resource: &str, namespace: &str, name: &str) -> String {
    let name = crate::runtime::raw::encode(name);
    format!("{}/{name}", collection_path(api_version, resource, namespace))
}

/// One owner of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Its uid.
    pub uid: Arc<str>,
    /// The apiVersion of its kind.
    pub api_version: Box<str>,
    /// Its kind.
    pub kind: Box<str>,
    /// Its name.
    pub name: Box<str>,
    /// Whether its foreground deletion waits for the object.
    pub blocks: bool,
    /// Whether it is the one that manages the object.
    pub controller: bool,
}

/// What the tenant controllers look at in an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Where it is.
    pub place: Place,
    /// Its kind.
    pub kind: Box<str>,
    /// Its uid.
    pub uid: Arc<str>,
    /// Its owners.
    pub owners: Vec<Owner>,
    /// Whether its deletion has begun.
    pub deleting: bool,
    /// Whether its dependents go first.
    pub foreground: bool,
    /// Whether its dependents are let go first.
    pub orphan: bool,
}

impl Seen {
    /// Reads an object as it is listed over all control planes.
    pub fn read(object: &Value) -> Option<Self> {
        let metadata = object.get("metadata")?;
        let annotation = |key: &str| metadata.get("annotations")?.get(key)?.as_str();
        let text = |key: &str| metadata.get(key).and_then(Value::as_str);
        Some(Self {
            place: Place {
                cluster: annotation(CLUSTER)?.into(),
                api_version: annotation(API_VERSION)?.into(),
                resource: annotation(RESOURCE)?.into(),
                namespace: text("namespace").unwrap_or_default().into(),
                name: text("name")?.into(),
            },
            kind: annotation(KIND).unwrap_or_default().into(),
            uid: text("uid")?.into(),
            owners: owners(object),
            deleting: text("deletionTimestamp").is_some(),
            foreground: has_finalizer(object, FOREGROUND),
            orphan: has_finalizer(object, ORPHAN),
        })
    }

    /// Which object it is.
    pub fn identity(&self) -> Identity {
        Identity { cluster: self.place.cluster.clone(), uid: self.uid.clone() }
    }

    /// Whether it is of this built-in resource of the core group.
    pub fn is_core(&self, resource: &str) -> bool {
        &*self.place.api_version == "v1" && &*self.place.resource == resource
    }
}

/// The owners of an object.
pub fn owners(object: &Value) -> Vec<Owner> {
    let references = object.pointer("/metadata/ownerReferences").and_then(Value::as_array);
    references
        .into_iter()
        .flatten()
        .filter_map(|reference| {
            let text = |key: &str| reference.get(key).and_then(Value::as_str);
            Some(Owner {
                uid: text("uid")?.into(),
                api_version: text("apiVersion")?.into(),
                kind: text("kind")?.into(),
                name: text("name")?.into(),
                blocks: reference.get("blockOwnerDeletion").and_then(Value::as_bool).unwrap_or(false),
                controller: reference.get("controller").and_then(Value::as_bool).unwrap_or(false),
            })
        })
        .collect()
}

/// Whether an object has a finalizer.
pub fn has_finalizer(object: &Value, finalizer: &str) -> bool {
    let finalizers = object.pointer("/metadata/finalizers").and_then(Value::as_array);
    finalizers.into_iter().flatten().any(|f| f.as_str() == Some(finalizer))
}

/// The uid of an object.
pub fn uid(object: &Value) -> &str {
    object.pointer("/metadata/uid").and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn metadata_is_read() {
        let seen = Seen::read(&json!({ "metadata": {
            "name": "barn", "namespace": "farm", "uid": "1", "deletionTimestamp": "2026-01-01T00:00:00Z",
            "finalizers": ["foregroundDeletion"],
            "ownerReferences": [{ "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "owl", "uid": "2",
                "blockOwnerDeletion": true }],
            "annotations": { "kplane.dev/cluster": "demo", "kplane.dev/api-version": "v1",
                "kplane.dev/kind": "Pod", "kplane.dev/resource": "pods" },
        }}))
        .unwrap();
        assert!(seen.deleting && seen.foreground && !seen.orphan && seen.is_core("pods"));
        assert_eq!(seen.place.path(), "/api/v1/namespaces/farm/pods/barn");
        assert_eq!(&*seen.owners[0].uid, "2");
        assert!(Seen::read(&json!({ "metadata": { "name": "x", "uid": "1" } })).is_none());
    }

    #[test]
    fn paths_follow_the_group_and_the_scope() {
        assert_eq!(
            collection_path("apps/v1", "deployments", "farm"),
            "/apis/apps/v1/namespaces/farm/deployments"
        );
        assert_eq!(object_path("v1", "nodes", "", "n:1"), "/api/v1/nodes/n%3A1");
    }
}
