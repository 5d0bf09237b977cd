//! The plugins as a user runs them, against a management plane on this machine.

use std::time::Duration;

use kplane_tests::{User, eventually};
use serde_json::Value;

const SYSTEM: [&str; 4] = ["default", "kube-system", "kube-public", "kube-node-lease"];

fn context_names(user: &User) -> String {
    kplane_tests::Kubectl::new(&user.kubeconfig()).ok(&["config", "get-contexts", "-o", "name"])
}

fn current_context(user: &User) -> String {
    kplane_tests::Kubectl::new(&user.kubeconfig()).ok(&["config", "current-context"]).trim().to_owned()
}

#[test]
fn three_commands_to_a_control_plane() {
    let user = User::up();
    user.vcp(&["create", "demo"]);
    let table = user.kubectl("kplane-demo").ok(&["get", "ns"]);
    for name in SYSTEM {
        assert!(table.lines().any(|line| line.starts_with(&format!("{name} "))), "{table}");
    }
    assert_eq!(table.lines().count(), 5, "{table}");
    assert_eq!(current_context(&user), "kplane-demo");

    // A second one beside it, without switching to it.
    user.vcp(&["create", "other", "--set-current=false"]);
    assert_eq!(current_context(&user), "kplane-demo");
    user.kubectl("kplane-demo").ok(&["create", "configmap", "mine"]);
    assert!(user.kubectl("kplane-other").fails(&["get", "configmap", "mine"]).contains("not found"));
    user.vcp(&["use", "other"]);
    assert_eq!(current_context(&user), "kplane-other");

    // Creating what is there is an error that says what to do.
    let told = user.fails("kubectl-vcp", &["create", "demo"]);
    assert!(told.contains("already exists") && told.contains("hint:"), "{told}");
    // The management cluster is found whatever the current context is.
    let table = user.vcp(&["list"]);
    assert!(table.contains("demo") && table.contains("other") && table.contains("Ready"), "{table}");
    assert!(user.kplane(&["get", "clusters"]).contains("kplane-other"));
    assert!(user.kplane(&["status"]).contains(&user.port().to_string()));
    let doctor = user.kplane(&["doctor"]);
    assert!(doctor.contains("[ok] disk: "), "{doctor}");
}

#[test]
fn objects_are_shown_in_kubectls_formats() {
    let user = User::up();
    user.vcp(&["create", "demo"]);
    let object: Value = serde_json::from_str(&user.vcp(&["get", "demo", "-o", "json"])).expect("JSON");
    assert_eq!(object["kind"], "ControlPlane");
    assert_eq!(object["metadata"]["name"], "demo");
    let list: Value = serde_json::from_str(&user.vcp(&["list", "-o", "json"])).expect("JSON");
    assert_eq!(list["items"][0]["metadata"]["name"], "demo");
    assert!(user.vcp(&["get", "demo", "-o", "yaml"]).contains("kind: ControlPlane\n"));
    let name = user.vcp(&["get", "demo", "-o", "name"]);
    assert_eq!(name, "controlplane.controlplane.kplane.dev/demo\n");
    assert_eq!(user.vcp(&["ls", "-o", "name"]), name);
    let wide = user.vcp(&["get", "demo", "-o", "wide"]);
    assert!(wide.contains("UID") && wide.contains("/clusters/demo/control-plane"), "{wide}");
    assert_eq!(user.vcp(&["list", "--no-headers"]).lines().count(), 1);
    let described = user.vcp(&["describe", "demo"]);
    for part in ["demo", "Ready", "kplane-cp-demo/controlplane-demo-kubeconfig"] {
        assert!(described.contains(part), "{described}");
    }
    let told = user.fails("kubectl-vcp", &["get", "dmeo"]);
    assert!(told.contains("dmeo") && told.contains("not found"), "{told}");
    // Only tried, nothing is made.
    user.vcp(&["create", "tried", "--dry-run=client"]);
    user.vcp(&["create", "tried", "--dry-run=server"]);
    assert!(!user.vcp(&["list"]).contains("tried"));
}

