//! ReplicationControllers and PodTemplates.

use kplane_machinery::field::{ErrorList, FieldError};
use kplane_machinery::object::meta_mut;
use serde_json::{Value, json};

use crate::common::{counts, first_generation, part_changed, spec_changed};
use crate::podspec::{defaults, print as pod_print, validate, warnings};
use crate::print;
use crate::strategy::{Context, Strategy};
use crate::val::{At, Obj, dflt, ensure, sub};

/// `ReplicationController`.
pub(crate) struct ReplicationControllers;

fn template_labels(object: &Value) -> Option<Obj> {
    let labels = object.get("spec")?.get("template")?.get("metadata")?.get("labels")?.as_object()?;
    (!labels.is_empty()).then(|| labels.clone())
}

fn validate_spec(spec: &At<'_>, errors: &mut ErrorList) {
    spec.f("minReadySeconds").non_negative(errors);
    let selector = spec.f("selector");
    if selector.len() == 0 {
        selector.required(errors, "");
    }
    spec.f("replicas").non_negative(errors);
    let template = spec.f("template");
    if !template.there() {
        template.required(errors, "");
        return;
    }
    let labels = template.at(&["metadata", "labels"]);
    let matches = selector.entries().all(|(key, value)| labels.value().get(key) == Some(value.value()));
    if selector.len() > 0 && !matches {
        errors.push(FieldError::invalid(
            &labels.path,
            labels.value(),
            "`selector` does not match template `labels`",
        ));
    }
    validate::template(&template, errors);
    long_running(&template, "ReplicationController", errors);
}

/// A template of pods that are always restarted.
pub(crate) fn long_running(template: &At<'_>, kind: &str, errors: &mut ErrorList) {
    let policy = template.at(&["spec", "restartPolicy"]);
    if policy.str() != "Always" {
        policy.unsupported(errors, &["Always"]);
    }
    let deadline = template.at(&["spec", "activeDeadlineSeconds"]);
    if deadline.there() {
        deadline.forbidden(errors, format!("activeDeadlineSeconds in {kind} is not Supported"));
    }
}

/// The counts of a set of replicas: of those there are, none is more than all.
pub(crate) fn replica_status(status: &At<'_>, errors: &mut ErrorList) {
    let fields =
        ["replicas", "fullyLabeledReplicas", "readyReplicas", "availableReplicas", "observedGeneration"];
    counts(status, &fields, errors);
    let all = status.f("replicas").num();
    for field in ["fullyLabeledReplicas", "readyReplicas", "availableReplicas"] {
        if status.f(field).num() > all {
            status.f(field).invalid(errors, "cannot be greater than status.replicas");
        }
    }
    if status.f("availableReplicas").num() > status.f("readyReplicas").num() {
        status.f("availableReplicas").invalid(errors, "cannot be greater than readyReplicas");
    }
}

impl Strategy for ReplicationControllers {
    fn default(&self, _version: &str, object: &mut Value) {
        let labels = template_labels(object);
        if let Some(labels) = labels {
            if let Some(spec) = crate::val::map_mut(object, "spec")
                && spec.get("selector").is_none_or(crate::val::is_empty)
            {
                spec.insert("selector".into(), Value::Object(labels.clone()));
            }
            if let Some(meta) = meta_mut(object)
                && meta.get("labels").is_none_or(crate::val::is_empty)
            {
                meta.insert("labels".into(), Value::Object(labels));
            }
        }
        let Some(fields) = object.as_object_mut() else { return };
        if let Some(status) = ensure(fields, "status") {
            dflt(status, "replicas", 0);
        }
        let Some(spec) = ensure(fields, "spec") else { return };
        dflt(spec, "replicas", 1);
        if spec.get("template").is_some_and(Value::is_object) {
            defaults::template(spec, "template");
        }
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

    fn validate_update(&self, cx: &Context<'_>, object: &Value, _old: &Value) -> ErrorList {
        let mut errors = Vec::new();
        if cx.subresource == Some("status") {
            replica_status(&At::root(object).f("status"), &mut errors);
        } else {
            validate_spec(&At::root(object).f("spec"), &mut errors);
        }
        errors
    }

    fn warnings(&self, _cx: &Context<'_>, object: &Value, old: Option<&Value>) -> Vec<String> {
        warnings::of_template(object, old, &["spec", "template"], true)
    }

    fn generation(&self, cx: &Context<'_>, object: &Value, old: &Value) -> Option<bool> {
        spec_changed(cx, object, old)
    }

    fn orphan_by_default(&self) -> bool {
        true
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
            print::labels(spec.get("selector")).into(),
        ])
    }
}

/// `PodTemplate`.
pub(crate) struct PodTemplates;

impl Strategy for PodTemplates {
    fn default(&self, _version: &str, object: &mut Value) {
        if let Some(fields) = object.as_object_mut() {
            defaults::template(fields, "template");
        }
    }

    fn prepare_create(&self, _cx: &Context<'_>, object: &mut Value) {
        first_generation(object);
    }

    fn validate_create(&self, _cx: &Context<'_>, object: &Value) -> ErrorList {
        let mut errors = Vec::new();
        validate::template(&At::root(object).f("template"), &mut errors);
        errors
    }

    fn validate_update(&self, cx: &Context<'_>, object: &Value, _old: &Value) -> ErrorList {
        self.validate_create(cx, object)
    }

    fn warnings(&self, _cx: &Context<'_>, object: &Value, old: Option<&Value>) -> Vec<String> {
        warnings::of_template(object, old, &["template"], false)
    }

    fn generation(&self, cx: &Context<'_>, object: &Value, old: &Value) -> Option<bool> {
        part_changed(cx, object, old, "template")
    }

    fn returns_deleted_object(&self) -> bool {
        true
    }

    fn row(&self, _version: &str, object: &Value, _now: i64) -> Option<Vec<Value>> {
        let template = sub(object, "template").unwrap_or(&Value::Null);
        let (names, images) = pod_print::names_and_images(template);
        let labels = template.get("metadata").and_then(|m| m.get("labels"));
        Some(vec![print::name(object), names.into(), images.into(), print::labels(labels).into()])
    }
}

/// The name of the controller of an object, with its kind: `ReplicaSet/x`.
pub(crate) fn controller_of(object: &Value) -> String {
    object
        .get("metadata")
        .map(|m| crate::val::items(m, "ownerReferences"))
        .unwrap_or(&[])
        .iter()
        .find(|o| crate::val::truth(o, "controller"))
        .map_or_else(
            || print::NONE.to_owned(),
            |o| {
                let api = crate::val::text(o, "apiVersion");
                let group = api.split_once('/').map_or("", |(g, _)| g);
                let kind = crate::val::text(o, "kind").to_lowercase();
                let name = crate::val::text(o, "name");
                if group.is_empty() { format!("{kind}/{name}") } else { format!("{kind}.{group}/{name}") }
            },
        )
}
