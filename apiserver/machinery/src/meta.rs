//! Object metadata: what the server sets, and what it refuses
//! (`k8s.io/apimachinery/pkg/api/validation/objectmeta.go` and `k8s.io/apiserver/pkg/registry/rest`).

mod options;
mod prepare;
mod selector;

pub use options::{
    ListOptions, invalid_options, validate_create_options, validate_delete_options, validate_list_options,
    validate_patch_options, validate_table_options,
};
pub use prepare::{
    ensure_name_matches, ensure_namespace, new_uid, prepare_create_meta, prepare_update_meta,
    wipe_system_fields,
};
pub use selector::{validate_conditions, validate_label_selector};

use serde_json::Value;

use crate::field::{ErrorList, FieldError, Path};
use crate::managed;
use crate::names::{self, NameCheck};
use crate::object::{meta_map, meta_str};

/// What is said of a changed field that must not change.
pub const IMMUTABLE: &str = "field is immutable";
/// The most bytes that the annotations of an object may have.
pub const ANNOTATIONS_LIMIT: usize = 256 * 1024;
/// The finalizer of foreground deletion.
pub const FOREGROUND_FINALIZER: &str = "foregroundDeletion";
/// The finalizer of deletion that orphans the dependents.
pub const ORPHAN_FINALIZER: &str = "orphan";

/// Refuses a value that differs from the old one.
pub fn validate_immutable(path: &Path, new: Option<&Value>, old: Option<&Value>) -> ErrorList {
    let absent = |v: Option<&Value>| match v {
        None | Some(Value::Null) => true,
        Some(Value::String(s)) => s.is_empty(),
        Some(Value::Array(a)) => a.is_empty(),
        Some(Value::Object(o)) => o.is_empty(),
        Some(_) => false,
    };
    if new == old || (absent(new) && absent(old)) {
        return ErrorList::new();
    }
    vec![FieldError::invalid(path, new.unwrap_or(&Value::Null), IMMUTABLE)]
}

/// Whether a key may be that of a label.
pub fn validate_label_name(path: &Path, name: &str) -> ErrorList {
    names::is_qualified_name(name).into_iter().map(|e| FieldError::invalid_str(path, name, e)).collect()
}

/// Labels given as a map.
pub fn validate_labels(path: &Path, labels: Option<&Value>) -> ErrorList {
    let mut errors = ErrorList::new();
    for (key, value) in labels.and_then(Value::as_object).into_iter().flatten() {
        errors.extend(validate_label_name(path, key));
        let value = value.as_str().unwrap_or_default();
        errors.extend(
            names::is_valid_label_value(value).into_iter().map(|e| FieldError::invalid_str(path, value, e)),
        );
    }
    errors
}

/// Annotations given as a map.
pub fn validate_annotations(path: &Path, annotations: Option<&Value>) -> ErrorList {
    let mut errors = ErrorList::new();
    let mut size = 0;
    for (key, value) in annotations.and_then(Value::as_object).into_iter().flatten() {
        size += key.len() + value.as_str().unwrap_or_default().len();
        errors.extend(
            names::is_qualified_name(&key.to_lowercase())
                .into_iter()
                .map(|e| FieldError::invalid_str(path, key, e)),
        );
    }
    if size > ANNOTATIONS_LIMIT {
        errors.push(FieldError::too_long(path, ANNOTATIONS_LIMIT));
    }
    errors
}

fn field<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn validate_owner_references(path: &Path, references: Option<&Value>) -> ErrorList {
    let mut errors = ErrorList::new();
    let mut controller: Option<String> = None;
    let Some(list) = references.and_then(Value::as_array) else {
        return errors;
    };
    for reference in list {
        let api_version = field(reference, "apiVersion");
        let kind = field(reference, "kind");
        let version = match api_version.split('/').collect::<Vec<_>>().as_slice() {
            [version] | [_, version] => *version,
            _ => "",
        };
        if version.is_empty() {
            errors.push(FieldError::invalid_str(
                &path.child("apiVersion"),
                api_version,
                "version must not be empty",
            ));
        }
        for name in ["kind", "name", "uid"] {
            if field(reference, name).is_empty() {
                errors.push(FieldError::invalid_str(&path.child(name), "", "must not be empty"));
            }
        }
        if api_version == "v1" && kind == "Event" {
            errors.push(FieldError::invalid(
                path,
                reference,
                "/v1, Kind=Event is disallowed from being an owner",
            ));
        }
        if reference.get("controller").and_then(Value::as_bool) == Some(true) {
            let current = format!("{kind}/{}", field(reference, "name"));
            match &controller {
                Some(first) => errors.push(FieldError::invalid(
                    path,
                    &Value::Array(list.clone()),
                    format!(
                        "Only one reference can have Controller set to true. Found \"true\" in references for {first} and {current}"
                    ),
                )),
                None => controller = Some(current),
            }
        }
    }
    errors
}

