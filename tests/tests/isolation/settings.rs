//! What keeps a tenant within bounds, and what is told of it: limits of a class, the audit policy, the defaults of a server
//! that nobody configured.

use std::path::Path;
use std::time::Duration;

use kplane_tests::{Server, Store, eventually};
use serde_json::{Value, json};

use crate::world::{FLAG, MAPS, config_map};

const RECORDS: &str = "/apis/tenancy.kplane.dev/v1alpha1/virtualclusters";
pub const SECRETS: &str = "/api/v1/namespaces/default/secrets";

pub fn secret(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": {"password": FLAG}})
}

#[test]
fn a_class_limits_what_its_control_planes_use() {
    let server = Server::start(Store::Embedded);
    let record = json!({
        "apiVersion": "tenancy.kplane.dev/v1alpha1", "kind": "VirtualCluster", "metadata": {"name": "small"},
        "spec": {"limits": {"objects": 8, "bytes": "20Ki", "watches": 2, "requestsPerSecond": 6}},
    });
    server.client().post(RECORDS, &record).ok();
    let kubectl = server.create_vcp("roomy");
    kubectl.ok(&["get", "ns"]);
    let small = server.client().vcp("small");
    // Objects: until it is full, and again when one has gone.
    let mut made = 0;
    let told = loop {
        let answer = small.post(MAPS, &config_map(&format!("m{made}")));
        if answer.code != 201 {
            break answer.refused(403);
        }
        made += 1;
        assert!(made <= 8, "no limit");
    };
    assert!(
        told.contains("exceeded limit of the control plane") && told.contains("limited: objects=8"),
        "{told}"
    );
    small.delete(&format!("{MAPS}/m0")).ok();
    // What the controllers make in the meantime counts as well: then there is still no room.
    small.delete(&format!("{MAPS}/m1")).ok();
    eventually("there is room again", Duration::from_secs(10), || {
        small.post(MAPS, &config_map("again")).code == 201
    });
    // Bytes: of what is new, and of what grows.
    let large = json!({"data": {"a": "x".repeat(30_000)}});
    let told = small.merge(&format!("{MAPS}/m2"), &large).refused(403);
    assert!(told.contains("limited: bytes=20480"), "{told}");
    small.merge(&format!("{MAPS}/m2"), &json!({"data": {"a": "y"}})).ok();
    // Root's own are not limited in requests: the tenant is, and is told so with its metrics.
    let metrics = small.get_as("/metrics", "*/*").text;
    for line in
        ["kplane_control_plane_limit{limit=\"objects\"} 8", "kplane_control_plane_limit{limit=\"watches\"} 2"]
    {
        assert!(metrics.contains(line), "{metrics}");
    }
    small.post("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", &json!({"metadata": {"name": "x"}}));
    let tenant = crate::world::tenant(&server, "small");
    // A watch that became a WebSocket is one, too.
    let upgrade = [
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("Sec-WebSocket-Version", "13"),
        ("Origin", "http://here"),
    ];
    let request =
        crate::raw::request("GET", "/clusters/small/control-plane/api/v1/secrets?watch=true", &upgrade, "");
    let (socket, answer) = tenant.begin(&request);
    assert_eq!(answer.code, 101, "{answer:?}");
    let mut watches = vec![socket];
    let refused = loop {
        let request =
            crate::raw::request("GET", "/clusters/small/control-plane/api/v1/secrets?watch=true", &[], "");
        let (stream, answer) = tenant.begin(&request);
        if answer.code != 200 {
            break answer;
        }
        watches.push(stream);
        assert!(watches.len() <= 2, "no limit of watches");
    };
    assert_eq!((refused.code, watches.len()), (429, 2), "{refused:?}");
    assert!(
        refused.body.contains("limit watches") && refused.head.to_lowercase().contains("retry-after: 1"),
        "{refused:?}"
    );
    drop(watches);
    let request = crate::raw::request("GET", "/clusters/small/control-plane/version", &[], "");
    let limited =
        (0..400).map(|_| tenant.exchange_as("127.0.0.1", &request)).find(|answer| answer.code != 200);
    let limited = limited.expect("400 requests in a few seconds");
    assert_eq!(limited.code, 429, "{limited:?}");
    assert!(limited.body.contains("limit requestsPerSecond"), "{limited:?}");
    // Whoever is within the limits has nothing to do with it.
    assert_eq!(server.client().vcp("roomy").post(MAPS, &config_map("m")).code, 201);
}

