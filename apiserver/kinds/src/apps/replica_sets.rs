//! ReplicaSets.

use kplane_machinery::field::ErrorList;
use serde_json::{Value, json};

use crate::common::{first_generation, spec_changed};
use crate::core::controllers::replica_status;
use crate::podspec::{defaults, print as pod_print, warnings};
use crate::print;
use crate::strategy::{Context, Strategy};
use crate::val::{At, dflt, ensure};

/// `ReplicaSet`.
pub(crate) struct ReplicaSets;

fn validate_spec(spec: &At<'_>, errors: &mut ErrorList) {
    spec.f("replicas").non_negative(errors);
    spec.f("minReadySeconds").non_negative(errors);
    super::selected_template(spec, "ReplicaSet", true, errors);
}

impl Strategy for ReplicaSets {
    fn default(&self, _version: &str, object: &mut Value) {
        let Some(fields) = object.as_object_mut() else { return };
        if let Some(status) = ensure(fields, "status") {
            dflt(status, "replicas", 0);
        }
        let Some(spec) = ensure(fields, "spec") else { return };
        dflt(spec, "replicas", 1);
        dflt(spec, "selector", Value::Null);
        defaults::template(spec, "template");
    }

    fn prepare_create(&self, _cx: &Context<'_>, object: &mut Value) {
        crate::val::set_status(object, json!({"replicas": 0}));
        first_generation(object);
    }

    fn validate_create(&self, _cx: &Context<'_>, object: &Value) -> ErrorList {
        let mut errors = Vec::new();
        validate_spec(&At::root(object).f("spec"), &mut errors);
        errors
    }

    fn validate_update(&self, cx: &Context<'_>, object: &Value, old: &Value) -> ErrorList {
        let mut errors = Vec::new();
        let root = At::root(object);
        if cx.subresource == Some("status") {
            replica_status(&root.f("status"), &mut errors);
            return errors;
        }
        validate_spec(&root.f("spec"), &mut errors);
        root.at(&["spec", "selector"]).immutable(&mut errors, &At::root(old).at(&["spec", "selector"]));
        errors
    }

    fn warnings(&self, cx: &Context<'_>, object: &Value, old: Option<&Value>) -> Vec<String> {
        if cx.subresource.is_some() {
            return Vec::new();
        }
        warnings::of_template(object, old, &["spec", "template"], true)
    }

    fn generation(&self, cx: &Context<'_>, object: &Value, old: &Value) -> Option<bool> {
        spec_changed(cx, object, old)
    }

    fn row(&self, _version: &str, object: &Value, now: i64) -> Option<Vec<Value>> {
        let spec = object.get("spec").unwrap_or(&Value::Null);
        let (names, images) = spec.get("template").map(pod_print::names_and_images).unwrap_or_default();
        Some(vec![
            print::name(object),
            print::count(object, &["spec", "replicas"]).into(),
            print::count(object, &["status", "replicas"]).into(),
            print::count(object, &["status", "readyReplicas"]).into(),
            print::age(object, now),
            names.into(),
            images.into(),
            print::selector(spec.get("selector")).into(),
        ])
    }
}
