//! From a request that has passed the filters to what answers it.

use std::sync::Arc;

use http::{Method, StatusCode};
use hyper::body::Incoming;
use kplane_machinery::Status;

use crate::body::{self, Answer};
use crate::endpoints::cx::{Cx, Resource};
use crate::{aggregation, discovery, endpoints, health, openapi, wellknown};

/// Answers a request.
pub async fn answer(cx: Arc<Cx>, method: &Method, incoming: Incoming) -> Result<Answer, Status> {
    if cx.info.is_resource {
        return resource(cx, method, incoming).await;
    }
    let path = cx.info.path.trim_end_matches('/');
    let reads = matches!(*method, Method::GET | Method::HEAD);
    let segments: Vec<&str> = path.split('/').filter(|s| !s.is_empty()).collect();
    // Health checks take any method; the documents about the server are read, and not by HEAD.
    let any = matches!(segments.first(), Some(&("healthz" | "livez" | "readyz")));
    if *method != Method::GET && !any {
        let document = matches!(
            segments.as_slice(),
            ["version"] | ["api"] | ["apis"] | ["api" | "apis", _] | ["apis", _, _]
        );
        return match document {
            true => Err(body::method_not_allowed()),
            false if reads => answer_read(&cx, &segments, method, incoming).await,
            false => Ok(body::page_not_found()),
        };
    }
    answer_read(&cx, &segments, method, incoming).await
}

async fn answer_read(
    cx: &Arc<Cx>,
    segments: &[&str],
    method: &Method,
    incoming: Incoming,
) -> Result<Answer, Status> {
    match segments {
        [] => wellknown::paths(cx).await,
        ["version"] => Ok(body::indented(StatusCode::OK, &crate::version::info())),
        ["healthz" | "livez" | "readyz", ..] => health::answer(cx, segments).await,
        ["metrics"] => crate::metrics::answer(cx).await,
        ["api"] | ["apis"] | ["api" | "apis", _] | ["apis", _, _] => {
            discovery(cx, segments, method, incoming).await
        }
        ["openapi", "v2"] => openapi::v2(cx).await,
        ["openapi", "v3"] => openapi::v3_index(cx).await,
        ["openapi", "v3", rest @ ..] => {
            if let ["apis", group, version] = rest
                && let Some(api) = aggregated(cx, group, version).await?
            {
                return aggregation::openapi::v3(cx, &api, method, incoming).await;
            }
            openapi::v3(cx, &rest.join("/")).await
        }
        ["openid", "v1", "jwks"] => wellknown::jwks(cx),
        [".well-known", "openid-configuration"] => wellknown::openid_configuration(cx),
        _ => Ok(body::page_not_found()),
    }
}

/// The server that answers for a group and version, when that is not this one.
async fn aggregated(cx: &Cx, group: &str, version: &str) -> Result<Option<aggregation::Api>, Status> {
    if let Some(api) = aggregation::find_over_own(cx, group, version).await? {
        return Ok(Some(api));
    }
    if cx.app.groups(&cx.vcp).await?.resources(group, version).is_some() {
        return Ok(None);
    }
    aggregation::find(cx, group, version).await
}

async fn resource(cx: Arc<Cx>, method: &Method, incoming: Incoming) -> Result<Answer, Status> {
    // Core resources live below /api alone, all others below /apis.
    let info = &cx.info;
    if let Some(api) = aggregation::find_over_own(&cx, &info.group, &info.version).await? {
        return aggregation::proxy(&cx, &api, method, incoming).await;
    }
    let Some(def) = cx.app.resolve(&cx.vcp, &info.group, &info.version, &info.resource).await? else {
        let known = cx.app.groups(&cx.vcp).await?.resources(&info.group, &info.version).is_some();
        if !known && let Some(api) = aggregation::find(&cx, &info.group, &info.version).await? {
            return aggregation::proxy(&cx, &api, method, incoming).await;
        }
        return if known { Err(Status::no_such_path()) } else { Ok(body::page_not_found()) };
    };
    // The paths of built-in kinds are routes, and none is for HEAD.
    if cx.method == Method::HEAD && !def.custom {
        return Err(body::method_not_allowed());
    }
    let resource = Resource { def, version: info.version.as_str().into() };
    let namespace_of_itself = resource.def.group.is_empty() && &*resource.def.plural == "namespaces";
    let needs_namespace = resource.def.namespaced();
    if !needs_namespace && !info.namespace.is_empty() && !namespace_of_itself {
        return Err(Status::no_such_path());
    }
    let across = info.name.is_empty() || matches!(info.verb.as_str(), "list" | "watch");
    if needs_namespace && info.namespace.is_empty() {
        // A path without a namespace lists and watches all of them, and serves nothing else but reviews.
        match info.verb.as_str() {
            "list" | "watch" if across => {}
            "create" | "deletecollection" => return Err(body::method_not_allowed()),
            _ => return Err(Status::no_such_path()),
        }
    }
    endpoints::resource(cx, resource, incoming).await
}

async fn discovery(
    cx: &Cx,
    segments: &[&str],
    method: &Method,
    incoming: Incoming,
) -> Result<Answer, Status> {
    let groups = aggregation::own_groups(cx).await?;
    if let Some(version) = discovery::asks_aggregated(&cx.headers)
        && segments.len() == 1
    {
        let mut document = discovery::aggregated(&groups, segments[0] == "api", version);
        if segments[0] == "apis" {
            aggregation::merge_aggregated(cx, &mut document).await?;
        }
        return Ok(discovery::with_etag(cx, &document, version));
    }
    let document = match segments {
        ["api"] => Some(discovery::api_versions(&groups, &cx.app.address())),
        ["apis"] => {
            let mut list = discovery::group_list(&groups);
            aggregation::merge_groups(cx, &mut list).await?;
            Some(list)
        }
        ["api", version] => discovery::resource_list(&groups, "", version),
        ["apis", group] => {
            aggregation::merge_group(cx, group, groups.get(group).map(discovery::group)).await?
        }
        ["apis", group, version] => match discovery::resource_list(&groups, group, version) {
            None => match aggregation::find(cx, group, version).await? {
                Some(api) => return aggregation::proxy(cx, &api, method, incoming).await,
                None => None,
            },
            known => known,
        },
        _ => None,
    };
    match document {
        Some(document) => endpoints::output::value(cx, StatusCode::OK, &document),
        None => Ok(body::page_not_found()),
    }
}
