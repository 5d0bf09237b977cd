use std::collections::HashMap;

use kplane_storage::{EmbeddedOptions, EmbeddedStore, SealedStore, SharedStore, Store};
use serde_json::{Value, json};

use super::*;

const SECRET: &[u8] = b"/kplane/root//secrets/default/s";

fn encryption(rules: Vec<Rule>, strict: bool) -> Encryption {
    Encryption {
        base: b"/kplane/".to_vec(),
        rules,
        services: Vec::new(),
        plane: plane(&[(PLANE, 7)]),
        strict,
    }
}

fn lines(keys: &[(&str, u8)]) -> String {
    use base64::Engine;
    let line = |(name, byte): &(&str, u8)| {
        let encoded = base64::engine::general_purpose::STANDARD.encode([*byte; 32]);
        if *name == PLANE { format!("{encoded}\n") } else { format!("{name} {encoded}\n") }
    };
    keys.iter().map(line).collect()
}

fn plane(keys: &[(&str, u8)]) -> PlaneKeys {
    PlaneKeys::of(&lines(keys))
}

fn of_keys(keys: &[(&str, u8)], again: &str) -> Encryption {
    let plane = PlaneKeys::of(&(lines(keys) + again));
    Encryption { plane: plane.clone(), ..encryption(vec![Rule::of_plane(plane.all().to_vec())], false) }
}

fn of_plane() -> Encryption {
    of_keys(&[(PLANE, 7)], "")
}

fn configured(providers: Value) -> Encryption {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("encryption.yaml");
    let text = json!({
        "apiVersion": "apiserver.config.k8s.io/v1", "kind": "EncryptionConfiguration",
        "resources": [{"resources": ["secrets"], "providers": providers}],
    });
    std::fs::write(&path, text.to_string()).expect("a file");
    encryption(config::load(&path).expect("a configuration"), true)
}

fn key(name: &str, byte: u8) -> Value {
    use base64::Engine;
    json!({"name": name, "secret": base64::engine::general_purpose::STANDARD.encode([byte; 32])})
}

fn temporary() -> (SharedStore, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let store = EmbeddedStore::open(&folder.path().join("store"), EmbeddedOptions::default());
    (Arc::new(store.expect("a store")), folder)
}

#[tokio::test]
async fn secrets_are_sealed_by_default_and_nothing_else() {
    let sealer = of_plane();
    assert!(sealer.seals(SECRET));
    for other in
        ["/kplane/root//configmaps/default/s", "/kplane/.meta/pins/secrets/x", "/elsewhere/root//secrets/a/b"]
    {
        assert!(!sealer.seals(other.as_bytes()), "{other}");
    }
    let sealed = sealer.seal(SECRET, b"value").await.expect("sealed");
    assert!(sealed.starts_with(b"k8s:enc:aesgcm:v1:plane:"));
    assert_eq!(sealer.open(SECRET, &sealed).await.expect("opened"), "value");
    // What was stored before there was encryption is read as it is.
    assert!(sealer.is_plain(SECRET, b"\x01value") && sealer.is_stale(SECRET, b"\x01value"));
    // Moved to another control plane, it does not open.
    let elsewhere = b"/kplane/00000000000040008000000000000001//secrets/default/s";
    let told = sealer.open(elsewhere, &sealed).await.expect_err("moved").to_string();
    assert!(told.contains("it was moved"), "{told}");
}

/// As a deployed plane does it: each step is one that all servers can take while others are at the one before.
#[tokio::test]
async fn the_planes_own_key_is_replaced_in_steps() {
    let steps = [
        of_keys(&[(PLANE, 7)], ""),
        of_keys(&[(PLANE, 7), ("plane-2", 2)], ""),
        of_keys(&[("plane-2", 2), (PLANE, 7)], ""),
        of_keys(&[("plane-2", 2), (PLANE, 7)], "again: x"),
        of_keys(&[("plane-2", 2)], ""),
    ];
    for two in steps[..4].windows(2) {
        for (writer, reader) in [(&two[0], &two[1]), (&two[1], &two[0])] {
            let sealed = writer.seal(SECRET, b"value").await.expect("sealed");
            assert_eq!(reader.open(SECRET, &sealed).await.expect("opened"), "value");
        }
    }
    let old = steps[1].seal(SECRET, b"value").await.expect("sealed");
    assert!(!steps[1].is_stale(SECRET, &old) && steps[2].is_stale(SECRET, &old));
    let told = steps[4].open(SECRET, &old).await.expect_err("the key is gone").to_string();
    assert!(told.contains("no key \"plane\"") && told.contains("pki/encryption.key"), "{told}");
    let prints: Vec<String> = steps.iter().map(Encryption::fingerprint).collect();
    // A key that only opens changes nothing; each that seals, and each look again, has all values looked at.
    assert_eq!(prints[0], prints[1]);
    assert!(prints[1] != prints[2] && prints[2] != prints[3] && prints[3] != prints[4]);
}

