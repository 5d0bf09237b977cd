//! PATCH: JSON patch, JSON merge patch, strategic merge patch, and server-side apply.

use bytes::Bytes;
use http::StatusCode;
use http::header::CONTENT_TYPE;
use kplane_admission::Operation;
use kplane_kinds::Verbs;
use kplane_machinery::field::{FieldError, Path};
use kplane_machinery::patch::{json, merge, strategic};
use kplane_machinery::{GroupKind, Reason, Status, StatusDetails, object};
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
        Ok(Self::parse_strictly(cx, custom, bytes)?.0)
    }

    /// The same, with what a strict decoder finds wrong with the patch itself.
    fn parse_strictly(cx: &Cx, custom: bool, bytes: &[u8]) -> Result<(Self, Vec<String>), Status> {
        let content_type = cx.headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or("");
        let parse = |format| {
            kplane_schema::parse(bytes, format)
                .map_err(|e| Status::bad_request(format!("error decoding patch: {e}")))
        };
        match essence(content_type) {
            "application/json-patch+json" => {
                let parsed = parse(Format::Json)?;
                let mut strict = parsed.duplicates;
                strict.extend(unknown_in_operations(&parsed.value));
                let strict = strict.into_iter().map(|error| format!("json patch {error}")).collect();
                Ok((Self::Json(parsed.value), strict))
            }
            "application/merge-patch+json" => {
                let parsed = parse(Format::Json)?;
                Ok((Self::Merge(parsed.value), parsed.duplicates))
            }
            "application/strategic-merge-patch+json" if !custom => {
                let parsed = parse(Format::Json)?;
                Ok((Self::Strategic(parsed.value), parsed.duplicates))
            }
            // What is wrong with an applied object is found where it is decoded.
            "application/apply-patch+yaml" => Ok((Self::Apply(parse(Format::Yaml)?.value), Vec::new())),
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
        Some(name) => {
            resource.def.subresource(&resource.version, name).ok_or_else(Status::no_such_path)?.verbs
        }
    };
    if !verbs.contains(Verbs::PATCH) {
        return Err(body::method_not_allowed());
    }
    let (patch, strict) = Patch::parse_strictly(cx, resource.def.custom, &bytes)?;
    let (Patch::Json(sent) | Patch::Merge(sent) | Patch::Strategic(sent) | Patch::Apply(sent)) = &patch;
    cx.audit.request(sent);
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
                patched(cx, resource, &patch, &strict, old, validation)
            })
            .await?
        }
    };
    let code = if written.created { StatusCode::CREATED } else { StatusCode::OK };
    output::object_value(cx, resource, code, &written.object)
}

/// The fields that no operation of a JSON patch has.
fn unknown_in_operations(patch: &Value) -> Vec<String> {
    let operations = patch.as_array().into_iter().flatten().enumerate();
    let fields = operations.flat_map(|(index, operation)| {
        operation.as_object().into_iter().flatten().map(move |(field, _)| (index, field))
    });
    fields
        .filter(|(_, field)| !matches!(field.as_str(), "op" | "path" | "from" | "value"))
        .map(|(index, field)| format!("unknown field \"[{index}].{field}\""))
        .collect()
}

/// A patched object, decoded as if it had been sent whole; `strict` is what is wrong with the patch itself.
fn patched(
    cx: &Cx,
    resource: &Resource,
    patch: &Patch,
    strict: &[String],
    old: &Value,
    validation: FieldValidation,
) -> Result<Value, Status> {
    let schema = &resource.version_def()?.schema;
    let mut new = patch.apply(old, schema)?;
    // An error shows the object as the patch left it, or a strategic patch itself.
    let before = if matches!(patch, Patch::Strategic(_)) { Value::Null } else { new.clone() };
    let invalid = |why: String| {
        let shown = match patch {
            Patch::Strategic(patch) => strategic::go_print(patch),
            _ => before.to_string(),
        };
        let error = FieldError::invalid(&Path::new("patch"), &shown.into(), why);
        Status::invalid(&GroupKind::new("", ""), "", &vec![error])
    };
    let unknown =
        kplane_schema::check(schema, &mut new, resource.def.custom).map_err(|error| match patch {
            Patch::Strategic(_) => invalid(error.of_converter().to_owned()),
            _ => invalid(error.to_string()),
        })?;
    let found = strict.iter().cloned().chain(unknown);
    match validation {
        FieldValidation::Ignore => {}
        FieldValidation::Warn => found.for_each(|text| cx.warn(text)),
        FieldValidation::Strict => {
            let found: Vec<String> = found.collect();
            if !found.is_empty() {
                return Err(invalid(format!("strict decoding error: {}", found.join(", "))));
            }
        }
    }
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
        let mut new = managed::apply(cx, resource, subresource, old, &config, manager, force)?;
        decode::default(resource, &mut new)?;
        Ok(new)
    })
    .await
}
