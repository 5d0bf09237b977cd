//! The rows: one kind each, by group in discovery's order and by plural within it.

use std::sync::Arc;

use super::columns as col;
use super::row::{Row, SCALE, STATUS, Sub, cluster, namespaced, other, own};
use crate::def::Verbs;
use crate::groups::simple::{self, PLAIN, Simple, WITH_STATUS};
use crate::groups::{
    admission, apiservices, autoscaling, certificates, coordination, crds, devices, discovery, flowcontrol,
    ingresses, network, policies, policy, rbac, scheduling, storage,
};
use crate::tenancy;
use crate::{apps, batch, core};

const READ: Verbs = Verbs::GET.and(Verbs::LIST);
const CREATE: Verbs = Verbs::CREATE;
const GET: Verbs = Verbs::GET;
const UPDATE: Verbs = Verbs::UPDATE;
const EDIT: Verbs = Verbs::GET_PATCH_UPDATE;
const CONNECT: Verbs = Verbs::CREATE.and(Verbs::GET);
const PROXY: Verbs = Verbs::CREATE.and(Verbs::DELETE).and(EDIT);
const NO_COLLECTION: Verbs =
    CREATE.and(Verbs::DELETE).and(READ).and(Verbs::PATCH).and(UPDATE).and(Verbs::WATCH);

const V1: &[&str] = &["v1"];
const ALL: &[&str] = &["all"];
const EXTENSIONS: &[&str] = &["api-extensions"];
const STATUS_ONLY: &[Sub] = &[STATUS];
const SCALED: &[Sub] = &[SCALE, STATUS];

const APPS: &str = "apps";
const AUTHN: &str = "authentication.k8s.io";
const AUTHZ: &str = "authorization.k8s.io";
const CERTIFICATES: &str = "certificates.k8s.io";
const NETWORKING: &str = "networking.k8s.io";
const RBAC: &str = "rbac.authorization.k8s.io";
const STORAGE: &str = "storage.k8s.io";
const ADMISSION: &str = "admissionregistration.k8s.io";
const SCHEDULING: &str = "scheduling.k8s.io";
const RESOURCE: &str = "resource.k8s.io";
const FLOW: &str = "flowcontrol.apiserver.k8s.io";

const CLAIMS: &[&str] = &["v1", "v1beta2", "v1beta1"];
const MUTATING: &[&str] = &["v1", "v1beta1", "v1alpha1"];

const POD_SUBS: &[Sub] = &[
    other("attach", CONNECT, ("", "v1", "PodAttachOptions")),
    other("binding", CREATE, ("", "v1", "Binding")),
    own("ephemeralcontainers", EDIT),
    other("eviction", CREATE, ("policy", "v1", "Eviction")),
    other("exec", CONNECT, ("", "v1", "PodExecOptions")),
    own("log", GET),
    other("portforward", CONNECT, ("", "v1", "PodPortForwardOptions")),
    other("proxy", PROXY, ("", "v1", "PodProxyOptions")),
    own("resize", EDIT),
    STATUS,
];

const POD_FIELDS: &[&str] = &[
    "spec.nodeName",
    "spec.restartPolicy",
    "spec.schedulerName",
    "spec.serviceAccountName",
    "spec.hostNetwork",
    "status.phase",
    "status.podIP",
    "status.podIPs",
    "status.nominatedNodeName",
];

const EVENT_FIELDS: &[&str] = &[
    "involvedObject.kind",
    "involvedObject.namespace",
    "involvedObject.name",
    "involvedObject.uid",
    "involvedObject.apiVersion",
    "involvedObject.resourceVersion",
    "involvedObject.fieldPath",
    "reason",
    "reportingComponent",
    "source",
    "type",
];

const NEW_EVENT_FIELDS: &[&str] = &[
    "regarding.kind",
    "regarding.namespace",
    "regarding.name",
    "regarding.uid",
    "regarding.apiVersion",
    "regarding.resourceVersion",
    "regarding.fieldPath",
    "reason",
    "reportingController",
    "type",
];

