//! `LimitRanger`: what containers get when they ask for nothing, and the least and most that may be asked.

use async_trait::async_trait;
use kplane_machinery::quantity::Quantity;
use kplane_machinery::{GroupResource, Status, object};
use serde_json::{Map, Value};

use crate::access::{items, map_mut};
use crate::usage::{self, Amounts};
use crate::{Attributes, Operation, Plugin};

/// The plugin.
pub struct LimitRanger;

const ANNOTATION: &str = "kubernetes.io/limit-ranger";
/// Larger numbers have no thousandths in 64 bits.
const MAX_MILLI: i64 = i64::MAX / 1000;

#[async_trait]
impl Plugin for LimitRanger {
    fn name(&self) -> &'static str {
        "LimitRanger"
    }

    fn handles(&self, attributes: &Attributes<'_>) -> bool {
        match attributes.operation {
            Operation::Create => {
                attributes.is("", "pods", "") || attributes.is("", "persistentvolumeclaims", "")
            }
            Operation::Update => {
                attributes.is("", "pods", "resize") || attributes.is("", "persistentvolumeclaims", "")
            }
            Operation::Delete | Operation::Connect => false,
        }
    }

    async fn mutate(&self, attributes: &Attributes<'_>, pod: &mut Value) -> Result<(), Status> {
        if &*attributes.def.plural != "pods" || leaving(attributes) {
            return Ok(());
        }
        for range in ranges(attributes).await? {
            default_resources(pod, &range);
        }
        Ok(())
    }

    async fn validate(&self, attributes: &Attributes<'_>, object: &Value) -> Result<(), Status> {
        if leaving(attributes) {
            return Ok(());
        }
        for range in ranges(attributes).await? {
            let mut errors = Vec::new();
            for limit in items(&range, &["spec", "limits"]) {
                if &*attributes.def.plural == "pods" {
                    check_pod(limit, object, &mut errors);
                } else if limit["type"] == "PersistentVolumeClaim" {
                    let requests = usage::amounts(object::at(object, &["spec", "resources", "requests"]));
                    let check =
                        Check { kind: "PersistentVolumeClaim", requests: &requests, limits: &requests };
                    check.min(limit, false, &mut errors);
                    check.max(limit, true, &mut errors);
                }
            }
            match errors.as_slice() {
                [] => {}
                [one] => return Err(attributes.forbidden(object, one)),
                many => return Err(attributes.forbidden(object, format!("[{}]", many.join(", ")))),
            }
        }
        Ok(())
    }
}

fn leaving(attributes: &Attributes<'_>) -> bool {
    attributes.old.is_some_and(|old| !object::meta_str(old, "deletionTimestamp").is_empty())
}

async fn ranges(attributes: &Attributes<'_>) -> Result<Vec<Value>, Status> {
    attributes.reader.list(&GroupResource::new("", "limitranges"), attributes.namespace).await
}

fn default_resources(pod: &mut Value, range: &Value) {
    let mut requests = Map::new();
    let mut limits = Map::new();
    for limit in items(range, &["spec", "limits"]).iter().filter(|l| l["type"] == "Container") {
        for (field, into) in [("defaultRequest", &mut requests), ("default", &mut limits)] {
            if let Some(amounts) = limit.get(field).and_then(Value::as_object) {
                into.extend(amounts.clone());
            }
        }
    }
    let mut done = Vec::new();
    for (field, kind) in [("containers", "container"), ("initContainers", "init container")] {
        let containers = pod.get_mut("spec").and_then(|s| s.get_mut(field)).and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten() {
            let name = container["name"].as_str().unwrap_or("").to_owned();
            for (field, word, defaults) in [("requests", "request", &requests), ("limits", "limit", &limits)]
            {
                if defaults.is_empty() || map_mut(container, "resources").is_none() {
                    continue;
                }
                let Some(amounts) = container.get_mut("resources").and_then(|r| map_mut(r, field)) else {
                    continue;
                };
                let mut added = Vec::new();
                for (resource, amount) in defaults {
                    if !amounts.contains_key(resource) {
                        amounts.insert(resource.clone(), amount.clone());
                        added.push(resource.as_str());
                    }
                }
                if !added.is_empty() {
                    done.push(format!("{} {word} for {kind} {name}", added.join(", ")));
                }
            }
        }
    }
    if !done.is_empty()
        && let Some(meta) = pod.get_mut("metadata")
        && let Some(annotations) = map_mut(meta, "annotations")
    {
        annotations.insert(ANNOTATION.into(), format!("LimitRanger plugin set: {}", done.join("; ")).into());
    }
}

