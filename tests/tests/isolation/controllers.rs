//! Weakness 16: the controllers could read and write all Secrets of the management cluster. Here whoever has their token
//! tries to, while they do their work with it.

use std::time::Duration;

use kplane_tests::plane_processes::{NAMESPACE, kubeconfig_of_controllers};
use kplane_tests::{Client, Plane, eventually};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(60);
const GROUP: &str = "/apis/controlplane.kplane.dev/v1alpha1";
const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";
const POLICIES: &str = "/apis/admissionregistration.k8s.io/v1";
/// What the stranger's Secret holds, and what nobody may see.
const TREASURE: &str = "dGhlIHN0cmFuZ2VyJ3MgdHJlYXN1cmU=";

fn secrets(namespace: &str) -> String {
    format!("/api/v1/namespaces/{namespace}/secrets")
}

fn condition(client: &Client, path: &str, name: &str) -> String {
    let object = client.get(path).body;
    let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let found = conditions.iter().find(|condition| condition["type"] == name).cloned().unwrap_or_default();
    format!("{} {}", found["status"], found["reason"]).replace('"', "")
}

/// What the controllers' own objects look like; what is put over it makes it another's.
fn ours(name: &str, more: &Value) -> Value {
    let mut object = json!({
        "metadata": {
            "name": name,
            "labels": { "controlplane.kplane.dev/name": "owl" },
            "ownerReferences": [{
                "apiVersion": "controlplane.kplane.dev/v1alpha1", "kind": "ControlPlane", "name": "owl", "uid": "1",
                "controller": true,
            }],
        },
    });
    merge(&mut object, more);
    object
}

fn merge(into: &mut Value, from: &Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            from.iter().for_each(|(key, value)| merge(into.entry(key.clone()).or_insert(Value::Null), value));
        }
        (into, from) => *into = from.clone(),
    }
}

/// A Deployment of the plane whose pods are like this.
fn deployment(pod: &Value) -> Value {
    let labels = json!({ "app": "thief" });
    let mut spec = json!({
        "automountServiceAccountToken": false,
        "securityContext": { "runAsNonRoot": true },
        "containers": [{
            "name": "thief", "image": "thief", "securityContext": { "allowPrivilegeEscalation": false },
        }],
    });
    merge(&mut spec, pod);
    json!({
        "metadata": { "name": "thief" },
        "spec": {
            "replicas": 0, "selector": { "matchLabels": labels },
            "template": { "metadata": { "labels": labels }, "spec": spec },
        },
    })
}

#[test]
fn the_controllers_read_no_secret_but_their_own() {
    let plane = Plane::begin(&json!({ "apiserver": { "replicas": 1 }, "store": { "type": "Embedded" } }));
    let admin = plane.management().client();
    eventually("the plane is ready", PATIENCE, || {
        condition(&admin, &format!("{GROUP}/managementplanes/default"), "Ready") == "True Reconciled"
    });
    for namespace in ["strangers", "argocd", "kplane-cp-taken"] {
        admin.post("/api/v1/namespaces", &json!({ "metadata": { "name": namespace } })).ok();
        let treasure = json!({
            "metadata": { "name": "treasure", "finalizers": ["example.com/kept"] }, "data": { "gold": TREASURE },
        });
        admin.post(&secrets(namespace), &treasure).ok();
    }
    work_is_done(&admin);
    let thief = Client::new(&kubeconfig_of_controllers(plane.management()));
    nothing_is_stolen(&thief);
    nothing_is_gained(&thief);
    for namespace in ["strangers", "argocd", "kplane-cp-taken"] {
        let treasure = admin.get(&format!("{}/treasure", secrets(namespace))).ok();
        assert_eq!(treasure["data"], json!({ "gold": TREASURE }), "{namespace}");
        let there = admin.get(&format!("/api/v1/namespaces/{namespace}")).ok();
        assert!(there["metadata"]["deletionTimestamp"].is_null(), "{there}");
    }
    work_is_undone(&admin);
}

