//! What happens to a CustomResourceDefinition after it is written, in whichever control plane: its names are accepted or
//! refused, it is established, and when it is deleted its objects go first.
//!
//! One loop over all control planes; it holds nothing for those where nothing changes.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use kplane_machinery::{Status, object};
use kplane_registry::{
    AcrossEvent, AcrossRequest, EventKind, ListRequest, ObjectKey, ResourceKey, Stored, Vcp,
};
use serde_json::{Value, json};

use super::compile::condition;
use super::{compile, resource_key};
use crate::app::App;
use crate::endpoints::cx::{Cx, Resource};
use crate::endpoints::delete::{self, DeleteOptions};
use crate::endpoints::managed::Tracking;
use crate::endpoints::write::{self, Change, Preconditions};
use crate::endpoints::{failures, objects, system};

const CLEANUP: &str = "customresourcecleanup.apiextensions.k8s.io";
/// How long to wait before the loop begins again after a failure.
const BACKOFF: Duration = Duration::from_secs(1);

/// Runs until the server ends.
pub async fn run(app: Arc<App>) {
    while !app.shutdown.is_cancelled() {
        if let Err(status) = follow(&app).await {
            tracing::warn!(%status, "the definitions of custom resources could not be followed; trying again");
        }
        tokio::select! {
            () = app.shutdown.cancelled() => {}
            () = tokio::time::sleep(BACKOFF) => {}
        }
    }
}

/// Every definition that is there, then every change.
async fn follow(app: &Arc<App>) -> Result<(), Status> {
    let key = resource_key();
    let mut request = AcrossRequest::default();
    let revision = loop {
        let page = app.registry.list_all(Some(&key), request.clone()).await.map_err(failures::store)?;
        for item in &page.items {
            settle(app, &item.vcp, &item.object).await;
        }
        match page.next {
            Some(next) => {
                request.after = Some(next);
                request.revision = Some(page.revision);
            }
            None => break page.revision,
        }
    };
    let changes = app.registry.watch_all(Some(&key), Some(revision)).await.map_err(failures::store)?;
    futures::pin_mut!(changes);
    loop {
        let change = tokio::select! {
            () = app.shutdown.cancelled() => return Ok(()),
            change = changes.next() => match change {
                Some(change) => change.map_err(failures::store)?,
                None => return Ok(()),
            },
        };
        if let AcrossEvent::Event { kind: EventKind::Added | EventKind::Modified, vcp, object, .. } = change {
            settle(app, &vcp, &object).await;
        }
    }
}

/// Brings one definition to where it should be; a failure is told and tried again at the next change.
async fn settle(app: &Arc<App>, vcp: &Arc<Vcp>, stored: &Stored) {
    let Ok(crd) = stored.to_value() else { return };
    let result = if crd["metadata"].get("deletionTimestamp").is_some() {
        clean_up(app, vcp, &crd).await
    } else if needs_settling(&crd) {
        establish(app, vcp, object::name(&crd)).await
    } else {
        Ok(())
    };
    if let Err(status) = result
        && status.code != 404
    {
        tracing::warn!(vcp = %vcp.name, name = stored.name(), %status, "a definition could not be settled; trying again");
        let (app, vcp, stored) = (app.clone(), vcp.clone(), stored.clone());
        // Boxed: a retry contains the next.
        tokio::spawn(Box::pin(async move {
            tokio::time::sleep(BACKOFF).await;
            let key = ObjectKey { resource: resource_key(), namespace: None, name: stored.name().into() };
            if let Ok(Some(now)) = app.registry.get(&vcp, &key).await {
                settle_again(&app, &vcp, &now).await;
            }
        }));
    }
}

fn settle_again<'a>(
    app: &'a Arc<App>,
    vcp: &'a Arc<Vcp>,
    stored: &'a Stored,
) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
    Box::pin(settle(app, vcp, stored))
}

fn needs_settling(crd: &Value) -> bool {
    condition(crd, "NamesAccepted") != Some("True")
        || condition(crd, "Established") != Some("True")
        || crd["status"]["acceptedNames"] != accepted(crd)
}

