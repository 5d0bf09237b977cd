//! Subresources that are served by a node: `exec`, `attach`, `log`, `portforward`, `proxy`. Until a node of the control
//! plane can be reached they fail as upstream's do.

use kplane_kinds::Subresource;
use kplane_machinery::{GroupResource, Reason, Status, object};
use serde_json::Value;

use crate::body::Answer;
use crate::endpoints::cx::{Cx, Resource};
use crate::endpoints::{failures, objects};

/// Answers a request that a node would serve.
pub async fn answer(cx: &Cx, resource: &Resource, sub: &Subresource) -> Result<Answer, Status> {
    let key = resource.object_key(&cx.info.namespace, &cx.info.name);
    let stored = cx
        .app
        .registry
        .get(&cx.vcp, &key)
        .await
        .map_err(failures::store)?
        .ok_or_else(|| Status::not_found(&resource.group_resource(), &cx.info.name))?;
    let object = objects::decode(resource, &stored)?;
    match &*resource.def.plural {
        "pods" => of_pod(cx, sub, &object).await,
        "services" => {
            Err(Status::unavailable(format!("no endpoints available for service {:?}", cx.info.name)))
        }
        _ => Err(node_unreachable(&cx.info.name)),
    }
}

async fn of_pod(cx: &Cx, sub: &Subresource, pod: &Value) -> Result<Answer, Status> {
    let node = object::str_at(pod, &["spec", "nodeName"]);
    if node.is_empty() {
        let name = object::name(pod);
        return match &*sub.name {
            // A pod without a node has no log yet, which is an empty one.
            "log" => Ok(crate::body::text(http::StatusCode::OK, "")),
            "proxy" => Err(Status::internal("address not allowed")),
            _ => Err(Status::bad_request(format!("pod {name} does not have a host assigned"))),
        };
    }
    let nodes = GroupResource::new("", "nodes");
    let known = kplane_admission::Reader::get(&cx.reader(), &nodes, "", node).await?;
    match known {
        None => Err(Status::not_found(&nodes, node)),
        Some(_) => Err(node_unreachable(node)),
    }
}

fn node_unreachable(node: &str) -> Status {
    Status::new(
        502,
        Reason::InternalError,
        format!("error dialing backend: no route to the kubelet of node {node:?}"),
    )
}
