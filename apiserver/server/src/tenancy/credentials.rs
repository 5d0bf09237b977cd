//! `virtualclusters/credentials`: a client certificate for a control plane, issued to root's administrators. What a
//! controller needs to hand out a kubeconfig.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use hyper::body::Incoming;
use kplane_auth::pki::ClientSubject;
use kplane_machinery::field::{FieldError, Path};
use kplane_machinery::time::{self, Time};
use kplane_machinery::{GroupKind, GroupResource, Status};
use serde_json::{Value, json};

use crate::body::{Answer, method_not_allowed};
use crate::endpoints::cx::Cx;
use crate::endpoints::{body, failures, output};

const SHORTEST: i64 = 60;
const LONGEST: i64 = 10 * 365 * 24 * 3600;

/// Answers a `CredentialRequest`.
pub async fn answer(cx: &Cx, incoming: Incoming) -> Result<Answer, Status> {
    if cx.info.verb != "create" {
        return Err(method_not_allowed());
    }
    let bytes = body::read(incoming).await?;
    let request: Value = serde_json::from_slice(&bytes)
        .map_err(|e| Status::bad_request(format!("the body is no CredentialRequest: {e}")))?;
    let spec = &request["spec"];
    let at = Path::new("spec");
    let mut errors = Vec::new();
    let user = spec["user"].as_str().unwrap_or("");
    if user.is_empty() {
        errors.push(FieldError::required(&at.child("user"), ""));
    }
    let seconds = spec["expirationSeconds"].as_i64().unwrap_or(24 * 3600);
    if !(SHORTEST..=LONGEST).contains(&seconds) {
        let field = at.child("expirationSeconds");
        let why = format!("must be between {SHORTEST} and {LONGEST}");
        errors.push(FieldError::invalid(&field, &seconds.into(), why));
    }
    let generation = spec["generation"].as_str().filter(|generation| !generation.is_empty());
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
    if let Some(generation) = generation.filter(|g| g.len() > 63 || !g.chars().all(plain)) {
        let why = "must be at most 63 letters, digits, dashes and dots";
        errors.push(FieldError::invalid_str(&at.child("generation"), generation, why));
    }
    let uid = spec["uid"].as_str().unwrap_or("");
    if uid.len() > 253 || uid.chars().any(char::is_control) {
        let why = "must be at most 253 bytes without control characters";
        errors.push(FieldError::invalid_str(&at.child("uid"), uid, why));
    }
    let groups: Vec<String> = spec["groups"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect();
    if !errors.is_empty() {
        let kind = GroupKind::new("tenancy.kplane.dev", "CredentialRequest");
        return Err(Status::invalid(&kind, &cx.info.name, &errors));
    }
    let vcp = cx.app.registry.vcp(&cx.info.name).await.map_err(failures::store)?.ok_or_else(|| {
        Status::not_found(&GroupResource::new("tenancy.kplane.dev", "virtualclusters"), &cx.info.name)
    })?;
    // As of now: what is issued for an epoch that is over would be void.
    let vcp = cx.app.registry.vcp_by_id(vcp.id).await.map_err(failures::store)?.unwrap_or(vcp);
    let ttl = Duration::from_secs(seconds.unsigned_abs());
    let issued = cx
        .app
        .identities
        .issue_client(&vcp, &ClientSubject { user, uid, groups: &groups }, generation, ttl)
        .await?;
    let mut given = json!({"user": user, "groups": groups, "expirationSeconds": seconds});
    if !uid.is_empty() {
        given["uid"] = uid.into();
    }
    if let Some(generation) = generation {
        given["generation"] = generation.into();
    }
    let expires = Time::now().truncated().add(time::Duration::from_secs(seconds)).to_string();
    let answer = json!({
        "apiVersion": "tenancy.kplane.dev/v1alpha1",
        "kind": "CredentialRequest",
        "metadata": {"name": cx.info.name},
        "spec": given,
        "status": {
            "clientCertificateData": STANDARD.encode(issued.certificate),
            "clientKeyData": STANDARD.encode(issued.key),
            "certificateAuthorityData": STANDARD.encode(&cx.app.identities.ca_pem),
            "expirationTimestamp": expires,
            "endpoint": cx.app.identities.url(&vcp),
        },
    });
    output::value(cx, StatusCode::CREATED, &answer)
}
