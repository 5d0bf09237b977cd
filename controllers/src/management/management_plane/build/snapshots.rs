//! Regular snapshots of etcd: a CronJob that runs our own program, and the volume it writes to.

use kplane_crds::v1alpha1::{BackupSpec, BackupVolume, ManagementPlane};
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

fn backup(plane: &ManagementPlane) -> BackupSpec {
    plane.spec.store.backup.clone().unwrap_or_default()
}

fn destination(plane: &ManagementPlane) -> BackupVolume {
    backup(plane).destination.volume.unwrap_or_default()
}

/// Whether snapshots are to be taken.
pub fn scheduled(plane: &ManagementPlane) -> bool {
    !backup(plane).schedule.is_empty()
}

/// The volume with the snapshots.
pub(super) fn volume(plane: &ManagementPlane) -> Value {
    let named = destination(plane).claim_name;
    let claim = if named.is_empty() { ETCD_BACKUP.to_owned() } else { named };
    json!({ "name": "snapshots", "persistentVolumeClaim": { "claimName": claim } })
}

/// The claim, unless the destination names another.
pub(super) fn claim(plane: &ManagementPlane) -> Option<Object> {
    let wanted = destination(plane);
    if !wanted.claim_name.is_empty() {
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
        format!("--folder={FOLDER}"),
        format!("--retain={}", backup.retain),
        "--report=/dev/termination-log".to_owned(),
    ];
    let mut mounts = vec![json!({ "name": "snapshots", "mountPath": FOLDER })];
    let mut volumes = vec![volume(plane)];
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
