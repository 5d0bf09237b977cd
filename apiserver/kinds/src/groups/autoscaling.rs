//! HorizontalPodAutoscalers.

use kplane_machinery::field::{ErrorList, FieldError};
use serde_json::{Value, json};

use super::autoscaling_v1 as v1;
use crate::amount;
use crate::check;
use crate::print::{self, UNKNOWN, UNSET};
use crate::strategy::{Context, Strategy};
use crate::val::{At, Obj, child, dflt, ensure, int, items, sub, text};

/// How many metrics a row shows.
const SHOWN: usize = 2;

/// `HorizontalPodAutoscaler`.
pub(crate) struct Autoscalers;

/// The name of the field of a metric's source, by the type of the metric.
pub(super) fn source_of(kind: &str) -> Option<&'static str> {
    Some(match kind {
        "ContainerResource" => "containerResource",
        "External" => "external",
        "Object" => "object",
        "Pods" => "pods",
        "Resource" => "resource",
        _ => return None,
    })
}

fn default_v2(spec: &mut Obj) {
    if spec.get("metrics").is_none_or(crate::val::is_empty) {
        spec.insert(
            "metrics".into(),
            json!([{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}}]),
        );
    }
    if let Some(behavior) = child(spec, "behavior") {
        let policy = |kind: &str, value: i64, period: i64| json!({"type": kind, "value": value, "periodSeconds": period});
        for (direction, window, policies) in [
            ("scaleUp", 0, json!([policy("Pods", 4, 15), policy("Percent", 100, 15)])),
            ("scaleDown", -1, json!([policy("Percent", 100, 15)])),
        ] {
            if let Some(rules) = ensure(behavior, direction) {
                if window >= 0 {
                    dflt(rules, "stabilizationWindowSeconds", window);
                }
                dflt(rules, "selectPolicy", "Max");
                if rules.get("policies").is_none_or(crate::val::is_empty) {
                    rules.insert("policies".into(), policies);
                }
            }
        }
    }
}

fn target(target: &At<'_>, errors: &mut ErrorList) {
    target.f("type").required_one_of(errors, &["AverageValue", "Utilization", "Value"]);
    let utilization = target.f("averageUtilization");
    if utilization.there() && utilization.num() < 1 {
        utilization.invalid(errors, "must be greater than 0");
    }
    for field in ["value", "averageValue"] {
        let value = target.f(field);
        if value.there() && !amount::positive(value.value()) {
            value.invalid(errors, "must be positive");
        }
    }
}

fn metric(metric: &At<'_>, errors: &mut ErrorList) {
    let kind = metric.f("type");
    if kind.str().is_empty() {
        kind.required(errors, "must specify a metric source type");
        return;
    }
    let Some(field) = source_of(kind.str()) else {
        kind.unsupported(errors, &["ContainerResource", "External", "Object", "Pods", "Resource"]);
        return;
    };
    let source = metric.f(field);
    for other in ["containerResource", "external", "object", "pods", "resource"] {
        if other != field && metric.f(other).there() {
            metric.f(other).forbidden(errors, "must populate the given metric source only");
        }
    }
    if !source.there() {
        source.required(errors, "must populate information for the given metric source");
        return;
    }
    let name = if source.f("metric").there() { source.at(&["metric", "name"]) } else { source.f("name") };
    if name.str().is_empty() {
        name.required(
            errors,
            if field.ends_with("esource") {
                "must specify a resource name"
            } else {
                "must specify a metric name"
            },
        );
    }
    if field == "containerResource" && source.f("container").str().is_empty() {
        source.f("container").required(errors, "must specify a container");
    }
    if field == "object" {
        scale_target(&source.f("describedObject"), false, errors);
    }
    target(&source.f("target"), errors);
    let (average, utilization) =
        (source.at(&["target", "averageValue"]), source.at(&["target", "averageUtilization"]));
    if field.ends_with("esource") {
        if !average.there() && !utilization.there() {
            utilization.required(errors, "must set either a target raw value or a target utilization");
        } else if average.there() && utilization.there() {
            average.forbidden(errors, "may not set both a target raw value and a target utilization");
        }
    }
    if field == "pods" && !average.there() {
        average.required(errors, "must specify a positive target averageValue");
    }
}

