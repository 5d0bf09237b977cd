//! Requests to one control plane, by kind.

use kplane_machinery::labels::Selector;
use kplane_machinery::patch::merge;
use serde_json::{Value, json};

use super::events::Recorder;
use super::object::{Place, collection_path, object_path};
use super::value::{name, namespace, uid};
use crate::runtime::raw::{self, Raw};

/// How many objects a page of a list has.
const PAGE: u32 = 500;
/// The name under which managed fields are written.
pub const MANAGER: &str = "kube-controller-manager/v1.36";

/// A built-in kind.
#[derive(Debug)]
pub struct Kind {
    /// The apiVersion.
    pub api_version: &'static str,
    /// The plural.
    pub plural: &'static str,
    /// The kind.
    pub kind: &'static str,
}

macro_rules! kinds {
    ($($id:ident = $api_version:literal $plural:literal $kind:literal;)*) => {
        $(#[doc = concat!($kind, " of ", $api_version, ".")]
        pub static $id: Kind = Kind { api_version: $api_version, plural: $plural, kind: $kind };)*
    };
}

kinds! {
    PODS = "v1" "pods" "Pod";
    NODES = "v1" "nodes" "Node";
    SECRETS = "v1" "secrets" "Secret";
    CONFIG_MAPS = "v1" "configmaps" "ConfigMap";
    SERVICES = "v1" "services" "Service";
    ENDPOINTS = "v1" "endpoints" "Endpoints";
    VOLUMES = "v1" "persistentvolumes" "PersistentVolume";
    CLAIMS = "v1" "persistentvolumeclaims" "PersistentVolumeClaim";
    REPLICATION_CONTROLLERS = "v1" "replicationcontrollers" "ReplicationController";
    DEPLOYMENTS = "apps/v1" "deployments" "Deployment";
    REPLICA_SETS = "apps/v1" "replicasets" "ReplicaSet";
    STATEFUL_SETS = "apps/v1" "statefulsets" "StatefulSet";
    DAEMON_SETS = "apps/v1" "daemonsets" "DaemonSet";
    REVISIONS = "apps/v1" "controllerrevisions" "ControllerRevision";
    JOBS = "batch/v1" "jobs" "Job";
    CRON_JOBS = "batch/v1" "cronjobs" "CronJob";
    BUDGETS = "policy/v1" "poddisruptionbudgets" "PodDisruptionBudget";
    SLICES = "discovery.k8s.io/v1" "endpointslices" "EndpointSlice";
    SERVICE_CIDRS = "networking.k8s.io/v1" "servicecidrs" "ServiceCIDR";
    ADDRESSES = "networking.k8s.io/v1" "ipaddresses" "IPAddress";
    SIGNING_REQUESTS = "certificates.k8s.io/v1" "certificatesigningrequests" "CertificateSigningRequest";
    STORAGE_CLASSES = "storage.k8s.io/v1" "storageclasses" "StorageClass";
    ATTRIBUTES_CLASSES = "storage.k8s.io/v1" "volumeattributesclasses" "VolumeAttributesClass";
    AUTOSCALERS = "autoscaling/v2" "horizontalpodautoscalers" "HorizontalPodAutoscaler";
    VALIDATING_POLICIES = "admissionregistration.k8s.io/v1" "validatingadmissionpolicies" "ValidatingAdmissionPolicy";
    CLUSTER_ROLES = "rbac.authorization.k8s.io/v1" "clusterroles" "ClusterRole";
    LEASES = "coordination.k8s.io/v1" "leases" "Lease";
}

impl Kind {
    /// Whether an object is of this kind, in whatever version.
    pub fn holds(&self, place: &Place) -> bool {
        let group = |api_version: &str| api_version.split_once('/').map_or("", |(group, _)| group).to_owned();
        &*place.resource == self.plural && group(&place.api_version) == group(self.api_version)
    }

    fn path(&self, namespace: &str, name: &str) -> String {
        object_path(self.api_version, self.plural, namespace, name)
    }
}

/// Requests to one control plane, as the controller manager.
#[derive(Clone)]
pub struct Api {
    raw: Raw,
    recorder: Recorder,
}

/// An answer of the API.
pub type Answer<T> = Result<T, kube::Error>;

impl Api {
    /// Asks this control plane.
    pub fn new(raw: &Raw, cluster: &str, recorder: &Recorder) -> Self {
        Self { raw: raw.cluster(cluster), recorder: recorder.clone() }
    }

    /// What writes Events.
    pub(super) fn recorder(&self) -> &Recorder {
        &self.recorder
    }

    /// An object, if it is there.
    pub async fn get(&self, kind: &Kind, namespace: &str, name: &str) -> Answer<Option<Value>> {
        raw::optional(self.raw.get(&kind.path(namespace, name)).await)
    }

    /// An object by its path, if it is there.
    pub async fn get_path(&self, path: &str) -> Answer<Option<Value>> {
        raw::optional(self.raw.get(path).await)
    }

    /// All objects of a kind, in a namespace or, if that is empty, everywhere.
    pub async fn list(&self, kind: &Kind, namespace: &str) -> Answer<Vec<Value>> {
        self.select(kind, namespace, &Selector::everything()).await
    }

