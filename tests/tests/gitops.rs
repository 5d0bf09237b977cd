//! Manifests alone, applied by kubectl as a GitOps tool would: no plugin has a part in it but `up`.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use kplane_tests::{Kubectl, Server, Store, User, eventually, program};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(30);

fn samples() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../config/samples")
}

fn condition(object: &Value, name: &str) -> String {
    let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let found = conditions.iter().find(|condition| condition["type"] == name);
    let text = |key: &str| found.and_then(|c| c[key].as_str()).unwrap_or_default().to_owned();
    format!("{} {}", text("status"), text("reason"))
}

/// The kubeconfig in a Secret, as a kubectl.
fn kubeconfig_of(user: &User, secret: &str, name: &str) -> Kubectl {
    let template = "go-template={{index .data \"kubeconfig-external\" | base64decode}}";
    let text = user.management().ok(&["-n", "kplane-cp-demo", "get", "secret", secret, "-o", template]);
    let path = user.kubeconfig().with_file_name(name);
    std::fs::write(&path, text).expect("a kubeconfig");
    Kubectl::new(&path)
}

#[test]
fn the_samples_alone_make_a_control_plane() {
    let user = User::up();
    let kubectl = user.management();
    let samples = samples().display().to_string();
    let told = kubectl.ok(&["apply", "-f", &samples]);
    assert!(told.lines().all(|line| line.ends_with(" created")), "{told}");
    kubectl.ok(&["wait", "--for=condition=Ready", "controlplane/demo", "--timeout=30s"]);
    let demo = kubeconfig_of(&user, "controlplane-demo-kubeconfig", "demo");
    demo.ok(&["get", "ns", "kube-system"]);
    demo.ok(&["create", "configmap", "mine"]);
    kubectl.ok(&["wait", "--for=condition=Ready", "controlplanecredential/demo-viewer", "--timeout=30s"]);
    let viewer = kubeconfig_of(&user, "demo-viewer-kubeconfig", "viewer");
    viewer.ok(&["get", "configmap", "mine"]);
    assert!(viewer.fails(&["delete", "configmap", "mine"]).contains("Forbidden"));

    // A tool applies again and again.
    let told = kubectl.ok(&["apply", "-f", &samples]);
    assert!(told.lines().all(|line| line.ends_with(" unchanged")), "{told}");
    // What it waits for, by kstatus's rules.
    let object = kubectl.json(&["get", "controlplane", "demo"]);
    assert_eq!(object["status"]["observedGeneration"], object["metadata"]["generation"]);
    let events = kubectl.ok(&["get", "events", "-A"]);
    assert!(events.contains("Ready"), "{events}");

    // Drift is repaired.
    let secret = ["-n", "kplane-cp-demo", "get", "secret", "controlplane-demo-kubeconfig"];
    let uid = |arguments: &[&str]| {
        let output = kubectl.run(&[arguments, &["-o", "jsonpath={.metadata.uid}"]].concat());
        output.success.then_some(output.stdout)
    };
    let before = uid(&secret);
    kubectl.ok(&["-n", "kplane-cp-demo", "delete", "secret", "controlplane-demo-kubeconfig"]);
    eventually("the Secret is back", PATIENCE, || uid(&secret).is_some_and(|now| Some(now) != before));
    eventually("its credentials work", PATIENCE, || {
        kubeconfig_of(&user, "controlplane-demo-kubeconfig", "again").run(&["get", "ns"]).success
    });
    let endpoint = ["get", "controlplaneendpoint", "demo"];
    let before = uid(&endpoint);
    kubectl.ok(&["delete", "controlplaneendpoint", "demo"]);
    eventually("the endpoint is back", PATIENCE, || uid(&endpoint).is_some_and(|now| Some(now) != before));

    // Deleting cleans up; the data is kept, as the class says.
    kubectl.ok(&["delete", "-f", &samples, "--timeout=60s"]);
    for gone in [&["get", "ns", "kplane-cp-demo"][..], &endpoint, &["get", "controlplane", "demo"]] {
        eventually("nothing is left of it", PATIENCE, || !kubectl.run(gone).success);
    }
    assert_eq!(kubectl.json(&["get", "virtualcluster", "demo"])["spec"]["detached"], true);
    assert!(!demo.run(&["get", "ns"]).success);
    assert!(!viewer.run(&["get", "configmap", "mine"]).success);
}

