//! Builds the objects of a deployed management plane (no client required), a file for each part of it.

mod apiserver;
mod etcd;
mod exposure;
mod network;
mod snapshots;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use kplane_crds::v1alpha1::{GROUP, ManagementPlane, VERSION};
use kube::ResourceExt;
use serde_json::{Value, json};

use super::validate::{Deployed, Store};

pub use etcd::{
    ATTEMPT_ANNOTATION, Change, FORMED_ANNOTATION, MOST, QUOTA, Start, TIDY, Terms, claim, client_address,
    client_names as etcd_client_names, domain as etcd_domain, member, member_names, peer_address,
};
pub use exposure::TLS_ROUTE_VERSIONS;
pub use snapshots::{bucket, cron_job, scheduled};

/// The label selector of what a management plane is made of.
pub const SELECTOR: &str = "app.kubernetes.io/part-of=kplane";
/// The name of the API server's objects.
pub const APISERVER: &str = "kplane-apiserver";
/// The name of etcd's objects.
pub const ETCD: &str = "kplane-etcd";
/// The name of what takes snapshots of etcd, and of the claim it makes.
pub const ETCD_BACKUP: &str = "kplane-etcd-backup";
/// The name of the controllers' own pods.
pub const CONTROLLERS: &str = "kplane-controllers";
/// The Secret of what all replicas of the API server must share: the certificate authority and the secret from which
/// the keys of service account tokens derive. Its keys are the names of files in the server's data directory.
pub const PKI_SECRET: &str = "kplane-apiserver-pki";
/// The Secret of the serving certificate.
pub const SERVING_SECRET: &str = "kplane-apiserver-tls";
/// The Secret of the authority that only etcd and its clients trust.
pub const ETCD_CA_SECRET: &str = "kplane-etcd-ca";
/// The Secret of the certificate by which etcd's members know each other and serve.
pub const ETCD_SECRET: &str = "kplane-etcd-tls";
/// The Secret of the certificate by which the API server is etcd's client.
pub const ETCD_CLIENT_SECRET: &str = "kplane-etcd-client";
/// The port of the API server in its pods and at its Service.
pub const PORT: u16 = 6443;

/// The annotation of pods that changes when they must start anew, because of certificates that they read at their start.
pub const CERTIFICATES_ANNOTATION: &str = "controlplane.kplane.dev/certificates";

/// What changes when the pods must start anew.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Digests {
    /// Those of the API server.
    pub apiserver: String,
    /// Those of etcd.
    pub etcd: String,
}

/// What the objects depend on besides the spec.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Given {
    /// The image of the API server.
    pub image: String,
    /// The certificates that are read at a start.
    pub digests: Digests,
    /// Whether there is a key to encrypt Secrets in the store with.
    pub encryption_key: bool,
    /// The addresses of Services.
    pub addresses: ServiceAddresses,
    /// In what version the cluster has TLSRoutes, as far as it was asked.
    pub tls_routes: Option<&'static str>,
}

/// The addresses that the cluster gave to Services, as far as it did: for those who cannot ask DNS for names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceAddresses {
    /// That of the API server.
    pub apiserver: Option<String>,
    /// Those of etcd's members, by number.
    pub members: BTreeMap<i32, String>,
}

impl ServiceAddresses {
    /// What a Service says of itself once it was applied.
    pub fn learn(&mut self, service: &Value) {
        let address = service["spec"]["clusterIP"].as_str().filter(|text| !matches!(*text, "" | "None"));
        let (Some(address), Some(name)) = (address, service["metadata"]["name"].as_str()) else { return };
        if name == APISERVER {
            self.apiserver = Some(address.to_owned());
        } else if let Some(index) = (0..MOST).find(|index| name == member(*index)) {
            self.members.insert(index, address.to_owned());
        }
    }
}

/// An address with a port, as URLs have it.
pub fn host_and_port(address: &str, port: u16) -> String {
    if address.contains(':') { format!("[{address}]:{port}") } else { format!("{address}:{port}") }
}

/// One object to apply.
#[derive(Clone, Debug, PartialEq)]
pub struct Object {
    /// The path of its collection.
    pub collection: String,
    /// Its name.
    pub name: String,
    /// The object.
    pub value: Value,
}

impl Object {
    fn new(plane: &ManagementPlane, api: &str, plural: &str, name: &str, mut value: Value) -> Self {
        let namespace = &plane.spec.namespace;
        let collection = format!("{api}/namespaces/{namespace}/{plural}");
        value["metadata"] = json!({
            "name": name,
            "namespace": namespace,
            "labels": labels(name),
            "ownerReferences": [{
                "apiVersion": format!("{GROUP}/{VERSION}"),
                "kind": "ManagementPlane",
                "name": plane.name_any(),
                "uid": plane.uid().unwrap_or_default(),
                "controller": true,
                "blockOwnerDeletion": true,
            }],
        });
        Self { collection, name: name.to_owned(), value }
    }

    /// The path of the object.
    pub fn path(&self) -> String {
        format!("{}/{}", self.collection, self.name)
    }

