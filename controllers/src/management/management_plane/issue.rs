//! Sees to the Secrets with the certificates of a deployed management plane (client required).

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kplane_crds::v1alpha1::{EXPIRATION_ANNOTATION, ManagementPlane};
use kube::ResourceExt;
use serde_json::{Value, json};

use super::apply::{apply_object, server_name};
use super::authority::{Authority, Phase, ROTATE_AUTHORITIES, digest};
use super::build::{
    self, APISERVER, Digests, ETCD_CA_SECRET, ETCD_CLIENT_SECRET, ETCD_SECRET, PKI_SECRET, SERVING_SECRET,
};
use super::certificates::{self, ETCD_AUTHORITY, PLANE_AUTHORITY, Pair};
use super::encryption::{self, Keys};
use super::taken_up;
use super::validate::{Deployed, Store};
use crate::Error;
use crate::management::kubeconfig::INPUTS_ANNOTATION;
use crate::management::plane::ADMIN_SECRET;
use crate::management::secrets::Secrets;
use crate::runtime::duration;
use crate::runtime::raw::{self, Raw};

/// The certificates of a management plane, as they are now.
pub struct Certificates {
    /// Whom clients of the API server trust, in PEM.
    pub ca: String,
    /// What changes when a pod must start anew.
    pub digests: Digests,
    /// With what the servers encrypt Secrets in the store. Planes from before there was a key have none: a server that did
    /// not know it could not read what another wrote.
    pub encryption: Keys,
    /// When the first of them ends.
    pub expires: jiff::Timestamp,
    /// When the first of them is to be made anew.
    pub renew_at: Option<jiff::Timestamp>,
    /// How far the replacement of an authority is.
    pub phase: Phase,
    /// When to look again, if nothing tells of a change before.
    pub look_again: Option<jiff::Timestamp>,
}

/// What the certificates are made for, beside the names of the plane.
struct Terms {
    lifetime: Duration,
    before: Duration,
    overlap: Duration,
    /// Where the controllers reach the API server.
    server: String,
    /// The value of the annotation that asks for new authorities.
    asked: String,
}

impl Terms {
    fn of(plane: &ManagementPlane, server: &str) -> Result<Self, Error> {
        let spec = &plane.spec.certificates;
        let read = |text: &str| {
            let wrong =
                || Error::Convert { what: "a duration of the ManagementPlane", message: text.to_owned() };
            duration::parse(text).ok_or_else(wrong)
        };
        Ok(Self {
            lifetime: read(&spec.duration)?,
            before: read(&spec.renew_before)?,
            overlap: read(&spec.authority_overlap)?,
            server: server.to_owned(),
            asked: plane.annotations().get(ROTATE_AUTHORITIES).cloned().unwrap_or_default(),
        })
    }
}

/// The authorities of a management plane.
struct Authorities {
    apiserver: Authority,
    /// None when etcd is not ours.
    etcd: Option<Authority>,
}

