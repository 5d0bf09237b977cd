//! `Priority`: the number behind a pod's priority class, and at most one default class.

use async_trait::async_trait;
use kplane_machinery::{GroupResource, Status, object};
use serde_json::Value;

use crate::access::set;
use crate::{Attributes, Operation, Plugin};

/// The plugin.
pub struct Priority;

const GROUP: &str = "scheduling.k8s.io";
const PREEMPT: &str = "PreemptLowerPriority";

#[async_trait]
impl Plugin for Priority {
    fn name(&self) -> &'static str {
        "Priority"
    }

    fn handles(&self, attributes: &Attributes<'_>) -> bool {
        matches!(attributes.operation, Operation::Create | Operation::Update)
            && (attributes.is("", "pods", "") || attributes.is(GROUP, "priorityclasses", ""))
    }

    async fn mutate(&self, attributes: &Attributes<'_>, pod: &mut Value) -> Result<(), Status> {
        if !attributes.is("", "pods", "") || !pod["spec"].is_object() {
            return Ok(());
        }
        if attributes.operation == Operation::Update {
            // Clients that do not know the fields leave them out; what creation decided stays.
            for field in ["priority", "preemptionPolicy"] {
                let before = attributes.old.and_then(|old| set(old, &["spec", field]));
                if let Some(before) = before.filter(|_| set(pod, &["spec", field]).is_none()) {
                    pod["spec"][field] = before.clone();
                }
            }
            return Ok(());
        }
        let name = object::str_at(pod, &["spec", "priorityClassName"]).to_owned();
        let class = if name.is_empty() {
            let class = default_class(attributes).await?;
            if let Some(class) = &class {
                pod["spec"]["priorityClassName"] = object::name(class).into();
            }
            class
        } else {
            let class = attributes.reader.get(&classes(), "", &name).await?;
            if class.is_none() {
                let why = format!("no PriorityClass with name {name} was found");
                return Err(attributes.forbidden(pod, why));
            }
            class
        };
        let priority = class.as_ref().map_or(0, value_of);
        let policy = class.as_ref().map_or("", |class| object::str_at(class, &["preemptionPolicy"]));
        let policy = if policy.is_empty() { PREEMPT } else { policy };
        if let Some(given) = set(pod, &["spec", "priority"]).filter(|given| given.as_i64() != Some(priority))
        {
            let why = format!(
                "the integer value of priority ({given}) must not be provided in pod spec; priority admission controller computed {priority} from the given PriorityClass name"
            );
            return Err(attributes.forbidden(pod, why));
        }
        if let Some(given) = set(pod, &["spec", "preemptionPolicy"]).and_then(Value::as_str)
            && given != policy
        {
            let why = format!(
                "the string value of PreemptionPolicy ({given}) must not be provided in pod spec; priority admission controller computed {policy} from the given PriorityClass name"
            );
            return Err(attributes.forbidden(pod, why));
        }
        pod["spec"]["priority"] = priority.into();
        pod["spec"]["preemptionPolicy"] = policy.into();
        Ok(())
    }

    async fn validate(&self, attributes: &Attributes<'_>, class: &Value) -> Result<(), Status> {
        if attributes.is("", "pods", "") || class["globalDefault"] != true {
            return Ok(());
        }
        if let Some(other) = default_class(attributes).await? {
            let other = object::name(&other);
            if attributes.operation == Operation::Create || other != object::name(class) {
                let why =
                    format!("PriorityClass {other} is already marked as default. Only one default can exist");
                return Err(attributes.forbidden(class, why));
            }
        }
        Ok(())
    }
}

fn classes() -> GroupResource {
    GroupResource::new(GROUP, "priorityclasses")
}

fn value_of(class: &Value) -> i64 {
    class.get("value").and_then(Value::as_i64).unwrap_or(0)
}

/// The class that is the default; of several, which can only come of a race, the lowest.
async fn default_class(attributes: &Attributes<'_>) -> Result<Option<Value>, Status> {
    let mut all = attributes.reader.list(&classes(), "").await?;
    all.retain(|class| class["globalDefault"] == true);
    Ok(all.into_iter().min_by_key(value_of))
}