#[test]
fn a_path_has_one_owner() {
    let user = User::up();
    let kubectl = user.management();
    let claim = |name: &str| {
        format!(
            "apiVersion: controlplane.kplane.dev/v1alpha1\nkind: ControlPlane\nmetadata: {{name: {name}}}\nspec: {{deletionPolicy: Destroy, virtual: {{clusterPath: shared}}}}\n"
        )
    };
    kubectl.apply(&claim("one"));
    kubectl.ok(&["wait", "--for=condition=Ready", "controlplane/one", "--timeout=30s"]);
    kubectl.apply(&claim("two"));
    eventually("the second is refused", PATIENCE, || {
        condition(&kubectl.json(&["get", "controlplane", "two"]), "Accepted") == "False PathTaken"
    });
    assert!(condition(&kubectl.json(&["get", "controlplane", "two"]), "Ready").starts_with("False "));
    let patch = r#"{"spec":{"virtual":{"clusterPath":"another"}}}"#;
    let told = kubectl.fails(&["patch", "controlplane", "one", "--type=merge", "-p", patch]);
    assert!(told.contains("immutable"), "{told}");
    let told = kubectl.run_with(&["create", "-f", "-"], &claim("three").replace("shared", "root"));
    assert!(!told.success && told.stderr.contains("reserved"), "{}", told.stderr);
    // The loser takes nothing with it.
    kubectl.ok(&["delete", "controlplane", "two", "--timeout=30s"]);
    kubectl.ok(&["get", "virtualcluster", "shared"]);
    kubectl.ok(&["delete", "controlplane", "one", "--timeout=30s"]);
    eventually("the data is gone", PATIENCE, || !kubectl.run(&["get", "virtualcluster", "shared"]).success);
}

/// The controllers in a process of their own.
struct Controllers(Child, PathBuf);

impl Controllers {
    fn run(server: &Server) -> Self {
        let path = server.folder().join("controllers.log");
        let log = std::fs::File::create(&path).expect("a log");
        let child = Command::new(program("kplane-controllers"))
            .args(["run", "--controllers=management"])
            .env("KUBECONFIG", server.admin_kubeconfig())
            .env("HOME", server.folder())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("kplane-controllers starts");
        Self(child, path)
    }
}

impl Drop for Controllers {
    fn drop(&mut self) {
        // One that has ended needs no killing.
        let _ = self.0.kill();
        let _ = self.0.wait();
        if std::thread::panicking() {
            eprintln!("--- log of the controllers\n{}", std::fs::read_to_string(&self.1).unwrap_or_default());
        }
    }
}

