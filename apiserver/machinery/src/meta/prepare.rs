//! What the server sets in metadata before it stores an object.

use serde_json::{Value, json};

use crate::names;
use crate::object::{meta_mut, meta_str, set_meta};
use crate::status::Status;
use crate::time::Time;

/// A random uid (UUID version 4).
pub fn new_uid() -> String {
    let bits = (rand::random::<u128>() & !(0xf << 76) & !(0x3 << 62)) | (0x4 << 76) | (0x2 << 62);
    let hex = format!("{bits:032x}");
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

/// Removes what a client may not set: `rest.WipeObjectMetaSystemFields`.
pub fn wipe_system_fields(object: &mut Value) {
    for field in ["creationTimestamp", "uid", "deletionTimestamp", "deletionGracePeriodSeconds", "selfLink"] {
        set_meta(object, field, None);
    }
}

/// Makes the namespace that of the request (empty for a cluster-scoped kind), or refuses another.
pub fn ensure_namespace(object: &mut Value, request_namespace: &str) -> Result<(), Status> {
    let given = meta_str(object, "namespace");
    if request_namespace.is_empty() {
        set_meta(object, "namespace", None);
    } else if given.is_empty() {
        set_meta(object, "namespace", Some(request_namespace.into()));
    } else if given != request_namespace {
        return Err(Status::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    Ok(())
}

/// Refuses a body whose name is not that of the URL; one without a name takes it.
pub fn ensure_name_matches(object: &mut Value, request_name: &str) -> Result<(), Status> {
    let given = meta_str(object, "name");
    if given.is_empty() {
        set_meta(object, "name", Some(request_name.into()));
    } else if given != request_name {
        return Err(Status::bad_request(format!(
            "the name of the object ({given}) does not match the name on the URL ({request_name})"
        )));
    }
    Ok(())
}

/// Sets what every new object gets: uid, creationTimestamp and, from `generateName`, its name; clears what
/// no new object has.
pub fn prepare_create_meta(object: &mut Value, uid: String, now: Time) {
    wipe_system_fields(object);
    let generate = meta_str(object, "generateName").to_owned();
    let unnamed = meta_str(object, "name").is_empty();
    if let Some(meta) = meta_mut(object) {
        meta.insert("uid".to_owned(), uid.into());
        meta.insert("creationTimestamp".to_owned(), now.to_string().into());
        if unnamed && !generate.is_empty() {
            meta.insert("name".to_owned(), names::generate_name(&generate).into());
        }
    }
}

/// Keeps what an update cannot change: uid (unless another is given), creationTimestamp, generation,
/// deletionTimestamp and grace period. The kind's own preparation may raise the generation afterwards.
pub fn prepare_update_meta(new: &mut Value, old: &Value) {
    let kept = |field: &str| old.get("metadata").and_then(|m| m.get(field)).filter(|v| !v.is_null()).cloned();
    set_meta(new, "generation", kept("generation"));
    set_meta(new, "selfLink", None);
    if meta_str(new, "uid").is_empty() {
        set_meta(new, "uid", kept("uid"));
    }
    set_meta(new, "creationTimestamp", kept("creationTimestamp"));
    let deleting = kept("deletionTimestamp");
    if deleting.is_some() || new.pointer("/metadata/deletionTimestamp") == Some(&json!(null)) {
        set_meta(new, "deletionTimestamp", deleting);
    }
    let grace = kept("deletionGracePeriodSeconds");
    let given = new.pointer("/metadata/deletionGracePeriodSeconds").filter(|v| !v.is_null());
    if given.is_none() {
        set_meta(new, "deletionGracePeriodSeconds", grace);
    }
}
