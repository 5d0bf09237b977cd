//! PATCH: JSON patch, JSON merge patch, strategic merge patch, and server-side apply.

use bytes::Bytes;
use http::StatusCode;
use http::header::CONTENT_TYPE;
use kplane_admission::Operation;
use kplane_kinds::Verbs;
use kplane_machinery::patch::{json, merge, strategic};
use kplane_machinery::{Reason, Status, StatusDetails, object};
use kplane_schema::Format;
use serde_json::Value;

use super::body::essence;
use super::cx::{Cx, Resource};
use super::decode::{self, Expected, FieldValidation};
use super::managed::{self, Tracking};
use super::negotiate::Media;
use super::output;
use super::write::{self, Change, Preconditions};
use crate::body::{self, Answer};

/// A patch, read but not yet applied.
pub enum Patch {
    /// RFC 6902.
    Json(Value),
    /// RFC 7386.
    Merge(Value),
    /// Kubernetes' own, by the merge keys of the schema.
    Strategic(Value),
    /// Server-side apply: the fields the applier wants.
    Apply(Value),
}

impl Patch {
    /// Reads the body of a PATCH by its content type.
    pub fn parse(cx: &Cx, custom: bool, bytes: &[u8]) -> Result<Self, Status> {
        let content_type = cx.headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or("");
        let parse = |format| {
            kplane_schema::parse(bytes, format)
                .map(|parsed| parsed.value)
                .map_err(|e| Status::bad_request(format!("error decoding patch: {e}")))
        };
        match essence(content_type) {
            "application/json-patch+json" => parse(Format::Json).map(Self::Json),
            "application/merge-patch+json" => parse(Format::Json).map(Self::Merge),
            "application/strategic-merge-patch+json" if !custom => parse(Format::Json).map(Self::Strategic),
            "application/apply-patch+yaml" => Ok(Self::Apply(parse(Format::Yaml)?)),
            "application/strategic-merge-patch+json" => Err(Status::new(
                415,
                Reason::UnsupportedMediaType,
                "the body of the request was in an unknown format - accepted media types include: application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml",
            )),
            _ => {
                let mut status =
                    Status::new(415, Reason::UnsupportedMediaType, "415: Unsupported Media Type");
                status.details = Some(Box::<StatusDetails>::default());
                Err(status)
            }
        }
    }

    /// Applies a patch that is not an apply to an object.
    pub fn apply(&self, object: &Value, schema: &kplane_machinery::schema::Schema) -> Result<Value, Status> {
        let mut new = object.clone();
        match self {
            Self::Json(patch) => json::apply(&mut new, patch)?,
            Self::Merge(patch) => merge::apply(&mut new, patch.clone())?,
            Self::Strategic(patch) => strategic::apply(&mut new, patch.clone(), schema)?,
            Self::Apply(_) => return Err(Status::internal("an apply is not a patch of an object")),
        }
        Ok(new)
    }
}

/// Answers a PATCH of an object or of a subresource that shares its shape.
pub async fn patch(cx: &Cx, resource: &Resource, bytes: Bytes) -> Result<Answer, Status> {
    let subresource = (!cx.info.subresource.is_empty()).then_some(cx.info.subresource.as_str());
    let verbs = match subresource {
        None => resource.def.verbs,
        Some(name) => resource.def.subresource(name).ok_or_else(Status::no_such_path)?.verbs,
    };
    if !verbs.contains(Verbs::PATCH) {
        return Err(body::method_not_allowed());
    }
    let patch = Patch::parse(cx, resource.def.custom, &bytes)?;
    let validation = decode::patch_options(cx, matches!(patch, Patch::Apply(_)))?;
    let manager = cx.field_manager();
    let written = match &patch {
        Patch::Apply(config) => {
            apply(cx, resource, subresource, config.clone(), &bytes, &manager, validation).await?
        }
        _ => {
            let change = Change {
                name: &cx.info.name,
                subresource,
                create: false,
                preconditions: Preconditions::default(),
                tracking: Tracking::patch(&manager, subresource),
                operation: Operation::Update,
            };
            write::update(cx, resource, change, |old| {
                let old = old.ok_or_else(|| Status::not_found(&resource.group_resource(), &cx.info.name))?;
                patched(cx, resource, &patch, old, validation)
            })
            .await?
        }
    };
    let code = if written.created { StatusCode::CREATED } else { StatusCode::OK };
    output::object_value(cx, resource, code, &written.object)
}

/// A patched object, decoded as if it had been sent whole.
fn patched(
    cx: &Cx,
    resource: &Resource,
    patch: &Patch,
    old: &Value,
    validation: FieldValidation,
) -> Result<Value, Status> {
    let schema = &resource.version_def()?.schema;
    let mut new = patch.apply(old, schema)?;
    let found = kplane_schema::check(schema, &mut new, resource.def.custom).map_err(|e| {
        let kind = resource.def.kind.as_ref();
        Status::bad_request(format!(
            "{kind} in version {:?} cannot be handled as a {kind}: {e}",
            &*resource.version
        ))
    })?;
    decode::report(cx, found, validation, &resource.gvk())?;
    if object::name(&new) != object::name(old) {
        return Err(Status::bad_request(format!(
            "the name of the object ({}) does not match the name on the URL ({})",
            object::name(&new),
            object::name(old)
        )));
    }
    decode::default(resource, &mut new)?;
    Ok(new)
}

/// Server-side apply: creates the object when there is none.
async fn apply(
    cx: &Cx,
    resource: &Resource,
    subresource: Option<&str>,
    mut config: Value,
    bytes: &[u8],
    manager: &str,
    validation: FieldValidation,
) -> Result<write::Written, Status> {
    if !config["metadata"]["managedFields"].is_null() {
        return Err(Status::bad_request("metadata.managedFields must be nil"));
    }
    let expected = Expected::of(resource)?;
    // What the applier sent, before defaults: exactly the fields that it will own.
    let checked = decode::object_as(cx, bytes, Media::Yaml, &expected, validation)?;
    config = checked;
    decode::match_path(cx, resource, &mut config, true)?;
    let force = cx.query.flag("force");
    let uid = object::uid(&config).to_owned();
    let change = Change {
        name: &cx.info.name,
        subresource,
        create: subresource.is_none(),
        preconditions: Preconditions { uid: (!uid.is_empty()).then_some(uid), resource_version: None },
        tracking: Tracking::applied(),
        operation: Operation::Update,
    };
    write::update(cx, resource, change, |old| {
        let mut new = managed::apply(resource, subresource, old, &config, manager, force)?;
        decode::default(resource, &mut new)?;
        Ok(new)
    })
    .await
}
