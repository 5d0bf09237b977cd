//! `ResourceQuota`: nothing is made beyond what a namespace may use.

use async_trait::async_trait;
use kplane_machinery::{GroupResource, Status, object};
use serde_json::{Map, Value};

use crate::access::{items, map_mut, set};
use crate::usage::{self, Amounts};
use crate::{Attributes, Operation, Plugin};

/// The plugin.
pub struct ResourceQuota;

#[async_trait]
impl Plugin for ResourceQuota {
    fn name(&self) -> &'static str {
        "ResourceQuota"
    }

    fn handles(&self, attributes: &Attributes<'_>) -> bool {
        if !attributes.def.namespaced() || !attributes.def.stored() {
            return false;
        }
        match attributes.operation {
            Operation::Create => attributes.subresource.is_empty(),
            Operation::Update => {
                attributes.is("", "pods", "resize")
                    || attributes.is("", "services", "")
                    || attributes.is("", "persistentvolumeclaims", "")
            }
            Operation::Delete | Operation::Connect => false,
        }
    }

    async fn charge(&self, attributes: &Attributes<'_>, object: &Value) -> Result<Vec<Value>, Status> {
        let mut delta = usage::of_object(attributes, object);
        if let Some(old) = attributes.old {
            let before = usage::of_object(attributes, old);
            for (name, amount) in &mut delta {
                if let Some(before) = before.get(name) {
                    *amount = amount.sub(*before);
                }
            }
            delta.retain(|_, amount| amount.sign() > 0);
        }
        let quotas = GroupResource::new("", "resourcequotas");
        let mut charged = Vec::new();
        for mut quota in attributes.reader.list(&quotas, attributes.namespace).await? {
            if !in_scope(attributes, object, &quota) {
                continue;
            }
            let Some(used) = charge(attributes, object, &quota, &delta)? else { continue };
            if let Some(status) = map_mut(&mut quota, "status") {
                status.insert("used".into(), used);
            }
            charged.push(quota);
        }
        Ok(charged)
    }
}

/// The usage after this write, `None` when the quota does not limit any of it.
fn charge(
    attributes: &Attributes<'_>,
    object: &Value,
    quota: &Value,
    delta: &Amounts,
) -> Result<Option<Value>, Status> {
    let name = object::name(quota);
    let hard = usage::amounts(object::at(quota, &["status", "hard"]));
    let used = usage::amounts(object::at(quota, &["status", "used"]));
    constrain(attributes, object, name, &hard)?;
    // Until the controller has counted, nobody knows what is left.
    let asked = usage::amounts(object::at(quota, &["spec", "hard"]));
    let unknown: Vec<&str> = delta
        .keys()
        .filter(|r| asked.contains_key(*r) && !(hard.contains_key(*r) && used.contains_key(*r)))
        .map(String::as_str)
        .collect();
    if !unknown.is_empty() {
        let why = format!("status unknown for quota: {name}, resources: {}", unknown.join(","));
        return Err(attributes.forbidden(object, why));
    }
    let mut after = used.clone();
    let mut exceeded = Vec::new();
    let mut changed = false;
    for (resource, amount) in delta.iter().filter(|(r, a)| hard.contains_key(*r) && !a.is_zero()) {
        usage::add(&mut after, &Amounts::from([(resource.clone(), *amount)]));
        changed = true;
        if after.get(resource) > hard.get(resource) {
            exceeded.push(resource.as_str());
        }
    }
    if !exceeded.is_empty() {
        let show = |of: &Amounts| {
            let shown = exceeded.iter().filter_map(|r| of.get(*r).map(|amount| format!("{r}={amount}")));
            shown.collect::<Vec<_>>().join(",")
        };
        let why = format!(
            "exceeded quota: {name}, requested: {}, used: {}, limited: {}",
            show(delta),
            show(&used),
            show(&hard)
        );
        return Err(attributes.forbidden(object, why));
    }
    let value = after.into_iter().map(|(r, amount)| (r, amount.to_string().into())).collect::<Map<_, _>>();
    Ok(changed.then_some(Value::Object(value)))
}

