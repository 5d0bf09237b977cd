//! Decides whether a ControlPlane can be provided, and on what terms (no client required).

use kplane_crds::conditions::{ACCEPTED, ADDONS_READY, ENDPOINT_READY, READY, reason};
use kplane_crds::is_cluster_path;
use kplane_crds::tenancy::VirtualCluster;
use kplane_crds::v1alpha1::{
    ClassLimits, ControlPlane, ControlPlaneClass, ControlPlaneMode, DeletionPolicy, Egress, JwtAuthenticator,
};
use kube::ResourceExt;

use super::dereference::{AtServer, Found, Reference};
use crate::management::access::is_controlled_by;
use crate::management::kubeconfig::Addresses;
use crate::management::plane::{Access, control_plane_url};
use crate::management::secrets;
use crate::runtime::conditions::find;

/// Why a ControlPlane is not provided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The condition, beside Ready, that says so.
    pub condition: &'static str,
    /// The reason.
    pub reason: &'static str,
    /// The message.
    pub message: String,
    /// Whether nothing but a change by somebody else helps.
    pub stalled: bool,
}

impl Refusal {
    fn stalled(condition: &'static str, reason: &'static str, message: impl Into<String>) -> Self {
        Self { condition, reason, message: message.into(), stalled: true }
    }

    fn waiting(condition: &'static str, reason: &'static str, message: impl Into<String>) -> Self {
        Self { condition, reason, message: message.into(), stalled: false }
    }
}

/// What is to be done about the record at the path.
#[derive(Clone, Debug, PartialEq)]
pub enum Claim {
    /// There is none: create it.
    Create,
    /// It is ours: keep it up to date.
    Keep(Box<VirtualCluster>),
    /// It is a retained one that the spec names: take it up.
    Adopt(Box<VirtualCluster>),
}

/// The endpoint that goes with the control plane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EndpointPlan {
    /// The spec names one.
    Named,
    /// One is made.
    Create,
    /// One was made and is kept up to date.
    Keep,
}

/// A ControlPlane that can be provided.
pub struct Valid {
    /// The name in the path.
    pub cluster_path: String,
    /// The deletion policy in force.
    pub deletion_policy: DeletionPolicy,
    /// The class.
    pub class_name: Option<String>,
    /// What its calls may reach besides, by its class.
    pub egress: Option<Egress>,
    /// The layers of the class's add-ons.
    pub layers: Vec<String>,
    /// Why the add-ons are not all there, if they are not.
    pub addons_pending: Option<String>,
    /// What its class limits.
    pub limits: Option<ClassLimits>,
    /// The ClusterRole of the kubeconfig.
    pub role: String,
    /// The issuers whose tokens are accepted.
    pub issuers: Vec<JwtAuthenticator>,
    /// What to do about the record.
    pub claim: Claim,
    /// What to do about the endpoint.
    pub endpoint: EndpointPlan,
    /// The addresses of the kubeconfigs.
    pub addresses: Addresses,
    /// The way to the shared API server.
    pub access: Access,
    /// What was made before.
    pub found: Made,
}

impl Valid {
    /// How the add-ons of the class are.
    pub fn addons(&self) -> AddonsState {
        match (&self.addons_pending, self.layers.is_empty()) {
            (Some(why), _) => AddonsState::Pending(why.clone()),
            (None, true) => AddonsState::None,
            (None, false) => AddonsState::Ready,
        }
    }
}

/// How the add-ons of a control plane are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AddonsState {
    /// It has none.
    None,
    /// They are there.
    Ready,
    /// They are not all there, for this reason.
    Pending(String),
}

/// What was made before.
pub struct Made {
    /// The namespace.
    pub namespace: Option<k8s_openapi::api::core::v1::Namespace>,
    /// The Secret.
    pub secret: secrets::Found,
    /// The endpoint.
    pub endpoint: Option<kplane_crds::v1alpha1::ControlPlaneEndpoint>,
}

