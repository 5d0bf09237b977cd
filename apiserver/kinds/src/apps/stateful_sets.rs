//! StatefulSets.

use kplane_machinery::field::{ErrorList, FieldError};
use serde_json::{Value, json};

use crate::check::NameRule;
use crate::common::{counts, first_generation, spec_changed};
use crate::podspec::{defaults, print as pod_print, warnings};
use crate::print;
use crate::rules::{at_most_hundred, int_or_percent};
use crate::strategy::{Context, Strategy};
use crate::val::{At, dflt, dflt_str, each, ensure, map_mut, same, sub};

/// What may change in the spec of one that exists.
const MUTABLE: [&str; 8] = [
    "replicas",
    "ordinals",
    "template",
    "updateStrategy",
    "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy",
    "minReadySeconds",
    "revisionHistoryLimit",
];

/// `StatefulSet`.
pub(crate) struct StatefulSets;

fn validate_spec(spec: &At<'_>, errors: &mut ErrorList) {
    let management = spec.f("podManagementPolicy");
    match management.str() {
        "" => management.required(errors, ""),
        "OrderedReady" | "Parallel" => {}
        _ => management.invalid(errors, "must be 'OrderedReady' or 'Parallel'"),
    }
    let update = spec.f("updateStrategy");
    match update.f("type").str() {
        "" => update.required(errors, ""),
        "OnDelete" => {
            if update.f("rollingUpdate").there() {
                update.f("rollingUpdate").invalid(errors, "only allowed for updateStrategy 'RollingUpdate'");
            }
        }
        "RollingUpdate" => {
            update.at(&["rollingUpdate", "partition"]).non_negative(errors);
            let unavailable = update.at(&["rollingUpdate", "maxUnavailable"]);
            int_or_percent(&unavailable, errors);
            at_most_hundred(&unavailable, errors);
        }
        _ => update.invalid(errors, "must be 'RollingUpdate' or 'OnDelete'"),
    }
    let retention = spec.f("persistentVolumeClaimRetentionPolicy");
    for field in ["whenDeleted", "whenScaled"] {
        if retention.there() {
            retention.f(field).one_of(errors, &["Delete", "Retain"]);
        }
    }
    spec.f("replicas").non_negative(errors);
    spec.f("minReadySeconds").non_negative(errors);
    spec.at(&["ordinals", "start"]).non_negative(errors);
    super::selected_template(spec, "StatefulSet", true, errors);
}

impl Strategy for StatefulSets {
    fn name_rule(&self) -> NameRule {
        NameRule::Label
    }

    fn default(&self, _version: &str, object: &mut Value) {
        let Some(fields) = object.as_object_mut() else { return };
        if let Some(status) = ensure(fields, "status") {
            dflt(status, "replicas", 0);
            dflt(status, "availableReplicas", 0);
        }
        let Some(spec) = ensure(fields, "spec") else { return };
        dflt_str(spec, "podManagementPolicy", "OrderedReady");
        if let Some(update) = ensure(spec, "updateStrategy") {
            dflt_str(update, "type", "RollingUpdate");
            if update.get("type").and_then(Value::as_str) == Some("RollingUpdate")
                && let Some(rolling) = ensure(update, "rollingUpdate")
            {
                dflt(rolling, "partition", 0);
            }
        }
        if let Some(retention) = ensure(spec, "persistentVolumeClaimRetentionPolicy") {
            dflt_str(retention, "whenDeleted", "Retain");
            dflt_str(retention, "whenScaled", "Retain");
        }
        dflt(spec, "replicas", 1);
        dflt(spec, "revisionHistoryLimit", 10);
        dflt(spec, "selector", Value::Null);
        dflt(spec, "serviceName", "");
        each(spec, "volumeClaimTemplates", |claim| {
            dflt_str(claim, "apiVersion", "v1");
            dflt_str(claim, "kind", "PersistentVolumeClaim");
            if let Some(spec) = ensure(claim, "spec") {
                defaults::claim_spec(spec);
            }
            if let Some(status) = ensure(claim, "status") {
                dflt_str(status, "phase", "Pending");
            }
        });
        defaults::template(spec, "template");
    }

    fn prepare_create(&self, _cx: &Context<'_>, object: &mut Value) {
        crate::val::set_status(object, json!({"replicas": 0, "availableReplicas": 0}));
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
            let fields =
                ["replicas", "readyReplicas", "currentReplicas", "updatedReplicas", "availableReplicas"];
            let status = root.f("status");
            counts(&status, &fields, &mut errors);
            let all = status.f("replicas").num();
            for field in ["readyReplicas", "currentReplicas", "updatedReplicas", "availableReplicas"] {
                if status.f(field).num() > all {
                    status.f(field).invalid(&mut errors, "cannot be greater than status.replicas");
                }
            }
            return errors;
        }
        validate_spec(&root.f("spec"), &mut errors);
        let mut changed = object.clone();
        if let Some(spec) = map_mut(&mut changed, "spec") {
            for field in MUTABLE {
                match old.get("spec").and_then(|s| sub(s, field)) {
                    Some(value) => spec.insert(field.into(), value.clone()),
                    None => spec.remove(field),
                };
            }
        }
        if !same(At::root(&changed).f("spec").value(), At::root(old).f("spec").value()) {
            errors.push(FieldError::forbidden(
                &root.f("spec").path,
                "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', \
                 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden",
            ));
        }
        errors
    }

    fn warnings(&self, cx: &Context<'_>, object: &Value, old: Option<&Value>) -> Vec<String> {
        if cx.subresource.is_some() {
            return Vec::new();
        }
        let root = At::root(object);
        let mut out = warnings::of_template(object, old, &["spec", "template"], false);
        let limit = root.at(&["spec", "revisionHistoryLimit"]);
        if limit.num() < 0 {
            out.push("spec.revisionHistoryLimit: a negative value retains all historical revisions; a value >= 0 is recommended".into());
        }
        out
    }

    fn generation(&self, cx: &Context<'_>, object: &Value, old: &Value) -> Option<bool> {
        spec_changed(cx, object, old)
    }

    fn row(&self, _version: &str, object: &Value, now: i64) -> Option<Vec<Value>> {
        let template = object.get("spec").and_then(|s| s.get("template"));
        let (names, images) = template.map(pod_print::names_and_images).unwrap_or_default();
        let ready = print::count(object, &["status", "readyReplicas"]);
        Some(vec![
            print::name(object),
            format!("{ready}/{}", print::count(object, &["spec", "replicas"])).into(),
            print::age(object, now),
            names.into(),
            images.into(),
        ])
    }
}
