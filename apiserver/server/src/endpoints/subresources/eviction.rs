//! `pods/eviction`: a deletion that PodDisruptionBudgets may refuse, and that counts against them.

use std::sync::Arc;

use http::StatusCode;
use hyper::body::Incoming;
use kplane_admission::{Operation, Reader, Shape};
use kplane_kinds::{Subresource, Verbs};
use kplane_machinery::{GroupResource, Status, StatusCause, labels, object};
use serde_json::{Value, json};

use super::{own_kind, require};
use crate::body::Answer;
use crate::endpoints::admitting::Admission;
use crate::endpoints::cx::{Cx, Resource};
use crate::endpoints::delete::{self, DeleteOptions};
use crate::endpoints::managed::Tracking;
use crate::endpoints::write::{self, Change, Preconditions};
use crate::endpoints::{body, decode, output, system};

const GROUP: &str = "policy";
const BUDGETS: &str = "poddisruptionbudgets";
/// More evictions than these may not be on their way at once.
const MAX_DISRUPTED: usize = 2000;
/// How often an eviction is tried again when the pod changes meanwhile.
const ATTEMPTS: usize = 20;

/// Answers the creation of an eviction.
pub async fn answer(
    cx: &Cx,
    resource: &Resource,
    sub: &Subresource,
    incoming: Incoming,
) -> Result<Answer, Status> {
    require(sub, Verbs::CREATE)?;
    let validation = decode::write_options(cx, "CreateOptions")?;
    let bytes = body::read(incoming).await?;
    let mut eviction = decode::object(cx, &bytes, &own_kind(sub)?, validation)?;
    decode::match_path(cx, resource, &mut eviction, true)?;
    let options = options_of(cx, &eviction)?;
    let admission = Admission::new(cx, resource, Operation::Create, "eviction").shaped(Shape::Own);
    admission.mutate(&mut eviction, None).await?;
    admission.validate(&eviction, None).await?;
    match evict(cx, resource, &options).await? {
        Outcome::Evicted => {
            let status = json!({
                "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201,
            });
            output::value(cx, StatusCode::CREATED, &status)
        }
        // Upstream answers with this failure as if it were the object made.
        Outcome::TooManyBudgets => {
            let why = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.";
            output::value(cx, StatusCode::CREATED, &Status::plain(why).to_value())
        }
    }
}

/// The options of the deletion. A dry run may be asked for there or in the query; who asks in both must ask alike.
fn options_of(cx: &Cx, eviction: &Value) -> Result<DeleteOptions, Status> {
    let mut given = eviction.get("deleteOptions").filter(|o| !o.is_null()).cloned().unwrap_or(json!({}));
    let (query, own) =
        (decode::dry_run(cx), delete::dry_run_of(&given).map(str::to_owned).collect::<Vec<_>>());
    if own.is_empty() {
        given["dryRun"] = query.into();
    } else if !query.is_empty() && query != own {
        return Err(Status::plain(format!(
            "Non-matching dry-run options in request and content: [{}] and [{}]",
            query.join(" "),
            own.join(" ")
        )));
    }
    DeleteOptions::parse(cx, Some(&given))
}

enum Outcome {
    Evicted,
    TooManyBudgets,
}

async fn evict(cx: &Cx, resource: &Resource, options: &DeleteOptions) -> Result<Outcome, Status> {
    let (name, namespace) = (cx.info.name.as_str(), cx.info.namespace.as_str());
    let asked_for_a_version = options.preconditions.resource_version.is_some();
    let pod = {
        let mut attempt = 0;
        loop {
            attempt += 1;
            let pod = read_pod(cx, resource).await?;
            if !is_harmless(&pod) {
                break pod;
            }
            let mut options = options.clone();
            if !asked_for_a_version && !is_over(&pod) {
                // So that it is not one that has become ready meanwhile.
                options.preconditions.resource_version = Some(object::resource_version(&pod).to_owned());
            }
            match delete::delete_object(cx, resource, name, namespace, &options).await {
                Ok(_) => return Ok(Outcome::Evicted),
                Err(status) if status.code == 409 && !asked_for_a_version && attempt < ATTEMPTS => {}
                Err(status) => return Err(status),
            }
        }
    };
    let budgets = budgets_of(&cx.reader(), namespace, &pod).await?;
    let budget = match budgets.as_slice() {
        [] => None,
        [budget] => Some(budget),
        _ => return Ok(Outcome::TooManyBudgets),
    };
    let mut options = options.clone();
    let uncounted = budget.is_some_and(|budget| is_uncounted(&pod, budget));
    match budget {
        Some(_) if uncounted => {
            options.preconditions.resource_version = Some(object::resource_version(&pod).to_owned());
        }
        Some(budget) if options.dry_run => {
            take(budget.clone(), name)?;
        }
        Some(budget) => charge(cx, object::name(budget), name).await?,
        None => {}
    }
    match delete::delete_object(cx, resource, name, namespace, &options).await {
        Ok(_) => Ok(Outcome::Evicted),
        // It has changed since: the client is to try again, and the budget to be asked again.
        Err(status) if status.code == 409 && uncounted && !asked_for_a_version => {
            Err(being_processed(budget.map(object::name).unwrap_or("")))
        }
        Err(status) => Err(status),
    }
}

