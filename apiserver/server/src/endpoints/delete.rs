//! DELETE of one object and of a collection (`registry.Store.Delete`, `BeforeDelete`).

use http::StatusCode;
use kplane_admission as admission;
use kplane_kinds::Verbs;
use kplane_machinery::meta::{self, FOREGROUND_FINALIZER as FOREGROUND, ORPHAN_FINALIZER as ORPHAN};
use kplane_machinery::{Status, object};
use kplane_registry::{ListRequest, Stored, WriteError};
use serde_json::{Value, json};

use super::admitting::Admission;
use super::cx::{Cx, Resource};
use super::output;
use super::selectors::Selection;
use super::write::{Preconditions, set_version};
use super::{failures, system};
use crate::body::{self, Answer};
use crate::custom::conversion;

const MAX_ATTEMPTS: usize = 64;

/// `metav1.DeleteOptions`.
#[derive(Clone, Debug, Default)]
pub struct DeleteOptions {
    grace_period: Option<i64>,
    /// What must hold of the object.
    pub preconditions: Preconditions,
    orphan_dependents: Option<bool>,
    propagation: Option<String>,
    /// Nothing is to be stored.
    pub dry_run: bool,
}

impl DeleteOptions {
    /// Reads them from the body, or from the query when there is none: never from both.
    pub fn parse(cx: &Cx, body: Option<&Value>) -> Result<Self, Status> {
        let mut options = Self::default();
        let dry_run: Vec<String>;
        match body {
            Some(body) => {
                options.grace_period = body.get("gracePeriodSeconds").and_then(Value::as_i64);
                options.orphan_dependents = body.get("orphanDependents").and_then(Value::as_bool);
                options.propagation =
                    body.get("propagationPolicy").and_then(Value::as_str).map(str::to_owned);
                let text = |field| body.pointer(field).and_then(Value::as_str).map(str::to_owned);
                options.preconditions.uid = text("/preconditions/uid");
                options.preconditions.resource_version = text("/preconditions/resourceVersion");
                dry_run = dry_run_of(body).map(str::to_owned).collect();
            }
            None => {
                dry_run = super::decode::dry_run(cx);
                options.grace_period = match cx.query.get("gracePeriodSeconds").filter(|v| !v.is_empty()) {
                    None => None,
                    Some(text) => Some(text.parse().map_err(|_| {
                        Status::bad_request(format!("strconv.ParseInt: parsing {text:?}: invalid syntax"))
                    })?),
                };
                options.orphan_dependents =
                    cx.query.get("orphanDependents").map(|_| cx.query.flag("orphanDependents"));
                options.propagation =
                    cx.query.get("propagationPolicy").filter(|v| !v.is_empty()).map(str::to_owned);
            }
        }
        let errors = meta::validate_delete_options(
            options.orphan_dependents,
            options.propagation.as_deref(),
            &dry_run,
        );
        meta::invalid_options("DeleteOptions", &errors)?;
        options.dry_run = dry_run.iter().any(|stage| stage == "All");
        Ok(options)
    }

    /// As admission sees them.
    fn to_value(&self) -> Value {
        let mut value = json!({"kind": "DeleteOptions", "apiVersion": "meta.k8s.io/v1"});
        if self.dry_run {
            value["dryRun"] = json!(["All"]);
        }
        if let Some(seconds) = self.grace_period {
            value["gracePeriodSeconds"] = seconds.into();
        }
        if let Some(orphan) = self.orphan_dependents {
            value["orphanDependents"] = orphan.into();
        }
        if let Some(policy) = &self.propagation {
            value["propagationPolicy"] = policy.as_str().into();
        }
        for (field, given) in
            [("uid", &self.preconditions.uid), ("resourceVersion", &self.preconditions.resource_version)]
        {
            if let Some(given) = given {
                value["preconditions"][field] = given.as_str().into();
            }
        }
        value
    }

    /// The finalizers of an object once its deletion has begun (`deletionFinalizersForGarbageCollection`).
    fn finalizers(&self, resource: &Resource, object: &Value) -> Vec<String> {
        let present: Vec<&str> = finalizers_of(object).collect();
        let orphan = match (&self.propagation, self.orphan_dependents) {
            (Some(policy), _) => policy == "Orphan",
            (None, Some(orphan)) => orphan,
            (None, None) if present.contains(&ORPHAN) => true,
            (None, None) if present.contains(&FOREGROUND) => false,
            (None, None) => resource.def.strategy.orphan_by_default(),
        };
        let foreground = match &self.propagation {
            Some(policy) => policy == "Foreground",
            None if self.orphan_dependents.is_some() => false,
            None => !orphan && present.contains(&FOREGROUND),
        };
        let mut kept: Vec<String> =
            present.into_iter().filter(|f| *f != ORPHAN && *f != FOREGROUND).map(str::to_owned).collect();
        if orphan {
            kept.push(ORPHAN.into());
        }
        if foreground {
            kept.push(FOREGROUND.into());
        }
        kept
    }
}