/// Decides.
pub fn validate(control_plane: &ControlPlane, found: Found) -> Result<Valid, Refusal> {
    let cluster_path = control_plane.cluster_path();
    if !is_cluster_path(cluster_path) {
        return Err(Refusal::stalled(
            ACCEPTED,
            reason::INVALID_CLUSTER_PATH,
            format!("{cluster_path:?} is not a DNS label of at most 63 characters, or it is reserved"),
        ));
    }
    let class = match &found.class {
        Reference::Unset => None,
        Reference::Missing(name) => {
            return Err(Refusal::stalled(
                ACCEPTED,
                reason::CLASS_NOT_FOUND,
                format!("there is no ControlPlaneClass {name}"),
            ));
        }
        Reference::Found(class) => Some(class.as_ref()),
    };
    check_mode(control_plane, class)?;
    let AtServer { access, record } =
        found.server.map_err(|why| Refusal::waiting(READY, reason::MANAGEMENT_PLANE_PENDING, why))?;
    let claim = claim(control_plane, record)?;
    let uid = control_plane.uid().unwrap_or_default();
    let default_addresses = Addresses {
        internal: control_plane_url(&access.internal, cluster_path),
        internal_ca: access.ca.clone(),
        external: control_plane_url(&access.external, cluster_path),
        external_ca: access.ca.clone(),
    };
    let (endpoint, addresses, made) = match (&control_plane.spec.endpoint_ref, found.endpoint) {
        (Some(_), Reference::Found(endpoint)) => {
            let addresses = named_addresses(&endpoint, cluster_path, &access)?;
            (EndpointPlan::Named, addresses, None)
        }
        (Some(reference), _) => {
            return Err(Refusal::waiting(
                ENDPOINT_READY,
                reason::ENDPOINT_NOT_FOUND,
                format!("there is no ControlPlaneEndpoint {}", reference.name),
            ));
        }
        (None, Reference::Found(endpoint)) if is_controlled_by(&endpoint.metadata, &uid) => {
            (EndpointPlan::Keep, default_addresses, Some(*endpoint))
        }
        (None, Reference::Found(endpoint)) => {
            return Err(Refusal::stalled(
                ENDPOINT_READY,
                reason::NOT_OURS,
                format!(
                    "there is a ControlPlaneEndpoint {0} that this object did not make; name it in spec.endpointRef to use it",
                    endpoint.name_any()
                ),
            ));
        }
        (None, _) => (EndpointPlan::Create, default_addresses, None),
    };
    Ok(Valid {
        cluster_path: cluster_path.to_owned(),
        deletion_policy: deletion_policy(control_plane, class),
        class_name: class.map(ResourceExt::name_any),
        egress: class.and_then(|class| class.spec.egress.clone()),
        layers: class.map(layers).unwrap_or_default(),
        addons_pending: class.and_then(addons_pending),
        limits: class.and_then(|class| class.spec.limits.clone()),
        role: role(class),
        issuers: class
            .and_then(|c| c.spec.auth.as_ref())
            .map(|auth| auth.issuers.clone())
            .unwrap_or_default(),
        claim,
        endpoint,
        addresses,
        access,
        found: Made { namespace: found.namespace, secret: found.secret, endpoint: made },
    })
}

fn check_mode(control_plane: &ControlPlane, class: Option<&ControlPlaneClass>) -> Result<(), Refusal> {
    let mode = control_plane.spec.mode;
    if let Some(class) = class
        && !class.spec.modes_allowed.is_empty()
        && !class.spec.modes_allowed.contains(&mode)
    {
        return Err(Refusal::stalled(
            ACCEPTED,
            reason::MODE_NOT_ALLOWED,
            format!("ControlPlaneClass {} does not allow mode {mode:?}", class.name_any()),
        ));
    }
    if mode != ControlPlaneMode::Virtual {
        return Err(Refusal::stalled(
            ACCEPTED,
            reason::MODE_NOT_SUPPORTED,
            format!("mode {mode:?} is not supported yet"),
        ));
    }
    Ok(())
}

/// The deletion policy in force: the object's, else the class's, else Retain.
pub fn deletion_policy(control_plane: &ControlPlane, class: Option<&ControlPlaneClass>) -> DeletionPolicy {
    control_plane.spec.deletion_policy.or(class.and_then(|c| c.spec.deletion_policy)).unwrap_or_default()
}

/// The layers of a class's add-ons, as far as they are known.
fn layers(class: &ControlPlaneClass) -> Vec<String> {
    let status = class.status.as_ref();
    let known = status.into_iter().flat_map(|status| &status.addons);
    known.filter(|addon| class.spec.addons.contains(&addon.name)).map(|addon| addon.layer.clone()).collect()
}

/// Why a class's add-ons are not all there.
fn addons_pending(class: &ControlPlaneClass) -> Option<String> {
    if class.spec.addons.is_empty() {
        return None;
    }
    let status = class.status.as_ref();
    let observed = status.is_some_and(|s| Some(s.observed_generation) == class.metadata.generation);
    let ready = status.and_then(|status| find(&status.conditions, ADDONS_READY)).filter(|_| observed);
    match ready {
        Some(ready) if ready.status == "True" => None,
        Some(ready) => Some(format!("ControlPlaneClass {}: {}", class.name_any(), ready.message)),
        None => Some(format!("the add-ons of ControlPlaneClass {} are not resolved yet", class.name_any())),
    }
}

