//! Writes the objects of a deployed management plane and reads how they do (client required).

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kplane_crds::v1alpha1::{EXPIRATION_ANNOTATION, ExposureType, ManagementPlane};
use kube::ResourceExt;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::build::{self, APISERVER, ETCD, Object, PKI_SECRET, PORT, SERVING_SECRET};
use super::certificates::{self, Pair};
use super::validate::{Deployed, Store};
use crate::Error;
use crate::management::context::Context;
use crate::management::kubeconfig::INPUTS_ANNOTATION;
use crate::management::plane::ADMIN_SECRET;
use crate::runtime::raw::{self, Raw};
use crate::runtime::{duration, status::FIELD_MANAGER};

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
    let certificates = certificates(plane, &raw, now).await?;
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
    Ok(Applied {
        endpoint: endpoint(plane, find("Service", APISERVER)),
        internal_endpoint: internal_endpoint(plane),
        ca: certificates.ca,
        version: image.rsplit_once(':').map_or(String::new(), |(_, tag)| tag.to_owned()),
        etcd,
        apiserver: (number(deployment, "/status/availableReplicas"), i64::from(deployed.replicas)),
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

fn internal_endpoint(plane: &ManagementPlane) -> String {
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

struct Certificates {
    ca: String,
    digest: String,
}

/// Sees to the certificates: makes those that are not there, that end soon or that lack a name.
async fn certificates(
    plane: &ManagementPlane,
    raw: &Raw,
    now: jiff::Timestamp,
) -> Result<Certificates, Error> {
    let spec = &plane.spec.certificates;
    let invalid =
        |text: &str| Error::Convert { what: "a duration of the ManagementPlane", message: text.to_owned() };
    let lifetime = duration::parse(&spec.duration).ok_or_else(|| invalid(&spec.duration))?;
    let before = duration::parse(&spec.renew_before).ok_or_else(|| invalid(&spec.renew_before))?;

    let authority = match stored(plane, raw, PKI_SECRET).await? {
        // Nothing made by another authority would be trusted any more, so this one stays while it is there.
        Some(Stored { pair: Some(pair), .. }) => pair,
        Some(Stored { pair: None, .. }) => {
            let message = format!("Secret {PKI_SECRET} holds no certificate and key");
            return Err(Error::Convert { what: "the certificate authority", message });
        }
        None => {
            let made = certificates::authority(now)?;
            write_authority(plane, raw, &made).await?;
            made
        }
    };
    let names = serving_names(plane);
    let inputs = names.join(",");
    let serving = stored(plane, raw, SERVING_SECRET).await?;
    let serving = match serving.and_then(|s| s.current(&inputs, before, now)) {
        Some(pair) => pair,
        None => {
            let made = certificates::serving(&authority.key, names, lifetime, now)?;
            write_pair(plane, raw, SERVING_SECRET, &made, &inputs, json!({})).await?;
            made
        }
    };
    let admin = stored(plane, raw, ADMIN_SECRET).await?;
    let inputs = internal_endpoint(plane);
    if admin.and_then(|s| s.current(&inputs, before, now)).is_none() {
        let made =
            certificates::client(&authority.key, "kplane-controllers", "system:masters", lifetime, now)?;
        let kubeconfig = admin_kubeconfig(&inputs, &authority, &made)?;
        write_pair(plane, raw, ADMIN_SECRET, &made, &inputs, json!({ "kubeconfig": kubeconfig })).await?;
    }
    let mut digest = Sha256::new();
    digest.update(&serving.certificate);
    digest.update(&authority.certificate);
    let digest = digest.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    Ok(Certificates { ca: authority.certificate, digest })
}

fn admin_kubeconfig(server: &str, authority: &Pair, made: &Pair) -> Result<String, Error> {
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{ "name": "kplane", "cluster": {
            "server": server, "certificate-authority-data": STANDARD.encode(&authority.certificate),
        }}],
        "users": [{ "name": "kplane-controllers", "user": {
            "client-certificate-data": STANDARD.encode(&made.certificate),
            "client-key-data": STANDARD.encode(&made.key),
        }}],
        "contexts": [{ "name": "kplane", "context": { "cluster": "kplane", "user": "kplane-controllers" } }],
        "current-context": "kplane",
    });
    serde_saphyr::to_string(&config)
        .map_err(|error| Error::Convert { what: "a kubeconfig", message: error.to_string() })
}

