//! The one way an object is written: prepare, admit, validate, commit; and again when another write came between.

use kplane_admission as admission;
use kplane_auth::authz::Attributes;
use kplane_kinds::Context;
use kplane_machinery::managed::keep_times_if_unchanged;
use kplane_machinery::{Status, object};
use kplane_registry::{Effects, Stored, WriteError};
use serde_json::Value;

use super::admitting::Admission;
use super::cx::{Cx, Resource};
use super::managed::{self, Tracking};
use super::{charges, failures, objects, system};
use crate::custom::conversion;
use crate::filters::authorize;
use crate::heavy;

/// How often a write is tried again when others come between, before the client is told to.
pub const MAX_ATTEMPTS: usize = 64;
/// How often another name is generated when one is taken.
const MAX_GENERATED_NAMES: usize = 8;

/// What a write left behind.
pub struct Written {
    /// The object in the version of the request.
    pub object: Value,
    /// True when it did not exist before.
    pub created: bool,
    /// True when the write removed the object: its last finalizer went.
    pub deleted: bool,
}

/// What must hold of the object for a write to go on.
#[derive(Clone, Debug, Default)]
pub struct Preconditions {
    /// It has this uid.
    pub uid: Option<String>,
    /// It has this resourceVersion.
    pub resource_version: Option<String>,
}

impl Preconditions {
    /// 409 when the object is another or has changed.
    pub fn check(&self, resource: &Resource, object: &Value) -> Result<(), Status> {
        let name = object::name(object);
        let kind_as_resource = kplane_machinery::GroupResource {
            group: resource.def.group.clone(),
            resource: resource.def.kind.clone(),
        };
        if let Some(uid) = self.uid.as_deref().filter(|uid| *uid != object::uid(object)) {
            let why = format!(
                "the UID in the precondition ({uid}) does not match the UID in record ({}). The object might have been deleted and then recreated",
                object::uid(object)
            );
            return Err(Status::conflict(&kind_as_resource, name, why));
        }
        if let Some(version) = &self.resource_version
            && version != object::resource_version(object)
        {
            let why = format!(
                "the ResourceVersion in the precondition ({version}) does not match the ResourceVersion in record ({}). The object might have been modified",
                object::resource_version(object)
            );
            return Err(Status::conflict(&kind_as_resource, name, why));
        }
        Ok(())
    }
}

/// What hooks may know of this request.
pub fn context<'a>(
    cx: &'a Cx,
    resource: &'a Resource,
    now: &'a str,
    subresource: Option<&'a str>,
) -> Context<'a> {
    Context {
        def: &resource.def,
        version: &resource.version,
        namespace: &cx.info.namespace,
        subresource,
        now,
        user: &cx.user.username,
        groups: &cx.user.groups,
        uid: &cx.user.uid,
        extra: Some(&cx.user.extra),
    }
}