async fn read_pod(cx: &Cx, resource: &Resource) -> Result<Value, Status> {
    let pods = resource.group_resource();
    let pod = cx.reader().get(&pods, &cx.info.namespace, &cx.info.name).await?;
    pod.ok_or_else(|| Status::not_found(&pods, &cx.info.name))
}

/// A pod that has ended or is being deleted.
fn is_over(pod: &Value) -> bool {
    matches!(object::str_at(pod, &["status", "phase"]), "Succeeded" | "Failed")
        || pod["metadata"].get("deletionTimestamp").is_some()
}

/// A pod that disturbs nobody when it goes: it does not run.
fn is_harmless(pod: &Value) -> bool {
    is_over(pod) || object::str_at(pod, &["status", "phase"]) == "Pending"
}

/// A pod that is not ready does not count as healthy, and so its going takes nothing from the budget, if the policy of the
/// budget lets it go.
fn is_uncounted(pod: &Value, budget: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array();
    let ready =
        conditions.is_some_and(|all| all.iter().any(|c| c["type"] == "Ready" && c["status"] == "True"));
    if ready {
        return false;
    }
    let number = |field: &str| budget["status"][field].as_i64().unwrap_or(0);
    budget["spec"]["unhealthyPodEvictionPolicy"] == "AlwaysAllow"
        || (number("currentHealthy") >= number("desiredHealthy") && number("desiredHealthy") > 0)
}

async fn budgets_of(reader: &impl Reader, namespace: &str, pod: &Value) -> Result<Vec<Value>, Status> {
    let budgets = reader.list(&GroupResource::new(GROUP, BUDGETS), namespace).await?;
    Ok(budgets
        .into_iter()
        .filter(|budget| {
            labels::Selector::from_label_selector(budget["spec"].get("selector"))
                .is_ok_and(|selector| selector.matches_object(pod))
        })
        .collect())
}

/// Takes one disruption from a budget and stores that.
async fn charge(cx: &Cx, budget: &str, pod: &str) -> Result<(), Status> {
    let def = cx
        .app
        .kinds
        .get(GROUP, BUDGETS)
        .ok_or_else(|| Status::internal("the kind PodDisruptionBudget is missing from the table"))?
        .clone();
    let own = Cx::system(&cx.app, &cx.vcp, &cx.info.namespace, budget);
    let resource = Resource { version: Arc::from("v1"), def };
    let change = Change {
        name: budget,
        subresource: Some("status"),
        create: false,
        preconditions: Preconditions::default(),
        tracking: Tracking::update("kube-apiserver", Some("status")),
        operation: Operation::Update,
    };
    write::update(&own, &resource, change, |old| {
        let old = old.ok_or_else(|| Status::not_found(&resource.group_resource(), budget))?;
        take(old.clone(), pod)
    })
    .await
    .map(|_| ())
}

