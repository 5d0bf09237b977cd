//! Who set which field: `metadata.managedFields`, and server-side apply on top of it
//! (`sigs.k8s.io/structured-merge-diff` and `k8s.io/apimachinery/pkg/util/managedfields`).
//!
//! ```text
//! set      paths of fields, and their FieldsV1 text
//! typed    how the schema says a value is to be walked: leaf, list by key, map
//! walk     the fields of a value, the differences of two, and what is left without some
//! merge    an applied configuration merged into an object
//! entries  managedFields read and written
//! update   what a create, update or patch does to them
//! apply    server-side apply
//! ```

pub mod apply;
pub mod entries;
mod merge;
pub mod scale;
pub mod set;
mod typed;
pub mod update;
mod walk;

#[cfg(test)]
mod tests;

use serde_json::Value;

use crate::schema::Schema;
use crate::time::Time;
pub use apply::apply;
pub use merge::merge_into;
pub use set::Set;
pub use update::track_update;

/// The versions of a kind. Managers speak of fields in the version they wrote.
pub trait Versions {
    /// The schema of a version such as `apps/v1`, if it is still served.
    fn schema(&self, api_version: &str) -> Option<&Schema>;

    /// The object in another version. The default serves kinds whose versions differ in name only.
    fn convert(&self, object: &Value, api_version: &str) -> Result<Value, String> {
        let mut converted = object.clone();
        if let Some(map) = converted.as_object_mut() {
            map.insert("apiVersion".to_owned(), api_version.into());
        }
        Ok(converted)
    }
}

/// A kind with one version.
#[derive(Clone, Copy, Debug)]
pub struct OneVersion<'a> {
    /// Its `apiVersion`.
    pub api_version: &'a str,
    /// Its schema.
    pub schema: &'a Schema,
}

impl Versions for OneVersion<'_> {
    fn schema(&self, api_version: &str) -> Option<&Schema> {
        (api_version == self.api_version).then_some(self.schema)
    }
}

/// What a request says that matters to field management.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// The `apiVersion` of the request.
    pub api_version: &'a str,
    /// The kind.
    pub kind: &'a str,
    /// The subresource, empty for the object itself.
    pub subresource: &'a str,
    /// The versions of the kind.
    pub versions: &'a dyn Versions,
    /// Fields that this endpoint resets and that nobody can therefore own by it: `GetResetFields`.
    pub reset: &'a Set,
    /// Now.
    pub now: Time,
}

/// Takes back a change of `managedFields` that changes nothing but times, when the object is otherwise as
/// it was: what makes an update that changes nothing write nothing.
pub fn keep_times_if_unchanged(old: &Value, new: &mut Value) {
    let without = |object: &Value| {
        let mut object = object.clone();
        if let Some(meta) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            meta.remove("managedFields");
            meta.remove("resourceVersion");
        }
        object
    };
    let entries = |object: &Value| -> Vec<Value> {
        let list = object.pointer("/metadata/managedFields").and_then(Value::as_array);
        let mut out: Vec<Value> = list.cloned().unwrap_or_default();
        for entry in &mut out {
            if let Some(map) = entry.as_object_mut() {
                map.remove("time");
            }
        }
        out
    };
    let (before, after) = (entries(old), entries(new));
    let same_entries = before.len() == after.len() && before.iter().all(|e| after.contains(e));
    if same_entries && without(old) == without(new) {
        let kept = old.pointer("/metadata/managedFields").cloned();
        crate::object::set_meta(new, "managedFields", kept);
    }
}
