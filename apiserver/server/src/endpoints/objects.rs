//! Objects between the form they are stored in and the form a client asked for.

use kplane_kinds::ResourceDef;
use kplane_machinery::{GroupVersion, Status};
use kplane_registry::{Encoded, Stored};
use serde_json::Value;

use super::cx::Resource;

pub use kplane_kinds::def::SCHEMA_EPOCH;

/// Which objects can be sent as they are stored.
pub struct Current {
    epoch: u32,
    api_version: String,
}

impl Current {
    /// Of a resource, in the version of the request.
    pub fn of(resource: &Resource) -> Self {
        Self { epoch: resource.def.schema_epoch, api_version: resource.api_version() }
    }

    /// Whether an object is one.
    pub fn is(&self, stored: &Stored) -> bool {
        stored.epoch() == self.epoch && stored.api_version() == self.api_version
    }
}

/// Whether an object can be sent as it is stored.
pub fn is_current(resource: &Resource, stored: &Stored) -> bool {
    Current::of(resource).is(stored)
}

/// Whether an object that is written again as it is would be stored as it is.
pub fn is_settled(resource: &Resource, stored: &Stored) -> bool {
    stored.epoch() == resource.def.schema_epoch && stored.api_version() == storage_version(resource)
}

/// The `apiVersion` that objects are stored with.
fn storage_version(resource: &Resource) -> String {
    let group = resource.def.storage_resource().group;
    GroupVersion { group, version: resource.def.storage_version.clone() }.to_string()
}

/// A stored object in the version of the request.
pub fn decode(resource: &Resource, stored: &Stored) -> Result<Value, Status> {
    decode_as(resource, &resource.version, stored)
}

/// A stored object in the version it is stored in.
pub fn decode_storage(resource: &Resource, stored: &Stored) -> Result<Value, Status> {
    let version = resource.def.storage_version.clone();
    decode_as(resource, &version, stored)
}

/// A stored object in the version it was stored in, whatever that is by now.
pub fn decode_stored(resource: &Resource, stored: &Stored) -> Result<Value, Status> {
    decode_as(resource, version_of(stored.api_version()), stored)
}

fn decode_as(resource: &Resource, version: &str, stored: &Stored) -> Result<Value, Status> {
    let mut object =
        stored.to_value().map_err(|e| Status::internal(format!("a stored object cannot be read: {e}")))?;
    let from = version_of(stored.api_version()).to_owned();
    if stored.epoch() != resource.def.schema_epoch
        && let Some(def) = resource.def.version(&from)
    {
        if resource.def.custom {
            kplane_schema::prune(&def.schema, &mut object);
        }
        kplane_schema::default(&def.schema, &mut object);
        resource.def.strategy.default(&from, &mut object);
    }
    if resource.def.storage_group_resource.is_some() {
        let to = resource.def.gvk(version).group_version().to_string();
        let strategy = &resource.def.strategy;
        strategy.convert(&mut object, stored.api_version(), &to).map_err(Status::internal)?;
        return Ok(object);
    }
    convert(resource, &mut object, &from, version)?;
    Ok(object)
}

/// Turns an object of one version of its kind into another, in place.
pub fn convert(resource: &Resource, object: &mut Value, from: &str, to: &str) -> Result<(), Status> {
    convert_as(&resource.def, object, from, to)
}

/// Turns an object of one version of a kind into another, in place.
pub fn convert_as(def: &ResourceDef, object: &mut Value, from: &str, to: &str) -> Result<(), Status> {
    let api_version = def.gvk(to).group_version().to_string();
    if from != to {
        def.strategy.convert(object, from, to).map_err(Status::internal)?;
    }
    if let Some(fields) = object.as_object_mut() {
        fields.insert("apiVersion".into(), api_version.into());
        fields.insert("kind".into(), (&*def.kind).into());
    }
    Ok(())
}

/// Gives an object of a built-in kind the form that Go's types would: hooks may have left out what is always written.
pub fn normalise(resource: &Resource, object: &mut Value) -> Result<(), Status> {
    if !resource.def.custom {
        kplane_schema::normalise(&resource.version_def()?.schema, object);
    }
    Ok(())
}

/// The bytes to store of an object in the version of the request.
pub fn encode(resource: &Resource, object: &Value) -> Result<Encoded, Status> {
    let mut stored = object.clone();
    match &resource.def.storage_group_resource {
        // Another group's objects under this one's names: stored as the other group's.
        Some(_) => {
            let to = storage_version(resource);
            let strategy = &resource.def.strategy;
            strategy.convert(&mut stored, &resource.api_version(), &to).map_err(Status::internal)?;
        }
        None => convert(resource, &mut stored, &resource.version, &resource.def.storage_version)?,
    }
    Encoded::new(&stored, resource.def.schema_epoch)
        .map_err(|e| Status::internal(format!("an object cannot be stored: {e}")))
}

/// The version in an `apiVersion`.
pub fn version_of(api_version: &str) -> &str {
    api_version.rsplit('/').next().unwrap_or(api_version)
}
