//! Add-ons: objects that all control planes of a class have, without a copy of their own.

use std::time::Duration;

use kplane_tests::{Kubectl, Server, Store, User, eventually};

const ADDON: &str = r#"
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: owls.birds.test}
spec:
  group: birds.test
  scope: Namespaced
  names: {plural: owls, kind: Owl}
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, properties: {spec: {type: object, properties: {size: {type: integer, default: 3}}}}}}
---
apiVersion: v1
kind: Namespace
metadata: {name: owls}
---
apiVersion: birds.test/v1
kind: Owl
metadata: {name: hoot, namespace: owls}
spec: {}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: greeting, namespace: owls}
data: {text: "I am {{kplane.name}}"}
"#;

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("    {line}\n")).collect()
}

fn layer(kubectl: &Kubectl, manifests: &str) -> Result<String, String> {
    let manifest = format!(
        "apiVersion: tenancy.kplane.dev/v1alpha1\nkind: Layer\nmetadata: {{name: test}}\nspec:\n  manifests:\n  - |\n{}",
        indented(manifests)
    );
    let output = kubectl.run_with(&["create", "-f", "-", "-o", "jsonpath={.status.hash}"], &manifest);
    if output.success { Ok(output.stdout) } else { Err(output.stderr) }
}

#[test]
fn a_layer_is_validated_shared_and_given_up() {
    let server = Server::start(Store::Embedded);
    let root = server.root();
    let error = layer(&root, "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: nowhere}\n---\napiVersion: v1\nkind: Pod\nmetadata: {name: p}\n---\napiVersion: x.test/v1\nkind: Thing\nmetadata: {name: t}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: b}\nnope: 1\n")
        .unwrap_err();
    for wanted in [
        "the namespace nowhere is neither in the manifests nor in every control plane",
        "\"Pod p\": pods are made in a control plane, not inherited",
        "\"Thing t\": x.test/v1: there is no such kind",
        "unknown field \"nope\"",
    ] {
        assert!(error.contains(wanted), "{wanted:?} is not in:\n{error}");
    }
    let error =
        layer(&root, "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {a: '{{kplane.nope}}'}\n")
            .unwrap_err();
    assert!(error.contains("there is no value for the placeholder {{kplane.nope}}"), "{error}");

    let hash = layer(&root, ADDON).unwrap();
    assert_eq!(layer(&root, ADDON).unwrap(), hash, "the same manifests are the same layer");
    let vcp = server.create_vcp("nest");
    assert!(vcp.fails(&["get", "owls", "-A"]).contains("doesn't have a resource type"));
    // A control plane has no layers of its own to give.
    assert!(layer(&vcp, ADDON).unwrap_err().contains("no matches for kind \"Layer\""));
    let name_it = |hash: &str| format!("{{\"spec\": {{\"layers\": [\"{hash}\"]}}}}");
    let stderr =
        root.fails(&["patch", "virtualcluster", "nest", "--type=merge", "-p", &name_it(&"0".repeat(64))]);
    assert!(
        stderr.contains("spec.layers[0]: Invalid value") && stderr.contains("there is no such layer"),
        "{stderr}"
    );

    root.ok(&["patch", "virtualcluster", "nest", "--type=merge", "-p", &name_it(&hash)]);
    // At once, discovery included.
    assert_eq!(vcp.ok(&["get", "owl", "-n", "owls", "hoot", "-o", "jsonpath={.spec.size}"]), "3");
    assert_eq!(vcp.ok(&["get", "cm", "-n", "owls", "greeting", "-o", "jsonpath={.data.text}"]), "I am nest");
    vcp.ok(&["get", "sa", "-n", "owls", "default"]);
    vcp.ok(&["wait", "--for=condition=Established", "crd/owls.birds.test", "--timeout=5s"]);
    // What is changed is the control plane's own, and what is deleted is gone.
    vcp.ok(&["patch", "owl", "-n", "owls", "hoot", "--type=merge", "-p", r#"{"spec": {"size": 4}}"#]);
    vcp.ok(&["delete", "cm", "-n", "owls", "greeting"]);
    // A newer layer shows beneath.
    let newer = layer(&root, &ADDON.replace("{name: hoot,", "{name: screech,")).unwrap();
    root.ok(&["patch", "virtualcluster", "nest", "--type=merge", "-p", &name_it(&newer)]);
    let names = vcp.ok(&["get", "owls", "-n", "owls", "-o", "jsonpath={.items[*].metadata.name}"]);
    assert_eq!(names, "hoot screech", "its own stays, the new one is there");
    assert!(vcp.fails(&["get", "cm", "-n", "owls", "greeting"]).contains("not found"));
    root.ok(&["patch", "virtualcluster", "nest", "--type=merge", "-p", r#"{"spec": {"layers": []}}"#]);
    // kubectl may still know the kind; the server does not.
    vcp.fails(&["get", "owls", "-A"]);
}

#[test]
fn layers_that_nobody_names_go_after_a_while() {
    let server = Server::start_with(Store::Embedded, &["--layer-grace-period=3s"]);
    let root = server.root();
    let vcp = server.create_vcp("nest");
    server.create_vcp("other");
    let hash = layer(&root, ADDON).unwrap();
    let named = format!("\"{hash}\"");
    let patch = |vcp: &str, layers: &str, more: &[&str]| {
        let patch = format!("{{\"spec\": {{\"layers\": [{layers}]}}}}");
        let mut arguments = vec!["patch", "virtualcluster", vcp, "--type=merge", "-p", &patch];
        arguments.extend(more);
        root.run(&arguments).success
    };
    // A dry run names nothing, and so keeps nothing.
    let is_there = |layers: &str| patch("other", layers, &["--dry-run=server"]);
    // On a busy machine it may have gone before it is named: uploading it again keeps it.
    let name_it = || {
        eventually("the layer is named", Duration::from_secs(60), || {
            layer(&root, ADDON).unwrap() == hash && patch("nest", &named, &[])
        });
    };
    name_it();
    let unused = layer(&root, &ADDON.replace("I am", "Unused by")).unwrap();
    let unused = format!("\"{unused}\"");
    eventually("the layer goes", Duration::from_secs(60), || !is_there(&unused));
    assert!(is_there(&named), "one that is named stays");
    assert_eq!(vcp.ok(&["get", "cm", "-n", "owls", "greeting", "-o", "jsonpath={.data.text}"]), "I am nest");
    assert!(patch("nest", "", &[]));
    eventually("it goes, too", Duration::from_secs(60), || !is_there(&named));
    // Uploaded again it is there again.
    name_it();
    vcp.ok(&["get", "owl", "-n", "owls", "hoot"]);
}

#[test]
fn control_planes_of_a_class_have_its_addons() {
    let user = User::up();
    let management = user.management();
    let names: Vec<String> = (0..10).map(|i| format!("bird-{i}")).collect();
    let mut manifests = "apiVersion: v1\nkind: Namespace\nmetadata: {name: kplane-system}\n---\napiVersion: controlplane.kplane.dev/v1alpha1\nkind: ControlPlaneClass\nmetadata: {name: birds}\nspec: {addons: [owls]}\n".to_owned();
    for name in &names {
        manifests.push_str(&format!(
            "---\napiVersion: controlplane.kplane.dev/v1alpha1\nkind: ControlPlane\nmetadata: {{name: {name}}}\nspec: {{classRef: {{name: birds}}, deletionPolicy: Destroy}}\n"
        ));
    }
    management.apply(&manifests);
    let wait = |what: &str, object: &str| {
        management.ok(&["wait", &format!("--for={what}"), object, "--timeout=60s"])
    };
    // Both say what is wrong.
    wait(
        "jsonpath={.status.conditions[?(@.type=='AddonsReady')].reason}=AddonNotFound",
        "controlplaneclass/birds",
    );
    wait("jsonpath={.status.conditions[?(@.type=='Ready')].reason}=AddonsPending", "controlplane/bird-0");
    let config_map = |addon: &str| {
        format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: owls, namespace: kplane-system}}\ndata:\n  owls.yaml: |\n{}",
            indented(addon)
        )
    };
    management.apply(&config_map(&ADDON.replace("type: integer", "type: nothing")));
    wait(
        "jsonpath={.status.conditions[?(@.type=='AddonsReady')].reason}=AddonInvalid",
        "controlplaneclass/birds",
    );
    management.apply(&config_map(ADDON));
    wait("condition=AddonsReady", "controlplaneclass/birds");
    for name in &names {
        wait("condition=Ready", &format!("controlplane/{name}"));
    }
    let vcp = |name: &str| {
        management.clone().server(format!("https://127.0.0.1:{}/clusters/{name}/control-plane", user.port()))
    };
    for name in &names {
        let text = vcp(name).ok(&["get", "cm", "-n", "owls", "greeting", "-o", "jsonpath={.data.text}"]);
        assert_eq!(text, format!("I am {name}"));
    }
    vcp("bird-3").ok(&["get", "owls", "-n", "owls", "hoot"]);
    // A change reaches those that are there.
    management.apply(&config_map(&ADDON.replace("I am", "This is")));
    for name in &names {
        eventually("the change arrives", Duration::from_secs(60), || {
            let text = vcp(name).ok(&["get", "cm", "-n", "owls", "greeting", "-o", "jsonpath={.data.text}"]);
            text == format!("This is {name}")
        });
    }
    management.ok(&[
        "patch",
        "controlplaneclass",
        "birds",
        "--type=merge",
        "-p",
        r#"{"spec": {"addons": []}}"#,
    ]);
    eventually("the add-on goes", Duration::from_secs(60), || {
        !vcp("bird-9").run(&["get", "owls", "-A"]).success
    });
    wait("condition=Ready", "controlplane/bird-9");
}
