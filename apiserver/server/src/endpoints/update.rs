//! PUT of an object or of a subresource that shares its shape.

use bytes::Bytes;
use http::StatusCode;
use kplane_admission::Operation;
use kplane_kinds::Verbs;
use kplane_machinery::{Status, object};

use super::cx::{Cx, Resource};
use super::decode::{self, Expected};
use super::managed::Tracking;
use super::output;
use super::write::{self, Change, Preconditions};
use crate::body::{self, Answer};

/// Answers a PUT.
pub async fn update(cx: &Cx, resource: &Resource, bytes: Bytes) -> Result<Answer, Status> {
    let subresource = (!cx.info.subresource.is_empty()).then_some(cx.info.subresource.as_str());
    let verbs = match subresource {
        None => resource.def.verbs,
        Some(name) => {
            resource.def.subresource(&resource.version, name).ok_or_else(Status::no_such_path)?.verbs
        }
    };
    if !verbs.contains(Verbs::UPDATE) {
        return Err(body::method_not_allowed());
    }
    let validation = decode::write_options(cx, "UpdateOptions")?;
    let mut object = decode::object(cx, &bytes, &Expected::of(resource)?, validation)?;
    decode::match_path(cx, resource, &mut object, true)?;
    decode::default(resource, &mut object)?;
    let manager = cx.field_manager();
    let uid = object::uid(&object).to_owned();
    let change = Change {
        name: &cx.info.name,
        subresource,
        create: subresource.is_none() && resource.def.strategy.allow_create_on_update(),
        preconditions: Preconditions { uid: (!uid.is_empty()).then_some(uid), resource_version: None },
        tracking: Tracking::update(&manager, subresource),
        operation: Operation::Update,
    };
    let written = write::update(cx, resource, change, |_| Ok(object.clone())).await?;
    let code = if written.created { StatusCode::CREATED } else { StatusCode::OK };
    output::object_value(cx, resource, code, &written.object)
}
