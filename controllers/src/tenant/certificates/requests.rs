//! CertificateSigningRequests: a node's request for its own client certificate is approved, and what is old goes.
//!
//! The certificates themselves are issued by the server, which has the keys.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::{Value, json};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::Error;
use crate::tenant::api::SIGNING_REQUESTS;
use crate::tenant::queue::Next;
use crate::tenant::tasks::Cx;
use crate::tenant::value::{condition, elapsed, is_deleting, items, name, stamp, text, time};

const SIGNER: &str = "kubernetes.io/kube-apiserver-client-kubelet";
const NODES: &str = "system:nodes";
const NODE_PREFIX: &str = "system:node:";
/// How long a request that was decided upon is kept.
const DECIDED: Duration = Duration::from_secs(60 * 60);
/// How long one that was not is kept.
const PENDING: Duration = Duration::from_secs(24 * 60 * 60);

/// Looks at one.
pub async fn reconcile(cx: &Cx<'_>) -> Result<Next, Error> {
    let Some(request) = cx.object(&SIGNING_REQUESTS).await? else { return Ok(Next::Done) };
    if is_deleting(&request) {
        return Ok(Next::Done);
    }
    let now = Timestamp::now();
    let left = time_left(&request, now);
    if left.is_zero() {
        cx.api.delete(&SIGNING_REQUESTS, &request, None).await?;
        return Ok(Next::Done);
    }
    approve(cx, &request, now).await?;
    Ok(Next::After(left))
}

fn decided<'a>(request: &'a Value, kind: &str) -> Option<&'a Value> {
    condition(request, kind).filter(|c| matches!(text(c, "/status"), "True" | ""))
}

/// How long a request is still kept.
fn time_left(request: &Value, now: Timestamp) -> Duration {
    let expired = certificate_end(request).is_some_and(|end| end < now);
    if expired {
        return Duration::ZERO;
    }
    let since = |c: &Value| time(c, "/lastUpdateTime").or_else(|| time(c, "/lastTransitionTime"));
    let at = ["Approved", "Denied", "Failed"].into_iter().find_map(|kind| decided(request, kind)).map(since);
    match at {
        Some(at) => DECIDED.saturating_sub(at.map_or(Duration::ZERO, |at| elapsed(at, now))),
        None => {
            let created = time(request, "/metadata/creationTimestamp");
            PENDING.saturating_sub(created.map_or(Duration::ZERO, |at| elapsed(at, now)))
        }
    }
}

/// When the certificate that was issued ends.
fn certificate_end(request: &Value) -> Option<Timestamp> {
    let pem = STANDARD.decode(text(request, "/status/certificate")).ok()?;
    let der = CertificateDer::from_pem_slice(&pem).ok()?;
    let (_, certificate) = X509Certificate::from_der(&der).ok()?;
    Timestamp::from_second(certificate.validity().not_after.timestamp()).ok()
}

/// Who a request asks to be, if it is for the client certificate of a node.
fn node_asked_for(request: &Value) -> Option<String> {
    let usages: Vec<&str> = items(request, "/spec/usages").iter().filter_map(Value::as_str).collect();
    let known = ["digital signature", "key encipherment", "client auth"];
    if !usages.contains(&"client auth")
        || !usages.contains(&"digital signature")
        || usages.iter().any(|usage| !known.contains(usage))
    {
        return None;
    }
    let pem = STANDARD.decode(text(request, "/spec/request")).ok()?;
    let (_, block) = x509_parser::pem::parse_x509_pem(&pem).ok()?;
    let (_, asked) = X509CertificationRequest::from_der(&block.contents).ok()?;
    let info = &asked.certification_request_info;
    let organizations: Vec<&str> = info.subject.iter_organization().filter_map(|o| o.as_str().ok()).collect();
    let common_name = info.subject.iter_common_name().next()?.as_str().ok()?;
    let named_otherwise = asked
        .requested_extensions()
        .into_iter()
        .flatten()
        .any(|e| matches!(e, x509_parser::extensions::ParsedExtension::SubjectAlternativeName(_)));
    (organizations == [NODES] && common_name.starts_with(NODE_PREFIX) && !named_otherwise)
        .then(|| common_name.to_owned())
}