    /// The same object without an owner: it outlives the management plane.
    pub fn kept(mut self) -> Self {
        if let Some(metadata) = self.value["metadata"].as_object_mut() {
            metadata.remove("ownerReferences");
        }
        self
    }
}

fn labels(name: &str) -> Value {
    json!({
        "app.kubernetes.io/name": name,
        "app.kubernetes.io/part-of": "kplane",
        "app.kubernetes.io/managed-by": "kplane-controllers",
    })
}

fn selector(name: &str) -> Value {
    json!({ "app.kubernetes.io/name": name, "app.kubernetes.io/part-of": "kplane" })
}

/// A Secret.
pub fn secret(plane: &ManagementPlane, name: &str, data: Value, annotations: Value) -> Object {
    let mut object = Object::new(
        plane,
        "/api/v1",
        "secrets",
        name,
        json!({ "apiVersion": "v1", "kind": "Secret", "type": "Opaque", "stringData": data }),
    );
    object.value["metadata"]["annotations"] = annotations;
    object
}

/// The namespace. It has no owner: what else is in it is not ours to delete.
pub fn namespace(plane: &ManagementPlane) -> Object {
    let name = plane.spec.namespace.clone();
    Object {
        collection: "/api/v1/namespaces".into(),
        value: json!({
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": { "name": name, "labels": { "pod-security.kubernetes.io/enforce": "restricted" } },
        }),
        name,
    }
}

/// The Services. They come first: what they are reached at is told to the pods and in kubeconfigs.
pub fn services(plane: &ManagementPlane, deployed: &Deployed) -> Vec<Object> {
    let mut objects = Vec::new();
    if let Store::Managed(_) = &deployed.store {
        objects.push(etcd::service(plane));
        objects.extend((0..MOST).map(|index| etcd::service_of(plane, index)));
    }
    objects.push(exposure::service(plane));
    objects
}

/// All other objects.
pub fn build(plane: &ManagementPlane, deployed: &Deployed, given: &Given) -> Vec<Object> {
    let mut objects = Vec::new();
    if let Store::Managed(managed) = &deployed.store {
        let terms = deployed.terms.clone().unwrap_or_else(|| Terms::first(managed.replicas));
        objects.push(etcd::config_map(plane, &terms));
        if scheduled(plane) || matches!(terms.change, Some(Change::Restore { .. })) {
            objects.extend(snapshots::claim(plane));
        }
        objects.push(etcd::stateful_set(plane, managed, &terms, given));
        objects.push(network::of_etcd(plane));
        if managed.replicas > 1 {
            objects.push(disruption_budget(plane, ETCD));
        }
    }
    if matches!(deployed.store, Store::External(_)) && scheduled(plane) {
        objects.extend(snapshots::claim(plane));
    }
    if deployed.store != Store::File && scheduled(plane) {
        objects.push(network::of_backup(plane));
        objects.push(cron_job(plane, deployed, given));
    }
    if deployed.store == Store::File {
        objects.push(apiserver::data_claim(plane));
    }
    objects.extend(exposure::route(plane, given.tls_routes));
    objects.push(network::of_apiserver(plane));
    objects.push(apiserver::deployment(plane, deployed, given));
    if deployed.replicas > 1 {
        objects.push(disruption_budget(plane, APISERVER));
    }
    objects
}

fn disruption_budget(plane: &ManagementPlane, name: &str) -> Object {
    Object::new(
        plane,
        "/apis/policy/v1",
        "poddisruptionbudgets",
        name,
        json!({
            "apiVersion": "policy/v1",
            "kind": "PodDisruptionBudget",
            "spec": { "maxUnavailable": 1, "selector": { "matchLabels": selector(name) } },
        }),
    )
}

/// A probe by HTTP; `failures` of it, 5 seconds apart, are believed.
fn probe(path: &str, port: u16, scheme: &str, failures: u32) -> Value {
    json!({
        "httpGet": { "path": path, "port": port, "scheme": scheme },
        "periodSeconds": 5,
        "timeoutSeconds": 5,
        "failureThreshold": failures,
    })
}

fn pod_security() -> Value {
    json!({
        "runAsNonRoot": true,
        "runAsUser": 65532,
        "runAsGroup": 65532,
        "fsGroup": 65532,
        // A volume whose owner is right already is not walked through at each start.
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": { "type": "RuntimeDefault" },
    })
}

fn container_security() -> Value {
    json!({
        "allowPrivilegeEscalation": false,
        "readOnlyRootFilesystem": true,
        "capabilities": { "drop": ["ALL"] },
    })
}

/// Spread over nodes where there are several; on one node all may run.
fn spread(name: &str) -> Value {
    json!([{
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": { "matchLabels": selector(name) },
    }])
}

/// A volume of a Secret, readable by the group of the pod and nobody else.
fn secret_volume(volume: &str, secret: &str) -> Value {
    json!({ "name": volume, "secret": { "secretName": secret, "defaultMode": 0o440 } })
}
