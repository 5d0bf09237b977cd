//! Builds the objects of a deployed management plane (no client required).

use kplane_crds::v1alpha1::{ExposureType, GROUP, ManagedEtcd, ManagementPlane, VERSION};
use kube::ResourceExt;
use serde_json::{Value, json};

use super::validate::{Deployed, Store};

/// The label selector of what a management plane is made of.
pub const SELECTOR: &str = "app.kubernetes.io/part-of=kplane";
/// The name of the API server's objects.
pub const APISERVER: &str = "kplane-apiserver";
/// The name of etcd's objects.
pub const ETCD: &str = "kplane-etcd";
/// The Secret of what all replicas of the API server must share: the certificate authority and the secret from which
/// the keys of service account tokens derive. Its keys are the names of files in the server's data directory.
pub const PKI_SECRET: &str = "kplane-apiserver-pki";
/// The Secret of the serving certificate.
pub const SERVING_SECRET: &str = "kplane-apiserver-tls";
/// The data directory of the API server.
const DATA_DIR: &str = "/var/lib/kplane";
/// The port of the API server in its pods and at its Service.
pub const PORT: u16 = 6443;
/// etcd's image when none is named: the first with reliable progress notifications is 3.5.13.
const ETCD_IMAGE: &str = "registry.k8s.io/etcd:3.6.6-0";

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
        value: json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } }),
        name,
    }
}

/// All other objects. `certificates` is a digest of the certificates, which pods read only when they start.
pub fn build(plane: &ManagementPlane, deployed: &Deployed, image: &str, certificates: &str) -> Vec<Object> {
    let mut objects = Vec::new();
    if let Store::Managed(etcd) = &deployed.store {
        objects.push(etcd_service(plane));
        objects.push(etcd_stateful_set(plane, etcd));
        objects.push(disruption_budget(plane, ETCD));
    }
    if deployed.store == Store::File {
        objects.push(data_claim(plane));
    }
    objects.push(apiserver_service(plane));
    objects.push(apiserver_deployment(plane, deployed, image, certificates));
    if deployed.replicas > 1 {
        objects.push(disruption_budget(plane, APISERVER));
    }
    objects
}

fn etcd_service(plane: &ManagementPlane) -> Object {
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

fn etcd_stateful_set(plane: &ManagementPlane, etcd: &ManagedEtcd) -> Object {
    let domain = format!("{ETCD}.{}.svc", plane.spec.namespace);
    let members: Vec<String> = (0..etcd.replicas)
        .map(|index| format!("{ETCD}-{index}=http://{ETCD}-{index}.{domain}:2380"))
        .collect();
    let image = if etcd.image.is_empty() { ETCD_IMAGE } else { &etcd.image };
    let mut claim = json!({
        "accessModes": ["ReadWriteOnce"],
        "resources": { "requests": { "storage": etcd.storage } },
    });
    if !etcd.storage_class_name.is_empty() {
        claim["storageClassName"] = etcd.storage_class_name.clone().into();
    }
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
                "podManagementPolicy": "Parallel",
                "selector": { "matchLabels": selector(ETCD) },
                "template": {
                    "metadata": { "labels": labels(ETCD) },
                    "spec": {
                        "automountServiceAccountToken": false,
                        "securityContext": pod_security(),
                        "affinity": spread(ETCD),
                        "containers": [{
                            "name": "etcd",
                            "image": image,
                            "command": ["etcd"],
                            "args": [
                                "--name=$(NAME)",
                                "--data-dir=/var/lib/etcd/data",
                                "--listen-client-urls=http://0.0.0.0:2379",
                                format!("--advertise-client-urls=http://$(NAME).{domain}:2379"),
                                "--listen-peer-urls=http://0.0.0.0:2380",
                                format!("--initial-advertise-peer-urls=http://$(NAME).{domain}:2380"),
                                format!("--initial-cluster={}", members.join(",")),
                                "--initial-cluster-token=kplane",
                                "--listen-metrics-urls=http://0.0.0.0:2381",
                                "--quota-backend-bytes=8589934592",
                            ],
                            "env": [{ "name": "NAME", "valueFrom": { "fieldRef": { "fieldPath": "metadata.name" } } }],
                            "ports": [
                                { "name": "client", "containerPort": 2379, "protocol": "TCP" },
                                { "name": "peer", "containerPort": 2380, "protocol": "TCP" },
                                { "name": "metrics", "containerPort": 2381, "protocol": "TCP" },
                            ],
                            "readinessProbe": probe("/readyz", 2381, "HTTP"),
                            "livenessProbe": probe("/livez", 2381, "HTTP"),
                            "securityContext": container_security(),
                            "volumeMounts": [{ "name": "data", "mountPath": "/var/lib/etcd" }],
                        }],
                    },
                },
                "volumeClaimTemplates": [{ "metadata": { "name": "data" }, "spec": claim }],
            },
        }),
    )
}

