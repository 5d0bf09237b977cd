//! Who is who, and what they may do: tokens, issuers, certificates, nodes, impersonation, the operator's webhooks.

mod certificates;
mod impersonation;
mod issuer;
mod nodes;
mod oidc;
mod operator;
mod plugin;
mod tokens;

use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kplane_tests::{Kubectl, Server};
use serde_json::{Value, json};

/// kubectl with a bearer token and nothing else, in a control plane or, without a name, in root.
fn with_token(server: &Server, vcp: Option<&str>, token: &str) -> Kubectl {
    Kubectl::new(&with_user(server, vcp, &json!({"token": token})))
}

/// A kubeconfig with such a user.
fn with_user(server: &Server, vcp: Option<&str>, user: &Value) -> PathBuf {
    let file = server.folder().join(format!("token-{}", uuid()));
    let path = vcp.map(|name| format!("/clusters/{name}/control-plane")).unwrap_or_default();
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{"name": "c", "cluster": {
            "server": format!("https://127.0.0.1:{}{path}", server.port()),
            "certificate-authority": server.folder().join("data/pki/ca.crt"),
        }}],
        "users": [{"name": "u", "user": user}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
    });
    std::fs::write(&file, config.to_string()).expect("a kubeconfig");
    file
}

/// Something unique.
fn uuid() -> String {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed).to_string()
}

/// kubectl with a certificate that root's administrator asks for, in a control plane.
fn with_certificate(server: &Server, vcp: &str, spec: Value) -> Kubectl {
    let file = certificate(server, vcp, spec);
    at(server, vcp, &file)
}

/// A kubeconfig with such a certificate.
fn certificate(server: &Server, vcp: &str, spec: Value) -> PathBuf {
    let path = format!("/apis/tenancy.kplane.dev/v1alpha1/virtualclusters/{vcp}/credentials");
    let request =
        json!({"apiVersion": "tenancy.kplane.dev/v1alpha1", "kind": "CredentialRequest", "spec": spec});
    let status = server.client().post(&path, &request).ok()["status"].clone();
    let file = server.folder().join(format!("certificate-{}", uuid()));
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{"name": "c", "cluster": {
            "server": format!("https://127.0.0.1:{}", server.port()),
            "certificate-authority-data": STANDARD.encode(ca(server)),
        }}],
        "users": [{"name": "u", "user": {
            "client-certificate-data": status["clientCertificateData"], "client-key-data": status["clientKeyData"],
        }}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
    });
    std::fs::write(&file, config.to_string()).expect("a kubeconfig");
    file
}

/// kubectl with a kubeconfig, at a control plane of a server.
fn at(server: &Server, vcp: &str, kubeconfig: &Path) -> Kubectl {
    Kubectl::new(kubeconfig)
        .server(format!("https://127.0.0.1:{}/clusters/{vcp}/control-plane", server.port()))
}

fn ca(server: &Server) -> String {
    std::fs::read_to_string(server.folder().join("data/pki/ca.crt")).expect("the CA")
}

/// Whether kubectl was refused as nobody the server knows.
#[track_caller]
fn unauthorized(kubectl: &Kubectl) {
    let told = kubectl.fails(&["auth", "whoami"]);
    assert!(told.contains("Unauthorized") || told.contains("must be logged in"), "{told}");
}
