//! What plugins share: whether a write is to a resource, refusals, and questions to the authorizer.

use std::collections::BTreeMap;

use kplane_machinery::{Status, object};
use serde_json::{Map, Value};

use crate::Attributes;

impl Attributes<'_> {
    /// Whether the write is to this resource, and to which of its subresources (empty for the object itself).
    pub fn is(&self, group: &str, resource: &str, subresource: &str) -> bool {
        &*self.def.group == group && &*self.def.plural == resource && self.subresource == subresource
    }

    /// 403, as `admission.NewForbidden`: about the name, or what it will be generated from.
    pub fn forbidden(&self, object: &Value, why: impl std::fmt::Display) -> Status {
        let generated = object::meta_str(object, "generateName");
        let name = if !self.name.is_empty() {
            self.name
        } else if !generated.is_empty() {
            generated
        } else {
            object::name(object)
        };
        Status::forbidden(&self.def.group_resource(), name, why)
    }
}

/// A question to the authorizer: may the user do this?
#[derive(Clone, Copy, Debug, Default)]
pub struct AccessCheck<'a> {
    /// The user's name.
    pub user: &'a str,
    /// The user's groups.
    pub groups: &'a [String],
    /// The user's uid; empty when it has none.
    pub uid: &'a str,
    /// What else is known of the user.
    pub extra: Option<&'a BTreeMap<String, Vec<String>>>,
    /// `approve`.
    pub verb: &'a str,
    /// The path, of what is no resource. The others that follow are empty then.
    pub path: Option<&'a str>,
    /// The group of the resource, in any of its versions.
    pub group: &'a str,
    /// `signers`.
    pub resource: &'a str,
    /// The subresource; empty for the object itself.
    pub subresource: &'a str,
    /// The namespace; empty for cluster-scoped ones.
    pub namespace: &'a str,
    /// The object's name.
    pub name: &'a str,
    /// What the objects are narrowed to by their fields. One that cannot be read narrows nothing, so that more is asked for.
    pub field_selector: &'a str,
    /// What they are narrowed to by their labels.
    pub label_selector: &'a str,
}

/// The items of a list at a path of field names; none when there is no list.
pub(crate) fn items<'a>(object: &'a Value, path: &[&str]) -> &'a [Value] {
    object::at(object, path).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// A list of a map, made when it is missing. `None` when something else stands there.
pub(crate) fn list_mut<'a>(map: &'a mut Value, field: &str) -> Option<&'a mut Vec<Value>> {
    let slot = map.as_object_mut()?.entry(field).or_insert_with(|| Value::Array(Vec::new()));
    if slot.is_null() {
        *slot = Value::Array(Vec::new());
    }
    slot.as_array_mut()
}

/// A map of a map, made when it is missing. `None` when something else stands there.
pub(crate) fn map_mut<'a>(map: &'a mut Value, field: &str) -> Option<&'a mut Map<String, Value>> {
    let slot = map.as_object_mut()?.entry(field).or_insert_with(|| Value::Object(Map::new()));
    if slot.is_null() {
        *slot = Value::Object(Map::new());
    }
    slot.as_object_mut()
}

/// An annotation, if it is there.
pub(crate) fn annotation<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    object.get("metadata")?.get("annotations")?.get(key)?.as_str()
}

/// What `spec` an object has: set and not null.
pub(crate) fn set<'a>(object: &'a Value, path: &[&str]) -> Option<&'a Value> {
    object::at(object, path).filter(|v| !v.is_null())
}

/// The newest of the objects marked as the default of their kind; of equally old ones the first by name.
pub(crate) fn default_of(mut objects: Vec<Value>, annotations: &[&str]) -> Option<Value> {
    objects.retain(|o| annotations.iter().any(|a| annotation(o, a) == Some("true")));
    objects.sort_by(|a, b| {
        object::meta_str(b, "creationTimestamp")
            .cmp(object::meta_str(a, "creationTimestamp"))
            .then_with(|| object::name(a).cmp(object::name(b)))
    });
    objects.into_iter().next()
}
