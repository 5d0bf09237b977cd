//! sig-auth: service accounts, certificates, reviews.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::common::*;

fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// A certificate request of no one in particular, made once by openssl: `/O=tigers/CN=jane`.
fn request() -> String {
    let key = tempfile::NamedTempFile::new().expect("a file for the key");
    let output = std::process::Command::new("openssl")
        .args(["req", "-new", "-newkey", "rsa:2048", "-nodes", "-subj", "/O=tigers/CN=jane", "-keyout"])
        .arg(key.path())
        .output()
        .expect("openssl is on PATH");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("PEM")
}

#[test]
fn certificates_api_should_support_csr_api_operations() {
    let (a, _kubectl, _server) = setup();
    let collection = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
    let refused = json!({
        "apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest", "metadata": { "name": "bad" },
        "spec": { "request": "bm8=", "signerName": "example.com/e2e", "usages": ["client auth"] },
    });
    a.post(collection, &refused).refused(422);
    let csr = json!({
        "apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest", "metadata": { "name": "e2e-example-csr" },
        "spec": {
            "request": base64(request().as_bytes()), "signerName": "example.com/e2e-test", "expirationSeconds": 3600,
            "usages": ["digital signature", "key encipherment", "server auth"],
        },
    });
    supports_api_operations(&a, collection, &csr, None);
    let path = format!("{collection}/e2e-example-csr");
    a.post(collection, &csr).ok();
    // Approval, by its own subresource alone.
    let condition = json!({ "type": "ApprovalPatch", "status": "True", "reason": "e2e", "message": "m" });
    let patched = a
        .merge(&format!("{path}/approval"), &json!({
            "metadata": { "annotations": { "patchedapproval": "true" } }, "status": { "conditions": [condition] },
        }))
        .ok();
    assert_eq!(patched["status"]["conditions"][0]["type"], "ApprovalPatch");
    assert_eq!(patched["metadata"]["annotations"]["patchedapproval"], "true");
    let approved = update(&a, &format!("{path}/approval"), |object| {
        object["status"]["conditions"].as_array_mut().expect("conditions").push(json!({
            "type": "Approved", "status": "True", "reason": "E2E", "message": "Set from an e2e test",
        }));
    });
    assert_eq!(approved["status"]["conditions"][1]["type"], "Approved");
    assert_eq!(a.get(&format!("{path}/approval")).ok()["status"]["conditions"][1]["type"], "Approved");
    // The certificate, by the status alone.
    let bad = a
        .merge(&format!("{path}/status"), &json!({ "status": { "certificate": base64(b"no certificate") } }));
    bad.refused(422);
    let failed = json!({ "type": "StatusUpdate", "status": "True", "reason": "E2E", "message": "m" });
    let updated = update(&a, &format!("{path}/status"), |object| {
        object["status"]["conditions"].as_array_mut().expect("conditions").push(failed.clone());
    });
    assert!(updated["status"]["conditions"].to_string().contains("StatusUpdate"));
    assert_eq!(a.get(&format!("{path}/status")).ok()["status"].get("certificate"), None);
}

#[test]
fn serviceaccounts_should_guarantee_kube_root_ca_crt_exist_in_any_namespace() {
    let (a, _kubectl, _server) = setup();
    let path = format!("{CONFIG_MAPS}/kube-root-ca.crt");
    let first = a.get(&path).ok();
    assert!(first["data"]["ca.crt"].as_str().is_some_and(|text| text.starts_with("-----BEGIN CERTIFICATE")));
    a.delete(&path).ok();
    eventually("it is back", SOON, || {
        let answer = a.get(&path);
        answer.code == 200 && answer.body["metadata"]["uid"] != first["metadata"]["uid"]
    });
    a.merge(&path, &json!({ "data": { "ca.crt": "changed" } })).ok();
    eventually("it is set right", SOON, || a.get(&path).ok()["data"] == first["data"]);
}

