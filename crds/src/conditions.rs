//! The conditions in the status of our kinds: their types, their reasons and their schema.
//!
//! kstatus reads `Ready`, `Reconciling` and `Stalled` together with `observedGeneration`: an object whose
//! `observedGeneration` is not its generation is still in progress, which is why the schema's default is -1.

use schemars::{Schema, SchemaGenerator, json_schema};

/// The object does what its spec asks.
pub const READY: &str = "Ready";
/// The controller is at work and more is to come.
pub const RECONCILING: &str = "Reconciling";
/// The controller cannot go on until somebody changes something.
pub const STALLED: &str = "Stalled";
/// The spec is valid and what it claims is ours.
pub const ACCEPTED: &str = "Accepted";
/// The addresses of a control plane are known.
pub const ENDPOINT_READY: &str = "EndpointReady";
/// The Secret with the credentials is written and not near its end.
pub const CREDENTIALS_READY: &str = "CredentialsReady";
/// The credentials are in every other form that the spec asks for.
pub const EXPORTS_READY: &str = "ExportsReady";
/// Every add-on of a class is what its control planes have.
pub const ADDONS_READY: &str = "AddonsReady";
/// The store of a management plane answers.
pub const STORE_READY: &str = "StoreReady";
/// The shared API server of a management plane answers.
pub const APISERVER_READY: &str = "ApiserverReady";
/// The certificates of a management plane are issued and not near their end.
pub const CERTIFICATES_READY: &str = "CertificatesReady";
/// The version of the shared API server of a management plane is being changed.
pub const UPGRADING: &str = "Upgrading";
/// The last of the regular snapshots succeeded and none is overdue.
pub const BACKUP_SUCCEEDED: &str = "BackupSucceeded";
/// Every field that the object sets does something; if not, the message names those that do nothing.
pub const FIELDS_SUPPORTED: &str = "FieldsSupported";

