//! Nodes.

use kplane_machinery::field::{ErrorList, FieldError};
use kplane_machinery::object::{meta_map, str_at};
use serde_json::{Value, json};

use crate::podspec::affinity::taints;
use crate::print::{self, NONE, UNKNOWN};
use crate::strategy::{Context, Strategy};
use crate::val::{At, dflt, ensure, items, list, text, truth};

const INFO: [&str; 10] = [
    "architecture",
    "bootID",
    "containerRuntimeVersion",
    "kernelVersion",
    "kubeProxyVersion",
    "kubeletVersion",
    "machineID",
    "operatingSystem",
    "osImage",
    "systemUUID",
];
const NOT_READY: &str = "node.kubernetes.io/not-ready";
const ROLE: &str = "node-role.kubernetes.io/";

/// `Node`.
pub(crate) struct Nodes;

fn validate(spec: &At<'_>, errors: &mut ErrorList) {
    taints(&spec.f("taints"), errors);
    for cidr in spec.f("podCIDRs").items() {
        if crate::check::parse_cidr(cidr.str()).is_none() {
            cidr.invalid(errors, "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)");
        }
    }
}

impl Strategy for Nodes {
    fn default(&self, _version: &str, object: &mut Value) {
        let Some(fields) = object.as_object_mut() else { return };
        if let Some(spec) = ensure(fields, "spec") {
            // The two names of the same ranges.
            let one = spec.get("podCIDR").and_then(Value::as_str).unwrap_or("").to_owned();
            let all = spec.get("podCIDRs").map(list).unwrap_or(&[]).to_vec();
            if !one.is_empty() && all.is_empty() {
                spec.insert("podCIDRs".into(), json!([one]));
            } else if let Some(first) = all.first() {
                spec.insert("podCIDR".into(), first.clone());
            }
        }
        let Some(status) = ensure(fields, "status") else { return };
        if let Some(endpoint) =
            ensure(status, "daemonEndpoints").and_then(|endpoints| ensure(endpoints, "kubeletEndpoint"))
        {
            dflt(endpoint, "Port", 0);
        }
        if let Some(info) = ensure(status, "nodeInfo") {
            for field in INFO {
                dflt(info, field, "");
            }
        }
    }

    /// A new node is tainted until it says that it is ready.
    fn prepare_create(&self, _cx: &Context<'_>, object: &mut Value) {
        let Some(spec) = crate::common::ensure_spec(object) else { return };
        let list = spec.entry("taints").or_insert_with(|| json!([]));
        if list.is_null() {
            *list = json!([]);
        }
        if let Some(list) = list.as_array_mut()
            && !list.iter().any(|t| text(t, "key") == NOT_READY && text(t, "effect") == "NoSchedule")
        {
            list.push(json!({"key": NOT_READY, "effect": "NoSchedule"}));
        }
    }

    fn validate_create(&self, _cx: &Context<'_>, object: &Value) -> ErrorList {
        let mut errors = Vec::new();
        validate(&At::root(object).f("spec"), &mut errors);
        errors
    }

    fn validate_update(&self, cx: &Context<'_>, object: &Value, old: &Value) -> ErrorList {
        let mut errors = Vec::new();
        if cx.subresource.is_some() {
            return errors;
        }
        let (new, old) = (At::root(object).f("spec"), At::root(old).f("spec"));
        validate(&new, &mut errors);
        if old.f("podCIDRs").len() > 0 && new.f("podCIDRs").value() != old.f("podCIDRs").value() {
            errors.push(FieldError::forbidden(
                &new.path.child("podCIDRs"),
                "node updates may not change podCIDR except from \"\" to valid",
            ));
        }
        if !old.f("providerID").str().is_empty() && new.f("providerID").str() != old.f("providerID").str() {
            errors.push(FieldError::forbidden(
                &new.path.child("providerID"),
                "node updates may not change providerID except from \"\" to valid",
            ));
        }
        errors
    }

    fn selectable_value(&self, object: &Value, path: &str) -> String {
        match path {
            "spec.unschedulable" => object.get("spec").is_some_and(|s| truth(s, "unschedulable")).to_string(),
            _ => String::new(),
        }
    }

    fn row(&self, _version: &str, object: &Value, now: i64) -> Option<Vec<Value>> {
        let status = object.get("status").unwrap_or(&Value::Null);
        let ready = items(status, "conditions").iter().find(|c| text(c, "type") == "Ready");
        let mut state = match ready {
            Some(c) if text(c, "status") == "True" => "Ready",
            Some(_) => "NotReady",
            None => "Unknown",
        }
        .to_owned();
        if object.get("spec").is_some_and(|s| truth(s, "unschedulable")) {
            state.push_str(",SchedulingDisabled");
        }
        let mut roles: Vec<&str> = meta_map(object, "labels")
            .filter_map(|(key, value)| match key.strip_prefix(ROLE) {
                Some(role) if !role.is_empty() => Some(role),
                _ if key == "kubernetes.io/role" && !value.is_empty() => Some(value),
                _ => None,
            })
            .collect();
        roles.sort_unstable();
        roles.dedup();
        let roles = if roles.is_empty() { NONE.to_owned() } else { roles.join(",") };
        let address = |kind: &str| {
            let found = items(status, "addresses").iter().find(|a| text(a, "type") == kind);
            found.map_or(NONE, |a| text(a, "address"))
        };
        let info = |field: &str| print::text_or(status, &["nodeInfo", field], UNKNOWN);
        Some(vec![
            print::name(object),
            state.into(),
            roles.into(),
            print::age(object, now),
            str_at(status, &["nodeInfo", "kubeletVersion"]).into(),
            address("InternalIP").into(),
            address("ExternalIP").into(),
            info("osImage"),
            info("kernelVersion"),
            info("containerRuntimeVersion"),
        ])
    }
}