fn scale_target(reference: &At<'_>, scaled: bool, errors: &mut ErrorList) {
    for field in ["kind", "name"] {
        let field = reference.f(field);
        if field.str().is_empty() {
            field.required(errors, "");
        } else {
            field.invalid_all(errors, check::path_segment(field.str()));
        }
    }
    let version = reference.f("apiVersion");
    if scaled && !version.str().contains('/') && reference.f("kind").str() != "ReplicationController" {
        version.invalid_text(errors, "apiVersion must specify API group");
    }
}

fn rules(rules: &At<'_>, errors: &mut ErrorList) {
    let window = rules.f("stabilizationWindowSeconds");
    if window.there() && window.num() < 0 {
        window.invalid(errors, "must be greater than or equal to zero");
    }
    if window.num() > 3600 {
        window.invalid(errors, "must be less than or equal to 3600");
    }
    let select = rules.f("selectPolicy");
    if select.there() {
        select.one_of(errors, &["Disabled", "Max", "Min"]);
    }
    if rules.there() && rules.f("policies").len() == 0 {
        rules.f("policies").required(errors, "must specify at least one Policy");
    }
    for policy in rules.f("policies").items() {
        policy.f("type").one_of(errors, &["Percent", "Pods"]);
        let (value, period) = (policy.f("value"), policy.f("periodSeconds"));
        if value.num() <= 0 {
            value.invalid(errors, "must be greater than zero");
        }
        if period.num() <= 0 {
            period.invalid(errors, "must be greater than zero");
        }
        if period.num() > 1800 {
            period.invalid(errors, "must be less than or equal to 1800");
        }
    }
}

fn validate(object: &Value) -> ErrorList {
    let mut errors = Vec::new();
    let spec = At::root(object).f("spec");
    let (least, most) = (spec.f("minReplicas"), spec.f("maxReplicas"));
    if least.there() && least.num() < 1 {
        least.invalid(&mut errors, "must be greater than or equal to 1");
    }
    if most.num() < 1 {
        most.required(&mut errors, "must be set and greater than 0");
    }
    if least.there() && most.num() < least.num() {
        let shown = Value::from(most.num());
        errors.push(FieldError::invalid(
            &most.path,
            &shown,
            "must be greater than or equal to `minReplicas`",
        ));
    }
    scale_target(&spec.f("scaleTargetRef"), true, &mut errors);
    for one in spec.f("metrics").items() {
        metric(&one, &mut errors);
    }
    for direction in ["scaleUp", "scaleDown"] {
        rules(&spec.at(&["behavior", direction]), &mut errors);
    }
    errors
}

/// The object as version 2, whatever it is.
fn as_v2(version: &str, object: &Value) -> Value {
    let mut object = object.clone();
    if version == "v1" {
        v1::to_v2(&mut object);
    }
    object
}

impl Strategy for Autoscalers {
    fn default(&self, version: &str, object: &mut Value) {
        let Some(fields) = object.as_object_mut() else { return };
        if let Some(status) = ensure(fields, "status") {
            dflt(status, "desiredReplicas", 0);
            if version == "v1" {
                dflt(status, "currentReplicas", 0);
            } else {
                dflt(status, "currentMetrics", Value::Null);
            }
        }
        let Some(spec) = ensure(fields, "spec") else { return };
        dflt(spec, "minReplicas", 1);
        dflt(spec, "maxReplicas", 0);
        if version != "v1" {
            default_v2(spec);
        }
    }

    fn prepare_create(&self, cx: &Context<'_>, object: &mut Value) {
        crate::val::set_status(object, json!({}));
        self.default(cx.version, object);
    }

