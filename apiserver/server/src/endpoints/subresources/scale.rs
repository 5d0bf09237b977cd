//! `scale`: the replicas of an object as an `autoscaling/v1` `Scale`.

use std::sync::Arc;

use http::StatusCode;
use hyper::body::Incoming;
use kplane_admission::{Operation, Part, Shape};
use kplane_kinds::def::ScalePaths;
use kplane_kinds::{Subresource, Verbs};
use kplane_machinery::field::{FieldError, Path};
use kplane_machinery::time::Time;
use kplane_machinery::{GroupKind, Status, labels, managed, object};
use serde_json::{Map, Value, json};

use super::{own_kind, require};
use crate::body::{Answer, method_not_allowed};
use crate::endpoints::cx::{Cx, Resource};
use crate::endpoints::decode;
use crate::endpoints::managed::Tracking;
use crate::endpoints::negotiate::Media;
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
            let manager = cx.field_manager();
            change(cx, resource, sub, &paths, |tracked, old| {
                let mut new = scale.clone();
                managed::track_update(tracked, Some(old), &mut new, &manager);
                Ok(new)
            })
            .await
        }
        "patch" => {
            require(sub, Verbs::PATCH)?;
            let bytes = body::read(incoming).await?;
            let patch = Patch::parse(cx, resource.def.custom, &bytes)?;
            let validation = decode::patch_options(cx, matches!(patch, Patch::Apply(_)))?;
            let manager = cx.field_manager();
            let expected = own_kind(sub)?;
            let applied = match &patch {
                Patch::Apply(config) if !config["metadata"]["managedFields"].is_null() => {
                    return Err(Status::bad_request("metadata.managedFields must be nil"));
                }
                Patch::Apply(_) => {
                    let mut config = decode::object_as(cx, &bytes, Media::Yaml, &expected, validation)?;
                    decode::match_path(cx, resource, &mut config, true)?;
                    Some(config)
                }
                _ => None,
            };
            let force = cx.query.flag("force");
            change(cx, resource, sub, &paths, |tracked, old| match &applied {
                Some(config) => managed::apply(tracked, Some(old), config, &manager, force),
                None => {
                    let mut new = patch.apply(old, expected.schema)?;
                    let found = kplane_schema::check(expected.schema, &mut new, false).map_err(|e| {
                        Status::bad_request(format!(
                            "Scale in version \"v1\" cannot be handled as a Scale: {e}"
                        ))
                    })?;
                    decode::report(cx, found, validation, &expected.gvk)?;
                    managed::track_update(tracked, Some(old), &mut new, &manager);
                    Ok(new)
                }
            })
            .await
        }
        _ => Err(method_not_allowed()),
    }
}

/// Changes the replicas of an object by way of its scale. `make` is given the scale that is there and records who set what
/// in the one it makes; what it says of the replicas is carried over to the object.
async fn change(
    cx: &Cx,
    resource: &Resource,
    sub: &Subresource,
    paths: &ScalePaths,
    make: impl Fn(&managed::Request<'_>, &Value) -> Result<Value, Status> + Sync,
) -> Result<Answer, Status> {
    let expected = own_kind(sub)?;
    let api_version = expected.gvk.group_version().to_string();
    let one_version = managed::OneVersion { api_version: &api_version, schema: expected.schema };
    let nothing = managed::Set::default();
    let versions: Vec<String> = resource
        .def
        .versions
        .iter()
        .map(|version| resource.def.gvk(&version.name).group_version().to_string())
        .collect();
    let path: managed::set::FieldPath =
        paths.spec_replicas.iter().map(|field| managed::set::Element::Field(field.to_string())).collect();
    let mappings: Vec<(&str, managed::set::FieldPath)> =
        versions.iter().map(|version| (version.as_str(), path.clone())).collect();
    let change = Change {
        name: &cx.info.name,
        subresource: Some("scale"),
        create: false,
        preconditions: Preconditions::default(),
        // Recorded where the scale was made.
        tracking: Tracking::none(),
        operation: Operation::Update,
    };
    let part = Replicas { cx, resource, paths };
    let written = write::update_shaped(cx, resource, change, Shape::Part(&part), |old| {
        let old = old.ok_or_else(|| Status::not_found(&resource.group_resource(), &cx.info.name))?;
        let mut before = scale_of(paths, old);
        let entries = managed::scale::to_scale(old, &mappings).map_err(Status::internal)?;
        object::set_meta(&mut before, "managedFields", entries);
        let tracked = managed::Request {
            api_version: &api_version,
            kind: &expected.gvk.kind,
            subresource: "scale",
            versions: &one_version,
            reset: &nothing,
            now: Time::now().truncated(),
        };
        let scale = make(&tracked, &before)?;
        moved(cx, resource, paths, &scale, old, &mappings)
    })
    .await?;
    output::value(cx, StatusCode::OK, &scale_of(paths, &written.object))
}

/// The scale of objects, as webhooks and policies see and change it.
struct Replicas<'a> {
    cx: &'a Cx,
    resource: &'a Resource,
    paths: &'a ScalePaths,
}

impl Part for Replicas<'_> {
    fn of(&self, object: &Value) -> Value {
        scale_of(self.paths, object)
    }

    fn put(&self, object: &mut Value, scale: &Value) -> Result<(), Status> {
        let replicas = checked(self.cx, self.resource, scale, object)?;
        set_at(object, &self.paths.spec_replicas, replicas.into());
        Ok(())
    }
}

/// The replicas of a scale, once it is found to be right and to be that of an object.
fn checked(cx: &Cx, resource: &Resource, scale: &Value, object: &Value) -> Result<i64, Status> {
    let replicas = scale.pointer("/spec/replicas").and_then(Value::as_i64).unwrap_or(0);
    if replicas < 0 {
        let field = Path::new("spec").child("replicas");
        let error = FieldError::invalid(&field, &replicas.into(), "must be greater than or equal to 0");
        return Err(Status::invalid(
            &GroupKind::new("autoscaling", "Scale"),
            object::name(object),
            &vec![error],
        ));
    }
    let (asked, uid) = (object::uid(scale), object::uid(object));
    if !asked.is_empty() && asked != uid {
        let why = format!("Precondition failed: UID in precondition: {asked}, UID in object meta: {uid}");
        return Err(Status::conflict(&resource.group_resource(), &cx.info.name, why));
    }
    Ok(replicas)
}

/// An object with the replicas of a scale.
fn moved(
    cx: &Cx,
    resource: &Resource,
    paths: &ScalePaths,
    scale: &Value,
    old: &Value,
    mappings: &[(&str, managed::set::FieldPath)],
) -> Result<Value, Status> {
    let replicas = checked(cx, resource, scale, old)?;
    let mut new = old.clone();
    let version = object::resource_version(scale);
    if !version.is_empty() {
        object::set_meta(&mut new, "resourceVersion", Some(version.into()));
    }
    set_at(&mut new, &paths.spec_replicas, replicas.into());
    // Of a custom resource upstream knows no fields by its scale: they stay whose they were.
    if resource.def.custom {
        return Ok(new);
    }
    let entries = scale.pointer("/metadata/managedFields");
    let entries = managed::scale::to_object(old, entries, &resource.api_version(), mappings)
        .map_err(Status::internal)?;
    object::set_meta(&mut new, "managedFields", entries);
    Ok(new)
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