#[test]
fn a_deployed_plane_is_built_and_says_what_it_lacks() {
    // What the controllers of workloads would say of their pods, the test says.
    let server = Server::start_with(Store::Embedded, &["--tenant-controllers=false"]);
    let kubectl = server.root();
    let _controllers = Controllers::run(&server);
    let definition = "crd/managementplanes.controlplane.kplane.dev";
    eventually("the definitions are installed", PATIENCE, || {
        kubectl.run(&["wait", "--for=condition=Established", definition, "--timeout=1s"]).success
    });
    let sample = samples().join("managementplane/deployed.yaml").display().to_string();
    // The port of the nodes that the plane is to have is another's.
    kubectl.apply(
        "apiVersion: v1\nkind: Service\nmetadata: {name: other, namespace: default}\nspec: {type: NodePort, ports: [{port: 80, nodePort: 30443}]}\n",
    );
    kubectl.ok(&["apply", "-f", &sample]);
    let plane = || kubectl.json(&["get", "managementplane", "default"]);
    eventually("it says that the port is taken", PATIENCE, || {
        condition(&plane(), "Ready") == "False PortTaken"
    });
    let told = plane().to_string();
    assert!(told.contains("set spec.exposure.nodePort to another"), "{told}");
    // All else is made meanwhile.
    kubectl.ok(&["-n", "kplane-system", "get", "statefulset/kplane-etcd", "deployment/kplane-apiserver"]);
    kubectl.ok(&["delete", "service", "other"]);
    let of = |kind: &'static str| {
        let kubectl = kubectl.clone();
        move || kubectl.run(&["-n", "kplane-system", "get", kind, "-o", "name"]).stdout
    };
    for (kind, names) in [
        ("service", &["kplane-etcd", "kplane-apiserver"][..]),
        ("configmap", &["kplane-etcd"]),
        ("statefulset", &["kplane-etcd"]),
        ("deployment", &["kplane-apiserver"]),
        ("secret", &["kplane-apiserver-pki", "kplane-apiserver-tls"]),
        ("secret", &["kplane-etcd-ca", "kplane-etcd-tls", "kplane-etcd-client"]),
        ("networkpolicy", &["kplane-etcd", "kplane-apiserver"]),
        ("poddisruptionbudget", &["kplane-etcd", "kplane-apiserver"]),
    ] {
        let names = names.iter().map(|name| format!("/{name}\n"));
        for name in names {
            eventually(&format!("{kind}{name}"), PATIENCE, || of(kind)().contains(&name));
        }
    }
    eventually("it waits for etcd", PATIENCE, || condition(&plane(), "Ready") == "False StorePending");
    assert_eq!(condition(&plane(), "CertificatesReady"), "True Reconciled");

    // What keeps a pod from running is said in the cluster's own words.
    let pod = r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"kplane-etcd-0","namespace":"kplane-system",
        "labels":{"app.kubernetes.io/part-of":"kplane"}},"spec":{"containers":[{"name":"etcd","image":"x",
        "securityContext":{"allowPrivilegeEscalation":false,"capabilities":{"drop":["ALL"]}}}],
        "securityContext":{"runAsNonRoot":true,"seccompProfile":{"type":"RuntimeDefault"}}}}"#;
    kubectl.ok(&["-n", "kplane-system", "create", "serviceaccount", "default"]);
    kubectl.apply(pod);
    let waiting = r#"{"status":{"containerStatuses":[{"name":"etcd","image":"x","imageID":"","ready":false,"restartCount":0,
        "state":{"waiting":{"reason":"ImagePullBackOff","message":"no such image"}}}]}}"#;
    let of_pod = [
        "-n",
        "kplane-system",
        "patch",
        "pod",
        "kplane-etcd-0",
        "--subresource=status",
        "--type=merge",
        "-p",
    ];
    kubectl.ok(&[&of_pod[..], &[waiting]].concat());
    eventually("it says that an image cannot be had", PATIENCE, || {
        condition(&plane(), "Ready") == "False ImageUnavailable"
    });
    kubectl.ok(&["-n", "kplane-system", "delete", "pod", "kplane-etcd-0", "--force", "--grace-period=0"]);

    // The pods' part, played.
    let report = |kind: &str, name: &str, ready: u32| {
        let patch = format!(
            r#"{{"status":{{"replicas":{ready},"readyReplicas":{ready},"availableReplicas":{ready},"updatedReplicas":{ready}}}}}"#
        );
        let arguments = [
            "-n",
            "kplane-system",
            "patch",
            kind,
            name,
            "--subresource=status",
            "--type=merge",
            "-p",
            &patch,
        ];
        kubectl.ok(&arguments);
    };
    report("statefulset", "kplane-etcd", 3);
    eventually("it waits for the server", PATIENCE, || {
        condition(&plane(), "Ready") == "False ApiserverPending"
    });
    report("deployment", "kplane-apiserver", 2);
    eventually("it is ready", PATIENCE, || condition(&plane(), "Ready").starts_with("True"));
    assert_eq!(plane()["status"]["endpoint"], "https://127.0.0.1:8443");
    assert_eq!(plane()["status"]["topology"], "Deployed");

    the_server_accepts_what_its_pod_is_given(&kubectl);

    // It does not go while a control plane would lose its server, and then it does.
    kubectl
        .apply("apiVersion: controlplane.kplane.dev/v1alpha1\nkind: ControlPlane\nmetadata: {name: held}\nspec: {}\n");
    kubectl.ok(&["delete", "managementplane", "default", "--wait=false"]);
    eventually("its end is refused", PATIENCE, || condition(&plane(), "Ready") == "False ControlPlanesLeft");
    kubectl.ok(&["annotate", "managementplane", "default", "controlplane.kplane.dev/force-delete=true"]);
    eventually("it is gone", PATIENCE, || !kubectl.run(&["get", "managementplane", "default"]).success);
    // The keys without which nobody could read the data stay.
    kubectl.ok(&["-n", "kplane-system", "get", "secret", "kplane-apiserver-pki", "kplane-etcd-ca"]);
}