/// Sees to the certificates: makes those that are not there, that end soon, that lack a name or that a former authority
/// signed; and takes the replacement of an authority a step on.
pub async fn certificates(
    plane: &ManagementPlane,
    deployed: &Deployed,
    server: &str,
    raw: &Raw,
    secrets: &Secrets,
    now: jiff::Timestamp,
) -> Result<Certificates, Error> {
    let terms = Terms::of(plane, server)?;
    let mut authorities = Authorities {
        apiserver: authority(plane, raw, PKI_SECRET, PLANE_AUTHORITY, &terms, now).await?,
        etcd: match deployed.store {
            Store::Managed(_) => {
                Some(authority(plane, raw, ETCD_CA_SECRET, ETCD_AUTHORITY, &terms, now).await?)
            }
            _ => None,
        },
    };
    // Who is a client of somebody else's etcd reads its certificate at its start only.
    let theirs = match &deployed.store {
        Store::External(etcd) => etcd.tls_secret_ref.as_ref().map(|secret| secret.name.clone()),
        _ => None,
    };
    let theirs = match theirs {
        Some(name) => read(plane, raw, &name).await?.map(|found| found.digest()),
        None => None,
    };
    loop {
        let mut issued = issue(plane, &authorities, &terms, raw, now).await?;
        for more in theirs.iter().cloned().chain(issued.encryption.digest()) {
            issued.digests.apiserver = digest([issued.digests.apiserver.as_str(), more.as_str()]);
        }
        let mut everywhere = true;
        if issued.phase != Phase::Settled {
            everywhere = taken_up::by_pods(plane, deployed, raw, &issued.digests).await?;
            if !everywhere {
                // Kubeconfigs are written anew when this changes, and a server that does not know the new authority yet
                // would sign them with the old one.
                issued.ca = authorities.apiserver.bundle_of_before();
            }
            everywhere = everywhere && taken_up::by_kubeconfigs(raw, secrets, &authorities.apiserver).await?;
        }
        let mut stepped = false;
        for (secret, name, held) in [
            (PKI_SECRET, PLANE_AUTHORITY, Some(&mut authorities.apiserver)),
            (ETCD_CA_SECRET, ETCD_AUTHORITY, authorities.etcd.as_mut()),
        ] {
            let Some(held) = held else { continue };
            if let Some(next) = held.step(name, &terms.asked, everywhere, terms.overlap, now)? {
                save(plane, raw, secret, &next).await?;
                tracing::info!(secret, phase = ?next.phase(), "an authority is being replaced");
                *held = next;
                stepped = true;
            }
        }
        // What the new state asks for is written at once; nothing has taken it up yet, so this ends.
        if !stepped {
            return Ok(issued);
        }
    }
}

/// Writes what is due under these authorities.
async fn issue(
    plane: &ManagementPlane,
    authorities: &Authorities,
    terms: &Terms,
    raw: &Raw,
    now: jiff::Timestamp,
) -> Result<Certificates, Error> {
    let authority = &authorities.apiserver;
    let (bundle, signer) = (authority.bundle(), authority.signer_digest());
    let names = serving_names(plane);
    let inputs = format!("{},signer={signer},bridges={}", names.join(","), digest([&*authority.bridges()]));
    let serving = stored(plane, raw, SERVING_SECRET).await?;
    let serving = match serving.and_then(|s| s.current(&inputs, terms.before, now)) {
        Some(pair) => pair,
        None => {
            let mut made = certificates::serving(&authority.current, names, terms.lifetime, now)?;
            made.certificate.push_str(&authority.bridges());
            write_pair(plane, raw, SERVING_SECRET, &made, &inputs, json!({})).await?;
            made
        }
    };
    let server = &terms.server;
    let inputs = format!("{server},signer={signer},trusted={}", authority.trust_digest());
    let admin = stored(plane, raw, ADMIN_SECRET).await?;
    let admin = match admin.and_then(|s| s.current(&inputs, terms.before, now)) {
        Some(pair) => pair,
        None => {
            let user = "kplane-controllers";
            let made = certificates::client(&authority.current, user, "system:masters", terms.lifetime, now)?;
            let kubeconfig = admin_kubeconfig(plane, server, &bundle, &made)?;
            write_pair(plane, raw, ADMIN_SECRET, &made, &inputs, json!({ "kubeconfig": kubeconfig })).await?;
            made
        }
    };
    let mut certificates = Certificates {
        digests: Digests { apiserver: digest([&*bundle]), etcd: String::new() },
        ca: bundle,
        encryption: read(plane, raw, PKI_SECRET).await?.map(|found| found.keys()).unwrap_or_default(),
        expires: serving.expires.min(admin.expires),
        renew_at: None,
        phase: authority.phase(),
        look_again: authority.look_again(),
    };
    if let Some(authority) = &authorities.etcd {
        let (client, first) = issue_etcd(plane, authority, terms, raw, now).await?;
        let apiserver =
            digest([certificates.ca.as_str(), client.certificate.as_str(), &authority.trust_digest()]);
        certificates.digests = Digests { apiserver, etcd: authority.trust_digest() };
        certificates.expires = certificates.expires.min(first);
        if certificates.phase == Phase::Settled || authority.phase() == Phase::Trusting {
            certificates.phase = authority.phase();
        }
        certificates.look_again = certificates.look_again.into_iter().chain(authority.look_again()).min();
    }
    let before = jiff::SignedDuration::try_from(terms.before).ok();
    certificates.renew_at = before.and_then(|before| certificates.expires.checked_sub(before).ok());
    Ok(certificates)
}

