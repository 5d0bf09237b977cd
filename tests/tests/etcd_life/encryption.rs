//! The key that Secrets are encrypted with is replaced while clients are at work, and nothing of the old one is left.

use std::sync::atomic::{AtomicBool, Ordering};

use kplane_storage::{EtcdOptions, EtcdStore, RangeRequest, Store};
use kplane_tests::{Client, Plane, eventually};
use serde_json::json;

use crate::{PATIENCE, control_plane, settled};

const SECRETS: &str = "/api/v1/namespaces/default/secrets";
const SEALED: &str = "k8s:enc:aesgcm:v1:";

fn key_file(plane: &Plane) -> String {
    plane.secret("kplane-apiserver-pki", "encryption.key").expect("the keys")
}

/// The names of the keys that values in etcd are sealed with.
fn names(plane: &Plane) -> Vec<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let pem = |key: &str| plane.secret("kplane-etcd-client", key).map(String::into_bytes);
    let endpoint = format!("https://localhost:{}", plane.port("kplane-etcd-0", 2379));
    let options = EtcdOptions {
        ca: pem("ca.crt"),
        cert: pem("tls.crt"),
        key: pem("tls.key"),
        ..EtcdOptions::new([endpoint])
    };
    let found = runtime.block_on(async {
        let store = EtcdStore::connect(options).await.expect("etcd");
        store.range(RangeRequest::prefix("/kplane/")).await.expect("all")
    });
    let sealed = found.kvs.iter().filter_map(|kv| kv.value.strip_prefix(SEALED.as_bytes()));
    let mut names: Vec<String> = sealed
        .map(|rest| {
            String::from_utf8_lossy(rest.split(|byte| *byte == b':').next().unwrap_or_default()).into_owned()
        })
        .collect();
    names.sort();
    names.dedup();
    names
}

/// Writes Secrets and reads all of them back, until told to end; what was answered otherwise than well.
fn work(client: &Client, done: &AtomicBool) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut turn = 0;
    while !done.load(Ordering::SeqCst) {
        let name = format!("s-{turn}");
        turn += 1;
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": { "name": name }, "stringData": { "text": name },
        });
        for (method, path, body) in [
            ("POST", SECRETS.to_owned(), secret.to_string()),
            ("GET", format!("{SECRETS}/{name}"), String::new()),
            ("GET", format!("{SECRETS}/s-0"), String::new()),
            ("GET", SECRETS.to_owned(), String::new()),
        ] {
            match client.send(method, &path, &[], &body) {
                Ok(answer) if answer.code < 300 => {}
                Ok(answer) => wrong.push(format!("{method} {path}: {} {}", answer.code, answer.text)),
                Err(error) => wrong.push(format!("{method} {path}: {error}")),
            }
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    wrong
}

#[test]
fn the_key_is_replaced_under_load_and_nothing_of_the_old_one_is_left() {
    let plane = Plane::start_with(&json!({ "store": { "etcd": { "managed": { "replicas": 1 } } } }));
    settled(&plane, 1);
    let client = control_plane(&plane, "a");
    let old = key_file(&plane);
    assert_eq!(old.lines().count(), 1);
    let done = AtomicBool::new(false);
    let wrong = std::thread::scope(|scope| {
        let worker = scope.spawn(|| work(&client, &done));
        eventually("a Secret is in etcd", PATIENCE, || names(&plane) == ["plane"]);
        plane.change(&json!({ "metadata": { "annotations": {
            "controlplane.kplane.dev/rotate-encryption-key": "today",
        }}}));
        let reason = || plane.condition("CertificatesReady");
        eventually("it is under way", PATIENCE, || reason() == "True ReplacingEncryptionKey");
        let over = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            eventually("there is one key again", 2 * PATIENCE, || {
                let now = key_file(&plane);
                now.lines().count() == 1 && now != old
            });
            eventually("it is said", PATIENCE, || reason() == "True Reconciled");
            plane.wait_rolled_out();
        }));
        done.store(true, Ordering::SeqCst);
        let wrong = worker.join().expect("the worker");
        if let Err(panic) = over {
            std::panic::resume_unwind(panic);
        }
        wrong
    });
    assert!(wrong.is_empty(), "{wrong:#?}");
    let new = key_file(&plane);
    let name = new.split(' ').next().expect("a name");
    assert!(name.starts_with("plane-") && !new.contains(old.trim()), "{name}");
    assert_eq!(names(&plane), [name]);
    let listed = client.get(SECRETS).ok();
    let items = listed["items"].as_array().expect("a list");
    assert!(items.iter().any(|item| item["metadata"]["name"] == "s-0"));
}