    /// The objects of a kind that a selector matches.
    pub async fn select(&self, kind: &Kind, namespace: &str, selector: &Selector) -> Answer<Vec<Value>> {
        let mut path = collection_path(kind.api_version, kind.plural, namespace);
        let text = selector.to_string();
        if !text.is_empty() {
            path.push_str("?labelSelector=");
            path.push_str(&raw::encode(&text));
        }
        let mut found = Vec::new();
        self.raw
            .pages(&path, PAGE, |mut object| {
                // The items of a list do not say what they are.
                object["apiVersion"] = kind.api_version.into();
                object["kind"] = kind.kind.into();
                found.push(object);
            })
            .await?;
        Ok(found)
    }

    /// Creates an object.
    pub async fn create(&self, kind: &Kind, namespace: &str, object: &Value) -> Answer<Value> {
        self.raw.post(&collection_path(kind.api_version, kind.plural, namespace), object).await
    }

    /// Replaces an object that was read.
    pub async fn update(&self, kind: &Kind, object: &Value) -> Answer<Value> {
        self.raw.put(&kind.path(namespace(object), name(object)), object).await
    }

    /// Replaces the status of an object that was read.
    pub async fn update_status(&self, kind: &Kind, object: &Value) -> Answer<Value> {
        self.update_part(kind, object, "status").await
    }

    /// Writes what changed in the status of an object since it was read, whatever else was written meanwhile: a client that
    /// writes often cannot keep the status from being told. Only for a status that nobody else writes and that says which
    /// generation it is of.
    pub async fn merge_status(&self, kind: &Kind, read: &Value, changed: &Value) -> Answer<Value> {
        let mut patch = merge::diff(read, changed).unwrap_or_else(|| json!({}));
        patch["metadata"]["uid"] = read["metadata"]["uid"].clone();
        self.raw.merge(&format!("{}/status", kind.path(namespace(read), name(read))), &patch).await
    }

    /// Replaces what a subresource of an object that was read holds.
    pub async fn update_part(&self, kind: &Kind, object: &Value, part: &str) -> Answer<Value> {
        self.raw.put(&format!("{}/{part}", kind.path(namespace(object), name(object))), object).await
    }

    /// Changes an object that was read, by a merge patch, if it is still the same object and unchanged.
    pub async fn patch_unchanged(&self, kind: &Kind, object: &Value, mut patch: Value) -> Answer<Value> {
        patch["metadata"]["uid"] = object["metadata"]["uid"].clone();
        patch["metadata"]["resourceVersion"] = object["metadata"]["resourceVersion"].clone();
        self.raw.merge(&kind.path(namespace(object), name(object)), &patch).await
    }

    /// Changes an object by a merge patch.
    pub async fn patch(&self, kind: &Kind, namespace: &str, name: &str, patch: &Value) -> Answer<Value> {
        self.raw.merge(&kind.path(namespace, name), patch).await
    }

    /// Puts a finalizer on an object that was read, beside those that others put there.
    pub async fn add_finalizer(&self, kind: &Kind, object: &Value, finalizer: &str) -> Answer<Value> {
        let patch = json!({ "metadata": { "uid": uid(object), "finalizers": [finalizer] } });
        self.raw.strategic(&kind.path(namespace(object), name(object)), &patch).await
    }

    /// Creates an object, or calls a subresource, by its path.
    pub async fn post_path(&self, path: &str, body: &Value) -> Answer<Value> {
        self.raw.post(path, body).await
    }

    /// Replaces an object by its path.
    pub async fn put_path(&self, path: &str, body: &Value) -> Answer<Value> {
        self.raw.put(path, body).await
    }

    /// Changes an object by its path.
    pub async fn merge_path(&self, path: &str, patch: &Value) -> Answer<Value> {
        self.raw.merge(path, patch).await
    }

    /// Applies a part of an object by server-side apply.
    pub async fn apply(&self, path: &str, manager: &str, body: &Value) -> Answer<Value> {
        self.raw.apply(path, manager, body).await
    }

    /// Deletes an object that was read, unless another of its name took its place. One that is gone is no error.
    pub async fn delete(&self, kind: &Kind, object: &Value, propagation: Option<&str>) -> Answer<()> {
        let mut options = json!({
            "apiVersion": "v1", "kind": "DeleteOptions", "preconditions": { "uid": uid(object) },
        });
        if let Some(policy) = propagation {
            options["propagationPolicy"] = policy.into();
        }
        let path = kind.path(namespace(object), name(object));
        raw::optional(self.raw.delete(&path, Some(&options)).await)?;
        Ok(())
    }

    /// Deletes an object at once, however long it asked to be given.
    pub async fn delete_now(&self, kind: &Kind, object: &Value) -> Answer<()> {
        let options = json!({
            "apiVersion": "v1", "kind": "DeleteOptions", "gracePeriodSeconds": 0,
            "preconditions": { "uid": uid(object) },
        });
        let path = kind.path(namespace(object), name(object));
        raw::optional(self.raw.delete(&path, Some(&options)).await)?;
        Ok(())
    }
}

/// The API's own words for an error.
pub fn words(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        other => other.to_string(),
    }
}

/// Whether an answer means that the namespace is going: nothing can be created in it.
pub fn is_terminating(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status)
        if status.code == 403 && status.message.contains("because it is being terminated"))
}