/// The stages of processing that options ask to be left out.
pub fn dry_run_of(options: &Value) -> impl Iterator<Item = &str> {
    options["dryRun"].as_array().into_iter().flatten().filter_map(Value::as_str)
}

fn finalizers_of(object: &Value) -> impl Iterator<Item = &str> {
    object["metadata"]["finalizers"].as_array().into_iter().flatten().filter_map(Value::as_str)
}

/// What became of the object.
pub struct Deleted {
    /// As it was last.
    pub object: Value,
    /// True when it is gone; false when something still holds it.
    pub gone: bool,
}

/// Deletes one object, or marks it as being deleted while finalizers or a grace period hold it.
pub async fn delete_object(
    cx: &Cx,
    resource: &Resource,
    name: &str,
    namespace: &str,
    options: &DeleteOptions,
) -> Result<Deleted, Status> {
    let key = resource.object_key(namespace, name);
    let mut current = cx.app.registry.get(&cx.vcp, &key).await.map_err(failures::store)?;
    let admission = Admission::new(cx, resource, admission::Operation::Delete, "")
        .dry_run(options.dry_run)
        .with_options(options.to_value());
    for _ in 0..MAX_ATTEMPTS {
        let Some(stored) = current else {
            return Err(Status::not_found(&resource.group_resource(), name));
        };
        let old = conversion::decode(cx, resource, &stored).await?;
        options.preconditions.check(resource, &old)?;
        crate::tenancy::check_deletion(cx, resource, &old)?;
        let mut nothing = old.clone();
        admission.mutate(&mut nothing, Some(&old)).await?;
        admission.validate(&old, Some(&old)).await?;
        match delete_once(cx, resource, &stored, old, options, &key).await? {
            Ok(deleted) => return Ok(deleted),
            Err(now) => current = now,
        }
    }
    Err(Status::modified(&resource.group_resource(), name))
}

/// One attempt. The inner error is what another write left in the meantime.
async fn delete_once(
    cx: &Cx,
    resource: &Resource,
    stored: &Stored,
    old: Value,
    options: &DeleteOptions,
    key: &kplane_registry::ObjectKey,
) -> Result<Result<Deleted, Option<Stored>>, Status> {
    let name = object::name(&old).to_owned();
    let mut new = old.clone();
    let finalizers = options.finalizers(resource, &old);
    let same = finalizers.iter().map(String::as_str).eq(finalizers_of(&old));
    if !same {
        let list = (!finalizers.is_empty()).then(|| Value::from(finalizers.clone()));
        object::set_meta(&mut new, "finalizers", list);
    }
    let terminating = old["metadata"].get("deletionTimestamp").is_some();
    let grace = resource.def.strategy.grace_period(&old, options.grace_period);
    let remaining_grace = old["metadata"]["deletionGracePeriodSeconds"].as_i64();
    let graceful = if terminating {
        // A deletion under way can only be made shorter.
        match remaining_grace {
            Some(left) if left > 0 && options.grace_period.is_some_and(|asked| asked < left) => grace > 0,
            Some(left) if left > 0 => {
                return Ok(Ok(Deleted { object: old, gone: false }));
            }
            _ => false,
        }
    } else {
        grace > 0
    };
    let held = !finalizers.is_empty() || resource.def.strategy.holds_deletion(&old);
    if graceful || held {
        if !terminating || graceful {
            let seconds = if graceful { grace } else { 0 };
            let at = system::now_plus(seconds);
            object::set_meta(&mut new, "deletionTimestamp", Some(at.into()));
            // What finalization of the kind's own holds has no grace period.
            if !resource.def.strategy.holds_deletion(&old) {
                object::set_meta(&mut new, "deletionGracePeriodSeconds", Some(seconds.into()));
                system::next_generation(&mut new);
            }
        }
        resource.def.strategy.begin_deletion(&mut new);
        if new == old {
            return Ok(Ok(Deleted { object: old, gone: false }));
        }
        if options.dry_run {
            return Ok(Ok(Deleted { object: new, gone: false }));
        }
        let encoded = conversion::encode(cx, resource, &new).await?;
        let effects = crate::tenancy::effects_of_update(cx, resource, &new, &old).await?;
        return match cx
            .app
            .registry
            .update(&cx.vcp, key, stored, encoded, resource.def.time_to_live, effects)
            .await
        {
            Ok(stored) => {
                set_version(&mut new, &stored);
                Ok(Ok(Deleted { object: new, gone: false }))
            }
            Err(WriteError::Conflict(now)) => Ok(Err(now)),
            Err(error) => Err(failures::write(resource, &name, error)),
        };
    }
    let last = if resource.def.strategy.graceful() && !terminating {
        object::set_meta(&mut new, "deletionTimestamp", Some(system::now().into()));
        object::set_meta(&mut new, "deletionGracePeriodSeconds", Some(0.into()));
        system::next_generation(&mut new);
        new.clone()
    } else {
        old
    };
    if options.dry_run {
        return Ok(Ok(Deleted { object: last, gone: true }));
    }
    let effects = crate::tenancy::effects_of_delete(cx, resource, &new)?;
    let _place = cx.app.fairness.write_place(cx.vcp.id).await;
    match cx.app.registry.delete(&cx.vcp, key, stored, effects).await {
        Ok(_) => Ok(Ok(Deleted { object: last, gone: true })),
        Err(WriteError::Conflict(now)) => Ok(Err(now)),
        Err(error) => Err(failures::write(resource, &name, error)),
    }
}

