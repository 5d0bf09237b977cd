//! The providers of clusters. The cluster is a server of ours without controllers: what a kubelet and the controllers
//! would say, the test says. `kind` and `k3d` are scripts that write down how they were called.

use std::os::unix::fs::PermissionsExt;
use std::thread;
use std::time::Duration;

use kplane_tests::{Kubectl, Server, Store, User, eventually};
use serde_json::{Value, json};

/// A tool that knows one cluster once it is made, and leads to the server.
fn fake_tool(user: &User, server: &Server, name: &str) -> String {
    let bin = user.home().join("bin");
    std::fs::create_dir_all(&bin).expect("a folder for programs");
    let context = if name == "kind" { "kind-kplane-management" } else { "k3d-kplane-management" };
    let script = format!(
        r#"#!/bin/sh
echo "$@" >>"$HOME/calls"
made="$HOME/made"
write() {{
  kubectl --kubeconfig "{admin}" config view --raw --flatten -o json | sed 's/"kplane-admin"/"{context}"/g' >"$KUBECONFIG"
}}
case "$1 $2" in
  "version ") echo "{name} v9.9.9" ;;
  "get clusters" | "cluster list") [ -e "$made" ] && echo kplane-management || true ;;
  "create cluster") cat >"$HOME/kind-config"; touch "$made"; write ;;
  "cluster create") touch "$made" ;;
  "export kubeconfig" | "kubeconfig merge") write ;;
  "load image-archive" | "image import" | "cluster start" | "cluster stop") ;;
  "delete cluster" | "cluster delete") rm "$made" ;;
  *) echo "unknown: $@" >&2; exit 1 ;;
esac
"#,
        admin = server.admin_kubeconfig().display(),
    );
    let path = bin.join(name);
    std::fs::write(&path, script).expect("the program");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("it can be run");
    std::fs::create_dir_all(user.kubeconfig().parent().expect("a folder")).expect("its folder");
    format!("{}:{}", bin.display(), std::env::var("PATH").unwrap_or_default())
}

/// What kubelet and controllers would say: the controllers run, and the management plane is ready.
fn play(cluster: &Kubectl) {
    let status = |kind: &[&str], status: Value| {
        let patch = json!({ "status": status }).to_string();
        let mut arguments = vec!["patch"];
        arguments.extend(kind);
        arguments.extend(["--subresource=status", "--type=merge", "-p", &patch]);
        cluster.ok(&arguments);
    };
    let deployment = ["deployment", "kplane-controllers", "-n", "kplane-system"];
    eventually("the controllers are installed", Duration::from_secs(60), || {
        let mut get = vec!["get"];
        get.extend(deployment);
        cluster.run(&get).success
    });
    status(
        &deployment,
        json!({ "observedGeneration": 1, "replicas": 2, "updatedReplicas": 2, "readyReplicas": 2, "availableReplicas": 2 }),
    );
    eventually("the management plane is declared", Duration::from_secs(60), || {
        cluster.run(&["get", "managementplane", "default"]).success
    });
    status(
        &["managementplane", "default"],
        json!({
            "observedGeneration": 1, "endpoint": "https://127.0.0.1:9999",
            "conditions": [{
                "type": "Ready", "status": "True", "reason": "Ready", "message": "", "observedGeneration": 1,
                "lastTransitionTime": "2026-01-01T00:00:00Z",
            }],
        }),
    );
}

fn calls(user: &User) -> String {
    std::fs::read_to_string(user.home().join("calls")).unwrap_or_default()
}

fn cluster() -> Server {
    Server::start_with(Store::Embedded, &["--tenant-controllers=false"])
}

