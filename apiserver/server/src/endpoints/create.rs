//! POST of a new object.

use bytes::Bytes;
use http::StatusCode;
use kplane_kinds::Verbs;
use kplane_machinery::Status;

use super::cx::{Cx, Resource};
use super::decode::{self, Expected};
use super::managed::Tracking;
use super::{output, write};
use crate::body::{self, Answer};

/// Answers a creation.
pub async fn create(cx: &Cx, resource: &Resource, bytes: Bytes) -> Result<Answer, Status> {
    if !resource.def.verbs.contains(Verbs::CREATE) {
        let mut refused = body::method_not_allowed();
        if resource.def.custom {
            refused.message = "create not allowed while custom resource definition is terminating".into();
        }
        return Err(refused);
    }
    let validation = decode::write_options(cx, "CreateOptions")?;
    let mut object = decode::object(cx, &bytes, &Expected::of(resource)?, validation)?;
    if !resource.def.stored() {
        return crate::reviews::answer(cx, resource, object).await;
    }
    decode::match_path(cx, resource, &mut object, false)?;
    decode::default(resource, &mut object)?;
    let manager = cx.field_manager();
    let written = write::create(cx, resource, object, Tracking::create(&manager)).await?;
    output::object_value(cx, resource, StatusCode::CREATED, &written.object)
}