/// The reasons that more than one controller gives, or that programs look for.
pub mod reason {
    /// All is as the spec asks.
    pub const RECONCILED: &str = "Reconciled";
    /// The controller is at work.
    pub const PROGRESSING: &str = "Progressing";
    /// A step failed and is tried again.
    pub const RETRYING: &str = "Retrying";
    /// Another owner holds the path.
    pub const PATH_TAKEN: &str = "PathTaken";
    /// A retained control plane holds the path; name its uid to adopt it.
    pub const PATH_RETAINED: &str = "PathRetained";
    /// The path is no DNS label, or it is reserved.
    pub const INVALID_CLUSTER_PATH: &str = "InvalidClusterPath";
    /// The uid to adopt is not that of the record at the path.
    pub const ADOPTION_MISMATCH: &str = "AdoptionMismatch";
    /// The class does not exist.
    pub const CLASS_NOT_FOUND: &str = "ClassNotFound";
    /// The class does not allow the mode.
    pub const MODE_NOT_ALLOWED: &str = "ModeNotAllowed";
    /// The mode is not supported.
    pub const MODE_NOT_SUPPORTED: &str = "ModeNotSupported";
    /// The spec is invalid.
    pub const INVALID_SPEC: &str = "InvalidSpec";
    /// The endpoint is not known yet.
    pub const ENDPOINT_PENDING: &str = "EndpointPending";
    /// The endpoint the spec names does not exist.
    pub const ENDPOINT_NOT_FOUND: &str = "EndpointNotFound";
    /// There is no management plane yet, or it does not answer.
    pub const MANAGEMENT_PLANE_PENDING: &str = "ManagementPlanePending";
    /// The credentials are not written yet.
    pub const CREDENTIALS_PENDING: &str = "CredentialsPending";
    /// The control plane the spec names does not exist.
    pub const CONTROL_PLANE_NOT_FOUND: &str = "ControlPlaneNotFound";
    /// The control plane the spec names is not ready.
    pub const CONTROL_PLANE_PENDING: &str = "ControlPlanePending";
    /// The spec names no control plane.
    pub const CONTROL_PLANE_REF_MISSING: &str = "ControlPlaneRefMissing";
    /// The kubeconfig Secret is not there yet.
    pub const KUBECONFIG_PENDING: &str = "KubeconfigPending";
    /// All references are resolved.
    pub const RESOLVED: &str = "Resolved";
    /// Fields are set that do nothing yet.
    pub const UNSUPPORTED_FIELDS: &str = "UnsupportedFields";
    /// The topology cannot be had here.
    pub const TOPOLOGY_IMPOSSIBLE: &str = "TopologyImpossible";
    /// The object that should be written belongs to somebody else.
    pub const NOT_OURS: &str = "NotOurs";
    /// The namespace that something is to be written to does not exist.
    pub const NAMESPACE_NOT_FOUND: &str = "NamespaceNotFound";
    /// The controllers may not do it.
    pub const FORBIDDEN: &str = "Forbidden";
    /// No administrator has said that the namespace takes kubeconfigs.
    pub const NAMESPACE_NOT_ALLOWED: &str = "NamespaceNotAllowed";
    /// The ConfigMap of an add-on does not exist.
    pub const ADDON_NOT_FOUND: &str = "AddonNotFound";
    /// The manifests of an add-on are invalid.
    pub const ADDON_INVALID: &str = "AddonInvalid";
    /// The add-ons of the class are not ready.
    pub const ADDONS_PENDING: &str = "AddonsPending";
    /// etcd goes on with a quorum and lacks a member.
    pub const MEMBER_MISSING: &str = "MemberMissing";
    /// etcd has lost its quorum, and serves nobody.
    pub const QUORUM_LOST: &str = "QuorumLost";
    /// The number of etcd's members is being changed, or a member replaced.
    pub const SCALING: &str = "Scaling";
    /// A change of the members has to wait for one that is not well.
    pub const MEMBER_UNHEALTHY: &str = "MemberUnhealthy";
    /// etcd has reached its quota and refuses writes.
    pub const NO_SPACE: &str = "NoSpace";
    /// A member of etcd holds other data than the rest.
    pub const CORRUPT: &str = "Corrupt";
    /// The data of etcd is being replaced by a snapshot.
    pub const RESTORING: &str = "Restoring";
    /// An etcd of somebody else does not answer.
    pub const ETCD_UNREACHABLE: &str = "EtcdUnreachable";
    /// A certificate has ended.
    pub const CERTIFICATE_EXPIRED: &str = "CertificateExpired";
    /// A port that the spec asks for is taken.
    pub const PORT_TAKEN: &str = "PortTaken";
    /// The last snapshot succeeded.
    pub const BACKED_UP: &str = "BackedUp";
    /// The first snapshot is not due yet, or under way.
    pub const BACKUP_PENDING: &str = "BackupPending";
    /// The last snapshot failed.
    pub const BACKUP_FAILED: &str = "BackupFailed";
    /// No snapshot was made when one was due.
    pub const BACKUP_OVERDUE: &str = "BackupOverdue";
    /// The Secret with the keys for the destination of snapshots is not there, or lacks a key.
    pub const DESTINATION_CREDENTIALS_MISSING: &str = "DestinationCredentialsMissing";
    /// The destination of snapshots does not let these keys in.
    pub const DESTINATION_DENIED: &str = "DestinationDenied";
    /// The destination of snapshots does not answer.
    pub const DESTINATION_UNREACHABLE: &str = "DestinationUnreachable";
    /// There is no bucket of the name.
    pub const BUCKET_NOT_FOUND: &str = "BucketNotFound";
    /// The bucket is in another region.
    pub const WRONG_REGION: &str = "WrongRegion";
    /// The object is being deleted.
    pub const DELETING: &str = "Deleting";
}

/// The schema of a list of conditions: a map by `type`, as `metav1.Condition` is described upstream.
pub fn schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "description": "The latest observations of the state of the object.",
        "type": "array",
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
        "items": {
            "description": "Condition contains details for one aspect of the current state of this API Resource.",
            "type": "object",
            "required": ["lastTransitionTime", "message", "reason", "status", "type"],
            "properties": {
                "lastTransitionTime": {
                    "description": "The last time the condition changed from one status to another.",
                    "type": "string",
                    "format": "date-time"
                },
                "message": {
                    "description": "Details about the transition, for people. May be empty.",
                    "type": "string",
                    "maxLength": 32768
                },
                "observedGeneration": {
                    "description": "The metadata.generation that the condition was set upon.",
                    "type": "integer",
                    "format": "int64",
                    "minimum": 0
                },
                "reason": {
                    "description": "A programmatic identifier of the reason for the last transition.",
                    "type": "string",
                    "minLength": 1,
                    "maxLength": 1024,
                    "pattern": "^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$"
                },
                "status": {
                    "description": "True, False or Unknown.",
                    "type": "string",
                    "enum": ["True", "False", "Unknown"]
                },
                "type": {
                    "description": "What the condition is about, in CamelCase or as foo.example.com/CamelCase.",
                    "type": "string",
                    "maxLength": 316,
                    "pattern": "^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])$"
                }
            }
        }
    })
}

/// The generation of a status that no controller has written yet.
pub fn unobserved() -> i64 {
    -1
}