fn texts(value: Option<&Value>) -> Vec<&str> {
    value.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect()
}

fn validate_finalizers(path: &Path, finalizers: Option<&Value>) -> ErrorList {
    let list = texts(finalizers);
    let mut errors = ErrorList::new();
    for finalizer in &list {
        errors.extend(validate_label_name(path, finalizer));
    }
    if list.contains(&FOREGROUND_FINALIZER) && list.contains(&ORPHAN_FINALIZER) {
        errors.push(FieldError::invalid(
            path,
            finalizers.unwrap_or(&Value::Null),
            format!("finalizer {ORPHAN_FINALIZER} and {FOREGROUND_FINALIZER} cannot be both set"),
        ));
    }
    errors
}

/// The further rule of the kinds in Kubernetes' own API: a finalizer without a domain is one of three.
pub fn validate_kube_finalizers(object: &Value) -> ErrorList {
    let path = Path::new("metadata").child("finalizers");
    texts(object.pointer("/metadata/finalizers"))
        .into_iter()
        .enumerate()
        .filter(|(_, name)| {
            !name.contains('/') && !matches!(*name, "kubernetes" | FOREGROUND_FINALIZER | ORPHAN_FINALIZER)
        })
        .map(|(i, name)| {
            FieldError::invalid_str(
                &path.index(i),
                name,
                "name is neither a standard finalizer name nor is it fully qualified",
            )
        })
        .collect()
}

/// Takes owners out that are named twice in the same words, and says the uid of each that was taken out.
pub fn without_repeated_owners(object: &mut Value) -> Vec<String> {
    let owners = object.pointer_mut("/metadata/ownerReferences").and_then(Value::as_array_mut);
    let Some(owners) = owners else { return Vec::new() };
    let mut repeated = Vec::new();
    let mut seen: Vec<Value> = Vec::with_capacity(owners.len());
    for owner in std::mem::take(owners) {
        // Those of another uid need not be compared in full.
        if seen.iter().any(|other| other.get("uid") == owner.get("uid") && *other == owner) {
            repeated.push(field(&owner, "uid").to_owned());
        } else {
            seen.push(owner);
        }
    }
    *owners = seen;
    repeated
}

/// What is wrong with the `managedFields` of an object, if anything.
pub fn managed_fields_fault(object: &Value) -> Option<String> {
    let path = Path::new("metadata").child("managedFields");
    let errors = validate_managed_fields(&path, object.pointer("/metadata/managedFields"));
    match errors.as_slice() {
        [] => managed::entries::decode(object).err(),
        [one] => Some(one.to_string()),
        all => Some(format!("[{}]", all.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))),
    }
}

fn validate_managed_fields(path: &Path, entries: Option<&Value>) -> ErrorList {
    let mut errors = ErrorList::new();
    for (i, entry) in entries.and_then(Value::as_array).into_iter().flatten().enumerate() {
        let path = path.index(i);
        let operation = field(entry, "operation");
        if !matches!(operation, "Apply" | "Update") {
            errors.push(FieldError::invalid_str(
                &path.child("operation"),
                operation,
                "must be `Apply` or `Update`",
            ));
        }
        let fields_type = field(entry, "fieldsType");
        if !matches!(fields_type, "" | "FieldsV1") {
            errors.push(FieldError::invalid_str(
                &path.child("fieldsType"),
                fields_type,
                "must be `FieldsV1`",
            ));
        }
        errors.extend(options::validate_field_manager(&path.child("manager"), field(entry, "manager")));
        if field(entry, "subresource").len() > 256 {
            errors.push(FieldError::too_long(&path.child("subresource"), 256));
        }
    }
    errors
}

/// The metadata of an object to be created, whose name has been generated already:
/// `ValidateObjectMetaAccessor`.
pub fn validate_object_meta(object: &Value, namespaced: bool, name_check: NameCheck) -> ErrorList {
    validate_meta_at(&Path::new("metadata"), object.get("metadata"), namespaced, name_check)
}

