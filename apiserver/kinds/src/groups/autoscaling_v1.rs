//! Version 1 of HorizontalPodAutoscalers: a target for the CPU, and all else in annotations.

use kplane_machinery::object::meta_mut;
use serde_json::{Value, json};

use super::autoscaling::source_of;
use crate::val::{Obj, ensure, items, map_mut, sub, text};

const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
const CURRENT: &str = "autoscaling.alpha.kubernetes.io/current-metrics";
const CONDITIONS: &str = "autoscaling.alpha.kubernetes.io/conditions";
const BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";

fn take_annotation(object: &mut Value, key: &str) -> Option<Value> {
    let meta = meta_mut(object)?;
    let annotations = meta.get_mut("annotations")?.as_object_mut()?;
    let value = annotations.remove(key)?;
    if annotations.is_empty() {
        meta.remove("annotations");
    }
    serde_json::from_str(value.as_str()?).ok()
}

fn put_annotation(object: &mut Value, key: &str, value: &Value) {
    if let Some(annotations) = meta_mut(object).and_then(|meta| ensure(meta, "annotations")) {
        annotations.insert(key.into(), value.to_string().into());
    }
}

fn is_cpu(metric: &Value) -> bool {
    let source = metric.get("resource").unwrap_or(&Value::Null);
    text(metric, "type") == "Resource"
        && text(source, "name") == "cpu"
        && source.get("target").is_some_and(|t| sub(t, "averageUtilization").is_some())
}

/// A metric of the annotation as one of version 2.
fn metric_to_v2(metric: &Value) -> Value {
    let kind = text(metric, "type");
    let Some(field) = source_of(kind) else { return metric.clone() };
    let source = metric.get(field).unwrap_or(&Value::Null);
    let get = |name: &str| sub(source, name).cloned();
    let mut target = Obj::new();
    let mut out = Obj::new();
    let (value, average, utilization) = match kind {
        "External" => (get("targetValue"), get("targetAverageValue"), None),
        "Object" => (get("targetValue").filter(|v| v != "0"), get("averageValue"), None),
        _ => (None, get("targetAverageValue"), get("targetAverageUtilization")),
    };
    let target_type = if utilization.is_some() {
        "Utilization"
    } else if average.is_some() {
        "AverageValue"
    } else {
        "Value"
    };
    target.insert("type".into(), target_type.into());
    for (name, found) in [("value", value), ("averageValue", average), ("averageUtilization", utilization)] {
        if let Some(found) = found {
            target.insert(name.into(), found);
        }
    }
    match kind {
        "Resource" | "ContainerResource" => {
            for name in ["name", "container"] {
                if let Some(found) = get(name) {
                    out.insert(name.into(), found);
                }
            }
        }
        _ => {
            let mut about = Obj::new();
            if let Some(name) = get("metricName") {
                about.insert("name".into(), name);
            }
            if let Some(selector) = get("selector").or_else(|| get("metricSelector")) {
                about.insert("selector".into(), selector);
            }
            out.insert("metric".into(), Value::Object(about));
            if let Some(object) = get("target") {
                out.insert("describedObject".into(), object);
            }
        }
    }
    out.insert("target".into(), Value::Object(target));
    json!({"type": kind, field: out})
}

/// A metric of version 2 as one of the annotation.
fn metric_from_v2(metric: &Value) -> Value {
    let kind = text(metric, "type");
    let Some(field) = source_of(kind) else { return metric.clone() };
    let source = metric.get(field).unwrap_or(&Value::Null);
    let target = source.get("target").unwrap_or(&Value::Null);
    let about = source.get("metric").unwrap_or(&Value::Null);
    let mut out = Obj::new();
    let mut put = |name: &str, found: Option<&Value>| {
        if let Some(found) = found {
            out.insert(name.into(), found.clone());
        }
    };
    match kind {
        "Resource" | "ContainerResource" => {
            put("name", sub(source, "name"));
            put("container", sub(source, "container"));
            put("targetAverageUtilization", sub(target, "averageUtilization"));
            put("targetAverageValue", sub(target, "averageValue"));
        }
        "Object" => {
            put("target", sub(source, "describedObject"));
            put("metricName", sub(about, "name"));
            put("selector", sub(about, "selector"));
            put("targetValue", Some(sub(target, "value").unwrap_or(&json!("0"))));
            put("averageValue", sub(target, "averageValue"));
        }
        _ => {
            put("metricName", sub(about, "name"));
            put(if kind == "External" { "metricSelector" } else { "selector" }, sub(about, "selector"));
            put("targetValue", sub(target, "value"));
            put("targetAverageValue", sub(target, "averageValue"));
        }
    }
    json!({"type": kind, field: out})
}

