//! What expressions ask the authorizer.

use serde_json::json;

use crate::*;

/// Whether an expression holds for a request.
fn holds(a: &Client, expression: &str, path: &str, object: &Value, user: &[(&str, &str)]) -> bool {
    let group = if path.starts_with("/api/") { "" } else { "coordination.k8s.io" };
    let resource = path.rsplit('/').next().unwrap();
    let spec = json!({
        "matchConstraints": rules(group, resource), "validations": [{"expression": expression}],
    });
    bind(a, "validatingadmission", "asks", spec, json!({"validationActions": ["Deny"]}));
    let answer = a.send("POST", &format!("{path}?dryRun=All"), user, &object.to_string()).unwrap();
    a.delete(&format!("{GROUP}/validatingadmissionpolicies/asks")).ok();
    a.delete(&format!("{GROUP}/validatingadmissionpolicybindings/asks-binding")).ok();
    assert!(answer.code == 201 || answer.text.contains("failed expression"), "{expression}: {}", answer.text);
    answer.code == 201
}

#[test]
fn paths_subresources_and_selectors_count() {
    let (a, _server) = start();
    let role = json!({
        "metadata": {"name": "writer"},
        "rules": [
            {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["create"]},
            {"apiGroups": ["apps"], "resources": ["deployments/scale"], "verbs": ["update"]},
            {"nonResourceURLs": ["/metrics"], "verbs": ["get"]},
        ],
    });
    a.post("/apis/rbac.authorization.k8s.io/v1/clusterroles", &role).ok();
    let bound = json!({
        "metadata": {"name": "writer"}, "subjects": [{"kind": "User", "name": "jane", "apiGroup": "rbac.authorization.k8s.io"}],
        "roleRef": {"kind": "ClusterRole", "name": "writer", "apiGroup": "rbac.authorization.k8s.io"},
    });
    a.post("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", &bound).ok();
    let jane = [("Impersonate-User", "jane")];
    for (expression, expected) in [
        ("authorizer.path('/metrics').check('get').allowed()", true),
        ("authorizer.path('/metrics').check('post').allowed()", false),
        ("authorizer.path('/elsewhere').check('get').allowed()", false),
        (
            "authorizer.group('apps').resource('deployments').subresource('scale').check('update').allowed()",
            true,
        ),
        ("authorizer.group('apps').resource('deployments').check('update').allowed()", false),
        ("authorizer.requestResource.check('create').allowed()", true),
        ("authorizer.requestResource.check('create').reason().contains('ClusterRole \"writer\"')", true),
        ("authorizer.requestResource.check('create').errored()", false),
    ] {
        assert_eq!(
            holds(&a, expression, CONFIG_MAPS, &config_map("c", json!({})), &jane),
            expected,
            "{expression}"
        );
    }
    // A node may list the pods on it, and no others.
    let node = [("Impersonate-User", "system:node:n1"), ("Impersonate-Group", "system:nodes")];
    let leases = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";
    let lease = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "n1"}});
    let pods = "authorizer.group('').resource('pods')";
    for (narrowed, expected) in [
        ("", false),
        (".fieldSelector('spec.nodeName=n1')", true),
        (".fieldSelector('spec.nodeName=n2')", false),
        // What cannot be read narrows nothing.
        (".fieldSelector('nonsense')", false),
        (".labelSelector('a=b')", false),
    ] {
        let expression = format!("{pods}{narrowed}.check('list').allowed()");
        assert_eq!(holds(&a, &expression, leases, &lease, &node), expected, "{expression}");
    }
}