/// A budget with one disruption less, or why it allows none.
fn take(mut budget: Value, pod: &str) -> Result<Value, Status> {
    let number = |field: &str| budget["status"][field].as_i64().unwrap_or(0);
    let name = object::name(&budget).to_owned();
    if number("observedGeneration") < budget["metadata"]["generation"].as_i64().unwrap_or(0) {
        return Err(being_processed(&name));
    }
    let forbidden =
        |why: &str| Status::forbidden(&GroupResource::new(GROUP, "poddisruptionbudget"), &name, why);
    let allowed = number("disruptionsAllowed");
    if allowed < 0 {
        return Err(forbidden("pdb disruptions allowed is negative"));
    }
    if budget["status"]["disruptedPods"].as_object().is_some_and(|pods| pods.len() > MAX_DISRUPTED) {
        return Err(forbidden(
            "DisruptedPods map too big - too many evictions not confirmed by PDB controller",
        ));
    }
    if allowed == 0 {
        let conditions = budget["status"]["conditions"].as_array();
        let failed = conditions.and_then(|all| {
            all.iter().find(|c| c["type"] == "DisruptionAllowed" && c["reason"] == "SyncFailed")
        });
        let why = match failed {
            Some(failed) => format!(
                "The disruption budget {name} does not allow evicting pods currently because it failed sync: {}",
                object::str_at(failed, &["message"])
            ),
            None => format!(
                "The disruption budget {name} needs {} healthy pods and has {} currently",
                number("desiredHealthy"),
                number("currentHealthy")
            ),
        };
        return Err(refused(why, 0));
    }
    let now = system::now();
    let observed = budget["status"]["observedGeneration"].clone();
    budget["status"]["disruptionsAllowed"] = (allowed - 1).into();
    if !budget["status"]["disruptedPods"].is_object() {
        budget["status"]["disruptedPods"] = json!({});
    }
    budget["status"]["disruptedPods"][pod] = now.as_str().into();
    if allowed == 1 {
        let conditions = budget["status"]["conditions"].as_array();
        let was = conditions.and_then(|all| all.iter().find(|c| c["type"] == "DisruptionAllowed"));
        let since = match was.filter(|was| was["status"] == "False") {
            Some(was) => was["lastTransitionTime"].clone(),
            None => now.as_str().into(),
        };
        let condition = json!({
            "type": "DisruptionAllowed", "status": "False", "observedGeneration": observed,
            "lastTransitionTime": since, "reason": "InsufficientPods", "message": "",
        });
        system::set_condition(&mut budget, condition);
    }
    Ok(budget)
}

/// 429: the budget is not up to date.
fn being_processed(budget: &str) -> Status {
    refused(format!("The disruption budget {budget} is still being processed by the server."), 10)
}

fn refused(why: String, retry_after: u32) -> Status {
    let mut status = Status::too_many_requests(
        "Cannot evict pod as it would violate the pod's disruption budget.",
        retry_after,
    );
    if let Some(details) = &mut status.details {
        details.causes.push(StatusCause {
            reason: "DisruptionBudget".into(),
            message: why,
            field: String::new(),
        });
    }
    status
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(allowed: i64) -> Value {
        json!({
            "metadata": {"name": "b", "generation": 1}, "spec": {},
            "status": {"observedGeneration": 1, "disruptionsAllowed": allowed, "desiredHealthy": 2, "currentHealthy": 3},
        })
    }

    #[test]
    fn a_disruption_is_taken_from_the_budget() {
        let left = take(budget(2), "p").expect("allowed");
        assert_eq!(left["status"]["disruptionsAllowed"], 1);
        assert!(left["status"]["disruptedPods"]["p"].is_string());
        assert!(left["status"].get("conditions").is_none());
        let left = take(left, "q").expect("allowed");
        assert_eq!(left["status"]["conditions"][0]["reason"], "InsufficientPods");
        let refusal = take(left, "r").expect_err("none is left");
        assert_eq!(refusal.code, 429);
        let mut stale = budget(2);
        stale["metadata"]["generation"] = 2.into();
        let refusal = take(stale, "p").expect_err("not up to date");
        assert_eq!(refusal.details.expect("details").retry_after_seconds, 10);
    }

    #[test]
    fn pods_that_are_not_ready_go_by_the_policy() {
        let pod = json!({"status": {"phase": "Running"}});
        let ready = json!({"status": {"conditions": [{"type": "Ready", "status": "True"}]}});
        assert!(is_uncounted(&pod, &budget(0)) && !is_uncounted(&ready, &budget(0)));
        let mut short = budget(0);
        short["status"]["currentHealthy"] = 1.into();
        assert!(!is_uncounted(&pod, &short));
        short["spec"]["unhealthyPodEvictionPolicy"] = "AlwaysAllow".into();
        assert!(is_uncounted(&pod, &short));
    }
}
