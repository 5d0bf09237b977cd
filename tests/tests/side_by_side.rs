//! Two control planes under a real kubectl: everything works in each, and what one does the other never sees.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::Duration;

use kplane_tests::{Kubectl, Server, Store, eventually};

const WIDGETS: &str = r"
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {plural: widgets, singular: widget, kind: Widget, listKind: WidgetList, shortNames: [wd]}
  versions:
  - name: v1
    served: true
    storage: true
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec:
            type: object
            required: [size]
            properties:
              size: {type: integer, maximum: 10}
              colour: {type: string, default: blue}
";

/// A CRD whose plural is `clusters`, which a path-minded store could mistake for its own.
const CLUSTERS: &str = r"
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: clusters.cluster.x-k8s.io}
spec:
  group: cluster.x-k8s.io
  scope: Namespaced
  names: {plural: clusters, singular: cluster, kind: Cluster, listKind: ClusterList}
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
";

fn deployment(name: &str, replicas: u32) -> String {
    format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: {name}}}\nspec:\n  replicas: {replicas}\n  selector: {{matchLabels: {{app: {name}}}}}\n  template:\n    metadata: {{labels: {{app: {name}}}}}\n    spec: {{containers: [{{name: c, image: nginx}}]}}\n"
    )
}

fn install(kubectl: &Kubectl, crd: &str, name: &str) {
    kubectl.apply(crd);
    kubectl.ok(&["wait", "--for=condition=Established", &format!("crd/{name}"), "--timeout=10s"]);
}

#[test]
fn a_new_control_plane_feels_alive() {
    let server = Server::start(Store::Embedded);
    let a = server.create_vcp("a");
    let namespaces = a.ok(&["get", "ns", "-o", "name"]);
    for name in ["default", "kube-system", "kube-public", "kube-node-lease"] {
        assert!(namespaces.contains(&format!("namespace/{name}\n")), "{namespaces}");
    }
    a.ok(&["get", "service", "kubernetes"]);
    a.ok(&["get", "clusterrole", "cluster-admin"]);
    a.ok(&["get", "serviceaccount", "default"]);
    a.ok(&["get", "configmap", "kube-root-ca.crt"]);
    assert!(a.ok(&["version"]).contains("Server Version: v1.36"));
    assert!(a.ok(&["cluster-info"]).contains("control plane"));
    assert!(a.ok(&["api-resources"]).contains("deployments"));
    assert!(a.ok(&["explain", "deployment.spec.replicas"]).contains("Number of desired pods"));
    let table = a.ok(&["get", "ns"]);
    assert!(table.contains("Active"), "{table}");
    assert!(a.ok(&["get", "ns", "-o", "wide"]).contains("default"));
    assert!(a.ok(&["describe", "ns", "default"]).contains("Active"));
}