fn data_claim(plane: &ManagementPlane) -> Object {
    Object::new(
        plane,
        "/api/v1",
        "persistentvolumeclaims",
        "kplane-apiserver-data",
        json!({
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "spec": {
                "accessModes": ["ReadWriteOnce"],
                "resources": { "requests": { "storage": ManagedEtcd::default().storage } },
            },
        }),
    )
}

fn apiserver_service(plane: &ManagementPlane) -> Object {
    let exposure = &plane.spec.exposure;
    let kind = match exposure.type_ {
        ExposureType::NodePort => "NodePort",
        ExposureType::LoadBalancer => "LoadBalancer",
        ExposureType::ClusterIP | ExposureType::Ingress | ExposureType::Gateway => "ClusterIP",
    };
    let mut port = json!({ "name": "https", "port": PORT, "targetPort": PORT, "protocol": "TCP" });
    if let (ExposureType::NodePort, Some(node_port)) = (exposure.type_, exposure.node_port) {
        port["nodePort"] = node_port.into();
    }
    Object::new(
        plane,
        "/api/v1",
        "services",
        APISERVER,
        json!({
            "apiVersion": "v1",
            "kind": "Service",
            "spec": { "type": kind, "selector": selector(APISERVER), "ports": [port] },
        }),
    )
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
        // kplane-controllers runs them.
        "--tenant-controllers=false".to_owned(),
    ];
    match &deployed.store {
        Store::Managed(_) => {
            arguments.push("--storage=etcd".to_owned());
            arguments.push(format!("--etcd-servers=http://{ETCD}.{namespace}.svc:2379"));
        }
        Store::External(etcd) => {
            arguments.push("--storage=etcd".to_owned());
            arguments.push(format!("--etcd-servers={}", etcd.endpoints.join(",")));
            if etcd.tls_secret_ref.is_some() {
                arguments.push("--etcd-cafile=/etc/kplane/etcd/ca.crt".to_owned());
                arguments.push("--etcd-certfile=/etc/kplane/etcd/tls.crt".to_owned());
                arguments.push("--etcd-keyfile=/etc/kplane/etcd/tls.key".to_owned());
            }
        }
        Store::File => {
            arguments.push("--storage=embedded".to_owned());
        }
    }
    arguments.extend(plane.spec.apiserver.extra_args.iter().cloned());
    arguments
}

