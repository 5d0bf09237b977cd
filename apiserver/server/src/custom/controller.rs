//! What happens to a CustomResourceDefinition after it is written, in whichever control plane: its names are accepted or
//! refused, it is established, and when it is deleted its objects go first.
//!
//! One loop over all control planes; it holds nothing for those where nothing changes.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kplane_machinery::{Status, object};
use kplane_registry::{EventKind, ListRequest, ObjectKey, ResourceKey, Stored, Vcp, VcpId};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::compile::condition;
use super::names::{approval, judge};
use super::{Fact, compile, resource_key};
use crate::app::App;
use crate::endpoints::cx::{Cx, Resource};
use crate::endpoints::delete::{self, DeleteOptions};
use crate::endpoints::managed::Tracking;
use crate::endpoints::write::{self, Change, Preconditions};
use crate::endpoints::{failures, system};
use crate::follow;

const CLEANUP: &str = "customresourcecleanup.apiextensions.k8s.io";
/// How long to wait at first before a definition is tried again.
const BACKOFF: Duration = Duration::from_secs(1);
const BACKOFF_MOST: Duration = Duration::from_secs(5);
/// As many definitions are deleted at once.
const DELETIONS: usize = 8;
/// How often unused kinds are looked for.
const SWEEP: Duration = Duration::from_secs(30);
/// How many objects of a kind that goes are deleted at once.
const INSTANCES: usize = 500;
const CONFORMANT: &str = "KubernetesAPIApprovalPolicyConformant";

/// Runs until the server ends.
pub async fn run(app: Arc<App>) {
    let deletions = Deletions::new();
    follow::again(&app, "the definitions of custom resources", || follow(&app, &deletions)).await;
}

/// Every definition that is there, then every change.
async fn follow(app: &Arc<App>, deletions: &Arc<Deletions>) -> Result<(), Status> {
    let mut objects = follow::objects(app, resource_key());
    let mut sweep = tokio::time::interval(SWEEP);
    loop {
        let seen = tokio::select! {
            _ = sweep.tick() => {
                app.definitions.sweep();
                continue;
            }
            seen = objects.next() => match seen? {
                Some(seen) => seen,
                None => return Ok(()),
            },
        };
        if !seen.gone() {
            settle(app, deletions, &seen.vcp, &seen.object).await;
        }
        if !matches!(seen.change, None | Some(EventKind::Added)) {
            settle_others(app, &seen.vcp, &seen.object).await;
        }
    }
}

/// Brings one definition to where it should be; a failure is told and tried again.
async fn settle(app: &Arc<App>, deletions: &Arc<Deletions>, vcp: &Arc<Vcp>, stored: &Stored) {
    let Ok(crd) = stored.to_value() else { return };
    let name = object::name(&crd);
    if crd["metadata"].get("deletionTimestamp").is_some() {
        return deletions.begin(app, vcp, name);
    }
    if !needs_settling(&crd) {
        return;
    }
    if let Err(status) = establish(app, vcp, name).await
        && status.code != 404
    {
        tracing::warn!(vcp = %vcp.name, name, %status, "a definition could not be settled; trying again");
        let (app, vcp, name) = (app.clone(), vcp.clone(), name.to_owned());
        tokio::spawn(async move {
            let mut wait = BACKOFF;
            loop {
                tokio::select! {
                    () = app.shutdown.cancelled() => return,
                    () = tokio::time::sleep(wait) => {}
                }
                match establish(&app, &vcp, &name).await {
                    Err(status) if status.code != 404 => wait = (wait * 2).min(BACKOFF_MOST),
                    _ => return,
                }
            }
        });
    }
}

/// The definitions that are being deleted, each by one task, a few at a time: one with many objects keeps nobody else's
/// waiting.
struct Deletions {
    running: Mutex<HashSet<(VcpId, Arc<str>)>>,
    permits: Semaphore,
}

