//! A managed etcd: members with a volume each, who know each other and their clients by certificates.

use kplane_crds::v1alpha1::{ManagedEtcd, ManagementPlane};
use serde_json::{Value, json};

use super::{
    CERTIFICATES_ANNOTATION, ETCD, ETCD_SECRET, Given, Object, container_security, labels, pod_security,
    probe, secret_volume, selector, snapshots, spread,
};
use crate::etcd::restore::{DATA, RESTORING};
use crate::management::management_plane::validate::{Deployed, Store};

/// etcd's image when none is named: the first with reliable progress notifications is 3.5.13.
const IMAGE: &str = "registry.k8s.io/etcd:3.6.6-0";
/// Where a member's certificates are.
const TLS: &str = "/etc/kplane/etcd";
/// Where a member's volume is.
const VOLUME: &str = "/var/lib/etcd";
/// Where the volume with the snapshots is, while one is restored.
const SNAPSHOTS: &str = "/snapshots";
/// The name of the container that removes what a restore has replaced.
pub const TIDY: &str = "tidy";
/// The most members there can be.
pub const MOST: i32 = 5;
/// How large a member's file may become, in bytes.
pub const QUOTA: i64 = 8 << 30;
/// How far revisions move on with a restore: further than any client has seen.
const BUMP: u64 = 1_000_000_000;
/// The annotation of the ConfigMap once there is a cluster, with its id.
pub const FORMED_ANNOTATION: &str = "controlplane.kplane.dev/etcd-cluster";
/// The annotation of the pods that a restore is made in, with the name of the attempt.
pub const ATTEMPT_ANNOTATION: &str = "controlplane.kplane.dev/restore-attempt";

/// How many members run now, and what one that has no data begins with. A member that has data needs none of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// How many pods there are.
    pub replicas: i32,
    /// Whom a member without data takes part with.
    pub start: Start,
    /// The id of the cluster, once there is one.
    pub formed: Option<String>,
    /// What is done to the volumes before members start.
    pub change: Option<Change>,
}

/// Whom a member without data takes part with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// With these, in a cluster that is new.
    New(Vec<i32>),
    /// With these, of whom it is the one that is missed.
    Join(Vec<i32>),
    /// With nobody: a member of a cluster that is there has data, or has lost it and must not pass for itself.
    Nobody,
}

/// What is done to the volumes of members before they start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A snapshot takes the place of the data.
    Restore {
        /// Its name.
        from: String,
        /// The attempts that have not come to an end, this one the last.
        attempts: Vec<String>,
        /// How many members begin with it.
        members: i32,
    },
    /// What these attempts have done is undone.
    Undo {
        /// The attempts.
        attempts: Vec<String>,
    },
    /// What a restore has replaced is removed.
    Tidy,
}

impl Change {
    /// The name by which the pods tell what they were made for.
    pub fn name(&self) -> String {
        match self {
            Self::Restore { attempts, .. } => attempts.last().cloned().unwrap_or_default(),
            Self::Undo { attempts } => format!("undo {}", attempts.join(",")),
            Self::Tidy => String::new(),
        }
    }
}

impl Terms {
    /// Those of a cluster that is to come to be, with so many members.
    pub fn first(replicas: i32) -> Self {
        Self { replicas, start: Start::New((0..replicas).collect()), formed: None, change: None }
    }
}

/// The name of a member.
pub fn member(index: i32) -> String {
    format!("{ETCD}-{index}")
}

/// The name of the claim of a member's volume.
pub fn claim(index: i32) -> String {
    format!("data-{ETCD}-{index}")
}

/// A member's host and port for clients.
pub fn client_address(plane: &ManagementPlane, index: i32) -> String {
    format!("{}.{}:2379", member(index), domain(plane))
}

/// A member's host and port for the other members.
pub fn peer_address(plane: &ManagementPlane, index: i32) -> String {
    format!("{}.{}:2380", member(index), domain(plane))
}

/// Members and their addresses, as etcd reads them.
fn members(plane: &ManagementPlane, indexes: impl IntoIterator<Item = i32>) -> String {
    let each = |index| format!("{}=https://{}", member(index), peer_address(plane, index));
    indexes.into_iter().map(each).collect::<Vec<_>>().join(",")
}

/// The name of all members, which stands in the certificate of each.
pub fn domain(plane: &ManagementPlane) -> String {
    format!("{ETCD}.{}.svc", plane.spec.namespace)
}

/// The addresses of the members for clients: each by its own name, so that a client goes on with the next when one is
/// gone.
pub fn endpoints(plane: &ManagementPlane, replicas: i32) -> String {
    let members: Vec<String> =
        (0..replicas).map(|index| format!("https://{}", client_address(plane, index))).collect();
    members.join(",")
}

/// The names in the certificate of the members.
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