/// Runs the server with the keys where the pod has them, and looks whether it knows the flags.
fn the_server_accepts_what_its_pod_is_given(kubectl: &Kubectl) {
    let deployment = kubectl.json(&["-n", "kplane-system", "get", "deployment", "kplane-apiserver"]);
    let container = &deployment["spec"]["template"]["spec"]["containers"][0];
    let help = Command::new(program("kplane-apiserver")).arg("--help").output().expect("its help");
    let help = String::from_utf8_lossy(&help.stdout).into_owned();
    let arguments = container["args"].as_array().expect("arguments");
    let arguments: Vec<&str> = arguments.iter().filter_map(Value::as_str).collect();
    for argument in &arguments {
        let flag = argument.split('=').next().expect("a flag");
        assert!(help.contains(&format!("{flag} ")), "kplane-apiserver knows no {flag}");
    }
    let data_dir = arguments.iter().find_map(|argument| argument.strip_prefix("--data-dir="));
    let data_dir = data_dir.expect("a data directory");
    let mounts = container["volumeMounts"].as_array().expect("mounts");
    let mut authority = String::new();
    let server = Server::start_prepared(Store::Embedded, &[], |data| {
        for mount in mounts.iter().filter(|mount| mount["name"] == "pki") {
            let (path, key) = (mount["mountPath"].as_str().expect("a path"), mount["subPath"].as_str());
            let key = key.expect("a file of the Secret");
            let template = format!("go-template={{{{index .data {key:?} | base64decode}}}}");
            let text = kubectl.ok(&[
                "-n",
                "kplane-system",
                "get",
                "secret",
                "kplane-apiserver-pki",
                "-o",
                &template,
            ]);
            let relative = path.strip_prefix(data_dir).expect("a path in the data directory");
            let file = data.join(relative.trim_start_matches('/'));
            std::fs::create_dir_all(file.parent().expect("its folder")).expect("its folder");
            std::fs::write(&file, &text).expect("a key");
            if key == "ca.crt" {
                authority = text;
            }
        }
    });
    let bundle = kubectl.json(&["get", "managementplane", "default"])["status"]["caBundle"].clone();
    assert_eq!(bundle.as_str().map(str::trim), Some(authority.trim()));
    // What the plane says is the authority is the one that this server shows itself by.
    let answer = Command::new("curl")
        .args(["-s", "-o", "/dev/null", "-w", "%{http_code}", "--cacert"])
        .arg({
            let file = server.folder().join("bundle.crt");
            std::fs::write(&file, authority).expect("a bundle");
            file
        })
        .arg(format!("https://127.0.0.1:{}/readyz", server.port()))
        .output()
        .expect("curl is on PATH");
    assert_eq!(String::from_utf8_lossy(&answer.stdout), "200", "another authority is in use");
}
