//! The OpenAPI documents of aggregated APIs, beside our own. They are asked for anew with ours: who keeps them keeps them by
//! their hash.

use futures::future::join_all;
use kplane_machinery::Status;
use serde_json::Value;

use super::discovery::{all, ask};
use super::{Api, openapi_user};
use crate::endpoints::cx::Cx;

/// What the servers of the control plane that are known to answer say at a path; those that say nothing are left out, as
/// upstream leaves them out.
async fn documents(cx: &Cx, path: &str) -> Result<Vec<(Api, Value)>, Status> {
    let apis: Vec<Api> = all(cx).await?.into_values().flatten().filter(|api| api.available).collect();
    let user = openapi_user();
    let asked = join_all(apis.into_iter().map(|api| {
        let user = &user;
        async move {
            let said = ask(&cx.app, &cx.vcp, &api, path, user).await;
            (api, said)
        }
    }));
    let mut found = Vec::new();
    for (api, said) in asked.await {
        match said {
            Ok(document) => found.push((api, document)),
            Err(why) => {
                tracing::debug!(vcp = %cx.vcp.name, group = api.group, why, "an aggregated API has no OpenAPI document");
            }
        }
    }
    Ok(found)
}

/// The documents of version 2 of aggregated APIs, each with the beginning of the paths that count in it.
pub async fn v2(cx: &Cx) -> Result<Vec<(String, Value)>, Status> {
    let found = documents(cx, "/openapi/v2").await?;
    Ok(found.into_iter().map(|(api, document)| (format!("{}/", api.path()), document)).collect())
}

/// Adds the documents of version 3 to the index of ours.
pub async fn merge_index(cx: &Cx, index: &mut Value) -> Result<(), Status> {
    for (api, theirs) in documents(cx, "/openapi/v3").await? {
        let path = api.path().trim_start_matches('/').to_owned();
        let url = theirs["paths"][&path]["serverRelativeURL"].as_str().filter(|url| url.starts_with('/'));
        if let (Some(url), Some(paths)) = (url, index["paths"].as_object_mut()) {
            let url = format!("{}{url}", cx.prefix);
            paths.insert(path, serde_json::json!({ "serverRelativeURL": url }));
        }
    }
    Ok(())
}
