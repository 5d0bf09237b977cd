//! Bad input and bad luck: a clear error, the right status, nothing lost.

use std::process::Command;
use std::sync::Arc;

use kplane_storage::{Bytes, EmbeddedOptions, EmbeddedStore, EtcdOptions, EtcdStore, SharedStore};
use kplane_tests::{Server, Store, program};

fn curl(server: &Server, arguments: &[&str], path: &str) -> (u16, String) {
    let url = format!("https://127.0.0.1:{}{path}", server.port());
    let output = Command::new("curl")
        .args(["-sk", "-w", "\n%{http_code}"])
        .args(arguments)
        .arg(url)
        .output()
        .expect("curl is on PATH");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let (body, code) = text.rsplit_once('\n').expect("a status line");
    (code.parse().expect("a status"), body.to_owned())
}

#[test]
fn strangers_get_the_same_answer_whatever_the_path() {
    let server = Server::start(Store::Embedded);
    server.create_vcp("real");
    let (code, real) = curl(&server, &[], "/clusters/real/control-plane/api/v1/namespaces");
    assert_eq!(code, 403, "{real}");
    assert!(real.contains("User \\\"system:anonymous\\\" cannot list resource \\\"namespaces\\\""), "{real}");
    let (code, unreal) = curl(&server, &[], "/clusters/unreal/control-plane/api/v1/namespaces");
    assert_eq!((code, unreal), (403, real));
    for path in ["/api", "/clusters/real/control-plane/api", "/clusters/unreal/control-plane/api"] {
        assert_eq!(curl(&server, &["-H", "Authorization: Bearer nope"], path).0, 401, "{path}");
    }
    // What everybody may see.
    assert_eq!(curl(&server, &[], "/clusters/real/control-plane/version").0, 200);
    assert_eq!(curl(&server, &[], "/readyz").0, 200);
}

#[test]
fn unknown_control_planes_and_bad_names_are_told() {
    let server = Server::start(Store::Embedded);
    let told = server.vcp("nope").fails(&["get", "ns"]);
    assert!(told.contains("nope") || told.contains("could not find"), "{told}");
    for bad in ["root", "management", "Upper", "a.b"] {
        let manifest = format!(
            "apiVersion: tenancy.kplane.dev/v1alpha1\nkind: VirtualCluster\nmetadata: {{name: {bad}}}\n"
        );
        let output = server.root().run_with(&["create", "-f", "-"], &manifest);
        assert!(!output.success && output.stderr.contains("metadata.name"), "{bad}: {}", output.stderr);
    }
    // Nothing came of any of it.
    assert_eq!(server.root().json(&["get", "virtualclusters"])["items"], serde_json::json!([]));
}

#[test]
fn a_destroyed_control_plane_leaves_nothing_to_the_next_of_its_name() {
    for store in [Store::Embedded, Store::Etcd] {
        let server = Server::start(store);
        let a = server.create_vcp("a");
        a.ok(&["create", "configmap", "old"]);
        server.root().ok(&["delete", "virtualcluster", "a", "--timeout=30s"]);
        assert!(!a.run(&["get", "cm"]).success);
        let a = server.create_vcp("a");
        assert!(a.fails(&["get", "cm", "old"]).contains("not found"));
    }
}

#[test]
fn what_was_acknowledged_survives_a_crash() {
    for store in [Store::Embedded, Store::Etcd] {
        let mut server = Server::start(store);
        let a = server.create_vcp("a");
        for i in 0..5 {
            a.ok(&["create", "configmap", &format!("c{i}")]);
        }
        server.crash_and_restart();
        let names = server.vcp("a").ok(&["get", "cm", "-o", "name"]);
        for i in 0..5 {
            assert!(names.contains(&format!("configmap/c{i}\n")), "{names}");
        }
    }
}

/// Writes the format of the data, as the version that made it would.
async fn mark(server: &Server, format: &str) {
    let store: SharedStore = match server.etcd() {
        Some(etcd) => {
            let options = EtcdOptions::new([etcd.endpoint()]);
            Arc::new(EtcdStore::connect(options).await.expect("etcd"))
        }
        None => {
            let path = server.folder().join("data/store");
            Arc::new(EmbeddedStore::open(&path, EmbeddedOptions::default()).expect("the store"))
        }
    };
    let key = Bytes::from_static(b"/kplane/.meta/format");
    assert!(store.get(&key, None).await.expect("the mark").kv.is_some());
    store.put(key, format.to_owned().into()).await.expect("a mark");
}

/// Whoever goes back to an older version, with data of a newer one, is told so, and nothing is touched.
#[test]
fn data_of_a_newer_format_is_refused_with_what_to_do() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    for kind in [Store::Embedded, Store::Etcd] {
        let mut server = Server::start(kind);
        server.create_vcp("a").ok(&["create", "configmap", "kept"]);
        server.kill();
        runtime.block_on(mark(&server, "99"));
        let told = server.start_in_vain();
        assert!(told.contains("the data has format 99, newer than this program knows"), "{kind:?}: {told}");
        assert!(told.contains("use a newer version"), "{kind:?}: {told}");
        runtime.block_on(mark(&server, "1"));
        server.start_again();
        server.vcp("a").ok(&["get", "configmap", "kept"]);
    }
}

#[test]
fn a_taken_port_is_told() {
    let server = Server::start(Store::Embedded);
    let output = Command::new(program("kplane-apiserver"))
        .args(["--data-dir", &server.folder().join("other").display().to_string()])
        .arg(format!("--secure-port={}", server.port()))
        .output()
        .expect("it runs");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && told.contains(&server.port().to_string()), "{told}");
}

#[test]
fn invalid_manifests_say_what_is_wrong() {
    let server = Server::start(Store::Embedded);
    let a = server.create_vcp("a");
    let output = a.run_with(
        &["create", "--validate=false", "-f", "-"],
        "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {containers: []}\n",
    );
    assert!(
        !output.success && output.stderr.contains("spec.containers: Required value"),
        "{}",
        output.stderr
    );
    let output = a
        .run_with(&["create", "-f", "-"], "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: p}\nspec: {}\n");
    assert!(!output.success && output.stderr.contains("unknown field \"spec\""), "{}", output.stderr);
}
