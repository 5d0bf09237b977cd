//! Whether the servers behind aggregated APIs answer: the condition `Available`.
//!
//! One loop follows the `APIService` objects of all control planes. It holds something only for those with a server behind
//! them, and asks those again from time to time; where nobody has such an object, nothing runs.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use kplane_kinds::ResourceDef;
use kplane_machinery::{GroupResource, Status, object};
use kplane_registry::{ObjectKey, Stored, Vcp, VcpId};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{Api, GROUP, PLURAL, discovery, resource_key};
use crate::app::App;
use crate::egress::service::Unresolved;
use crate::endpoints::cx::{Cx, Resource};
use crate::endpoints::managed::Tracking;
use crate::endpoints::reader::VcpReader;
use crate::endpoints::write::{self, Change, Preconditions};
use crate::endpoints::{failures, system};
use crate::follow;

/// How often one that answers is asked again.
const AVAILABLE: Duration = Duration::from_secs(30);
/// How often one is asked again that does not.
const UNAVAILABLE: Duration = Duration::from_secs(5);
/// How many are asked at once.
const AT_ONCE: usize = 16;

type Known = BTreeMap<(VcpId, Arc<str>), (Arc<Vcp>, Instant)>;

/// Runs until the server ends.
pub async fn run(app: Arc<App>) {
    follow::again(&app, "APIServices", || follow(&app)).await;
}

