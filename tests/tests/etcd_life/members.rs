//! Members come and go one by one, and nothing is lost.

use std::fs::{metadata, remove_dir_all};

use kplane_tests::{Plane, eventually};
use serde_json::json;

use crate::{OBJECTS, PATIENCE, claims, control_plane, create, delete, looked_at, object, read, settled};

#[test]
fn members_come_one_by_one_one_that_lost_its_volume_is_replaced_and_they_go_again() {
    let spec = json!({
        "apiserver": { "replicas": 1, "extraArgs": ["--etcd-compaction-interval=2s"] },
        "store": { "etcd": { "managed": { "replicas": 1 } } },
    });
    let plane = Plane::begin_with(&spec, &["--etcd-defragment-above=6000000"]);
    plane.wait_ready();
    settled(&plane, 1);
    create(&control_plane(&plane, "a"), OBJECTS, &object("first"));

    let members = |count: u32| {
        plane.change(&json!({ "spec": { "store": { "etcd": { "managed": { "replicas": count } } } } }));
        settled(&plane, count);
        plane.wait_ready();
    };
    members(3);
    assert_eq!(claims(&plane).len(), 3);
    let servers = plane.workload("deployments", "kplane-apiserver").to_string();
    assert!(
        servers.contains("kplane-etcd-2.kplane-etcd.kplane-system.svc:2379"),
        "the server asks all members"
    );
    create(&plane.client().vcp("a"), OBJECTS, &object("second"));

    // A volume is lost: what comes back without its data is another member.
    let lost = "kplane-etcd-1";
    plane.hold(lost);
    plane.kill(lost);
    looked_at(&plane, "a member is missing", |_| plane.condition("StoreReady") == "True MemberMissing");
    create(&plane.client().vcp("a"), OBJECTS, &object("third"));
    remove_dir_all(plane.root(lost).join("var/lib/etcd/data")).expect("its data goes");
    plane.let_go(lost);
    looked_at(&plane, "it is replaced", |_| plane.condition("StoreReady") == "True Scaling");
    settled(&plane, 3);

    // Two are lost: nobody is served, and it is said what helps.
    for pod in ["kplane-etcd-1", "kplane-etcd-2"] {
        plane.hold(pod);
        plane.kill(pod);
    }
    looked_at(&plane, "the quorum is lost", |_| plane.condition("StoreReady") == "False QuorumLost");
    assert!(plane.condition("Ready").starts_with("False "));
    let told = plane.object().to_string();
    assert!(told.contains("bring the nodes and volumes of the others back, or restore a snapshot"), "{told}");
    plane.let_go("kplane-etcd-1");
    plane.let_go("kplane-etcd-2");
    settled(&plane, 3);
    plane.wait_ready();

    members(1);
    eventually("only one volume is left", PATIENCE, || claims(&plane) == ["data-kplane-etcd-0"]);
    plane.wait_ready();
    let client = plane.client().vcp("a");
    for name in ["first", "second", "third"] {
        assert!(read(&client, &format!("{OBJECTS}/{name}")).is_some(), "{name} is lost");
    }

    // A file that holds little of what it once did is written anew.
    let file = plane.root("kplane-etcd-0").join("var/lib/etcd/data/member/snap/db");
    let size = || metadata(&file).map_or(0, |file| file.len());
    for round in 0..16 {
        let name = format!("large-{round}");
        let mut large = object(&name);
        large["data"] = json!({ "text": "x".repeat(900_000) });
        create(&client, OBJECTS, &large);
        delete(&client, &format!("{OBJECTS}/{name}"));
    }
    assert!(size() > 12_000_000, "{}", size());
    looked_at(&plane, "the file is small again", |_| size() < 6_000_000);
    assert!(read(&client, &format!("{OBJECTS}/first")).is_some());
}