#[tokio::test]
async fn keys_are_rotated_in_place() {
    let old = configured(json!([{"aesgcm": {"keys": [key("one", 1)]}}, {"identity": {}}]));
    let both =
        configured(json!([{"secretbox": {"keys": [key("two", 2)]}}, {"aesgcm": {"keys": [key("one", 1)]}}]));
    let new = configured(json!([{"secretbox": {"keys": [key("two", 2)]}}]));
    let sealed = old.seal(SECRET, b"value").await.expect("sealed");
    assert!(!old.is_stale(SECRET, &sealed) && both.is_stale(SECRET, &sealed));
    assert_eq!(both.open(SECRET, &sealed).await.expect("opened"), "value");
    let told = new.open(SECRET, &sealed).await.expect_err("no key").to_string();
    assert!(told.contains("no key \"one\"") && told.contains("--encryption-provider-config"), "{told}");
    let again = both.seal(SECRET, b"value").await.expect("sealed");
    assert_eq!(new.open(SECRET, &again).await.expect("opened"), "value");
    // What is not sealed is refused where nothing allows it, and never taken for nothing.
    assert!(!new.is_plain(SECRET, b"\x01value") && old.is_plain(SECRET, b"\x01value"));
    let told = new.open(SECRET, b"\x01value").await.expect_err("not sealed").to_string();
    assert!(told.contains("identity"), "{told}");
    // What the plane's own key sealed opens under every configuration of the same plane.
    let plane = of_plane().seal(SECRET, b"value").await.expect("sealed");
    assert_eq!(new.open(SECRET, &plane).await.expect("opened"), "value");
    assert!(new.is_stale(SECRET, &plane));
    // Another key of the same name says so.
    let other = configured(json!([{"secretbox": {"keys": [key("two", 3)]}}]));
    let told = other.open(SECRET, &again).await.expect_err("another key").to_string();
    assert!(told.contains("another than the one"), "{told}");
    assert_ne!(old.fingerprint(), both.fingerprint());
    assert_eq!(both.fingerprint(), new.fingerprint());
}

#[tokio::test]
async fn what_is_stored_is_written_anew_once() {
    let (inner, _folder) = temporary();
    let first = Arc::new(of_plane());
    let store: SharedStore = Arc::new(SealedStore::new(inner.clone(), first.clone()));
    let options = kplane_registry::RegistryOptions::default();
    let registry = kplane_registry::Registry::open(inner.clone(), options.clone()).await.expect("a registry");
    for i in 0..250 {
        let key = format!("/kplane/root//secrets/default/s{i:03}");
        // Half of them from before there was encryption.
        let target = if i % 2 == 0 { &store } else { &inner };
        target.put(key.into(), Bytes::from_static(b"\x01value")).await.expect("a write");
    }
    inner
        .put(Bytes::from_static(b"/kplane/root//events/default/e"), Bytes::from_static(b"\x01e"))
        .await
        .expect("a write");
    let second = Arc::new(configured(json!([{"aesgcm": {"keys": [key("new", 9)]}}, {"identity": {}}])));
    sweep::run(registry.clone(), inner.clone(), second.clone(), tokio_util::sync::CancellationToken::new())
        .await;
    let all = kplane_storage::RangeRequest::prefix("/kplane/root//secrets/");
    let page = inner.range(all.clone()).await.expect("a read");
    assert_eq!(page.kvs.len(), 250);
    assert!(page.kvs.iter().all(|kv| kv.value.starts_with(b"k8s:enc:aesgcm:v1:new:")));
    let opened = SealedStore::new(inner.clone(), second.clone());
    assert!(opened.range(all).await.expect("a read").kvs.iter().all(|kv| kv.value == b"\x01value"[..]));
    let before = inner.current_revision().await.expect("a revision");
    sweep::run(registry, inner.clone(), second, tokio_util::sync::CancellationToken::new()).await;
    assert_eq!(inner.current_revision().await.expect("a revision"), before);
}

/// A key management service: keeps seeds by number, under a key whose id changes when it is told to.
mod service {
    use std::sync::Mutex;

    use super::*;

