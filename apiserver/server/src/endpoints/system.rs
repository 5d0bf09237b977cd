//! What the machinery does to every object, whatever its kind: system fields, sizes, generations.

use kplane_kinds::Context;
use kplane_machinery::field::ErrorList;
use kplane_machinery::time::{self, Duration, Time};
use kplane_machinery::{Status, meta, object};
use kplane_registry::Encoded;
use serde_json::{Value, json};

use super::cx::{Cx, Resource};

/// Larger objects are refused: the most that an etcd value may hold by default, less some room for its key.
const MAX_OBJECT: usize = 1_500_000;

/// Now, as `metav1.Time`.
pub fn now() -> String {
    time::now()
}

/// Some seconds from now, as `metav1.Time`.
pub fn now_plus(seconds: i64) -> String {
    Time::now().truncated().add(Duration::from_secs(seconds)).to_string()
}

/// The fields of a new object that the server decides.
pub fn fill_create(object: &mut Value, resource: &Resource, cx: &Cx) {
    meta::prepare_create_meta(object, meta::new_uid(), Time::now());
    object::set_meta(object, "resourceVersion", None);
    let namespace = resource.def.namespaced().then(|| cx.info.namespace.as_str().into());
    object::set_meta(object, "namespace", namespace);
}

/// The fields of a changed object that stay what they were.
pub fn fill_update(resource: &Resource, new: &mut Value, old: &Value) {
    meta::prepare_update_meta(new, old);
    if !resource.def.namespaced() {
        object::set_meta(new, "namespace", None);
    }
}

/// What is wrong with the metadata of a new object.
pub fn validate_create(resource: &Resource, object: &Value) -> ErrorList {
    let rule = resource.def.strategy.name_rule().check();
    let mut errors = meta::validate_object_meta(object, resource.def.namespaced(), rule);
    if !resource.def.custom {
        errors.extend(meta::validate_kube_finalizers(object));
    }
    errors
}

/// What is wrong with the metadata of a changed object. Said twice, as upstream does: by the machinery and by the kind.
pub fn validate_update(new: &Value, old: &Value) -> ErrorList {
    let errors = meta::validate_object_meta_update(new, old);
    let again = errors.clone();
    errors.into_iter().chain(again).collect()
}

/// Counts a change that the kind says counts.
pub fn count_generation(resource: &Resource, hook: &Context<'_>, new: &mut Value, old: &Value) {
    if resource.def.strategy.generation(hook, new, old) == Some(true) {
        let generation = old["metadata"]["generation"].as_i64().unwrap_or(0);
        object::set_meta(new, "generation", Some((generation + 1).into()));
    }
}

/// The beginning of a deletion counts too, for objects that have a generation.
pub fn next_generation(object: &mut Value) {
    if let Some(generation) = object["metadata"]["generation"].as_i64().filter(|g| *g > 0) {
        object::set_meta(object, "generation", Some((generation + 1).into()));
    }
}

/// Whether an object whose deletion was asked for is held by nothing any more.
pub fn is_finished(resource: &Resource, object: &Value) -> bool {
    let meta = &object["metadata"];
    meta.get("deletionTimestamp").is_some_and(|t| !t.is_null())
        && meta["finalizers"].as_array().is_none_or(Vec::is_empty)
        && meta["deletionGracePeriodSeconds"].as_i64().unwrap_or(0) == 0
        && !resource.def.strategy.holds_deletion(object)
}

/// 413 for an object that a store would not take.
pub fn check_size(encoded: &Encoded) -> Result<(), Status> {
    if encoded.len() > MAX_OBJECT {
        return Err(Status::request_too_large(format!("limit is {MAX_OBJECT}")));
    }
    Ok(())
}

/// Sets a condition of `status.conditions`, by its type.
pub fn set_condition(object: &mut Value, condition: Value) {
    let Some(fields) = object.as_object_mut() else { return };
    let status = fields.entry("status").or_insert_with(|| json!({}));
    let Some(status) = status.as_object_mut() else { return };
    let conditions = status.entry("conditions").or_insert_with(|| json!([]));
    // Written as null while there are none.
    if conditions.is_null() {
        *conditions = json!([]);
    }
    if let Some(list) = conditions.as_array_mut() {
        match list.iter_mut().find(|c| c["type"] == condition["type"]) {
            Some(known) => *known = condition,
            None => list.push(condition),
        }
    }
}