/// A Service of one member alone. Its address takes the place of the member's name, so that neither members nor their
/// clients need DNS. There is one for each that there may be: pods are told of all, and do not begin anew when a member
/// comes or goes.
pub(super) fn service_of(plane: &ManagementPlane, index: i32) -> Object {
    let mut only = selector(ETCD);
    only["statefulset.kubernetes.io/pod-name"] = member(index).into();
    let mut object = Object::new(
        plane,
        "/api/v1",
        "services",
        &member(index),
        json!({
            "apiVersion": "v1",
            "kind": "Service",
            "spec": {
                // Members find each other before they are ready; one that takes no writes for want of space is not
                // ready, and can be read.
                "publishNotReadyAddresses": true,
                "selector": only,
                "ports": [
                    { "name": "client", "port": 2379, "targetPort": 2379, "protocol": "TCP" },
                    { "name": "peer", "port": 2380, "targetPort": 2380, "protocol": "TCP" },
                ],
            },
        }),
    );
    object.value["metadata"]["labels"] = labels(ETCD);
    object
}

/// What pods are told of the names of members. `None` as long as not all are known, and where others run etcd.
pub(super) fn host_aliases(plane: &ManagementPlane, deployed: &Deployed, given: &Given) -> Option<Value> {
    matches!(deployed.store, Store::Managed(_)).then(|| aliases(plane, given)).flatten()
}

fn aliases(plane: &ManagementPlane, given: &Given) -> Option<Value> {
    let each = |index: i32| {
        let name = format!("{}.{}", member(index), domain(plane));
        Some(json!({ "ip": given.addresses.members.get(&index)?, "hostnames": [name] }))
    };
    (0..MOST).map(each).collect()
}

/// What a member without data begins with, as variables: a change of them restarts nobody.
pub(super) fn config_map(plane: &ManagementPlane, terms: &Terms) -> Object {
    let (state, indexes) = match &terms.start {
        Start::New(indexes) => ("new", indexes.as_slice()),
        Start::Join(indexes) => ("existing", indexes.as_slice()),
        Start::Nobody => ("existing", &[][..]),
    };
    let data = json!({
        "ETCD_INITIAL_CLUSTER": members(plane, indexes.iter().copied()),
        "ETCD_INITIAL_CLUSTER_STATE": state,
    });
    let mut object = Object::new(
        plane,
        "/api/v1",
        "configmaps",
        ETCD,
        json!({ "apiVersion": "v1", "kind": "ConfigMap", "data": data }),
    );
    if let Some(id) = &terms.formed {
        object.value["metadata"]["annotations"] = json!({ FORMED_ANNOTATION: id });
    }
    object
}

fn arguments(plane: &ManagementPlane) -> Value {
    let domain = domain(plane);
    json!([
        "--name=$(NAME)",
        format!("--data-dir={VOLUME}/{DATA}"),
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
        "--initial-cluster-token=kplane",
        "--listen-metrics-urls=http://0.0.0.0:2381",
        format!("--quota-backend-bytes={QUOTA}"),
    ])
}

fn variables() -> Value {
    let of_map =
        |key: &str| json!({ "name": key, "valueFrom": { "configMapKeyRef": { "name": ETCD, "key": key } } });
    // A member is known by its certificate alone: the address that it connects from is its pod's, and its name stands for
    // that of its Service. etcd 3.6 has given the flag its second name; a variable that it does not know it passes over.
    let skip = |name: &str| json!({ "name": name, "value": "true" });
    json!([
        name_variable(),
        of_map("ETCD_INITIAL_CLUSTER"),
        of_map("ETCD_INITIAL_CLUSTER_STATE"),
        skip("ETCD_EXPERIMENTAL_PEER_SKIP_CLIENT_SAN_VERIFICATION"),
        skip("ETCD_PEER_SKIP_CLIENT_SAN_VERIFICATION"),
    ])
}

fn name_variable() -> Value {
    json!({ "name": "NAME", "valueFrom": { "fieldRef": { "fieldPath": "metadata.name" } } })
}

/// A container that does something to the volume before the member starts.
fn init(name: &str, image: &str, command: Vec<String>, mounts: Value) -> Value {
    json!({
        "name": name,
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": command,
        "env": [name_variable()],
        // What it says when it fails is shown in a condition.
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": container_security(),
        "volumeMounts": mounts,
    })
}