#[test]
fn objects_are_created_changed_and_deleted() {
    let server = Server::start(Store::Embedded);
    let a = server.create_vcp("a");
    assert!(a.apply(&deployment("web", 2)).contains("created"));
    assert!(a.apply(&deployment("web", 2)).contains("unchanged"));
    assert!(a.apply(&deployment("web", 3)).contains("configured"));
    assert_eq!(a.json(&["get", "deployment", "web"])["spec"]["replicas"], 3);
    a.ok(&["patch", "deployment", "web", "-p", r#"{"spec":{"paused":true}}"#]);
    a.ok(&["patch", "deployment", "web", "--type=json", "-p", r#"[{"op":"remove","path":"/spec/paused"}]"#]);
    a.ok(&["label", "deployment", "web", "tier=front"]);
    a.ok(&["annotate", "deployment", "web", "note=x"]);
    a.ok(&["scale", "deployment", "web", "--replicas=5"]);
    let web = a.json(&["get", "deployment", "web"]);
    assert_eq!(web["spec"]["replicas"], 5);
    assert_eq!(web["metadata"]["labels"]["tier"], "front");
    assert!(a.ok(&["get", "deployments", "-l", "tier=front"]).contains("web"));
    assert!(a.ok(&["get", "deployments", "-o", "wide"]).contains("nginx"));
    assert!(a.ok(&["describe", "deployment", "web"]).contains("RollingUpdate"));
    a.ok(&["create", "secret", "generic", "s", "--from-literal=a=b"]);
    assert_eq!(a.json(&["get", "secret", "s"])["data"]["a"], "Yg==");
    a.ok(&["delete", "deployment", "web"]);
    assert!(a.fails(&["get", "deployment", "web"]).contains("deployments.apps \"web\" not found"));
}

#[test]
fn custom_resources_are_pruned_defaulted_and_validated() {
    let server = Server::start(Store::Embedded);
    let a = server.create_vcp("a");
    install(&a, WIDGETS, "widgets.example.com");
    a.apply("apiVersion: example.com/v1\nkind: Widget\nmetadata: {name: w}\nspec: {size: 3}\n");
    assert_eq!(a.json(&["get", "wd", "w"])["spec"]["colour"], "blue");
    let output = a.run_with(
        &["apply", "-f", "-"],
        "apiVersion: example.com/v1\nkind: Widget\nmetadata: {name: big}\nspec: {size: 11}\n",
    );
    assert!(
        !output.success && output.stderr.contains("should be less than or equal to 10"),
        "{}",
        output.stderr
    );
    assert!(a.ok(&["explain", "widget.spec"]).contains("size"));
    a.ok(&["delete", "crd", "widgets.example.com"]);
    eventually("the kind is gone", Duration::from_secs(10), || !a.run(&["get", "widgets"]).success);
}

#[test]
fn two_control_planes_never_meet() {
    for store in [Store::Embedded, Store::Etcd] {
        let server = Server::start(store);
        let (a, b) = (server.create_vcp("a"), server.create_vcp("b"));
        // The same names in both, `clusters` among them.
        for kubectl in [&a, &b] {
            kubectl.ok(&["create", "ns", "clusters"]);
            install(kubectl, CLUSTERS, "clusters.cluster.x-k8s.io");
        }
        a.ok(&["-n", "clusters", "create", "configmap", "x", "--from-literal=who=a"]);
        assert!(b.fails(&["-n", "clusters", "get", "configmap", "x"]).contains("not found"));
        b.ok(&["-n", "clusters", "create", "configmap", "x", "--from-literal=who=b"]);
        assert_eq!(a.json(&["-n", "clusters", "get", "cm", "x"])["data"]["who"], "a");
        let cluster =
            "apiVersion: cluster.x-k8s.io/v1\nkind: Cluster\nmetadata: {name: one, namespace: clusters}\n";
        a.apply(cluster);
        assert_eq!(b.json(&["get", "clusters.cluster.x-k8s.io", "-A"])["items"], serde_json::json!([]));
        assert_ne!(
            a.json(&["get", "crd", "clusters.cluster.x-k8s.io"])["metadata"]["uid"],
            b.json(&["get", "crd", "clusters.cluster.x-k8s.io"])["metadata"]["uid"]
        );
        // Nor does root meet either.
        assert!(server.root().fails(&["get", "ns", "clusters"]).contains("not found"));
        a.ok(&["delete", "ns", "clusters", "--timeout=30s"]);
        assert_eq!(b.json(&["-n", "clusters", "get", "cm", "x"])["data"]["who"], "b");
    }
}

#[test]
fn a_watch_shows_what_happens() {
    let server = Server::start(Store::Embedded);
    let a = server.create_vcp("a");
    let mut watch = a
        .command(&["get", "configmaps", "--watch", "-o", "name"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("kubectl starts");
    let mut lines = BufReader::new(watch.stdout.take().expect("its output")).lines();
    let first = lines.next().expect("a line").expect("text");
    assert_eq!(first, "configmap/kube-root-ca.crt");
    a.ok(&["create", "configmap", "seen"]);
    assert_eq!(lines.next().expect("a line").expect("text"), "configmap/seen");
    watch.kill().expect("kill");
    watch.wait().expect("wait");
}

#[test]
fn a_deleted_namespace_empties_and_goes() {
    let server = Server::start(Store::Embedded);
    let a = server.create_vcp("a");
    a.ok(&["create", "ns", "gone"]);
    eventually("the default service account", Duration::from_secs(10), || {
        a.run(&["-n", "gone", "get", "serviceaccount", "default"]).success
            && a.run(&["-n", "gone", "get", "configmap", "kube-root-ca.crt"]).success
    });
    a.ok(&["-n", "gone", "create", "configmap", "x"]);
    a.ok(&["delete", "ns", "gone", "--timeout=30s"]);
    assert!(a.fails(&["get", "ns", "gone"]).contains("not found"));
    a.ok(&["create", "ns", "gone"]);
    assert!(a.fails(&["-n", "gone", "get", "configmap", "x"]).contains("not found"));
}

#[test]
fn dependents_go_with_their_owner() {
    let server = Server::start(Store::Embedded);
    let a = server.create_vcp("a");
    a.ok(&["create", "configmap", "owner"]);
    let uid = a.json(&["get", "cm", "owner"])["metadata"]["uid"].as_str().expect("a uid").to_owned();
    a.apply(&format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: dependent\n  ownerReferences: [{{apiVersion: v1, kind: ConfigMap, name: owner, uid: {uid}}}]\n"
    ));
    a.ok(&["delete", "cm", "owner"]);
    eventually("the dependent goes", Duration::from_secs(10), || !a.run(&["get", "cm", "dependent"]).success);
}
