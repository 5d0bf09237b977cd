//! Definitions as they are published: those of an operator whose package `hack/setup` installs. They hold the whole schema of
//! a pod several times, and are half a megabyte each.

use std::path::{Path, PathBuf};

use kplane_tests::{Server, Store};

/// The folder of the operator's chart.
fn chart() -> PathBuf {
    let lib = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/python/lib");
    let found = std::fs::read_dir(&lib).into_iter().flatten().filter_map(Result::ok).map(|entry| {
        entry.path().join("site-packages/dask_kubernetes/operator/deployment/helm/dask-kubernetes-operator")
    });
    found
        .into_iter()
        .find(|path| path.exists())
        .unwrap_or_else(|| panic!("there is no dask_kubernetes in {}: hack/setup installs it", lib.display()))
}

const CLUSTER: &str = "
apiVersion: kubernetes.dask.org/v1
kind: DaskCluster
metadata: {name: simple}
spec:
  worker:
    replicas: 2
    spec:
      containers:
      - name: worker
        image: ghcr.io/dask/dask:latest
        args: [dask-worker, --name, $(DASK_WORKER_NAME)]
        ports: [{name: http-dashboard, containerPort: 8788, protocol: TCP}]
  scheduler:
    spec:
      containers:
      - name: scheduler
        image: ghcr.io/dask/dask:latest
        livenessProbe: {httpGet: {port: http-dashboard, path: /health}, periodSeconds: 20}
    service:
      type: ClusterIP
      selector: {dask.org/cluster-name: simple}
      ports: [{name: tcp-comm, protocol: TCP, port: 8786, targetPort: tcp-comm}]
";

#[test]
fn definitions_of_full_size_are_installed_explained_and_obeyed() {
    let server = Server::start(Store::Embedded);
    let kubectl = server.create_vcp("dask");
    let folder = chart().join("crds");
    let folder = folder.to_str().expect("a path that is a text");
    // Too large for the annotation of a client-side apply, as its own documentation says.
    kubectl.ok(&["apply", "--server-side", "-f", folder]);
    kubectl.ok(&["wait", "--for=condition=Established", "crd", "--all", "--timeout=30s"]);
    // Again it changes nothing.
    let before = kubectl.json(&["get", "crd", "daskclusters.kubernetes.dask.org"]);
    kubectl.ok(&["apply", "--server-side", "-f", &format!("{folder}/daskcluster.yaml")]);
    let after = kubectl.json(&["get", "crd", "daskclusters.kubernetes.dask.org"]);
    assert_eq!(before["metadata"]["resourceVersion"], after["metadata"]["resourceVersion"]);

    let explained =
        kubectl.ok(&["explain", "daskcluster.spec.scheduler.spec.containers.livenessProbe.httpGet"]);
    assert!(explained.contains("VERSION:    v1") && explained.contains("port\t<"), "{explained}");
    let explained = kubectl.ok(&["explain", "daskjobs.spec.job.spec", "--recursive"]);
    assert!(explained.contains("ephemeralContainers"), "{explained}");

    kubectl.apply(CLUSTER);
    assert!(kubectl.apply(CLUSTER).contains("unchanged"));
    let made = kubectl.json(&["get", "daskcluster", "simple"]);
    assert_eq!(made["spec"]["worker"]["replicas"], 2);
    for (from, to, told) in [
        (
            "replicas: 2",
            "replicas: two",
            "spec.worker.replicas: Invalid value: \"string\": spec.worker.replicas in body must be of type integer: \"string\"",
        ),
        (
            "      - name: scheduler\n        image",
            "      - image",
            "spec.scheduler.spec.containers[0].name: Required value",
        ),
        (
            "periodSeconds: 20",
            "period: 20",
            "unknown field \"spec.scheduler.spec.containers[0].livenessProbe.period\"",
        ),
    ] {
        let wrong = CLUSTER.replace(from, to).replace("{name: simple}", "{name: wrong}");
        assert_ne!(wrong, CLUSTER);
        let output = kubectl.run_with(&["create", "-f", "-", "--validate=strict"], &wrong);
        assert!(!output.success && output.stderr.contains(told), "{told:?} is not in:\n{}", output.stderr);
    }
    kubectl.ok(&[
        "patch",
        "daskcluster",
        "simple",
        "--type=merge",
        "-p",
        r#"{"spec": {"worker": {"replicas": 3}}}"#,
    ]);
    kubectl.apply(
        "apiVersion: kubernetes.dask.org/v1\nkind: DaskAutoscaler\nmetadata: {name: simple}\nspec: {cluster: simple, minimum: 1, maximum: 5}\n",
    );
    let table = kubectl.ok(&["get", "daskautoscalers"]);
    assert!(
        table.starts_with("NAME     CLUSTER   MINIMUM   MAXIMUM   AGE\nsimple   simple    1         5 "),
        "{table}"
    );
    kubectl.ok(&["delete", "-f", folder]);
    // kubectl may still know the kinds; the server does not.
    kubectl.fails(&["get", "daskclusters"]);
}

#[test]
fn roles_for_custom_kinds_are_added_to_those_that_aggregate() {
    let server = Server::start(Store::Embedded);
    let kubectl = server.create_vcp("roles");
    kubectl.ok(&["apply", "--server-side", "-f", chart().join("crds/daskautoscaler.yaml").to_str().unwrap()]);
    kubectl.ok(&["create", "rolebinding", "jane", "--clusterrole=edit", "--user=jane"]);
    kubectl.ok(&["create", "rolebinding", "joe", "--clusterrole=view", "--user=joe"]);
    let may = |user: &str, verb: &str| {
        kubectl.run(&["auth", "can-i", verb, "daskautoscalers.kubernetes.dask.org", "--as", user]).success
    };
    assert!(!may("jane", "create") && !may("joe", "get"));
    let role = |name: &str, labels: &str, verbs: &str| {
        format!(
            "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {{name: dask-{name}, labels: {{{labels}}}}}\n\
             rules: [{{apiGroups: [kubernetes.dask.org], resources: [daskautoscalers], verbs: [{verbs}]}}]\n---\n"
        )
    };
    let label = |role: &str| format!("rbac.authorization.k8s.io/aggregate-to-{role}: 'true'");
    let all = [label("view"), label("edit"), label("admin")].join(", ");
    kubectl.apply(
        &(role("view", &all, "get, list, watch")
            + &role("edit", &label("edit"), "create, delete, patch, update")),
    );
    kplane_tests::eventually("the roles aggregate", std::time::Duration::from_secs(20), || {
        may("jane", "create") && may("joe", "get")
    });
    assert!(may("jane", "get") && !may("joe", "create"));
    // What went from there goes from here.
    kubectl.ok(&["delete", "clusterrole", "dask-view"]);
    kplane_tests::eventually("it is taken away", std::time::Duration::from_secs(20), || !may("joe", "get"));
    assert!(may("jane", "create"));
}
