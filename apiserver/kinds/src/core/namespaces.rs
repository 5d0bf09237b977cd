//! Namespaces.

use kplane_machinery::field::{ErrorList, FieldError};
use kplane_machinery::object::{meta_mut, meta_str, name, str_at};
use serde_json::{Value, json};

use crate::check::{self, NameRule};
use crate::print;
use crate::strategy::{Context, Strategy};
use crate::val::{At, ensure, map_mut, sub};

/// The label that names a namespace, so that selectors can.
const NAME_LABEL: &str = "kubernetes.io/metadata.name";

/// `Namespace`.
pub(crate) struct Namespaces;

fn label(object: &mut Value) {
    let own = name(object).to_owned();
    if own.is_empty() {
        return;
    }
    if let Some(labels) = meta_mut(object).and_then(|meta| ensure(meta, "labels")) {
        labels.insert(NAME_LABEL.into(), own.into());
    }
}

fn keep(object: &mut Value, old: &Value, part: &str) {
    if let Some(fields) = object.as_object_mut() {
        match sub(old, part) {
            Some(value) => fields.insert(part.into(), value.clone()),
            None => fields.remove(part),
        };
    }
}

impl Strategy for Namespaces {
    fn name_rule(&self) -> NameRule {
        NameRule::Label
    }

    fn default(&self, _version: &str, object: &mut Value) {
        label(object);
        if let Some(fields) = object.as_object_mut() {
            ensure(fields, "spec");
            ensure(fields, "status");
        }
    }

    fn prepare_create(&self, _cx: &Context<'_>, object: &mut Value) {
        let Some(fields) = object.as_object_mut() else { return };
        fields.insert("status".into(), json!({"phase": "Active"}));
        if let Some(spec) = ensure(fields, "spec") {
            let list = spec.entry("finalizers").or_insert_with(|| json!([]));
            if list.is_null() {
                *list = json!([]);
            }
            if let Some(list) = list.as_array_mut()
                && !list.iter().any(|f| f == "kubernetes")
            {
                list.push("kubernetes".into());
            }
        }
    }

    fn canonicalize(&self, object: &mut Value) {
        label(object);
    }

    fn prepare_update(&self, cx: &Context<'_>, object: &mut Value, old: &Value) {
        match cx.subresource {
            Some("status") => keep(object, old, "spec"),
            Some("finalize") => keep(object, old, "status"),
            _ => {
                keep(object, old, "status");
                keep(object, old, "spec");
            }
        }
    }

    fn validate_create(&self, _cx: &Context<'_>, object: &Value) -> ErrorList {
        let mut errors = Vec::new();
        finalizers(object, &mut errors);
        errors
    }

    fn validate_update(&self, cx: &Context<'_>, object: &Value, _old: &Value) -> ErrorList {
        let mut errors = Vec::new();
        match cx.subresource {
            Some("status") => {
                let phase = At::root(object).at(&["status", "phase"]);
                let (want, says) = if meta_str(object, "deletionTimestamp").is_empty() {
                    ("Active", "may only be 'Active' if `deletionTimestamp` is empty")
                } else {
                    ("Terminating", "may only be 'Terminating' if `deletionTimestamp` is not empty")
                };
                if phase.str() != want {
                    let path = kplane_machinery::field::Path::new("status").child("Phase");
                    errors.push(FieldError::invalid_str(&path, phase.str(), says));
                }
            }
            _ => finalizers(object, &mut errors),
        }
        errors
    }

    /// Its contents go first.
    fn holds_deletion(&self, object: &Value) -> bool {
        object.get("spec").is_some_and(|spec| !crate::val::items(spec, "finalizers").is_empty())
    }

    fn begin_deletion(&self, object: &mut Value) {
        if let Some(status) = map_mut(object, "status") {
            status.insert("phase".into(), "Terminating".into());
        } else {
            crate::val::set_status(object, json!({"phase": "Terminating"}));
        }
    }

    fn row(&self, _version: &str, object: &Value, now: i64) -> Option<Vec<Value>> {
        let phase = str_at(object, &["status", "phase"]);
        Some(vec![print::name(object), phase.into(), print::age(object, now)])
    }
}

fn finalizers(object: &Value, errors: &mut ErrorList) {
    for finalizer in At::root(object).at(&["spec", "finalizers"]).items() {
        let name = finalizer.str();
        finalizer.invalid_all(errors, check::qualified(name));
        let standard = matches!(name, "kubernetes" | "orphan" | "foregroundDeletion");
        if !name.contains('/') && !standard {
            finalizer.invalid(errors, "name is neither a standard finalizer name nor is it fully qualified");
        }
    }
}
