//! API aggregation: groups and versions of a control plane that another server answers, as its `APIService` objects say.
//!
//! ```text
//! /apis/<group>/<version>/** → find (the APIService) → proxy (the Service's endpoint, in the user's name)
//! /apis                      → discovery (what those servers have, beside our own)
//! availability               → the condition that says whether they answer
//! ```
//!
//! The kinds that the server itself has come first; an `APIService` cannot take one of them over.

pub mod availability;
mod discovery;
mod proxy;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kplane_auth::pki::FrontProxy;
use kplane_egress::{ClientCertificate, Target, Tls};
use kplane_machinery::time::Time;
use kplane_machinery::{Status, object};
use kplane_registry::{ObjectKey, ResourceKey, Vcp, VcpId};
use serde_json::Value;

use crate::app::App;
use crate::egress::service::Unresolved;
use crate::endpoints::cx::Cx;
use crate::endpoints::failures;

pub use discovery::{merge_aggregated, merge_group, merge_groups};
pub use proxy::proxy;

/// The group of `APIService`.
const GROUP: &str = "apiregistration.k8s.io";
/// Its plural.
const PLURAL: &str = "apiservices";
/// How long a certificate is good that requests are proxied with, and how long before that a new one is made.
const CERTIFICATE_LIFE: Duration = Duration::from_secs(30 * 24 * 3600);
const CERTIFICATE_RENEWAL: i64 = 7 * 24 * 3600;
/// How many certificates are remembered.
const REMEMBERED: usize = 256;

fn resource_key() -> ResourceKey {
    ResourceKey::new(GROUP, PLURAL)
}

/// What speaks for control planes to the servers behind their APIs.
pub struct Aggregator {
    front_proxy: FrontProxy,
    /// Those made lately, with the time until which they are used.
    certificates: Mutex<HashMap<VcpId, (i64, ClientCertificate)>>,
}

impl Aggregator {
    /// With the authority that its certificates come from.
    pub fn new(front_proxy: FrontProxy) -> Self {
        Self { front_proxy, certificates: Mutex::default() }
    }

    /// What a control plane's requests are proxied with.
    fn certificate(&self, vcp: &Vcp) -> Result<ClientCertificate, Status> {
        let now = Time::now().unix();
        let mut certificates = self.certificates.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((until, certificate)) = certificates.get(&vcp.id)
            && *until > now
        {
            return Ok(certificate.clone());
        }
        let issued = self.front_proxy.issue(&vcp.uid(), CERTIFICATE_LIFE, now).map_err(Status::internal)?;
        let certificate = ClientCertificate {
            certificate: issued.certificate.into_bytes().into(),
            key: issued.key.into_bytes().into(),
        };
        if certificates.len() >= REMEMBERED {
            certificates.clear();
        }
        let life = i64::try_from(CERTIFICATE_LIFE.as_secs()).unwrap_or(0);
        certificates.insert(vcp.id, (now + life - CERTIFICATE_RENEWAL, certificate.clone()));
        Ok(certificate)
    }
}

/// A group and version that another server answers.
#[derive(Clone, Debug)]
pub struct Api {
    group: String,
    version: String,
    namespace: String,
    service: String,
    port: u16,
    ca_bundle: Arc<[u8]>,
    insecure: bool,
    group_priority: i64,
    version_priority: i64,
}

impl Api {
    /// Reads an `APIService`; `None` for one that this server answers itself.
    fn read(value: &Value) -> Option<Self> {
        let spec = &value["spec"];
        let service = spec.get("service").filter(|service| service.is_object())?;
        let text = |field: &str| object::str_at(spec, &[field]).to_owned();
        Some(Self {
            group: text("group"),
            version: text("version"),
            namespace: object::str_at(service, &["namespace"]).to_owned(),
            service: object::str_at(service, &["name"]).to_owned(),
            port: service["port"].as_u64().and_then(|port| u16::try_from(port).ok()).unwrap_or(443),
            // One that is no base64 was refused when it was written; without one nothing is verified by accident.
            ca_bundle: STANDARD.decode(text("caBundle")).unwrap_or_else(|_| b"invalid".to_vec()).into(),
            insecure: spec["insecureSkipTLSVerify"] == true,
            group_priority: spec["groupPriorityMinimum"].as_i64().unwrap_or(0),
            version_priority: spec["versionPriority"].as_i64().unwrap_or(0),
        })
    }

    /// The path of its discovery document.
    fn path(&self) -> String {
        format!("/apis/{}/{}", self.group, self.version)
    }

    /// Where it is, and the host that requests name.
    async fn target(&self, app: &App, vcp: &Vcp) -> Result<(Target, Option<String>), Unresolved> {
        let client = app.aggregator.certificate(vcp).map_err(|status| Unresolved::Unknown(status.message))?;
        let tls = Tls {
            ca_bundle: self.ca_bundle.clone(),
            insecure: self.insecure,
            client: Some(client),
            ..Tls::default()
        };
        app.service_target(vcp, &self.namespace, &self.service, self.port, tls).await
    }
}

/// Who answers a group and version of the request's control plane, when that is another server.
pub async fn find(cx: &Cx, group: &str, version: &str) -> Result<Option<Api>, Status> {
    if group.is_empty() || version.is_empty() {
        return Ok(None);
    }
    let key =
        ObjectKey { resource: resource_key(), namespace: None, name: format!("{version}.{group}").into() };
    match cx.app.registry.get(&cx.vcp, &key).await.map_err(failures::store)? {
        Some(stored) => Ok(Api::read(&stored.to_value().map_err(Status::internal)?)),
        None => Ok(None),
    }
}