#[test]
fn serviceaccounts_should_create_a_serviceaccounttoken_and_ensure_a_successful_tokenreview() {
    let (a, _kubectl, _server) = setup();
    let accounts = "/api/v1/namespaces/default/serviceaccounts";
    a.post(accounts, &json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": "e2e" } }))
        .ok();
    let request = json!({ "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {} });
    let token = a.post(&format!("{accounts}/e2e/token"), &request).ok()["status"]["token"].clone();
    let review = json!({ "apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": { "token": token } });
    let reviewed = a.post("/apis/authentication.k8s.io/v1/tokenreviews", &review).ok();
    assert_eq!(reviewed["status"]["authenticated"], true, "{reviewed}");
    assert_eq!(reviewed["status"]["user"]["username"], "system:serviceaccount:default:e2e");
    // It ends with its account.
    a.delete(&format!("{accounts}/e2e")).ok();
    let reviewed = a.post("/apis/authentication.k8s.io/v1/tokenreviews", &review).ok();
    assert_ne!(reviewed["status"]["authenticated"], true, "{reviewed}");
}

#[test]
fn serviceaccounts_should_run_through_the_lifecycle_of_a_serviceaccount() {
    let (a, _kubectl, _server) = setup();
    let object =
        json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": "testserviceaccount" } });
    supports_api_operations(
        &a,
        "/api/v1/namespaces/default/serviceaccounts",
        &object,
        Some("/api/v1/serviceaccounts"),
    );
}

#[test]
fn subjectreview_should_support_subjectreview_api_operations() {
    let (a, _kubectl, _server) = setup();
    let attributes = json!({ "namespace": "default", "verb": "list", "resource": "configmaps" });
    let review = json!({
        "apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview",
        "spec": { "user": "e2e", "resourceAttributes": attributes },
    });
    let path = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
    assert_eq!(a.post(path, &review).ok()["status"]["allowed"], false);
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": { "name": "e2e" },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view" },
        "subjects": [{ "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "e2e" }],
    });
    a.post("/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings", &binding).ok();
    eventually("the user may", SOON, || a.post(path, &review).ok()["status"]["allowed"] == true);
    let local = json!({
        "apiVersion": "authorization.k8s.io/v1", "kind": "LocalSubjectAccessReview", "metadata": { "namespace": "default" },
        "spec": { "user": "e2e", "resourceAttributes": attributes },
    });
    let path = "/apis/authorization.k8s.io/v1/namespaces/default/localsubjectaccessreviews";
    assert_eq!(a.post(path, &local).ok()["status"]["allowed"], true);
}

const ACCOUNTS: &str = "/api/v1/namespaces/default/serviceaccounts";

#[test]
fn serviceaccounts_should_allow_opting_out_of_api_token_automount() {
    let (a, _kubectl, _server) = setup();
    let account = |name: &str, mount: Option<bool>| json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": name }, "automountServiceAccountToken": mount });
    a.post(ACCOUNTS, &account("mount", Some(true))).ok();
    a.post(ACCOUNTS, &account("nomount", Some(false))).ok();
    for (name, who, says, mounted) in [
        ("pod-service-account-defaults", "default", None, true),
        ("pod-service-account-mount", "mount", None, true),
        ("pod-service-account-nomount", "nomount", None, false),
        ("pod-service-account-defaults-mountspec", "default", Some(true), true),
        ("pod-service-account-mount-mountspec", "mount", Some(true), true),
        ("pod-service-account-nomount-mountspec", "nomount", Some(true), true),
        ("pod-service-account-defaults-nomountspec", "default", Some(false), false),
        ("pod-service-account-mount-nomountspec", "mount", Some(false), false),
        ("pod-service-account-nomount-nomountspec", "nomount", Some(false), false),
    ] {
        let mut object = pod(name);
        object["spec"]["serviceAccountName"] = who.into();
        if let Some(says) = says {
            object["spec"]["automountServiceAccountToken"] = says.into();
        }
        let made = a.post(PODS, &object).ok();
        let mounts = made["spec"]["containers"][0]["volumeMounts"].to_string();
        assert_eq!(
            mounts.contains("/var/run/secrets/kubernetes.io/serviceaccount"),
            mounted,
            "{name}: {mounts}"
        );
    }
}

#[test]
fn serviceaccounts_should_update_a_serviceaccount() {
    let (a, _kubectl, _server) = setup();
    let path = format!("{ACCOUNTS}/e2e-sa");
    a.post(
        ACCOUNTS,
        &json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": "e2e-sa" } }),
    )
    .ok();
    let updated = update(&a, &path, |object| object["automountServiceAccountToken"] = true.into());
    assert_eq!(updated["automountServiceAccountToken"], true);
}
