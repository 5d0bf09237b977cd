//! `ManagementPlane`: the store and the shared API server.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ResourceRequirements;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::reference::LocalObjectReference;

/// The one name of a `ManagementPlane`.
pub const MANAGEMENT_PLANE_NAME: &str = "default";

/// The namespace of a ManagementPlane that names none.
pub const MANAGEMENT_PLANE_NAMESPACE: &str = "kplane-system";

/// What is wanted of the management plane.
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "controlplane.kplane.dev",
    version = "v1alpha1",
    kind = "ManagementPlane",
    plural = "managementplanes",
    shortname = "mp",
    category = "kplane",
    status = "ManagementPlaneStatus",
    derive = "PartialEq",
    doc = "The ManagementPlane is the store and the shared API server that serve all control planes. There is one, named default.",
    printcolumn(name = "Topology", type_ = "string", json_path = ".status.topology"),
    printcolumn(name = "Store", type_ = "string", json_path = ".spec.store.type"),
    printcolumn(name = "Endpoint", type_ = "string", json_path = ".status.endpoint"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].reason",
        priority = 1
    ),
    printcolumn(name = "Version", type_ = "string", json_path = ".status.version", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new("self.metadata.name == 'default'").message("the one ManagementPlane is named default")
)]
#[serde(rename_all = "camelCase")]
pub struct ManagementPlaneSpec {
    /// The version of the shared API server; that of the controllers when empty.
    #[schemars(length(max = 128))]
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub version: String,

    /// Where the API server runs: Deployed is in pods of this cluster, Embedded is in the process that runs the
    /// controllers. When not set, it is Embedded if that process serves and else Deployed; the status says which.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topology: Option<Topology>,

    /// The namespace of what is deployed. It cannot be changed.
    #[schemars(length(max = 63), regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    #[x_kube(validation = Rule::new("self == oldSelf").message("namespace is immutable"))]
    #[serde(default = "default_namespace")]
    pub namespace: String,

    /// The shared API server.
    #[serde(default)]
    pub apiserver: ApiserverSpec,

    /// The store.
    #[serde(default)]
    pub store: StoreSpec,

    /// How clients outside the cluster reach the API server.
    #[serde(default)]
    pub exposure: ExposureSpec,

    /// The certificates of the management plane.
    #[serde(default)]
    pub certificates: CertificatesSpec,
}

fn default_namespace() -> String {
    MANAGEMENT_PLANE_NAMESPACE.into()
}

/// Where the shared API server runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Topology {
    /// In pods of the management cluster.
    Deployed,
    /// In the process that runs the controllers.
    Embedded,
}

/// The shared API server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApiserverSpec {
    /// How many replicas run, when deployed.
    #[schemars(range(min = 1, max = 32))]
    #[serde(default = "default_apiserver_replicas")]
    pub replicas: i32,

    /// The image, when deployed; that of the controllers' version when empty.
    #[schemars(length(max = 1024))]
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub image: String,

    /// The resources of the container, when deployed.
    #[serde(default)]
    pub resources: ResourceRequirements,

    /// More arguments for the API server, when deployed, after the controller's own.
    #[schemars(length(max = 128))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub extra_args: Vec<String>,

    /// How many seconds an upgrade may make no progress, when deployed, until the version that ran is put back.
    #[schemars(range(min = 10, max = 86400))]
    #[serde(default = "default_progress_deadline")]
    pub progress_deadline_seconds: i32,
}

fn default_progress_deadline() -> i32 {
    600
}

fn default_apiserver_replicas() -> i32 {
    2
}

impl Default for ApiserverSpec {
    fn default() -> Self {
        Self {
            replicas: default_apiserver_replicas(),
            image: String::new(),
            resources: ResourceRequirements::default(),
            extra_args: Vec::new(),
            progress_deadline_seconds: default_progress_deadline(),
        }
    }
}

/// The store.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[x_kube(validation = Rule::new("self.type == 'Etcd' || !has(self.etcd)").message("etcd is for type Etcd"))]
#[serde(rename_all = "camelCase")]
pub struct StoreSpec {
    /// Etcd, or Embedded: one file of the process that serves, which allows one replica.
    #[serde(default, rename = "type")]
    pub type_: StoreType,