/// Writes etcd's certificates that are due; the client's, and when the first of them ends. Members read theirs at each handshake, so that a new one needs
/// no restart; whom they trust they read at their start.
async fn issue_etcd(
    plane: &ManagementPlane,
    authority: &Authority,
    terms: &Terms,
    raw: &Raw,
    now: jiff::Timestamp,
) -> Result<(Pair, jiff::Timestamp), Error> {
    let mut client: Option<(Pair, jiff::Timestamp)> = None;
    for (secret, names, serves) in [
        (ETCD_SECRET, build::member_names(plane), true),
        (ETCD_CLIENT_SECRET, build::etcd_client_names(), false),
    ] {
        let inputs = format!(
            "{},signer={},trusted={}",
            names.join(","),
            authority.signer_digest(),
            authority.trust_digest()
        );
        let there = stored(plane, raw, secret).await?;
        let pair = match there.and_then(|s| s.current(&inputs, terms.before, now)) {
            Some(pair) => pair,
            None => {
                let made = certificates::etcd(&authority.current, names, serves, terms.lifetime, now)?;
                let ca = json!({ "ca.crt": authority.bundle() });
                write_pair(plane, raw, secret, &made, &inputs, ca).await?;
                made
            }
        };
        let first = client.map_or(pair.expires, |(_, first)| first.min(pair.expires));
        client = Some((pair, first));
    }
    client.ok_or(Error::Convert { what: "etcd's certificates", message: "none was made".into() })
}

/// The authority in a Secret, made if there is none. Nothing made by another authority would be trusted any more, so one
/// that cannot be read is not made anew.
async fn authority(
    plane: &ManagementPlane,
    raw: &Raw,
    secret: &str,
    name: &str,
    terms: &Terms,
    now: jiff::Timestamp,
) -> Result<Authority, Error> {
    match read(plane, raw, secret).await? {
        Some(found) => {
            Authority::of_secret(|key| found.text(key), |key| found.annotation(key)).ok_or_else(|| {
                let message = format!("Secret {secret} holds no certificate and key of an authority");
                Error::Convert { what: "the certificate authority", message }
            })
        }
        None => {
            let made = Authority::new(name, &terms.asked, now)?;
            create(plane, raw, secret, &made).await?;
            Ok(made)
        }
    }
}