#[test]
fn kind_makes_a_cluster_and_takes_it_away() {
    let server = cluster();
    let mut user = User::new();
    let path = fake_tool(&user, &server, "kind");
    user.set("PATH", path);
    let archive = user.home().join("image.tar");
    std::fs::write(&archive, "an image").expect("an archive");
    let archive = archive.display().to_string();
    let port = user.port().to_string();
    let up = ["up", "--provider", "kind", "--image-archive", &archive, "--port", &port];
    thread::scope(|scope| {
        scope.spawn(|| play(&server.root()));
        user.kplane(&up);
    });
    let config =
        std::fs::read_to_string(user.home().join("kind-config")).expect("the configuration of the cluster");
    assert!(
        config.contains(&format!("hostPort: {port}")) && config.contains("containerPort: 30443"),
        "{config}"
    );
    assert!(calls(&user).contains(&format!("load image-archive {archive} --name kplane-management")));
    let plane = server.root().json(&["get", "managementplane", "default"]);
    assert_eq!(plane["spec"]["topology"], "Deployed");
    assert_eq!(plane["spec"]["exposure"]["nodePort"], 30443);
    assert_eq!(plane["spec"]["exposure"]["port"].to_string(), port);

    // Again: the cluster and all in it are as they were, and the provider is remembered.
    user.kplane(&["up", "--image-archive", &archive]);
    assert_eq!(calls(&user).matches("create cluster").count(), 1, "{}", calls(&user));
    let status = user.kplane(&["status"]);
    assert!(status.contains("kind-kplane-management"), "{status}");

    // kind cannot stop a cluster, and says so by what remains; only with --delete-data it goes.
    let said = user.kplane(&["down"]);
    assert!(said.contains("remain"), "{said}");
    let told = user.fails("kubectl-kplane", &["down", "--delete-data"]);
    assert!(told.contains("--yes"), "{told}");
    user.kplane(&["down", "--delete-data", "--yes"]);
    assert!(calls(&user).contains("delete cluster --name kplane-management"), "{}", calls(&user));
}

#[test]
fn a_cluster_that_was_there_before_is_kept() {
    let server = cluster();
    let mut user = User::new();
    let path = fake_tool(&user, &server, "kind");
    user.set("PATH", path);
    // Somebody made it, under the name that `up` would take, and works in it.
    std::fs::write(user.home().join("made"), "").expect("a cluster");
    server.root().ok(&["create", "configmap", "mine"]);
    server.root().ok(&["create", "clusterrole", "mine", "--verb=get", "--resource=pods"]);
    thread::scope(|scope| {
        scope.spawn(|| play(&server.root()));
        user.kplane(&["up", "--provider", "kind"]);
    });
    user.kplane(&["down", "--delete-data", "--yes"]);
    assert!(
        !calls(&user).contains("create cluster") && !calls(&user).contains("delete cluster"),
        "{}",
        calls(&user)
    );
    let left =
        server.root().ok(&["get", "deployments,clusterroles,clusterrolebindings,crd", "-A", "-o", "name"]);
    assert!(!left.contains("kplane-controllers") && !left.contains("controlplane.kplane.dev"), "{left}");
    server.root().ok(&["get", "configmap/mine", "clusterrole/mine"]);
}

#[test]
fn k3s_stops_its_cluster_and_starts_it_again() {
    let server = cluster();
    let mut user = User::new();
    let path = fake_tool(&user, &server, "k3d");
    user.set("PATH", path);
    thread::scope(|scope| {
        scope.spawn(|| play(&server.root()));
        user.kplane(&["up", "--provider", "k3s"]);
    });
    assert!(calls(&user).contains(":30443@server:0"), "{}", calls(&user));
    user.kplane(&["down"]);
    assert!(calls(&user).contains("cluster stop kplane-management"), "{}", calls(&user));
    user.kplane(&["up"]);
    assert!(calls(&user).contains("cluster start kplane-management"), "{}", calls(&user));
}

#[test]
fn an_existing_cluster_keeps_all_that_was_not_installed() {
    let server = cluster();
    let user = User::new();
    std::fs::create_dir_all(user.kubeconfig().parent().expect("a folder")).expect("its folder");
    std::fs::copy(server.admin_kubeconfig(), user.kubeconfig()).expect("a kubeconfig");
    server.root().ok(&["create", "configmap", "mine"]);
    let node = json!({
        "apiVersion": "v1", "kind": "Node", "metadata": { "name": "one" },
        "status": { "addresses": [{ "type": "InternalIP", "address": "192.0.2.7" }] },
    });
    server.root().apply(&node.to_string());
    thread::scope(|scope| {
        scope.spawn(|| play(&server.root()));
        user.kplane(&["up", "--provider", "existing"]);
    });
    let plane = server.root().json(&["get", "managementplane", "default"]);
    // One node: one member, one replica.
    assert_eq!(plane["spec"]["apiserver"]["replicas"], 1);
    assert_eq!(plane["spec"]["store"]["etcd"]["managed"]["replicas"], 1);
    let doctor = user.run("kubectl-kplane", &["doctor"]);
    assert!(doctor.stdout.contains("permissions: all that is needed"), "{}", doctor.stdout);

    // Nothing here works on finalizers, so what the controllers would let go of goes at once.
    user.kplane(&["down", "--delete-data", "--yes"]);
    let left = server.root().ok(&["get", "deployments,clusterroles,crd", "-A", "-o", "name"]);
    assert!(!left.contains("kplane-controllers") && !left.contains("controlplane.kplane.dev"), "{left}");
    server.root().ok(&["get", "configmap", "mine"]);
}

