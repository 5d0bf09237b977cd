//! Control planes reached without a path: by the name of the host, and by the issuer of a token.

use std::process::Command;

use kplane_tests::{Server, Store};

fn curl(server: &Server, host: &str, arguments: &[&str]) -> (String, String) {
    let port = server.port();
    let ca = server.folder().join("data/pki/ca.crt");
    let output = Command::new("curl")
        .args(["-s", "-w", "\n%{http_code}", "--cacert", &ca.display().to_string()])
        .args(["--resolve", &format!("{host}:{port}:127.0.0.1")])
        .args(arguments)
        .arg(format!("https://{host}:{port}/api/v1/namespaces/default"))
        .output()
        .expect("curl is on PATH");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let (body, code) = text.rsplit_once('\n').expect("a status line");
    (code.to_owned(), body.to_owned())
}

#[test]
fn a_token_alone_finds_its_control_plane() {
    let server = Server::start(Store::Embedded);
    let (a, b) = (server.create_vcp("a"), server.create_vcp("b"));
    for kubectl in [&a, &b] {
        kubectl.ok(&[
            "create",
            "clusterrolebinding",
            "all",
            "--clusterrole=view",
            "--serviceaccount=default:default",
        ]);
    }
    a.ok(&["create", "configmap", "of-a"]);
    let token = a.ok(&["create", "token", "default"]);
    // At the root of the server, as a client in a pod does, and with nothing but the token.
    let pod = kplane_tests::Kubectl::new(&server.folder().join("empty"))
        .server(format!("https://127.0.0.1:{}", server.port()));
    let ca = format!("--certificate-authority={}", server.folder().join("data/pki/ca.crt").display());
    let token = format!("--token={}", token.trim());
    assert!(pod.ok(&[&ca, &token, "get", "cm", "-o", "name"]).contains("configmap/of-a"));
    // In another control plane it is nobody's.
    let b_path = pod.server(format!("https://127.0.0.1:{}/clusters/b/control-plane", server.port()));
    let told = b_path.fails(&[&ca, &token, "get", "cm"]);
    assert!(told.contains("must be logged in") || told.contains("Unauthorized"), "{told}");
}

#[test]
fn a_host_name_is_a_control_plane() {
    let server = Server::start_with(Store::Embedded, &["--cluster-domain=example.test"]);
    let a = server.create_vcp("a");
    a.ok(&["create", "clusterrolebinding", "all", "--clusterrole=view", "--serviceaccount=default:default"]);
    let token = format!("Authorization: Bearer {}", a.ok(&["create", "token", "default"]).trim());
    let (code, body) = curl(&server, "a.example.test", &["-H", &token]);
    assert_eq!(code, "200", "{body}");
    assert!(body.contains("\"name\":\"default\""), "{body}");
    // A connection opened for one carries no requests for another.
    let other = format!("Host: b.example.test:{}", server.port());
    assert_eq!(curl(&server, "a.example.test", &["-H", &token, "-H", &other, "--http1.1"]).0, "421");
    // There is no path routing below such a name.
    assert_eq!(curl(&server, "nobody.example.test", &["-H", &token]).0, "401");
}