/// The ClusterRole of the kubeconfig's user.
fn role(class: Option<&ControlPlaneClass>) -> String {
    let role = class.and_then(|c| c.spec.auth.as_ref()).and_then(|a| a.default_role.as_deref());
    match role {
        // Upstream's `admin` is the administrator of the control plane, not the ClusterRole for a namespace.
        None | Some("" | "admin") => "cluster-admin".to_owned(),
        Some(role) => role.to_owned(),
    }
}

/// Whether a record was made by this object.
pub fn is_ours(control_plane: &ControlPlane, record: &VirtualCluster) -> bool {
    let owner = record.spec.owner.as_ref().map(|owner| owner.uid.as_str());
    owner.is_some() && owner == control_plane.metadata.uid.as_deref()
}

fn claim(control_plane: &ControlPlane, record: Option<VirtualCluster>) -> Result<Claim, Refusal> {
    let Some(record) = record else {
        return match adopt_uid(control_plane) {
            // Naming a uid asks for its data: an empty control plane in its place would be a surprise. Once
            // adopted, the record is ours and the uid is met; it is only missing when somebody deleted it.
            Some(uid)
                if control_plane.status.as_ref().and_then(|s| s.virtual_cluster_uid.as_ref()).is_none() =>
            {
                Err(Refusal::stalled(
                    ACCEPTED,
                    reason::ADOPTION_MISMATCH,
                    format!("there is no retained VirtualCluster with uid {uid} at this path"),
                ))
            }
            _ => Ok(Claim::Create),
        };
    };
    let uid = record.uid().unwrap_or_default();
    if record.metadata.deletion_timestamp.is_some() {
        return Err(Refusal::waiting(
            ACCEPTED,
            reason::PROGRESSING,
            "the path is being freed: its former data is being removed",
        ));
    }
    if is_ours(control_plane, &record) {
        return Ok(Claim::Keep(Box::new(record)));
    }
    let retained = record.spec.detached == Some(true) || record.spec.owner.is_none();
    match (retained, adopt_uid(control_plane)) {
        (true, Some(wanted)) if wanted == uid => Ok(Claim::Adopt(Box::new(record))),
        (true, Some(wanted)) => Err(Refusal::stalled(
            ACCEPTED,
            reason::ADOPTION_MISMATCH,
            format!("the VirtualCluster at this path has uid {uid}, not {wanted}"),
        )),
        (true, None) => Err(Refusal::stalled(
            ACCEPTED,
            reason::PATH_RETAINED,
            format!(
                "the path holds the retained data of an earlier control plane; set spec.virtual.adoptUID to {uid} to adopt it"
            ),
        )),
        (false, _) => {
            let owner = record.spec.owner.unwrap_or_default();
            Err(Refusal::stalled(
                ACCEPTED,
                reason::PATH_TAKEN,
                format!("the path belongs to {} {} with uid {}", owner.kind, owner.name, owner.uid),
            ))
        }
    }
}

fn adopt_uid(control_plane: &ControlPlane) -> Option<&str> {
    control_plane.spec.virtual_.as_ref()?.adopt_uid.as_deref().filter(|uid| !uid.is_empty())
}

/// The addresses of an endpoint that the spec names: what its spec says, else what its status says, for those whose
/// status something else writes.
fn named_addresses(
    endpoint: &kplane_crds::v1alpha1::ControlPlaneEndpoint,
    cluster_path: &str,
    access: &Access,
) -> Result<Addresses, Refusal> {
    let status = endpoint.status.clone().unwrap_or_default();
    let spec = &endpoint.spec;
    let Some(internal) = spec.endpoint.clone().or(status.endpoint) else {
        return Err(Refusal::waiting(
            ENDPOINT_READY,
            reason::ENDPOINT_PENDING,
            format!("ControlPlaneEndpoint {} has no address yet", endpoint.name_any()),
        ));
    };
    let external = spec.external_endpoint.clone().or(status.external_endpoint).unwrap_or(internal.clone());
    Ok(Addresses {
        internal: control_plane_url(&internal, cluster_path),
        internal_ca: access.ca.clone(),
        external: control_plane_url(&external, cluster_path),
        external_ca: spec.external_ca_bundle.clone().unwrap_or_else(|| access.ca.clone()),
    })
}