    /// The settings of type Etcd; a managed etcd when not set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etcd: Option<EtcdSpec>,

    /// Regular copies of an etcd.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup: Option<BackupSpec>,
}

/// The kind of store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum StoreType {
    /// etcd.
    #[default]
    Etcd,
    /// One file of the process that serves.
    Embedded,
}

/// An etcd, ours or another's.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[x_kube(validation = Rule::new("!(has(self.managed) && has(self.external))").message("managed and external exclude each other"))]
#[serde(rename_all = "camelCase")]
pub struct EtcdSpec {
    /// An etcd that the controllers run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub managed: Option<ManagedEtcd>,

    /// An etcd that somebody else runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external: Option<ExternalEtcd>,
}

/// An etcd that the controllers run.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ManagedEtcd {
    /// How many members: 1, 3 or 5. A change is made one member at a time, while all others are well.
    #[x_kube(validation = Rule::new("self in [1, 3, 5]").message("replicas must be 1, 3 or 5"))]
    #[serde(default = "default_etcd_replicas")]
    pub replicas: i32,

    /// The image; one known to work when empty.
    #[schemars(length(max = 1024))]
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub image: String,

    /// The size of the volume of a member.
    #[schemars(regex(pattern = r"^[0-9]+(\.[0-9]+)?([EPTGMk]i?)?$"))]
    #[x_kube(validation = Rule::new("self == oldSelf").message("the size of etcd's volumes is immutable"))]
    #[serde(default = "default_etcd_storage")]
    pub storage: String,

    /// The storage class of the volumes; the cluster's default when empty.
    #[schemars(length(max = 253))]
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub storage_class_name: String,

    /// What its data is replaced by. It happens once for each value; removing it undoes one that was not finished.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restore: Option<RestoreSpec>,
}

/// What the data of a managed etcd is replaced by.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RestoreSpec {
    /// The name of a snapshot in the destination of the backups.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[A-Za-z0-9]([-A-Za-z0-9._]*[A-Za-z0-9])?$"))]
    pub from: String,
}

fn default_etcd_replicas() -> i32 {
    3
}

fn default_etcd_storage() -> String {
    "8Gi".into()
}

impl Default for ManagedEtcd {
    fn default() -> Self {
        Self {
            replicas: default_etcd_replicas(),
            image: String::new(),
            storage: default_etcd_storage(),
            storage_class_name: String::new(),
            restore: None,
        }
    }
}

/// An etcd that somebody else runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExternalEtcd {
    /// The addresses of its members.
    #[schemars(length(min = 1, max = 16))]
    pub endpoints: Vec<String>,

    /// A Secret in the namespace of the management plane with ca.crt, tls.crt and tls.key for its clients.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_secret_ref: Option<LocalObjectReference>,
}

/// Regular copies of an etcd.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackupSpec {
    /// When, in cron's notation and UTC; never when empty.
    #[schemars(length(max = 128))]
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub schedule: String,

    /// How many snapshots are kept.
    #[schemars(range(min = 1, max = 1000))]
    #[serde(default = "default_retain")]
    pub retain: i32,

    /// Where to; a volume that the controllers claim when nothing is named.
    #[serde(default)]
    pub destination: BackupDestination,
}

fn default_retain() -> i32 {
    7
}

impl Default for BackupSpec {
    fn default() -> Self {
        Self { schedule: String::new(), retain: default_retain(), destination: BackupDestination::default() }
    }
}

/// Where snapshots are kept.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[x_kube(validation = Rule::new("!(has(self.volume) && has(self.s3))").message("volume and s3 exclude each other"))]
#[serde(rename_all = "camelCase")]
pub struct BackupDestination {
    /// A volume. For a restore it must be one that the nodes of all members can mount.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume: Option<BackupVolume>,

    /// A bucket of an object store that speaks S3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub s3: Option<BackupS3>,
}

