//! Writes the objects of a deployed management plane and reads how they do (client required).

use kplane_crds::conditions::reason;
use kplane_crds::v1alpha1::{ExposureType, FailedUpgrade, ManagementPlane};
use serde_json::Value;

use super::authority::Phase;
use super::build::{self, APISERVER, ETCD, Given, Object, PORT, ServiceAddresses, host_and_port};
use super::encryption;
use super::issue;
use super::store::{self, Report};
use super::trouble::{self, Trouble};
use super::upgrade::{self, Plan, Rollout};
use super::validate::{Deployed, Store};
use crate::Error;
use crate::management::context::Context;
use crate::runtime::raw::{self, Raw};
use crate::runtime::status::FIELD_MANAGER;

/// How a deployed management plane does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// The address outside, once there is one.
    pub endpoint: Option<String>,
    /// The address inside.
    pub internal_endpoint: String,
    /// The certificate of the authority, in PEM.
    pub ca: String,
    /// What is meant to run, and why it is not what the spec wants, if it is not.
    pub plan: Option<Plan>,
    /// How its rollout is.
    pub rollout: Option<Rollout>,
    /// The record of an upgrade that has just failed.
    pub failed_upgrade: Option<FailedUpgrade>,
    /// How many members of etcd are ready and how many there should be; `None` when etcd is not ours.
    pub etcd: Option<(i64, i64)>,
    /// How many replicas of the API server are available and how many there should be.
    pub apiserver: (i64, i64),
    /// How the store does, beyond what the pods say.
    pub store: Report,
    /// What keeps pods from running, as far as they say.
    pub trouble: Option<Trouble>,
    /// When the first of the certificates ends.
    pub expires: Option<jiff::Timestamp>,
    /// How far the replacement of an authority is.
    pub authorities: Option<Phase>,
    /// How far the replacement of the key is that Secrets are encrypted with.
    pub encryption: Option<encryption::Step>,
    /// When to look again for an authority's sake, if nothing tells of a change before.
    pub look_again: Option<jiff::Timestamp>,
    /// When the first of the certificates is to be made anew.
    pub renew_at: Option<jiff::Timestamp>,
}

impl Applied {
    /// Whether the store has a quorum, as far as is known.
    pub fn store_ready(&self) -> bool {
        let stopped = self.store.note.as_ref().is_some_and(store::Note::stops);
        !stopped && self.etcd.is_none_or(|(ready, wanted)| ready > wanted / 2)
    }

    /// Whether there is an etcd to look after.
    pub fn has_etcd(&self) -> bool {
        self.etcd.is_some() || self.store.members.is_some() || self.store.backups.is_some()
    }

    /// Whether nothing is under way.
    pub fn is_settled(&self) -> bool {
        self.is_ready()
            && self.rollout == Some(Rollout::Done)
            && self.authorities != Some(Phase::Trusting)
            && self.encryption.is_none_or(|step| step == encryption::Step::Settled)
            && self.failed_upgrade.is_none()
    }

    /// Whether all is as it should be.
    pub fn is_ready(&self) -> bool {
        self.store_ready() && self.apiserver.0 > 0 && self.endpoint.is_some()
    }
}

