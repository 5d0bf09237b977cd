//! Every kind of ours in its states, as the controllers leave them, read by Argo CD's Lua and by kstatus's rules.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::{Command, Stdio};

use kplane_tests::{User, eventually};
use serde_json::{Value, json};

use super::{PATIENCE, checkout, condition, reason, settled};

/// The scripts that `config/argocd` gives to Argo CD, by kind.
fn scripts() -> BTreeMap<String, String> {
    let text = std::fs::read_to_string(checkout("config/argocd/argocd-cm.yaml")).expect("the settings");
    let settings: Value = serde_saphyr::from_str(&text).expect("YAML");
    let all = settings["data"].as_object().expect("data").iter();
    all.map(|(key, script)| {
        let key = key.strip_prefix("resource.customizations.health.").expect("a health check");
        let (group, kind) = key.split_once('_').expect("a group and a kind");
        assert!(group.ends_with(".kplane.dev"), "{key}");
        (kind.to_owned(), script.as_str().expect("a script").to_owned())
    })
    .collect()
}

/// What Argo CD says of these objects: one of its words, and a message.
fn argo_cd(objects: &[Value]) -> Vec<(String, String)> {
    let scripts = scripts();
    let cases: Vec<Value> = objects
        .iter()
        .map(|object| {
            let kind = object["kind"].as_str().expect("a kind");
            json!({ "object": object, "script": scripts.get(kind).expect(kind) })
        })
        .collect();
    let python = checkout("target/python/bin/python");
    assert!(python.exists(), "{} is missing: hack/setup installs it", python.display());
    let mut child = Command::new(python)
        .arg(checkout("tests/tests/delivery/health.py"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("Python");
    let input = serde_json::to_vec(&cases).expect("JSON");
    child.stdin.take().expect("its input").write_all(&input).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "the Lua failed");
    let answers: Vec<Value> = serde_json::from_slice(&output.stdout).expect("JSON");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    answers.iter().map(|answer| (text(&answer["status"]), text(&answer["message"]))).collect()
}

/// What kstatus says of an object that has conditions: its rules for kinds that it does not know.
fn kstatus(object: &Value) -> &'static str {
    if !object["metadata"]["deletionTimestamp"].is_null() {
        return "Terminating";
    }
    let observed = &object["status"]["observedGeneration"];
    let behind = !observed.is_null() && *observed != object["metadata"]["generation"];
    if behind || condition(object, "Reconciling")["status"] == "True" {
        return "InProgress";
    }
    if condition(object, "Stalled")["status"] == "True" {
        return "Failed";
    }
    let ready = condition(object, "Ready");
    if !ready.is_null() && ready["status"] != "True" { "InProgress" } else { "Current" }
}

const GROUP: &str = "apiVersion: controlplane.kplane.dev/v1alpha1";

/// Objects that are not as they should be, with what Argo CD says of them and for which reason.
const TROUBLED: &[(&str, &str, &str, &str, &str)] = &[
    ("ControlPlane", "classless", "{classRef: {name: nobody}}", "ClassNotFound", "Degraded"),
    ("ControlPlane", "waiting", "{endpointRef: {name: nobody}}", "EndpointNotFound", "Progressing"),
    (
        "ControlPlane",
        "homeless",
        "{exports: {argoCD: {namespace: nowhere}}}",
        "NamespaceNotFound",
        "Degraded",
    ),
    ("ControlPlaneClass", "broken", "{addons: [nobody]}", "AddonNotFound", "Degraded"),
    ("ControlPlaneEndpoint", "pending", "{}", "EndpointPending", "Progressing"),
    ("ControlPlaneRegistration", "of-nothing", "{}", "ControlPlaneRefMissing", "Degraded"),
    (
        "ControlPlaneRegistration",
        "early",
        "{controlPlaneRef: {name: nobody}}",
        "ControlPlaneNotFound",
        "Progressing",
    ),
    (
        "ControlPlaneCredential",
        "early",
        "{controlPlaneRef: {name: nobody}}",
        "ControlPlaneNotFound",
        "Progressing",
    ),
    (
        "ControlPlaneCredential",
        "blocked",
        "{controlPlaneRef: {name: demo}, secretRef: {namespace: default, name: theirs}}",
        "NotOurs",
        "Degraded",
    ),
];