/// An Event lives for an hour.
const EVENT_SECONDS: u64 = 3600;

pub(super) const ROWS: &[Row] = &[
    namespaced("", V1, "Binding", "bindings").verbs(CREATE),
    cluster("", V1, "ComponentStatus", "componentstatuses")
        .with(|| Arc::new(Simple { cells: simple::component, age: false, ..PLAIN }))
        .short(&["cs"])
        .verbs(READ)
        .columns(col::COMPONENT_STATUS)
        .deprecated("v1 ComponentStatus is deprecated in v1.19+"),
    namespaced("", V1, "ConfigMap", "configmaps")
        .with(|| Arc::new(core::config::ConfigMaps))
        .short(&["cm"])
        .columns(col::CONFIG_MAP),
    namespaced("", V1, "Endpoints", "endpoints")
        .with(|| Arc::new(core::endpoints::EndpointsKind))
        .short(&["ep"])
        .columns(col::ENDPOINTS)
        .deprecated("v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"),
    namespaced("", V1, "Event", "events")
        .with(|| Arc::new(core::events::Events { new: false }))
        .short(&["ev"])
        .columns(col::EVENT)
        .fields(EVENT_FIELDS)
        .lives(EVENT_SECONDS),
    namespaced("", V1, "LimitRange", "limitranges")
        .with(|| Arc::new(core::quotas::LimitRanges))
        .short(&["limits"]),
    cluster("", V1, "Namespace", "namespaces")
        .with(|| Arc::new(core::namespaces::Namespaces))
        .short(&["ns"])
        .verbs(NO_COLLECTION)
        .subs(&[own("finalize", UPDATE), STATUS])
        .columns(col::NAMESPACE)
        .fields(&["status.phase"]),
    cluster("", V1, "Node", "nodes")
        .with(|| Arc::new(core::nodes::Nodes))
        .short(&["no"])
        .subs(&[other("proxy", PROXY, ("", "v1", "NodeProxyOptions")), STATUS])
        .columns(col::NODE)
        .fields(&["spec.unschedulable"]),
    namespaced("", V1, "PersistentVolumeClaim", "persistentvolumeclaims")
        .with(|| Arc::new(core::claims::Claims))
        .short(&["pvc"])
        .subs(STATUS_ONLY)
        .columns(col::PERSISTENT_VOLUME_CLAIM),
    cluster("", V1, "PersistentVolume", "persistentvolumes")
        .with(|| Arc::new(core::volumes::Volumes))
        .short(&["pv"])
        .subs(STATUS_ONLY)
        .columns(col::PERSISTENT_VOLUME),
    namespaced("", V1, "Pod", "pods")
        .with(|| Arc::new(core::pods::Pods))
        .short(&["po"])
        .categories(ALL)
        .subs(POD_SUBS)
        .columns(col::POD)
        .fields(POD_FIELDS),
    namespaced("", V1, "PodTemplate", "podtemplates")
        .with(|| Arc::new(core::controllers::PodTemplates))
        .columns(col::POD_TEMPLATE),
    namespaced("", V1, "ReplicationController", "replicationcontrollers")
        .with(|| Arc::new(core::controllers::ReplicationControllers))
        .short(&["rc"])
        .categories(ALL)
        .subs(SCALED)
        .columns(col::REPLICATION_CONTROLLER)
        .fields(&["status.replicas"]),
    namespaced("", V1, "ResourceQuota", "resourcequotas")
        .with(|| Arc::new(core::quotas::ResourceQuotas))
        .short(&["quota"])
        .subs(STATUS_ONLY)
        .columns(col::RESOURCE_QUOTA),
    namespaced("", V1, "Secret", "secrets")
        .with(|| Arc::new(core::config::Secrets))
        .columns(col::SECRET)
        .fields(&["type"]),
    namespaced("", V1, "ServiceAccount", "serviceaccounts")
        .with(|| Arc::new(core::service_accounts::ServiceAccounts))
        .short(&["sa"])
        .subs(&[other("token", CREATE, (AUTHN, "v1", "TokenRequest"))])
        .columns(col::SERVICE_ACCOUNT),
    namespaced("", V1, "Service", "services")
        .with(|| Arc::new(core::services::Services))
        .short(&["svc"])
        .categories(ALL)
        .subs(&[other("proxy", PROXY, ("", "v1", "ServiceProxyOptions")), STATUS])
        .columns(col::SERVICE)
        .fields(&["spec.clusterIP", "spec.type"]),
    cluster("apiregistration.k8s.io", V1, "APIService", "apiservices")
        .with(|| Arc::new(apiservices::ApiServices))
        .categories(EXTENSIONS)
        .subs(STATUS_ONLY)
        .columns(col::API_SERVICE),
    namespaced(APPS, V1, "ControllerRevision", "controllerrevisions")
        .with(|| Arc::new(apps::revisions::ControllerRevisions))
        .columns(col::CONTROLLER_REVISION),
    namespaced(APPS, V1, "DaemonSet", "daemonsets")
        .with(|| Arc::new(apps::daemon_sets::DaemonSets))
        .short(&["ds"])
        .categories(ALL)
        .subs(STATUS_ONLY)
        .columns(col::DAEMON_SET),
    namespaced(APPS, V1, "Deployment", "deployments")
        .with(|| Arc::new(apps::deployments::Deployments))
        .short(&["deploy"])
        .categories(ALL)
        .subs(SCALED)
        .columns(col::DEPLOYMENT),
    namespaced(APPS, V1, "ReplicaSet", "replicasets")
        .with(|| Arc::new(apps::replica_sets::ReplicaSets))
        .short(&["rs"])
        .categories(ALL)
        .subs(SCALED)
        .columns(col::REPLICA_SET)
        .fields(&["status.replicas"]),
    namespaced(APPS, V1, "StatefulSet", "statefulsets")
        .with(|| Arc::new(apps::stateful_sets::StatefulSets))
        .short(&["sts"])
        .categories(ALL)
        .subs(SCALED)
        .columns(col::STATEFUL_SET),
    namespaced("events.k8s.io", V1, "Event", "events")
        .with(|| Arc::new(core::events::Events { new: true }))
        .short(&["ev"])
        .columns(col::EVENT)
        .fields(NEW_EVENT_FIELDS)
        .lives(EVENT_SECONDS)
        .stored_as("", "events"),
    cluster(AUTHN, V1, "SelfSubjectReview", "selfsubjectreviews").verbs(CREATE),
    cluster(AUTHN, V1, "TokenReview", "tokenreviews").verbs(CREATE),
    namespaced(AUTHZ, V1, "LocalSubjectAccessReview", "localsubjectaccessreviews").verbs(CREATE),
    cluster(AUTHZ, V1, "SelfSubjectAccessReview", "selfsubjectaccessreviews").verbs(CREATE),
    cluster(AUTHZ, V1, "SelfSubjectRulesReview", "selfsubjectrulesreviews").verbs(CREATE),
    cluster(AUTHZ, V1, "SubjectAccessReview", "subjectaccessreviews").verbs(CREATE),
    namespaced("autoscaling", &["v2", "v1"], "HorizontalPodAutoscaler", "horizontalpodautoscalers")
        .with(|| Arc::new(autoscaling::Autoscalers))
        .short(&["hpa"])
        .categories(ALL)
        .subs(STATUS_ONLY)
        .columns(col::HORIZONTAL_POD_AUTOSCALER),
    namespaced("batch", V1, "CronJob", "cronjobs")
        .with(|| Arc::new(batch::cron_jobs::CronJobs))
        .short(&["cj"])
        .categories(ALL)
        .subs(STATUS_ONLY)
        .columns(col::CRON_JOB),
    namespaced("batch", V1, "Job", "jobs")
        .with(|| Arc::new(batch::jobs::Jobs))
        .categories(ALL)
        .subs(STATUS_ONLY)
        .columns(col::JOB)
        .fields(&["status.successful"]),
    cluster(CERTIFICATES, V1, "CertificateSigningRequest", "certificatesigningrequests")
        .with(|| Arc::new(certificates::SigningRequests))
        .short(&["csr"])
        .subs(&[own("approval", EDIT), STATUS])
        .columns(col::CERTIFICATE_SIGNING_REQUEST)
        .fields(&["spec.signerName"]),
    cluster(CERTIFICATES, &["v1beta1", "v1alpha1"], "ClusterTrustBundle", "clustertrustbundles")
        .with(|| Arc::new(Simple { cells: simple::signer, age: false, ..PLAIN }))
        .columns(col::CLUSTER_TRUST_BUNDLE)
        .fields(&["spec.signerName"]),
    namespaced(CERTIFICATES, &["v1beta1"], "PodCertificateRequest", "podcertificaterequests")
        .with(|| Arc::new(WITH_STATUS))
        .subs(STATUS_ONLY)
        .columns(col::NAME_AND_AGE)
        .fields(&["spec.signerName", "spec.podName", "spec.nodeName"]),
    cluster(NETWORKING, V1, "IngressClass", "ingressclasses")
        .with(|| Arc::new(ingresses::IngressClasses))
        .columns(col::INGRESS_CLASS),
    namespaced(NETWORKING, V1, "Ingress", "ingresses")
        .with(|| Arc::new(ingresses::Ingresses))
        .short(&["ing"])
        .subs(STATUS_ONLY)
        .columns(col::INGRESS),
    cluster(NETWORKING, &["v1", "v1beta1"], "IPAddress", "ipaddresses")
        .with(|| Arc::new(network::IpAddresses))
        .short(&["ip"])
        .columns(col::IP_ADDRESS),
    namespaced(NETWORKING, V1, "NetworkPolicy", "networkpolicies")
        .with(|| Arc::new(network::NetworkPolicies))
        .short(&["netpol"])
        .columns(col::NETWORK_POLICY),
    cluster(NETWORKING, &["v1", "v1beta1"], "ServiceCIDR", "servicecidrs")
        .with(|| Arc::new(network::ServiceCidrs))
        .subs(STATUS_ONLY)
        .columns(col::SERVICE_CIDR),
    namespaced("policy", V1, "PodDisruptionBudget", "poddisruptionbudgets")
        .with(|| Arc::new(policy::Budgets))
        .short(&["pdb"])
        .subs(STATUS_ONLY)
        .columns(col::POD_DISRUPTION_BUDGET),
    cluster(RBAC, V1, "ClusterRoleBinding", "clusterrolebindings")
        .with(|| Arc::new(rbac::Bindings { namespaced: false }))
        .columns(col::CLUSTER_ROLE_BINDING),
    cluster(RBAC, V1, "ClusterRole", "clusterroles").with(|| Arc::new(rbac::Roles { namespaced: false })),
    namespaced(RBAC, V1, "RoleBinding", "rolebindings")
        .with(|| Arc::new(rbac::Bindings { namespaced: true }))
        .columns(col::ROLE_BINDING),
    namespaced(RBAC, V1, "Role", "roles").with(|| Arc::new(rbac::Roles { namespaced: true })),
    cluster(STORAGE, V1, "CSIDriver", "csidrivers")
        .with(|| Arc::new(storage::Drivers))
        .columns(col::CSI_DRIVER),
    cluster(STORAGE, V1, "CSINode", "csinodes").with(|| Arc::new(storage::Nodes)).columns(col::CSI_NODE),
    namespaced(STORAGE, V1, "CSIStorageCapacity", "csistoragecapacities")
        .with(|| Arc::new(storage::Capacities)),
    cluster(STORAGE, V1, "StorageClass", "storageclasses")
        .with(|| Arc::new(storage::StorageClasses))
        .short(&["sc"])
        .columns(col::STORAGE_CLASS),
    cluster(STORAGE, V1, "VolumeAttachment", "volumeattachments")
        .with(|| Arc::new(storage::Attachments))
        .subs(STATUS_ONLY)
        .columns(col::VOLUME_ATTACHMENT),
    cluster(STORAGE, &["v1", "v1beta1"], "VolumeAttributesClass", "volumeattributesclasses")
        .with(|| Arc::new(storage::AttributesClasses))
        .short(&["vac"])
        .columns(col::VOLUME_ATTRIBUTES_CLASS),
    cluster(ADMISSION, MUTATING, "MutatingAdmissionPolicy", "mutatingadmissionpolicies")
        .with(|| Arc::new(policies::Policies { mutating: true }))
        .categories(EXTENSIONS)
        .stored_in("v1beta1")
        .columns(col::MUTATING_ADMISSION_POLICY),
    cluster(ADMISSION, MUTATING, "MutatingAdmissionPolicyBinding", "mutatingadmissionpolicybindings")
        .with(|| Arc::new(policies::PolicyBindings { mutating: true }))
        .categories(EXTENSIONS)
        .stored_in("v1beta1")
        .columns(col::MUTATING_ADMISSION_POLICY_BINDING),
    cluster(ADMISSION, V1, "MutatingWebhookConfiguration", "mutatingwebhookconfigurations")
        .with(|| Arc::new(admission::Webhooks { mutating: true }))
        .categories(EXTENSIONS)
        .columns(col::MUTATING_WEBHOOK_CONFIGURATION),
    cluster(ADMISSION, V1, "ValidatingAdmissionPolicy", "validatingadmissionpolicies")
        .with(|| Arc::new(policies::Policies { mutating: false }))
        .categories(EXTENSIONS)
        .subs(STATUS_ONLY)
        .columns(col::VALIDATING_ADMISSION_POLICY),
    cluster(ADMISSION, V1, "ValidatingAdmissionPolicyBinding", "validatingadmissionpolicybindings")
        .with(|| Arc::new(policies::PolicyBindings { mutating: false }))
        .categories(EXTENSIONS)
        .columns(col::VALIDATING_ADMISSION_POLICY_BINDING),
    cluster(ADMISSION, V1, "ValidatingWebhookConfiguration", "validatingwebhookconfigurations")
        .with(|| Arc::new(admission::Webhooks { mutating: false }))
        .categories(EXTENSIONS)
        .columns(col::VALIDATING_WEBHOOK_CONFIGURATION),
    cluster("apiextensions.k8s.io", V1, "CustomResourceDefinition", "customresourcedefinitions")
        .with(|| Arc::new(crds::Definitions))
        .short(&["crd", "crds"])
        .categories(EXTENSIONS)
        .hashed_as("v1beta1")
        .subs(STATUS_ONLY),
    namespaced(SCHEDULING, &["v1alpha2"], "PodGroup", "podgroups")
        .with(|| Arc::new(WITH_STATUS))
        .subs(STATUS_ONLY)
        .columns(col::NAME_AND_AGE),
    cluster(SCHEDULING, V1, "PriorityClass", "priorityclasses")
        .with(|| Arc::new(scheduling::PriorityClasses))
        .short(&["pc"])
        .columns(col::PRIORITY_CLASS),
    namespaced(SCHEDULING, &["v1alpha2"], "Workload", "workloads")
        .with(|| Arc::new(Simple { generation: true, ..PLAIN }))
        .columns(col::NAME_AND_AGE),
    namespaced("coordination.k8s.io", &["v1beta1", "v1alpha2"], "LeaseCandidate", "leasecandidates")
        .with(|| Arc::new(Simple { cells: simple::lease_candidate, ..PLAIN }))
        .columns(col::LEASE_CANDIDATE),
    namespaced("coordination.k8s.io", V1, "Lease", "leases")
        .with(|| Arc::new(coordination::Leases))
        .columns(col::LEASE),
    cluster("node.k8s.io", V1, "RuntimeClass", "runtimeclasses")
        .with(|| Arc::new(scheduling::RuntimeClasses))
        .columns(col::RUNTIME_CLASS),
    namespaced("discovery.k8s.io", V1, "EndpointSlice", "endpointslices")
        .with(|| Arc::new(discovery::EndpointSlices))
        .columns(col::ENDPOINT_SLICE),
    cluster(RESOURCE, CLAIMS, "DeviceClass", "deviceclasses")
        .with(|| Arc::new(devices::Classes))
        .columns(col::NAME_AND_AGE),
    cluster(RESOURCE, &["v1beta2", "v1alpha3"], "DeviceTaintRule", "devicetaintrules")
        .with(|| Arc::new(devices::TaintRules))
        .subs(STATUS_ONLY)
        .stored_in("v1alpha3")
        .columns(col::NAME_AND_AGE),
    namespaced(RESOURCE, CLAIMS, "ResourceClaim", "resourceclaims")
        .with(|| Arc::new(devices::Claims { template: false }))
        .subs(STATUS_ONLY)
        .columns(col::RESOURCE_CLAIM),
    namespaced(RESOURCE, CLAIMS, "ResourceClaimTemplate", "resourceclaimtemplates")
        .with(|| Arc::new(devices::Claims { template: true }))
        .columns(col::NAME_AND_AGE),
    cluster(RESOURCE, &["v1alpha3"], "ResourcePoolStatusRequest", "resourcepoolstatusrequests")
        .with(|| Arc::new(WITH_STATUS))
        .subs(STATUS_ONLY)
        .columns(col::NAME_AND_AGE),
    cluster(RESOURCE, CLAIMS, "ResourceSlice", "resourceslices")
        .with(|| Arc::new(devices::Slices))
        .columns(col::RESOURCE_SLICE)
        .fields(&["spec.nodeName", "spec.driver"]),
    cluster(FLOW, V1, "FlowSchema", "flowschemas")
        .with(|| Arc::new(flowcontrol::FlowSchemas))
        .subs(STATUS_ONLY)
        .columns(col::FLOW_SCHEMA),
    cluster(FLOW, V1, "PriorityLevelConfiguration", "prioritylevelconfigurations")
        .with(|| Arc::new(flowcontrol::PriorityLevels))
        .subs(STATUS_ONLY)
        .columns(col::PRIORITY_LEVEL_CONFIGURATION),
    cluster("internal.apiserver.k8s.io", &["v1alpha1"], "StorageVersion", "storageversions")
        .with(|| Arc::new(Simple { status: true, cells: simple::storage_version, ..PLAIN }))
        .subs(STATUS_ONLY)
        .columns(col::STORAGE_VERSION),
    cluster("storagemigration.k8s.io", &["v1beta1"], "StorageVersionMigration", "storageversionmigrations")
        .with(|| Arc::new(Simple { cells: simple::migration, age: false, ..WITH_STATUS }))
        .subs(STATUS_ONLY)
        .columns(col::STORAGE_VERSION_MIGRATION),
    cluster(tenancy::GROUP, &[tenancy::VERSION], "Layer", "layers")
        .verbs(Verbs::CREATE_ONLY)
        .ours(tenancy::layer_schema),
    cluster(tenancy::GROUP, &[tenancy::VERSION], "VirtualCluster", "virtualclusters")
        .with(|| Arc::new(tenancy::VirtualClusters))
        .short(&["vc"])
        .subs(&[own("credentials", Verbs::CREATE), STATUS])
        .columns(col::VIRTUAL_CLUSTER)
        .ours(tenancy::virtual_cluster_schema),
];
