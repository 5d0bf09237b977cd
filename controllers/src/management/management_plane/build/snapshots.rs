//! Regular snapshots of etcd: a CronJob that runs our own program, and the volume or bucket it writes to.

use kplane_crds::v1alpha1::{BackupS3, BackupSpec, BackupVolume, ManagementPlane};
use serde_json::{Value, json};

use super::{
    ETCD_BACKUP, ETCD_CLIENT_SECRET, Given, Object, container_security, etcd, labels, pod_security,
    secret_volume,
};
use crate::management::management_plane::validate::{Deployed, Store};

/// Where the volume with the snapshots is.
const FOLDER: &str = "/snapshots";
/// Where etcd's certificate for clients is.
const TLS: &str = "/etc/kplane/etcd";
/// Where the keys for an object store are.
const KEYS: &str = "/etc/kplane/s3";
/// Where the authority of an object store is.
const AUTHORITY: &str = "/etc/kplane/s3-ca";

fn backup(plane: &ManagementPlane) -> BackupSpec {
    plane.spec.store.backup.clone().unwrap_or_default()
}

fn volume_of(plane: &ManagementPlane) -> BackupVolume {
    backup(plane).destination.volume.unwrap_or_default()
}

/// The bucket that snapshots go to, if they go to one.
pub fn bucket(plane: &ManagementPlane) -> Option<BackupS3> {
    backup(plane).destination.s3
}

/// What a container that reads or writes snapshots needs.
#[derive(Default)]
pub(super) struct Needs {
    /// Arguments.
    pub(super) arguments: Vec<String>,
    /// Mounts.
    pub(super) mounts: Vec<Value>,
    /// The volumes of its pod.
    pub(super) volumes: Vec<Value>,
}

/// What a container needs to reach the bucket; nothing without one.
pub(super) fn way_to_bucket(plane: &ManagementPlane) -> Needs {
    let Some(s3) = bucket(plane) else { return Needs::default() };
    let mut needs = Needs {
        arguments: vec![
            format!("--s3-bucket={}", s3.bucket),
            format!("--s3-prefix={}", s3.prefix),
            format!("--s3-region={}", s3.region),
            format!("--s3-endpoint={}", s3.endpoint),
            format!("--s3-credentials={KEYS}"),
        ],
        mounts: vec![json!({ "name": "s3", "mountPath": KEYS, "readOnly": true })],
        volumes: vec![secret_volume("s3", &s3.credentials_secret_ref.name)],
    };
    needs.arguments.extend(s3.path_style.map(|in_path| format!("--s3-path-style={in_path}")));
    if let Some(authority) = &s3.ca_secret_ref {
        needs.arguments.push(format!("--s3-ca={AUTHORITY}/ca.crt"));
        needs.mounts.push(json!({ "name": "s3-ca", "mountPath": AUTHORITY, "readOnly": true }));
        needs.volumes.push(secret_volume("s3-ca", &authority.name));
    }
    needs
}

/// Whether snapshots are to be taken.
pub fn scheduled(plane: &ManagementPlane) -> bool {
    !backup(plane).schedule.is_empty()
}

/// The volume with the snapshots.
fn volume(plane: &ManagementPlane) -> Value {
    let named = volume_of(plane).claim_name;
    let claim = if named.is_empty() { ETCD_BACKUP.to_owned() } else { named };
    json!({ "name": "snapshots", "persistentVolumeClaim": { "claimName": claim } })
}

/// The volume that a snapshot is restored from. One in a bucket is read into it first: it is there for that.
pub(super) fn source(plane: &ManagementPlane) -> Value {
    match bucket(plane) {
        Some(_) => json!({ "name": "snapshots", "emptyDir": {} }),
        None => volume(plane),
    }
}

