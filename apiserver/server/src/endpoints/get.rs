//! GET of one object.

use http::StatusCode;
use kplane_kinds::Verbs;
use kplane_machinery::Status;

use super::cx::{Cx, Resource};
use super::{failures, output};
use crate::body::{self, Answer};
use crate::custom::conversion;

/// Answers a GET.
pub async fn get(cx: &Cx, resource: &Resource) -> Result<Answer, Status> {
    if !resource.def.verbs.contains(Verbs::GET) {
        return Err(body::method_not_allowed());
    }
    let key = resource.object_key(&cx.info.namespace, &cx.info.name);
    match cx.app.registry.get(&cx.vcp, &key).await.map_err(failures::store)? {
        Some(stored) => {
            let shown = conversion::show(cx, resource, vec![stored]).await?;
            output::stored(cx, resource, StatusCode::OK, &shown[0])
        }
        None => Err(Status::not_found(&resource.group_resource(), &cx.info.name)),
    }
}
