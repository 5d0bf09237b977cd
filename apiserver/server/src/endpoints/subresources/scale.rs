//! `scale`: the replicas of an object as an `autoscaling/v1` `Scale`.

use std::sync::Arc;

use http::StatusCode;
use hyper::body::Incoming;
use kplane_admission::{Operation, Shape};
use kplane_kinds::def::ScalePaths;
use kplane_kinds::{Subresource, Verbs};
use kplane_machinery::field::{FieldError, Path};
use kplane_machinery::{GroupKind, Status, labels, object};
use serde_json::{Map, Value, json};

use super::{own_kind, require};
use crate::body::{Answer, method_not_allowed};
use crate::endpoints::cx::{Cx, Resource};
use crate::endpoints::decode;
use crate::endpoints::managed::Tracking;
use crate::endpoints::patch::Patch;
use crate::endpoints::write::{self, Change, Preconditions};
use crate::endpoints::{body, failures, output};

/// Answers a request for a scale.
pub async fn answer(
    cx: &Cx,
    resource: &Resource,
    sub: &Subresource,
    incoming: Incoming,
) -> Result<Answer, Status> {
    let paths = sub.scale.clone().unwrap_or_else(|| ScalePaths {
        spec_replicas: vec!["spec".into(), "replicas".into()],
        status_replicas: vec!["status".into(), "replicas".into()],
        selector: Some(vec!["spec".into(), "selector".into()]),
    });
    match cx.info.verb.as_str() {
        "get" => {
            require(sub, Verbs::GET)?;
            let key = resource.object_key(&cx.info.namespace, &cx.info.name);
            let stored = cx
                .app
                .registry
                .get(&cx.vcp, &key)
                .await
                .map_err(failures::store)?
                .ok_or_else(|| Status::not_found(&resource.group_resource(), &cx.info.name))?;
            let object = crate::custom::conversion::decode(cx, resource, &stored).await?;
            require_replicas(resource, &paths, &object)?;
            let scale = scale_of(&paths, &object);
            output::value(cx, StatusCode::OK, &scale)
        }
        "update" => {
            require(sub, Verbs::UPDATE)?;
            let validation = decode::write_options(cx, "UpdateOptions")?;
            let bytes = body::read(incoming).await?;
            let mut scale = decode::object(cx, &bytes, &own_kind(sub)?, validation)?;
            decode::match_path(cx, resource, &mut scale, true)?;
            change(cx, resource, &paths, |_| Ok(scale.clone())).await
        }
        "patch" => {
            require(sub, Verbs::PATCH)?;
            let bytes = body::read(incoming).await?;
            let patch = Patch::parse(cx, resource.def.custom, &bytes)?;
            decode::patch_options(cx, matches!(patch, Patch::Apply(_)))?;
            let expected = own_kind(sub)?;
            change(cx, resource, &paths, |old| match &patch {
                // An applied scale owns what it states, which is the replicas.
                Patch::Apply(config) => {
                    let mut new = old.clone();
                    if let Some(replicas) = config.pointer("/spec/replicas") {
                        new["spec"]["replicas"] = replicas.clone();
                    }
                    Ok(new)
                }
                patch => patch.apply(old, expected.schema),
            })
            .await
        }
        _ => Err(method_not_allowed()),
    }
}

async fn change(
    cx: &Cx,
    resource: &Resource,
    paths: &ScalePaths,
    make: impl Fn(&Value) -> Result<Value, Status> + Sync,
) -> Result<Answer, Status> {
    let manager = cx.field_manager();
    let change = Change {
        name: &cx.info.name,
        subresource: Some("scale"),
        create: false,
        preconditions: Preconditions::default(),
        // Of a custom resource upstream knows no fields by its scale: they stay whose they were.
        tracking: if resource.def.custom {
            Tracking::none()
        } else {
            Tracking::update(&manager, Some("scale"))
        },
        operation: Operation::Update,
    };
    let view = |object: &Value| scale_of(paths, object);
    let written = write::update_shaped(cx, resource, change, Shape::Part(&view), |old| {
        let old = old.ok_or_else(|| Status::not_found(&resource.group_resource(), &cx.info.name))?;
        let scale = make(&scale_of(paths, old))?;
        let replicas = scale.pointer("/spec/replicas").and_then(Value::as_i64).unwrap_or(0);
        if replicas < 0 {
            let field = Path::new("spec").child("replicas");
            let error = FieldError::invalid(&field, &replicas.into(), "must be greater than or equal to 0");
            return Err(Status::invalid(
                &GroupKind::new("autoscaling", "Scale"),
                object::name(old),
                &vec![error],
            ));
        }
        let version = object::resource_version(&scale);
        let mut new = old.clone();
        if !version.is_empty() {
            object::set_meta(&mut new, "resourceVersion", Some(version.into()));
        }
        set_at(&mut new, &paths.spec_replicas, replicas.into());
        Ok(new)
    })
    .await?;
    output::value(cx, StatusCode::OK, &scale_of(paths, &written.object))
}

fn at<'a>(object: &'a Value, path: &[Arc<str>]) -> Option<&'a Value> {
    path.iter().try_fold(object, |value, field| value.get(&**field))
}

fn set_at(object: &mut Value, path: &[Arc<str>], value: Value) {
    let mut at = object;
    for (i, field) in path.iter().enumerate() {
        let Some(fields) = at.as_object_mut() else { return };
        if i + 1 == path.len() {
            fields.insert(field.to_string(), value);
            return;
        }
        at = fields.entry(field.to_string()).or_insert_with(|| Value::Object(Map::new()));
    }
}

/// A custom resource that does not say how many it wants has no scale.
fn require_replicas(resource: &Resource, paths: &ScalePaths, object: &Value) -> Result<(), Status> {
    if !resource.def.custom || at(object, &paths.spec_replicas).is_some() {
        return Ok(());
    }
    let path: String = paths.spec_replicas.iter().map(|field| format!(".{field}")).collect();
    Err(Status::internal(format!("the spec replicas field {path:?} does not exist")))
}

/// The scale of an object.
fn scale_of(paths: &ScalePaths, object: &Value) -> Value {
    let number = |path: &[Arc<str>]| at(object, path).and_then(Value::as_i64).unwrap_or(0);
    let mut metadata = Map::new();
    for field in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if let Some(value) = object["metadata"].get(field) {
            metadata.insert(field.to_owned(), value.clone());
        }
    }
    let mut status = json!({"replicas": number(&paths.status_replicas)});
    if let Some(selector) = paths.selector.as_deref().and_then(|path| at(object, path)) {
        let text = match selector {
            Value::String(text) => text.clone(),
            // A ReplicationController selects by labels alone.
            selector if selector.as_object().is_some_and(|s| s.values().all(Value::is_string)) => {
                labels::Selector::from_map(Some(selector)).to_string()
            }
            selector => labels::Selector::from_label_selector(Some(selector))
                .map(|selector| selector.to_string())
                .unwrap_or_default(),
        };
        if !text.is_empty() {
            status["selector"] = text.into();
        }
    }
    let replicas = number(&paths.spec_replicas);
    let spec = if replicas == 0 { json!({}) } else { json!({"replicas": replicas}) };
    json!({"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": metadata, "spec": spec, "status": status})
}