fn check_pod(limit: &Value, pod: &Value, errors: &mut Vec<String>) {
    if limit["type"] == "Container" {
        for field in ["containers", "initContainers"] {
            for container in items(pod, &["spec", field]) {
                let requests = usage::amounts(object::at(container, &["resources", "requests"]));
                let limits = usage::amounts(object::at(container, &["resources", "limits"]));
                Check { kind: "Container", requests: &requests, limits: &limits }.all(limit, errors);
            }
        }
    } else if limit["type"] == "Pod" {
        let requests = usage::of_pod(pod, "requests");
        let limits = usage::of_pod(pod, "limits");
        Check { kind: "Pod", requests: &requests, limits: &limits }.all(limit, errors);
    }
}

struct Check<'a> {
    kind: &'a str,
    requests: &'a Amounts,
    limits: &'a Amounts,
}

impl Check<'_> {
    fn all(&self, limit: &Value, errors: &mut Vec<String>) {
        self.min(limit, true, errors);
        self.max(limit, false, errors);
        self.ratio(limit, errors);
    }

    fn min(&self, limit: &Value, with_limits: bool, errors: &mut Vec<String>) {
        for (name, enforced) in &usage::amounts(limit.get("min")) {
            let said = format!("minimum {name} usage per {} is {enforced}", self.kind);
            match (self.requests.get(name), self.limits.get(name).filter(|_| with_limits)) {
                (None, _) => errors.push(format!("{said}.  No request is specified")),
                (Some(request), _) if request < enforced => {
                    errors.push(format!("{said}, but request is {request}"));
                }
                (_, Some(limit)) if limit < enforced => errors.push(format!("{said}, but limit is {limit}")),
                _ => {}
            }
        }
    }

    fn max(&self, limit: &Value, of_requests: bool, errors: &mut Vec<String>) {
        for (name, enforced) in &usage::amounts(limit.get("max")) {
            let said = format!("maximum {name} usage per {} is {enforced}", self.kind);
            let request = self.requests.get(name);
            if !of_requests {
                match self.limits.get(name) {
                    None => {
                        errors.push(format!("{said}.  No limit is specified"));
                        continue;
                    }
                    Some(limit) if limit > enforced => {
                        errors.push(format!("{said}, but limit is {limit}"));
                        continue;
                    }
                    Some(_) => {}
                }
            }
            match request {
                None if of_requests => errors.push(format!("{said}.  No request is specified")),
                Some(request) if request > enforced => {
                    errors.push(format!("{said}, but request is {request}"));
                }
                _ => {}
            }
        }
    }

    fn ratio(&self, limit: &Value, errors: &mut Vec<String>) {
        for (name, enforced) in &usage::amounts(limit.get("maxLimitRequestRatio")) {
            let said = format!("{name} max limit to request ratio per {} is {enforced}", self.kind);
            let amount = |of: &Amounts| of.get(name).copied().filter(|q| !q.is_zero());
            let Some(request) = amount(self.requests) else {
                errors.push(format!("{said}, but no request is specified or request is 0"));
                continue;
            };
            let Some(limit) = amount(self.limits) else {
                errors.push(format!("{said}, but no limit is specified or limit is 0"));
                continue;
            };
            let number = |q: Quantity| {
                if q.value() <= MAX_MILLI { q.milli_value() as f64 } else { q.value() as f64 * 1000.0 }
            };
            let observed = number(limit) / number(request);
            if observed * 1000.0 > number(*enforced) {
                errors.push(format!("{said}, but provided ratio is {observed:.6}"));
            }
        }
    }
}
