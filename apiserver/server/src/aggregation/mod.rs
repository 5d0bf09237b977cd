//! API aggregation: groups and versions of a control plane that another server answers, as its `APIService` objects say.
//!
//! ```text
//! /apis/<group>/<version>/** → find (the APIService) → proxy (the Service's endpoint, in the user's name)
//! /apis                      → discovery (what those servers have, beside our own)
//! availability               → the condition that says whether they answer
//! openapi                    → their OpenAPI documents, beside our own
//! ```
//!
//! An `APIService` may name a group and version that the server itself has: it is the other server's then.

pub mod availability;
mod discovery;
pub mod openapi;
mod proxy;
mod revoked;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kplane_auth::UserInfo;
use kplane_auth::pki::FrontProxy;
use kplane_egress::{ClientCertificate, Target, Tls};
use kplane_machinery::time::Time;
use kplane_machinery::{Status, object};
use kplane_registry::{ObjectKey, ResourceKey, Vcp, VcpId};
use serde_json::Value;

use crate::app::App;
use crate::discovery::{Group, Groups};
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
    /// The APIs that were seen, by control plane and the name of the `APIService`.
    seen: RwLock<HashSet<(VcpId, Arc<str>)>>,
}

impl Aggregator {
    /// With the authority that its certificates come from.
    pub fn new(front_proxy: FrontProxy) -> Self {
        Self { front_proxy, certificates: Mutex::default(), seen: RwLock::default() }
    }

    /// Notes that there is such an API, or none.
    fn note(&self, vcp: VcpId, name: &Arc<str>, there: bool) {
        let mut seen = self.seen.write().unwrap_or_else(PoisonError::into_inner);
        if there {
            seen.insert((vcp, name.clone()));
        } else if seen.remove(&(vcp, name.clone())) && seen.is_empty() {
            seen.shrink_to_fit();
        }
    }

    /// Whether another server may answer for any of a control plane's groups.
    fn any(&self, vcp: VcpId) -> bool {
        let seen = self.seen.read().unwrap_or_else(PoisonError::into_inner);
        seen.iter().any(|(of, _)| *of == vcp)
    }

    /// Whether another server may answer for a group and version.
    fn may_have(&self, vcp: VcpId, group: &str, version: &str) -> bool {
        let seen = self.seen.read().unwrap_or_else(PoisonError::into_inner);
        !seen.is_empty() && seen.contains(&(vcp, name_of(group, version)))
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
    /// It was seen to answer.
    available: bool,
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
            available: crate::custom::condition(value, "Available") == Some("True"),
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

/// The name of the `APIService` of a group and version.
fn name_of(group: &str, version: &str) -> Arc<str> {
    format!("{version}.{group}").into()
}

/// Whom servers are asked by for their OpenAPI documents.
fn openapi_user() -> UserInfo {
    UserInfo::new("system:aggregator", ["system:masters"])
}

/// Who answers a group and version that the server itself has, when that is another server. It is known of soon after it was
/// written, so that requests for groups that nobody took over cost nothing.
pub async fn find_over_own(cx: &Cx, group: &str, version: &str) -> Result<Option<Api>, Status> {
    if !cx.app.aggregator.may_have(cx.vcp.id, group, version) {
        return Ok(None);
    }
    find(cx, group, version).await
}

/// The groups that the server itself answers in the request's control plane.
pub async fn own_groups(cx: &Cx) -> Result<Arc<Groups>, Status> {
    let groups = cx.app.groups(&cx.vcp).await?;
    if !cx.app.aggregator.any(cx.vcp.id) {
        return Ok(groups);
    }
    let mut own = Groups::default();
    for group in &groups.0 {
        let mut versions = Vec::with_capacity(group.versions.len());
        for (version, resources) in &group.versions {
            if find_over_own(cx, &group.name, version).await?.is_none() {
                versions.push((version.clone(), resources.clone()));
            }
        }
        if !versions.is_empty() {
            own.0.push(Group { name: group.name.clone(), versions });
        }
    }
    Ok(Arc::new(own))
}

/// Who answers a group and version of the request's control plane, when that is another server.
pub async fn find(cx: &Cx, group: &str, version: &str) -> Result<Option<Api>, Status> {
    if group.is_empty() || version.is_empty() {
        return Ok(None);
    }
    let key = ObjectKey { resource: resource_key(), namespace: None, name: name_of(group, version) };
    match cx.app.registry.get(&cx.vcp, &key).await.map_err(failures::store)? {
        Some(stored) => Ok(Api::read(&stored.to_value().map_err(Status::internal)?)),
        None => Ok(None),
    }
}
