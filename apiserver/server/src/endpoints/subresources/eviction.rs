//! `pods/eviction`: a deletion that PodDisruptionBudgets may refuse.

use http::StatusCode;
use hyper::body::Incoming;
use kplane_admission::{Operation, Reader, Shape};
use kplane_kinds::{Subresource, Verbs};
use kplane_machinery::{GroupResource, Status, StatusCause, labels, object};
use serde_json::{Value, json};

use super::{own_kind, require};
use crate::body::Answer;
use crate::endpoints::cx::{Cx, Resource};
use crate::endpoints::delete::{self, DeleteOptions};
use crate::endpoints::write::Admission;
use crate::endpoints::{body, decode, output};

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
    let admission = Admission::new(cx, resource, Operation::Create, "eviction").shaped(Shape::Own);
    admission.mutate(&mut eviction, None).await?;
    admission.validate(&eviction, None).await?;
    let reader = cx.reader();
    let pods = resource.group_resource();
    let pod = reader
        .get(&pods, &cx.info.namespace, &cx.info.name)
        .await?
        .ok_or_else(|| Status::not_found(&pods, &cx.info.name))?;
    let phase = object::str_at(&pod, &["status", "phase"]);
    // A pod that does not run disturbs nobody when it goes.
    if !matches!(phase, "Succeeded" | "Failed" | "Pending")
        && pod["metadata"].get("deletionTimestamp").is_none()
    {
        let budgets = budgets_of(&reader, &cx.info.namespace, &pod).await?;
        match budgets.as_slice() {
            [] => {}
            [budget] => check(budget)?,
            _ => {
                let why = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.";
                return Err(Status::internal(why));
            }
        }
    }
    let mut options = DeleteOptions::parse(cx, Some(eviction.get("deleteOptions").unwrap_or(&json!({}))))?;
    options.dry_run |= cx.dry_run();
    delete::delete_object(cx, resource, &cx.info.name, &cx.info.namespace, &options).await?;
    let status =
        json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201});
    output::value(cx, StatusCode::CREATED, &status)
}

async fn budgets_of(reader: &impl Reader, namespace: &str, pod: &Value) -> Result<Vec<Value>, Status> {
    let budgets = reader.list(&GroupResource::new("policy", "poddisruptionbudgets"), namespace).await?;
    Ok(budgets
        .into_iter()
        .filter(|budget| {
            labels::Selector::from_label_selector(budget["spec"].get("selector"))
                .is_ok_and(|selector| selector.matches_object(pod))
        })
        .collect())
}

/// 429 when a budget allows no disruption.
fn check(budget: &Value) -> Result<(), Status> {
    let number = |field: &str| budget["status"][field].as_i64().unwrap_or(0);
    let name = object::name(budget);
    if number("disruptionsAllowed") > 0
        && budget["status"]["observedGeneration"].as_i64() >= budget["metadata"]["generation"].as_i64()
    {
        return Ok(());
    }
    let mut status =
        Status::too_many_requests("Cannot evict pod as it would violate the pod's disruption budget.", 0);
    if let Some(details) = &mut status.details {
        details.causes.push(StatusCause {
            reason: "DisruptionBudget".into(),
            message: format!(
                "The disruption budget {name} needs {} healthy pods and has {} currently",
                number("desiredHealthy"),
                number("currentHealthy")
            ),
            field: String::new(),
        });
    }
    Err(status)
}