impl Deletions {
    fn new() -> Arc<Self> {
        Arc::new(Self { running: Mutex::default(), permits: Semaphore::new(DELETIONS) })
    }

    fn running(&self) -> MutexGuard<'_, HashSet<(VcpId, Arc<str>)>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(self: &Arc<Self>, app: &Arc<App>, vcp: &Arc<Vcp>, name: &str) {
        let id = (vcp.id, Arc::<str>::from(name));
        if !self.running().insert(id.clone()) {
            return;
        }
        let (deletions, app, vcp) = (self.clone(), app.clone(), vcp.clone());
        tokio::spawn(async move {
            let mut wait = BACKOFF;
            while let Err(status) = deletions.step(&app, &vcp, &id.1).await {
                if status.code == 404 {
                    break;
                }
                tracing::debug!(vcp = %vcp.name, name = %id.1, %status, "a definition cannot go yet");
                tokio::select! {
                    () = app.shutdown.cancelled() => break,
                    () = tokio::time::sleep(wait) => {}
                }
                wait = (wait * 2).min(BACKOFF_MOST);
            }
            deletions.running().remove(&id);
        });
    }

    async fn step(&self, app: &Arc<App>, vcp: &Arc<Vcp>, name: &str) -> Result<(), Status> {
        let _permit = self.permits.acquire().await.map_err(Status::internal)?;
        let key = ObjectKey { resource: resource_key(), namespace: None, name: name.into() };
        match app.registry.get(vcp, &key).await.map_err(failures::store)? {
            Some(stored) => clean_up(app, vcp, &stored.to_value().map_err(Status::internal)?).await,
            None => Ok(()),
        }
    }
}

fn needs_settling(crd: &Value) -> bool {
    let approved = approval(crd).map(|(status, reason, _)| (status, reason));
    let known = find(crd, CONFORMANT).map(|c| (c["status"].as_str(), c["reason"].as_str()));
    condition(crd, "NamesAccepted") != Some("True")
        || condition(crd, "Established") != Some("True")
        || crd["status"]["acceptedNames"] != crd["spec"]["names"]
        || known != approved.map(|(status, reason)| (Some(status), Some(reason)))
}

/// The resource of definitions, and a request of the server's own for one of them.
pub fn system_request(app: &Arc<App>, vcp: &Arc<Vcp>, name: &str) -> Result<(Cx, Resource), Status> {
    let def = app
        .kinds
        .get("apiextensions.k8s.io", "customresourcedefinitions")
        .ok_or_else(|| Status::internal("the kind CustomResourceDefinition is missing from the table"))?;
    let resource = Resource { def: def.clone(), version: "v1".into() };
    Ok((Cx::system(app, vcp, "", name), resource))
}

/// Accepts or refuses the names of a definition, and establishes it (`NamingConditionController`,
/// `EstablishingController`).
pub async fn establish(app: &Arc<App>, vcp: &Arc<Vcp>, name: &str) -> Result<(), Status> {
    let (cx, resource) = system_request(app, vcp, name)?;
    let _naming = app.definitions.naming(vcp.id).await;
    let key = ObjectKey { resource: resource_key(), namespace: None, name: name.into() };
    let Some(stored) = app.registry.get(vcp, &key).await.map_err(failures::store)? else { return Ok(()) };
    let group =
        stored.to_value().map_err(Status::internal)?["spec"]["group"].as_str().unwrap_or("").to_owned();
    let facts = app.definitions.of_group(&app.registry, vcp, &group).await?;
    let others = || facts.iter().map(|fact| &**fact).filter(|fact| *fact.name != *name);
    change(&cx, &resource, name, Some("status"), |crd| accept(crd, others(), &system::now())).await
}

