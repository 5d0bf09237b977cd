use std::time::Duration;

use kplane_tests::{Client, Server, Store, eventually};
use serde_json::{Value, json};

use super::issuer::Issuer;
use super::{unauthorized, with_token, with_user};

fn record(name: &str, issuers: &[Value]) -> String {
    json!({
        "apiVersion": "tenancy.kplane.dev/v1alpha1", "kind": "VirtualCluster", "metadata": {"name": name},
        "spec": {"auth": {"issuers": issuers}},
    })
    .to_string()
}

fn username(kubectl: &kplane_tests::Kubectl) -> String {
    let review = kubectl.json(&["auth", "whoami"]);
    review["status"]["userInfo"]["username"].as_str().expect("a name").to_owned()
}

#[test]
fn a_control_plane_knows_the_users_of_its_issuers() {
    let issuer = Issuer::start();
    let server = Server::start_with(Store::Embedded, &["--egress-allowed-cidrs=127.0.0.0/8"]);
    server.root().apply(&record("farm", &[issuer.authenticator()]));
    server.create_vcp("other");
    let jane = issuer.token(json!({"sub": "jane", "groups": ["dev"]}));
    let farm = with_token(&server, Some("farm"), &jane);
    let review = farm.json(&["auth", "whoami"]);
    assert_eq!(review["status"]["userInfo"]["username"], "oidc:jane");
    assert_eq!(review["status"]["userInfo"]["groups"], json!(["oidc:dev", "system:authenticated"]));
    assert!(farm.fails(&["get", "pods"]).contains("User \"oidc:jane\" cannot list resource \"pods\""));
    server.vcp("farm").ok(&["create", "clusterrolebinding", "dev", "--clusterrole=view", "--group=oidc:dev"]);
    farm.ok(&["get", "pods"]);

    // Elsewhere nobody knows her: not in another control plane, not in root.
    unauthorized(&with_token(&server, Some("other"), &jane));
    unauthorized(&with_token(&server, None, &jane));
    let refused = |claims: Value| unauthorized(&with_token(&server, Some("farm"), &issuer.token(claims)));
    refused(json!({"sub": "jane", "aud": "elsewhere"}));
    refused(json!({"sub": "jane", "exp": 1}));
    refused(json!({"sub": "banned"}));
    refused(json!({"sub": "jane", "iss": format!("{}/", issuer.url)}));
    let forged = format!("{}AA", &jane[..jane.len() - 2]);
    unauthorized(&with_token(&server, Some("farm"), &forged));
    // What a TokenReview says of it.
    let review =
        json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": jane}});
    let client = server.client().vcp("farm");
    let answer = client.post("/apis/authentication.k8s.io/v1/tokenreviews", &review).ok();
    assert_eq!(answer["status"]["user"]["username"], "oidc:jane", "{answer}");

    // The issuer takes another key: the old token is void, the new one is good.
    issuer.rotate();
    let again = issuer.token(json!({"sub": "jane"}));
    eventually("the new key is known", Duration::from_secs(20), || {
        with_token(&server, Some("farm"), &again).run(&["auth", "whoami"]).success
    });
    unauthorized(&farm);

    // The issuer goes from the record, and at once from the control plane.
    server.root().ok(&["patch", "virtualcluster", "farm", "--type=merge", "-p", r#"{"spec":{"auth":null}}"#]);
    unauthorized(&with_token(&server, Some("farm"), &again));
}

#[test]
fn issuers_that_cannot_judge_are_refused() {
    let server = Server::start(Store::Embedded);
    let issuer = json!({
        "issuer": {"url": format!("https://127.0.0.1:{}/clusters/x/control-plane", server.port()), "audiences": ["a"]},
        "claimMappings": {"username": {"expression": "claims.sub +"}},
    });
    let told = server.root().run_with(&["apply", "-f", "-"], &record("farm", &[issuer]));
    assert!(!told.success);
    for part in ["spec.auth.issuers[0].issuer.url", "disallowed issuers", "claimMappings.username.expression"]
    {
        assert!(told.stderr.contains(part), "{}", told.stderr);
    }
}

#[test]
fn the_plane_knows_the_users_of_its_own_file_in_root() {
    let issuer = Issuer::start();
    let mut authenticator = issuer.authenticator();
    authenticator["userValidationRules"] = json!([]);
    authenticator["claimMappings"]["groups"]["prefix"] = json!("");
    let config = json!({
        "apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthenticationConfiguration", "jwt": [authenticator],
        "anonymous": {"enabled": true, "conditions": [{"path": "/readyz"}]},
    });
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("authentication.yaml");
    std::fs::write(&file, config.to_string()).expect("a file");
    let flag = format!("--authentication-config={}", file.display());
    let server = Server::start_with(Store::Embedded, &[&flag]);
    server.create_vcp("farm");
    let (jane, admin) = (
        issuer.token(json!({"sub": "jane"})),
        issuer.token(json!({"sub": "ann", "groups": ["system:masters"]})),
    );
    assert_eq!(username(&with_token(&server, None, &jane)), "oidc:jane");
    unauthorized(&with_token(&server, Some("farm"), &jane));
    // Root's administrators may enter, whoever vouches for them.
    with_token(&server, Some("farm"), &admin).ok(&["get", "secrets", "-A"]);
    // Without credentials only what the file names is served.
    let nobody = Client::new(&with_user(&server, None, &json!({})));
    assert_eq!(nobody.get("/readyz").text, "ok");
    assert_eq!(nobody.get("/version").code, 401);

    // The file changes: at once what is wrong is told and passed over, and what is right is in force.
    let reloads = |status: &str| {
        let metrics = server.root().ok(&["get", "--raw", "/metrics"]);
        let name = "apiserver_authentication_config_controller_automatic_reloads_total{";
        metrics.lines().any(|line| line.starts_with(name) && line.contains(&format!("status=\"{status}\"")))
    };
    assert!(!reloads("success") && !reloads("failure"));
    std::fs::write(&file, config.to_string().replace("\"jwt\"", "\"jwts\"")).expect("a file");
    eventually("the failure is counted", Duration::from_secs(20), || reloads("failure"));
    assert!(server.log().contains("the authentication configuration cannot be used"));
    assert_eq!(username(&with_token(&server, None, &jane)), "oidc:jane");
    let mut changed = config.clone();
    changed["jwt"] = json!([]);
    changed["anonymous"] = json!({"enabled": true});
    std::fs::write(&file, changed.to_string()).expect("a file");
    eventually("the change is in force", Duration::from_secs(20), || reloads("success"));
    unauthorized(&with_token(&server, None, &jane));
    unauthorized(&with_token(&server, Some("farm"), &admin));
    assert_eq!(nobody.get("/version").code, 200);
}
