//! Another version: rolled out under load, refused when it is too far away, put back when it does not become ready.

use kplane_tests::history::Load;
use kplane_tests::plane_processes::MISSING;
use kplane_tests::{Plane, eventually};
use serde_json::{Value, json};

use crate::{PATIENCE, WRITERS, control_plane};

fn version(plane: &Plane) -> Value {
    plane.object()["status"]["version"].clone()
}

#[test]
fn a_version_is_rolled_out_or_put_back_and_no_request_fails() {
    let plane = Plane::start_with(&json!({ "apiserver": { "progressDeadlineSeconds": 10 } }));
    let load = Load::start(&control_plane(&plane, "load"), WRITERS);
    load.more(50);
    let first = version(&plane);
    let next = format!("{}-next", first.as_str().expect("the version that runs"));
    plane.change(&json!({ "spec": { "version": next } }));
    eventually("the new version runs", PATIENCE, || version(&plane) == json!(next));
    plane.wait_ready();
    assert_eq!(plane.condition("Upgrading"), "False Reconciled");

    // One whose image cannot be had: the servers that run are not touched, and the version is put back.
    let before = plane.pods("kplane-apiserver");
    plane.change(&json!({ "spec": { "apiserver": { "image": format!("{MISSING}kplane:{next}") } } }));
    eventually("it is given up", PATIENCE, || plane.condition("Ready") == "False UpgradeFailed");
    let message = plane.object()["status"]["failedUpgrade"]["message"].as_str().map(str::to_owned);
    let message = message.expect("what to do");
    assert!(message.contains("there is no such image") && message.contains("change the spec"), "{message}");
    plane.wait_rolled_out();
    assert_eq!(plane.pods("kplane-apiserver"), before);
    assert_eq!(version(&plane), json!(next));
    assert_eq!(plane.condition("Ready"), "False UpgradeFailed");
    let events = plane.kubectl().ok(&["get", "events", "-A"]);
    assert!(events.contains("UpgradeFailed"), "{events}");

    plane.change(&json!({ "spec": { "version": "v9.9.9", "apiserver": { "image": "" } } }));
    eventually("it is refused", PATIENCE, || plane.condition("Ready") == "False VersionSkew");
    assert_eq!(plane.pods("kplane-apiserver"), before);
    plane.change(&json!({ "spec": { "version": next } }));
    plane.wait_ready();
    assert_eq!(plane.pods("kplane-apiserver"), before);
    load.more(50);
    let failures = load.told();
    assert!(failures.is_empty(), "{failures:#?}");
    load.stop_and_check();
}