#[test]
fn requests_for_custom_resources_are_limited_like_others() {
    let server = Server::start(Store::Embedded);
    let record = json!({
        "apiVersion": "tenancy.kplane.dev/v1alpha1", "kind": "VirtualCluster", "metadata": {"name": "small"},
        "spec": {"limits": {"objects": 8, "watches": 1}},
    });
    server.client().post(RECORDS, &record).ok();
    server.create_vcp("roomy");
    let small = server.client().vcp("small");
    small.post(crate::world::CRDS, &crate::world::definition("birds.example", "owls", "Owl")).ok();
    let owls = "/apis/birds.example/v1/namespaces/default/owls";
    eventually("the kind is served", Duration::from_secs(20), || small.get(owls).code == 200);
    let owl =
        |name: String| json!({"apiVersion": "birds.example/v1", "kind": "Owl", "metadata": {"name": name}});
    let told = (0..9).map(|n| small.post(owls, &owl(format!("o{n}")))).find(|answer| answer.code != 201);
    let told = told.expect("a limit").refused(403);
    assert!(told.contains("limited: objects=8"), "{told}");
    // They are classified, limited and ended in time as those for other objects are.
    let tenant = crate::world::tenant(&server, "small");
    let ask = |query: &str| {
        tenant.begin(&crate::raw::request(
            "GET",
            &format!("/clusters/small/control-plane{owls}{query}"),
            &[],
            "",
        ))
    };
    let head = ask("").1.head.to_lowercase();
    assert!(head.contains("x-kubernetes-pf-flowschema-uid: "), "{head}");
    let (_watch, answer) = ask("?watch=true");
    assert_eq!(answer.code, 200, "{answer:?}");
    let refused = ask("?watch=true").1;
    assert!(refused.code == 429, "{refused:?}");
    let slow = ask("?timeout=nonsense").1;
    assert_eq!(slow.code, 400, "{slow:?}");
}

#[test]
fn answers_tell_how_a_request_was_classified() {
    let server = Server::start(Store::Embedded);
    server.create_vcp("a");
    let tenant = crate::world::tenant(&server, "a");
    let flows = "/apis/flowcontrol.apiserver.k8s.io/v1";
    let a = server.client().vcp("a");
    let uid = |kind: &str, name: &str| {
        let object = a.get(&format!("{flows}/{kind}/{name}")).ok();
        object["metadata"]["uid"].as_str().expect("a uid").to_owned()
    };
    let ask = || {
        let request = crate::raw::request("GET", &format!("/clusters/a/control-plane{MAPS}"), &[], "");
        tenant.exchange_as("127.0.0.1", &request).head.to_lowercase()
    };
    let head = ask();
    assert!(
        head.contains(&format!("x-kubernetes-pf-flowschema-uid: {}", uid("flowschemas", "exempt"))),
        "{head}"
    );
    assert!(head.contains(&uid("prioritylevelconfigurations", "exempt")), "{head}");
    // The control plane's own schema, before the one it began with.
    let level = json!({
        "apiVersion": "flowcontrol.apiserver.k8s.io/v1", "kind": "PriorityLevelConfiguration", "metadata": {"name": "own"},
        "spec": {"type": "Limited", "limited": {"nominalConcurrencyShares": 1, "limitResponse": {"type": "Reject"}}},
    });
    a.post(&format!("{flows}/prioritylevelconfigurations"), &level).ok();
    let schema = json!({
        "apiVersion": "flowcontrol.apiserver.k8s.io/v1", "kind": "FlowSchema", "metadata": {"name": "own"},
        "spec": {
            "priorityLevelConfiguration": {"name": "own"}, "matchingPrecedence": 2,
            "rules": [{
                "subjects": [{"kind": "User", "user": {"name": "tenant"}}],
                "resourceRules": [{"verbs": ["*"], "apiGroups": [""], "resources": ["configmaps"], "namespaces": ["*"]}],
            }],
        },
    });
    a.post(&format!("{flows}/flowschemas"), &schema).ok();
    // `exempt` comes first for an administrator: it is taken out of the way.
    a.merge(&format!("{flows}/flowschemas/exempt"), &json!({"spec": {"rules": null}}));
    let own = uid("flowschemas", "own");
    let exempt = uid("flowschemas", "exempt");
    eventually("a schema of its own is honoured", Duration::from_secs(20), || {
        let head = ask();
        assert!(head.contains(&own) || head.contains(&exempt), "{head}");
        head.contains(&own)
    });
}

