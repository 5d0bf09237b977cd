//! The records of virtual control planes: what a write of a `VirtualCluster` does besides, in the same transaction, so
//! that a control plane exists if and only if its record does.

pub mod controller;
pub mod credentials;
mod roles;

use kplane_kinds::tenancy::GROUP;
use kplane_machinery::field::{FieldError, Path};
use kplane_machinery::time::Time;
use kplane_machinery::{GroupKind, GroupResource, Status, object};
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

/// The layers a record names.
fn layers_of(record: &Value) -> Vec<ContentHash> {
    let given = record["spec"]["layers"].as_array().into_iter().flatten();
    given.filter_map(|hash| ContentHash::parse(hash.as_str()?)).collect()
}

/// Refuses layers that are not there. `old` is the record that was: what it names is there.
async fn check_layers(cx: &Cx, record: &Value, old: Option<&Value>) -> Result<(), Status> {
    let at = Path::new("spec").child("layers");
    let known = old.map(layers_of).unwrap_or_default();
    let mut errors = Vec::new();
    for (index, given) in record["spec"]["layers"].as_array().into_iter().flatten().enumerate() {
        let text = given.as_str().unwrap_or("");
        let at = at.index(index);
        match ContentHash::parse(text) {
            None => errors.push(FieldError::invalid_str(&at, text, "is not a content hash")),
            Some(hash) if known.contains(&hash) => {}
            Some(hash) => {
                if !cx.app.registry.has_layer(hash).await.map_err(failures::store)? {
                    let why = "there is no such layer; create a Layer with its manifests first";
                    errors.push(FieldError::invalid_str(&at, text, why));
                }
            }
        }
    }
    if errors.is_empty() {
        return Ok(());
    }
    Err(Status::invalid(&GroupKind::new(GROUP, "VirtualCluster"), object::name(record), &errors))
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
pub async fn effects_of_create(cx: &Cx, resource: &Resource, object: &Value) -> Result<Effects, Status> {
    if !is_record(cx, resource) {
        return Ok(Effects::default());
    }
    check_issuers(cx, resource, object)?;
    let created = Time::parse(object::meta_str(object, "creationTimestamp"))
        .map_err(|e| Status::internal(format!("the time of creation: {e}")))?;
    check_layers(cx, object, None).await?;
    let named = layers_of(object);
    let new = NewVcp {
        uid: object::uid(object).to_owned(),
        name: object::name(object).to_owned(),
        created: created.unix(),
        layers: cx.app.base.layers.iter().chain(&named).copied().collect(),
        parameters: cx.app.base.parameters,
        credentials: credentials_policy(object),
    };
    let mut effects = cx.app.registry.creation(&new).map_err(failures::store)?;
    effects.compares.extend(cx.app.registry.layers_stay(&named));
    Ok(effects)
}

/// What changing an object does besides: a control plane that is detached or on its way out is closed, one that is
/// attached again is opened, one that names other layers is moved to them, and credentials that were revoked are good no more.
pub async fn effects_of_update(
    cx: &Cx,
    resource: &Resource,
    new: &Value,
    old: &Value,
) -> Result<Effects, Status> {
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
    let (before, after) = (layers_of(old), layers_of(new));
    let moved = new["spec"]["layers"] != old["spec"]["layers"];
    if state(new) == state(old) && policy == credentials_policy(old) && !moved {
        return Ok(Effects::default());
    }
    if moved {
        check_layers(cx, new, Some(old)).await?;
    }
    cx.app.registry.change(id_of(new)?, state(new), &policy, &before, &after).map_err(failures::store)
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
