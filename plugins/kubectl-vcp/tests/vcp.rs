//! What `kubectl-vcp` writes and changes, by running it against a small management cluster.

#[path = "../../common/testing/fake.rs"]
mod fake;

use std::time::{Duration, Instant};

use fake::{Fake, User};
use serde_json::Value;

const VCP: &str = env!("CARGO_BIN_EXE_kubectl-vcp");

#[test]
fn create_list_and_delete() {
    let fake = Fake::default();
    let port = fake.serve(0);
    let user = User::with(port);
    let begin = Instant::now();
    user.run(VCP, &["create", "demo"]).wrote(
        "controlplane.controlplane.kplane.dev/demo created\n\
         context \"kplane-demo\" set, and made the current one\n\
         next, try it out:\n  kubectl get namespaces\n",
    );
    // The goal is 300 ms; this is against one that polls by the second.
    assert!(begin.elapsed() < Duration::from_secs(1), "{:?}", begin.elapsed());
    let config = user.read(".kube/config");
    assert!(config.contains("current-context: kplane-demo"), "{config}");
    assert!(config.contains("x-own: kept"), "{config}");
    assert!(config.contains(&format!("http://127.0.0.1:{port}/clusters/demo/control-plane")), "{config}");

    let list = user.run(VCP, &["list"]);
    let lines: Vec<Vec<&str>> = list.stdout.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["NAME", "STATUS", "AGE", "ENDPOINT"]);
    assert_eq!(lines[1][..2], ["demo", "Ready"]);
    user.run(VCP, &["ls", "-o", "name"]).wrote("controlplane.controlplane.kplane.dev/demo\n");
    let object: Value = serde_json::from_str(&user.run(VCP, &["get", "demo", "-o", "json"]).stdout).unwrap();
    assert_eq!(object["kind"], "ControlPlane");
    let described = user.run(VCP, &["describe", "demo"]).stdout;
    assert!(described.contains("Context:          kplane-demo\n"), "{described}");

    let deleted = user.run(VCP, &["delete", "demo"]);
    assert_eq!(deleted.code, Some(0), "{deleted:?}");
    assert_eq!(
        deleted.stdout,
        "controlplane.controlplane.kplane.dev/demo deleted\ncontext \"kplane-demo\" removed\n\
         its data remains, out of reach\ntake it up again:\n  kubectl vcp create demo --adopt\n\
         or remove it:\n  kubectl vcp delete demo --destroy\n"
    );
    assert!(deleted.stderr.contains("was the current context"), "{deleted:?}");
    assert!(!user.read(".kube/config").contains("kplane-demo"));
}

#[test]
fn destroy_says_so_in_the_object() {
    let fake = Fake::default();
    let user = User::with(fake.serve(0));
    user.run(VCP, &["create", "demo", "--no-credentials", "-q"]).wrote("");
    user.run(VCP, &["delete", "demo", "--destroy", "--dry-run=server"])
        .wrote("controlplane.controlplane.kplane.dev/demo deleted (server dry run)\n");
    user.run(VCP, &["delete", "demo", "--destroy"])
        .wrote("controlplane.controlplane.kplane.dev/demo deleted\nits data is removed\n");
    assert!(fake.object("/apis/controlplane.kplane.dev/v1alpha1/controlplanes/demo").is_none());
}

#[test]
fn dry_runs_change_nothing() {
    let fake = Fake::default();
    let user = User::with(fake.serve(0));
    let before = user.read(".kube/config");
    for place in ["client", "server"] {
        let run = user.run(VCP, &["create", "demo", &format!("--dry-run={place}"), "-o", "name"]);
        run.wrote("controlplane.controlplane.kplane.dev/demo\n");
    }
    assert_eq!(user.read(".kube/config"), before);
    assert!(fake.object("/apis/controlplane.kplane.dev/v1alpha1/controlplanes/demo").is_none());
}

#[test]
fn names_are_checked_before_anything_is_asked() {
    User::new().run(VCP, &["create", "root"]).failed(
        "error: \"root\" is reserved and cannot name a control plane\nhint: reserved are root, management, *\n",
    );
}