/// Creates an object that is decoded and defaulted.
pub async fn create(
    cx: &Cx,
    resource: &Resource,
    mut object: Value,
    tracking: Tracking<'_>,
) -> Result<Written, Status> {
    let now = system::now();
    let hook = context(cx, resource, &now, None);
    let strategy = &resource.def.strategy;
    let admission = Admission::new(cx, resource, admission::Operation::Create, "");

    if resource.def.namespaced() {
        object::set_meta(&mut object, "namespace", Some(cx.info.namespace.as_str().into()));
    }
    managed::track(cx, resource, None, &mut object, &tracking);
    admission.mutate(&mut object, None).await?;
    crate::rbac::confirm(cx, resource, &object, None).await?;

    let generated = object::name(&object).is_empty() && !object::meta_str(&object, "generateName").is_empty();
    let mut attempt = 0;
    loop {
        attempt += 1;
        let mut candidate = object.clone();
        system::fill_create(&mut candidate, resource, cx);
        // After the name and uid are known: a Job selects its pods by them.
        strategy.prepare_create(&hook, &mut candidate);
        cx.app.allocate(cx, resource, &mut candidate, None).await?;
        let mut errors = system::validate_create(resource, &candidate);
        let place = heavy::place_for(cx, resource, &candidate).await;
        errors.extend(strategy.validate_create(&hook, &candidate));
        drop(place);
        let name = object::name(&candidate).to_owned();
        if !errors.is_empty() {
            return Err(Status::invalid(&resource.def.group_kind(), &name, &errors));
        }
        for warning in strategy.warnings(&hook, &candidate, None) {
            cx.warn(warning);
        }
        strategy.canonicalize(&mut candidate);
        objects::normalise(resource, &mut candidate)?;
        admission.validate(&candidate, None).await?;
        let encoded = conversion::encode(cx, resource, &candidate).await?;
        system::check_size(&encoded)?;
        super::limits::check(cx, resource, &name, 1, encoded.len()).await?;
        let key = resource.object_key(&cx.info.namespace, &name);
        if cx.dry_run() {
            charges::of(cx, &admission, &candidate, None).await?;
            if cx.app.registry.get(&cx.vcp, &key).await.map_err(failures::store)?.is_some() {
                return Err(Status::already_exists(&resource.group_resource(), &name));
            }
            // What would be refused is refused here, too.
            crate::tenancy::effects_of_create(cx, resource, &candidate).await?;
            object::set_meta(&mut candidate, "resourceVersion", None);
            return Ok(Written { object: candidate, created: true, deleted: false });
        }
        // Where upstream's store finds out: after everybody had a say, and not in a dry run.
        if !matches!(object::meta_str(&object, "resourceVersion"), "" | "0") {
            return Err(Status::plain("resourceVersion should not be set on objects to be created"));
        }
        let mut ticket = None;
        let mut conflicts = 0;
        let outcome = loop {
            let charged = charges::of(cx, &admission, &candidate, None).await?;
            let charges = !charged.ops.is_empty();
            let effects = crate::tenancy::effects_of_create(cx, resource, &candidate).await?.and(charged);
            let (object, ttl) = (encoded.clone(), resource.def.time_to_live);
            let place = cx.app.fairness.write_place(cx.vcp.id).await;
            let created = cx.app.registry.create(&cx.vcp, &key, object, ttl, effects).await;
            // Whoever has a turn of the queue needs a place: it is not kept while waiting for a turn.
            drop(place);
            match created {
                // Another write charged the same quota. From now on they take turns.
                Err(WriteError::Conflict(_)) if charges && conflicts < MAX_ATTEMPTS => {
                    conflicts += 1;
                    if ticket.is_none() {
                        ticket = Some(cx.app.quota_queues.enter(cx.vcp.id, &cx.info.namespace).await);
                    }
                }
                Err(WriteError::Conflict(_)) if charges => return Err(charges::too_many(&name)),
                outcome => break outcome,
            }
        };
        match outcome {
            Ok(stored) => {
                let mut object = candidate;
                set_version(&mut object, &stored);
                crate::custom::controller::created(cx, resource, &object).await;
                return Ok(Written { object, created: true, deleted: false });
            }
            Err(WriteError::AlreadyExists) if generated && attempt < MAX_GENERATED_NAMES => {}
            Err(WriteError::AlreadyExists) => {
                return Err(if generated {
                    failures::name_not_found(&resource.group_resource(), &name)
                } else {
                    Status::already_exists(&resource.group_resource(), &name)
                });
            }
            Err(error) => return Err(failures::write(resource, &name, error)),
        }
    }
}

/// A change to an object, asked for by a client: what to make of the one that is there.
pub struct Change<'a> {
    /// The object's name.
    pub name: &'a str,
    /// The subresource written to.
    pub subresource: Option<&'a str>,
    /// Whether the object is created when there is none.
    pub create: bool,
    /// What must hold of it.
    pub preconditions: Preconditions,
    /// Who is recorded as the manager of what changes.
    pub tracking: Tracking<'a>,
    /// The operation that admission sees.
    pub operation: admission::Operation,
}

/// Changes an object: reads it, lets `transform` make the new one of it (both in the version of the request), and commits,
/// beginning again when another write came between.
pub async fn update(
    cx: &Cx,
    resource: &Resource,
    change: Change<'_>,
    transform: impl Fn(Option<&Value>) -> Result<Value, Status> + Sync,
) -> Result<Written, Status> {
    update_seen(cx, resource, change, Some(admission::Shape::Whole), transform).await
}

/// The same, of an object that webhooks and policies see in another shape.
pub async fn update_shaped(
    cx: &Cx,
    resource: &Resource,
    change: Change<'_>,
    shape: admission::Shape<'_>,
    transform: impl Fn(Option<&Value>) -> Result<Value, Status> + Sync,
) -> Result<Written, Status> {
    update_seen(cx, resource, change, Some(shape), transform).await
}

