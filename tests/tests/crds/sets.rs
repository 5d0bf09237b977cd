//! Definitions shaped as those of cert-manager, Argo CD, Crossplane and the Gateway API, with a real kubectl.

use kplane_tests::{Kubectl, Server, Store};

/// Applies what must be refused, and returns the error.
#[track_caller]
fn refused(kubectl: &Kubectl, manifest: &str) -> String {
    let output = kubectl.run_with(&["apply", "-f", "-"], manifest);
    assert!(!output.success, "{}\n{manifest}", output.stdout);
    output.stderr
}

#[track_caller]
fn has(text: &str, wanted: &[&str]) {
    for wanted in wanted {
        assert!(text.contains(wanted), "{wanted:?} is not in:\n{text}");
    }
}

#[test]
fn known_sets_of_definitions_work_side_by_side() {
    let server = Server::start(Store::Embedded);
    let kubectl = server.create_vcp("sets");
    for set in [
        include_str!("shapes/cert-manager.yaml"),
        include_str!("shapes/argo-cd.yaml"),
        include_str!("shapes/crossplane.yaml"),
        include_str!("shapes/gateway-api.yaml"),
    ] {
        kubectl.apply(set);
    }
    // What a creation answers is established already.
    kubectl.ok(&["wait", "--for=condition=Established", "crd", "--all", "--timeout=10s"]);
    cert_manager(&kubectl);
    argo_cd(&kubectl);
    crossplane(&kubectl);
    gateway_api(&kubectl);
    // Another control plane has none of it.
    let other = server.create_vcp("other");
    has(
        &other.fails(&["get", "certificates"]),
        &["the server doesn't have a resource type \"certificates\""],
    );
}

fn cert_manager(kubectl: &Kubectl) {
    has(&kubectl.ok(&["explain", "certificate.spec.privateKey"]), &["algorithm", "RSA, ECDSA, Ed25519"]);
    kubectl.apply(
        "apiVersion: cert-manager.io/v1\nkind: Certificate\nmetadata: {name: web}\nspec: {secretName: web-tls, \
         issuerRef: {name: ca}, keystores: {any: {thing: [1]}}, privateKey: {}}\n",
    );
    let cert = kubectl.json(&["get", "cert", "web"]);
    assert_eq!(cert["spec"]["issuerRef"]["kind"], "Issuer");
    assert_eq!(cert["spec"]["privateKey"]["rotationPolicy"], "Always");
    assert_eq!(cert["spec"]["keystores"]["any"]["thing"][0], 1);
    let patch = r#"{"status": {"conditions": [{"type": "Ready", "status": "True"}]}}"#;
    kubectl.ok(&["patch", "certs", "web", "--subresource=status", "--type=merge", "-p", patch]);
    kubectl.ok(&["wait", "--for=condition=Ready", "certificate/web", "--timeout=10s"]);
    let table = kubectl.ok(&["get", "cert-manager"]);
    has(&table, &["NAME", "READY", "SECRET", "AGE", "web-tls"]);
    assert!(!table.contains("ISSUER"), "{table}");
    has(&kubectl.ok(&["get", "cert", "-o", "wide"]), &["ISSUER"]);
    // Selected by a field of the definition's choosing.
    let names = |selector: &str| kubectl.ok(&["get", "cert", "-o", "name", "--field-selector", selector]);
    assert_eq!(names("spec.issuerRef.name=ca").trim(), "certificate.cert-manager.io/web");
    assert_eq!(names("spec.issuerRef.name=other"), "");
    let stderr = kubectl.fails(&["get", "cert", "--field-selector", "spec.secretName=x"]);
    has(&stderr, &["field label not supported: spec.secretName"]);
    let stderr = refused(
        kubectl,
        "apiVersion: cert-manager.io/v1\nkind: Certificate\nmetadata: {name: bad}\nspec: {issuerRef: {}, \
         revisionHistoryLimit: 0, privateKey: {algorithm: DSA}}\n",
    );
    has(
        &stderr,
        &[
            "spec.secretName: Required value",
            "spec.issuerRef.name: Required value",
            "spec.revisionHistoryLimit in body should be greater than or equal to 1",
            "Unsupported value: \"DSA\": supported values: \"RSA\", \"ECDSA\", \"Ed25519\"",
        ],
    );
}

