//! Plugins about certificates: `CertificateApproval`, `CertificateSigning`, `ClusterTrustBundleAttest` and
//! `CertificateSubjectRestriction`.

use async_trait::async_trait;
use base64::Engine;
use kplane_machinery::{Status, object};
use serde_json::Value;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer;

use crate::{AccessCheck, Attributes, Operation, Plugin};

const GROUP: &str = "certificates.k8s.io";
const REQUESTS: &str = "certificatesigningrequests";
const CLIENT_SIGNER: &str = "kubernetes.io/kube-apiserver-client";
const MASTERS: &str = "system:masters";

/// Refuses who may not use a signer; the permission is for it or for its whole domain.
async fn authorize(
    attributes: &Attributes<'_>,
    object: &Value,
    verb: &str,
    words: &str,
) -> Result<(), Status> {
    let signer = object::str_at(object, &["spec", "signerName"]);
    let domain = format!("{}/*", signer.split('/').next().unwrap_or(""));
    for name in [signer, &domain] {
        let check = AccessCheck {
            user: attributes.user,
            groups: attributes.groups,
            uid: attributes.user_uid,
            extra: Some(attributes.extra),
            verb,
            group: GROUP,
            resource: "signers",
            name,
            ..AccessCheck::default()
        };
        if attributes.reader.authorize(&check).await?.allowed {
            return Ok(());
        }
    }
    Err(attributes.forbidden(object, format!("user not permitted to {words} signerName {signer:?}")))
}

/// `CertificateApproval`: only who may approve for a signer approves or denies.
pub struct CertificateApproval;

#[async_trait]
impl Plugin for CertificateApproval {
    fn name(&self) -> &'static str {
        "CertificateApproval"
    }

    fn handles(&self, attributes: &Attributes<'_>) -> bool {
        attributes.operation == Operation::Update && attributes.is(GROUP, REQUESTS, "approval")
    }

    async fn validate(&self, attributes: &Attributes<'_>, request: &Value) -> Result<(), Status> {
        authorize(attributes, request, "approve", "approve requests with").await
    }
}

/// `CertificateSigning`: only who may sign for a signer writes its certificates.
pub struct CertificateSigning;

#[async_trait]
impl Plugin for CertificateSigning {
    fn name(&self) -> &'static str {
        "CertificateSigning"
    }

    fn handles(&self, attributes: &Attributes<'_>) -> bool {
        attributes.operation == Operation::Update && attributes.is(GROUP, REQUESTS, "status")
    }

    async fn validate(&self, attributes: &Attributes<'_>, request: &Value) -> Result<(), Status> {
        let same = |field: &str| {
            attributes.old.is_some_and(|old| {
                object::at(old, &["status", field]) == object::at(request, &["status", field])
            })
        };
        if same("certificate") && same("conditions") {
            return Ok(());
        }
        authorize(attributes, request, "sign", "sign requests with").await
    }
}

/// `ClusterTrustBundleAttest`: only who may attest for a signer publishes its trust anchors.
pub struct ClusterTrustBundleAttest;

#[async_trait]
impl Plugin for ClusterTrustBundleAttest {
    fn name(&self) -> &'static str {
        "ClusterTrustBundleAttest"
    }

    fn handles(&self, attributes: &Attributes<'_>) -> bool {
        matches!(attributes.operation, Operation::Create | Operation::Update)
            && attributes.is(GROUP, "clustertrustbundles", "")
    }

    async fn validate(&self, attributes: &Attributes<'_>, bundle: &Value) -> Result<(), Status> {
        // Metadata may change without asking, and one without a signer is nobody's.
        let unchanged = attributes.old.is_some_and(|old| old.get("spec") == bundle.get("spec"));
        if unchanged || object::str_at(bundle, &["spec", "signerName"]).is_empty() {
            return Ok(());
        }
        authorize(attributes, bundle, "attest", "attest for").await
    }
}

/// `CertificateSubjectRestriction`: nobody gets a certificate that makes an administrator of him.
pub struct CertificateSubjectRestriction;

#[async_trait]
impl Plugin for CertificateSubjectRestriction {
    fn name(&self) -> &'static str {
        "CertificateSubjectRestriction"
    }

    fn handles(&self, attributes: &Attributes<'_>) -> bool {
        attributes.operation == Operation::Create && attributes.is(GROUP, REQUESTS, "")
    }

    async fn validate(&self, attributes: &Attributes<'_>, request: &Value) -> Result<(), Status> {
        if object::str_at(request, &["spec", "signerName"]) != CLIENT_SIGNER {
            return Ok(());
        }
        let organizations = organizations(object::str_at(request, &["spec", "request"]))
            .map_err(|why| attributes.forbidden(request, format!("unable to parse csr: {why}")))?;
        if organizations.iter().any(|o| o == MASTERS) {
            let why = format!("use of {CLIENT_SIGNER} signer with {MASTERS} group is not allowed");
            return Err(attributes.forbidden(request, why));
        }
        Ok(())
    }
}

/// The organizations of a request's subject, which become groups.
fn organizations(request: &str) -> Result<Vec<String>, String> {
    const KIND: &str = "PEM block type must be CERTIFICATE REQUEST";
    let engine = base64::engine::general_purpose::STANDARD;
    let pem = engine.decode(request).map_err(|e| e.to_string())?;
    let pem = String::from_utf8(pem).map_err(|_| KIND.to_owned())?;
    let body: String = pem
        .split_once("-----BEGIN CERTIFICATE REQUEST-----")
        .and_then(|(_, rest)| rest.split_once("-----END CERTIFICATE REQUEST-----"))
        .map(|(body, _)| body.split_whitespace().collect())
        .ok_or(KIND)?;
    let der = engine.decode(body).map_err(|e| e.to_string())?;
    let (_, parsed) = X509CertificationRequest::from_der(&der).map_err(|e| e.to_string())?;
    // A text in an encoding that cannot be read is refused rather than passed over.
    parsed
        .certification_request_info
        .subject
        .iter_organization()
        .map(|o| o.as_str().map(str::to_owned).map_err(|e| e.to_string()))
        .collect()
}