/// Changes a definition in the server's own name.
async fn change(
    cx: &Cx,
    resource: &Resource,
    name: &str,
    subresource: Option<&str>,
    make: impl Fn(&mut Value) -> Result<(), Status> + Sync,
) -> Result<(), Status> {
    let change = Change {
        name,
        subresource,
        create: false,
        preconditions: Preconditions::default(),
        tracking: Tracking::update("kube-apiserver", subresource),
        operation: kplane_admission::Operation::Update,
    };
    write::update(cx, resource, change, |old| {
        let mut crd = old.cloned().ok_or_else(|| Status::not_found(&resource.group_resource(), name))?;
        make(&mut crd)?;
        Ok(crd)
    })
    .await
    .map(|_| ())
}

/// Says of a definition which of its names it has, beside those of `others` of its group, and whether it is established.
pub fn accept<'a>(
    crd: &mut Value,
    others: impl Iterator<Item = &'a Fact> + Clone,
    now: &str,
) -> Result<(), Status> {
    let verdict = judge(crd, others)?;
    if let Some(status) = crd["status"].as_object_mut() {
        status.insert("acceptedNames".into(), verdict.accepted);
    }
    match &verdict.conflict {
        None => set(crd, "NamesAccepted", "True", "NoConflicts", "no conflicts found", now),
        Some((reason, message)) => set(crd, "NamesAccepted", "False", reason, message, now),
    }
    // Once established it stays so: only new names may be refused.
    if condition(crd, "Established") != Some("True") {
        if verdict.conflict.is_none() && !converter_is_trusted(crd) {
            let message = "The conversion webhook CABundle is invalid";
            set(crd, "Established", "False", "InvalidCABundle", message, now);
        } else if verdict.conflict.is_none() {
            let message = "the initial names have been accepted";
            set(crd, "Established", "True", "InitialNamesAccepted", message, now);
        } else {
            set(crd, "Established", "False", "NotAccepted", "not all names are accepted", now);
        }
    }
    if let Some((status, reason, message)) = approval(crd) {
        set(crd, CONFORMANT, status, reason, &message, now);
    }
    Ok(())
}

/// Whether there is anybody whom the bundle of the webhook that converts trusts.
fn converter_is_trusted(crd: &Value) -> bool {
    let bundle = crd.pointer("/spec/conversion/webhook/clientConfig/caBundle").and_then(Value::as_str);
    let bundle = STANDARD.decode(bundle.unwrap_or("")).unwrap_or_default();
    kplane_kinds::ca_bundle::fault(&bundle).is_none()
}

/// Settles a definition that was just created, before its creator is answered: what it asks for next is most often the kind.
/// The loop does it too, for what a replica that ended left behind.
pub async fn created(cx: &Cx, resource: &Resource, object: &Value) {
    let key = resource_key();
    if *resource.def.group != *key.group || *resource.def.plural != *key.resource {
        return;
    }
    // Boxed: a write of the status is a write like any other.
    let established = Box::pin(establish(&cx.app, &cx.vcp, object::name(object))).await;
    if let Err(status) = established {
        tracing::debug!(%status, name = object::name(object), "a definition is left to the loop");
    }
}

fn find<'a>(crd: &'a Value, name: &str) -> Option<&'a Value> {
    crd["status"]["conditions"].as_array()?.iter().find(|c| c["type"] == name)
}

/// Sets a condition; one that stays what it was keeps its time.
fn set(crd: &mut Value, name: &str, status: &str, reason: &str, message: &str, now: &str) {
    let since = find(crd, name)
        .filter(|c| c["status"] == status)
        .and_then(|c| c["lastTransitionTime"].as_str())
        .unwrap_or(now)
        .to_owned();
    let condition = json!({
        "type": name, "status": status, "reason": reason, "message": message, "lastTransitionTime": since,
    });
    system::set_condition(crd, condition);
}