    fn validate_create(&self, cx: &Context<'_>, object: &Value) -> ErrorList {
        validate(&as_v2(cx.version, object))
    }

    fn validate_update(&self, cx: &Context<'_>, object: &Value, _old: &Value) -> ErrorList {
        if cx.subresource.is_some() {
            let mut errors = Vec::new();
            let status = At::root(object).f("status");
            crate::common::counts(&status, &["currentReplicas", "desiredReplicas"], &mut errors);
            return errors;
        }
        validate(&as_v2(cx.version, object))
    }

    fn convert(&self, object: &mut Value, from: &str, to: &str) -> Result<(), String> {
        match (from, to) {
            ("v1", "v2") => v1::to_v2(object),
            ("v2", "v1") => v1::from_v2(object),
            _ => return Err(format!("HorizontalPodAutoscaler has no conversion from {from} to {to}")),
        }
        self.default(to, object);
        Ok(())
    }

    fn row(&self, version: &str, object: &Value, now: i64) -> Option<Vec<Value>> {
        let object = as_v2(version, object);
        let spec = object.get("spec").unwrap_or(&Value::Null);
        let reference = spec.get("scaleTargetRef").unwrap_or(&Value::Null);
        let least = int(spec, "minReplicas").map_or_else(|| UNSET.to_owned(), |n| n.to_string());
        Some(vec![
            print::name(&object),
            format!("{}/{}", text(reference, "kind"), text(reference, "name")).into(),
            metrics(&object, spec).into(),
            least.into(),
            int(spec, "maxReplicas").unwrap_or(0).into(),
            print::count(&object, &["status", "currentReplicas"]).into(),
            print::age(&object, now),
        ])
    }
}

/// What is measured of each metric, and what it should be.
fn metrics(object: &Value, spec: &Value) -> String {
    let specs = items(spec, "metrics");
    if specs.is_empty() {
        return print::NONE.to_owned();
    }
    let seen = object.get("status").map(|s| items(s, "currentMetrics")).unwrap_or(&[]);
    let shown: Vec<String> = specs
        .iter()
        .take(SHOWN)
        .enumerate()
        .map(|(i, spec)| one_metric(spec, seen.get(i).unwrap_or(&Value::Null)))
        .collect();
    if specs.len() > SHOWN {
        format!("{} + {} more...", shown.join(", "), specs.len() - SHOWN)
    } else {
        shown.join(", ")
    }
}

fn one_metric(spec: &Value, seen: &Value) -> String {
    let kind = text(spec, "type");
    let Some(field) = source_of(kind) else { return "<unknown type>".to_owned() };
    let source = spec.get(field).unwrap_or(&Value::Null);
    let (target, current) = (
        source.get("target").unwrap_or(&Value::Null),
        seen.get(field).and_then(|s| s.get("current")).unwrap_or(&Value::Null),
    );
    let value = |from: &Value, name: &str| sub(from, name).map(amount::text);
    let now = |name: &str| value(current, name).unwrap_or_else(|| UNKNOWN.to_owned());
    match kind {
        "Resource" | "ContainerResource" => {
            let name = text(source, "name");
            if let Some(want) = value(target, "averageValue") {
                format!("{name}: {}/{want}", now("averageValue"))
            } else {
                let have = int(current, "averageUtilization")
                    .map_or_else(|| UNKNOWN.to_owned(), |n| format!("{n}%"));
                let want = int(target, "averageUtilization")
                    .map_or_else(|| "<auto>".to_owned(), |n| format!("{n}%"));
                format!("{name}: {have}/{want}")
            }
        }
        "Pods" => format!("{}/{}", now("averageValue"), value(target, "averageValue").unwrap_or_default()),
        _ => match value(target, "averageValue") {
            Some(want) => format!("{}/{want} (avg)", now("averageValue")),
            None => format!("{}/{}", now("value"), value(target, "value").unwrap_or_default()),
        },
    }
}
