//! The objects of the first kplane, in the shapes that its samples and its command write, unchanged.

use kplane_tests::{Kubectl, User};

use super::{condition, settled};

/// What its samples are like: a class with the add-on that all of its have, an endpoint with the addresses inside and
/// outside, a control plane whose path is not its name, a registration.
fn samples(port: u16) -> String {
    format!(
        r"
apiVersion: controlplane.kplane.dev/v1alpha1
kind: ControlPlaneClass
metadata:
  name: starter
  labels: {{app.kubernetes.io/name: controlplane-operator, app.kubernetes.io/managed-by: kustomize}}
spec:
  addons:
  - starter
  auth:
    model: basic
    defaultRole: admin
  modesAllowed:
  - Virtual
---
apiVersion: controlplane.kplane.dev/v1alpha1
kind: ControlPlaneEndpoint
metadata:
  name: sample-endpoint
spec:
  endpoint: https://kplane-apiserver.kplane-system.svc.cluster.local:6443/clusters/birds/control-plane
  externalEndpoint: https://127.0.0.1:{port}/clusters/birds/control-plane
  joinEndpoint: https://birds.join.kplane.example:30443/clusters/birds/control-plane
---
apiVersion: controlplane.kplane.dev/v1alpha1
kind: ControlPlane
metadata:
  name: sample
spec:
  classRef:
    name: starter
  endpointRef:
    name: sample-endpoint
  mode: Virtual
  virtual:
    clusterPath: birds
---
apiVersion: controlplane.kplane.dev/v1alpha1
kind: ControlPlaneRegistration
metadata:
  name: sample-registration
spec:
  controlPlaneRef:
    name: sample
  services:
  - Controllers
  - Scheduler
  mode: Shared
"
    )
}

/// What its command applies for `create cluster`; a later branch of it has these in a namespace.
fn of_the_command(port: u16) -> String {
    format!(
        r"
apiVersion: controlplane.kplane.dev/v1alpha1
kind: ControlPlaneEndpoint
metadata:
  name: cli-endpoint
  namespace: default
spec:
  endpoint: https://kplane-apiserver.kplane-system.svc.cluster.local:6443/clusters/cli/control-plane
  externalEndpoint: https://127.0.0.1:{port}/clusters/cli/control-plane
---
apiVersion: controlplane.kplane.dev/v1alpha1
kind: ControlPlane
metadata:
  name: cli
  namespace: default
spec:
  classRef:
    name: starter
  endpointRef:
    name: cli-endpoint
  deletionPolicy: Destroy
"
    )
}

#[test]
fn the_objects_of_the_first_kplane_apply_unchanged() {
    let user = User::up();
    let kubectl = user.management();
    for manifest in [samples(user.port()), of_the_command(user.port())] {
        let told = kubectl.run_with(&["apply", "--validate=strict", "-f", "-"], &manifest);
        assert!(told.success && told.stderr.is_empty(), "{}", told.stderr);
    }
    let class = settled(&kubectl, "controlplaneclass/starter", "Reconciled");
    assert_eq!(condition(&class, "FieldsSupported")["status"], "True");
    let sample = settled(&kubectl, "controlplane/sample", "Reconciled");
    let registration = settled(&kubectl, "controlplaneregistration/sample-registration", "Resolved");
    settled(&kubectl, "controlplane/cli", "Reconciled");
    // Where its clients look: the status, the Secret, and both of its keys.
    let inside = "https://kplane-apiserver.kplane-system.svc.cluster.local:6443/clusters/birds/control-plane";
    assert_eq!(sample["status"]["endpoint"], inside);
    assert_eq!(registration["status"]["resolvedEndpoint"], inside);
    let reference = &sample["status"]["kubeconfigSecretRef"];
    assert_eq!(
        (&reference["namespace"], &reference["name"]),
        (&"kplane-cp-sample".into(), &"controlplane-sample-kubeconfig".into())
    );
    assert_eq!(&registration["status"]["resolvedKubeconfigSecretRef"], reference);
    let read = |key: &str| {
        let template = format!("go-template={{{{index .data {key:?} | base64decode}}}}");
        kubectl.ok(&[
            "-n",
            "kplane-cp-sample",
            "get",
            "secret",
            "controlplane-sample-kubeconfig",
            "-o",
            &template,
        ])
    };
    assert!(read("kubeconfig").contains(inside));
    let path = user.home().join("outside");
    std::fs::write(&path, read("kubeconfig-external")).expect("a kubeconfig");
    let outside = Kubectl::new(&path);
    // The add-on is built in, and what it brought is there.
    outside.ok(&["get", "namespace", "kplane-system"]);
    outside.ok(&["create", "clusterrolebinding", "mine", "--clusterrole=view", "--user=me"]);
    // Destroy and Retain are what they were.
    kubectl.ok(&["delete", "controlplane", "cli", "sample", "--timeout=30s"]);
    assert!(!kubectl.run(&["get", "virtualcluster", "cli"]).success);
    assert_eq!(kubectl.json(&["get", "virtualcluster", "birds"])["spec"]["detached"], true);
}