/// The same, of which admission sees nothing: it was asked about what the change is made of.
pub async fn update_admitted(
    cx: &Cx,
    resource: &Resource,
    change: Change<'_>,
    transform: impl Fn(Option<&Value>) -> Result<Value, Status> + Sync,
) -> Result<Written, Status> {
    update_seen(cx, resource, change, None, transform).await
}

/// Who may change objects need not be somebody who may make them.
async fn require_create(cx: &Cx) -> Result<(), Status> {
    let changed = authorize::attributes(&cx.user, &cx.info);
    let made = Attributes { verb: "create", selectors: None, ..changed };
    cx.app.identities.require(&cx.app, Some(&cx.vcp), &made).await.map(drop)
}

async fn update_seen(
    cx: &Cx,
    resource: &Resource,
    change: Change<'_>,
    shape: Option<admission::Shape<'_>>,
    transform: impl Fn(Option<&Value>) -> Result<Value, Status> + Sync,
) -> Result<Written, Status> {
    let key = resource.object_key(&cx.info.namespace, change.name);
    let mut current = cx.app.registry.get(&cx.vcp, &key).await.map_err(failures::store)?;
    for _ in 0..MAX_ATTEMPTS {
        let Some(stored) = current else {
            if !change.create || change.preconditions.uid.is_some() {
                return Err(Status::not_found(&resource.group_resource(), change.name));
            }
            require_create(cx).await?;
            let mut object = transform(None)?;
            object::set_meta(&mut object, "resourceVersion", None);
            match create(cx, resource, object, change.tracking).await {
                // Another created it in between: as upstream, this is an update then.
                Err(status) if status.reason == kplane_machinery::Reason::AlreadyExists => {
                    current = cx.app.registry.get(&cx.vcp, &key).await.map_err(failures::store)?;
                    continue;
                }
                result => return result,
            }
        };
        match attempt(cx, resource, &change, shape, &stored, &transform).await? {
            Attempt::Done(written) => return Ok(*written),
            Attempt::Again(now) => current = now,
        }
    }
    Err(Status::modified(&resource.group_resource(), change.name))
}

enum Attempt {
    Done(Box<Written>),
    /// Another write came first and left this.
    Again(Option<Stored>),
}