/// The claim, unless the destination is a bucket or names another.
pub(super) fn claim(plane: &ManagementPlane) -> Option<Object> {
    let wanted = volume_of(plane);
    if bucket(plane).is_some() || !wanted.claim_name.is_empty() {
        return None;
    }
    let mut spec = json!({
        "accessModes": ["ReadWriteOnce"],
        "resources": { "requests": { "storage": wanted.size } },
    });
    if !wanted.storage_class_name.is_empty() {
        spec["storageClassName"] = wanted.storage_class_name.into();
    }
    let value = json!({ "apiVersion": "v1", "kind": "PersistentVolumeClaim", "spec": spec });
    // Backups outlive what they are of.
    Some(Object::new(plane, "/api/v1", "persistentvolumeclaims", ETCD_BACKUP, value).kept())
}

/// The CronJob. It is there without a schedule too, to be deleted.
pub fn cron_job(plane: &ManagementPlane, deployed: &Deployed, given: &Given) -> Object {
    let backup = backup(plane);
    let (endpoints, secret) = match &deployed.store {
        Store::Managed(managed) => {
            (etcd::endpoints(plane, managed.replicas), Some(ETCD_CLIENT_SECRET.to_owned()))
        }
        Store::External(external) => {
            (external.endpoints.join(","), external.tls_secret_ref.as_ref().map(|secret| secret.name.clone()))
        }
        Store::File => (String::new(), None),
    };
    let mut arguments = vec![
        "etcd".to_owned(),
        "snapshot".to_owned(),
        format!("--endpoints={endpoints}"),
        format!("--retain={}", backup.retain),
        "--report=/dev/termination-log".to_owned(),
    ];
    let Needs { arguments: more, mut mounts, mut volumes } = match bucket(plane) {
        Some(_) => way_to_bucket(plane),
        None => Needs {
            arguments: vec![format!("--folder={FOLDER}")],
            mounts: vec![json!({ "name": "snapshots", "mountPath": FOLDER })],
            volumes: vec![volume(plane)],
        },
    };
    arguments.extend(more);
    if let Some(secret) = secret {
        volumes.push(secret_volume("etcd", &secret));
        mounts.push(json!({ "name": "etcd", "mountPath": TLS, "readOnly": true }));
        arguments.extend([
            format!("--cacert={TLS}/ca.crt"),
            format!("--cert={TLS}/tls.crt"),
            format!("--key={TLS}/tls.key"),
        ]);
    }
    let mut object = Object::new(
        plane,
        "/apis/batch/v1",
        "cronjobs",
        ETCD_BACKUP,
        json!({
            "apiVersion": "batch/v1",
            "kind": "CronJob",
            "spec": {
                "schedule": backup.schedule,
                "timeZone": "Etc/UTC",
                // Two at once would remove each other's beginnings.
                "concurrencyPolicy": "Forbid",
                "startingDeadlineSeconds": 3600,
                "successfulJobsHistoryLimit": 1,
                "failedJobsHistoryLimit": 1,
                "jobTemplate": {
                    "metadata": { "labels": labels(ETCD_BACKUP) },
                    "spec": {
                        "backoffLimit": 2,
                        "activeDeadlineSeconds": 3600,
                        "template": {
                            "metadata": { "labels": labels(ETCD_BACKUP) },
                            "spec": {
                                "automountServiceAccountToken": false,
                                "enableServiceLinks": false,
                                "restartPolicy": "Never",
                                "securityContext": pod_security(),
                                "containers": [{
                                    "name": "snapshot",
                                    "image": given.image,
                                    "imagePullPolicy": "IfNotPresent",
                                    "command": ["kplane-controllers"],
                                    "args": arguments,
                                    "terminationMessagePolicy": "FallbackToLogsOnError",
                                    "resources": { "requests": { "cpu": "50m", "memory": "32Mi" } },
                                    "securityContext": container_security(),
                                    "volumeMounts": mounts,
                                }],
                                "volumes": volumes,
                            },
                        },
                    },
                },
            },
        }),
    );
    if let Some(aliases) = etcd::host_aliases(plane, deployed, given) {
        object.value["spec"]["jobTemplate"]["spec"]["template"]["spec"]["hostAliases"] = aliases;
    }
    object
}
