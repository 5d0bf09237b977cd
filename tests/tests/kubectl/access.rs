//! Who may do what: `auth`, impersonation, certificates (`rbac.sh`, `authorization.sh`, `certificate.sh`, `auth_whoami.sh`).

use crate::Session;

#[test]
fn may_i() {
    let mut s = Session::new();
    for (line, says) in [
        ("auth whoami", "system:masters"),
        ("auth whoami --as=someone --as-group=g -o jsonpath='{.status.userInfo.username}'", "someone"),
        ("auth can-i '*' '*'", "yes"),
        ("auth can-i get pods --subresource=log", "yes"),
        ("auth can-i get /logs/", "yes"),
        ("auth can-i get nothings", "the server doesn't have a resource type 'nothings'"),
        ("auth can-i list nodes", "Warning: resource 'nodes' is not namespace scoped"),
        ("auth can-i --list --as=someone", "selfsubjectreviews.authentication.k8s.io"),
        ("create role reader --verb=get --resource=pods", "created"),
        ("create rolebinding reader --role=reader --user=someone", "created"),
        ("auth can-i get pods --as=someone", "yes"),
        ("auth can-i --list --as=someone", "pods"),
    ] {
        s.does(line, says);
    }
    let no = s.run("auth can-i delete pods --as=someone");
    s.expect(!no.success && no.stdout.trim() == "no", &format!("no: {}", no.stdout));
    for (line, says) in [
        (
            "get pods -n kube-system --as=someone",
            "pods is forbidden: User \"someone\" cannot list resource \"pods\" in API group \"\" in the namespace \"kube-system\"",
        ),
        ("get nodes --as=someone", "cannot list resource \"nodes\" in API group \"\" at the cluster scope"),
        ("get pods --as=someone --as-group=x -n other", "forbidden"),
        ("create clusterrole x --verb=get --resource=secrets --as=someone", "forbidden"),
    ] {
        s.refuses(line, says);
    }
    s.end();
}

#[test]
fn reconciling() {
    let mut s = Session::new();
    let rules = |resources: &str| {
        format!(
            "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {{name: x}}\nrules: [{{apiGroups: [''], resources: [{resources}], verbs: [get]}}]\n---\napiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\nmetadata: {{name: x, namespace: made-for-it}}\nroleRef: {{kind: ClusterRole, name: x, apiGroup: rbac.authorization.k8s.io}}\nsubjects: [{{kind: User, name: u, apiGroup: rbac.authorization.k8s.io}}]\n"
        )
    };
    s.does_with(
        "auth reconcile --dry-run=client -f -",
        &rules("pods"),
        "clusterrole.rbac.authorization.k8s.io/x reconciled (dry run)",
    );
    s.refuses("get clusterrole x", "not found");
    s.does_with("auth reconcile -f -", &rules("pods"), "clusterrole.rbac.authorization.k8s.io/x reconciled");
    s.does("get rolebinding x -n made-for-it -o name", "x");
    s.does_with("auth reconcile -f -", &rules("secrets"), "missing rules added");
    s.shows("get clusterrole x -o jsonpath='{.rules[*].resources[0]}'", "pods secrets");
    s.does_with("auth reconcile --remove-extra-permissions -f -", &rules("secrets"), "extra rules removed");
    s.end();
}

#[test]
fn certificates() {
    let mut s = Session::new();
    let request = include_str!("manifests.yaml")
        .split("\n---\n")
        .find(|document| document.contains("kind: CertificateSigningRequest"))
        .expect("a request for a certificate")
        .to_owned();
    let named = |name: &str| request.replace("name: all", &format!("name: {name}"));
    for (name, verb, condition) in [("good", "approve", "Approved"), ("bad", "deny", "Denied")] {
        s.does_with("create -f -", &named(name), "created");
        s.does(&format!("get csr {name}"), "Pending");
        s.does(&format!("certificate {verb} {name}"), if verb == "deny" { "denied" } else { "approved" });
        s.does(&format!("get csr {name} -o jsonpath='{{.status.conditions[*].type}}'"), condition);
        s.does(&format!("get csr {name}"), condition);
        s.does(&format!("describe csr {name}"), "Common Name:");
    }
    s.refuses("certificate approve nothing", "not found");
    s.end();
}