/// All that writes Secrets: a control plane, a credential, copies of both, and a registration that names a stranger's.
fn work_is_done(admin: &Client) {
    let post = |plural: &str, name: &str, spec: Value| {
        let kind =
            json!({ "controlplanes": "ControlPlane", "controlplanecredentials": "ControlPlaneCredential",
            "controlplaneregistrations": "ControlPlaneRegistration" })[plural]
                .clone();
        let object = json!({
            "apiVersion": "controlplane.kplane.dev/v1alpha1", "kind": kind, "metadata": { "name": name }, "spec": spec,
        });
        admin.post(&format!("{GROUP}/{plural}"), &object).ok();
    };
    let owl = format!("{GROUP}/controlplanes/owl");
    post(
        "controlplanes",
        "owl",
        json!({ "deletionPolicy": "Destroy", "exports": { "argoCD": { "namespace": "argocd" } } }),
    );
    // A namespace takes kubeconfigs only when somebody who may say so has said so.
    eventually("the copy is refused", PATIENCE, || {
        condition(admin, &owl, "ExportsReady") == "False NamespaceNotAllowed"
    });
    let told = admin.get(&owl).text;
    assert!(
        told.contains("kubectl label namespace argocd controlplane.kplane.dev/kubeconfigs=allowed"),
        "{told}"
    );
    let label = json!({ "metadata": { "labels": { "controlplane.kplane.dev/kubeconfigs": "allowed" } } });
    admin.merge("/api/v1/namespaces/argocd", &label).ok();
    admin.merge(&owl, &json!({ "metadata": { "annotations": { "look": "again" } } })).ok();
    eventually("the control plane is ready", PATIENCE, || {
        condition(admin, &owl, "Ready") == "True Reconciled"
    });
    admin.get(&format!("{}/kplane-owl", secrets("argocd"))).ok();

    // A Secret of this name is there, and is not theirs: they see that it is, and no more.
    let spec = json!({ "controlPlaneRef": { "name": "owl" }, "role": "view", "duration": "1h",
        "secretRef": { "namespace": "argocd", "name": "treasure" } });
    post("controlplanecredentials", "taken", spec);
    let spec = json!({ "controlPlaneRef": { "name": "owl" }, "role": "view", "duration": "1h" });
    post("controlplanecredentials", "viewer", spec);
    let spec = json!({ "controlPlaneRef": { "name": "owl" },
        "kubeconfigSecretRef": { "namespace": "strangers", "name": "treasure" } });
    post("controlplaneregistrations", "owl", spec);
    for (path, wanted) in [
        ("controlplanecredentials/taken", "False NotOurs"),
        ("controlplanecredentials/viewer", "True Reconciled"),
        ("controlplaneregistrations/owl", "True Resolved"),
    ] {
        let path = format!("{GROUP}/{path}");
        eventually(&path, PATIENCE, || condition(admin, &path, "Ready") == wanted);
    }

    // What is deleted is put back when its object is looked at.
    let kubeconfig = format!("{}/controlplane-owl-kubeconfig", secrets("kplane-cp-owl"));
    admin.delete(&kubeconfig).ok();
    admin.merge(&owl, &json!({ "metadata": { "annotations": { "look": "once more" } } })).ok();
    eventually("the kubeconfig is back", PATIENCE, || admin.get(&kubeconfig).code == 200);
}

