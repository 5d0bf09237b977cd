//! Documents about the server itself: the list of paths, and where the keys of service account tokens are.

use http::StatusCode;
use kplane_machinery::Status;
use serde_json::json;

use crate::body::{self, Answer};
use crate::endpoints::cx::Cx;
use crate::endpoints::negotiate::not_acceptable_of;
use crate::endpoints::output;

/// `/`: the paths that are served.
pub async fn paths(cx: &Cx) -> Result<Answer, Status> {
    let mut paths: Vec<String> = [
        "/.well-known/openid-configuration",
        "/api",
        "/apis",
        "/apis/",
        "/healthz",
        "/livez",
        "/openapi/v2",
        "/openapi/v3",
        "/openapi/v3/",
        "/openid/v1/jwks",
        "/readyz",
        "/version",
    ]
    .map(str::to_owned)
    .into();
    if cx.vcp.is_root() {
        paths.push("/metrics".into());
    }
    for group in &cx.app.groups(&cx.vcp).await?.0 {
        if group.name.is_empty() {
            paths.extend(group.versions.iter().map(|(version, _)| format!("/api/{version}")));
        } else {
            paths.push(format!("/apis/{}", group.name));
            paths.extend(group.versions.iter().map(|(version, _)| format!("/apis/{}/{version}", group.name)));
        }
    }
    for check in crate::health::CHECKS {
        for endpoint in ["healthz", "livez", "readyz"] {
            if endpoint == "readyz" || check != "shutdown" {
                paths.push(format!("/{endpoint}/{check}"));
            }
        }
    }
    paths.sort();
    output::value(cx, StatusCode::OK, &json!({"paths": paths}))
}

/// The public keys of the control plane's service account tokens.
pub fn jwks(cx: &Cx) -> Result<Answer, Status> {
    let accepted = cx.headers.get(http::header::ACCEPT).and_then(|v| v.to_str().ok()).unwrap_or("*/*");
    let fits = |range: &str| {
        matches!(
            range.split(';').next().unwrap_or("").trim(),
            "*/*" | "application/*" | "application/jwk-set+json"
        )
    };
    if !accepted.split(',').any(fits) {
        return Err(not_acceptable_of(&["application/jwk-set+json"]));
    }
    let keys = body::to_json(&cx.app.identities.jwks(&cx.vcp)?);
    Ok(kept_for_an_hour(body::answer(StatusCode::OK, "application/jwk-set+json", keys)))
}

/// Where an OpenID Connect relying party finds those keys.
pub fn openid_configuration(cx: &Cx) -> Result<Answer, Status> {
    let configuration = cx.app.identities.openid_configuration(&cx.vcp)?;
    Ok(kept_for_an_hour(body::json(StatusCode::OK, &configuration)))
}

/// Says that anybody may keep an answer for so long.
fn kept_for_an_hour(mut answer: Answer) -> Answer {
    let value = http::HeaderValue::from_static("public, max-age=3600");
    answer.headers_mut().insert(http::header::CACHE_CONTROL, value);
    answer
}