/// The containers that make a change, and the volumes they need besides.
fn change(plane: &ManagementPlane, change: &Change, image: &str, etcd: &str) -> (Vec<Value>, Vec<Value>) {
    let data = json!({ "name": "data", "mountPath": VOLUME });
    let ours = |mode: &str, rest: Vec<String>| {
        let mut command = ["kplane-controllers", "etcd", mode].map(str::to_owned).to_vec();
        command.push(format!("--volume={VOLUME}"));
        command.extend(rest);
        command
    };
    match change {
        Change::Restore { from, attempts, members: count } => {
            let there = |read_only: bool| json!({ "name": "snapshots", "mountPath": SNAPSHOTS, "readOnly": read_only });
            let way = snapshots::way_to_bucket(plane);
            // One in a bucket is written there first.
            let mut preparing = vec![data.clone(), there(way.arguments.is_empty())];
            preparing.extend(way.mounts);
            let mut prepare = vec![format!("--snapshots={SNAPSHOTS}"), format!("--from={from}")];
            prepare.extend(way.arguments);
            let restore = [
                "etcdutl".to_owned(),
                "snapshot".to_owned(),
                "restore".to_owned(),
                format!("{SNAPSHOTS}/{from}"),
                "--name=$(NAME)".to_owned(),
                format!("--data-dir={VOLUME}/{RESTORING}"),
                format!("--initial-cluster={}", members(plane, 0..*count)),
                format!("--initial-advertise-peer-urls=https://$(NAME).{}:2380", domain(plane)),
                // Members of another attempt are another cluster.
                format!("--initial-cluster-token=kplane-{}", change.name()),
                // A client that has seen later revisions is told to list anew, and never sees older ones.
                format!("--bump-revision={BUMP}"),
                "--mark-compacted".to_owned(),
            ];
            let finish = vec![format!("--attempts={}", attempts.join(","))];
            let containers = vec![
                init("prepare", image, ours("restore-prepare", prepare), preparing.into()),
                init("restore", etcd, restore.to_vec(), json!([data, there(true)])),
                init("finish", image, ours("restore-finish", finish), json!([data])),
            ];
            (containers, [vec![snapshots::source(plane)], way.volumes].concat())
        }
        Change::Undo { attempts } => {
            let undo = vec![format!("--attempts={}", attempts.join(","))];
            (vec![init("undo", image, ours("restore-undo", undo), json!([data]))], Vec::new())
        }
        Change::Tidy => {
            (vec![init(TIDY, image, ours("restore-tidy", Vec::new()), json!([data]))], Vec::new())
        }
    }
}

/// The members. Our own image is for what is done to their volumes.
pub(super) fn stateful_set(
    plane: &ManagementPlane,
    etcd: &ManagedEtcd,
    terms: &Terms,
    given: &Given,
) -> Object {
    let etcd_image = if etcd.image.is_empty() { IMAGE } else { &etcd.image };
    let mut claim = json!({
        "accessModes": ["ReadWriteOnce"],
        "resources": { "requests": { "storage": etcd.storage } },
    });
    if !etcd.storage_class_name.is_empty() {
        claim["storageClassName"] = etcd.storage_class_name.clone().into();
    }
    let mut volumes = vec![secret_volume("tls", ETCD_SECRET)];
    let mut metadata = json!({
        "labels": labels(ETCD),
        "annotations": { CERTIFICATES_ANNOTATION: given.digests.etcd },
    });
    let mut inits = Vec::new();
    if let Some(wanted) = &terms.change {
        let (containers, more) = change(plane, wanted, &given.image, etcd_image);
        inits = containers;
        volumes.extend(more);
        if !wanted.name().is_empty() {
            metadata["annotations"][ATTEMPT_ANNOTATION] = wanted.name().into();
        }
    }
    let mut object = Object::new(
        plane,
        "/apis/apps/v1",
        "statefulsets",
        ETCD,
        json!({
            "apiVersion": "apps/v1",
            "kind": "StatefulSet",
            "spec": {
                "serviceName": ETCD,
                "replicas": terms.replicas,
                // A member becomes ready when a quorum is: all must start at once.
                "podManagementPolicy": "Parallel",
                "selector": { "matchLabels": selector(ETCD) },
                "template": {
                    "metadata": metadata,
                    "spec": {
                        "automountServiceAccountToken": false,
                        "enableServiceLinks": false,
                        "securityContext": pod_security(),
                        "topologySpreadConstraints": spread(ETCD),
                        "terminationGracePeriodSeconds": 30,
                        "containers": [{
                            "name": "etcd",
                            "image": etcd_image,
                            "imagePullPolicy": "IfNotPresent",
                            "command": ["etcd"],
                            "args": arguments(plane),
                            "env": variables(),
                            // That it has lost its data is told apart from other ends by what it says.
                            "terminationMessagePolicy": "FallbackToLogsOnError",
                            "ports": [
                                { "name": "client", "containerPort": 2379, "protocol": "TCP" },
                                { "name": "peer", "containerPort": 2380, "protocol": "TCP" },
                                { "name": "metrics", "containerPort": 2381, "protocol": "TCP" },
                            ],
                            // The first start of a cluster waits for all members.
                            "startupProbe": probe("/health?serializable=true", 2381, "HTTP", 60),
                            "livenessProbe": probe("/health?serializable=true", 2381, "HTTP", 6),
                            "readinessProbe": probe("/health", 2381, "HTTP", 3),
                            "resources": { "requests": { "cpu": "100m", "memory": "128Mi" } },
                            "securityContext": container_security(),
                            "volumeMounts": [
                                { "name": "data", "mountPath": VOLUME },
                                { "name": "tls", "mountPath": TLS, "readOnly": true },
                            ],
                        }],
                        "volumes": volumes,
                    },
                },
                "volumeClaimTemplates": [{ "metadata": { "name": "data" }, "spec": claim }],
            },
        }),
    );
    let spec = &mut object.value["spec"]["template"]["spec"];
    if !inits.is_empty() {
        spec["initContainers"] = inits.into();
    }
    if let Some(aliases) = aliases(plane, given) {
        spec["hostAliases"] = aliases;
    }
    object
}
