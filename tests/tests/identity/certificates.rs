use kplane_tests::{Server, Store};
use serde_json::json;

use super::{at, certificate, unauthorized, with_certificate, with_token};

#[test]
fn a_certificate_is_revoked_at_once_in_every_replica() {
    let first = Server::start(Store::Etcd);
    let second = first.replica();
    first.create_vcp("farm");
    let file =
        certificate(&first, "farm", json!({"user": "jane", "groups": ["system:masters"], "generation": "1"}));
    let other = certificate(&first, "farm", json!({"user": "joe", "groups": ["system:masters"]}));
    let kubectls = |file| [at(&first, "farm", file), at(&second, "farm", file)];
    for kubectl in kubectls(&file) {
        kubectl.ok(&["get", "ns"]);
    }
    let revoke = |entry: &str| {
        let patch = format!(r#"{{"spec":{{"revocations":{{"jane":{entry}}}}}}}"#);
        first.root().ok(&["patch", "virtualcluster", "farm", "--type=merge", "-p", &patch]);
    };
    revoke(r#"{"generation":"2"}"#);
    kubectls(&file).iter().for_each(unauthorized);
    let next = certificate(
        &second,
        "farm",
        json!({"user": "jane", "groups": ["system:masters"], "generation": "2"}),
    );
    for kubectl in kubectls(&next) {
        kubectl.ok(&["get", "ns"]);
    }
    revoke(r#"{"generation":null}"#);
    kubectls(&next).iter().for_each(unauthorized);
    // Others are not meant.
    for kubectl in kubectls(&other) {
        kubectl.ok(&["get", "ns"]);
    }
}

#[test]
fn another_epoch_ends_all_that_was_issued() {
    let server = Server::start(Store::Embedded);
    let farm = server.create_vcp("farm");
    let file = certificate(&server, "farm", json!({"user": "jane"}));
    farm.ok(&["create", "serviceaccount", "owl"]);
    let token = farm.ok(&["create", "token", "owl"]);
    let patch = |epoch: u32| {
        let patch = format!(r#"{{"spec":{{"credentialEpoch":{epoch}}}}}"#);
        server.root().run(&["patch", "virtualcluster", "farm", "--type=merge", "-p", &patch])
    };
    assert!(patch(1).success);
    unauthorized(&at(&server, "farm", &file));
    unauthorized(&with_token(&server, Some("farm"), token.trim()));
    with_certificate(&server, "farm", json!({"user": "jane"})).ok(&["auth", "whoami"]);
    let again = server.vcp("farm").ok(&["create", "token", "owl"]);
    with_token(&server, Some("farm"), again.trim()).ok(&["auth", "whoami"]);
    assert!(patch(0).stderr.contains("must not go back"));
}

#[test]
fn a_certificate_of_another_control_plane_opens_nothing() {
    let server = Server::start(Store::Embedded);
    server.create_vcp("farm");
    server.create_vcp("other");
    let file = certificate(&server, "farm", json!({"user": "jane", "groups": ["system:masters"]}));
    at(&server, "farm", &file).ok(&["get", "ns"]);
    unauthorized(&at(&server, "other", &file));
    unauthorized(&at(&server, "root", &file));
    unauthorized(&at(&server, "none", &file));
}

#[test]
fn a_certificate_may_say_the_uid_of_its_user() {
    let server = Server::start(Store::Embedded);
    server.create_vcp("farm");
    let jane = with_certificate(
        &server,
        "farm",
        json!({"user": "jane", "uid": "8f2a-jane", "groups": ["system:masters"]}),
    );
    let user = jane.json(&["auth", "whoami"])["status"]["userInfo"].clone();
    assert_eq!((&user["username"], &user["uid"]), (&json!("jane"), &json!("8f2a-jane")));
    // Who asks for a signature is written down with it.
    let key = rcgen::KeyPair::generate().expect("a key");
    let mut params = rcgen::CertificateParams::new(Vec::<String>::new()).expect("parameters");
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(rcgen::DnType::CommonName, "joe");
    let request = params.serialize_request(&key).expect("a request").pem().expect("PEM");
    use base64::Engine;
    let request = base64::engine::general_purpose::STANDARD.encode(request);
    jane.apply(
        &json!({
            "apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest", "metadata": {"name": "joe"},
            "spec": {"request": request, "signerName": "kubernetes.io/kube-apiserver-client", "usages": ["client auth"]},
        })
        .to_string(),
    );
    assert_eq!(jane.json(&["get", "csr", "joe"])["spec"]["uid"], "8f2a-jane");
    // One that says none has none.
    let joe = with_certificate(&server, "farm", json!({"user": "joe"}));
    assert!(joe.json(&["auth", "whoami"])["status"]["userInfo"].get("uid").is_none());
}