/// [`validate_object_meta`] for metadata anywhere, such as that of a pod template.
pub fn validate_meta_at(
    path: &Path,
    meta: Option<&Value>,
    namespaced: bool,
    name_check: NameCheck,
) -> ErrorList {
    let get = |name: &str| meta.and_then(|m| m.get(name));
    let text = |name: &str| get(name).and_then(Value::as_str).unwrap_or_default();
    let mut errors = ErrorList::new();
    let generate = text("generateName");
    if !generate.is_empty() {
        let path = path.child("generateName");
        errors.extend(
            name_check(generate, true).into_iter().map(|e| FieldError::invalid_str(&path, generate, e)),
        );
    }
    let name = text("name");
    if name.is_empty() {
        errors.push(FieldError::required(&path.child("name"), "name or generateName is required"));
    } else {
        let path = path.child("name");
        errors.extend(name_check(name, false).into_iter().map(|e| FieldError::invalid_str(&path, name, e)));
    }
    let namespace = text("namespace");
    let namespace_path = path.child("namespace");
    if namespaced {
        if namespace.is_empty() {
            errors.push(FieldError::required(&namespace_path, ""));
        } else {
            errors.extend(
                names::is_dns1123_label(namespace)
                    .into_iter()
                    .map(|e| FieldError::invalid_str(&namespace_path, namespace, e)),
            );
        }
    } else if !namespace.is_empty() {
        errors.push(FieldError::forbidden(&namespace_path, "not allowed on this type"));
    }
    if let Some(generation) = get("generation").filter(|g| g.as_i64().is_some_and(|g| g < 0)) {
        errors.push(FieldError::invalid(
            &path.child("generation"),
            generation,
            "must be greater than or equal to 0",
        ));
    }
    errors.extend(validate_labels(&path.child("labels"), get("labels")));
    errors.extend(validate_annotations(&path.child("annotations"), get("annotations")));
    errors.extend(validate_owner_references(&path.child("ownerReferences"), get("ownerReferences")));
    errors.extend(validate_finalizers(&path.child("finalizers"), get("finalizers")));
    errors.extend(validate_managed_fields(&path.child("managedFields"), get("managedFields")));
    errors
}

/// The metadata of an object to be updated: `ValidateObjectMetaAccessorUpdate`. Upstream runs it once for
/// every kind and most kinds run it again, so that its errors are caused twice.
pub fn validate_object_meta_update(new: &Value, old: &Value) -> ErrorList {
    let path = Path::new("metadata");
    let get = |object: &'_ Value, name: &str| object.get("metadata").and_then(|m| m.get(name)).cloned();
    let mut errors = ErrorList::new();
    if !meta_str(old, "deletionTimestamp").is_empty() {
        let (new_list, old_list) = (get(new, "finalizers"), get(old, "finalizers"));
        let known = texts(old_list.as_ref());
        let mut extra: Vec<&str> =
            texts(new_list.as_ref()).into_iter().filter(|f| !known.contains(f)).collect();
        extra.sort_unstable();
        extra.dedup();
        if !extra.is_empty() {
            let shown: Vec<String> = extra.iter().map(|f| crate::field::go_quote(f)).collect();
            errors.push(FieldError::forbidden(
                &path.child("finalizers"),
                format!(
                    "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
                    shown.join(", ")
                ),
            ));
        }
    }
    if meta_str(new, "resourceVersion").is_empty() {
        errors.push(FieldError::invalid_str(
            &path.child("resourceVersion"),
            "",
            "must be specified for an update",
        ));
    }
    let generation = |o: &Value| get(o, "generation").and_then(|g| g.as_i64()).unwrap_or(0);
    if generation(new) < generation(old) {
        errors.push(FieldError::invalid(
            &path.child("generation"),
            &generation(new).into(),
            "must not be decremented",
        ));
    }
    for name in ["name", "namespace", "uid"] {
        let (new, old) = (meta_str(new, name), meta_str(old, name));
        if new != old {
            errors.push(FieldError::invalid_str(&path.child(name), new, IMMUTABLE));
        }
    }
    for name in ["creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"] {
        errors.extend(validate_immutable(
            &path.child(name),
            get(new, name).as_ref(),
            get(old, name).as_ref(),
        ));
    }
    errors.extend(validate_labels(&path.child("labels"), get(new, "labels").as_ref()));
    errors.extend(validate_annotations(&path.child("annotations"), get(new, "annotations").as_ref()));
    errors.extend(validate_owner_references(
        &path.child("ownerReferences"),
        get(new, "ownerReferences").as_ref(),
    ));
    errors.extend(validate_managed_fields(&path.child("managedFields"), get(new, "managedFields").as_ref()));
    errors
}

/// Whether an object bears this annotation.
pub fn annotation<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    meta_map(object, "annotations").find(|(k, _)| *k == key).map(|(_, v)| v)
}

#[cfg(test)]
mod tests;