/// When a definition goes or lets go of names, those of its group that wait for names may have them.
async fn settle_others(app: &Arc<App>, vcp: &Arc<Vcp>, stored: &Stored) {
    let Ok(crd) = stored.to_value() else { return };
    let group = crd["spec"]["group"].as_str().unwrap_or("");
    let waiting = match app.definitions.of_group(&app.registry, vcp, group).await {
        Ok(facts) => facts,
        Err(status) if status.code == 404 => return,
        Err(status) => return tracing::warn!(vcp = %vcp.name, %status, "definitions could not be read"),
    };
    for fact in waiting.iter().filter(|fact| !fact.settled && *fact.name != *stored.name()) {
        if let Err(status) = establish(app, vcp, &fact.name).await {
            tracing::warn!(vcp = %vcp.name, name = %fact.name, %status, "a definition could not be settled");
        }
    }
}

/// Deletes the objects of a definition that is being deleted, then lets it go (`CRDFinalizer`).
async fn clean_up(app: &Arc<App>, vcp: &Arc<Vcp>, crd: &Value) -> Result<(), Status> {
    let finalizers = crd["metadata"]["finalizers"].as_array().cloned().unwrap_or_default();
    if !finalizers.iter().any(|f| f == CLEANUP) {
        return Ok(());
    }
    let name = object::name(crd).to_owned();
    // A kind that was never established has no objects.
    if super::is_established(crd) {
        let held = delete_instances(app, vcp, crd).await?;
        if held > 0 {
            terminating(app, vcp, &name, &IN_PROGRESS).await?;
            return Err(Status::unavailable(format!("{held} instances still have finalizers")));
        }
        terminating(app, vcp, &name, &COMPLETED).await?;
    }
    let (cx, resource) = system_request(app, vcp, &name)?;
    change(&cx, &resource, &name, None, |crd| {
        let kept: Vec<Value> = crd["metadata"]["finalizers"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|f| *f != CLEANUP)
            .cloned()
            .collect();
        object::set_meta(crd, "finalizers", (!kept.is_empty()).then(|| kept.into()));
        Ok(())
    })
    .await
}

/// What is said of a deletion: the status, reason and message of `Terminating`.
type Stage = (&'static str, &'static str, &'static str);
const IN_PROGRESS: Stage = ("True", "InstanceDeletionInProgress", "CustomResource deletion is in progress");
const COMPLETED: Stage = ("False", "InstanceDeletionCompleted", "removed all instances");

async fn terminating(app: &Arc<App>, vcp: &Arc<Vcp>, name: &str, stage: &Stage) -> Result<(), Status> {
    let (cx, resource) = system_request(app, vcp, name)?;
    change(&cx, &resource, name, Some("status"), |crd| {
        set(crd, "Terminating", stage.0, stage.1, stage.2, &system::now());
        Ok(())
    })
    .await
}

/// Deletes the objects of a kind, a page at a time, and counts those that something holds.
async fn delete_instances(app: &Arc<App>, vcp: &Arc<Vcp>, crd: &Value) -> Result<usize, Status> {
    let def = Arc::new(compile(crd)?);
    let resource = Resource { version: def.storage_version.clone(), def };
    let key = ResourceKey::new(resource.def.group.clone(), resource.def.plural.clone());
    let mut request = ListRequest { limit: Some(INSTANCES), ..ListRequest::default() };
    let mut held = 0;
    loop {
        let page = app.registry.list(vcp, &key, request.clone()).await.map_err(failures::store)?;
        for stored in &page.items {
            let namespace = stored.namespace().unwrap_or("").to_owned();
            let cx = Cx::system(app, vcp, &namespace, stored.name());
            let options = DeleteOptions::default();
            match delete::delete_object(&cx, &resource, stored.name(), &namespace, &options).await {
                Ok(deleted) if deleted.gone => {}
                Ok(_) => held += 1,
                Err(status) if status.code == 404 => {}
                Err(status) => return Err(status),
            }
        }
        match page.next {
            Some(next) => request.after = Some(next),
            None => return Ok(held),
        }
    }
}
