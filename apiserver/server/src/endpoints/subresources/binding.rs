//! `pods/binding` and `bindings`: a scheduler assigns a pod to a node.

use http::StatusCode;
use hyper::body::Incoming;
use kplane_admission::{Operation, Shape};
use kplane_kinds::{Subresource, Verbs};
use kplane_machinery::field::{FieldError, Path};
use kplane_machinery::{GroupKind, GroupResource, Status, object};
use serde_json::{Value, json};

use super::{own_kind, require};
use crate::body::Answer;
use crate::endpoints::admitting::Admission;
use crate::endpoints::cx::{Cx, Resource};
use crate::endpoints::managed::Tracking;
use crate::endpoints::write::{self, Change, Preconditions};
use crate::endpoints::{body, decode, output, system};

/// Answers the creation of a binding.
pub async fn answer(
    cx: &Cx,
    resource: &Resource,
    sub: &Subresource,
    incoming: Incoming,
) -> Result<Answer, Status> {
    require(sub, Verbs::CREATE)?;
    let validation = decode::write_options(cx, "CreateOptions")?;
    let bytes = body::read(incoming).await?;
    let mut binding = decode::object(cx, &bytes, &own_kind(sub)?, validation)?;
    decode::match_path(cx, resource, &mut binding, true)?;
    let admission = Admission::new(cx, resource, Operation::Create, "binding").shaped(Shape::Own);
    admission.mutate(&mut binding, None).await?;
    check(&binding)?;
    admission.validate(&binding, None).await?;
    bind(cx, resource, &binding).await
}

/// Answers the creation of a `Binding` in the collection of bindings, once it is admitted.
pub async fn create(cx: &Cx, binding: &Value) -> Result<Answer, Status> {
    let pods = cx
        .app
        .kinds
        .get("", "pods")
        .ok_or_else(|| Status::internal("the kind Pod is missing from the table"))?;
    let resource = Resource { def: pods.clone(), version: "v1".into() };
    bind(cx, &resource, binding).await
}

/// Refuses a binding that does not say where to.
pub fn check(binding: &Value) -> Result<(), Status> {
    let target = Path::new("target");
    let kind = object::str_at(binding, &["target", "kind"]);
    let mut errors = Vec::new();
    if !kind.is_empty() && kind != "Node" {
        errors.push(FieldError::not_supported(&target.child("kind"), &kind.into(), &["Node", "<empty>"]));
    }
    if object::str_at(binding, &["target", "name"]).is_empty() {
        errors.push(FieldError::required(&target.child("name"), ""));
    }
    if !errors.is_empty() {
        return Err(Status::invalid(&GroupKind::new("", "Binding"), object::name(binding), &errors));
    }
    Ok(())
}

/// Assigns the pod that a binding names. That the pod changes by it is no matter of admission: the binding was.
async fn bind(cx: &Cx, resource: &Resource, binding: &Value) -> Result<Answer, Status> {
    let node = object::str_at(binding, &["target", "name"]).to_owned();
    let name = object::name(binding).to_owned();
    let manager = cx.field_manager();
    let uid = object::uid(binding);
    let change = Change {
        name: &name,
        subresource: Some("binding"),
        create: false,
        preconditions: Preconditions {
            uid: (!uid.is_empty()).then(|| uid.to_owned()),
            resource_version: None,
        },
        tracking: Tracking::update(&manager, Some("binding")),
        operation: Operation::Create,
    };
    let annotations = binding["metadata"]["annotations"].clone();
    let mut labels = binding["metadata"]["labels"].as_object().cloned().unwrap_or_default();
    labels.extend(kplane_admission::topology::labels_of_node(&cx.reader(), &node).await?);
    write::update_admitted(cx, resource, change, |old| {
        let mut pod = old.cloned().ok_or_else(|| Status::not_found(&resource.group_resource(), &name))?;
        let conflict = |why: String| Status::conflict(&GroupResource::new("", "pods/binding"), &name, why);
        if pod["metadata"].get("deletionTimestamp").is_some() {
            return Err(conflict(format!("pod {name} is being deleted, cannot be assigned to a host")));
        }
        let assigned = object::str_at(&pod, &["spec", "nodeName"]);
        if !assigned.is_empty() {
            return Err(conflict(format!("pod {name} is already assigned to node {assigned:?}")));
        }
        if pod["spec"]["schedulingGates"].as_array().is_some_and(|gates| !gates.is_empty()) {
            return Err(conflict(format!("pod {name} has non-empty .spec.schedulingGates")));
        }
        pod["spec"]["nodeName"] = node.as_str().into();
        if let Some(added) = annotations.as_object()
            && let Some(meta) = object::meta_mut(&mut pod)
        {
            let kept = meta.entry("annotations").or_insert_with(|| json!({}));
            for (key, value) in added {
                kept[key] = value.clone();
            }
        }
        if !labels.is_empty()
            && let Some(meta) = object::meta_mut(&mut pod)
            && let Some(own) = meta.entry("labels").or_insert_with(|| json!({})).as_object_mut()
        {
            own.extend(labels.clone());
        }
        system::set_condition(
            &mut pod,
            json!({"type": "PodScheduled", "status": "True", "lastProbeTime": null, "lastTransitionTime": system::now()}),
        );
        Ok(pod)
    })
    .await?;
    output::value(
        cx,
        StatusCode::CREATED,
        &json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}),
    )
}
