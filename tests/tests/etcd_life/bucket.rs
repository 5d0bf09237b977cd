//! Snapshots in the bucket of an object store, and from it into every member.

use http_body_util::BodyExt as _;
use kplane_controllers::etcd::s3::{Bucket, Place};
use kplane_tests::object_store::{KEY_ID, SECRET};
use kplane_tests::{ObjectStore, Plane, eventually};
use serde_json::json;

use crate::{OBJECTS, PATIENCE, control_plane, create, delete, looked_at, object, read, settled};

const SECRETS: &str = "/api/v1/namespaces/kplane-system/secrets";
const JOBS: &str = "/apis/batch/v1/namespaces/kplane-system/jobs";

fn place(store: &ObjectStore, folder: &tempfile::TempDir) -> Place {
    let file = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect("a file");
    file("AWS_ACCESS_KEY_ID", KEY_ID);
    file("AWS_SECRET_ACCESS_KEY", SECRET);
    file("ca.crt", store.ca());
    Place {
        bucket: "backups".into(),
        prefix: "some where/ü+".into(),
        region: "eu-1".into(),
        endpoint: store.endpoint(),
        credentials: folder.path().to_owned(),
        ca: Some(folder.path().join("ca.crt")),
        ..Place::default()
    }
}

/// Several parts, names that have to be encoded, and what was cut off.
#[tokio::test]
async fn objects_go_up_in_parts_and_are_there_when_they_are_whole() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let store = ObjectStore::start("backups");
    let folder = tempfile::tempdir().expect("a folder");
    let bucket = Bucket::open(place(&store, &folder)).expect("a bucket");
    let bytes: Vec<u8> = (0..20_000_003_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 11) as u8).collect();
    let mut upload = bucket.write("kplane-1.db").await.expect("an upload");
    for piece in bytes.chunks(3_333_333) {
        upload.write(piece).await.expect("it is taken");
    }
    assert!(bucket.list("kplane-", ".db").await.expect("a list").is_empty(), "it is not whole yet");
    upload.finish().await.expect("it is whole");
    let listed = bucket.list("kplane-", ".db").await.expect("a list");
    assert_eq!((listed.len(), listed[0].name.as_str(), listed[0].size), (1, "kplane-1.db", 20_000_003));
    let body = bucket.read("kplane-1.db").await.expect("an answer").expect("an object");
    assert!(body.collect().await.expect("all of it").to_bytes() == bytes, "it is what was sent");
    assert!(bucket.read("kplane-2.db").await.expect("an answer").is_none());

    // What was cut off is removed when nobody can be at work on it any more.
    let mut cut_off = bucket.write("kplane-3.db").await.expect("an upload");
    let now = jiff::Timestamp::now();
    bucket.clear("kplane-", now).await.expect("it is looked at");
    cut_off.write(b"owls").await.expect("it is taken");
    bucket.clear("kplane-", now + jiff::SignedDuration::from_hours(3)).await.expect("it is removed");
    assert!(cut_off.finish().await.is_err(), "it is gone");

    bucket.delete("kplane-1.db").await.expect("it goes");
    assert!(bucket.list("kplane-", ".db").await.expect("a list").is_empty());
    // Nothing answers at the port from now on.
    drop(store);
    let said = bucket.list("kplane-", ".db").await.expect_err("nobody answers").to_string();
    assert!(said.contains("connection refused") && said.contains("destination.s3.endpoint"), "{said}");
}

fn snapshot(plane: &Plane, name: &str) {
    let job = ["-n", "kplane-system", "create", "job", "--from=cronjob/kplane-etcd-backup", name];
    plane.kubectl().ok(&job);
}

#[test]
fn snapshots_go_to_a_bucket_and_come_back_from_it() {
    let store = ObjectStore::start("backups");
    let s3 = json!({
        "bucket": "backups", "prefix": "planes/one", "endpoint": store.endpoint(),
        "credentialsSecretRef": { "name": "keys" }, "caSecretRef": { "name": "authority" },
    });
    let spec = json!({
        "apiserver": { "replicas": 1 },
        "store": { "backup": { "schedule": "0 3 1 1 *", "retain": 1, "destination": { "s3": s3 } } },
    });
    let plane = Plane::start_with(&spec);
    settled(&plane, 3);
    create(&control_plane(&plane, "a"), OBJECTS, &object("kept"));
    let condition = || plane.condition("BackupSucceeded");
    let management = plane.management().client();
    let secret = |name: &str, data: serde_json::Value| json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": name }, "stringData": data });
    let keys =
        |key: &str| secret("keys", json!({ "AWS_ACCESS_KEY_ID": KEY_ID, "AWS_SECRET_ACCESS_KEY": key }));

    assert_eq!(condition(), "False DestinationCredentialsMissing");
    management.post(SECRETS, &secret("authority", json!({ "ca.crt": store.ca() }))).ok();
    management.post(SECRETS, &keys("not-the-right-one")).ok();
    looked_at(&plane, "the keys are there", |_| condition() == "Unknown BackupPending");
    snapshot(&plane, "denied");
    looked_at(&plane, "it is denied", |_| condition() == "False DestinationDenied");
    let told = plane.object().to_string();
    assert!(told.contains("SignatureDoesNotMatch") && told.contains("credentialsSecretRef"), "{told}");
    assert!(!told.contains("not-the-right-one"));
    delete(&management, &format!("{JOBS}/denied?propagationPolicy=Background"));

    management.merge(&format!("{SECRETS}/keys"), &keys(SECRET)).ok();
    snapshot(&plane, "first");
    looked_at(&plane, "a snapshot", |_| condition() == "True BackedUp");
    let name =
        || plane.object()["status"]["store"]["lastBackup"]["name"].as_str().unwrap_or_default().to_owned();
    let first = name();
    assert_eq!(store.files("backups/planes/one"), [std::path::PathBuf::from(&first)]);
    snapshot(&plane, "second");
    looked_at(&plane, "another", |_| name() != first);
    let second = name();
    assert_eq!(store.files("backups/planes/one"), [std::path::PathBuf::from(&second)]);

    let elsewhere = |bucket: &str| {
        let s3 = json!({ "s3": { "bucket": bucket } });
        plane.change(&json!({ "spec": { "store": { "backup": { "destination": s3 } } } }));
    };
    elsewhere("no-such-bucket");
    eventually("it is told to go elsewhere", PATIENCE, || {
        let job = management.get("/apis/batch/v1/namespaces/kplane-system/cronjobs/kplane-etcd-backup");
        job.text.contains("--s3-bucket=no-such-bucket")
    });
    snapshot(&plane, "elsewhere");
    looked_at(&plane, "there is none", |_| condition() == "False BucketNotFound");
    elsewhere("backups");
    delete(&management, &format!("{JOBS}/elsewhere?propagationPolicy=Background"));

    let a = plane.client().vcp("a");
    create(&a, OBJECTS, &object("lost"));
    let restore = json!({ "replicas": 3, "restore": { "from": second } });
    plane.change(&json!({ "spec": { "store": { "etcd": { "managed": restore } } } }));
    eventually("it is restored", PATIENCE, || {
        plane.object()["status"]["store"]["restoredFrom"] == second
            && plane.condition("Ready").starts_with("True ")
    });
    settled(&plane, 3);
    let a = plane.client().vcp("a");
    assert!(read(&a, &format!("{OBJECTS}/kept")).is_some());
    assert!(read(&a, &format!("{OBJECTS}/lost")).is_none());
}