/// Writes and reads.
pub async fn apply(
    plane: &ManagementPlane,
    deployed: &Deployed,
    context: &Context,
    now: jiff::Timestamp,
) -> Result<Applied, Error> {
    let raw = Raw::new(context.client.clone());
    let namespace = build::namespace(plane);
    if raw::optional(raw.get(&namespace.path()).await)?.is_none() {
        match raw.post(&namespace.collection, &namespace.value).await {
            Ok(_) => {}
            Err(error) if raw::is_conflict(&error) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let mut services = Services::apply(plane, deployed, &raw).await;
    let server = server_address(plane, &services.addresses);
    let mut certificates = issue::certificates(plane, deployed, &server, &raw, &context.secrets, now).await?;
    if encryption::tend(plane, deployed, &certificates, &raw, context, now).await? {
        certificates = issue::certificates(plane, deployed, &server, &raw, &context.secrets, now).await?;
    }
    let plan = upgrade::plan(plane, upgrade::wanted(plane, &context.options.image));
    let given = Given {
        image: plan.run.image.clone(),
        digests: certificates.digests,
        encryption_key: !certificates.encryption.is_empty(),
        addresses: services.addresses.clone(),
        tls_routes: tls_routes(plane, &raw).await?,
    };
    let mut deployed = deployed.clone();
    let mut store = store::tend(plane, &mut deployed, &given.addresses, &raw, &context.options, now).await?;
    let objects = build::build(plane, &deployed, &given);
    let mut applied = Vec::with_capacity(objects.len());
    for object in &objects {
        applied.push(apply_object(&raw, object).await?);
    }
    // What it keeps from being ready is said only now: all else goes on.
    if let Some(refused) = services.refused.take() {
        return Err(refused);
    }
    if plane.spec.exposure.type_ == ExposureType::Gateway && given.tls_routes.is_none() {
        return Err(Error::GatewayApiMissing);
    }
    let find = |kind: &str, name: &str| {
        let at = objects.iter().position(|o| o.value["kind"] == kind && o.name == name)?;
        applied.get(at)
    };
    let number = |object: Option<&Value>, pointer: &str| {
        object.and_then(|o| o.pointer(pointer)).and_then(Value::as_i64).unwrap_or(0)
    };
    let etcd = matches!(deployed.store, Store::Managed(_)).then(|| {
        let set = find("StatefulSet", ETCD);
        (number(set, "/status/readyReplicas"), number(set, "/spec/replicas"))
    });
    let deployment = find("Deployment", APISERVER);
    let apiserver = (number(deployment, "/status/availableReplicas"), i64::from(deployed.replicas));
    if apiserver.0 > 0 && store.note.as_ref().is_some_and(|note| note.reason == reason::ETCD_UNREACHABLE) {
        // Whom it is there for reaches it.
        store.note = None;
    }
    let whole = apiserver.0 >= apiserver.1 && etcd.is_none_or(|(ready, wanted)| ready >= wanted);
    // While nothing is to run, no version does.
    let rollout = deployment.filter(|_| deployed.replicas > 0).map(upgrade::rollout);
    let stuck = rollout == Some(Rollout::Stuck) && plan.from.is_some();
    // Only who is missed is asked after; an upgrade is of the servers alone.
    let trouble = match (stuck, whole) {
        (true, _) => trouble::look(&raw, &plane.spec.namespace, Some(APISERVER)).await?,
        (false, true) => None,
        (false, false) => trouble::look(&raw, &plane.spec.namespace, None).await?,
    };
    // The next pass, which its record brings about, puts back what ran.
    let said = trouble.as_ref().map(|trouble| trouble.message.as_str());
    let failed_upgrade = stuck.then(|| upgrade::failed(plane, &plan, said));
    Ok(Applied {
        endpoint: endpoint(plane, services.apiserver.as_ref()),
        internal_endpoint: internal_endpoint(plane),
        ca: certificates.ca,
        plan: Some(plan),
        rollout,
        failed_upgrade,
        etcd,
        apiserver,
        store,
        trouble,
        expires: Some(certificates.expires),
        authorities: Some(certificates.phase),
        encryption: Some(certificates.encryption.at()),
        look_again: certificates.look_again,
        renew_at: certificates.renew_at,
    })
}

/// In what version the cluster has TLSRoutes, if it is to have one of ours.
async fn tls_routes(plane: &ManagementPlane, raw: &Raw) -> Result<Option<&'static str>, Error> {
    if plane.spec.exposure.type_ != ExposureType::Gateway {
        return Ok(None);
    }
    for version in build::TLS_ROUTE_VERSIONS {
        let path = format!("/apis/gateway.networking.k8s.io/{version}");
        let kinds = raw::optional(raw.get(&path).await)?.unwrap_or_default();
        let mut found = kinds["resources"].as_array().into_iter().flatten();
        if found.any(|kind| kind["name"] == "tlsroutes") {
            return Ok(Some(version));
        }
    }
    Ok(None)
}

/// The Services as they are in the cluster.
#[derive(Default)]
struct Services {
    addresses: ServiceAddresses,
    apiserver: Option<Value>,
    /// Why one could not be made or changed.
    refused: Option<Error>,
}

impl Services {
    /// Applies them. One that is refused, for a port that is taken say, is as it was before.
    async fn apply(plane: &ManagementPlane, deployed: &Deployed, raw: &Raw) -> Self {
        let mut found = Self::default();
        for object in build::services(plane, deployed) {
            let service = match apply_object(raw, &object).await {
                Ok(applied) => Some(applied),
                Err(error) => {
                    found.refused.get_or_insert(error);
                    raw.get(&object.path()).await.ok()
                }
            };
            let Some(service) = service else { continue };
            found.addresses.learn(&service);
            if object.name == APISERVER {
                found.apiserver = Some(service);
            }
        }
        found
    }
}

/// Where the controllers reach the API server: at its Service's address, since there may be no DNS.
fn server_address(plane: &ManagementPlane, addresses: &ServiceAddresses) -> String {
    match &addresses.apiserver {
        Some(address) => format!("https://{}", host_and_port(address, PORT)),
        None => internal_endpoint(plane),
    }
}

/// The name of the API server in the cluster.
pub(super) fn server_name(plane: &ManagementPlane) -> String {
    format!("{APISERVER}.{}.svc", plane.spec.namespace)
}

pub(super) fn internal_endpoint(plane: &ManagementPlane) -> String {
    format!("https://{}:{PORT}", server_name(plane))
}

/// The address outside: what the spec says, else what the Service was given.
fn endpoint(plane: &ManagementPlane, service: Option<&Value>) -> Option<String> {
    let exposure = &plane.spec.exposure;
    let given = |pointer: &str| service.and_then(|s| s.pointer(pointer));
    let node_port = given("/spec/ports/0/nodePort").and_then(Value::as_i64);
    let port = |default: Option<i64>| exposure.port.map(i64::from).or(default);
    let host = exposure.host.as_deref().filter(|host| !host.is_empty());
    match (exposure.type_, host) {
        (ExposureType::Ingress | ExposureType::Gateway, Some(host)) => {
            Some(format!("https://{host}:{}", port(Some(443))?))
        }
        (ExposureType::NodePort, Some(host)) => Some(format!("https://{host}:{}", port(node_port)?)),
        (ExposureType::LoadBalancer, host) => {
            let ingress = given("/status/loadBalancer/ingress/0");
            let text = |key: &str| ingress.and_then(|i| i.get(key)).and_then(Value::as_str);
            let host = host.or_else(|| text("hostname")).or_else(|| text("ip"))?;
            Some(format!("https://{host}:{}", port(Some(i64::from(PORT)))?))
        }
        (_, Some(host)) => Some(format!("https://{host}:{}", port(Some(i64::from(PORT)))?)),
        (_, None) => Some(internal_endpoint(plane)),
    }
}

/// Applies one object, and answers it as it is then.
pub(super) async fn apply_object(raw: &Raw, object: &Object) -> Result<Value, Error> {
    match raw.apply(&object.path(), FIELD_MANAGER, &object.value).await {
        Ok(applied) => return Ok(applied),
        // A server without server-side apply.
        Err(error) if matches!(raw::code(&error), Some(415 | 501)) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(match raw::optional(raw.get(&object.path()).await)? {
        None => raw.post(&object.collection, &object.value).await?,
        Some(_) => raw.merge(&object.path(), &object.value).await?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use kplane_crds::v1alpha1::ManagementPlaneSpec;
    use serde_json::json;

    fn plane() -> ManagementPlane {
        ManagementPlane::new(
            "default",
            ManagementPlaneSpec { namespace: "barn".into(), ..ManagementPlaneSpec::default() },
        )
    }

    #[test]
    fn the_address_follows_the_exposure() {
        let mut plane = plane();
        assert_eq!(endpoint(&plane, None).as_deref(), Some("https://kplane-apiserver.barn.svc:6443"));
        plane.spec.exposure.type_ = ExposureType::NodePort;
        plane.spec.exposure.host = Some("127.0.0.1".into());
        let service = json!({ "spec": { "ports": [{ "nodePort": 30443 }] } });
        assert_eq!(endpoint(&plane, Some(&service)).as_deref(), Some("https://127.0.0.1:30443"));
        plane.spec.exposure.port = Some(8443);
        assert_eq!(endpoint(&plane, Some(&service)).as_deref(), Some("https://127.0.0.1:8443"));
        plane.spec.exposure.type_ = ExposureType::LoadBalancer;
        plane.spec.exposure.host = None;
        assert_eq!(endpoint(&plane, Some(&service)), None);
        let service = json!({ "status": { "loadBalancer": { "ingress": [{ "ip": "10.1.2.3" }] } } });
        assert_eq!(endpoint(&plane, Some(&service)).as_deref(), Some("https://10.1.2.3:8443"));
    }

    #[tokio::test]
    async fn the_route_is_of_a_version_that_the_cluster_serves() {
        let api = crate::fake::FakeApi::default();
        let raw = Raw::new(api.client());
        let mut plane = plane();
        let serves = |version: &str, kinds: &[&str]| {
            let kinds: Vec<Value> = kinds.iter().map(|name| json!({ "name": name })).collect();
            api.put(&format!("/apis/gateway.networking.k8s.io/{version}"), json!({ "resources": kinds }));
        };
        serves("v1alpha2", &["tlsroutes", "tcproutes"]);
        assert_eq!(tls_routes(&plane, &raw).await.unwrap(), None, "nobody asks for it");
        plane.spec.exposure.type_ = ExposureType::Gateway;
        serves("v1", &["gateways", "httproutes"]);
        assert_eq!(tls_routes(&plane, &raw).await.unwrap(), Some("v1alpha2"));
        serves("v1", &["gateways", "tlsroutes"]);
        assert_eq!(tls_routes(&plane, &raw).await.unwrap(), Some("v1"));
    }

    #[test]
    fn the_controllers_need_no_name_of_the_server() {
        let mut addresses = ServiceAddresses::default();
        assert_eq!(server_address(&plane(), &addresses), "https://kplane-apiserver.barn.svc:6443");
        addresses.learn(&json!({ "metadata": { "name": "kplane-etcd" }, "spec": { "clusterIP": "None" } }));
        addresses
            .learn(&json!({ "metadata": { "name": "kplane-etcd-0" }, "spec": { "clusterIP": "10.0.0.8" } }));
        addresses.learn(
            &json!({ "metadata": { "name": "kplane-apiserver" }, "spec": { "clusterIP": "fd00::7" } }),
        );
        assert_eq!(addresses.members.get(&0).map(String::as_str), Some("10.0.0.8"));
        assert_eq!(server_address(&plane(), &addresses), "https://[fd00::7]:6443");
    }

    #[test]
    fn readiness_needs_a_quorum_and_a_server() {
        let mut applied = Applied { endpoint: Some("x".into()), ..Applied::default() };
        applied.etcd = Some((1, 3));
        applied.apiserver = (1, 2);
        assert!(!applied.is_ready());
        applied.etcd = Some((2, 3));
        assert!(applied.is_ready());
        applied.apiserver = (0, 2);
        assert!(!applied.is_ready());
    }
}
