//! The shared API server.

use kplane_crds::v1alpha1::{ManagedEtcd, ManagementPlane};
use serde_json::json;

use super::{
    APISERVER, CERTIFICATES_ANNOTATION, ETCD_CLIENT_SECRET, Given, Object, PKI_SECRET, PORT, SERVING_SECRET,
    container_security, etcd, labels, pod_security, probe, secret_volume, selector, spread,
};
use crate::management::management_plane::encryption;
use crate::management::management_plane::validate::{Deployed, Store};

/// The data directory of the API server.
const DATA_DIR: &str = "/var/lib/kplane";
/// The claim of the volume of a store in a file.
const CLAIM: &str = "kplane-apiserver-data";
/// How many seconds a server that is told to end goes on, for the news to reach who sends requests.
const SHUTDOWN_DELAY: u32 = 10;

pub(super) fn data_claim(plane: &ManagementPlane) -> Object {
    Object::new(
        plane,
        "/api/v1",
        "persistentvolumeclaims",
        CLAIM,
        json!({
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "spec": {
                "accessModes": ["ReadWriteOnce"],
                "resources": { "requests": { "storage": ManagedEtcd::default().storage } },
            },
        }),
    )
    // Like etcd's volumes it outlives the ManagementPlane: it holds all data.
    .kept()
}

/// The Secret with which the API server is a client of its etcd, if it needs one.
fn etcd_secret(deployed: &Deployed) -> Option<String> {
    match &deployed.store {
        Store::Managed(_) => Some(ETCD_CLIENT_SECRET.to_owned()),
        Store::External(etcd) => etcd.tls_secret_ref.as_ref().map(|reference| reference.name.clone()),
        Store::File => None,
    }
}

/// The arguments of the API server.
fn arguments(plane: &ManagementPlane, deployed: &Deployed) -> Vec<String> {
    let namespace = &plane.spec.namespace;
    let mut arguments = vec![
        format!("--secure-port={PORT}"),
        "--bind-address=0.0.0.0".to_owned(),
        // In token issuers, which must outlive a change of the exposure.
        format!("--external-hostname={APISERVER}.{namespace}.svc"),
        format!("--data-dir={DATA_DIR}"),
        "--tls-cert-file=/etc/kplane/tls/tls.crt".to_owned(),
        "--tls-private-key-file=/etc/kplane/tls/tls.key".to_owned(),
        format!("--shutdown-delay-duration={SHUTDOWN_DELAY}s"),
        // kplane-controllers runs them.
        "--tenant-controllers=false".to_owned(),
    ];
    let servers = match &deployed.store {
        Store::Managed(managed) => Some(etcd::endpoints(plane, managed.replicas)),
        Store::External(etcd) => Some(etcd.endpoints.join(",")),
        Store::File => None,
    };
    match servers {
        Some(servers) => {
            arguments.push("--storage=etcd".to_owned());
            arguments.push(format!("--etcd-servers={servers}"));
        }
        None => arguments.push("--storage=embedded".to_owned()),
    }
    if etcd_secret(deployed).is_some() {
        arguments.push("--etcd-cafile=/etc/kplane/etcd/ca.crt".to_owned());
        arguments.push("--etcd-certfile=/etc/kplane/etcd/tls.crt".to_owned());
        arguments.push("--etcd-keyfile=/etc/kplane/etcd/tls.key".to_owned());
    }
    arguments.extend(plane.spec.apiserver.extra_args.iter().cloned());
    arguments
}

pub(super) fn deployment(plane: &ManagementPlane, deployed: &Deployed, given: &Given) -> Object {
    let mut volumes = vec![
        secret_volume("tls", SERVING_SECRET),
        secret_volume("pki", PKI_SECRET),
        json!({ "name": "keys", "emptyDir": {} }),
    ];
    let mut mounts = vec![
        json!({ "name": "tls", "mountPath": "/etc/kplane/tls", "readOnly": true }),
        json!({ "name": "data", "mountPath": DATA_DIR }),
        // A volume of its own: the folder that a file is mounted in would belong to the superuser.
        json!({ "name": "keys", "mountPath": format!("{DATA_DIR}/pki") }),
    ];
    // The server makes what is not in its data directory and reads what is.
    let mut shared = vec!["ca.crt", "ca.key", "plane.key"];
    if given.encryption_key {
        shared.push(encryption::FILE);
    }
    mounts.extend(shared.into_iter().map(|file| {
        json!({ "name": "pki", "mountPath": format!("{DATA_DIR}/pki/{file}"), "subPath": file, "readOnly": true })
    }));
    if let Some(secret) = etcd_secret(deployed) {
        volumes.push(secret_volume("etcd", &secret));
        mounts.push(json!({ "name": "etcd", "mountPath": "/etc/kplane/etcd", "readOnly": true }));
    }
    let in_file = deployed.store == Store::File;
    volumes.push(if in_file {
        json!({ "name": "data", "persistentVolumeClaim": { "claimName": CLAIM } })
    } else {
        json!({ "name": "data", "emptyDir": {} })
    });
    let strategy = if in_file {
        // Two processes must not open one file.
        json!({ "type": "Recreate" })
    } else {
        // A new one serves before an old one goes.
        json!({ "type": "RollingUpdate", "rollingUpdate": { "maxUnavailable": 0, "maxSurge": 1 } })
    };
    let mut object = Object::new(
        plane,
        "/apis/apps/v1",
        "deployments",
        APISERVER,
        json!({
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "spec": {
                "replicas": deployed.replicas,
                "strategy": strategy,
                "progressDeadlineSeconds": plane.spec.apiserver.progress_deadline_seconds,
                "selector": { "matchLabels": selector(APISERVER) },
                "template": {
                    "metadata": {
                        "labels": labels(APISERVER),
                        "annotations": { CERTIFICATES_ANNOTATION: given.digests.apiserver },
                    },
                    "spec": {
                        "automountServiceAccountToken": false,
                        "enableServiceLinks": false,
                        "securityContext": pod_security(),
                        "topologySpreadConstraints": spread(APISERVER),
                        // The delay, then the requests in flight.
                        "terminationGracePeriodSeconds": SHUTDOWN_DELAY + 30,
                        "containers": [{
                            "name": "kplane-apiserver",
                            "image": given.image,
                            "imagePullPolicy": "IfNotPresent",
                            "command": ["kplane-apiserver"],
                            "args": arguments(plane, deployed),
                            "ports": [{ "name": "https", "containerPort": PORT, "protocol": "TCP" }],
                            // It waits for its store.
                            "startupProbe": probe("/livez", PORT, "HTTPS", 60),
                            "readinessProbe": probe("/readyz", PORT, "HTTPS", 2),
                            "livenessProbe": probe("/livez", PORT, "HTTPS", 6),
                            "resources": plane.spec.apiserver.resources,
                            "securityContext": container_security(),
                            "volumeMounts": mounts,
                        }],
                        "volumes": volumes,
                    },
                },
            },
        }),
    );
    if let Some(aliases) = etcd::host_aliases(plane, deployed, given) {
        object.value["spec"]["template"]["spec"]["hostAliases"] = aliases;
    }
    object
}
