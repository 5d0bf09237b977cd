//! The columns that `kubectl get` prints for each built-in kind.
//!
//! A description that begins with `=` is that of the field of the object at the path after it, so that the
//! text is stated once, in the schema.

/// A column, as a constant.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Col {
    pub(crate) name: &'static str,
    pub(crate) column_type: &'static str,
    pub(crate) format: &'static str,
    pub(crate) description: &'static str,
    pub(crate) priority: i32,
}

impl Col {
    const fn named(mut self) -> Self {
        self.format = "name";
        self
    }

    const fn wide(mut self) -> Self {
        self.priority = 1;
        self
    }
}

const fn text(name: &'static str, description: &'static str) -> Col {
    Col { name, column_type: "string", format: "", description, priority: 0 }
}

const fn int(name: &'static str, description: &'static str) -> Col {
    Col { name, column_type: "integer", format: "", description, priority: 0 }
}

const fn flag(name: &'static str, description: &'static str) -> Col {
    Col { name, column_type: "boolean", format: "", description, priority: 0 }
}

const NAME: Col = text("Name", "=metadata.name").named();
const AGE: Col = text("Age", "=metadata.creationTimestamp");

// admissionregistration.k8s.io
pub(crate) const MUTATING_WEBHOOK_CONFIGURATION: &[Col] = &[
    NAME,
    int("Webhooks", "Webhooks indicates the number of webhooks registered in this configuration"),
    AGE,
];
pub(crate) const VALIDATING_ADMISSION_POLICY: &[Col] = &[
    NAME,
    int("Validations", "Validations indicates the number of validation rules defined in this configuration"),
    text("ParamKind", "ParamKind specifies the kind of resources used to parameterize this policy"),
    AGE,
];
pub(crate) const VALIDATING_ADMISSION_POLICY_BINDING: &[Col] = &[
    NAME,
    text("PolicyName", "PolicyName indicates the policy definition which the policy binding binded to"),
    text("ParamRef", "ParamRef indicates the param resource which sets the configuration param"),
    AGE,
];
pub(crate) const VALIDATING_WEBHOOK_CONFIGURATION: &[Col] = &[
    NAME,
    int("Webhooks", "Webhooks indicates the number of webhooks registered in this configuration"),
    AGE,
];

// apiregistration.k8s.io
pub(crate) const API_SERVICE: &[Col] = &[
    NAME,
    text("Service", "The reference to the service that hosts this API endpoint."),
    text("Available", "Whether this service is available."),
    AGE,
];

// apps
pub(crate) const CONTROLLER_REVISION: &[Col] =
    &[NAME, text("Controller", "Controller of the object"), text("Revision", "=revision"), AGE];
pub(crate) const DAEMON_SET: &[Col] = &[
    NAME,
    int("Desired", "=status.desiredNumberScheduled"),
    int("Current", "=status.currentNumberScheduled"),
    int("Ready", "=status.numberReady"),
    int("Up-to-date", "=status.updatedNumberScheduled"),
    int("Available", "=status.numberAvailable"),
    text("Node Selector", "=spec.template.spec.nodeSelector"),
    AGE,
    text("Containers", "Names of each container in the template.").wide(),
    text("Images", "Images referenced by each container in the template.").wide(),
    text("Selector", "=spec.selector").wide(),
];
pub(crate) const DEPLOYMENT: &[Col] = &[
    NAME,
    text("Ready", "Number of the pod with ready state"),
    text("Up-to-date", "=status.updatedReplicas"),
    text("Available", "=status.availableReplicas"),
    AGE,
    text("Containers", "Names of each container in the template.").wide(),
    text("Images", "Images referenced by each container in the template.").wide(),
    text("Selector", "=spec.selector").wide(),
];
pub(crate) const REPLICA_SET: &[Col] = &[
    NAME,
    int("Desired", "=spec.replicas"),
    int("Current", "=status.replicas"),
    int("Ready", "=status.readyReplicas"),
    AGE,
    text("Containers", "Names of each container in the template.").wide(),
    text("Images", "Images referenced by each container in the template.").wide(),
    text("Selector", "=spec.selector").wide(),
];
pub(crate) const STATEFUL_SET: &[Col] = &[
    NAME,
    text("Ready", "Number of the pod with ready state"),
    AGE,
    text("Containers", "Names of each container in the template.").wide(),
    text("Images", "Images referenced by each container in the template.").wide(),
];

