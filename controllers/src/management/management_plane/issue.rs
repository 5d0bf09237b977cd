//! Sees to the Secrets with the certificates of a deployed management plane (client required).

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kplane_crds::v1alpha1::{EXPIRATION_ANNOTATION, ManagementPlane};
use kube::ResourceExt;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::apply::{apply_object, internal_endpoint};
use super::build::{
    self, APISERVER, ETCD_CA_SECRET, ETCD_CLIENT_SECRET, ETCD_SECRET, PKI_SECRET, SERVING_SECRET,
};
use super::certificates::{self, ETCD_AUTHORITY, PLANE_AUTHORITY, Pair};
use super::validate::{Deployed, Store};
use crate::Error;
use crate::management::kubeconfig::INPUTS_ANNOTATION;
use crate::management::plane::ADMIN_SECRET;
use crate::runtime::duration;
use crate::runtime::raw::{self, Raw};

/// The certificates of a management plane, as they are now.
pub struct Certificates {
    /// The authority of the API server, in PEM.
    pub ca: String,
    /// Changes when one changes that is read only at a start.
    pub digest: String,
    /// When the first of them ends.
    pub expires: jiff::Timestamp,
}

/// Sees to the certificates: makes those that are not there, that end soon or that lack a name.
pub async fn certificates(
    plane: &ManagementPlane,
    deployed: &Deployed,
    raw: &Raw,
    now: jiff::Timestamp,
) -> Result<Certificates, Error> {
    let spec = &plane.spec.certificates;
    let invalid =
        |text: &str| Error::Convert { what: "a duration of the ManagementPlane", message: text.to_owned() };
    let lifetime = duration::parse(&spec.duration).ok_or_else(|| invalid(&spec.duration))?;
    let before = duration::parse(&spec.renew_before).ok_or_else(|| invalid(&spec.renew_before))?;

    let authority = authority(plane, raw, PKI_SECRET, PLANE_AUTHORITY, now).await?;
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
    let mut expires = serving.expires;
    if matches!(deployed.store, Store::Managed(_)) {
        let client = etcd(plane, raw, lifetime, before, now).await?;
        digest.update(&client.certificate);
        expires = expires.min(client.expires);
    }
    let digest = digest.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    Ok(Certificates { ca: authority.certificate, digest, expires })
}

/// Sees to etcd's certificates; the client's. Members read theirs at each handshake, so that a new one needs no restart.
async fn etcd(
    plane: &ManagementPlane,
    raw: &Raw,
    lifetime: Duration,
    before: Duration,
    now: jiff::Timestamp,
) -> Result<Pair, Error> {
    let authority = authority(plane, raw, ETCD_CA_SECRET, ETCD_AUTHORITY, now).await?;
    let mut client = None;
    for (secret, names, serves) in [
        (ETCD_SECRET, build::member_names(plane), true),
        (ETCD_CLIENT_SECRET, build::etcd_client_names(), false),
    ] {
        let inputs = names.join(",");
        let there = stored(plane, raw, secret).await?;
        client = Some(match there.and_then(|s| s.current(&inputs, before, now)) {
            Some(pair) => pair,
            None => {
                let made = certificates::etcd(&authority.key, names, serves, lifetime, now)?;
                let ca = json!({ "ca.crt": authority.certificate });
                write_pair(plane, raw, secret, &made, &inputs, ca).await?;
                made
            }
        });
    }
    client.ok_or(Error::Convert { what: "etcd's certificates", message: "none was made".into() })
}

/// The authority in a Secret, made if there is none. Nothing made by another authority would be trusted any more, so it
/// stays while it is there.
async fn authority(
    plane: &ManagementPlane,
    raw: &Raw,
    secret: &str,
    name: &str,
    now: jiff::Timestamp,
) -> Result<Pair, Error> {
    match stored(plane, raw, secret).await? {
        Some(Stored { pair: Some(pair), .. }) => Ok(pair),
        Some(Stored { pair: None, .. }) => {
            let message = format!("Secret {secret} holds no certificate and key");
            Err(Error::Convert { what: "the certificate authority", message })
        }
        None => {
            let made = certificates::authority(name, now)?;
            write_authority(plane, raw, secret, &made).await?;
            Ok(made)
        }
    }
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
    let is_authority = name == PKI_SECRET || name == ETCD_CA_SECRET;
    let (certificate, key) = if is_authority { ("ca.crt", "ca.key") } else { ("tls.crt", "tls.key") };
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

/// Writes an authority; that of the API server with the secret from which the keys of service account tokens derive.
async fn write_authority(
    plane: &ManagementPlane,
    raw: &Raw,
    name: &str,
    authority: &Pair,
) -> Result<(), Error> {
    let mut data = json!({ "ca.crt": authority.certificate, "ca.key": authority.key });
    if name == PKI_SECRET {
        let mut secret = [0; 32];
        rustls::crypto::ring::default_provider().secure_random.fill(&mut secret).map_err(|_| {
            Error::Convert { what: "a secret", message: "the system gave no random bytes".into() }
        })?;
        data["plane.key"] = format!("{}\n", STANDARD.encode(secret)).into();
    }
    let annotations = json!({ EXPIRATION_ANNOTATION: authority.expires.to_string() });
    // Like etcd's volumes it outlives the ManagementPlane: without it nobody could use the data they hold.
    let object = build::secret(plane, name, data, annotations).kept();
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
