//! DaemonSets.

use kplane_machinery::field::ErrorList;
use kplane_machinery::object::meta_mut;
use serde_json::{Value, json};

use crate::common::{counts, first_generation, spec_changed, zeros};
use crate::podspec::{defaults, print as pod_print, warnings};
use crate::print;
use crate::rules::{at_most_hundred, int_or_percent, int_or_percent_value};
use crate::strategy::{Context, Strategy, keep_other_part};
use crate::val::{At, dflt, dflt_str, ensure, same};

/// Counts the changes of the template alone.
const TEMPLATE_GENERATION: &str = "deprecated.daemonset.template.generation";
const STATUS: [&str; 4] =
    ["currentNumberScheduled", "desiredNumberScheduled", "numberMisscheduled", "numberReady"];

/// `DaemonSet`.
pub(crate) struct DaemonSets;

fn validate_spec(spec: &At<'_>, errors: &mut ErrorList) {
    super::selected_template(spec, "DaemonSet", false, errors);
    spec.f("minReadySeconds").non_negative(errors);
    let update = spec.f("updateStrategy");
    let rolling = update.f("rollingUpdate");
    match update.f("type").str() {
        "OnDelete" => {}
        "RollingUpdate" if !rolling.there() => rolling.required(errors, ""),
        "RollingUpdate" => {
            let (unavailable, surge) = (rolling.f("maxUnavailable"), rolling.f("maxSurge"));
            for part in [&unavailable, &surge] {
                int_or_percent(part, errors);
                at_most_hundred(part, errors);
            }
            let value = |at: &At<'_>| int_or_percent_value(at.value());
            match (value(&unavailable) > 0, value(&surge) > 0) {
                (true, true) => surge.invalid(errors, "may not be set when maxUnavailable is non-zero"),
                (false, false) => unavailable.invalid(errors, "cannot be 0 when maxSurge is 0"),
                _ => {}
            }
        }
        _ => update.f("type").unsupported(errors, &["OnDelete", "RollingUpdate"]),
    }
    spec.f("revisionHistoryLimit").non_negative(errors);
}

fn template_generation(object: &Value) -> i64 {
    At::root(object).at(&["metadata", "annotations"]).key(TEMPLATE_GENERATION).str().parse().unwrap_or(0)
}

fn set_template_generation(object: &mut Value, generation: i64) {
    if !object.is_object() {
        return;
    }
    if let Some(annotations) = meta_mut(object).and_then(|meta| ensure(meta, "annotations")) {
        annotations.insert(TEMPLATE_GENERATION.into(), generation.to_string().into());
    }
}

impl Strategy for DaemonSets {
    fn versioned_annotations(&self) -> &'static [&'static str] {
        &[TEMPLATE_GENERATION]
    }

    fn default(&self, _version: &str, object: &mut Value) {
        // Version 1 shows a field of the internal version here, which is always written.
        let generation = template_generation(object);
        set_template_generation(object, generation);
        zeros(object, "status", &STATUS);
        let Some(fields) = object.as_object_mut() else { return };
        let Some(spec) = ensure(fields, "spec") else { return };
        if let Some(update) = ensure(spec, "updateStrategy") {
            dflt_str(update, "type", "RollingUpdate");
            if update.get("type").and_then(Value::as_str) == Some("RollingUpdate")
                && let Some(rolling) = ensure(update, "rollingUpdate")
            {
                dflt(rolling, "maxUnavailable", 1);
                dflt(rolling, "maxSurge", 0);
            }
        }
        dflt(spec, "revisionHistoryLimit", 10);
        dflt(spec, "selector", Value::Null);
        defaults::template(spec, "template");
    }

    fn prepare_create(&self, _cx: &Context<'_>, object: &mut Value) {
        crate::val::set_status(object, json!({}));
        zeros(object, "status", &STATUS);
        first_generation(object);
        let generation = template_generation(object).max(1);
        set_template_generation(object, generation);
    }

    fn prepare_update(&self, cx: &Context<'_>, object: &mut Value, old: &Value) {
        keep_other_part(cx, object, old);
        if cx.subresource.is_none() {
            let template = |o: &Value| At::root(o).at(&["spec", "template"]).value().clone();
            let mut generation = template_generation(old);
            if !same(&template(object), &template(old)) {
                generation += 1;
            }
            set_template_generation(object, generation);
        }
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
            let fields =
                ["observedGeneration", "updatedNumberScheduled", "numberAvailable", "numberUnavailable"];
            counts(&root.f("status"), &STATUS, &mut errors);
            counts(&root.f("status"), &fields, &mut errors);
            return errors;
        }
        root.at(&["spec", "selector"]).immutable(&mut errors, &At::root(old).at(&["spec", "selector"]));
        validate_spec(&root.f("spec"), &mut errors);
        errors
    }

    fn warnings(&self, cx: &Context<'_>, object: &Value, old: Option<&Value>) -> Vec<String> {
        if cx.subresource.is_some() {
            return Vec::new();
        }
        warnings::of_template(object, old, &["spec", "template"], false)
    }

    fn generation(&self, cx: &Context<'_>, object: &Value, old: &Value) -> Option<bool> {
        spec_changed(cx, object, old)
    }

    fn row(&self, _version: &str, object: &Value, now: i64) -> Option<Vec<Value>> {
        let spec = object.get("spec").unwrap_or(&Value::Null);
        let (names, images) = spec.get("template").map(pod_print::names_and_images).unwrap_or_default();
        let count = |field: &str| Value::from(print::count(object, &["status", field]));
        let node = At::root(object).at(&["spec", "template", "spec", "nodeSelector"]);
        Some(vec![
            print::name(object),
            count("desiredNumberScheduled"),
            count("currentNumberScheduled"),
            count("numberReady"),
            count("updatedNumberScheduled"),
            count("numberAvailable"),
            print::labels(Some(node.value())).into(),
            print::age(object, now),
            names.into(),
            images.into(),
            print::selector(spec.get("selector")).into(),
        ])
    }
}