/// The names a definition asks for.
fn accepted(crd: &Value) -> Value {
    crd["spec"]["names"].clone()
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
    let page =
        app.registry.list(vcp, &resource_key(), ListRequest::default()).await.map_err(failures::store)?;
    let mut others = Vec::new();
    for stored in page.items.iter().filter(|stored| stored.name() != name) {
        others.push(stored.to_value().map_err(Status::internal)?);
    }
    let change = Change {
        name,
        subresource: Some("status"),
        create: false,
        preconditions: Preconditions::default(),
        tracking: Tracking::update("kube-apiserver", Some("status")),
        operation: kplane_admission::Operation::Update,
    };
    write::update(&cx, &resource, change, |old| {
        let mut crd = old.cloned().ok_or_else(|| Status::not_found(&resource.group_resource(), name))?;
        let conflict = names_taken(&crd, &others);
        let now = system::now();
        if conflict.is_none() {
            crd["status"]["acceptedNames"] = accepted(&crd);
        }
        let (status, reason, message) = match &conflict {
            None => ("True", "NoConflicts", "no conflicts found".to_owned()),
            Some((reason, message)) => ("False", *reason, message.clone()),
        };
        set(&mut crd, "NamesAccepted", status, reason, &message, &now);
        if conflict.is_none() {
            let message = "the initial names have been accepted";
            set(&mut crd, "Established", "True", "InitialNamesAccepted", message, &now);
        } else if condition(&crd, "Established").is_none() {
            let message = "not all names are accepted";
            set(&mut crd, "Established", "False", "NotAccepted", message, &now);
        }
        Ok(crd)
    })
    .await
    .map(|_| ())
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

/// Sets a condition; one that stays what it was keeps its time.
fn set(crd: &mut Value, name: &str, status: &str, reason: &str, message: &str, now: &str) {
    let since = crd["status"]["conditions"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|c| c["type"] == name && c["status"] == status)
        .and_then(|c| c["lastTransitionTime"].as_str())
        .unwrap_or(now)
        .to_owned();
    let condition = json!({
        "type": name, "status": status, "reason": reason, "message": message, "lastTransitionTime": since,
    });
    system::set_condition(crd, condition);
}

/// The first of a definition's names that another of its group has: a reason and a message.
fn names_taken(crd: &Value, others: &[Value]) -> Option<(&'static str, String)> {
    let names = &crd["spec"]["names"];
    let text = |names: &Value, field: &str| names[field].as_str().unwrap_or("").to_owned();
    let same_group = || others.iter().filter(|other| other["spec"]["group"] == crd["spec"]["group"]);
    let resources = |other: &Value| -> Vec<String> {
        let accepted = &other["status"]["acceptedNames"];
        let mut all = vec![text(accepted, "plural"), text(accepted, "singular")];
        all.extend(
            accepted["shortNames"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .map(str::to_owned),
        );
        all
    };
    let taken: Vec<String> = same_group().flat_map(resources).filter(|n| !n.is_empty()).collect();
    let kinds: Vec<String> = same_group()
        .flat_map(|other| {
            let accepted = &other["status"]["acceptedNames"];
            [text(accepted, "kind"), text(accepted, "listKind")]
        })
        .filter(|n| !n.is_empty())
        .collect();
    let in_use = |name: &String| format!("{name:?} is already in use");
    let plural = text(names, "plural");
    if taken.contains(&plural) {
        return Some(("PluralConflict", in_use(&plural)));
    }
    let singular = text(names, "singular");
    if taken.contains(&singular) {
        return Some(("SingularConflict", in_use(&singular)));
    }
    for short in names["shortNames"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        if taken.iter().any(|t| t == short) {
            return Some(("ShortNamesConflict", in_use(&short.to_owned())));
        }
    }
    let kind = text(names, "kind");
    if kinds.contains(&kind) {
        return Some(("KindConflict", in_use(&kind)));
    }
    let list_kind = text(names, "listKind");
    if kinds.contains(&list_kind) {
        return Some(("ListKindConflict", in_use(&list_kind)));
    }
    None
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
        let def = Arc::new(compile(crd)?);
        let resource = Resource { version: def.storage_version.clone(), def };
        let key = ResourceKey::new(resource.def.group.clone(), resource.def.plural.clone());
        let page = app.registry.list(vcp, &key, ListRequest::default()).await.map_err(failures::store)?;
        let mut held = 0;
        for stored in &page.items {
            let namespace = stored.namespace().unwrap_or("").to_owned();
            let instance = objects::decode_storage(&resource, stored)?;
            let cx = Cx::system(app, vcp, &namespace, object::name(&instance));
            let options = DeleteOptions::default();
            match delete::delete_object(&cx, &resource, stored.name(), &namespace, &options).await {
                Ok(deleted) if deleted.gone => {}
                Ok(_) => held += 1,
                Err(status) if status.code == 404 => {}
                Err(status) => return Err(status),
            }
        }
        if held > 0 {
            return Err(Status::unavailable(format!("{held} instances still have finalizers")));
        }
    }
    let (cx, resource) = system_request(app, vcp, &name)?;
    let change = Change {
        name: &name,
        subresource: None,
        create: false,
        preconditions: Preconditions::default(),
        tracking: Tracking::update("kube-apiserver", None),
        operation: kplane_admission::Operation::Update,
    };
    write::update(&cx, &resource, change, |old| {
        let mut crd = old.cloned().ok_or_else(|| Status::not_found(&resource.group_resource(), &name))?;
        let kept: Vec<Value> = crd["metadata"]["finalizers"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|f| *f != CLEANUP)
            .cloned()
            .collect();
        object::set_meta(&mut crd, "finalizers", (!kept.is_empty()).then(|| kept.into()));
        Ok(crd)
    })
    .await
    .map(|_| ())
}
