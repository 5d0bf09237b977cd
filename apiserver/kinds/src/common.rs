//! What many strategies do alike.

use kplane_machinery::field::ErrorList;
use kplane_machinery::object::set_meta;
use serde_json::Value;

use crate::strategy::Context;
use crate::val::{At, Obj, same};

/// A new object is its first generation.
pub(crate) fn first_generation(object: &mut Value) {
    set_meta(object, "generation", Some(1.into()));
}

/// Whether a part of the object differs from what it was; a write to `status` never does.
pub(crate) fn part_changed(cx: &Context<'_>, object: &Value, old: &Value, part: &str) -> Option<bool> {
    if cx.subresource == Some("status") {
        return Some(false);
    }
    let absent = Value::Null;
    Some(!same(object.get(part).unwrap_or(&absent), old.get(part).unwrap_or(&absent)))
}

/// Whether `spec` differs from what it was.
pub(crate) fn spec_changed(cx: &Context<'_>, object: &Value, old: &Value) -> Option<bool> {
    part_changed(cx, object, old, "spec")
}

/// Replaces `status` by an empty one.
pub(crate) fn clear_status(object: &mut Value) {
    crate::val::set_status(object, Value::Object(Obj::new()));
}

/// A `spec` that is always shown.
pub(crate) fn ensure_spec(object: &mut Value) -> Option<&mut Obj> {
    crate::val::ensure(object.as_object_mut()?, "spec")
}

/// Fields of `status` that count something: none is negative.
pub(crate) fn counts(status: &At<'_>, fields: &[&str], errors: &mut ErrorList) {
    for field in fields {
        status.f(field).non_negative(errors);
    }
}

/// Fields that are always shown, as zero when nothing is there.
pub(crate) fn zeros(object: &mut Value, part: &str, fields: &[&str]) {
    if let Some(part) = object.as_object_mut().and_then(|o| crate::val::ensure(o, part)) {
        for field in fields {
            crate::val::dflt(part, field, 0);
        }
    }
}

/// Adds a finalizer.
pub(crate) fn add_finalizer(object: &mut Value, finalizer: &str) {
    let Some(meta) = kplane_machinery::object::meta_mut(object) else { return };
    let list = meta.entry("finalizers").or_insert_with(|| Value::Array(Vec::new()));
    if list.is_null() {
        *list = Value::Array(Vec::new());
    }
    if let Some(list) = list.as_array_mut()
        && !list.iter().any(|f| f.as_str() == Some(finalizer))
    {
        list.push(finalizer.into());
    }
}
