//! Requests for certificates, and the tokens that nodes begin with.

use std::process::Command;

use kplane_tests::eventually;
use serde_json::json;

use super::{SOON, has_condition, setup, wait_gone, wait_until};

const REQUESTS: &str = "/apis/certificates.k8s.io/v1/certificatesigningrequests";

/// A signing request, made by openssl, as base64.
fn signing_request(server: &kplane_tests::Server, subject: &str) -> String {
    let path = |file: &str| server.folder().join(file).display().to_string();
    let made = Command::new("openssl")
        .args(["req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"])
        .args(["-subj", subject, "-keyout", &path("key.pem"), "-out", &path("csr.pem")])
        .output()
        .expect("openssl");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let encoded = Command::new("base64").args(["-w0", &path("csr.pem")]).output().expect("base64");
    String::from_utf8(encoded.stdout).expect("text")
}

fn request(name: &str, signer: &str, pem: &str) -> serde_json::Value {
    json!({
        "apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest", "metadata": { "name": name },
        "spec": { "request": pem, "signerName": signer, "usages": ["digital signature", "client auth"] },
    })
}

#[test]
fn an_approved_request_becomes_a_certificate_that_is_good_here() {
    let (a, server) = setup();
    let pem = signing_request(&server, "/O=devs/CN=jane");
    let signer = "kubernetes.io/kube-apiserver-client";
    let mut made = a.post(REQUESTS, &request("jane", signer, &pem)).ok();
    assert!(made["status"].get("certificate").is_none());
    made["status"]["conditions"] =
        json!([{ "type": "Approved", "status": "True", "reason": "Test", "message": "by the test" }]);
    a.put(&format!("{REQUESTS}/jane/approval"), &made).ok();
    let signed = wait_until(&a, &format!("{REQUESTS}/jane"), "it is signed", |r| {
        r["status"]["certificate"].is_string()
    });
    // kubectl with the certificate and the key that never left the test is jane.
    let certificate = signed["status"]["certificate"].as_str().expect("a text");
    let folder = server.folder();
    let decoded = Command::new("sh")
        .args(["-c", &format!("printf %s {certificate} | base64 -d > {}", folder.join("cert.pem").display())])
        .status()
        .expect("sh");
    assert!(decoded.success());
    let whoami = |vcp: &str| {
        Command::new("kubectl")
            .args(["--server", &format!("https://127.0.0.1:{}/clusters/{vcp}/control-plane", server.port())])
            .args(["--certificate-authority", &folder.join("data/pki/ca.crt").display().to_string()])
            .args(["--client-certificate", &folder.join("cert.pem").display().to_string()])
            .args(["--client-key", &folder.join("key.pem").display().to_string()])
            .args(["auth", "whoami", "-o", "jsonpath={.status.userInfo.username} {.status.userInfo.groups}"])
            .env("KUBECONFIG", "/dev/null")
            .output()
            .expect("kubectl")
    };
    let here = whoami("a");
    let text = String::from_utf8_lossy(&here.stdout).into_owned();
    assert!(
        text.starts_with("jane ") && text.contains("devs"),
        "{text} {}",
        String::from_utf8_lossy(&here.stderr)
    );
    // And nobody elsewhere.
    server.create_vcp("b");
    assert!(!whoami("b").status.success());
}

#[test]
fn a_node_gets_its_client_certificate_when_it_may_ask_for_it() {
    let (a, server) = setup();
    let pem = signing_request(&server, "/O=system:nodes/CN=system:node:n1");
    let signer = "kubernetes.io/kube-apiserver-client-kubelet";
    // The administrator asks for a node, and may do everything.
    a.post(REQUESTS, &request("n1", signer, &pem)).ok();
    let signed =
        wait_until(&a, &format!("{REQUESTS}/n1"), "it is signed", |r| r["status"]["certificate"].is_string());
    assert!(has_condition(&signed, "Approved", "True"));
    assert_eq!(signed["status"]["conditions"][0]["reason"], "AutoApproved");
}

#[test]
fn the_cluster_info_is_signed_by_the_bootstrap_tokens() {
    let (a, _server) = setup();
    let info = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "cluster-info" },
        "data": { "kubeconfig": "some kubeconfig" } });
    a.post("/api/v1/namespaces/kube-public/configmaps", &info).ok();
    let token = |id: &str, expires: &str| {
        json!({ "apiVersion": "v1", "kind": "Secret", "type": "bootstrap.kubernetes.io/token",
            "metadata": { "name": format!("bootstrap-token-{id}") },
            "stringData": { "token-id": id, "token-secret": "0123456789abcdef",
                "usage-bootstrap-signing": "true", "expiration": expires } })
    };
    let secrets = "/api/v1/namespaces/kube-system/secrets";
    a.post(secrets, &token("abcdef", "2099-01-01T00:00:00Z")).ok();
    a.post(secrets, &token("expire", "2020-01-01T00:00:00Z")).ok();
    wait_gone(&a, &format!("{secrets}/bootstrap-token-expire"));
    let path = "/api/v1/namespaces/kube-public/configmaps/cluster-info";
    let signed = wait_until(&a, path, "it is signed", |map| map["data"]["jws-kubeconfig-abcdef"].is_string());
    assert!(signed["data"].get("jws-kubeconfig-expire").is_none());
    a.delete(&format!("{secrets}/bootstrap-token-abcdef")).ok();
    eventually("the signature goes with the token", SOON, || {
        a.get(path).ok()["data"].get("jws-kubeconfig-abcdef").is_none()
    });
}
