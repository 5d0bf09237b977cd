//! The kubeconfig in other forms, from the field to its end, with a real server.

use kplane_tests::{User, eventually};

use super::{PATIENCE, condition, settled};

const GROUP: &str = "apiVersion: controlplane.kplane.dev/v1alpha1";

#[test]
fn a_form_is_renewed_mended_moved_and_removed() {
    let user = User::up();
    let kubectl = user.management();
    let declare = |exports: &str| {
        kubectl.apply(&format!(
            "{GROUP}\nkind: ControlPlane\nmetadata: {{name: owl}}\nspec: {{deletionPolicy: Destroy, exports: {exports}}}\n"
        ));
    };
    let exists = |namespace: &str, name: &str| kubectl.run(&["-n", namespace, "get", "secret", name]).success;
    // The namespace comes later than the control plane, as when all is applied at once.
    declare("{argoCD: {}}");
    settled(&kubectl, "controlplane/owl", "NamespaceNotFound");
    kubectl.ok(&["create", "namespace", "argocd"]);
    kubectl.ok(&["annotate", "controlplane", "owl", "look=again"]);
    let owl = settled(&kubectl, "controlplane/owl", "Reconciled");
    assert_eq!(condition(&owl, "ExportsReady")["status"], "True");
    let config =
        || kubectl.ok(&["-n", "argocd", "get", "secret", "kplane-owl", "-o", "jsonpath={.data.config}"]);

    // It is renewed with the credentials, and mended when somebody changes or deletes it.
    let first = config();
    kubectl.ok(&["annotate", "controlplane", "owl", "controlplane.kplane.dev/rotate=1"]);
    eventually("the certificate is another", PATIENCE, || config() != first);
    let rotated = config();
    kubectl.ok(&[
        "-n",
        "argocd",
        "patch",
        "secret",
        "kplane-owl",
        "--type=merge",
        "-p",
        r#"{"data":{"config":""}}"#,
    ]);
    eventually("it is mended", PATIENCE, || config() == rotated);
    kubectl.ok(&["-n", "argocd", "delete", "secret", "kplane-owl"]);
    eventually("it is back", PATIENCE, || exists("argocd", "kplane-owl"));

    // Another name: the old one goes. In the way of the next is one that is not ours.
    declare("{argoCD: {secretName: bird}, clusterAPI: {namespace: default}}");
    eventually("it moves", PATIENCE, || exists("argocd", "bird") && !exists("argocd", "kplane-owl"));
    eventually("and is in the other form", PATIENCE, || exists("default", "owl-kubeconfig"));
    kubectl.ok(&["-n", "argocd", "create", "secret", "generic", "theirs", "--from-literal=a=b"]);
    declare("{argoCD: {secretName: theirs}}");
    let owl = settled(&kubectl, "controlplane/owl", "NotOurs");
    assert_eq!(condition(&owl, "CredentialsReady")["status"], "True");
    let theirs = kubectl.json(&["-n", "argocd", "get", "secret", "theirs"]);
    assert_eq!(theirs["data"].as_object().map(|data| data.len()), Some(1), "it is as it was");
    assert!(!exists("argocd", "bird") && !exists("default", "owl-kubeconfig"));
    assert!(kubectl.run(&["get", "events", "-A"]).stdout.contains("NotOurs"));

    // It goes with the object, and so do those of a credential.
    declare("{argoCD: {}}");
    kubectl.apply(&format!(
        "{GROUP}\nkind: ControlPlaneCredential\nmetadata: {{name: viewer}}\nspec: {{controlPlaneRef: {{name: owl}}, exports: {{argoCD: {{}}, clusterAPI: {{namespace: default}}}}}}\n"
    ));
    settled(&kubectl, "controlplane/owl", "Reconciled");
    settled(&kubectl, "controlplanecredential/viewer", "Reconciled");
    assert!(exists("argocd", "kplane-credential-viewer") && exists("default", "viewer-kubeconfig"));
    kubectl.ok(&["delete", "controlplanecredential", "viewer", "--timeout=30s"]);
    assert!(!exists("argocd", "kplane-credential-viewer") && !exists("default", "viewer-kubeconfig"));
    kubectl.ok(&["delete", "controlplane", "owl", "--timeout=30s"]);
    assert!(!exists("argocd", "kplane-owl") && exists("argocd", "theirs"));
}