/// Every way to what the stranger's Secrets hold.
fn nothing_is_stolen(thief: &Client) {
    let cluster_admin =
        json!({ "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin" });
    let plane_role =
        json!({ "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "kplane-plane" });
    let me = json!([{ "kind": "ServiceAccount", "name": "kplane-controllers", "namespace": NAMESPACE }]);
    let mut tries: Vec<(&str, String, Value)> = vec![
        ("GET", "/api/v1/secrets".into(), Value::Null),
        ("GET", "/api/v1/secrets?watch=1&timeoutSeconds=1".into(), Value::Null),
        ("GET", "/api/v1/secrets?labelSelector=controlplane.kplane.dev%2Fname".into(), Value::Null),
        // Access by another role, or as somebody else.
        (
            "POST",
            format!("{RBAC}/clusterrolebindings"),
            json!({ "metadata": { "name": "t" }, "roleRef": cluster_admin, "subjects": me }),
        ),
        ("PATCH", format!("{RBAC}/clusterroles/kplane-controllers"), json!({ "rules": [] })),
        ("PATCH", format!("{RBAC}/clusterroles/kplane-plane"), json!({ "rules": [] })),
        (
            "POST",
            "/api/v1/namespaces/kube-system/serviceaccounts/default/token".into(),
            json!({ "spec": {} }),
        ),
        ("POST", format!("/api/v1/namespaces/{NAMESPACE}/pods"), json!({ "metadata": { "name": "t" } })),
        // The limits themselves.
        (
            "PATCH",
            format!("{POLICIES}/validatingadmissionpolicies/kplane-controllers-secrets"),
            json!({ "spec": { "failurePolicy": "Ignore" } }),
        ),
        ("DELETE", format!("{POLICIES}/validatingadmissionpolicies/kplane-controllers-secrets"), Value::Null),
        (
            "DELETE",
            format!("{POLICIES}/validatingadmissionpolicybindings/kplane-controllers-secrets"),
            Value::Null,
        ),
        (
            "POST",
            format!("{POLICIES}/validatingwebhookconfigurations"),
            json!({ "metadata": { "name": "t" } }),
        ),
        (
            "POST",
            "/apis/apiextensions.k8s.io/v1/customresourcedefinitions".into(),
            json!({ "metadata": { "name": "ts.thief.dev" } }),
        ),
        ("PATCH", "/apis/apiregistration.k8s.io/v1/apiservices/v1.".into(), json!({ "spec": {} })),
        // A namespace that is to be somebody's.
        ("POST", "/api/v1/namespaces".into(), json!({ "metadata": { "name": "somebodys" } })),
        ("POST", "/api/v1/namespaces".into(), ours("somebodys", &json!({}))),
        ("POST", "/api/v1/namespaces".into(), json!({ "metadata": { "name": "kplane-cp-somebodys" } })),
    ];
    for namespace in ["strangers", "argocd", "kplane-cp-taken", "kube-system"] {
        let (all, one) = (secrets(namespace), format!("{}/treasure", secrets(namespace)));
        let home = format!("/api/v1/namespaces/{namespace}");
        let token = json!({ "type": "kubernetes.io/service-account-token",
            "metadata": { "annotations": { "kubernetes.io/service-account.name": "default" } } });
        let label = json!({ "metadata": { "labels": { "controlplane.kplane.dev/kubeconfigs": "allowed",
            "controlplane.kplane.dev/name": "owl" } } });
        tries.extend([
            ("GET", all.clone(), Value::Null),
            ("DELETE", all.clone(), Value::Null),
            // Somebody else's account would be written into it; and so would what a bootstrap token opens.
            ("POST", all.clone(), ours("t", &token)),
            (
                "POST",
                all.clone(),
                ours("bootstrap-token-abcdef", &json!({ "type": "bootstrap.kubernetes.io/token" })),
            ),
            ("POST", all.clone(), json!({ "metadata": { "name": "plain" } })),
            ("PATCH", home.clone(), label),
            ("DELETE", home.clone(), Value::Null),
            (
                "PUT",
                format!("{home}/finalize"),
                json!({ "metadata": { "name": namespace }, "spec": { "finalizers": [] } }),
            ),
            (
                "POST",
                format!("{RBAC}/namespaces/{namespace}/rolebindings"),
                json!({ "metadata": { "name": "t" }, "roleRef": plane_role, "subjects": me }),
            ),
            (
                "POST",
                format!("{RBAC}/namespaces/{namespace}/roles"),
                json!({ "metadata": { "name": "t" }, "rules": [] }),
            ),
            ("POST", format!("{home}/pods"), json!({ "metadata": { "name": "t" } })),
            ("POST", format!("{home}/serviceaccounts/default/token"), json!({ "spec": {} })),
            ("POST", format!("/apis/apps/v1/namespaces/{namespace}/deployments"), deployment(&json!({}))),
            (
                "POST",
                format!("/apis/batch/v1/namespaces/{namespace}/cronjobs"),
                json!({ "metadata": { "name": "t" } }),
            ),
            (
                "POST",
                format!("/api/v1/namespaces/{namespace}/configmaps"),
                json!({ "metadata": { "name": "t" } }),
            ),
            (
                "POST",
                format!("/api/v1/namespaces/{namespace}/services"),
                json!({ "metadata": { "name": "t" } }),
            ),
        ]);
        if namespace != "kube-system" {
            tries.extend([
                ("GET", one.clone(), Value::Null),
                ("DELETE", one.clone(), Value::Null),
                ("PUT", one.clone(), ours("treasure", &json!({}))),
                ("PATCH", one.clone(), json!({})),
                ("PATCH", format!("{one}?dryRun=All"), json!({})),
                ("PATCH", one.clone(), ours("treasure", &json!({}))),
                (
                    "APPLY",
                    format!("{one}?fieldManager=t&force=true"),
                    ours("treasure", &json!({ "apiVersion": "v1", "kind": "Secret" })),
                ),
            ]);
        }
    }
    for (method, path, body) in tries {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let (method, media) = match method {
            "APPLY" => ("PATCH", "application/apply-patch+yaml"),
            "PATCH" => ("PATCH", "application/merge-patch+json"),
            other => (other, "application/json"),
        };
        let answer = thief.send(method, &path, &[("content-type", media)], &body).expect("an answer");
        assert_eq!(answer.code, 403, "{method} {path}: {}", answer.text);
        assert!(!answer.text.contains(TREASURE), "{method} {path}: {}", answer.text);
    }
    // As somebody else.
    for user in ["system:admin", "system:serviceaccount:kube-system:default"] {
        let answer = thief.send("GET", &secrets("strangers"), &[("impersonate-user", user)], "");
        assert_eq!(answer.expect("an answer").code, 403, "{user}");
    }
}

/// Where they may make pods, Services and Ingresses they make none that reach further.
fn nothing_is_gained(thief: &Client) {
    let deployments = format!("/apis/apps/v1/namespaces/{NAMESPACE}/deployments?dryRun=All");
    thief.post(&deployments, &deployment(&json!({}))).ok();
    let container = |security: Value| json!({ "containers": [{ "name": "thief", "image": "thief", "securityContext": security }] });
    for pod in [
        json!({ "hostNetwork": true }),
        json!({ "hostPID": true }),
        json!({ "hostIPC": true }),
        json!({ "automountServiceAccountToken": true }),
        json!({ "securityContext": { "runAsNonRoot": false } }),
        json!({ "volumes": [{ "name": "node", "hostPath": { "path": "/" } }] }),
        json!({ "volumes": [{ "name": "token", "projected": { "sources": [{ "serviceAccountToken": { "path": "t" } }] } }] }),
        container(json!({})),
        container(json!({ "allowPrivilegeEscalation": true })),
        container(json!({ "allowPrivilegeEscalation": false, "capabilities": { "add": ["SYS_ADMIN"] } })),
        container(json!({ "allowPrivilegeEscalation": false, "runAsNonRoot": false })),
        json!({ "initContainers": [{ "name": "first", "image": "thief", "securityContext": { "privileged": true } }] }),
        json!({ "containers": [{ "name": "thief", "image": "thief", "ports": [{ "containerPort": 1, "hostPort": 1 }],
            "securityContext": { "allowPrivilegeEscalation": false } }] }),
    ] {
        let told = thief.post(&deployments, &deployment(&pod)).refused(403);
        assert!(told.contains("kplane-controllers-pods"), "{pod}: {told}");
    }
    let template =
        deployment(&json!({ "hostPID": true, "restartPolicy": "Never" }))["spec"]["template"].clone();
    let cron_job = json!({ "metadata": { "name": "thief" }, "spec": {
        "schedule": "* * * * *", "jobTemplate": { "spec": { "template": template } } } });
    let told = thief
        .post(&format!("/apis/batch/v1/namespaces/{NAMESPACE}/cronjobs?dryRun=All"), &cron_job)
        .refused(403);
    assert!(told.contains("kplane-controllers-pods"), "{told}");
    let service = json!({ "metadata": { "name": "thief" }, "spec": {
        "ports": [{ "port": 443 }], "externalIPs": ["10.0.0.1"] } });
    let told =
        thief.post(&format!("/api/v1/namespaces/{NAMESPACE}/services?dryRun=All"), &service).refused(403);
    assert!(told.contains("kplane-controllers-traffic"), "{told}");
    let ingress = json!({
        "metadata": { "name": "thief", "annotations": { "nginx.ingress.kubernetes.io/server-snippet": "x" } },
        "spec": { "defaultBackend": { "service": { "name": "thief", "port": { "number": 1 } } } },
    });
    let path = format!("/apis/networking.k8s.io/v1/namespaces/{NAMESPACE}/ingresses?dryRun=All");
    let told = thief.post(&path, &ingress).refused(403);
    assert!(told.contains("kplane-controllers-traffic"), "{told}");
}

/// What was made goes as well.
fn work_is_undone(admin: &Client) {
    for path in ["controlplanecredentials/taken", "controlplanecredentials/viewer", "controlplanes/owl"] {
        let path = format!("{GROUP}/{path}");
        admin.delete(&path).ok();
        eventually(&format!("{path} is gone"), PATIENCE, || admin.get(&path).code == 404);
    }
    for path in [format!("{}/kplane-owl", secrets("argocd")), "/api/v1/namespaces/kplane-cp-owl".to_owned()] {
        eventually(&format!("{path} is gone"), PATIENCE, || admin.get(&path).code == 404);
    }
}