fn apiserver_deployment(
    plane: &ManagementPlane,
    deployed: &Deployed,
    image: &str,
    certificates: &str,
) -> Object {
    let secret = |name: &str| json!({ "secretName": name, "defaultMode": 0o440 });
    let mut volumes = vec![
        json!({ "name": "tls", "secret": secret(SERVING_SECRET) }),
        json!({ "name": "pki", "secret": secret(PKI_SECRET) }),
        json!({ "name": "keys", "emptyDir": {} }),
    ];
    let mut mounts = vec![
        json!({ "name": "tls", "mountPath": "/etc/kplane/tls", "readOnly": true }),
        json!({ "name": "data", "mountPath": DATA_DIR }),
        // A volume of its own: the folder that a file is mounted in would belong to the superuser.
        json!({ "name": "keys", "mountPath": format!("{DATA_DIR}/pki") }),
    ];
    // The server makes what is not in its data directory and reads what is.
    mounts.extend(["ca.crt", "ca.key", "plane.key"].map(|file| {
        json!({ "name": "pki", "mountPath": format!("{DATA_DIR}/pki/{file}"), "subPath": file, "readOnly": true })
    }));
    if let Store::External(etcd) = &deployed.store
        && let Some(reference) = &etcd.tls_secret_ref
    {
        volumes.push(json!({ "name": "etcd", "secret": secret(&reference.name) }));
        mounts.push(json!({ "name": "etcd", "mountPath": "/etc/kplane/etcd", "readOnly": true }));
    }
    volumes.push(if deployed.store == Store::File {
        json!({ "name": "data", "persistentVolumeClaim": { "claimName": "kplane-apiserver-data" } })
    } else {
        json!({ "name": "data", "emptyDir": {} })
    });
    // Two processes must not open one file.
    let strategy = if deployed.store == Store::File { "Recreate" } else { "RollingUpdate" };
    Object::new(
        plane,
        "/apis/apps/v1",
        "deployments",
        APISERVER,
        json!({
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "spec": {
                "replicas": deployed.replicas,
                "strategy": { "type": strategy },
                "selector": { "matchLabels": selector(APISERVER) },
                "template": {
                    "metadata": {
                        "labels": labels(APISERVER),
                        "annotations": { "controlplane.kplane.dev/certificates": certificates },
                    },
                    "spec": {
                        "automountServiceAccountToken": false,
                        "securityContext": pod_security(),
                        "affinity": spread(APISERVER),
                        "containers": [{
                            "name": "kplane-apiserver",
                            "image": image,
                            "command": ["kplane-apiserver"],
                            "args": arguments(plane, deployed),
                            "ports": [{ "name": "https", "containerPort": PORT, "protocol": "TCP" }],
                            "readinessProbe": probe("/readyz", PORT, "HTTPS"),
                            "livenessProbe": probe("/livez", PORT, "HTTPS"),
                            "resources": plane.spec.apiserver.resources,
                            "securityContext": container_security(),
                            "volumeMounts": mounts,
                        }],
                        "volumes": volumes,
                    },
                },
            },
        }),
    )
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

fn probe(path: &str, port: u16, scheme: &str) -> Value {
    json!({
        "httpGet": { "path": path, "port": port, "scheme": scheme },
        "periodSeconds": 5,
        "timeoutSeconds": 5,
        "failureThreshold": 6,
    })
}

fn pod_security() -> Value {
    json!({
        "runAsNonRoot": true,
        "runAsUser": 65532,
        "runAsGroup": 65532,
        "fsGroup": 65532,
        "seccompProfile": { "type": "RuntimeDefault" },
    })
}

fn container_security() -> Value {
    json!({ "allowPrivilegeEscalation": false, "capabilities": { "drop": ["ALL"] } })
}

fn spread(name: &str) -> Value {
    json!({ "podAntiAffinity": { "preferredDuringSchedulingIgnoredDuringExecution": [{
        "weight": 100,
        "podAffinityTerm": {
            "topologyKey": "kubernetes.io/hostname",
            "labelSelector": { "matchLabels": selector(name) },
        },
    }]}})
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
    use k8s_openapi::api::core::v1::Service;
    use kplane_crds::v1alpha1::ManagementPlaneSpec;

    fn plane() -> ManagementPlane {
        let mut spec = ManagementPlaneSpec { namespace: "barn".into(), ..ManagementPlaneSpec::default() };
        spec.exposure.type_ = ExposureType::NodePort;
        spec.exposure.node_port = Some(30443);
        spec.apiserver.extra_args = vec!["--v=4".into()];
        ManagementPlane::new("default", spec)
    }

    fn find(objects: &[Object], kind: &str, name: &str) -> Value {
        let found = objects.iter().find(|o| o.value["kind"] == kind && o.name == name);
        found.map(|o| o.value.clone()).unwrap_or_else(|| panic!("no {kind} {name}"))
    }

    #[test]
    fn a_deployed_plane_has_an_etcd_and_an_api_server() {
        let deployed = Deployed { store: Store::Managed(ManagedEtcd::default()), replicas: 2 };
        let objects = build(&plane(), &deployed, "image:1", "digest");
        let etcd: StatefulSet = serde_json::from_value(find(&objects, "StatefulSet", ETCD)).unwrap();
        let etcd = etcd.spec.unwrap();
        assert_eq!(etcd.replicas, Some(3));
        let args = etcd.template.spec.unwrap().containers[0].args.clone().unwrap();
        assert!(
            args.iter().any(|a| a.contains("kplane-etcd-2=http://kplane-etcd-2.kplane-etcd.barn.svc:2380"))
        );
        let server: Deployment = serde_json::from_value(find(&objects, "Deployment", APISERVER)).unwrap();
        let pod = server.spec.unwrap().template.spec.unwrap();
        let args = pod.containers[0].args.clone().unwrap();
        assert!(args.contains(&"--etcd-servers=http://kplane-etcd.barn.svc:2379".to_owned()));
        assert_eq!(args.last().map(String::as_str), Some("--v=4"));
        let service: Service = serde_json::from_value(find(&objects, "Service", APISERVER)).unwrap();
        assert_eq!(service.spec.unwrap().ports.unwrap()[0].node_port, Some(30443));
        find(&objects, "PodDisruptionBudget", ETCD);
        find(&objects, "PodDisruptionBudget", APISERVER);
    }

    #[test]
    fn a_file_store_has_a_volume_and_no_etcd() {
        let objects = build(&plane(), &Deployed { store: Store::File, replicas: 1 }, "image:1", "digest");
        let server = find(&objects, "Deployment", APISERVER);
        assert_eq!(server["spec"]["strategy"]["type"], "Recreate");
        assert!(!objects.iter().any(|o| o.name == ETCD));
    }
}
