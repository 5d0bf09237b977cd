//! Subresources that are served by a node: `exec`, `attach`, `log`, `portforward`, `proxy`. Until a node of the control
//! plane can be reached they fail as upstream's do.

use kplane_admission::{Operation, Shape};
use kplane_kinds::Subresource;
use kplane_machinery::{GroupResource, Reason, Status, object};
use serde_json::{Value, json};

use crate::body::Answer;
use crate::endpoints::admitting::Admission;
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
    if &*sub.name != "log" {
        admit(cx, resource, sub).await?;
    }
    match &*resource.def.plural {
        "pods" => of_pod(cx, sub, &object).await,
        "services" => {
            Err(Status::unavailable(format!("no endpoints available for service {:?}", cx.info.name)))
        }
        _ => Err(node_unreachable(&cx.info.name)),
    }
}

/// Asks admission about a connection: it sees the options, which are in the query.
async fn admit(cx: &Cx, resource: &Resource, sub: &Subresource) -> Result<(), Status> {
    let mut options = json!({});
    if let Some(kind) = &sub.kind {
        options["kind"] = (&*kind.kind).into();
        options["apiVersion"] = kind.group_version().to_string().into();
    }
    for field in ["stdin", "stdout", "stderr", "tty"] {
        if cx.query.flag(field) {
            options[field] = true.into();
        }
    }
    if let Some(container) = cx.query.get("container") {
        options["container"] = container.into();
    }
    if cx.query.get("command").is_some() {
        options["command"] = cx.query.all("command").map(Value::from).collect();
    }
    if cx.query.get("ports").is_some() {
        let ports = cx.query.all("ports").flat_map(|list| list.split(','));
        options["ports"] = ports.filter_map(|port| port.parse::<u16>().ok()).map(Value::from).collect();
    }
    if &*sub.name == "proxy" {
        options["path"] = cx.info.rest.as_str().into();
    }
    let admission = Admission::new(cx, resource, Operation::Connect, &sub.name).shaped(Shape::Own);
    admission.mutate(&mut options, None).await?;
    admission.validate(&options, None).await
}

async fn of_pod(cx: &Cx, sub: &Subresource, pod: &Value) -> Result<Answer, Status> {
    if matches!(&*sub.name, "exec" | "attach" | "log") {
        check_container(cx.query.get("container").unwrap_or(""), pod)?;
    }
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

/// The container that is asked for must be one of the pod's; when none is, there must be one alone.
fn check_container(container: &str, pod: &Value) -> Result<(), Status> {
    let names = |field: &str| -> Vec<&str> {
        let list = pod["spec"][field].as_array().map(Vec::as_slice).unwrap_or_default();
        list.iter().filter_map(|container| container["name"].as_str()).collect()
    };
    let (containers, init) = (names("containers"), names("initContainers"));
    let ephemeral = names("ephemeralContainers");
    let name = object::name(pod);
    if !container.is_empty() {
        let known = containers.iter().chain(&init).chain(&ephemeral).any(|known| *known == container);
        return if known {
            Ok(())
        } else {
            Err(Status::bad_request(format!("container {container} is not valid for pod {name}")))
        };
    }
    if containers.len() == 1 {
        return Ok(());
    }
    let mut why = format!("a container name must be specified for pod {name}");
    if !containers.is_empty() {
        why.push_str(&format!(", choose one of: [{}]", containers.join(" ")));
    }
    if !init.is_empty() {
        why.push_str(&format!(" or one of the init containers: [{}]", init.join(" ")));
    }
    if !ephemeral.is_empty() {
        why.push_str(&format!(" or one of the ephemeral containers: [{}]", ephemeral.join(" ")));
    }
    Err(Status::bad_request(why))
}

fn node_unreachable(node: &str) -> Status {
    Status::new(
        502,
        Reason::InternalError,
        format!("error dialing backend: no route to the kubelet of node {node:?}"),
    )
}
