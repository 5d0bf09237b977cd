//! The manifests of `docs/gitops.md`, as they stand there.

use std::path::Path;
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kplane_tests::{Kubectl, User};
use serde_json::Value;

use super::{checkout, settled};

/// The blocks of YAML in a page, each with its first line.
fn blocks(page: &str) -> Vec<(String, String)> {
    let text = std::fs::read_to_string(checkout(page)).expect("the page");
    let blocks = text.split("```yaml\n").skip(1);
    let blocks = blocks.map(|rest| rest.split("```").next().expect("an end").to_owned());
    blocks
        .map(|block| (block.lines().next().unwrap_or_default().trim_start_matches("# ").to_owned(), block))
        .collect()
}

/// One key of a Secret.
fn secret(kubectl: &Kubectl, namespace: &str, name: &str, key: &str) -> String {
    let secret = kubectl.json(&["-n", namespace, "get", "secret", name]);
    let data = secret["data"][key].as_str().expect(key);
    String::from_utf8(STANDARD.decode(data).expect("base64")).expect("text")
}

/// Writes a file and says where it is.
fn file(folder: &Path, name: &str, content: &[u8]) -> String {
    let path = folder.join(name);
    std::fs::write(&path, content).expect("a file");
    path.display().to_string()
}

#[test]
fn the_manifests_of_the_page_do_what_it_says() {
    let user = User::up();
    let kubectl = user.management();
    for namespace in ["argocd", "flux-system"] {
        kubectl.ok(&["create", "namespace", namespace]);
    }
    kubectl.ok(&["apply", "-f", &checkout("tests/tests/delivery/tools.yaml").display().to_string()]);
    kubectl.ok(&["wait", "--for=condition=Established", "crd", "--all", "--timeout=30s"]);
    // Argo CD's settings are there when Argo CD is; ours are added.
    kubectl.ok(&[
        "-n",
        "argocd",
        "create",
        "configmap",
        "argocd-cm",
        "--from-literal=url=https://argo.example.test",
    ]);
    let settings = checkout("config/argocd/argocd-cm.yaml").display().to_string();
    kubectl.ok(&["apply", "--server-side", "--field-manager=kplane", "-f", &settings]);
    let settings = kubectl.json(&["-n", "argocd", "get", "configmap", "argocd-cm"]);
    assert_eq!(settings["data"]["url"], "https://argo.example.test");

    let blocks = blocks("docs/gitops.md");
    let names: Vec<&str> = blocks.iter().map(|(name, _)| name.as_str()).collect();
    for name in
        ["platform/kustomization.yaml", "platform/plane.yaml", "tenants/team-a.yaml", "flux/in-team-a.yaml"]
    {
        assert!(names.contains(&name), "{name} is not among {names:?}");
    }
    let platform = tempfile::tempdir().expect("a folder");
    std::os::unix::fs::symlink(
        std::fs::canonicalize(checkout("config")).expect("config"),
        platform.path().join("config"),
    )
    .expect("a link");
    for (name, block) in &blocks {
        match name.strip_prefix("platform/") {
            Some(name) => {
                // From the checkout, not from the network.
                let block = block.replace(
                    "https://github.com/kplane-dev/kplane//config/default?ref=v0.1.0",
                    "config/default",
                );
                file(platform.path(), name, block.as_bytes());
            }
            None => {
                let told = kubectl.run_with(
                    &["apply", "--server-side", "--field-manager=argocd", "--validate=strict", "-f", "-"],
                    block,
                );
                assert!(told.success, "{name}: {}", told.stderr);
            }
        }
    }
    // The plane of the page is another than the one that serves here: it is only looked at.
    let platform_path = platform.path().display().to_string();
    let look = [
        "apply",
        "--server-side",
        "--field-manager=argocd",
        "--validate=strict",
        "--force-conflicts",
        "--dry-run=server",
    ];
    kubectl.run(&["create", "namespace", "kplane-system"]);
    let told = kubectl.ok(&[&look[..], &["-k", &platform_path]].concat());
    assert!(
        told.contains("managementplane") && told.contains("deployment.apps/kplane-controllers"),
        "{told}"
    );

    // What Argo CD would do with the cluster that it is given.
    settled(&kubectl, "controlplane/team-a", "Reconciled");
    settled(&kubectl, "controlplanecredential/team-a-flux", "Reconciled");
    let labels =
        kubectl.json(&["-n", "argocd", "get", "secret", "kplane-team-a"])["metadata"]["labels"].clone();
    assert_eq!(labels["argocd.argoproj.io/secret-type"], "cluster");
    assert_eq!(labels["kplane.dev/tenant"], "team-a");
    assert_eq!(secret(&kubectl, "argocd", "kplane-team-a", "name"), "team-a");
    let server = secret(&kubectl, "argocd", "kplane-team-a", "server");
    let config: Value =
        serde_json::from_str(&secret(&kubectl, "argocd", "kplane-team-a", "config")).expect("JSON");
    let part = |key: &str| {
        let data = config["tlsClientConfig"][key].as_str().expect(key);
        file(user.home(), key, &STANDARD.decode(data).expect("base64"))
    };
    let answer = Command::new("curl")
        .args([
            "-sS",
            "--fail",
            "--cacert",
            &part("caData"),
            "--cert",
            &part("certData"),
            "--key",
            &part("keyData"),
        ])
        .arg(format!("{server}/api/v1/namespaces/kube-system"))
        .output()
        .expect("curl is on PATH");
    assert!(answer.status.success(), "{}", String::from_utf8_lossy(&answer.stderr));

    // What Flux would do with the kubeconfig.
    let kubeconfig = secret(&kubectl, "flux-system", "team-a-kubeconfig", "value");
    let flux = Kubectl::new(Path::new(&file(user.home(), "flux", kubeconfig.as_bytes())));
    flux.ok(&["create", "configmap", "baseline"]);
    assert!(
        flux.fails(&["create", "namespace", "mine"]).contains("Forbidden"),
        "the role is edit and no more"
    );
}
