//! What is kept and written down: encryption at rest on both stores, and that no secret is in a log, an audit log, or a file
//! that others can read.

use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kplane_storage::{EtcdOptions, EtcdStore, RangeRequest, Store as _};
use kplane_tests::kms::Service;
use kplane_tests::{Server, Store, eventually};
use serde_json::{Value, json};

use crate::settings::{SECRETS, secret};
use crate::world::{FLAG, MAPS, config_map};

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
    let encoded = STANDARD.encode(text);
    [text.as_bytes(), encoded.as_bytes()]
        .iter()
        .any(|part| value.windows(part.len()).any(|window| window == *part))
}

#[test]
fn secrets_are_encrypted_in_the_store_and_rotated_in_place() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("encryption.yaml");
    let key = |byte: u8| STANDARD.encode([byte; 32]);
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

/// The bytes of a store: all that the file of an embedded one holds, also what was deleted; all values of an etcd.
fn bytes(server: &Server) -> Vec<Vec<u8>> {
    if server.etcd().is_some() {
        return stored(server).into_iter().map(|(_, value)| value).collect();
    }
    let (mut folders, mut files) = (vec![server.folder().join("data")], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    let files = files.iter().filter(|file| file.to_string_lossy().contains("/data/store"));
    let read: Vec<_> = files.map(|file| std::fs::read(file).expect("the store")).collect();
    assert!(!read.is_empty(), "the store has no file");
    read
}

/// The Secret is there for its tenant and not in the store, where a ConfigMap is.
fn kept_secret(server: &Server) {
    let vcp = server.client().vcp("a");
    assert_eq!(vcp.get(&format!("{SECRETS}/s")).ok()["data"]["password"], STANDARD.encode(FLAG));
    let bytes = bytes(server);
    let found = |text: &str| bytes.iter().any(|value| holds(value, text));
    assert!(!found(FLAG), "a Secret is in the store in the clear");
    assert!(found("told-to-all"), "what is not secret was not found either: nothing was looked at");
}

fn fill(server: &Server) {
    server.create_vcp("a");
    let vcp = server.client().vcp("a");
    vcp.post(SECRETS, &secret("s")).ok();
    // One that was changed and one that is gone leave nothing behind either.
    vcp.merge(&format!("{SECRETS}/s"), &json!({"metadata": {"labels": {"a": "b"}}})).ok();
    vcp.post(SECRETS, &secret("gone")).ok();
    vcp.delete(&format!("{SECRETS}/gone")).ok();
    let mut map = config_map("m");
    map["data"] = json!({"text": "told-to-all"});
    vcp.post(MAPS, &map).ok();
}

fn restart(server: &mut Server) {
    server.kill();
    server.start_again();
}

fn encrypted_by_default(store: Store) {
    let mut server = Server::start_prepared(store, &[], |data| {
        if store == Store::Etcd {
            // Servers that share an etcd are given their key.
            std::fs::create_dir_all(data.join("pki")).expect("a folder");
            std::fs::write(data.join("pki/encryption.key"), STANDARD.encode([7; 32])).expect("a key");
        }
    });
    fill(&server);
    kept_secret(&server);
    restart(&mut server);
    kept_secret(&server);
}

#[test]
fn secrets_are_encrypted_by_default_in_the_embedded_store() {
    encrypted_by_default(Store::Embedded);
}

#[test]
fn secrets_are_encrypted_by_default_in_etcd_once_there_is_a_key() {
    encrypted_by_default(Store::Etcd);
}

fn configuration(providers: &Value) -> String {
    json!({
        "apiVersion": "apiserver.config.k8s.io/v1", "kind": "EncryptionConfiguration",
        "resources": [{"resources": ["secrets"], "providers": providers}],
    })
    .to_string()
}

fn with_configuration(store: Store, providers: &Value) -> (Server, PathBuf, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("encryption.json");
    std::fs::write(&file, configuration(providers)).expect("a configuration");
    let server = Server::start_with(store, &[&format!("--encryption-provider-config={}", file.display())]);
    (server, file, folder)
}

/// Whether the store holds a value that begins so.
fn begins(server: &Server, prefix: &str) -> bool {
    bytes(server).iter().any(|value| value.windows(prefix.len()).any(|window| window == prefix.as_bytes()))
}

#[test]
fn a_key_of_aes_gcm_is_rotated_in_place_in_the_embedded_store() {
    let provider = |name: &str, byte: u8| json!({"aesgcm": {"keys": [{"name": name, "secret": STANDARD.encode([byte; 32])}]}});
    let (mut server, file, _folder) = with_configuration(Store::Embedded, &json!([provider("one", 1)]));
    fill(&server);
    kept_secret(&server);
    assert!(begins(&server, "k8s:enc:aesgcm:v1:one:") && !begins(&server, "k8s:enc:aesgcm:v1:two:"));
    let both = json!([provider("two", 2), provider("one", 1)]);
    std::fs::write(&file, configuration(&both)).expect("a configuration");
    restart(&mut server);
    kept_secret(&server);
    eventually("all is written anew", Duration::from_secs(20), || begins(&server, "k8s:enc:aesgcm:v1:two:"));
    // Once it is, the old key is not needed any more.
    eventually("the old key can go", Duration::from_secs(30), || {
        std::fs::write(&file, configuration(&json!([provider("two", 2)]))).expect("a configuration");
        restart(&mut server);
        let read = server.client().vcp("a").get(&format!("{SECRETS}/s")).code == 200;
        if !read {
            std::fs::write(&file, configuration(&both)).expect("a configuration");
            restart(&mut server);
        }
        read
    });
    kept_secret(&server);
}

fn sealed_by_a_service(store: Store) {
    let folder = tempfile::tempdir().expect("a folder");
    let service = Service::start(&folder.path().join("kms.sock"), "first");
    let provider = json!([{"kms": {"apiVersion": "v2", "name": "k", "endpoint": service.endpoint()}}]);
    let (mut server, _file, _folder) = with_configuration(store, &provider);
    fill(&server);
    kept_secret(&server);
    assert!(begins(&server, "k8s:enc:kms:v2:k:"));
    // The service takes another key: what its first one sealed is still read, and is written anew.
    let sealed = || -> Vec<Vec<u8>> {
        let is_secret = |value: &Vec<u8>| value.starts_with(b"k8s:enc:kms:v2:k:");
        bytes(&server).into_iter().filter(is_secret).collect()
    };
    let before = sealed();
    service.set_key("second");
    restart(&mut server);
    kept_secret(&server);
    if store == Store::Etcd {
        assert!(!before.is_empty());
        eventually("all is written anew", Duration::from_secs(20), || {
            let is_secret = |value: &Vec<u8>| value.starts_with(b"k8s:enc:kms:v2:k:");
            bytes(&server).iter().filter(|value| is_secret(value)).all(|value| !before.contains(value))
        });
    }
    kept_secret(&server);
}

#[test]
fn a_key_management_service_seals_secrets_in_the_embedded_store() {
    sealed_by_a_service(Store::Embedded);
}

#[test]
fn a_key_management_service_seals_secrets_in_etcd() {
    sealed_by_a_service(Store::Etcd);
}

/// The private parts that a server was given or has made, each as it would stand in a log.
fn secrets_of(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for name in ["plane.key", "encryption.key", "ca.key", "server.key", "admin.key"] {
        let text = std::fs::read_to_string(folder.join("data/pki").join(name)).expect(name);
        let line = text.lines().find(|line| !line.starts_with("-----")).expect("a line of a key");
        found.push(line.trim().to_owned());
    }
    found
}

#[test]
fn nothing_secret_is_logged_or_readable_by_others() {
    let folder = tempfile::tempdir().expect("a folder");
    let (audit, tokens) = (folder.path().join("audit.log"), folder.path().join("tokens"));
    std::fs::write(&tokens, "token-of-the-operator,op,1,system:masters\n").expect("a file");
    let server = Server::start_logging(
        Store::Embedded,
        "trace",
        &[
            &format!("--audit-log-path={}", audit.display()),
            &format!("--token-auth-file={}", tokens.display()),
        ],
    );
    server.create_vcp("a");
    let a = server.client().vcp("a");
    a.post(SECRETS, &secret("s")).ok();
    a.merge(&format!("{SECRETS}/s"), &json!({"stringData": {"password": format!("{FLAG}-again")}})).ok();
    a.post(
        SECRETS,
        &json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": 7}, "stringData": {"a": FLAG}}),
    );
    let watch = a.watch(&format!(
        "{SECRETS}?sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
    ));
    watch.expect("ADDED", "s");
    // Tokens of every kind, good and bad.
    let bootstrap = json!({
        "apiVersion": "v1", "kind": "Secret", "type": "bootstrap.kubernetes.io/token",
        "metadata": {"name": "bootstrap-token-abcdef", "namespace": "kube-system"},
        "stringData": {
            "token-id": "abcdef", "token-secret": "q7w8e9r0t1y2u3i4", "usage-bootstrap-authentication": "true",
        },
    });
    a.post("/api/v1/namespaces/kube-system/secrets", &bootstrap).ok();
    let legacy = json!({
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/service-account-token",
        "metadata": {"name": "of-default", "annotations": {"kubernetes.io/service-account.name": "default"}},
    });
    a.post(SECRETS, &legacy).ok();
    let mut old = String::new();
    eventually("the Secret holds a token", Duration::from_secs(20), || {
        let secret = a.get(&format!("{SECRETS}/of-default")).ok();
        let token = secret["data"]["token"].as_str().and_then(|token| STANDARD.decode(token).ok());
        old = token.and_then(|token| String::from_utf8(token).ok()).unwrap_or_default();
        !old.is_empty()
    });
    let credentials = server.client().post(
        "/apis/tenancy.kplane.dev/v1alpha1/virtualclusters/a/credentials",
        &json!({
            "apiVersion": "tenancy.kplane.dev/v1alpha1", "kind": "CredentialRequest",
            "spec": {"user": "jane", "expirationSeconds": 3600},
        }),
    );
    let key = credentials.ok()["status"]["clientKeyData"].as_str().expect("a key").to_owned();
    let key = String::from_utf8(STANDARD.decode(key).expect("base64")).expect("PEM");
    let key = key.lines().nth(1).expect("a line of the key").to_owned();
    for token in [
        "abcdef.q7w8e9r0t1y2u3i4",
        "abcdef.q7w8e9r0t1y2u3ix",
        "token-of-the-operator",
        &old,
        &format!("{old}x"),
    ] {
        for path in ["/api", "/api/v1/secrets"] {
            a.send("GET", path, &[("Authorization", &format!("Bearer {token}"))], "").expect("an answer");
        }
        let protocol = format!("base64url.bearer.authorization.k8s.io.{}", STANDARD.encode(token));
        a.send("GET", "/api", &[("Sec-WebSocket-Protocol", &protocol)], "").expect("an answer");
    }
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
    let signature = |token: &str| token.rsplit('.').next().expect("a signature").to_owned();
    let mut words = secrets_of(server.folder());
    words.extend([FLAG, "PRIVATE KEY", "q7w8e9r0t1y2u3i4", "token-of-the-operator"].map(str::to_owned));
    words.extend([signature(&token), signature(&old), key]);
    let audited = std::fs::read_to_string(&audit).expect("the audit log");
    assert!(audited.lines().count() > 20, "{audited}");
    for (name, text) in [("log", &log), ("audit log", &audited)] {
        for word in &words {
            if let Some(line) = text.lines().find(|line| holds(line.as_bytes(), word)) {
                panic!("in the {name}: {line}");
            }
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
                // What kubectl remembers is its own.
                if path.extension().is_none_or(|extension| extension != "cache") {
                    folders.push(path);
                }
                continue;
            }
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            let mode = std::fs::metadata(&path).expect("its mode").permissions().mode() & 0o777;
            assert_eq!(mode, 0o600, "{}: {mode:o}", path.display());
            seen += usize::from(name.ends_with(".key") || name.ends_with("kubeconfig"));
        }
    }
    assert!(seen >= 4, "only {seen} private files");
}
