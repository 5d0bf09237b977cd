//! What keeps a tenant within bounds, and what is kept of it: limits of a class, the audit policy, encryption at rest, and
//! the defaults of a server that nobody configured.

use std::path::Path;
use std::time::Duration;

use kplane_storage::{EtcdOptions, EtcdStore, RangeRequest, Store as _};
use kplane_tests::{Server, Store, eventually};
use serde_json::{Value, json};

use crate::world::{FLAG, MAPS, config_map};

const RECORDS: &str = "/apis/tenancy.kplane.dev/v1alpha1/virtualclusters";
const SECRETS: &str = "/api/v1/namespaces/default/secrets";

fn secret(name: &str) -> Value {
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
    let mut watches = Vec::new();
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
    assert_eq!(refused.code, 429, "{refused:?}");
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

/// Everything in an etcd, as it is stored.
fn stored(server: &Server) -> Vec<(String, Vec<u8>)> {
    let endpoint = server.etcd().expect("an etcd").endpoint();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let store = EtcdStore::connect(EtcdOptions::new([endpoint])).await.expect("etcd");
        let page = store.range(RangeRequest::prefix("/kplane/")).await.expect("a read");
        page.kvs
            .into_iter()
            .map(|kv| (String::from_utf8_lossy(&kv.key).into_owned(), kv.value.to_vec()))
            .collect()
    })
}

fn holds(value: &[u8], text: &str) -> bool {
    use base64::Engine;
    let encoded = base64::engine::general_purpose::STANDARD.encode(text);
    [text.as_bytes(), encoded.as_bytes()]
        .iter()
        .any(|part| value.windows(part.len()).any(|window| window == *part))
}

#[test]
fn secrets_are_encrypted_in_the_store_and_rotated_in_place() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("encryption.yaml");
    let key = |byte: u8| {
        use base64::Engine;
        base64::engine::general_purpose::STANDARD.encode([byte; 32])
    };
    let write = |providers: &str| {
        let text = format!(
            "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n- resources: [secrets]\n  providers: {providers}\n"
        );
        std::fs::write(&file, text).expect("a configuration");
    };
    let (one, two) = (key(1), key(2));
    write(&format!("[{{aesgcm: {{keys: [{{name: one, secret: {one}}}]}}}}, {{identity: {{}}}}]"));
    let flag = format!("--encryption-provider-config={}", file.display());
    let mut server = Server::start_with(Store::Etcd, &[&flag]);
    for name in ["a", "b"] {
        server.create_vcp(name);
        server.client().vcp(name).post(SECRETS, &secret("s")).ok();
    }
    let sealed_with = |server: &Server, prefix: &str| {
        let all = stored(server);
        assert!(!all.iter().any(|(_, value)| holds(value, FLAG)), "a Secret is in the store in the clear");
        let secrets: Vec<_> = all.iter().filter(|(key, _)| key.contains("//secrets/")).collect();
        assert!(secrets.len() >= 2, "{secrets:?}");
        secrets.iter().all(|(_, value)| value.starts_with(prefix.as_bytes()))
    };
    assert!(sealed_with(&server, "k8s:enc:aesgcm:v1:one:"));
    // Another key before it: what is there is written anew, and watches and lists see nothing of it.
    write(&format!(
        "[{{secretbox: {{keys: [{{name: two, secret: {two}}}]}}}}, {{aesgcm: {{keys: [{{name: one, secret: {one}}}]}}}}, {{identity: {{}}}}]"
    ));
    server.kill();
    server.start_again();
    eventually("all is written anew", Duration::from_secs(20), || {
        sealed_with(&server, "k8s:enc:secretbox:v1:two:")
    });
    for name in ["a", "b"] {
        let vcp = server.client().vcp(name);
        vcp.get(&format!("{SECRETS}/s")).ok();
        let watch = vcp.watch(&format!(
            "{SECRETS}?sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
        ));
        assert!(watch.expect("ADDED", "s")["data"]["password"].is_string());
        assert_eq!(vcp.get(SECRETS).ok()["items"].as_array().map(Vec::len), Some(1));
    }
    // Without the key there is an error that says so, and never an empty list.
    write(&format!("[{{aesgcm: {{keys: [{{name: one, secret: {one}}}]}}}}]"));
    server.kill();
    server.start_again();
    let vcp = server.client().vcp("a");
    for path in [SECRETS.to_owned(), format!("{SECRETS}/s")] {
        let told = vcp.get(&path).refused(500);
        assert!(told.contains("there is no key \"two\" of secretbox"), "{told}");
    }
    assert_eq!(vcp.get(MAPS).code, 200);
}

#[test]
fn nothing_secret_is_logged_or_readable_by_others() {
    let server = Server::start_logging(Store::Embedded, "trace");
    server.create_vcp("a");
    let a = server.client().vcp("a");
    a.post(SECRETS, &secret("s")).ok();
    let request = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}});
    let token = a.post("/api/v1/namespaces/default/serviceaccounts/default/token", &request).ok();
    let token = token["status"]["token"].as_str().expect("a token").to_owned();
    let review =
        json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token}});
    a.post("/apis/authentication.k8s.io/v1/tokenreviews", &review).ok();
    a.send("GET", "/api", &[("Authorization", &format!("Bearer {token}"))], "").expect("an answer");
    a.get(&format!("{SECRETS}/s")).ok();
    let log = server.log();
    assert!(log.contains("TRACE"), "the log is not at level trace");
    let signature = token.rsplit('.').next().expect("a signature");
    let key = std::fs::read_to_string(server.folder().join("data/pki/plane.key")).expect("the plane's key");
    for word in [FLAG, signature, key.trim(), "PRIVATE KEY"] {
        if let Some(line) = log.lines().find(|line| holds(line.as_bytes(), word)) {
            panic!("in the log: {line}");
        }
    }
    modes(&server.folder().join("data"));
    // Nothing that is written for clients tells them not to look whom they talk to.
    let text = std::fs::read_to_string(server.admin_kubeconfig()).expect("the kubeconfig");
    assert!(!text.contains("insecure-skip-tls-verify") && text.contains("certificate-authority-data"));
}

#[cfg(unix)]
fn modes(folder: &Path) {
    use std::os::unix::fs::PermissionsExt;
    let mut seen = 0;
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            if name.ends_with(".key") || name.ends_with("kubeconfig") {
                let mode = std::fs::metadata(&path).expect("its mode").permissions().mode() & 0o777;
                assert_eq!(mode, 0o600, "{}: {mode:o}", path.display());
                seen += 1;
            }
        }
    }
    assert!(seen >= 4, "only {seen} private files");
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