/// Answers DELETE of one object.
pub async fn delete(cx: &Cx, resource: &Resource, body: Option<Value>) -> Result<Answer, Status> {
    require(resource, Verbs::DELETE)?;
    let options = DeleteOptions::parse(cx, body.as_ref())?;
    let chosen = options.propagation.is_some() || options.orphan_dependents.is_some();
    resource.def.strategy.delete_warnings(chosen).into_iter().for_each(|text| cx.warn(text));
    let deleted = delete_object(cx, resource, &cx.info.name, &cx.info.namespace, &options).await?;
    if deleted.gone && !resource.def.strategy.returns_deleted_object() {
        let mut details =
            json!({"name": cx.info.name, "kind": &*resource.def.plural, "uid": object::uid(&deleted.object)});
        if !resource.def.group.is_empty() {
            details["group"] = (&*resource.def.group).into();
        }
        let status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details,
        });
        return output::value(cx, StatusCode::OK, &status);
    }
    let accepted = !deleted.gone && options.orphan_dependents == Some(false);
    let code = if accepted { StatusCode::ACCEPTED } else { StatusCode::OK };
    output::object_value(cx, resource, code, &deleted.object)
}

/// Answers DELETE of a collection: each object that matches, and the list of them.
pub async fn delete_collection(cx: &Cx, resource: &Resource, body: Option<Value>) -> Result<Answer, Status> {
    require(resource, Verbs::DELETE_COLLECTION)?;
    let options = DeleteOptions::parse(cx, body.as_ref())?;
    let selection = Selection::parse(cx, resource)?;
    let list_options = super::list_options::ListOptions::parse(&cx.query, false)?;
    let mut request = ListRequest {
        namespace: super::list::namespace_of(cx, resource),
        name: selection.name.as_deref().map(Into::into),
        ..ListRequest::default()
    };
    if list_options.limit > 0 {
        request.limit = Some(list_options.limit as usize);
    }
    let page = cx.app.registry.list(&cx.vcp, &resource.key(), request).await.map_err(failures::store)?;
    let mut items = Vec::new();
    for stored in &crate::custom::conversion::show(cx, resource, page.items).await? {
        if !selection.matches(resource, stored)? {
            continue;
        }
        let namespace = stored.namespace().unwrap_or("");
        match delete_object(cx, resource, stored.name(), namespace, &options).await {
            Ok(deleted) => items.push(deleted.object),
            // Another deletion came first: it is gone, as asked.
            Err(status) if status.code == 404 => {}
            Err(status) => return Err(status),
        }
    }
    output::list_of_values(cx, resource, items, page.revision)
}

fn require(resource: &Resource, verb: Verbs) -> Result<(), Status> {
    if resource.def.verbs.contains(verb) { Ok(()) } else { Err(body::method_not_allowed()) }
}