// autoscaling
pub(crate) const HORIZONTAL_POD_AUTOSCALER: &[Col] = &[
    NAME,
    text("Reference", "=spec.scaleTargetRef"),
    text("Targets", "=spec.metrics"),
    text("MinPods", "=spec.minReplicas"),
    text("MaxPods", "=spec.maxReplicas"),
    text("Replicas", "=status.currentReplicas"),
    AGE,
];

// batch
pub(crate) const CRON_JOB: &[Col] = &[
    NAME,
    text("Schedule", "=spec.schedule"),
    text("Timezone", "=spec.timeZone"),
    flag("Suspend", "=spec.suspend"),
    int("Active", "=status.active"),
    text("Last Schedule", "=status.lastScheduleTime"),
    AGE,
    text("Containers", "Names of each container in the template.").wide(),
    text("Images", "Images referenced by each container in the template.").wide(),
    text("Selector", "=spec.jobTemplate.spec.selector").wide(),
];
pub(crate) const JOB: &[Col] = &[
    NAME,
    text("Status", "Status of the job."),
    text("Completions", "=status.succeeded"),
    text("Duration", "Time required to complete the job."),
    AGE,
    text("Containers", "Names of each container in the template.").wide(),
    text("Images", "Images referenced by each container in the template.").wide(),
    text("Selector", "=spec.selector").wide(),
];

// certificates.k8s.io
pub(crate) const CERTIFICATE_SIGNING_REQUEST: &[Col] = &[
    NAME,
    AGE,
    text(
        "SignerName",
        "Requested signer for the request. It is a qualified name in the form: `scope-hostname.io/name`. If empty, it will be defaulted:\n 1. If it's a kubelet client certificate, it is assigned\n    \"kubernetes.io/kube-apiserver-client-kubelet\".\n 2. If it's a kubelet serving certificate, it is assigned\n    \"kubernetes.io/kubelet-serving\".\n 3. Otherwise, it is assigned \"kubernetes.io/legacy-unknown\".\nDistribution of trust for signers happens out of band. You can select on this field using `spec.signerName`.",
    ),
    text("Requestor", "Base64-encoded PKCS#10 CSR data"),
    text("RequestedDuration", "=spec.expirationSeconds"),
    text("Condition", "Conditions applied to the request, such as approval or denial."),
];

// coordination.k8s.io
pub(crate) const LEASE: &[Col] = &[NAME, text("Holder", "=spec.holderIdentity"), AGE];

