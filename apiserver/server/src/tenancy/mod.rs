//! The records of virtual control planes: what a write of a `VirtualCluster` does besides, in the same transaction, so
//! that a control plane exists if and only if its record does.

pub mod controller;
pub mod credentials;

use kplane_kinds::tenancy::GROUP;
use kplane_machinery::time::Time;
use kplane_machinery::{GroupResource, Status, object};
use kplane_registry::{ContentHash, CredentialPolicy, Effects, NewVcp, ResourceKey, VcpId, VcpState};
use serde_json::Value;

use crate::endpoints::cx::{Cx, Resource};
use crate::endpoints::failures;

/// The plural of the records.
pub const PLURAL: &str = "virtualclusters";

/// Where records are stored, in root.
pub fn resource_key() -> ResourceKey {
    ResourceKey::new(GROUP, PLURAL)
}

fn is_record(cx: &Cx, resource: &Resource) -> bool {
    cx.vcp.is_root() && &*resource.def.group == GROUP && &*resource.def.plural == PLURAL
}

fn detached(record: &Value) -> bool {
    record["spec"]["detached"].as_bool() == Some(true)
}

fn terminating(record: &Value) -> bool {
    record["metadata"].get("deletionTimestamp").is_some()
}

/// The layers a record names, those that all control planes start from before them.
fn layers(cx: &Cx, record: &Value) -> Result<Vec<ContentHash>, Status> {
    let mut layers = cx.app.base.layers.clone();
    for given in record["spec"]["layers"].as_array().into_iter().flatten() {
        let text = given.as_str().unwrap_or("");
        let hash = ContentHash::parse(text)
            .ok_or_else(|| Status::bad_request(format!("spec.layers: {text:?} is not a content hash")))?;
        if !layers.contains(&hash) {
            layers.push(hash);
        }
    }
    Ok(layers)
}

/// Refuses issuers that could not judge a token.
fn check_issuers(cx: &Cx, resource: &Resource, record: &Value) -> Result<(), Status> {
    let issuers = &record["spec"]["auth"]["issuers"];
    if issuers.is_null() {
        return Ok(());
    }
    match cx.app.identities.foreign().compile(issuers) {
        Ok(_) => Ok(()),
        Err(errors) => Err(Status::invalid(&resource.def.group_kind(), object::name(record), &errors)),
    }
}

/// Which credentials of a control plane are good, by its record.
fn credentials_policy(record: &Value) -> CredentialPolicy {
    let spec = &record["spec"];
    let revocations = spec["revocations"].as_object().into_iter().flatten();
    CredentialPolicy {
        epoch: spec["credentialEpoch"].as_u64().unwrap_or(0),
        generations: revocations
            .map(|(user, entry)| (user.clone(), entry["generation"].as_str().map(str::to_owned)))
            .collect(),
    }
}

/// What creating an object does besides.
pub fn effects_of_create(cx: &Cx, resource: &Resource, object: &Value) -> Result<Effects, Status> {
    if !is_record(cx, resource) {
        return Ok(Effects::default());
    }
    check_issuers(cx, resource, object)?;
    let created = Time::parse(object::meta_str(object, "creationTimestamp"))
        .map_err(|e| Status::internal(format!("the time of creation: {e}")))?;
    let new = NewVcp {
        uid: object::uid(object).to_owned(),
        name: object::name(object).to_owned(),
        created: created.unix(),
        layers: layers(cx, object)?,
        parameters: cx.app.base.parameters,
        credentials: credentials_policy(object),
    };
    cx.app.registry.creation(&new).map_err(failures::store)
}

/// What changing an object does besides: a control plane that is detached or on its way out is closed, one that is
/// attached again is opened, and credentials that were revoked are good no more.
pub fn effects_of_update(cx: &Cx, resource: &Resource, new: &Value, old: &Value) -> Result<Effects, Status> {
    if !is_record(cx, resource) {
        return Ok(Effects::default());
    }
    let state = |record: &Value| match (terminating(record), detached(record)) {
        (true, _) => VcpState::Destroying,
        (false, true) => VcpState::Detached,
        (false, false) => VcpState::Active,
    };
    if new["spec"]["auth"] != old["spec"]["auth"] {
        check_issuers(cx, resource, new)?;
    }
    let policy = credentials_policy(new);
    if state(new) == state(old) && policy == credentials_policy(old) {
        return Ok(Effects::default());
    }
    cx.app.registry.change(id_of(new)?, state(new), &policy).map_err(failures::store)
}

/// What deleting an object does besides: nothing, for its data went before it.
pub fn effects_of_delete(_cx: &Cx, _resource: &Resource, _object: &Value) -> Result<Effects, Status> {
    Ok(Effects::default())
}

/// Refuses to delete a record whose data is to be kept.
pub fn check_deletion(cx: &Cx, resource: &Resource, record: &Value) -> Result<(), Status> {
    if is_record(cx, resource) && record["spec"]["deletionPolicy"] == "Retain" && !terminating(record) {
        return Err(Status::forbidden(
            &GroupResource::new(GROUP, PLURAL),
            object::name(record),
            "its deletionPolicy is Retain; set spec.deletionPolicy to Destroy to remove its data",
        ));
    }
    Ok(())
}

fn id_of(record: &Value) -> Result<VcpId, Status> {
    let uid = object::uid(record);
    VcpId::parse(uid).ok_or_else(|| Status::internal(format!("the record's uid {uid:?} is no uid")))
}
