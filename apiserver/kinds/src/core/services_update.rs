//! What a changed Service keeps of what it had, and what it may not change.

use kplane_machinery::field::{ErrorList, FieldError};
use serde_json::Value;

use crate::val::{At, int, items, map_mut, sub, text};

/// Whether a Service wants addresses of the cluster.
pub(super) fn needs_cluster_ip(service: &Value) -> bool {
    service.get("spec").is_some_and(|spec| text(spec, "type") != "ExternalName")
}

fn needs_ports(service: &Value) -> bool {
    service.get("spec").is_some_and(|spec| matches!(text(spec, "type"), "LoadBalancer" | "NodePort"))
}

/// `clusterIP` and the first of `clusterIPs` say the same; a client may know of one of them alone.
pub(super) fn normalize_cluster_ips(service: &mut Value, old: Option<&Value>) {
    let old_spec = old.and_then(|o| o.get("spec"));
    let old_one = old_spec.map(|s| text(s, "clusterIP")).unwrap_or("").to_owned();
    let old_all = old_spec.map(|s| items(s, "clusterIPs").to_vec()).unwrap_or_default();
    let Some(spec) = map_mut(service, "spec") else { return };
    let one = spec.get("clusterIP").and_then(Value::as_str).unwrap_or("").to_owned();
    let all = spec.get("clusterIPs").and_then(Value::as_array).cloned().unwrap_or_default();
    if old.is_none() {
        if !one.is_empty() && all.is_empty() {
            spec.insert("clusterIPs".into(), Value::from(vec![one]));
        }
        return;
    }
    // Only one of the two was changed: the other follows.
    if one != old_one && all == old_all {
        if one.is_empty() {
            spec.remove("clusterIPs");
        } else if all.first().and_then(Value::as_str) != Some(one.as_str()) {
            spec.insert("clusterIPs".into(), Value::from(vec![one]));
        }
    }
}

/// A Service that changes its type gives up what belonged to the old type, unless it was changed too.
pub(super) fn drop_type_dependent(service: &mut Value, old: &Value) {
    let (needs, needed) = (needs_cluster_ip(service), needs_cluster_ip(old));
    let (ports, had_ports) = (needs_ports(service), needs_ports(old));
    let absent = Value::Null;
    let before = old.get("spec").unwrap_or(&absent);
    let Some(spec) = map_mut(service, "spec") else { return };
    let unchanged = |spec: &crate::val::Obj, field: &str| spec.get(field) == before.get(field);
    if needed && !needs {
        for field in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "internalTrafficPolicy"] {
            if unchanged(spec, field) {
                spec.remove(field);
            }
        }
    }
    if had_ports && !ports {
        let same_ports = {
            let numbers = |list: &[Value]| -> Vec<i64> {
                list.iter().map(|p| int(p, "nodePort").unwrap_or(0)).collect()
            };
            let now = spec.get("ports").and_then(Value::as_array).cloned().unwrap_or_default();
            numbers(&now).iter().all(|n| *n == 0 || numbers(items(before, "ports")).contains(n))
        };
        if same_ports {
            crate::val::each(spec, "ports", |port| {
                port.remove("nodePort");
            });
        }
        if unchanged(spec, "externalTrafficPolicy") && items(before, "externalIPs").is_empty() {
            spec.remove("externalTrafficPolicy");
        }
    }
    let kind = spec.get("type").and_then(Value::as_str).unwrap_or("").to_owned();
    if text(before, "type") == "LoadBalancer" && kind != "LoadBalancer" {
        for field in ["allocateLoadBalancerNodePorts", "loadBalancerClass"] {
            if unchanged(spec, field) {
                spec.remove(field);
            }
        }
    }
    let health =
        kind == "LoadBalancer" && spec.get("externalTrafficPolicy").and_then(Value::as_str) == Some("Local");
    if !health && unchanged(spec, "healthCheckNodePort") {
        spec.remove("healthCheckNodePort");
    }
}

/// Addresses and ports that were allocated stay when the client does not name them.
pub(super) fn keep_allocated(service: &mut Value, old: &Value) {
    let both_ips = needs_cluster_ip(service) && needs_cluster_ip(old);
    let both_ports = needs_ports(service) && needs_ports(old);
    let absent = Value::Null;
    let before = old.get("spec").unwrap_or(&absent);
    let Some(spec) = map_mut(service, "spec") else { return };
    if both_ips {
        for field in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
            let unset = spec.get(field).is_none_or(crate::val::is_empty);
            if unset && let Some(value) = sub(before, field) {
                spec.insert(field.into(), value.clone());
            }
        }
    }
    if both_ports {
        crate::val::each(spec, "ports", |port| {
            if port.get("nodePort").and_then(Value::as_i64).unwrap_or(0) != 0 {
                return;
            }
            let found = items(before, "ports")
                .iter()
                .find(|p| p.get("port") == port.get("port") && p.get("protocol") == port.get("protocol"));
            if let Some(number) = found.and_then(|p| sub(p, "nodePort")) {
                port.insert("nodePort".into(), number.clone());
            }
        });
        let local = |s: &crate::val::Obj| {
            s.get("externalTrafficPolicy").and_then(Value::as_str) == Some("Local")
                && s.get("type").and_then(Value::as_str) == Some("LoadBalancer")
        };
        if local(spec)
            && before.as_object().is_some_and(local)
            && spec.get("healthCheckNodePort").and_then(Value::as_i64).unwrap_or(0) == 0
            && let Some(number) = sub(before, "healthCheckNodePort")
        {
            spec.insert("healthCheckNodePort".into(), number.clone());
        }
    }
}

/// The address of a Service may not change, unless its type comes from or goes to `ExternalName`.
pub(super) fn validate(new: &At<'_>, old: &At<'_>, errors: &mut ErrorList) {
    let (spec, before) = (new.f("spec"), old.f("spec"));
    let external = |s: &At<'_>| s.f("type").str() == "ExternalName";
    if !external(&spec) && !external(&before) {
        let (all, was) = (spec.f("clusterIPs"), before.f("clusterIPs"));
        let first = |list: &At<'_>| list.items().next().map(|ip| ip.str().to_owned()).unwrap_or_default();
        let (one, old_one) = (first(&all), first(&was));
        if !old_one.is_empty() && one != old_one {
            let path = all.path.index(0);
            if one.is_empty() {
                errors.push(FieldError::invalid(&path, all.value(), "primary clusterIP can not be unset"));
            } else {
                errors.push(FieldError::invalid(&path, all.value(), "may not change once set"));
            }
        }
    }
    let (class, old_class) = (spec.f("loadBalancerClass"), before.f("loadBalancerClass"));
    if spec.f("type").str() == "LoadBalancer"
        && before.f("type").str() == "LoadBalancer"
        && class.value() != old_class.value()
    {
        class.invalid(errors, "may not change once set");
    }
}
