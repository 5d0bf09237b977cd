//! A managed etcd: members with a volume each, who know each other and their clients by certificates.

use kplane_crds::v1alpha1::{ManagedEtcd, ManagementPlane};
use serde_json::json;

use super::{
    CERTIFICATES_ANNOTATION, ETCD, ETCD_SECRET, Object, container_security, labels, pod_security, probe,
    secret_volume, selector, spread,
};

/// etcd's image when none is named: the first with reliable progress notifications is 3.5.13.
const IMAGE: &str = "registry.k8s.io/etcd:3.6.6-0";
/// Where a member's certificates are.
const TLS: &str = "/etc/kplane/etcd";
/// The most members there can be.
const MOST: i32 = 5;

fn domain(plane: &ManagementPlane) -> String {
    format!("{ETCD}.{}.svc", plane.spec.namespace)
}

/// The addresses of the members for clients: each by its own name, so that a client goes on with the next when one is
/// gone.
pub fn endpoints(plane: &ManagementPlane, replicas: i32) -> String {
    let domain = domain(plane);
    let members: Vec<String> =
        (0..replicas).map(|index| format!("https://{ETCD}-{index}.{domain}:2379")).collect();
    members.join(",")
}

/// The names in the certificate of the members. Each stands there by itself: a member looks up the names of who
/// connects to it, and cannot look up a wildcard.
pub fn member_names(plane: &ManagementPlane) -> Vec<String> {
    let domain = domain(plane);
    let mut names = vec!["localhost".to_owned(), domain.clone()];
    for index in 0..MOST {
        names.push(format!("{ETCD}-{index}.{domain}"));
        names.push(format!("{ETCD}-{index}.{domain}.cluster.local"));
    }
    names
}

/// The names in the certificate of clients: none but that of who they are.
pub fn client_names() -> Vec<String> {
    vec![super::APISERVER.to_owned()]
}

/// The Service that gives each member its name.
pub(super) fn service(plane: &ManagementPlane) -> Object {
    Object::new(
        plane,
        "/api/v1",
        "services",
        ETCD,
        json!({
            "apiVersion": "v1",
            "kind": "Service",
            "spec": {
                "clusterIP": "None",
                // Members find each other before they are ready: none is before a quorum is.
                "publishNotReadyAddresses": true,
                "selector": selector(ETCD),
                "ports": [
                    { "name": "client", "port": 2379, "targetPort": 2379, "protocol": "TCP" },
                    { "name": "peer", "port": 2380, "targetPort": 2380, "protocol": "TCP" },
                ],
            },
        }),
    )
}

pub(super) fn stateful_set(plane: &ManagementPlane, etcd: &ManagedEtcd, certificates: &str) -> Object {
    let domain = domain(plane);
    let members: Vec<String> = (0..etcd.replicas)
        .map(|index| format!("{ETCD}-{index}=https://{ETCD}-{index}.{domain}:2380"))
        .collect();
    let image = if etcd.image.is_empty() { IMAGE } else { &etcd.image };
    let mut claim = json!({
        "accessModes": ["ReadWriteOnce"],
        "resources": { "requests": { "storage": etcd.storage } },
    });
    if !etcd.storage_class_name.is_empty() {
        claim["storageClassName"] = etcd.storage_class_name.clone().into();
    }
    let arguments = json!([
        "--name=$(NAME)",
        "--data-dir=/var/lib/etcd/data",
        "--listen-client-urls=https://0.0.0.0:2379",
        format!("--advertise-client-urls=https://$(NAME).{domain}:2379"),
        format!("--cert-file={TLS}/tls.crt"),
        format!("--key-file={TLS}/tls.key"),
        format!("--trusted-ca-file={TLS}/ca.crt"),
        "--client-cert-auth=true",
        "--listen-peer-urls=https://0.0.0.0:2380",
        format!("--initial-advertise-peer-urls=https://$(NAME).{domain}:2380"),
        format!("--peer-cert-file={TLS}/tls.crt"),
        format!("--peer-key-file={TLS}/tls.key"),
        format!("--peer-trusted-ca-file={TLS}/ca.crt"),
        "--peer-client-cert-auth=true",
        format!("--initial-cluster={}", members.join(",")),
        "--initial-cluster-token=kplane",
        "--listen-metrics-urls=http://0.0.0.0:2381",
        "--quota-backend-bytes=8589934592",
    ]);
    Object::new(
        plane,
        "/apis/apps/v1",
        "statefulsets",
        ETCD,
        json!({
            "apiVersion": "apps/v1",
            "kind": "StatefulSet",
            "spec": {
                "serviceName": ETCD,
                "replicas": etcd.replicas,
                // A member becomes ready when a quorum is: all must start at once.
                "podManagementPolicy": "Parallel",
                "selector": { "matchLabels": selector(ETCD) },
                "template": {
                    "metadata": {
                        "labels": labels(ETCD),
                        "annotations": { CERTIFICATES_ANNOTATION: certificates },
                    },
                    "spec": {
                        "automountServiceAccountToken": false,
                        "enableServiceLinks": false,
                        "securityContext": pod_security(),
                        "topologySpreadConstraints": spread(ETCD),
                        "terminationGracePeriodSeconds": 30,
                        "containers": [{
                            "name": "etcd",
                            "image": image,
                            "imagePullPolicy": "IfNotPresent",
                            "command": ["etcd"],
                            "args": arguments,
                            "env": [{ "name": "NAME", "valueFrom": { "fieldRef": { "fieldPath": "metadata.name" } } }],
                            "ports": [
                                { "name": "client", "containerPort": 2379, "protocol": "TCP" },
                                { "name": "peer", "containerPort": 2380, "protocol": "TCP" },
                                { "name": "metrics", "containerPort": 2381, "protocol": "TCP" },
                            ],
                            // The first start of a cluster waits for the names of all members.
                            "startupProbe": probe("/health?serializable=true", 2381, "HTTP", 60),
                            "livenessProbe": probe("/health?serializable=true", 2381, "HTTP", 6),
                            "readinessProbe": probe("/health", 2381, "HTTP", 3),
                            "resources": { "requests": { "cpu": "100m", "memory": "128Mi" } },
                            "securityContext": container_security(),
                            "volumeMounts": [
                                { "name": "data", "mountPath": "/var/lib/etcd" },
                                { "name": "tls", "mountPath": TLS, "readOnly": true },
                            ],
                        }],
                        "volumes": [secret_volume("tls", ETCD_SECRET)],
                    },
                },
                "volumeClaimTemplates": [{ "metadata": { "name": "data" }, "spec": claim }],
            },
        }),
    )
}