fn serving_names(plane: &ManagementPlane) -> Vec<String> {
    let namespace = &plane.spec.namespace;
    let mut names = vec![
        APISERVER.to_owned(),
        format!("{APISERVER}.{namespace}"),
        format!("{APISERVER}.{namespace}.svc"),
        format!("{APISERVER}.{namespace}.svc.cluster.local"),
        "localhost".to_owned(),
        "127.0.0.1".to_owned(),
    ];
    if let Some(host) =
        plane.spec.exposure.host.as_ref().filter(|host| !host.is_empty() && !names.contains(host))
    {
        names.push(host.clone());
    }
    names
}

/// A pair as it is in its Secret.
struct Stored {
    pair: Option<Pair>,
    inputs: String,
}

impl Stored {
    /// The pair, if it was made for this and does not end soon.
    fn current(self, inputs: &str, before: Duration, now: jiff::Timestamp) -> Option<Pair> {
        let before = jiff::SignedDuration::try_from(before).ok()?;
        let pair = self.pair?;
        (self.inputs == inputs && pair.expires.checked_sub(before).ok()? > now).then_some(pair)
    }
}

async fn stored(plane: &ManagementPlane, raw: &Raw, name: &str) -> Result<Option<Stored>, Error> {
    let path = build::secret(plane, name, json!({}), json!({})).path();
    let Some(secret) = raw::optional(raw.get(&path).await)? else { return Ok(None) };
    let text = |key: &str| {
        let encoded = secret.get("data")?.get(key)?.as_str()?;
        String::from_utf8(STANDARD.decode(encoded).ok()?).ok()
    };
    let annotation = |key: &str| secret.get("metadata")?.get("annotations")?.get(key)?.as_str();
    let (certificate, key) = if name == PKI_SECRET { ("ca.crt", "ca.key") } else { ("tls.crt", "tls.key") };
    let pair = || {
        Some(Pair {
            certificate: text(certificate)?,
            key: text(key)?,
            expires: annotation(EXPIRATION_ANNOTATION)?.parse().ok()?,
        })
    };
    let inputs = annotation(INPUTS_ANNOTATION).unwrap_or_default().to_owned();
    Ok(Some(Stored { pair: pair(), inputs }))
}

/// Writes the authority, with the secret from which the keys of service account tokens derive.
async fn write_authority(plane: &ManagementPlane, raw: &Raw, authority: &Pair) -> Result<(), Error> {
    let mut secret = [0; 32];
    rustls::crypto::ring::default_provider().secure_random.fill(&mut secret).map_err(|_| Error::Convert {
        what: "a secret",
        message: "the system gave no random bytes".into(),
    })?;
    let data = json!({
        "ca.crt": authority.certificate,
        "ca.key": authority.key,
        "plane.key": format!("{}\n", STANDARD.encode(secret)),
    });
    let annotations = json!({ EXPIRATION_ANNOTATION: authority.expires.to_string() });
    let mut object = build::secret(plane, PKI_SECRET, data, annotations);
    // Like etcd's volumes it outlives the ManagementPlane: without it nobody could use the data they hold.
    if let Some(metadata) = object.value["metadata"].as_object_mut() {
        metadata.remove("ownerReferences");
    }
    // Never over one that is there.
    raw.post(&object.collection, &object.value).await?;
    Ok(())
}

async fn write_pair(
    plane: &ManagementPlane,
    raw: &Raw,
    name: &str,
    pair: &Pair,
    inputs: &str,
    mut data: Value,
) -> Result<(), Error> {
    data["tls.crt"] = pair.certificate.clone().into();
    data["tls.key"] = pair.key.clone().into();
    let annotations = json!({ EXPIRATION_ANNOTATION: pair.expires.to_string(), INPUTS_ANNOTATION: inputs });
    apply_object(raw, &build::secret(plane, name, data, annotations)).await?;
    tracing::info!(plane = plane.name_any(), secret = name, "wrote a certificate");
    Ok(())
}

/// Applies one object, and answers it as it is then.
async fn apply_object(raw: &Raw, object: &Object) -> Result<Value, Error> {
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