// core
pub(crate) const CONFIG_MAP: &[Col] = &[NAME, text("Data", "=data"), AGE];
pub(crate) const ENDPOINTS: &[Col] = &[NAME, text("Endpoints", "=subsets"), AGE];
pub(crate) const EVENT: &[Col] = &[
    text("Last Seen", "=lastTimestamp"),
    text("Type", "=type"),
    text("Reason", "=reason"),
    text("Object", "=involvedObject"),
    text("Subobject", "=involvedObject.fieldPath").wide(),
    text("Source", "=source").wide(),
    text("Message", "=message"),
    text("First Seen", "=firstTimestamp").wide(),
    text("Count", "=count").wide(),
    text("Name", "=metadata.name").named().wide(),
];
pub(crate) const NAMESPACE: &[Col] = &[NAME, text("Status", "The status of the namespace"), AGE];
pub(crate) const PERSISTENT_VOLUME_CLAIM: &[Col] = &[
    NAME,
    text("Status", "=status.phase"),
    text("Volume", "=spec.volumeName"),
    text("Capacity", "=status.capacity"),
    text("Access Modes", "=status.accessModes"),
    text("StorageClass", "StorageClass of the pvc"),
    text("VolumeAttributesClass", "VolumeAttributesClass of the pvc"),
    AGE,
    text("VolumeMode", "=spec.volumeMode").wide(),
];
pub(crate) const PERSISTENT_VOLUME: &[Col] = &[
    NAME,
    text("Capacity", "=spec.capacity"),
    text("Access Modes", "=spec.accessModes"),
    text("Reclaim Policy", "=spec.persistentVolumeReclaimPolicy"),
    text("Status", "=status.phase"),
    text("Claim", "=spec.claimRef"),
    text("StorageClass", "StorageClass of the pv"),
    text("VolumeAttributesClass", "VolumeAttributesClass of the pv"),
    text("Reason", "=status.reason"),
    AGE,
    text("VolumeMode", "=spec.volumeMode").wide(),
];
pub(crate) const POD: &[Col] = &[
    NAME,
    text("Ready", "The aggregate readiness state of this pod for accepting traffic."),
    text("Status", "The aggregate status of the containers in this pod."),
    text(
        "Restarts",
        "The number of times the containers in this pod have been restarted and when the last container in this pod has restarted.",
    ),
    AGE,
    text("IP", "=status.podIP").wide(),
    text("Node", "=spec.nodeName").wide(),
    text("Nominated Node", "=status.nominatedNodeName").wide(),
    text("Readiness Gates", "=spec.readinessGates").wide(),
];
pub(crate) const POD_TEMPLATE: &[Col] = &[
    NAME,
    text("Containers", "Names of each container in the template."),
    text("Images", "Images referenced by each container in the template."),
    text("Pod Labels", "The labels for the pod template."),
];
pub(crate) const REPLICATION_CONTROLLER: &[Col] = &[
    NAME,
    int("Desired", "=spec.replicas"),
    int("Current", "=status.replicas"),
    int("Ready", "=status.readyReplicas"),
    AGE,
    text("Containers", "Names of each container in the template.").wide(),
    text("Images", "Images referenced by each container in the template.").wide(),
    text("Selector", "=spec.selector").wide(),
];
pub(crate) const RESOURCE_QUOTA: &[Col] = &[
    NAME,
    text("Request", "Request represents a minimum amount of cpu/memory that a container may consume."),
    text(
        "Limit",
        "Limits control the maximum amount of cpu/memory that a container may use independent of contention on the node.",
    ),
    AGE,
];
pub(crate) const SECRET: &[Col] = &[NAME, text("Type", "=type"), text("Data", "=data"), AGE];
pub(crate) const SERVICE_ACCOUNT: &[Col] = &[NAME, AGE];
pub(crate) const SERVICE: &[Col] = &[
    NAME,
    text("Type", "=spec.type"),
    text("Cluster-IP", "=spec.clusterIP"),
    text("External-IP", "=spec.externalIPs"),
    text("Port(s)", "=spec.ports"),
    AGE,
    text("Selector", "=spec.selector").wide(),
];

// discovery.k8s.io
pub(crate) const ENDPOINT_SLICE: &[Col] = &[
    NAME,
    text("AddressType", "=addressType"),
    text("Ports", "=ports"),
    text("Endpoints", "=endpoints"),
    AGE,
];

