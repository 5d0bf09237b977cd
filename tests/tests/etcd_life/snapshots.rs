//! A snapshot gives back every control plane, and no client sees the past for the present.

use kplane_tests::{Client, Plane, eventually, version};
use serde_json::json;

use crate::{OBJECTS, PATIENCE, RECORDS, control_plane, create, delete, looked_at, object, read, settled};

/// What a watch from a version is answered: the code of the answer, or of the first error in it.
fn watch_from(client: &Client, version: u64) -> u64 {
    let path = format!("{OBJECTS}?watch=true&timeoutSeconds=2&resourceVersion={version}");
    let mut answer = None;
    eventually("a watch is answered", PATIENCE, || {
        answer = client.send("GET", &path, &[], "").ok();
        answer.is_some()
    });
    let answer = answer.expect("an answer");
    let first =
        answer.text.lines().next().and_then(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    match first {
        Some(event) if event["type"] == "ERROR" => event["object"]["code"].as_u64().unwrap_or(0),
        _ => u64::from(answer.code),
    }
}

fn restore(plane: &Plane, replicas: u32, from: serde_json::Value) {
    let managed = json!({ "replicas": replicas, "restore": from });
    plane.change(&json!({ "spec": { "store": { "etcd": { "managed": managed } } } }));
}

#[test]
fn a_restore_from_nothing_is_said_and_undone() {
    let spec = json!({
        "apiserver": { "replicas": 1 },
        "store": { "etcd": { "managed": { "replicas": 1 } } },
    });
    let plane = Plane::start_with(&spec);
    settled(&plane, 1);
    create(&control_plane(&plane, "a"), OBJECTS, &object("kept"));
    // The volumes here are nobody's; that they could be somebody's must not be what is complained of.
    plane.kubectl().apply(
        "apiVersion: storage.k8s.io/v1\nkind: StorageClass\nmetadata: {name: here, annotations: {storageclass.kubernetes.io/is-default-class: 'true'}}\nprovisioner: test/none\n",
    );
    restore(&plane, 1, json!({ "from": "kplane-no-such.db" }));
    eventually("it says that there is none", PATIENCE, || {
        let object = plane.object();
        plane.condition("Ready") == "False Restoring" && object.to_string().contains("there is no snapshot")
    });
    restore(&plane, 1, json!(null));
    plane.wait_ready();
    settled(&plane, 1);
    assert!(read(&plane.client().vcp("a"), &format!("{OBJECTS}/kept")).is_some());
}

#[test]
fn a_snapshot_gives_back_every_control_plane_and_moves_revisions_on() {
    let spec = json!({
        "apiserver": { "replicas": 1 },
        "store": { "backup": { "schedule": "0 3 1 1 *", "retain": 2 } },
    });
    let mut plane = Plane::start_with(&spec);
    settled(&plane, 3);
    for name in ["a", "b"] {
        create(&control_plane(&plane, name), OBJECTS, &object("kept"));
    }
    assert_eq!(plane.condition("BackupSucceeded"), "Unknown BackupPending");
    let kubectl = plane.kubectl();
    let job = ["-n", "kplane-system", "create", "job", "--from=cronjob/kplane-etcd-backup"];
    kubectl.ok(&[&job[..], &["now"]].concat());
    looked_at(&plane, "a snapshot", |_| plane.condition("BackupSucceeded") == "True BackedUp");
    let saved = plane.object()["status"]["store"]["lastBackup"].clone();
    assert!(saved["size"].as_u64() > Some(1000) && saved["revision"].as_u64() > Some(1), "{saved}");
    let snapshot = saved["name"].as_str().expect("its name");

    // What comes after it is not in it.
    let a = plane.client().vcp("a");
    create(&a, OBJECTS, &object("lost"));
    delete(&a, &format!("{OBJECTS}/kept"));
    control_plane(&plane, "late");
    let seen = version(&read(&a, OBJECTS).expect("a list"));

    restore(&plane, 3, json!({ "from": snapshot }));
    eventually("it is restored", PATIENCE, || {
        plane.object()["status"]["store"]["restoredFrom"] == snapshot
            && plane.condition("Ready").starts_with("True ")
    });
    settled(&plane, 3);
    let names: Vec<String> = read(&plane.client(), RECORDS).expect("a list")["items"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|record| record["metadata"]["name"].as_str().map(str::to_owned))
        .collect();
    assert!(names.contains(&"a".to_owned()) && names.contains(&"b".to_owned()), "{names:?}");
    assert!(!names.contains(&"late".to_owned()), "{names:?}");
    let a = plane.client().vcp("a");
    for client in [&a, &plane.client().vcp("b")] {
        assert!(read(client, &format!("{OBJECTS}/kept")).is_some());
    }
    assert!(read(&a, &format!("{OBJECTS}/lost")).is_none());

    // Whoever has seen what is no more is told to list anew.
    let list = version(&read(&a, OBJECTS).expect("a list"));
    assert!(list > seen + 900_000_000, "{list} after {seen}");
    assert_eq!(watch_from(&a, seen), 410);
    create(&a, OBJECTS, &object("after"));
    assert_eq!(watch_from(&a, list), 200);

    // It happens once: what is written since stays, and what was replaced is removed.
    plane.restart_controllers();
    looked_at(&plane, "what was replaced is removed", |_| {
        (0..3).all(|index| {
            let volume = plane.root(&format!("kplane-etcd-{index}")).join("var/lib/etcd");
            volume.join("data").exists() && !volume.join("data.before-restore").exists()
        })
    });
    looked_at(&plane, "the pods are as before", |_| {
        plane.workload("statefulsets", "kplane-etcd")["spec"]["template"]["spec"]["initContainers"].is_null()
    });
    settled(&plane, 3);
    assert!(read(&plane.client().vcp("a"), &format!("{OBJECTS}/after")).is_some());
}
