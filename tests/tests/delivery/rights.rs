//! The controllers with the rights that `config/rbac` gives them, and no more.

use std::process::{Child, Command, Stdio};

use kplane_tests::{Server, Store, eventually, program};

use super::{PATIENCE, checkout, settled};

/// A process that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // One that has ended needs no killing.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_controllers_need_no_more_rights_than_they_are_given() {
    let server = Server::start_with(Store::Embedded, &["--tenant-controllers=false"]);
    let kubectl = server.root();
    kubectl.ok(&["apply", "-k", &checkout("config/default").display().to_string()]);
    // The way of a pod: the token of its service account.
    let token = kubectl.ok(&["-n", "kplane-system", "create", "token", "kplane-controllers"]);
    let admin = std::fs::read_to_string(server.admin_kubeconfig()).expect("a kubeconfig");
    let mut config: serde_json::Value = serde_saphyr::from_str(&admin).expect("YAML");
    config["users"][0]["user"] = serde_json::json!({ "token": token.trim() });
    let path = server.folder().join("controllers.kubeconfig");
    std::fs::write(&path, config.to_string()).expect("a kubeconfig");
    let log = server.folder().join("controllers.log");
    let child = Command::new(program("kplane-controllers"))
        .args(["run", "--controllers=management"])
        .envs([("KUBECONFIG", path.as_path()), ("HOME", server.folder())])
        .env("POD_NAMESPACE", "kplane-system")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(&log).expect("a log"))
        .spawn()
        .expect("kplane-controllers starts");
    let _running = Running(child);
    // They are there before the plane, as when all is installed at once; what is watched in its namespace is seen.
    let class = "apiVersion: controlplane.kplane.dev/v1alpha1\nkind: ControlPlaneClass\nmetadata: {name: plain}\nspec: {}\n";
    kubectl.apply(class);
    settled(&kubectl, "controlplaneclass/plain", "Reconciled");
    let plane = checkout("config/samples/managementplane/deployed.yaml").display().to_string();
    let by_argo_cd = ["--server-side", "--field-manager=argocd", "-f", &plane];
    kubectl.ok(&[&["apply"], &by_argo_cd[..]].concat());
    settled(&kubectl, "managementplane/default", "StorePending");
    assert_eq!(kubectl.ok(&[&["diff"], &by_argo_cd[..]].concat()), "", "a difference, or a conflict");
    kubectl.ok(&["apply", "-f", &checkout("config/samples").display().to_string()]);
    eventually("a control plane waits for its server", PATIENCE, || {
        let object = kubectl.json(&["get", "controlplane", "demo"]);
        object["metadata"]["finalizers"].is_array() && object["status"]["conditions"].is_array()
    });
    let events = kubectl.ok(&["get", "events", "-A"]);
    assert!(events.contains("StorePending"), "{events}");
    let told = std::fs::read_to_string(&log).expect("the log");
    for word in ["orbidden", "a watch failed", "could not write an Event"] {
        assert!(!told.contains(word), "{told}");
    }
}
