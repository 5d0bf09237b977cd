//! Deployments.

use kplane_machinery::field::ErrorList;
use kplane_machinery::object::meta_map;
use serde_json::Value;

use crate::common::{clear_status, counts, first_generation, spec_changed};
use crate::podspec::{defaults, print as pod_print, warnings};
use crate::print;
use crate::rules::{at_most_hundred, int_or_percent, int_or_percent_value};
use crate::strategy::{Context, StatusKeeps, Strategy};
use crate::val::{At, dflt, dflt_str, ensure};

/// `Deployment`.
pub(crate) struct Deployments;

fn validate_spec(spec: &At<'_>, errors: &mut ErrorList) {
    spec.f("replicas").non_negative(errors);
    super::selected_template(spec, "Deployment", true, errors);
    let strategy = spec.f("strategy");
    let rolling = strategy.f("rollingUpdate");
    match strategy.f("type").str() {
        "Recreate" => {
            if rolling.there() {
                rolling.forbidden(errors, "may not be specified when strategy `type` is 'Recreate'");
            }
        }
        "RollingUpdate" => {
            if rolling.there() {
                rolling_update(&rolling, errors);
            } else {
                rolling.required(errors, "this should be defaulted and never be nil");
            }
        }
        _ => strategy.f("type").unsupported(errors, &["Recreate", "RollingUpdate"]),
    }
    for field in ["minReadySeconds", "revisionHistoryLimit", "progressDeadlineSeconds"] {
        spec.f(field).non_negative(errors);
    }
    let deadline = spec.f("progressDeadlineSeconds");
    if deadline.there() && deadline.num() <= spec.f("minReadySeconds").num() {
        deadline.invalid(errors, "must be greater than minReadySeconds");
    }
}

fn rolling_update(rolling: &At<'_>, errors: &mut ErrorList) {
    let (unavailable, surge) = (rolling.f("maxUnavailable"), rolling.f("maxSurge"));
    int_or_percent(&unavailable, errors);
    int_or_percent(&surge, errors);
    if int_or_percent_value(unavailable.value()) == 0 && int_or_percent_value(surge.value()) == 0 {
        unavailable.invalid(errors, "may not be 0 when `maxSurge` is 0");
    }
    at_most_hundred(&unavailable, errors);
}

fn validate_status(status: &At<'_>, errors: &mut ErrorList) {
    let fields = [
        "observedGeneration",
        "replicas",
        "updatedReplicas",
        "readyReplicas",
        "availableReplicas",
        "unavailableReplicas",
        "collisionCount",
        "terminatingReplicas",
    ];
    counts(status, &fields, errors);
    let all = status.f("replicas").num();
    for field in ["updatedReplicas", "readyReplicas", "availableReplicas"] {
        if status.f(field).num() > all {
            status.f(field).invalid(errors, "cannot be greater than status.replicas");
        }
    }
    if status.f("availableReplicas").num() > status.f("readyReplicas").num() {
        status.f("availableReplicas").invalid(errors, "cannot be greater than readyReplicas");
    }
}

impl Strategy for Deployments {
    fn status_keeps(&self) -> StatusKeeps {
        StatusKeeps::Fields(&["labels"])
    }

    fn default(&self, _version: &str, object: &mut Value) {
        let Some(fields) = object.as_object_mut() else { return };
        ensure(fields, "status");
        let Some(spec) = ensure(fields, "spec") else { return };
        dflt(spec, "replicas", 1);
        if let Some(strategy) = ensure(spec, "strategy") {
            dflt_str(strategy, "type", "RollingUpdate");
            if strategy.get("type").and_then(Value::as_str) == Some("RollingUpdate")
                && let Some(rolling) = ensure(strategy, "rollingUpdate")
            {
                dflt(rolling, "maxUnavailable", "25%");
                dflt(rolling, "maxSurge", "25%");
            }
        }
        dflt(spec, "revisionHistoryLimit", 10);
        dflt(spec, "progressDeadlineSeconds", 600);
        dflt(spec, "selector", Value::Null);
        defaults::template(spec, "template");
    }

    fn prepare_create(&self, _cx: &Context<'_>, object: &mut Value) {
        clear_status(object);
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
            validate_status(&root.f("status"), &mut errors);
            let (now, was) =
                (root.at(&["status", "collisionCount"]), At::root(old).at(&["status", "collisionCount"]));
            if was.there() && now.num() < was.num() {
                now.invalid(&mut errors, "cannot be decremented");
            }
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

    /// Annotations count too: the controller copies them to its ReplicaSets.
    fn generation(&self, cx: &Context<'_>, object: &Value, old: &Value) -> Option<bool> {
        let changed = spec_changed(cx, object, old)?;
        let annotations = |o| meta_map(o, "annotations").collect::<Vec<_>>();
        let noted = cx.subresource != Some("status") && annotations(object) != annotations(old);
        Some(changed || noted)
    }

    fn row(&self, _version: &str, object: &Value, now: i64) -> Option<Vec<Value>> {
        let spec = object.get("spec").unwrap_or(&Value::Null);
        let (names, images) = spec.get("template").map(pod_print::names_and_images).unwrap_or_default();
        let ready = print::count(object, &["status", "readyReplicas"]);
        Some(vec![
            print::name(object),
            format!("{ready}/{}", print::count(object, &["spec", "replicas"])).into(),
            print::count(object, &["status", "updatedReplicas"]).into(),
            print::count(object, &["status", "availableReplicas"]).into(),
            print::age(object, now),
            names.into(),
            images.into(),
            print::selector(spec.get("selector")).into(),
        ])
    }
}