/// Version 1 to version 2, in place.
pub(super) fn to_v2(object: &mut Value) {
    let others = take_annotation(object, METRICS);
    let conditions = take_annotation(object, CONDITIONS);
    let current = take_annotation(object, CURRENT);
    let behavior = take_annotation(object, BEHAVIOR);
    if let Some(spec) = map_mut(object, "spec") {
        let mut metrics: Vec<Value> =
            others.as_ref().and_then(Value::as_array).into_iter().flatten().map(metric_to_v2).collect();
        if let Some(percent) = spec.remove("targetCPUUtilizationPercentage").filter(|p| !p.is_null()) {
            metrics.insert(
                0,
                json!({"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": percent}}}),
            );
        }
        if !metrics.is_empty() {
            spec.insert("metrics".into(), metrics.into());
        }
        if let Some(behavior) = behavior {
            spec.insert("behavior".into(), behavior);
        }
    }
    let Some(status) = map_mut(object, "status") else { return };
    let mut seen: Vec<Value> = current.and_then(|c| c.as_array().cloned()).unwrap_or_default();
    if let Some(percent) = status.remove("currentCPUUtilizationPercentage").filter(|p| !p.is_null()) {
        seen.insert(
            0,
            json!({"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": percent}}}),
        );
    }
    if !seen.is_empty() {
        status.insert("currentMetrics".into(), seen.into());
    }
    if let Some(conditions) = conditions {
        status.insert("conditions".into(), conditions);
    }
}

/// Version 2 to version 1, in place.
pub(super) fn from_v2(object: &mut Value) {
    let mut others = Vec::new();
    let mut behavior = None;
    if let Some(spec) = map_mut(object, "spec") {
        let metrics = spec.remove("metrics").unwrap_or_default();
        let mut cpu = None;
        for metric in metrics.as_array().into_iter().flatten() {
            if cpu.is_none() && is_cpu(metric) {
                cpu = metric["resource"]["target"].get("averageUtilization").cloned();
            } else {
                others.push(metric_from_v2(metric));
            }
        }
        if let Some(cpu) = cpu {
            spec.insert("targetCPUUtilizationPercentage".into(), cpu);
        }
        behavior = spec.remove("behavior").filter(|b| !b.is_null());
    }
    let (mut conditions, mut rest) = (None, Vec::new());
    if let Some(status) = map_mut(object, "status") {
        conditions = status.remove("conditions").filter(|c| !crate::val::is_empty(c));
        let seen = json!({"list": status.remove("currentMetrics").unwrap_or_default()});
        for metric in items(&seen, "list") {
            let source = metric.get("resource").unwrap_or(&Value::Null);
            let percent = source.get("current").and_then(|c| sub(c, "averageUtilization"));
            match percent {
                Some(percent) if text(source, "name") == "cpu" => {
                    status.insert("currentCPUUtilizationPercentage".into(), percent.clone());
                }
                _ => rest.push(metric.clone()),
            }
        }
    }
    if !others.is_empty() {
        put_annotation(object, METRICS, &Value::Array(others));
    }
    if let Some(behavior) = behavior {
        put_annotation(object, BEHAVIOR, &behavior);
    }
    if let Some(conditions) = conditions {
        put_annotation(object, CONDITIONS, &conditions);
    }
    if !rest.is_empty() {
        put_annotation(object, CURRENT, &Value::Array(rest));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_say_the_same() {
        let before = json!({"metadata": {"name": "x"}, "spec": {"maxReplicas": 3, "metrics": [
            {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 70}}},
            {"type": "Resource", "resource": {"name": "memory", "target": {"type": "AverageValue", "averageValue": "1Gi"}}},
            {"type": "Pods", "pods": {"metric": {"name": "rps"}, "target": {"type": "AverageValue", "averageValue": "5"}}}]}});
        let mut object = before.clone();
        from_v2(&mut object);
        assert_eq!(object["spec"]["targetCPUUtilizationPercentage"], 70);
        to_v2(&mut object);
        assert_eq!(object, before);
    }
}
