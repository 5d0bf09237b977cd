//! What the operator of root plugs in: webhooks for tokens and access, a proxy before it, CAs of their own.

use std::path::{Path, PathBuf};
use std::time::Duration;

use kplane_tests::https::{Authority, serve};
use kplane_tests::{Client, Kubectl, Server, Store, eventually};
use serde_json::{Value, json};

use super::{at, unauthorized, with_token};

fn webhook(folder: &Path, name: &str, url: &str, authority: &Authority) -> PathBuf {
    let file = folder.join(name);
    let ca = folder.join(format!("{name}.ca"));
    std::fs::write(&ca, authority.pem()).expect("a CA");
    let config = json!({
        "current-context": "c", "contexts": [{"name": "c", "context": {"cluster": "k"}}],
        "clusters": [{"name": "k", "cluster": {"server": format!("{url}/{name}"), "certificate-authority": ca}}],
    });
    std::fs::write(&file, config.to_string()).expect("a kubeconfig");
    file
}

#[test]
fn webhooks_judge_for_root_alone() {
    let authority = Authority::new();
    let url = serve(&authority, |asked| match asked.path.as_str() {
        "/tokens" => {
            let good = asked.body["spec"]["token"] == "from-elsewhere";
            let user = if good { json!({"username": "jane", "groups": ["dev"]}) } else { Value::Null };
            Some(json!({"status": {"authenticated": good, "user": user}}))
        }
        "/access" => {
            let spec = &asked.body["spec"];
            let attributes = &spec["resourceAttributes"];
            Some(match (spec["user"].as_str(), attributes["resource"].as_str()) {
                (Some("jane"), Some("configmaps")) => json!({"status": {"allowed": true}}),
                (Some("jane"), Some("secrets")) => {
                    json!({"status": {"allowed": false, "denied": true, "reason": "not these"}})
                }
                _ => json!({"status": {"allowed": false}}),
            })
        }
        _ => None,
    });
    let folder = tempfile::tempdir().expect("a folder");
    let tokens = webhook(folder.path(), "tokens", &url, &authority);
    let access = webhook(folder.path(), "access", &url, &authority);
    let server = Server::start_with(
        Store::Embedded,
        &[
            &format!("--authentication-token-webhook-config-file={}", tokens.display()),
            &format!("--authorization-webhook-config-file={}", access.display()),
        ],
    );
    server.create_vcp("farm");
    let jane = with_token(&server, None, "from-elsewhere");
    let review = jane.json(&["auth", "whoami"]);
    assert_eq!(review["status"]["userInfo"]["username"], "jane");
    jane.ok(&["get", "configmaps"]);
    assert!(jane.fails(&["get", "secrets"]).contains("not these"));
    jane.fails(&["get", "pods"]);
    unauthorized(&with_token(&server, None, "unknown"));
    unauthorized(&with_token(&server, Some("farm"), "from-elsewhere"));
}

#[test]
fn a_proxy_and_a_ca_of_the_operators_speak_for_roots_users() {
    let (proxies, clients) = (Authority::new(), Authority::new());
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| {
        let file = folder.path().join(name);
        std::fs::write(&file, text).expect("a file");
        file.display().to_string()
    };
    let server = Server::start_with(
        Store::Embedded,
        &[
            &format!("--requestheader-client-ca-file={}", write("proxies.pem", proxies.pem())),
            "--requestheader-allowed-names=front",
            &format!("--client-ca-file={}", write("clients.pem", clients.pem())),
        ],
    );
    server.create_vcp("farm");
    let kubeconfig = |authority: &Authority, name: &str| {
        let file = folder.path().join(name);
        authority.client_kubeconfig(&file, name, &server.admin_kubeconfig());
        file
    };
    let headers = [("X-Remote-User", "jane"), ("X-Remote-Group", "dev"), ("X-Remote-Extra-Team", "owls")];
    let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}).to_string();
    let path = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    let ask =
        |file: &Path, path: &str| Client::new(file).send("POST", path, &headers, &review).expect("an answer");
    let front = kubeconfig(&proxies, "front");
    let user = ask(&front, path).ok()["status"]["userInfo"].clone();
    assert_eq!(user["username"], "jane");
    assert_eq!(user["groups"], json!(["dev", "system:authenticated"]));
    assert_eq!(user["extra"]["team"], json!(["owls"]));
    // Another name, another CA, another control plane: the headers say nothing.
    assert_eq!(ask(&kubeconfig(&proxies, "back"), path).code, 401);
    let client = kubeconfig(&clients, "ann");
    assert_eq!(ask(&client, path).ok()["status"]["userInfo"]["username"], "ann");
    assert_eq!(ask(&front, &format!("/clusters/farm/control-plane{path}")).code, 401);
    // Whom the operator's CA certifies is root's, and enters no control plane.
    assert_eq!(Kubectl::new(&client).json(&["auth", "whoami"])["status"]["userInfo"]["username"], "ann");
    unauthorized(&at(&server, "farm", &client));
}

#[test]
fn the_authorizers_of_root_are_read_again_when_their_file_changes() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("authorization.yaml");
    let write = |last: &str| {
        let text = format!(
            "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthorizationConfiguration\nauthorizers:\n\
             - {{type: RBAC, name: rbac}}\n- {{type: {last}, name: last}}\n"
        );
        // As a mounted ConfigMap changes: in one step.
        let new = folder.path().join("new");
        std::fs::write(&new, text).and_then(|()| std::fs::rename(&new, &file)).expect("a file");
    };
    write("AlwaysDeny");
    let tokens = folder.path().join("tokens");
    std::fs::write(&tokens, "of-jane,jane,1\n").expect("a file");
    let server = Server::start_with(
        Store::Embedded,
        &[
            &format!("--authorization-config={}", file.display()),
            &format!("--token-auth-file={}", tokens.display()),
        ],
    );
    server.create_vcp("farm");
    let jane = with_token(&server, None, "of-jane");
    jane.fails(&["get", "configmaps"]);
    write("AlwaysAllow");
    eventually("she may", Duration::from_secs(20), || jane.run(&["get", "configmaps"]).success);
    write("Magic");
    eventually("what is wrong is told", Duration::from_secs(20), || {
        server.log().contains("the authorization configuration cannot be used")
    });
    jane.ok(&["get", "configmaps"]);
    write("AlwaysDeny");
    eventually("she may not any more", Duration::from_secs(20), || !jane.run(&["get", "configmaps"]).success);
}