// flowcontrol.apiserver.k8s.io
pub(crate) const FLOW_SCHEMA: &[Col] = &[
    NAME,
    text("PriorityLevel", "=spec.priorityLevelConfiguration.name"),
    text("MatchingPrecedence", "=spec.matchingPrecedence"),
    text("DistinguisherMethod", "=spec.distinguisherMethod"),
    AGE,
    text("MissingPL", "references a broken or non-existent PriorityLevelConfiguration"),
];
pub(crate) const PRIORITY_LEVEL_CONFIGURATION: &[Col] = &[
    NAME,
    text("Type", "=spec.type"),
    text("NominalConcurrencyShares", "=spec.limited.nominalConcurrencyShares"),
    text("Queues", "=spec.limited.limitResponse.queuing.queues"),
    text("HandSize", "=spec.limited.limitResponse.queuing.handSize"),
    text("QueueLengthLimit", "=spec.limited.limitResponse.queuing.queueLengthLimit"),
    AGE,
];

// networking.k8s.io
pub(crate) const INGRESS_CLASS: &[Col] = &[
    NAME,
    text("Controller", "Controller that is responsible for handling this class"),
    text("Parameters", "A reference to a resource with additional parameters"),
    AGE,
];
pub(crate) const INGRESS: &[Col] = &[
    NAME,
    text("Class", "The name of the IngressClass resource that should be used for additional configuration"),
    text("Hosts", "Hosts that incoming requests are matched against before the ingress rule"),
    text("Address", "Address is a list containing ingress points for the load-balancer"),
    text("Ports", "Ports of TLS configurations that open"),
    AGE,
];
pub(crate) const IP_ADDRESS: &[Col] = &[NAME, text("ParentRef", "=spec.parentRef")];
pub(crate) const NETWORK_POLICY: &[Col] = &[NAME, text("Pod-Selector", "=spec.podSelector"), AGE];
pub(crate) const SERVICE_CIDR: &[Col] = &[NAME, text("CIDRs", "=spec.cidrs"), AGE];

// node.k8s.io
pub(crate) const RUNTIME_CLASS: &[Col] = &[NAME, text("Handler", ""), AGE];

// policy
pub(crate) const POD_DISRUPTION_BUDGET: &[Col] = &[
    NAME,
    text("Min Available", "The minimum number of pods that must be available."),
    text("Max Unavailable", "The maximum number of pods that may be unavailable."),
    int("Allowed Disruptions", "Calculated number of pods that may be disrupted at this time."),
    AGE,
];

// rbac.authorization.k8s.io
pub(crate) const CLUSTER_ROLE_BINDING: &[Col] = &[
    NAME,
    text(
        "Role",
        "RoleRef can only reference a ClusterRole in the global namespace. If the RoleRef cannot be resolved, the Authorizer must return an error.",
    ),
    AGE,
    text("Users", "Users in the clusterRoleBinding").wide(),
    text("Groups", "Groups in the clusterRoleBinding").wide(),
    text("ServiceAccounts", "ServiceAccounts in the clusterRoleBinding").wide(),
];
pub(crate) const ROLE_BINDING: &[Col] = &[
    NAME,
    text(
        "Role",
        "RoleRef can reference a Role in the current namespace or a ClusterRole in the global namespace. If the RoleRef cannot be resolved, the Authorizer must return an error.",
    ),
    AGE,
    text("Users", "Users in the roleBinding").wide(),
    text("Groups", "Groups in the roleBinding").wide(),
    text("ServiceAccounts", "ServiceAccounts in the roleBinding").wide(),
];

// scheduling.k8s.io
pub(crate) const PRIORITY_CLASS: &[Col] = &[
    NAME,
    int("Value", "=value"),
    flag("Global-Default", "=globalDefault"),
    AGE,
    text("PreemptionPolicy", "=preemptionPolicy"),
];

// storage.k8s.io
pub(crate) const CSI_DRIVER: &[Col] = &[
    NAME,
    flag("AttachRequired", "=spec.attachRequired"),
    flag("PodInfoOnMount", "=spec.podInfoOnMount"),
    flag("StorageCapacity", "=spec.storageCapacity"),
    text("TokenRequests", "=spec.tokenRequests"),
    flag("RequiresRepublish", "=spec.requiresRepublish"),
    text("Modes", "=spec.volumeLifecycleModes"),
    AGE,
];
pub(crate) const CSI_NODE: &[Col] =
    &[NAME, int("Drivers", "Drivers indicates the number of CSI drivers registered on the node"), AGE];
