//! Subresources: those that share the object's shape go through the verbs of the object; the others are here, one file each.

mod binding;
mod eviction;
mod node;
mod scale;
mod token;

pub use binding::{check as check_binding, create as bind};

use http::StatusCode;
use hyper::body::Incoming;
use kplane_kinds::{Subresource, Verbs};
use kplane_machinery::Status;

use super::cx::{Cx, Resource};
use super::{body, failures, output};
use crate::body::{Answer, method_not_allowed};

/// Answers a request for a subresource.
pub async fn answer(cx: &Cx, resource: &Resource, incoming: Incoming) -> Result<Answer, Status> {
    let sub = resource.def.subresource(&resource.version, &cx.info.subresource);
    let sub = sub.ok_or_else(Status::no_such_path)?.clone();
    match (&*resource.def.group, &*resource.def.plural, &*sub.name) {
        (_, _, "scale") => scale::answer(cx, resource, &sub, incoming).await,
        ("", "pods", "binding") => binding::answer(cx, resource, &sub, incoming).await,
        ("", "pods", "eviction") => eviction::answer(cx, resource, &sub, incoming).await,
        ("", "serviceaccounts", "token") => token::answer(cx, resource, &sub, incoming).await,
        ("", "pods", "exec" | "attach" | "portforward" | "log" | "proxy")
        | ("", "nodes" | "services", "proxy") => node::answer(cx, resource, &sub).await,
        ("tenancy.kplane.dev", "virtualclusters", "credentials") => {
            crate::tenancy::credentials::answer(cx, incoming).await
        }
        _ => shared_shape(cx, resource, &sub, incoming).await,
    }
}

/// `status`, `finalize`, `approval`, `ephemeralcontainers`, `resize`: parts of the object itself.
async fn shared_shape(
    cx: &Cx,
    resource: &Resource,
    sub: &Subresource,
    incoming: Incoming,
) -> Result<Answer, Status> {
    match cx.info.verb.as_str() {
        "get" => {
            require(sub, Verbs::GET)?;
            let key = resource.object_key(&cx.info.namespace, &cx.info.name);
            match cx.app.registry.get(&cx.vcp, &key).await.map_err(failures::store)? {
                Some(stored) => {
                    let shown = crate::custom::conversion::show(cx, resource, vec![stored]).await?;
                    output::stored(cx, resource, StatusCode::OK, &shown[0])
                }
                None => Err(Status::not_found(&resource.group_resource(), &cx.info.name)),
            }
        }
        "update" => super::update::update(cx, resource, body::read(incoming).await?).await,
        "patch" => super::patch::patch(cx, resource, body::read(incoming).await?).await,
        _ => Err(method_not_allowed()),
    }
}

/// 405 unless a subresource has a verb.
pub fn require(sub: &Subresource, verb: Verbs) -> Result<(), Status> {
    if sub.verbs.contains(verb) { Ok(()) } else { Err(method_not_allowed()) }
}

/// The schema of a subresource's own kind.
fn own_kind(sub: &Subresource) -> Result<super::decode::Expected<'_>, Status> {
    match (&sub.kind, &sub.schema) {
        (Some(gvk), Some(schema)) => Ok(super::decode::Expected { gvk: gvk.clone(), schema, custom: false }),
        _ => Err(Status::internal(format!("the kind of the subresource {:?} is not known", &*sub.name))),
    }
}