/// A bucket for snapshots.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackupS3 {
    /// The bucket.
    #[schemars(length(min = 3, max = 255), regex(pattern = r"^[A-Za-z0-9][-A-Za-z0-9._]*$"))]
    pub bucket: String,

    /// What the names of snapshots begin with, as folders are named. Every management plane needs one of its own.
    #[schemars(length(max = 512))]
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub prefix: String,

    /// The region of the bucket.
    #[schemars(length(min = 1, max = 64), regex(pattern = r"^[A-Za-z0-9][-A-Za-z0-9._]*$"))]
    #[serde(default = "default_region")]
    pub region: String,

    /// The address of the object store, as https://HOST:PORT; that of AWS in the region when empty.
    #[schemars(length(max = 1024), regex(pattern = r"^(https?://[^/\s]+(/[^\s]*)?)?$"))]
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub endpoint: String,

    /// Whether the bucket is named in the path of URLs, and not in their host. When not set, it is with an endpoint of
    /// one's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_style: Option<bool>,

    /// A Secret in the namespace of the management plane with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and
    /// AWS_SESSION_TOKEN where there is one.
    pub credentials_secret_ref: LocalObjectReference,

    /// A Secret in the namespace of the management plane with ca.crt, by which the object store is verified; by what the
    /// image trusts when not set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_secret_ref: Option<LocalObjectReference>,
}

fn default_region() -> String {
    "us-east-1".into()
}

/// A volume for snapshots.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackupVolume {
    /// A claim in the namespace of the management plane; one that the controllers make when empty.
    #[schemars(length(max = 253))]
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub claim_name: String,

    /// The size of the claim that the controllers make.
    #[schemars(regex(pattern = r"^[0-9]+(\.[0-9]+)?([EPTGMk]i?)?$"))]
    #[serde(default = "default_backup_size")]
    pub size: String,

    /// The storage class of the claim that the controllers make; the cluster's default when empty.
    #[schemars(length(max = 253))]
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub storage_class_name: String,
}

fn default_backup_size() -> String {
    "16Gi".into()
}

impl Default for BackupVolume {
    fn default() -> Self {
        Self { claim_name: String::new(), size: default_backup_size(), storage_class_name: String::new() }
    }
}

/// How clients outside the cluster reach the API server.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[x_kube(validation = Rule::new("!(has(self.type) && self.type in ['Ingress', 'Gateway']) || has(self.host)").message("host is needed for type Ingress and Gateway"))]
#[x_kube(validation = Rule::new("!(has(self.type) && self.type == 'Gateway') || has(self.gateway)").message("gateway is needed for type Gateway"))]
#[serde(rename_all = "camelCase")]
pub struct ExposureSpec {
    /// By what the API server is exposed. TLS passes through an Ingress and a Gateway: their controllers must be able
    /// to let it.
    #[serde(default, rename = "type")]
    pub type_: ExposureType,

    /// The port of every node, for type NodePort; the cluster chooses when not set.
    #[schemars(range(min = 1, max = 65535))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_port: Option<i32>,

    /// The host name or address that clients outside use.
    #[schemars(length(max = 253))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,

    /// The port that clients outside use.
    #[schemars(range(min = 1, max = 65535))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<i32>,

    /// The Ingress, for type Ingress.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ingress: Option<IngressExposure>,

    /// The Gateway, for type Gateway: its listener must be one of protocol TLS and mode Passthrough.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<GatewayExposure>,
}

impl Default for ExposureSpec {
    fn default() -> Self {
        Self {
            type_: ExposureType::ClusterIP,
            node_port: None,
            host: None,
            port: None,
            ingress: None,
            gateway: None,
        }
    }
}

/// The Ingress that leads to the API server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct IngressExposure {
    /// The IngressClass; the cluster's default when empty.
    #[schemars(length(max = 253))]
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub class_name: String,
    /// Annotations for its controller, beside those by which the usual ones pass TLS through.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// The Gateway that a TLSRoute attaches the API server to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GatewayExposure {
    /// The name of the Gateway.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// The namespace of the Gateway; that of the management plane when empty.
    #[schemars(length(max = 63))]
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// The listener; any that fits when empty.
    #[schemars(length(max = 253))]
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub section_name: String,
}