fn argo_cd(kubectl: &Kubectl) {
    kubectl.apply(
        "apiVersion: argoproj.io/v1alpha1\nkind: Application\nmetadata: {name: shop}\nspec:\n  project: default\n  destination: {namespace: shop}\n  source:\n    repoURL: https://example.test/repo\n    helm: {valuesObject: {deep: {er: true}}}\n    kustomize: {commonLabels: {a: b}, replicas: [{name: one, count: 3}, {name: two, count: '50%'}]}\n",
    );
    let app = kubectl.json(&["get", "app", "shop"]);
    assert_eq!(app["spec"]["source"]["helm"]["valuesObject"]["deep"]["er"], true);
    assert_eq!(app["spec"]["source"]["kustomize"]["replicas"][1]["count"], "50%");
    // Without a status subresource the status is written with the rest.
    let patch = r#"{"status": {"sync": {"status": "Synced"}, "resources": [{"kept": 1}]}}"#;
    kubectl.ok(&["patch", "app", "shop", "--type=merge", "-p", patch]);
    kubectl.ok(&["wait", "--for=jsonpath={.status.sync.status}=Synced", "app/shop", "--timeout=10s"]);
    has(&kubectl.ok(&["get", "apps"]), &["SYNC STATUS", "HEALTH STATUS", "Synced"]);
    let stderr = refused(
        kubectl,
        "apiVersion: argoproj.io/v1alpha1\nkind: Application\nmetadata: {name: bad}\nspec: {project: 1, destination: {}, \
         source: {repoURL: x, kustomize: {commonLabels: {a: 1}, replicas: [{name: x, count: 1.5}]}}}\n",
    );
    has(
        &stderr,
        &[
            "spec.project in body must be of type string: \"integer\"",
            "spec.source.kustomize.commonLabels.a in body must be of type string: \"integer\"",
            "spec.source.kustomize.replicas[0].count",
        ],
    );
    // Unknown fields are refused by kubectl's strict validation, and pruned without it.
    let unknown = "apiVersion: argoproj.io/v1alpha1\nkind: Application\nmetadata: {name: more}\nspec: {project: a, \
                   destination: {}, nope: 1}\n";
    has(&refused(kubectl, unknown), &["strict decoding error: unknown field \"spec.nope\""]);
    let output = kubectl.run_with(&["apply", "--validate=warn", "-f", "-"], unknown);
    assert!(output.success, "{}", output.stderr);
    has(&output.stderr, &["unknown field \"spec.nope\""]);
    assert!(kubectl.json(&["get", "app", "more"])["spec"].get("nope").is_none());
}

