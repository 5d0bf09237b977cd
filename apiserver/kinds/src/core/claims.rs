//! PersistentVolumeClaims.

use kplane_machinery::field::{ErrorList, FieldError};
use kplane_machinery::object::{meta_str, str_at};
use kplane_machinery::quantity::Quantity;
use serde_json::{Value, json};

use crate::common::add_finalizer;
use crate::podspec::containers::quantity_value;
use crate::podspec::defaults;
use crate::rules::label_selector;
use crate::strategy::{Context, Strategy};
use crate::val::{At, child, dflt_str, ensure, items, map_mut, same, text};
use crate::{amount, check, print};

const MODES: [&str; 4] = ["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];

/// `PersistentVolumeClaim`.
pub(crate) struct Claims;

/// `accessModes` of a claim or volume.
pub(super) fn access_modes(modes: &At<'_>, errors: &mut ErrorList) {
    for mode in modes.items() {
        mode.one_of(errors, &MODES);
    }
    if modes.len() > 1 && modes.items().any(|m| m.str() == "ReadWriteOncePod") {
        modes.forbidden(errors, "may not use ReadWriteOncePod with other access modes");
    }
}

/// The spec of a claim, also where a pod holds one for itself.
pub(crate) fn spec(spec: &At<'_>, errors: &mut ErrorList) {
    if spec.f("accessModes").len() == 0 {
        spec.f("accessModes").required(errors, "at least 1 access mode is required");
    }
    label_selector(&spec.f("selector"), errors);
    access_modes(&spec.f("accessModes"), errors);
    let resources = spec.f("resources");
    let storage = resources.f("requests").key("storage");
    if storage.there() {
        quantity_value("storage", &At::new(Some(storage.value()), resources.path.key("storage")), errors);
        if amount::of(storage.value()).is_some_and(|q| q.is_zero()) {
            errors.push(FieldError::invalid(
                &resources.path.key("storage"),
                storage.value(),
                "must be greater than zero",
            ));
        }
    } else {
        resources.key("storage").required(errors, "");
    }
    for name in ["storageClassName", "volumeAttributesClassName"] {
        let class = spec.f(name);
        if !class.str().is_empty() {
            class.invalid_all(errors, check::subdomain(class.str()));
        }
    }
    let mode = spec.f("volumeMode");
    if mode.there() {
        mode.one_of(errors, &["Block", "Filesystem"]);
    }
    let source = spec.f("dataSource");
    if source.there() {
        for field in ["name", "kind"] {
            if source.f(field).str().is_empty() {
                source.f(field).required(errors, "");
            }
        }
    }
}

impl Strategy for Claims {
    fn default(&self, _version: &str, object: &mut Value) {
        let Some(fields) = object.as_object_mut() else { return };
        if let Some(spec) = ensure(fields, "spec") {
            defaults::claim_spec(spec);
            // The two names of a source say the same, unless the newer says more.
            if spec.get("dataSource").is_none_or(Value::is_null)
                && let Some(reference) = spec.get("dataSourceRef").cloned()
                && text(&reference, "namespace").is_empty()
                && matches!(text(&reference, "kind"), "PersistentVolumeClaim" | "VolumeSnapshot")
            {
                spec.insert("dataSource".into(), reference);
            } else if spec.get("dataSourceRef").is_none_or(Value::is_null)
                && let Some(source) = spec.get("dataSource").cloned()
            {
                spec.insert("dataSourceRef".into(), source);
            }
        }
        if let Some(status) = ensure(fields, "status") {
            dflt_str(status, "phase", "Pending");
        }
    }

    fn prepare_create(&self, _cx: &Context<'_>, object: &mut Value) {
        crate::val::set_status(object, json!({"phase": "Pending"}));
        add_finalizer(object, "kubernetes.io/pvc-protection");
    }

    fn validate_create(&self, _cx: &Context<'_>, object: &Value) -> ErrorList {
        let mut errors = Vec::new();
        spec(&At::root(object).f("spec"), &mut errors);
        errors
    }

    fn validate_update(&self, cx: &Context<'_>, object: &Value, old: &Value) -> ErrorList {
        let mut errors = Vec::new();
        let (new, before) = (At::root(object).f("spec"), At::root(old).f("spec"));
        if cx.subresource.is_some() {
            return errors;
        }
        spec(&new, &mut errors);
        let bound = str_at(old, &["status", "phase"]) == "Bound";
        let mut changed = object.clone();
        if let Some(target) = map_mut(&mut changed, "spec") {
            if before.f("volumeName").str().is_empty() {
                // A claim without a volume may be given one.
                target.remove("volumeName");
            }
            if bound
                && let (Some(resources), Some(was)) =
                    (child(target, "resources"), before.at(&["resources", "requests"]).value().as_object())
            {
                resources.insert("requests".into(), Value::Object(was.clone()));
            }
            if before.f("volumeAttributesClassName").there() || bound {
                match crate::val::sub(before.value(), "volumeAttributesClassName") {
                    Some(class) => target.insert("volumeAttributesClassName".into(), class.clone()),
                    None => target.remove("volumeAttributesClassName"),
                };
            }
            if !before.f("storageClassName").there() {
                target.remove("storageClassName");
            }
        }
        let changed = At::root(&changed).f("spec").value().clone();
        if !same(&changed, before.value()) {
            errors.push(FieldError::forbidden(
                &new.path,
                "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims",
            ));
        }
        let storage = |at: &At<'_>| amount::of(at.at(&["resources", "requests", "storage"]).value());
        let capacity = amount::of(At::root(old).at(&["status", "capacity"]).f("storage").value())
            .unwrap_or(Quantity::ZERO);
        if let (Some(now), Some(was)) = (storage(&new), storage(&before))
            && now < was
            && now <= capacity
        {
            errors.push(FieldError::forbidden(
                &new.path.child("resources").child("requests").child("storage"),
                "field can not be less than status.capacity",
            ));
        }
        new.f("volumeMode").immutable(&mut errors, &before.f("volumeMode"));
        errors
    }

    fn returns_deleted_object(&self) -> bool {
        true
    }

    fn row(&self, _version: &str, object: &Value, now: i64) -> Option<Vec<Value>> {
        let spec = object.get("spec").unwrap_or(&Value::Null);
        let volume = text(spec, "volumeName");
        let (mut capacity, mut modes) = (String::new(), String::new());
        if !volume.is_empty() {
            let status = object.get("status").unwrap_or(&Value::Null);
            modes = print::access_modes(items(status, "accessModes"));
            capacity = status
                .get("capacity")
                .and_then(|c| c.get("storage"))
                .map(amount::text)
                .unwrap_or_else(|| "0".to_owned());
        }
        let phase = if meta_str(object, "deletionTimestamp").is_empty() {
            str_at(object, &["status", "phase"])
        } else {
            "Terminating"
        };
        Some(vec![
            print::name(object),
            phase.into(),
            volume.into(),
            capacity.into(),
            modes.into(),
            print::storage_class(object).into(),
            print::text_or(spec, &["volumeAttributesClassName"], print::UNSET),
            print::age(object, now),
            print::text_or(spec, &["volumeMode"], print::UNSET),
        ])
    }
}