    /// Speaks just enough HTTP/2 and gRPC for three methods.
    pub async fn serve(socket: std::path::PathBuf, key_id: Arc<Mutex<String>>) {
        use http_body_util::BodyExt;
        let listener = tokio::net::UnixListener::bind(socket).expect("a socket");
        let kept: Arc<Mutex<HashMap<Vec<u8>, Vec<u8>>>> = Arc::default();
        while let Ok((stream, _)) = listener.accept().await {
            let (kept, key_id) = (kept.clone(), key_id.clone());
            let service = hyper::service::service_fn(move |request: http::Request<hyper::body::Incoming>| {
                let (kept, key_id) = (kept.clone(), key_id.clone());
                async move {
                    let method = request.uri().path().rsplit('/').next().unwrap_or("").to_owned();
                    let bytes = request.into_body().collect().await.expect("a body").to_bytes();
                    let message = answer(&method, &bytes[5..], &kept, &key_id.lock().expect("the id"));
                    let mut framed = vec![0];
                    framed.extend(u32::try_from(message.len()).expect("short").to_be_bytes());
                    framed.extend(message);
                    let mut trailers = http::HeaderMap::new();
                    trailers.insert("grpc-status", http::HeaderValue::from_static("0"));
                    let body = http_body_util::Full::new(Bytes::from(framed))
                        .with_trailers(async move { Some(Ok::<_, std::convert::Infallible>(trailers)) });
                    let response = http::Response::builder().header("content-type", "application/grpc");
                    response.body(body).map_err(|e| e.to_string())
                }
            });
            let executor = hyper_util::rt::TokioExecutor::new();
            let io = hyper_util::rt::TokioIo::new(stream);
            tokio::spawn(hyper::server::conn::http2::Builder::new(executor).serve_connection(io, service));
        }
    }

    fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
        let mut out = vec![number << 3 | 2, u8::try_from(bytes.len()).expect("short")];
        out.extend_from_slice(bytes);
        out
    }

    fn answer(method: &str, request: &[u8], kept: &Mutex<HashMap<Vec<u8>, Vec<u8>>>, id: &str) -> Vec<u8> {
        let mut kept = kept.lock().expect("what is kept");
        let first = || request[2..2 + usize::from(request[1])].to_vec();
        match method {
            "Status" => [field(1, b"v2"), field(2, b"ok"), field(3, id.as_bytes())].concat(),
            "Encrypt" => {
                let name = format!("seed-{}", kept.len()).into_bytes();
                kept.insert(name.clone(), first());
                [field(1, &name), field(2, id.as_bytes())].concat()
            }
            _ => field(1, kept.get(&first()).expect("a seed")),
        }
    }
}

#[tokio::test]
async fn a_key_management_service_seals_the_seed() {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("kms.sock");
    let id = Arc::new(std::sync::Mutex::new("first".to_owned()));
    tokio::spawn(service::serve(socket.clone(), id.clone()));
    let path = folder.path().join("encryption.yaml");
    let text = json!({
        "apiVersion": "apiserver.config.k8s.io/v1", "kind": "EncryptionConfiguration",
        "resources": [{"resources": ["*.*"], "providers": [
            {"kms": {"apiVersion": "v2", "name": "k", "endpoint": format!("unix://{}", socket.display())}},
        ]}],
    });
    std::fs::write(&path, text.to_string()).expect("a file");
    while !socket.exists() {
        tokio::task::yield_now().await;
    }
    let one =
        Encryption::open(Some(&path), PlaneKeys::default(), "/kplane").await.expect("the service answers");
    let sealed = one.seal(SECRET, b"value").await.expect("sealed");
    assert!(sealed.starts_with(b"k8s:enc:kms:v2:k:"));
    assert_eq!(one.open(SECRET, &sealed).await.expect("opened"), "value");
    assert!(!one.is_stale(SECRET, &sealed));
    // Another process has another seed, and asks the service for this one. The service has another key meanwhile.
    *id.lock().expect("the id") = "second".into();
    let two =
        Encryption::open(Some(&path), PlaneKeys::default(), "/kplane").await.expect("the service answers");
    assert_eq!(two.open(SECRET, &sealed).await.expect("opened"), "value");
    assert!(two.is_stale(SECRET, &sealed));
    // Nobody there: an error that names it.
    let text = std::fs::read_to_string(&path).expect("the file").replace("kms.sock", "nobody.sock");
    std::fs::write(&path, text).expect("a file");
    let told = format!(
        "{:#}",
        Encryption::open(Some(&path), PlaneKeys::default(), "/kplane").await.expect_err("nobody")
    );
    assert!(told.contains("nobody.sock") && told.contains("does it run?"), "{told}");
}