#[test]
fn credentials_of_a_role_may_do_what_the_role_may() {
    let user = User::up();
    user.vcp(&["create", "demo", "--no-credentials"]);
    assert!(!context_names(&user).contains("kplane-demo"));
    user.vcp(&["get-credentials", "demo"]);
    user.kubectl("kplane-demo").ok(&["create", "configmap", "seen"]);
    user.vcp(&["get-credentials", "demo", "--role", "view", "--duration", "1h"]);
    let viewer = user.kubectl("kplane-demo@view");
    viewer.ok(&["get", "configmap", "seen"]);
    let told = viewer.fails(&["create", "configmap", "not-mine"]);
    assert!(told.contains("forbidden"), "{told}");
    assert!(viewer.fails(&["get", "secrets"]).contains("Forbidden"));
    // Printed, a file of its own.
    let printed = user.vcp(&["get-credentials", "demo", "--print"]);
    assert!(printed.contains("/clusters/demo/control-plane"), "{printed}");
    let told = user.fails("kubectl-vcp", &["get-credentials", "demo", "--duration", "1h"]);
    assert!(told.contains("--duration needs --role"), "{told}");
    // The context goes with the control plane.
    user.vcp(&["delete", "demo", "--destroy"]);
    assert_eq!(context_names(&user), "kplane-management\n");
}

#[test]
fn up_brings_everything_back() {
    let user = User::up();
    for name in ["a", "b"] {
        user.vcp(&["create", name]);
        user.kubectl(&format!("kplane-{name}")).ok(&[
            "create",
            "configmap",
            "kept",
            &format!("--from-literal=who={name}"),
        ]);
    }
    let kept = |name: &str| {
        let object = user.kubectl(&format!("kplane-{name}")).json(&["get", "configmap", "kept"]);
        assert_eq!(object["data"]["who"], name);
    };
    // Again: harmless.
    let pid = user.pid();
    let kubeconfig = std::fs::read_to_string(user.kubeconfig()).expect("a kubeconfig");
    user.kplane(&["up"]);
    assert_eq!(user.pid(), pid);
    assert_eq!(std::fs::read_to_string(user.kubeconfig()).expect("a kubeconfig"), kubeconfig);

    // After a crash: the same port, the same credentials, the contents.
    user.crash();
    let told = user.fails("kubectl-vcp", &["list"]);
    assert!(told.contains("kubectl kplane up"), "{told}");
    user.kplane(&["up"]);
    assert_eq!(std::fs::read_to_string(user.kubeconfig()).expect("a kubeconfig"), kubeconfig);
    kept("a");
    kept("b");

    // Stopped: the contexts go, the data stays.
    let told = user.kplane(&["down"]);
    assert!(told.contains("remain"), "{told}");
    assert_eq!(user.pid(), None);
    assert_eq!(context_names(&user), "");
    user.kplane(&["down"]);
    user.kplane(&["up"]);
    kept("a");
    kept("b");
    assert_eq!(current_context(&user), "kplane-b");

    // Without anybody to ask, data is not lost by accident.
    let told = user.fails("kubectl-kplane", &["down", "--delete-data"]);
    assert!(told.contains("--yes"), "{told}");
    kept("a");
    user.kplane(&["down", "--delete-data", "--yes"]);
    assert_eq!(context_names(&user), "");
    assert!(!user.state().join("data").exists());
    user.kplane(&["up", "--port", &user.port().to_string()]);
    assert_eq!(user.vcp(&["list", "-o", "name"]), "");
}

