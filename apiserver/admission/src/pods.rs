//! The smaller plugins for pods: `DefaultTolerationSeconds` and `RuntimeClass`, and for nodes `TaintNodesByCondition`.

use async_trait::async_trait;
use kplane_machinery::quantity::Quantity;
use kplane_machinery::{GroupResource, Status, object};
use serde_json::{Value, json};

use crate::access::{items, list_mut, map_mut, set};
use crate::{Attributes, Operation, Plugin};

const NOT_READY: &str = "node.kubernetes.io/not-ready";
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";

/// `DefaultTolerationSeconds`: a pod stays for five minutes on a node that is not ready or not to be reached.
pub struct DefaultTolerationSeconds;

#[async_trait]
impl Plugin for DefaultTolerationSeconds {
    fn name(&self) -> &'static str {
        "DefaultTolerationSeconds"
    }

    fn handles(&self, attributes: &Attributes<'_>) -> bool {
        matches!(attributes.operation, Operation::Create | Operation::Update) && attributes.is("", "pods", "")
    }

    async fn mutate(&self, _attributes: &Attributes<'_>, pod: &mut Value) -> Result<(), Status> {
        let missing: Vec<&str> = [NOT_READY, UNREACHABLE]
            .into_iter()
            .filter(|key| {
                !items(pod, &["spec", "tolerations"]).iter().any(|t| {
                    let (of, effect) = (object::str_at(t, &["key"]), object::str_at(t, &["effect"]));
                    (of == *key || of.is_empty()) && matches!(effect, "NoExecute" | "")
                })
            })
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        if let Some(tolerations) = pod.get_mut("spec").and_then(|spec| list_mut(spec, "tolerations")) {
            tolerations.extend(missing.into_iter().map(|key| {
                json!({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300})
            }));
        }
        Ok(())
    }
}

/// `TaintNodesByCondition`: a new node takes no pods before it is ready.
pub struct TaintNodesByCondition;

#[async_trait]
impl Plugin for TaintNodesByCondition {
    fn name(&self) -> &'static str {
        "TaintNodesByCondition"
    }

    fn handles(&self, attributes: &Attributes<'_>) -> bool {
        attributes.operation == Operation::Create && attributes.is("", "nodes", "")
    }

    async fn mutate(&self, _attributes: &Attributes<'_>, node: &mut Value) -> Result<(), Status> {
        let tainted = items(node, &["spec", "taints"])
            .iter()
            .any(|t| t["key"] == NOT_READY && t["effect"] == "NoSchedule");
        if !tainted {
            map_mut(node, "spec");
            if let Some(taints) = node.get_mut("spec").and_then(|spec| list_mut(spec, "taints")) {
                taints.push(json!({"key": NOT_READY, "effect": "NoSchedule"}));
            }
        }
        Ok(())
    }
}

/// `RuntimeClass`: what a pod's runtime costs and where it can run.
pub struct RuntimeClass;

const MISMATCH: &str = "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead";

impl RuntimeClass {
    async fn class(attributes: &Attributes<'_>, pod: &Value) -> Result<Option<Value>, Status> {
        let Some(name) = set(pod, &["spec", "runtimeClassName"]).and_then(Value::as_str) else {
            return Ok(None);
        };
        let classes = GroupResource::new("node.k8s.io", "runtimeclasses");
        match attributes.reader.get(&classes, "", name).await? {
            Some(class) => Ok(Some(class)),
            None => Err(attributes.forbidden(pod, format!("pod rejected: RuntimeClass {name:?} not found"))),
        }
    }
}

