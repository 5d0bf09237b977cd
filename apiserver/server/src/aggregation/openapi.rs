//! The OpenAPI documents of aggregated APIs, beside our own. They are asked for anew with ours: who keeps them keeps them by
//! their hash. A server that has none of version 3 is shown there by what it has of version 2.

use futures::future::join_all;
use http::{Method, StatusCode};
use hyper::body::Incoming;
use kplane_machinery::Status;
use kplane_schema::openapi;
use serde_json::{Value, json};

use super::discovery::{all, ask};
use super::{Api, openapi_user, proxy};
use crate::body::{self, Answer};
use crate::endpoints::cx::Cx;
use crate::openapi::with_etag;

/// The APIs of the control plane whose servers are known to answer.
async fn available(cx: &Cx) -> Result<Vec<Api>, Status> {
    Ok(all(cx).await?.into_values().flatten().filter(|api| api.available).collect())
}

/// What was said; those that say nothing are left out, as upstream leaves them out.
fn heard<T>(cx: &Cx, api: &Api, said: Result<T, String>) -> Option<T> {
    said.inspect_err(|why| {
        tracing::debug!(vcp = %cx.vcp.name, group = api.group, why, "an aggregated API has no OpenAPI document");
    })
    .ok()
}

async fn said(cx: &Cx, api: &Api, path: &str) -> Result<Value, String> {
    ask(&cx.app, &cx.vcp, api, path, &openapi_user()).await
}

/// The beginning of the paths of an API.
fn prefix(api: &Api) -> String {
    format!("{}/", api.path())
}

/// The documents of version 2 of aggregated APIs, each with the beginning of the paths that count in it.
pub async fn v2(cx: &Cx) -> Result<Vec<(String, Value)>, Status> {
    let apis = available(cx).await?;
    let asked = join_all(apis.iter().map(|api| said(cx, api, "/openapi/v2"))).await;
    let found = apis.iter().zip(asked);
    Ok(found.filter_map(|(api, said)| Some((prefix(api), heard(cx, api, said)?))).collect())
}

/// Adds the documents of version 3 to the index of ours.
pub async fn merge_index(cx: &Cx, index: &mut Value) -> Result<(), Status> {
    let apis = available(cx).await?;
    let asked = join_all(apis.iter().map(|api| address(cx, api))).await;
    for (api, said) in apis.iter().zip(asked) {
        let path = api.path().trim_start_matches('/').to_owned();
        if let (Some(Some(url)), Some(paths)) = (heard(cx, api, said), index["paths"].as_object_mut()) {
            let url = format!("{}{url}", cx.prefix);
            paths.insert(path, json!({ "serverRelativeURL": url }));
        }
    }
    Ok(())
}

/// Where the document of version 3 of an API is, if there is one.
async fn address(cx: &Cx, api: &Api) -> Result<Option<String>, String> {
    match said(cx, api, "/openapi/v3").await {
        Ok(theirs) => {
            let path = api.path();
            let url = theirs["paths"][path.trim_start_matches('/')]["serverRelativeURL"].as_str();
            Ok(url.filter(|url| url.starts_with('/')).map(str::to_owned))
        }
        Err(why) => {
            let made = converted(cx, api).await?.ok_or(why)?;
            Ok(Some(format!("/openapi/v3{}?hash={}", api.path(), openapi::hash(&made))))
        }
    }
}

/// The document of version 3 of an API: its server's own, or made of that of version 2.
pub async fn v3(cx: &Cx, api: &Api, method: &Method, incoming: Incoming) -> Result<Answer, Status> {
    let answer = proxy(cx, api, method, incoming).await?;
    if answer.status() != StatusCode::NOT_FOUND || *method != Method::GET {
        return Ok(answer);
    }
    match heard(cx, api, converted(cx, api).await).flatten() {
        Some(made) => {
            let hash = openapi::hash(&made);
            Ok(with_etag(cx, made, &hash))
        }
        None => Ok(answer),
    }
}

/// What a server's document of version 2 says of an API, in version 3; `None` when that is nothing.
async fn converted(cx: &Cx, api: &Api) -> Result<Option<Vec<u8>>, String> {
    let document = said(cx, api, "/openapi/v2").await?;
    Ok(openapi::v3_of_v2(document, &prefix(api)).map(|made| body::to_json(&made)))
}