/// Approves a node's request for its client certificate, if who asks may have it.
async fn approve(cx: &Cx<'_>, request: &Value, now: Timestamp) -> Result<(), Error> {
    if text(request, "/spec/signerName") != SIGNER
        || !text(request, "/status/certificate").is_empty()
        || ["Approved", "Denied"].into_iter().any(|kind| condition(request, kind).is_some())
    {
        return Ok(());
    }
    let Some(node) = node_asked_for(request) else { return Ok(()) };
    let own = text(request, "/spec/username") == node;
    let tries = [
        ("selfnodeclient", "Auto approving self kubelet client certificate after SubjectAccessReview.", own),
        ("nodeclient", "Auto approving kubelet client certificate after SubjectAccessReview.", true),
    ];
    for (subresource, message, applies) in tries {
        if !applies || !may(cx, request, subresource).await? {
            continue;
        }
        let mut approved = request.clone();
        let mut conditions = items(request, "/status/conditions").to_vec();
        let at = stamp(now);
        conditions.push(json!({
            "type": "Approved", "status": "True", "reason": "AutoApproved", "message": message,
            "lastUpdateTime": at, "lastTransitionTime": at,
        }));
        approved["status"]["conditions"] = conditions.into();
        cx.api.update_part(&SIGNING_REQUESTS, &approved, "approval").await?;
        return Ok(());
    }
    let why = format!("recognized csr {:?} but subject access review was not approved", name(request));
    // It may be once its user is given the permission.
    Err(Error::Wait(why))
}

async fn may(cx: &Cx<'_>, request: &Value, subresource: &str) -> Result<bool, kube::Error> {
    let mut extra = serde_json::Map::new();
    for (key, value) in request.pointer("/spec/extra").and_then(Value::as_object).into_iter().flatten() {
        extra.insert(key.clone(), value.clone());
    }
    let review = json!({
        "apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview",
        "spec": {
            "user": text(request, "/spec/username"), "uid": text(request, "/spec/uid"),
            "groups": items(request, "/spec/groups"), "extra": extra,
            "resourceAttributes": {
                "group": "certificates.k8s.io", "resource": "certificatesigningrequests", "verb": "create",
                "subresource": subresource, "version": "*",
            },
        },
    });
    let answer = cx.api.post_path("/apis/authorization.k8s.io/v1/subjectaccessreviews", &review).await?;
    Ok(answer.pointer("/status/allowed").and_then(Value::as_bool).unwrap_or(false))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(organization: &str, common_name: &str) -> Value {
        let mut params = rcgen::CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(rcgen::DnType::OrganizationName, organization);
        params.distinguished_name.push(rcgen::DnType::CommonName, common_name);
        let key = rcgen::KeyPair::generate().unwrap();
        let pem = params.serialize_request(&key).unwrap().pem().unwrap();
        json!({ "spec": { "request": STANDARD.encode(pem), "usages": ["digital signature", "client auth"] } })
    }

    #[test]
    fn only_nodes_are_recognized() {
        assert_eq!(
            node_asked_for(&request("system:nodes", "system:node:n1")).as_deref(),
            Some("system:node:n1")
        );
        assert_eq!(node_asked_for(&request("system:nodes", "jane")), None);
        assert_eq!(node_asked_for(&request("devs", "system:node:n1")), None);
        let mut serving = request("system:nodes", "system:node:n1");
        serving["spec"]["usages"] = json!(["digital signature", "server auth"]);
        assert_eq!(node_asked_for(&serving), None);
    }

    #[test]
    fn requests_are_kept_for_a_while() {
        let now = "2026-01-01T01:30:00Z".parse().unwrap();
        let pending = json!({ "metadata": { "creationTimestamp": "2026-01-01T00:00:00Z" } });
        assert_eq!(time_left(&pending, now), PENDING - Duration::from_secs(90 * 60));
        let mut approved = pending;
        approved["status"]["conditions"] =
            json!([{ "type": "Approved", "status": "True", "lastUpdateTime": "2026-01-01T00:00:00Z" }]);
        assert_eq!(time_left(&approved, now), Duration::ZERO);
    }
}