pub(crate) const STORAGE_CLASS: &[Col] = &[
    NAME,
    text("Provisioner", "=provisioner"),
    text("ReclaimPolicy", "=reclaimPolicy"),
    text("VolumeBindingMode", "=volumeBindingMode"),
    text("AllowVolumeExpansion", "=allowVolumeExpansion"),
    AGE,
];
pub(crate) const VOLUME_ATTACHMENT: &[Col] = &[
    NAME,
    text("Attacher", "=spec.attacher").named(),
    text("PV", "=spec.source.persistentVolumeName"),
    text("Node", "=spec.nodeName"),
    flag("Attached", "=status.attached"),
    AGE,
];

// kinds that list little
pub(crate) const NAME_AND_AGE: &[Col] = &[NAME, AGE];
pub(crate) const NODE: &[Col] = &[
    NAME,
    text("Status", "The status of the node"),
    text("Roles", "The roles of the node"),
    AGE,
    text("Version", "=status.nodeInfo.kubeletVersion"),
    text("Internal-IP", "=status.addresses").wide(),
    text("External-IP", "=status.addresses").wide(),
    text("OS-Image", "=status.nodeInfo.osImage").wide(),
    text("Kernel-Version", "=status.nodeInfo.kernelVersion").wide(),
    text("Container-Runtime", "=status.nodeInfo.containerRuntimeVersion").wide(),
];
pub(crate) const COMPONENT_STATUS: &[Col] = &[
    NAME,
    text("Status", "Status of the component conditions"),
    text("Message", "Message of the component conditions"),
    text("Error", "Error of the component conditions"),
];
pub(crate) const VOLUME_ATTRIBUTES_CLASS: &[Col] = &[NAME, text("DriverName", "=driverName"), AGE];
pub(crate) const STORAGE_VERSION: &[Col] = &[
    NAME,
    text("CommonEncodingVersion", "=status.commonEncodingVersion"),
    text("StorageVersions", "=status.storageVersions"),
    AGE,
];
pub(crate) const LEASE_CANDIDATE: &[Col] = &[
    NAME,
    text("LeaseName", "=spec.leaseName"),
    text("BinaryVersion", ""),
    text("EmulationVersion", ""),
    AGE,
];
pub(crate) const STORAGE_VERSION_MIGRATION: &[Col] =
    &[text("Name", "=metadata.name"), text("Resource", "Fully qualified resource to migrate")];
pub(crate) const CLUSTER_TRUST_BUNDLE: &[Col] = &[NAME, text("SignerName", "=spec.signerName")];
pub(crate) const RESOURCE_CLAIM: &[Col] =
    &[NAME, text("State", "A summary of the current state (allocated, pending, reserved, etc.)."), AGE];
pub(crate) const RESOURCE_SLICE: &[Col] = &[
    NAME,
    text("Node", "=spec.nodeName"),
    text("Driver", "=spec.driver"),
    text("Pool", "=spec.pool.name"),
    AGE,
];
pub(crate) const MUTATING_ADMISSION_POLICY: &[Col] = &[
    NAME,
    int("Mutations", "Mutation indicates the number of mutations rules defined in this configuration"),
    text("ParamKind", "ParamKind specifies the kind of resources used to parameterize this policy"),
    AGE,
];
pub(crate) const MUTATING_ADMISSION_POLICY_BINDING: &[Col] = &[
    NAME,
    text("PolicyName", "PolicyName indicates the policy definition which the policy binding binded to"),
    text("ParamRef", "ParamRef indicates the param resource which sets the configuration param"),
    AGE,
];
pub(crate) const VIRTUAL_CLUSTER: &[Col] =
    &[NAME, text("Phase", "Whether the virtual control plane is served"), AGE];