#[test]
fn argo_cd_and_kstatus_read_every_kind_in_every_state() {
    let user = User::up();
    let kubectl = user.management();
    kubectl.ok(&["create", "secret", "generic", "theirs"]);
    kubectl.ok(&["apply", "-f", &checkout("config/samples").display().to_string()]);
    // What no controller has seen yet is as the schema makes it.
    let mut cases = Vec::new();
    for (kind, name, spec, _, _) in TROUBLED {
        let manifest = format!("{GROUP}\nkind: {kind}\nmetadata: {{name: {name}}}\nspec: {spec}\n");
        let created = kubectl.run_with(&["create", "-f", "-", "-o", "json"], &manifest);
        assert!(created.success, "{}", created.stderr);
        let created: Value = serde_json::from_str(&created.stdout).expect("JSON");
        assert_eq!(created["status"]["observedGeneration"], -1, "{kind}");
        cases.push((created, "InProgress", "Progressing"));
    }
    for (kind, name, _, why, health) in TROUBLED {
        let object = settled(&kubectl, &format!("{kind}/{name}"), why);
        let kstatus = if *health == "Degraded" { "Failed" } else { "InProgress" };
        cases.push((object, kstatus, health));
    }
    let ready = [
        ("ControlPlane/demo", "Reconciled"),
        ("ControlPlaneClass/starter", "Reconciled"),
        ("ControlPlaneEndpoint/demo-proxy", "Resolved"),
        ("ControlPlaneRegistration/demo-controllers", "Resolved"),
        ("ControlPlaneCredential/demo-viewer", "Reconciled"),
        ("ManagementPlane/default", "Reconciled"),
    ];
    for (what, why) in ready {
        cases.push((settled(&kubectl, what, why), "Current", "Healthy"));
    }
    cases.push((kubectl.json(&["get", "virtualcluster/demo"]), "Current", "Healthy"));
    let healthy = cases.iter().filter(|case| case.2 == "Healthy");
    let kinds: Vec<&str> = healthy.map(|(object, _, _)| object["kind"].as_str().expect("a kind")).collect();
    assert!(scripts().keys().all(|kind| kinds.contains(&kind.as_str())), "a kind without a case: {kinds:?}");

    // On the way out: held by somebody else's finalizer, refused, and kept.
    let hold = r#"{"metadata":{"finalizers":["test.kplane.dev/hold"]}}"#;
    kubectl.ok(&["patch", "controlplane", "waiting", "--type=merge", "-p", hold]);
    kubectl.ok(&["delete", "controlplane", "waiting", "--wait=false"]);
    cases.push((kubectl.json(&["get", "controlplane/waiting"]), "Terminating", "Progressing"));
    kubectl.ok(&["delete", "managementplane", "default", "--wait=false"]);
    cases.push((
        settled(&kubectl, "managementplane/default", "ControlPlanesLeft"),
        "Terminating",
        "Degraded",
    ));
    kubectl.ok(&["delete", "controlplane", "demo", "--timeout=30s"]);
    eventually("the record is kept", PATIENCE, || {
        kubectl.json(&["get", "virtualcluster/demo"])["status"]["phase"] == "Detached"
    });
    cases.push((kubectl.json(&["get", "virtualcluster/demo"]), "Current", "Suspended"));

    let objects: Vec<Value> = cases.iter().map(|(object, _, _)| object.clone()).collect();
    for ((object, by_kstatus, by_argo_cd), (health, message)) in cases.iter().zip(argo_cd(&objects)) {
        let what = format!("{}/{}: {message}", object["kind"], object["metadata"]["name"]);
        assert_eq!(health, *by_argo_cd, "{what}");
        assert_eq!(kstatus(object), *by_kstatus, "{what}");
        let why = reason(object);
        assert!(!message.is_empty() && (health == "Healthy" || message.contains(why)), "{what}");
    }
}

#[test]
fn the_settings_are_added_to_those_of_argo_cd() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect("a file");
    write(
        "argocd-cm.yaml",
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: argocd-cm, namespace: argocd}\ndata: {url: https://argo.example.test}\n",
    );
    // kustomize takes no path from the root of the machine.
    let component = std::fs::canonicalize(checkout("config/argocd")).expect("the component");
    std::os::unix::fs::symlink(component, folder.path().join("kplane")).expect("a link");
    write(
        "kustomization.yaml",
        "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources: [argocd-cm.yaml]\ncomponents: [kplane]\n",
    );
    let output = Command::new("kubectl").arg("kustomize").arg(folder.path()).output().expect("kubectl");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let built: Value = serde_saphyr::from_str(&String::from_utf8_lossy(&output.stdout)).expect("YAML");
    assert_eq!(built["data"]["url"], "https://argo.example.test");
    assert_eq!(built["data"].as_object().map(|data| data.len()), Some(scripts().len() + 1));
}