#[async_trait]
impl Plugin for RuntimeClass {
    fn name(&self) -> &'static str {
        "RuntimeClass"
    }

    fn handles(&self, attributes: &Attributes<'_>) -> bool {
        attributes.operation == Operation::Create && attributes.is("", "pods", "")
    }

    async fn mutate(&self, attributes: &Attributes<'_>, pod: &mut Value) -> Result<(), Status> {
        let Some(class) = Self::class(attributes, pod).await? else { return Ok(()) };
        if let Some(overhead) = set(&class, &["overhead"]) {
            let fixed = overhead.get("podFixed").cloned().unwrap_or_else(|| json!({}));
            if set(pod, &["spec", "overhead"]).is_some_and(|given| !same_amounts(given, &fixed)) {
                return Err(attributes.forbidden(pod, MISMATCH));
            }
            pod["spec"]["overhead"] = fixed;
        }
        let Some(scheduling) = set(&class, &["scheduling"]) else { return Ok(()) };
        let selector = scheduling.get("nodeSelector").and_then(Value::as_object);
        for (key, value) in selector.into_iter().flatten() {
            let of_pod = object::at(pod, &["spec", "nodeSelector", key]);
            if let Some(of_pod) = of_pod.filter(|of_pod| *of_pod != value) {
                let text = |v: &Value| v.as_str().unwrap_or("").to_owned();
                let why = format!(
                    "conflict: runtimeClass.scheduling.nodeSelector[{key}] = {}; pod.spec.nodeSelector[{key}] = {}",
                    text(value),
                    text(of_pod)
                );
                return Err(attributes.forbidden(pod, why));
            }
            if let Some(selector) = pod.get_mut("spec").and_then(|spec| map_mut(spec, "nodeSelector")) {
                selector.insert(key.clone(), value.clone());
            }
        }
        let more = items(scheduling, &["tolerations"]);
        if !more.is_empty() {
            let merged = merge_tolerations(items(pod, &["spec", "tolerations"]), more);
            pod["spec"]["tolerations"] = merged.into();
        }
        Ok(())
    }

    async fn validate(&self, attributes: &Attributes<'_>, pod: &Value) -> Result<(), Status> {
        let class = Self::class(attributes, pod).await?;
        let given = set(pod, &["spec", "overhead"]);
        match class.as_ref().and_then(|class| set(class, &["overhead"])) {
            Some(overhead) => {
                let empty = json!({});
                let fixed = overhead.get("podFixed").unwrap_or(&empty);
                if !same_amounts(given.unwrap_or(&empty), fixed) {
                    return Err(attributes.forbidden(pod, MISMATCH));
                }
                Ok(())
            }
            None if given.is_some() => Err(attributes.forbidden(
                pod,
                "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead",
            )),
            None => Ok(()),
        }
    }
}

/// Whether two lists of amounts are the same, however they are written.
fn same_amounts(a: &Value, b: &Value) -> bool {
    let (Some(a), Some(b)) = (a.as_object(), b.as_object()) else { return a == b };
    a.len() == b.len()
        && a.iter().all(|(name, amount)| {
            b.get(name).is_some_and(|other| {
                match (Quantity::from_value(amount), Quantity::from_value(other)) {
                    (Ok(amount), Ok(other)) => amount == other,
                    _ => amount == other,
                }
            })
        })
}

/// Both lists without what another toleration covers.
fn merge_tolerations(first: &[Value], second: &[Value]) -> Vec<Value> {
    let all: Vec<&Value> = first.iter().chain(second).collect();
    let mut merged: Vec<&Value> = Vec::new();
    for (index, toleration) in all.iter().enumerate() {
        let covered = merged.iter().any(|other| covers(other, toleration))
            || all[index + 1..].iter().any(|other| other != toleration && covers(other, toleration));
        if !covered {
            merged.push(toleration);
        }
    }
    merged.into_iter().cloned().collect()
}

fn covers(wide: &Value, narrow: &Value) -> bool {
    if wide == narrow {
        return true;
    }
    let text = |of: &Value, field: &str| object::str_at(of, &[field]).to_owned();
    let exists = text(wide, "operator") == "Exists";
    let key = text(wide, "key");
    if text(narrow, "key") != key && !(key.is_empty() && exists) {
        return false;
    }
    let effect = text(wide, "effect");
    if !effect.is_empty() && effect != text(narrow, "effect") {
        return false;
    }
    if effect == "NoExecute"
        && let Some(limit) = wide.get("tolerationSeconds").and_then(Value::as_i64)
    {
        match narrow.get("tolerationSeconds").and_then(Value::as_i64) {
            Some(seconds) if seconds <= limit => {}
            _ => return false,
        }
    }
    match text(wide, "operator").as_str() {
        "Exists" => true,
        "Equal" | "" => {
            matches!(text(narrow, "operator").as_str(), "Equal" | "")
                && text(narrow, "value") == text(wide, "value")
        }
        _ => false,
    }
}