async fn attempt(
    cx: &Cx,
    resource: &Resource,
    change: &Change<'_>,
    shape: Option<admission::Shape<'_>>,
    stored: &Stored,
    transform: &(impl Fn(Option<&Value>) -> Result<Value, Status> + Sync),
) -> Result<Attempt, Status> {
    let now = system::now();
    let hook = context(cx, resource, &now, change.subresource);
    let strategy = &resource.def.strategy;
    let gr = resource.group_resource();
    let old = conversion::decode(cx, resource, stored).await?;
    if let Some(uid) = change.preconditions.uid.as_deref().filter(|uid| *uid != object::uid(&old)) {
        let why = format!(
            "StorageError: invalid object, Code: 4, Key: {}, ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: UID in precondition: {uid}, UID in object meta: {}",
            resource.storage_path(&cx.info.namespace, change.name),
            object::uid(&old)
        );
        return Err(Status::conflict(&gr, change.name, why));
    }
    change.preconditions.check(resource, &old)?;

    let mut new = loop {
        let proposed = propose(cx, resource, change, &old, transform);
        // What a webhook has to convert for it is asked for, and then it is proposed again.
        if !cx.kept.conversions.settle(cx, resource).await? {
            break proposed?;
        }
    };
    let admission = shape.map(|shape| {
        Admission::new(cx, resource, change.operation, change.subresource.unwrap_or("")).shaped(shape)
    });
    if let Some(admission) = &admission {
        admission.mutate(&mut new, Some(&old)).await?;
    }
    crate::rbac::confirm(cx, resource, &new, Some(&old)).await?;
    strategy.prepare_update(&hook, &mut new, &old);
    system::count_generation(resource, &hook, &mut new, &old);
    cx.app.allocate(cx, resource, &mut new, Some(&old)).await?;

    let mut errors = system::validate_update(&new, &old);
    let place = heavy::place_for(cx, resource, &new).await;
    errors.extend(strategy.validate_update(&hook, &new, &old));
    drop(place);
    if !errors.is_empty() {
        return Err(Status::invalid(&resource.def.group_kind(), change.name, &errors));
    }
    for warning in strategy.warnings(&hook, &new, Some(&old)) {
        cx.warn(warning);
    }
    strategy.canonicalize(&mut new);
    objects::normalise(resource, &mut new)?;
    if let Some(admission) = &admission {
        admission.validate(&new, Some(&old)).await?;
    }

    // A write that changes nothing is none: the revision stays. Upstream compares what was sent; of an object that is
    // written as its scale, the times of managers count (`IgnoreManagedFieldsTimestampsTransformer`).
    if !matches!(shape, Some(admission::Shape::Part(_))) {
        keep_times_if_unchanged(&old, &mut new);
    }
    if new == old && objects::is_settled(resource, stored) {
        return Ok(Attempt::Done(Box::new(Written { object: old, created: false, deleted: false })));
    }
    let gone = system::is_finished(resource, &new);
    let encoded = conversion::encode(cx, resource, &new).await?;
    system::check_size(&encoded)?;
    if !gone {
        let more = encoded.len().saturating_sub(stored.len());
        super::limits::check(cx, resource, change.name, 0, more).await?;
    }
    let charged = match &admission {
        Some(admission) => charges::of(cx, admission, &new, Some(&old)).await?,
        None => Effects::default(),
    };
    if cx.dry_run() {
        if !gone {
            crate::tenancy::effects_of_update(cx, resource, &new, &old).await?;
        }
        return Ok(Attempt::Done(Box::new(Written { object: new, created: false, deleted: gone })));
    }
    let key = resource.object_key(&cx.info.namespace, change.name);
    if gone {
        let effects = crate::tenancy::effects_of_delete(cx, resource, &new)?;
        let _place = cx.app.fairness.write_place(cx.vcp.id).await;
        return match cx.app.registry.delete(&cx.vcp, &key, stored, effects).await {
            Ok(revision) => {
                object::set_meta(&mut new, "resourceVersion", Some(revision.to_string().into()));
                Ok(Attempt::Done(Box::new(Written { object: new, created: false, deleted: true })))
            }
            Err(WriteError::Conflict(now)) => Ok(Attempt::Again(now)),
            Err(error) => Err(failures::write(resource, change.name, error)),
        };
    }
    let effects = crate::tenancy::effects_of_update(cx, resource, &new, &old).await?.and(charged);
    let _place = cx.app.fairness.write_place(cx.vcp.id).await;
    match cx.app.registry.update(&cx.vcp, &key, stored, encoded, resource.def.time_to_live, effects).await {
        Ok(stored) => {
            set_version(&mut new, &stored);
            Ok(Attempt::Done(Box::new(Written { object: new, created: false, deleted: false })))
        }
        Err(WriteError::Conflict(now)) => Ok(Attempt::Again(now)),
        Err(error) => Err(failures::write(resource, change.name, error)),
    }
}

/// The object that a change makes of another, with who manages what of it.
fn propose(
    cx: &Cx,
    resource: &Resource,
    change: &Change<'_>,
    old: &Value,
    transform: &(impl Fn(Option<&Value>) -> Result<Value, Status> + Sync),
) -> Result<Value, Status> {
    let mut new = transform(Some(old))?;
    let asked_version = object::resource_version(&new).to_owned();
    if asked_version.is_empty() || asked_version == "0" {
        if !resource.def.strategy.allow_unconditional_update() && change.tracking.is_put() {
            return Err(Status::invalid(
                &resource.def.group_kind(),
                change.name,
                &vec![kplane_machinery::field::FieldError::invalid_str(
                    &kplane_machinery::field::Path::new("metadata").child("resourceVersion"),
                    &asked_version,
                    "must be specified for an update",
                )],
            ));
        }
    } else if asked_version != object::resource_version(old) {
        return Err(Status::modified(&resource.group_resource(), change.name));
    }
    object::set_meta(&mut new, "resourceVersion", Some(object::resource_version(old).into()));
    system::fill_update(resource, &mut new, old);

    managed::track(cx, resource, Some(old), &mut new, &change.tracking);
    Ok(new)
}

/// Shows the revision an object was stored at.
pub fn set_version(object: &mut Value, stored: &Stored) {
    object::set_meta(object, "resourceVersion", Some(stored.revision().to_string().into()));
}
