//! Writes the objects of a deployed management plane and reads how they do (client required).

use kplane_crds::v1alpha1::{ExposureType, ManagementPlane};
use serde_json::Value;

use super::build::{self, APISERVER, ETCD, Object, PORT};
use super::issue;
use super::trouble::{self, Trouble};
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
    /// The version that runs.
    pub version: String,
    /// How many members of etcd are ready and how many there should be; `None` when etcd is not ours.
    pub etcd: Option<(i64, i64)>,
    /// How many replicas of the API server are available and how many there should be.
    pub apiserver: (i64, i64),
    /// What keeps pods from running, as far as they say.
    pub trouble: Option<Trouble>,
    /// When the first of the certificates ends.
    pub expires: Option<jiff::Timestamp>,
}

impl Applied {
    /// Whether the store has a quorum, as far as is known.
    pub fn store_ready(&self) -> bool {
        self.etcd.is_none_or(|(ready, wanted)| ready > wanted / 2)
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
        apply_object(&raw, &namespace).await?;
    }
    let certificates = issue::certificates(plane, deployed, &raw, now).await?;
    let image = image(plane, &context.options.image);
    let objects = build::build(plane, deployed, &image, &certificates.digest);
    let mut applied = Vec::with_capacity(objects.len());
    for object in &objects {
        applied.push(apply_object(&raw, object).await?);
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
    let whole = apiserver.0 >= apiserver.1 && etcd.is_none_or(|(ready, wanted)| ready >= wanted);
    // Only who is missed is asked after.
    let trouble = if whole { None } else { trouble::look(&raw, &plane.spec.namespace).await? };
    Ok(Applied {
        endpoint: endpoint(plane, find("Service", APISERVER)),
        internal_endpoint: internal_endpoint(plane),
        ca: certificates.ca,
        version: image.rsplit_once(':').map_or(String::new(), |(_, tag)| tag.to_owned()),
        etcd,
        apiserver,
        trouble,
        expires: Some(certificates.expires),
    })
}

/// The image: the spec's, or the default's at the spec's version.
fn image(plane: &ManagementPlane, default: &str) -> String {
    let spec = &plane.spec;
    if !spec.apiserver.image.is_empty() {
        return spec.apiserver.image.clone();
    }
    match default.rsplit_once(':') {
        Some((repository, _)) if !spec.version.is_empty() && !repository.contains('@') => {
            format!("{repository}:{}", spec.version)
        }
        _ => default.to_owned(),
    }
}

pub(super) fn internal_endpoint(plane: &ManagementPlane) -> String {
    format!("https://{APISERVER}.{}.svc:{PORT}", plane.spec.namespace)
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

    #[test]
    fn the_image_follows_the_version() {
        let mut plane = plane();
        assert_eq!(image(&plane, "host:5000/kplane:v1"), "host:5000/kplane:v1");
        plane.spec.version = "v2".into();
        assert_eq!(image(&plane, "host:5000/kplane:v1"), "host:5000/kplane:v2");
        plane.spec.apiserver.image = "mine".into();
        assert_eq!(image(&plane, "host:5000/kplane:v1"), "mine");
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
