//! What a registration hands out follows what it names.

use kplane_tests::User;

use super::settled;

const GROUP: &str = "apiVersion: controlplane.kplane.dev/v1alpha1";

#[test]
fn a_registration_is_resolved_when_it_can_be_and_follows_what_it_names() {
    let user = User::up();
    let kubectl = user.management();
    let registration = |of: &str, more: &str| {
        kubectl.apply(&format!(
            "{GROUP}\nkind: ControlPlaneRegistration\nmetadata: {{name: scheduler}}\nspec: {{controlPlaneRef: {{name: {of}}}, services: [Scheduler]{more}}}\n"
        ));
    };
    let control_plane = |name: &str| {
        kubectl.apply(&format!(
            "{GROUP}\nkind: ControlPlane\nmetadata: {{name: {name}}}\nspec: {{deletionPolicy: Destroy}}\n"
        ));
    };
    let what = "controlplaneregistration/scheduler";
    registration("one", "");
    let early = settled(&kubectl, what, "ControlPlaneNotFound");
    assert_eq!(early["status"]["ready"], false);
    control_plane("one");
    let resolved = settled(&kubectl, what, "Resolved");
    let address = |of: &str| format!("https://127.0.0.1:{}/clusters/{of}/control-plane", user.port());
    assert_eq!(resolved["status"]["resolvedEndpoint"], address("one"));
    assert_eq!(resolved["status"]["resolvedKubeconfigSecretRef"]["namespace"], "kplane-cp-one");

    // To another control plane.
    control_plane("two");
    registration("two", "");
    settled(&kubectl, "controlplane/two", "Reconciled");
    let moved = settled(&kubectl, what, "Resolved");
    assert_eq!(moved["status"]["resolvedEndpoint"], address("two"));
    // Its own endpoint and Secret.
    registration(
        "two",
        ", endpointRef: {name: proxy}, kubeconfigSecretRef: {namespace: default, name: mine}",
    );
    settled(&kubectl, what, "EndpointNotFound");
    kubectl.apply(&format!(
        "{GROUP}\nkind: ControlPlaneEndpoint\nmetadata: {{name: proxy}}\nspec: {{endpoint: \"https://proxy.example.test\"}}\n"
    ));
    let pending = settled(&kubectl, what, "KubeconfigPending");
    assert!(pending["status"].get("resolvedEndpoint").is_none(), "{}", pending["status"]);
    kubectl.ok(&["create", "secret", "generic", "mine", "--from-literal=kubeconfig=x"]);
    let resolved = settled(&kubectl, what, "Resolved");
    assert_eq!(
        resolved["status"]["resolvedEndpoint"],
        "https://proxy.example.test/clusters/two/control-plane"
    );
    assert_eq!(resolved["status"]["resolvedKubeconfigSecretRef"]["name"], "mine");

    // And when it is gone, nothing is handed out.
    kubectl.ok(&["delete", "controlplane", "two", "--timeout=30s"]);
    let lost = settled(&kubectl, what, "ControlPlaneNotFound");
    assert_eq!(lost["status"]["ready"], false);
    assert!(lost["status"].get("resolvedEndpoint").is_none(), "{}", lost["status"]);
    kubectl.ok(&["delete", "controlplaneregistration", "scheduler", "--timeout=30s"]);
}