#[test]
fn the_audit_policy_says_what_is_written_down() {
    let folder = tempfile::tempdir().expect("a folder");
    let (policy, log) = (folder.path().join("policy.yaml"), folder.path().join("audit.log"));
    let text = r#"
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- {level: Metadata, resources: [{group: "", resources: [secrets]}]}
- {level: RequestResponse, omitManagedFields: true, resources: [{group: "", resources: [configmaps]}, {group: audit.example}]}
- {level: None}
"#;
    std::fs::write(&policy, text).expect("a policy");
    let server = Server::start_with(
        Store::Embedded,
        &[
            &format!("--audit-policy-file={}", policy.display()),
            &format!("--audit-log-path={}", log.display()),
        ],
    );
    server.create_vcp("a");
    let a = server.client().vcp("a");
    a.post(SECRETS, &secret("s")).ok();
    a.post(MAPS, &config_map("m")).ok();
    a.merge(&format!("{MAPS}/m"), &json!({"data": {"a": "patched"}})).ok();
    a.get("/api/v1/namespaces").ok();
    a.get(&format!("{MAPS}/missing"));
    a.get("/apis/audit.example/v1/namespaces/default/things");
    let text = std::fs::read_to_string(&log).expect("the log");
    assert!(!text.contains(FLAG), "a Secret is in the audit log");
    let events: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("an event"))
        .filter(|event: &Value| {
            event["annotations"]["kplane.dev/cluster"] == "a" && event["user"]["username"] == "kplane-admin"
        })
        .filter(|event| event["userAgent"].as_str().is_none_or(|agent| !agent.contains("kplane-controllers")))
        .collect();
    let one = |verb: &str, resource: &str, name: &str| {
        let found = events.iter().find(|event| {
            event["verb"] == verb
                && event["objectRef"]["resource"] == resource
                && event["objectRef"]["name"] == name
        });
        found.unwrap_or_else(|| panic!("no {verb} of {resource}/{name}: {text}"))
    };
    let made = one("create", "configmaps", "m");
    assert_eq!(made["level"], "RequestResponse");
    assert_eq!(made["requestObject"]["data"]["a"], "b");
    assert_eq!(made["responseObject"]["metadata"]["name"], "m");
    assert!(made["responseObject"]["metadata"].get("managedFields").is_none(), "{made}");
    assert_eq!(made["annotations"]["authorization.k8s.io/decision"], "allow");
    assert_eq!(one("patch", "configmaps", "m")["requestObject"]["data"]["a"], "patched");
    let missing = one("get", "configmaps", "missing");
    assert_eq!(
        (&missing["responseStatus"]["code"], &missing["responseStatus"]["reason"]),
        (&json!(404), &json!("NotFound"))
    );
    let kept =
        events.iter().find(|event| event["objectRef"]["resource"] == "secrets" && event["verb"] == "create");
    let kept = kept.expect("the Secret's event");
    assert!(kept.get("requestObject").is_none() && kept.get("responseObject").is_none(), "{kept}");
    assert!(events.iter().any(|event| event["objectRef"]["apiGroup"] == "audit.example"), "{text}");
    assert!(!events.iter().any(|event| event["objectRef"]["resource"] == "namespaces"), "{text}");
}

/// Nothing that we write tells a client not to verify the server; what refuses the setting may name it.
#[test]
fn no_source_of_ours_writes_insecure_kubeconfigs() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut folders: Vec<_> =
        ["apiserver", "controllers", "crds", "plugins", "config"].map(|name| root.join(name)).into();
    let mut seen = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let Ok(text) = std::fs::read_to_string(&path) else { continue };
            seen += 1;
            for line in text.lines().filter(|line| line.contains("insecure-skip-tls-verify")) {
                let sets = line.replace([' ', '"'], "").contains("insecure-skip-tls-verify:true");
                let test = line.contains("json!(") || line.contains("assert");
                assert!(!sets || test, "{}: {line}", path.display());
            }
        }
    }
    assert!(seen > 200, "only {seen} files were looked at");
}