/// By what the API server is exposed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ExposureType {
    /// Inside the cluster only.
    #[default]
    ClusterIP,
    /// A port of every node.
    NodePort,
    /// A load balancer.
    LoadBalancer,
    /// An Ingress.
    Ingress,
    /// A Gateway.
    Gateway,
}

/// The certificates of the management plane.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[x_kube(validation = Rule::new("duration(self.renewBefore) < duration(self.duration)").message("renewBefore must be shorter than duration"))]
#[serde(rename_all = "camelCase")]
pub struct CertificatesSpec {
    /// How long a serving or client certificate is valid.
    #[schemars(length(max = 32), regex(pattern = r"^([0-9]+(s|m|h))+$"))]
    #[serde(default = "default_certificate_duration")]
    pub duration: String,

    /// How long before its end a certificate is renewed.
    #[schemars(length(max = 32), regex(pattern = r"^([0-9]+(s|m|h))+$"))]
    #[serde(default = "default_certificate_renew_before")]
    pub renew_before: String,

    /// How long an authority that was replaced is trusted: as long as the longest client certificate that it signed may
    /// live.
    #[schemars(length(max = 32), regex(pattern = r"^([0-9]+(s|m|h))+$"))]
    #[serde(default = "default_authority_overlap")]
    pub authority_overlap: String,
}

fn default_authority_overlap() -> String {
    "8760h".into()
}

fn default_certificate_duration() -> String {
    "8760h".into()
}

fn default_certificate_renew_before() -> String {
    "720h".into()
}

impl Default for CertificatesSpec {
    fn default() -> Self {
        Self {
            duration: default_certificate_duration(),
            renew_before: default_certificate_renew_before(),
            authority_overlap: default_authority_overlap(),
        }
    }
}

/// An upgrade that failed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FailedUpgrade {
    /// The image that did not become ready.
    pub image: String,
    /// The generation of the spec that asked for it.
    pub generation: i64,
    /// What happened, and what to do.
    pub message: String,
}

/// What is known of the management plane.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ManagementPlaneStatus {
    /// The topology in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topology: Option<Topology>,

    /// The address of the shared API server for clients outside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,

    /// The address of the shared API server inside the management cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub internal_endpoint: Option<String>,

    /// The certificates, in PEM, by which clients verify the API server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_bundle: Option<String>,

    /// The version of the shared API server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,

    /// The image of the shared API server that runs, when deployed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,

    /// The upgrade that failed last. It is not tried again before the spec changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed_upgrade: Option<FailedUpgrade>,

    /// What is known of a managed etcd.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store: Option<StoreStatus>,

    /// The generation of the spec that the controller last acted on.
    #[serde(default = "crate::conditions::unobserved")]
    pub observed_generation: i64,

    /// The latest observations: Ready, StoreReady, ApiserverReady, CertificatesReady, BackupSucceeded, Upgrading,
    /// FieldsSupported, Reconciling and Stalled.
    #[schemars(schema_with = "crate::conditions::schema")]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}

/// What is known of an etcd.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StoreStatus {
    /// How many members vote.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub members: Option<i32>,

    /// The bytes of the largest member's file, in steps of 16 MiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size_bytes: Option<i64>,

    /// The last snapshot that succeeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_backup: Option<BackupStatus>,

    /// The snapshot that the data was last replaced by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restored_from: Option<String>,
}

/// A snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackupStatus {
    /// Its name, for a restore.
    pub name: String,
    /// When it was finished, as RFC 3339 has it.
    pub time: String,
    /// Its size in bytes.
    pub size: i64,
    /// etcd's revision when it began; it holds this one and perhaps later ones.
    pub revision: i64,
}

impl Default for ManagementPlaneStatus {
    fn default() -> Self {
        Self {
            topology: None,
            endpoint: None,
            internal_endpoint: None,
            ca_bundle: None,
            version: None,
            image: None,
            failed_upgrade: None,
            store: None,
            observed_generation: crate::conditions::unobserved(),
            conditions: Vec::new(),
        }
    }
}