#[test]
fn a_tool_that_is_missing_or_fails_is_told() {
    let mut user = User::new();
    let bin = user.home().join("bin");
    std::fs::create_dir_all(&bin).expect("a folder for programs");
    user.set("PATH", bin.display().to_string());
    let told = user.fails("kubectl-kplane", &["up", "--provider", "kind"]);
    assert!(told.contains("kind is not on the PATH") && told.contains("hint:"), "{told}");
    let script = "#!/bin/sh\necho 'ERROR: no space left on device' >&2\nexit 1\n";
    std::fs::write(bin.join("kind"), script).expect("a program");
    std::fs::set_permissions(bin.join("kind"), std::fs::Permissions::from_mode(0o755))
        .expect("it can be run");
    user.set("PATH", format!("{}:/usr/bin:/bin", bin.display()));
    let told = user.fails("kubectl-kplane", &["up", "--provider", "kind"]);
    assert!(told.contains("no space left on device"), "{told}");
    let doctor = user.run("kubectl-kplane", &["doctor", "--quiet"]);
    assert!(!doctor.success, "{}", doctor.stdout);
}

#[test]
fn doctor_names_what_is_wrong_and_what_to_do() {
    let mut user = User::new();
    let bin = user.home().join("bin");
    std::fs::create_dir_all(&bin).expect("a folder for programs");
    user.set("PATH", format!("{}:{}", bin.display(), std::env::var("PATH").unwrap_or_default()));
    user.set("KPLANE_PROVIDER", "kind");
    let kind = |version: &str| {
        let script =
            format!("#!/bin/sh\ncase $1 in version) echo 'kind {version} go1.24.6 linux/amd64' ;; esac\n");
        std::fs::write(bin.join("kind"), script).expect("a program");
        std::fs::set_permissions(bin.join("kind"), std::fs::Permissions::from_mode(0o755))
            .expect("it can be run");
    };
    kind("v0.10.0");
    let socket = user.home().join("engine");
    user.set("DOCKER_HOST", format!("unix://{}", socket.display()));
    let told = user.run("kubectl-kplane", &["doctor"]);
    assert!(!told.success);
    for part in [
        "[failed] kind: kind is too old",
        "install 0.20 or later",
        "[failed] container engine",
        "start Docker",
    ] {
        assert!(told.stdout.contains(part), "{part}: {}", told.stdout);
    }

    // With both mended, what is left is that there is no cluster yet.
    kind("v0.30.0");
    let engine = std::os::unix::net::UnixListener::bind(&socket).expect("a socket");
    let told = thread::scope(|scope| {
        scope.spawn(|| {
            use std::io::{Read, Write};
            let (mut client, _) = engine.accept().expect("a client");
            let _ = client.read(&mut [0; 128]).expect("a request");
            client.write_all(b"HTTP/1.0 200 OK\r\n\r\nOK").expect("an answer");
        });
        user.run("kubectl-kplane", &["doctor"])
    });
    for part in
        ["[ok] kind: kind v0.30.0", "[ok] container engine: answers", "is not made yet", "[ok] port: "]
    {
        assert!(told.stdout.contains(part), "{part}: {}", told.stdout);
    }

    // Who may not install into a cluster is told what is missing.
    let server = cluster();
    std::fs::create_dir_all(user.kubeconfig().parent().expect("a folder")).expect("its folder");
    let admin = std::fs::read_to_string(server.admin_kubeconfig()).expect("a kubeconfig");
    let mut config: Value = serde_saphyr::from_str(&admin).expect("YAML");
    config["users"][0]["user"]["as"] = "somebody".into();
    std::fs::write(user.kubeconfig(), config.to_string()).expect("a kubeconfig");
    let told = user.run("kubectl-kplane", &["doctor", "--provider=existing"]);
    assert!(!told.success);
    for part in [
        "[failed] permissions",
        "create customresourcedefinitions.apiextensions.k8s.io",
        "cluster administrator",
    ] {
        assert!(told.stdout.contains(part), "{part}: {}", told.stdout);
    }
}