#[test]
fn what_cannot_become_ready_is_told_with_the_reason() {
    let fake = Fake::default();
    let user = User::with(fake.serve(0));
    user.run(VCP, &["create", "stuck"]).failed(
        "error: control plane \"stuck\" cannot become ready\n  \
         caused by: PathTaken: another owner holds the path\n\
         hint: remove it with `kubectl vcp delete stuck`\n",
    );
}

#[test]
fn unknown_names_propose_known_ones() {
    let fake = Fake::default();
    let user = User::with(fake.serve(0));
    user.run(VCP, &["create", "demo", "-q"]).wrote("");
    user.run(VCP, &["get", "dmeo"]).failed(
        "error: Error from server (NotFound): controlplanes.controlplane.kplane.dev \"dmeo\" not found\n\
         hint: did you mean \"demo\"?\nhint: see those there are with `kubectl vcp list`\n",
    );
    let twice = user.run(VCP, &["create", "demo"]);
    assert!(twice.stderr.contains("hint: use it with `kubectl vcp use demo`"), "{twice:?}");
}

#[test]
fn the_management_cluster_is_never_a_control_plane() {
    let fake = Fake::default();
    let user = User::with(fake.serve(0));
    user.run(VCP, &["create", "demo", "-q"]).wrote("");
    // kplane-demo is the current context now, and still the list is of the management cluster.
    user.run(VCP, &["list", "-o", "name"]).wrote("controlplane.controlplane.kplane.dev/demo\n");
    let run = user.run(VCP, &["list", "--context", "kplane-demo"]);
    assert_eq!(run.code, Some(1));
    assert!(run.stderr.contains("is a control plane, not the management cluster"), "{run:?}");
}

#[test]
fn credentials_can_be_printed() {
    let fake = Fake::default();
    let user = User::with(fake.serve(0));
    user.run(VCP, &["create", "demo", "--no-credentials", "-q"]).wrote("");
    let before = user.read(".kube/config");
    let printed = user.run(VCP, &["kubeconfig", "demo", "--print"]);
    assert!(printed.stdout.contains("current-context: kplane-demo\n"), "{printed:?}");
    assert_eq!(user.read(".kube/config"), before);
    user.run(VCP, &["use", "demo"]).wrote("context \"kplane-demo\" set, and made the current one\n");
    user.run(VCP, &["use", "demo"]).wrote("Switched to context \"kplane-demo\".\n");
}

#[test]
fn a_broken_kubeconfig_is_named_and_left() {
    let user = User::new();
    user.write(".kube/config", "clusters: {}\n");
    user.run(VCP, &["create", "demo"]).failed(
        "error: the kubeconfig ~/.kube/config is not valid\n  caused by: clusters is no list\n\
         hint: it is left as it is; correct or move it, then try again\n",
    );
    assert_eq!(user.read(".kube/config"), "clusters: {}\n");
}

#[test]
fn without_a_management_plane_the_next_step_is_told() {
    User::new().run(VCP, &["list"]).failed(
        "error: there is no management plane\n  caused by: the kubeconfig has no context \"kplane-management\"\n\
         hint: start one with `kubectl kplane up`, or name its cluster with --context\n",
    );
}

#[test]
fn kubectl_asks_for_words() {
    let fake = Fake::default();
    let user = User::with(fake.serve(0));
    user.run(VCP, &["create", "demo", "-q"]).wrote("");
    user.run(VCP, &["__complete", "delete", ""]).wrote("demo\n:4\n");
    user.run(VCP, &["__complete", "des"]).wrote("describe\n:4\n");
}

#[test]
fn wrong_command_lines_are_errors_of_code_1() {
    let run = User::new().run(VCP, &["create", "demo", "--nonsense"]);
    assert_eq!((run.code, run.stdout.as_str()), (Some(1), ""));
    assert!(run.stderr.starts_with("error: "), "{run:?}");
}