fn crossplane(kubectl: &Kubectl) {
    let xrd = |version: &str, spec: &str| {
        format!(
            "apiVersion: apiextensions.crossplane.io/{version}\nkind: CompositeResourceDefinition\nmetadata: {{name: xdbs.acme.test}}\nspec: {spec}\n"
        )
    };
    let spec = "{group: acme.test, names: {kind: XDB, plural: xdbs}, versions: [{name: v1, served: true, schema: {openAPIV3Schema: \
                {type: object, properties: {a: {type: string}}}}}]}";
    kubectl.apply(&xrd("v2", spec));
    let old = kubectl.run(&[
        "get",
        "compositeresourcedefinitions.v1.apiextensions.crossplane.io",
        "xdbs.acme.test",
        "-o",
        "json",
    ]);
    assert!(old.success, "{}", old.stderr);
    has(&old.stderr, &["Warning: CompositeResourceDefinition v1 is deprecated; migrate to v2"]);
    has(
        &old.stdout,
        &[
            "\"apiVersion\": \"apiextensions.crossplane.io/v1\"",
            "\"referenceable\": false",
            "\"scope\": \"Namespaced\"",
        ],
    );
    let stderr = kubectl.fails(&[
        "patch",
        "xrd",
        "xdbs.acme.test",
        "--type=merge",
        "-p",
        r#"{"spec": {"group": "b.test"}}"#,
    ]);
    has(&stderr, &["spec.group: Invalid value", "Value is immutable"]);
    // Two managers of one list, each with an item of its own.
    let item = |name: &str| {
        format!(
            "apiVersion: apiextensions.crossplane.io/v2\nkind: CompositeResourceDefinition\nmetadata: {{name: xdbs.acme.test}}\nspec: {{versions: [{{name: {name}, served: false}}]}}\n"
        )
    };
    for name in ["v2", "v3"] {
        let manager = format!("--field-manager={name}");
        let output = kubectl.run_with(&["apply", "--server-side", &manager, "-f", "-"], &item(name));
        assert!(output.success, "{}", output.stderr);
    }
    let versions = kubectl.ok(&["get", "xrd", "xdbs.acme.test", "-o", "jsonpath={.spec.versions[*].name}"]);
    assert_eq!(versions, "v1 v2 v3");
    let output = kubectl.run_with(
        &["apply", "--server-side", "--field-manager=x", "-f", "-"],
        &item("v2").replace("false", "true"),
    );
    has(&output.stderr, &["conflict", "\"v2\"", ".spec.versions[name=\"v2\"].served"]);
    let stderr = refused(
        kubectl,
        &xrd(
            "v2",
            "{group: acme.test, names: {kind: XDB, plural: xdbs, categories: [a, a]}, versions: [{name: v1, served: true}, \
              {name: v1, served: true}], resources: [{kind: Pod}]}",
        ),
    );
    has(
        &stderr,
        &[
            "spec.names.categories[1]: Duplicate value: \"a\"",
            "spec.versions[1]: Duplicate value",
            "spec.resources[0].apiVersion: Required value: must not be empty",
        ],
    );
}

fn gateway_api(kubectl: &Kubectl) {
    let crd = kubectl.json(&["get", "crd", "gateways.gateway.networking.k8s.io"]);
    let conditions = crd["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let approved = conditions.iter().find(|c| c["type"] == "KubernetesAPIApprovalPolicyConformant");
    assert_eq!(approved.map(|c| c["reason"].clone()), Some("ApprovedAnnotation".into()), "{crd}");
    let gateway = |name: &str, spec: &str| {
        format!(
            "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {{name: {name}}}\nspec: {spec}\n"
        )
    };
    kubectl.apply(&gateway("good", "{gatewayClassName: x, addresses: [{value: 10.0.0.1}], listeners: [{name: a, port: 80, protocol: HTTP}]}"));
    let good = kubectl.json(&["get", "gtw", "good"]);
    assert_eq!(good["spec"]["listeners"][0]["allowedRoutes"]["namespaces"]["from"], "Same");
    assert_eq!(good["spec"]["addresses"][0]["type"], "IPAddress");
    // The status has a default, which shows from the beginning.
    assert_eq!(good["status"]["conditions"][1]["type"], "Programmed");
    has(&kubectl.ok(&["get", "gateways"]), &["CLASS", "PROGRAMMED", "Unknown"]);
    let stderr = refused(
        kubectl,
        &gateway(
            "bad",
            "{gatewayClassName: '', addresses: [{value: nope}], listeners: [{name: a, port: 80, protocol: TCP, \
                  hostname: x}, {name: a, port: 0, protocol: TCP}]}",
        ),
    );
    has(
        &stderr,
        &[
            "spec.gatewayClassName in body should be at least 1 chars long",
            "\"spec.addresses[0]\" must validate one and only one schema (oneOf). Found none valid",
            "spec.listeners[1].port in body should be greater than or equal to 1",
            "spec.listeners[1]: Duplicate value: {\"name\":\"a\"}",
        ],
    );
    let stderr = refused(
        kubectl,
        &gateway(
            "rules",
            "{gatewayClassName: x, listeners: [{name: a, port: 80, protocol: TCP, hostname: x}]}",
        ),
    );
    has(&stderr, &["hostname must not be specified for protocols ['TCP', 'UDP']"]);
}