async fn follow(app: &Arc<App>) -> Result<(), Status> {
    let mut known = Known::new();
    let mut objects = follow::objects(app, resource_key());
    let mut asked = FuturesUnordered::new();
    loop {
        let now = Instant::now();
        let due: Vec<_> =
            known.iter().filter(|(_, (_, at))| *at <= now).map(|(key, _)| key.clone()).collect();
        for key in due.into_iter().take(AT_ONCE.saturating_sub(asked.len())) {
            if let Some((vcp, at)) = known.get_mut(&key) {
                // Not again before this has been answered.
                *at = now + Duration::from_secs(3600);
                let (app, vcp, name) = (app.clone(), vcp.clone(), key.1.clone());
                asked.push(async move {
                    let available = check(&app, &vcp, &name).await;
                    (key, available)
                });
            }
        }
        let next = known.values().map(|(_, at)| *at).min();
        let timer = async {
            match next {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            seen = objects.next() => match seen? {
                Some(seen) => note(app, &mut known, &seen.vcp, &seen.object, seen.gone())?,
                None => return Ok(()),
            },
            Some((key, available)) = asked.next(), if !asked.is_empty() => {
                let available = match available {
                    Ok(Some(available)) => available,
                    // It is gone, or its control plane is.
                    Ok(None) => {
                        app.aggregator.note(key.0, &key.1, false);
                        known.remove(&key);
                        continue;
                    }
                    Err(status) => {
                        tracing::debug!(name = %key.1, %status, "an APIService could not be looked at");
                        false
                    }
                };
                if let Some((_, at)) = known.get_mut(&key) {
                    *at = (*at).min(Instant::now() + if available { AVAILABLE } else { UNAVAILABLE });
                }
            },
            () = timer, if asked.len() < AT_ONCE => {}
        }
    }
}

/// Remembers an object that has a server behind it, to be asked at once; forgets others.
fn note(app: &App, known: &mut Known, vcp: &Arc<Vcp>, stored: &Stored, gone: bool) -> Result<(), Status> {
    let value = stored.to_value().map_err(Status::internal)?;
    let key = (vcp.id, Arc::from(stored.name()));
    let there = !gone && Api::read(&value).is_some();
    app.aggregator.note(key.0, &key.1, there);
    if !there {
        known.remove(&key);
        return Ok(());
    }
    // A write of the status alone is our own.
    let observed = value["status"]["conditions"].as_array().is_some_and(|all| !all.is_empty());
    if !observed || !known.contains_key(&key) || asks_anew(&value) {
        known.insert(key, (vcp.clone(), Instant::now()));
    }
    Ok(())
}

/// Whether somebody else than this loop wrote it last.
fn asks_anew(value: &Value) -> bool {
    let managers = value["metadata"]["managedFields"].as_array();
    let last = managers.into_iter().flatten().max_by_key(|entry| object::str_at(entry, &["time"]).to_owned());
    last.is_none_or(|entry| object::str_at(entry, &["subresource"]) != "status")
}

/// Looks whether a server answers and says so; `None` when the object is gone.
async fn check(app: &Arc<App>, vcp: &Arc<Vcp>, name: &str) -> Result<Option<bool>, Status> {
    let key = ObjectKey { resource: resource_key(), namespace: None, name: name.into() };
    let stored = match app.registry.get(vcp, &key).await {
        Ok(stored) => stored,
        Err(kplane_registry::Error::VcpGone) => return Ok(None),
        Err(error) => return Err(failures::store(error)),
    };
    let Some(stored) = stored else { return Ok(None) };
    let value = stored.to_value().map_err(Status::internal)?;
    let Some(api) = Api::read(&value) else { return Ok(None) };
    let (status, reason, message) = look(app, vcp, &api).await;
    let conditions = value["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let was = conditions.iter().find(|condition| condition["type"] == "Available");
    let same = was.is_some_and(|was| {
        was["status"] == status && was["reason"] == reason && was["message"] == message.as_str()
    });
    if !same {
        say(app, vcp, &value, status, reason, &message).await?;
    }
    Ok(Some(status == "True"))
}

/// The condition, in upstream's words.
async fn look(app: &App, vcp: &Vcp, api: &Api) -> (&'static str, &'static str, String) {
    let named = format!("service/{} in {:?}", api.service, api.namespace);
    match api.target(app, vcp).await {
        Err(Unresolved::NoService(_)) => {
            return ("False", "ServiceNotFound", format!("{named} is not present"));
        }
        Err(Unresolved::NoPort(_)) => {
            let message = format!("{named} is not listening on port {}", api.port);
            return ("False", "ServicePortError", message);
        }
        Err(Unresolved::NoEndpoints(_)) => {
            let reader = VcpReader::new(app, vcp);
            let endpoints = GroupResource::new("", "endpoints");
            let known =
                kplane_admission::Reader::get(&reader, &endpoints, &api.namespace, &api.service).await;
            return match known {
                Ok(Some(_)) => {
                    let message = format!("endpoints for {named} have no addresses");
                    ("False", "MissingEndpoints", message)
                }
                Ok(None) => ("False", "EndpointsNotFound", format!("cannot find endpoints for {named}")),
                Err(status) => {
                    let message = format!("{named} cannot be accessed due to: {}", status.message);
                    ("Unknown", "EndpointsAccessError", message)
                }
            };
        }
        Err(Unresolved::Unknown(why)) => {
            let message = format!("{named} cannot be accessed due to: {why}");
            return ("Unknown", "ServiceAccessError", message);
        }
        Ok(_) => {}
    }
    match discovery::resources(app, vcp, api).await {
        Ok(_) => ("True", "Passed", "all checks passed".to_owned()),
        Err(why) => ("False", "FailedDiscoveryCheck", why),
    }
}

fn definition(app: &App) -> Result<Arc<ResourceDef>, Status> {
    let def = app.kinds.get(GROUP, PLURAL);
    def.cloned().ok_or_else(|| Status::internal("the kind APIService is missing from the table"))
}

async fn say(
    app: &Arc<App>,
    vcp: &Arc<Vcp>,
    value: &Value,
    status: &str,
    reason: &str,
    message: &str,
) -> Result<(), Status> {
    let def = definition(app)?;
    let resource = Resource { version: def.storage_version.clone(), def };
    let name = object::name(value);
    let cx = Cx::system(app, vcp, "", name);
    let change = Change {
        name,
        subresource: Some("status"),
        create: false,
        preconditions: Preconditions { uid: Some(object::uid(value).to_owned()), resource_version: None },
        tracking: Tracking::update("kube-apiserver", Some("status")),
        operation: kplane_admission::Operation::Update,
    };
    let condition = json!({
        "type": "Available", "status": status, "reason": reason, "message": message,
        "lastTransitionTime": system::now(),
    });
    let written = write::update(&cx, &resource, change, |old| {
        let mut new = old.cloned().ok_or_else(|| Status::not_found(&resource.group_resource(), name))?;
        system::set_condition(&mut new, condition.clone());
        Ok(new)
    });
    match written.await {
        Ok(_) => Ok(()),
        Err(status) if status.code == 404 => Ok(()),
        Err(status) => Err(status),
    }
}