fn admin_kubeconfig(
    plane: &ManagementPlane,
    server: &str,
    bundle: &str,
    made: &Pair,
) -> Result<String, Error> {
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{ "name": "kplane", "cluster": {
            "server": server,
            // The address is the cluster's to choose; the certificate has the name.
            "tls-server-name": server_name(plane),
            "certificate-authority-data": STANDARD.encode(bundle),
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

/// A Secret.
struct Found(Value);

impl Found {
    fn text(&self, key: &str) -> Option<String> {
        let encoded = self.0.get("data")?.get(key)?.as_str()?;
        String::from_utf8(STANDARD.decode(encoded).ok()?).ok()
    }

    /// Changes with what is in it.
    fn digest(&self) -> String {
        digest(
            self.0["data"]
                .as_object()
                .into_iter()
                .flatten()
                .flat_map(|(key, value)| [key.as_str(), value.as_str().unwrap_or_default()]),
        )
    }

    /// The keys that Secrets are encrypted with.
    fn keys(&self) -> Keys {
        let rotated_for = self.annotation(encryption::ROTATED_FOR).unwrap_or_default();
        Keys::read(&self.text(encryption::FILE).unwrap_or_default(), rotated_for)
    }

    fn annotation(&self, key: &str) -> Option<&str> {
        self.0.get("metadata")?.get("annotations")?.get(key)?.as_str()
    }
}

async fn read(plane: &ManagementPlane, raw: &Raw, name: &str) -> Result<Option<Found>, Error> {
    let path = build::secret(plane, name, json!({}), json!({})).path();
    Ok(raw::optional(raw.get(&path).await)?.map(Found))
}

/// A pair as it is in its Secret.
struct Stored {
    pair: Option<Pair>,
    inputs: String,
}

impl Stored {
    /// The pair, if it was made for this and does not end soon; nor is one that was made while the clock was ahead, and
    /// has not begun.
    fn current(self, inputs: &str, before: Duration, now: jiff::Timestamp) -> Option<Pair> {
        let before = jiff::SignedDuration::try_from(before).ok()?;
        let pair = self.pair?;
        let (begin, _) = certificates::validity(pair.certificate.as_bytes())?;
        let lasts = pair.expires.checked_sub(before).ok()? > now;
        (self.inputs == inputs && begin <= now && lasts).then_some(pair)
    }
}

async fn stored(plane: &ManagementPlane, raw: &Raw, name: &str) -> Result<Option<Stored>, Error> {
    let Some(found) = read(plane, raw, name).await? else { return Ok(None) };
    let pair = || {
        Some(Pair {
            certificate: found.text("tls.crt")?,
            key: found.text("tls.key")?,
            expires: found.annotation(EXPIRATION_ANNOTATION)?.parse().ok()?,
        })
    };
    let inputs = found.annotation(INPUTS_ANNOTATION).unwrap_or_default().to_owned();
    Ok(Some(Stored { pair: pair(), inputs }))
}

/// 32 random bytes, as a line of base64.
pub fn random_line() -> Result<String, Error> {
    let mut secret = [0; 32];
    let random = rustls::crypto::ring::default_provider().secure_random;
    random.fill(&mut secret).map_err(|_| Error::Convert {
        what: "a secret",
        message: "the system gave no random bytes".into(),
    })?;
    Ok(format!("{}\n", STANDARD.encode(secret)))
}

/// Writes a new authority; that of the API server with the secrets that all its replicas share: from which the keys of
/// service account tokens derive, and with which Secrets are encrypted in the store.
async fn create(plane: &ManagementPlane, raw: &Raw, name: &str, made: &Authority) -> Result<(), Error> {
    let (mut data, mut annotations) = made.to_secret();
    if name == PKI_SECRET {
        // What was asked for before there was a key is not asked for now.
        annotations[encryption::ROTATED_FOR] = encryption::asked(plane).into();
        data["plane.key"] = random_line()?.into();
        data[encryption::FILE] = random_line()?.into();
    }
    // Like etcd's volumes it outlives the ManagementPlane: without it nobody could use the data they hold.
    let object = build::secret(plane, name, data, annotations).kept();
    // Never over one that is there.
    raw.post(&object.collection, &object.value).await?;
    Ok(())
}

/// Writes an authority that has changed, over what was read.
async fn save(plane: &ManagementPlane, raw: &Raw, name: &str, changed: &Authority) -> Result<(), Error> {
    let (data, annotations) = changed.to_secret();
    let path = build::secret(plane, name, json!({}), json!({})).path();
    let version = raw.get(&path).await?["metadata"]["resourceVersion"].clone();
    let patch = json!({
        "metadata": { "resourceVersion": version, "annotations": annotations },
        "stringData": data,
    });
    raw.merge(&path, &patch).await?;
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