/// Where compute is limited, every container of a pod must say what it needs.
fn constrain(attributes: &Attributes<'_>, pod: &Value, quota: &str, hard: &Amounts) -> Result<(), Status> {
    if !attributes.is("", "pods", "") {
        return Ok(());
    }
    const COMPUTE: [(&str, &str, &str); 6] = [
        ("cpu", "requests", "cpu"),
        ("memory", "requests", "memory"),
        ("requests.cpu", "requests", "cpu"),
        ("requests.memory", "requests", "memory"),
        ("limits.cpu", "limits", "cpu"),
        ("limits.memory", "limits", "memory"),
    ];
    let mut missing: Vec<String> = Vec::new();
    for (limited, field, resource) in COMPUTE.into_iter().filter(|(r, _, _)| hard.contains_key(*r)) {
        if set(pod, &["spec", "resources", field, resource]).is_some() {
            continue;
        }
        let without: Vec<&str> = ["containers", "initContainers"]
            .iter()
            .flat_map(|f| items(pod, &["spec", f]))
            .filter(|c| set(c, &["resources", field, resource]).is_none())
            .filter_map(|c| c["name"].as_str())
            .collect();
        if !without.is_empty() {
            missing.push(format!("{limited} for: {}", without.join(",")));
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    missing.sort();
    Err(attributes.forbidden(pod, format!("failed quota: {quota}: must specify {}", missing.join("; "))))
}

/// Whether a quota is about such an object: scopes are for pods, and one on attribute classes for claims.
pub(crate) fn in_scope(attributes: &Attributes<'_>, object: &Value, quota: &Value) -> bool {
    let scopes = items(quota, &["spec", "scopes"]).iter().filter_map(Value::as_str);
    let mut selectors: Vec<(&str, &str, Vec<&str>)> = scopes.map(|s| (s, "Exists", Vec::new())).collect();
    for s in items(quota, &["spec", "scopeSelector", "matchExpressions"]) {
        let values = items(s, &["values"]).iter().filter_map(Value::as_str).collect();
        selectors.push((s["scopeName"].as_str().unwrap_or(""), s["operator"].as_str().unwrap_or(""), values));
    }
    let pods = attributes.def.group.is_empty() && &*attributes.def.plural == "pods";
    let claims = attributes.def.group.is_empty() && &*attributes.def.plural == "persistentvolumeclaims";
    let select = |text: &str, operator: &str, values: &[&str]| match operator {
        "In" => values.contains(&text),
        "NotIn" => !values.contains(&text),
        "DoesNotExist" => text.is_empty(),
        _ => !text.is_empty(),
    };
    let best_effort = || {
        ["containers", "initContainers"].iter().flat_map(|f| items(object, &["spec", f])).all(|c| {
            ["requests", "limits"].iter().all(|field| {
                usage::amounts(object::at(c, &["resources", field]))
                    .iter()
                    .all(|(name, a)| !matches!(name.as_str(), "cpu" | "memory") || a.is_zero())
            })
        })
    };
    selectors.iter().all(|(scope, operator, values)| match *scope {
        "VolumeAttributesClass" => {
            claims && select(object::str_at(object, &["spec", "volumeAttributesClassName"]), operator, values)
        }
        _ if !pods => false,
        "Terminating" => set(object, &["spec", "activeDeadlineSeconds"]).is_some(),
        "NotTerminating" => set(object, &["spec", "activeDeadlineSeconds"]).is_none(),
        "BestEffort" => best_effort(),
        "NotBestEffort" => !best_effort(),
        "PriorityClass" => select(object::str_at(object, &["spec", "priorityClassName"]), operator, values),
        "CrossNamespacePodAffinity" => crosses_namespaces(object),
        _ => false,
    })
}

fn crosses_namespaces(pod: &Value) -> bool {
    ["podAffinity", "podAntiAffinity"].iter().any(|kind| {
        let required =
            items(pod, &["spec", "affinity", kind, "requiredDuringSchedulingIgnoredDuringExecution"]);
        let preferred =
            items(pod, &["spec", "affinity", kind, "preferredDuringSchedulingIgnoredDuringExecution"]);
        let terms = required.iter().chain(preferred.iter().filter_map(|p| p.get("podAffinityTerm")));
        terms
            .into_iter()
            .any(|t| !items(t, &["namespaces"]).is_empty() || set(t, &["namespaceSelector"]).is_some())
    })
}
