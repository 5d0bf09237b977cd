//! Credentials by the plugin: rotated, revoked, fetched by themselves, and void once another owner has the data.

use std::path::PathBuf;

use kplane_tests::{Kubectl, User};

/// What the kubeconfig has for a context now, kept as somebody would who stole it.
fn stolen(user: &User, context: &str) -> Kubectl {
    let text = Kubectl::new(&user.kubeconfig()).ok(&[
        "config",
        "view",
        "--raw",
        "--minify",
        &format!("--context={context}"),
    ]);
    let file: PathBuf = user.kubeconfig().with_file_name(format!("stolen-{}", super::uuid()));
    std::fs::write(&file, text).expect("a kubeconfig");
    Kubectl::new(&file)
}

#[test]
fn one_command_ends_or_replaces_a_leaked_credential() {
    let user = User::up();
    user.vcp(&["create", "demo"]);
    user.vcp(&["get-credentials", "demo", "--role", "view", "--duration", "1h", "--set-current=false"]);
    let (admin, viewer) = (stolen(&user, "kplane-demo"), stolen(&user, "kplane-demo@view"));
    admin.ok(&["get", "secrets"]);
    viewer.ok(&["get", "pods"]);
    // Users have the uid of the object that their credential is of.
    let uid = user.management().json(&["get", "controlplane", "demo"])["metadata"]["uid"].clone();
    assert!(uid.is_string());
    assert_eq!(admin.json(&["auth", "whoami"])["status"]["userInfo"]["uid"], uid);

    let told = user.vcp(&["rotate", "demo"]);
    assert!(told.contains("rotated") && told.contains("context \"kplane-demo\" set"), "{told}");
    super::unauthorized(&admin);
    user.kubectl("kplane-demo").ok(&["get", "secrets"]);
    viewer.ok(&["get", "pods"]);

    user.vcp(&["rotate", "demo", "--role", "view"]);
    super::unauthorized(&viewer);
    let viewer = stolen(&user, "kplane-demo@view");
    viewer.ok(&["get", "pods"]);
    let told = user.vcp(&["revoke", "demo", "--role", "view"]);
    assert!(told.contains("revoked") && told.contains("context \"kplane-demo@view\" removed"), "{told}");
    super::unauthorized(&viewer);

    // Everything at once, tokens too.
    let admin = stolen(&user, "kplane-demo");
    let token = user.kubectl("kplane-demo").ok(&["create", "token", "default"]);
    let by_token = ["auth", "whoami", "--token", token.trim()];
    let bare = user.kubeconfig().with_file_name("bare");
    let server = admin.ok(&["config", "view", "--raw", "-o", "jsonpath={.clusters[0].cluster}"]);
    std::fs::write(&bare, format!("{{\"clusters\":[{{\"name\":\"c\",\"cluster\":{server}}}],\"contexts\":[{{\"name\":\"c\",\"context\":{{\"cluster\":\"c\"}}}}],\"current-context\":\"c\"}}")).expect("a kubeconfig");
    Kubectl::new(&bare).ok(&by_token);
    let told = user.vcp(&["revoke", "demo", "--all"]);
    assert!(told.contains("all that was issued for demo is revoked"), "{told}");
    super::unauthorized(&admin);
    assert!(Kubectl::new(&bare).fails(&by_token).contains("Unauthorized"));
    user.kubectl("kplane-demo").ok(&["get", "secrets"]);
    let told = user.fails("kubectl-vcp", &["revoke", "demo"]);
    assert!(told.contains("hint:") && told.contains("--all"), "{told}");
}

#[test]
fn a_kubeconfig_may_fetch_its_credentials_by_itself() {
    let user = User::up();
    user.vcp(&["create", "demo"]);
    user.vcp(&["get-credentials", "demo", "--role", "view", "--exec", "--set-current=false"]);
    let config = std::fs::read_to_string(user.kubeconfig()).expect("the kubeconfig");
    assert!(config.contains("client.authentication.k8s.io/v1"), "{config}");
    let viewer = user.kubectl("kplane-demo@view");
    viewer.ok(&["get", "pods"]);
    assert!(viewer.fails(&["create", "configmap", "x"]).contains("forbidden"));
    // A certificate that was rotated is replaced without anybody's doing.
    user.vcp(&["rotate", "demo", "--role", "view"]);
    viewer.ok(&["get", "pods"]);
}

#[test]
fn who_adopts_the_data_does_not_take_on_the_credentials() {
    let user = User::up();
    user.vcp(&["create", "demo"]);
    let admin = stolen(&user, "kplane-demo");
    admin.ok(&["create", "configmap", "kept"]);
    user.vcp(&["delete", "demo", "--retain"]);
    super::unauthorized(&admin);
    user.vcp(&["create", "demo", "--adopt"]);
    user.kubectl("kplane-demo").ok(&["get", "configmap", "kept"]);
    super::unauthorized(&admin);
}
