use std::process::Command;
use std::time::Duration;

use kplane_tests::{Server, Store, eventually, program};
use serde_json::Value;

use super::{unauthorized, with_token};

const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn a_token_goes_with_what_it_is_bound_to() {
    let server = Server::start(Store::Embedded);
    let farm = server.create_vcp("farm");
    server.create_vcp("other");
    farm.ok(&["create", "serviceaccount", "owl"]);
    farm.ok(&["create", "secret", "generic", "nest"]);
    let plain = farm.ok(&["create", "token", "owl"]);
    let bound =
        farm.ok(&["create", "token", "owl", "--bound-object-kind=Secret", "--bound-object-name=nest"]);
    let owl = |token: &str| with_token(&server, Some("farm"), token.trim());
    let review = owl(&plain).json(&["auth", "whoami"]);
    assert_eq!(review["status"]["userInfo"]["username"], "system:serviceaccount:default:owl");
    assert!(owl(&bound).run(&["auth", "whoami"]).success);
    // Nobody else takes it.
    unauthorized(&with_token(&server, Some("other"), plain.trim()));
    unauthorized(
        &with_token(&server, None, plain.trim())
            .server(format!("https://127.0.0.1:{}/clusters/root/control-plane", server.port())),
    );
    let short = farm.fails(&["create", "token", "owl", "--duration=5m"]);
    assert!(short.contains("may not specify a duration less than 10 minutes"), "{short}");
    let elsewhere = farm.ok(&["create", "token", "owl", "--audience=vault"]);
    unauthorized(&owl(&elsewhere));

    farm.ok(&["delete", "secret", "nest"]);
    unauthorized(&owl(&bound));
    // An account of the same name is another.
    farm.ok(&["delete", "serviceaccount", "owl"]);
    farm.ok(&["create", "serviceaccount", "owl"]);
    unauthorized(&owl(&plain));
}

#[test]
fn a_secret_of_an_account_gets_a_token_and_goes_with_it() {
    let server = Server::start(Store::Embedded);
    let farm = server.create_vcp("farm");
    farm.ok(&["create", "serviceaccount", "owl"]);
    let manifest = "apiVersion: v1\nkind: Secret\nmetadata: {name: nest, annotations: {kubernetes.io/service-account.name: owl}}\ntype: kubernetes.io/service-account-token\n";
    farm.apply(manifest);
    let token = || {
        farm.ok(&[
            "get",
            "secret",
            "nest",
            "-o",
            "go-template={{with .data.token}}{{. | base64decode}}{{end}}",
        ])
    };
    eventually("the Secret holds a token", PATIENCE, || !token().is_empty());
    let held = token();
    let secret = farm.json(&["get", "secret", "nest"]);
    let uid = farm.ok(&["get", "serviceaccount", "owl", "-o", "jsonpath={.metadata.uid}"]);
    assert_eq!(secret["metadata"]["annotations"]["kubernetes.io/service-account.uid"], uid.as_str());
    assert!(secret["data"]["ca.crt"].is_string() && secret["data"]["namespace"].is_string());
    let owl = with_token(&server, Some("farm"), &held);
    let review = owl.json(&["auth", "whoami"]);
    assert_eq!(review["status"]["userInfo"]["username"], "system:serviceaccount:default:owl");
    // The day of its use is written on the Secret.
    let used = || {
        farm.json(&["get", "secret", "nest"])["metadata"]["labels"]["kubernetes.io/legacy-token-last-used"]
            .clone()
    };
    eventually("the day of use is written", PATIENCE, || used().is_string());
    assert_eq!(used().as_str().map(str::len), Some("2006-01-02".len()));
    // One that was marked invalid is refused, until the mark goes.
    farm.ok(&["label", "secret", "nest", "kubernetes.io/legacy-token-invalid-since=2026-01-01"]);
    unauthorized(&owl);
    farm.ok(&["label", "secret", "nest", "kubernetes.io/legacy-token-invalid-since-"]);
    owl.ok(&["auth", "whoami"]);
    // A token that is taken out of its Secret is void; another is put in its place.
    farm.ok(&["patch", "secret", "nest", "--type=json", "-p", r#"[{"op":"remove","path":"/data/token"}]"#]);
    eventually("there is a token again", PATIENCE, || !token().is_empty());
    // The account goes, and its Secret with it.
    farm.ok(&["delete", "serviceaccount", "owl"]);
    unauthorized(&owl);
    eventually("the Secret is gone", PATIENCE, || !farm.run(&["get", "secret", "nest"]).success);
    // One for an account that is not there does not stay.
    farm.apply(&manifest.replace("nest", "lost"));
    eventually("it does not stay", PATIENCE, || !farm.run(&["get", "secret", "lost"]).success);
}

#[test]
fn keys_are_rotated_and_no_valid_token_is_cut_off() {
    let server = Server::start(Store::Embedded);
    let farm = server.create_vcp("farm");
    farm.ok(&["create", "serviceaccount", "owl"]);
    let token = farm.ok(&["create", "token", "owl"]);
    let keys = || -> usize {
        let set: Value =
            serde_json::from_str(&farm.ok(&["get", "--raw", "/clusters/farm/control-plane/openid/v1/jwks"]))
                .expect("JSON");
        set["keys"].as_array().expect("keys").len()
    };
    assert_eq!(keys(), 1);
    let status = Command::new(program("kplane-apiserver"))
        .arg("--rotate-token-key")
        .arg(format!("--data-dir={}", server.folder().join("data").display()))
        .status()
        .expect("kplane-apiserver runs");
    assert!(status.success());
    eventually("the new key is shown", PATIENCE, || keys() == 2);
    with_token(&server, Some("farm"), token.trim()).ok(&["auth", "whoami"]);
    let document: Value = serde_json::from_str(&farm.ok(&[
        "get",
        "--raw",
        "/clusters/farm/control-plane/.well-known/openid-configuration",
    ]))
    .expect("JSON");
    assert!(
        document["jwks_uri"]
            .as_str()
            .expect("a URI")
            .ends_with("/clusters/farm/control-plane/openid/v1/jwks")
    );
}