#[test]
fn deleting_keeps_the_data_until_it_is_destroyed() {
    let user = User::up();
    user.vcp(&["create", "demo"]);
    let demo = user.kubectl("kplane-demo");
    demo.ok(&["create", "configmap", "kept"]);
    // A copy, since deleting takes the context out of the kubeconfig.
    let old = user.kubeconfig().with_file_name("old");
    std::fs::copy(user.kubeconfig(), &old).expect("a copy");
    let old = kplane_tests::Kubectl::new(&old).context("kplane-demo");

    let told = user.vcp(&["delete", "demo"]);
    assert!(told.contains("remains") && told.contains("--adopt"), "{told}");
    assert!(!context_names(&user).contains("kplane-demo"));
    assert!(user.vcp(&["list", "--retained"]).contains("demo"));
    assert!(!old.run(&["get", "ns"]).success);

    // Without --adopt, nobody gets at it.
    let told = user.fails("kubectl-vcp", &["create", "demo", "--timeout=20s"]);
    assert!(told.contains("retained") && told.contains("hint:"), "{told}");
    user.vcp(&["delete", "demo"]);
    user.vcp(&["create", "demo", "--adopt"]);
    user.kubectl("kplane-demo").ok(&["get", "configmap", "kept"]);
    // What was revoked stays so.
    let told = old.fails(&["get", "configmap", "kept"]);
    assert!(told.contains("You must be logged in to the server"), "{told}");

    user.vcp(&["delete", "demo", "--destroy"]);
    assert_eq!(user.vcp(&["list", "--retained", "-o", "name"]), "");
    assert!(user.management().fails(&["get", "virtualcluster", "demo"]).contains("not found"));
    assert!(user.management().fails(&["get", "ns", "kplane-cp-demo"]).contains("not found"));
    user.vcp(&["create", "demo"]);
    assert!(user.kubectl("kplane-demo").fails(&["get", "configmap", "kept"]).contains("not found"));
    let told = user.fails("kubectl-vcp", &["delete", "nothing"]);
    assert!(told.contains("nothing") && told.contains("not found"), "{told}");
}

#[test]
fn what_is_wrong_is_told_before_anything_happens() {
    let user = User::new();
    // Nothing runs.
    let told = user.fails("kubectl-vcp", &["list"]);
    assert!(told.contains("kubectl kplane up"), "{told}");

    // A port that another holds.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("its address").port().to_string();
    let told = user.fails("kubectl-kplane", &["up", "--port", &port]);
    assert!(told.contains(&port) && told.contains("taken") && told.contains("hint:"), "{told}");
    assert_eq!(user.pid(), None);

    // A broken kubeconfig is named and left as it is.
    let broken = "clusters: [\n";
    std::fs::create_dir_all(user.kubeconfig().parent().expect("its folder")).expect("its folder");
    std::fs::write(user.kubeconfig(), broken).expect("a broken kubeconfig");
    let told = user.fails("kubectl-kplane", &["up", "--port", &user.port().to_string()]);
    assert!(told.contains(&user.kubeconfig().display().to_string()), "{told}");
    assert_eq!(std::fs::read_to_string(user.kubeconfig()).expect("it"), broken);
    assert_eq!(user.pid(), None);
    std::fs::remove_file(user.kubeconfig()).expect("gone");

    user.kplane(&["up", "--port", &user.port().to_string()]);
    for reserved in ["root", "management"] {
        let told = user.fails("kubectl-vcp", &["create", reserved]);
        assert!(told.contains("reserved"), "{told}");
    }
    for bad in ["Upper", "a.b", "-a", "a_b", &"x".repeat(64)] {
        let told = user.fails("kubectl-vcp", &["create", "--", bad]);
        assert!(told.contains(bad) && told.contains("hint:"), "{told}");
    }
    assert_eq!(user.vcp(&["list", "-o", "name"]), "");
    // A control plane is never taken for the management cluster.
    user.vcp(&["create", "demo"]);
    let told = user.fails("kubectl-vcp", &["--context", "kplane-demo", "list"]);
    assert!(told.contains("kplane-demo"), "{told}");
    eventually("it is still there", Duration::from_secs(5), || user.vcp(&["list"]).contains("demo"));
}
