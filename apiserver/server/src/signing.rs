//! CertificateSigningRequests that are approved get their certificate: one that is good in their control plane and in no
//! other.
//!
//! The signers of client certificates are served. Certificates of servers are not: all control planes trust one CA, and
//! what one of them approves must not stand for a server in another.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kplane_auth::pki::ClientSubject;
use kplane_machinery::{Status, object};
use kplane_registry::Vcp;
use serde_json::{Value, json};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::FromDer;

use crate::app::App;
use crate::endpoints::managed::Tracking;
use crate::endpoints::{system, write};
use crate::settle;

/// Their group.
pub const GROUP: &str = "certificates.k8s.io";
/// Their plural.
pub const PLURAL: &str = "certificatesigningrequests";

const CLIENT: &str = "kubernetes.io/kube-apiserver-client";
const KUBELET_CLIENT: &str = "kubernetes.io/kube-apiserver-client-kubelet";
/// The longest that a certificate is good for.
const LONGEST: u64 = 365 * 24 * 3600;

/// What a request asks for.
#[derive(Debug, PartialEq, Eq)]
struct Asked {
    user: String,
    groups: Vec<String>,
    public_key: Vec<u8>,
    /// The sorts of names beside the subject.
    names: Vec<&'static str>,
}

fn condition(request: &Value, kind: &str) -> bool {
    let conditions = request["status"]["conditions"].as_array();
    conditions.into_iter().flatten().any(|c| c["type"] == kind && c["status"] != "False")
}

fn read(request: &Value) -> Option<Asked> {
    let bytes = STANDARD.decode(request["spec"]["request"].as_str()?).ok()?;
    let (_, block) = x509_parser::pem::parse_x509_pem(&bytes).ok()?;
    let (_, parsed) = X509CertificationRequest::from_der(&block.contents).ok()?;
    let info = &parsed.certification_request_info;
    let text = |value: Option<&str>| value.unwrap_or_default().to_owned();
    let mut names = Vec::new();
    for extension in parsed.requested_extensions().into_iter().flatten() {
        let ParsedExtension::SubjectAlternativeName(all) = extension else { continue };
        names.extend(all.general_names.iter().map(|name| match name {
            GeneralName::DNSName(_) => "DNS",
            GeneralName::RFC822Name(_) => "Email",
            GeneralName::IPAddress(_) => "IP",
            _ => "URI",
        }));
    }
    Some(Asked {
        user: text(info.subject.iter_common_name().next().and_then(|name| name.as_str().ok())),
        groups: info.subject.iter_organization().map(|name| text(name.as_str().ok())).collect(),
        public_key: info.subject_pki.raw.to_vec(),
        names,
    })
}

/// What is wrong with a request, by the rules of its signer.
fn refusal(signer: &str, usages: &[&str], asked: &Asked) -> Option<String> {
    let allowed = ["client auth", "digital signature", "key encipherment"];
    if signer == CLIENT {
        if let Some(other) = usages.iter().find(|usage| !allowed.contains(usage)) {
            return Some(format!("invalid usage for client certificate: {other}"));
        }
        if !usages.contains(&"client auth") {
            return Some("missing required usage for client certificate: client auth".into());
        }
        if asked.user.is_empty() {
            return Some("the subject has no common name".into());
        }
        return None;
    }
    if asked.groups != ["system:nodes"] {
        return Some("subject organization is not system:nodes".into());
    }
    if !asked.user.starts_with("system:node:") {
        return Some("subject common name does not begin with system:node:".into());
    }
    if let Some(sort) = asked.names.first() {
        return Some(format!("{sort} subjectAltNames are not allowed"));
    }
    let fits = usages.iter().all(|usage| allowed.contains(usage))
        && usages.contains(&"client auth")
        && usages.contains(&"digital signature");
    (!fits).then(|| "usages did not match [client auth digital signature]".into())
}

/// Issues the certificate of one request, if it is approved and has none.
pub async fn sign(app: &Arc<App>, vcp: &Arc<Vcp>, request: &Value) -> Result<(), Status> {
    let signer = request["spec"]["signerName"].as_str().unwrap_or("");
    let waits = matches!(signer, CLIENT | KUBELET_CLIENT)
        && condition(request, "Approved")
        && !condition(request, "Denied")
        && !condition(request, "Failed")
        && request["status"].get("certificate").is_none_or(Value::is_null)
        && request["metadata"].get("deletionTimestamp").is_none();
    if !waits {
        return Ok(());
    }
    let usages: Vec<&str> =
        request["spec"]["usages"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let Some(asked) = read(request) else {
        tracing::debug!(vcp = %vcp.name, name = object::name(request), "a signing request cannot be read");
        return Ok(());
    };
    let outcome = match refusal(signer, &usages, &asked) {
        Some(why) => Err(why),
        None => {
            let wanted = request["spec"]["expirationSeconds"].as_u64().unwrap_or(LONGEST).clamp(600, LONGEST);
            let ttl = Duration::from_secs(wanted);
            // A uid in the subject of the request is dropped, as upstream's signer does: who approves looks at names.
            let of = ClientSubject::new(&asked.user, &asked.groups);
            Ok(app.identities.certify_client(vcp, &asked.public_key, &of, ttl).await?)
        }
    };
    let name = object::name(request);
    let (cx, resource) = settle::own_request(app, vcp, GROUP, PLURAL, ("", name))?;
    let tracking = Tracking::update("kube-controller-manager", Some("status"));
    let change = settle::status_change(name, object::uid(request), tracking);
    write::update(&cx, &resource, change, |old| {
        let mut new = old.cloned().ok_or_else(|| Status::not_found(&resource.group_resource(), name))?;
        match &outcome {
            Ok(pem) => new["status"]["certificate"] = STANDARD.encode(pem).into(),
            Err(why) => {
                let now = system::now();
                let failed = json!({
                    "type": "Failed", "status": "True", "reason": "SignerValidationFailure", "message": why,
                    "lastUpdateTime": now, "lastTransitionTime": now,
                });
                system::set_condition(&mut new, failed);
            }
        }
        Ok(new)
    })
    .await
    .map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(user: &str, group: &str, names: &[&'static str]) -> Asked {
        Asked { user: user.into(), groups: vec![group.into()], public_key: Vec::new(), names: names.to_vec() }
    }

    #[test]
    fn each_signer_has_its_rules() {
        let client = ["client auth", "digital signature"];
        let node = asked("system:node:n1", "system:nodes", &[]);
        assert_eq!(refusal(KUBELET_CLIENT, &client, &node), None);
        assert!(refusal(KUBELET_CLIENT, &["client auth"], &node).is_some());
        assert!(refusal(KUBELET_CLIENT, &client, &asked("jane", "system:nodes", &[])).is_some());
        assert!(refusal(KUBELET_CLIENT, &client, &asked("system:node:n1", "devs", &[])).is_some());
        let named = asked("system:node:n1", "system:nodes", &["DNS"]);
        assert_eq!(
            refusal(KUBELET_CLIENT, &client, &named).as_deref(),
            Some("DNS subjectAltNames are not allowed")
        );
        assert_eq!(refusal(CLIENT, &client, &asked("jane", "devs", &[])), None);
        assert_eq!(
            refusal(CLIENT, &["server auth"], &asked("jane", "devs", &[])).as_deref(),
            Some("invalid usage for client certificate: server auth")
        );
    }
}
