//! The life of a managed etcd, in the very processes that its pods are: members come and go, one is lost for good, a
//! file is written anew, a snapshot is taken and restored.

mod bucket;
mod encryption;
mod expiry;
mod external;
mod members;
mod nameless;
mod renewal;
mod snapshots;

use std::time::Duration;

use kplane_tests::{Client, Plane, eventually};
use serde_json::{Value, json};

const RECORDS: &str = "/apis/tenancy.kplane.dev/v1alpha1/virtualclusters";
const OBJECTS: &str = "/api/v1/namespaces/default/configmaps";
const CLAIMS: &str = "/api/v1/namespaces/kplane-system/persistentvolumeclaims";
/// How long a step may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(180);

/// A control plane at the plane.
fn control_plane(plane: &Plane, name: &str) -> Client {
    let client = plane.client();
    let record = json!({
        "apiVersion": "tenancy.kplane.dev/v1alpha1", "kind": "VirtualCluster", "metadata": { "name": name },
    });
    create(&client, RECORDS, &record);
    client.vcp(name)
}

/// Creates an object, as a client does that tries again: of one server a busy machine may think for a moment that it is
/// not ready.
#[track_caller]
fn create(client: &Client, path: &str, object: &Value) {
    eventually("it is created", PATIENCE, || {
        let answer = client.send("POST", path, &[], &object.to_string());
        answer.is_ok_and(|answer| matches!(answer.code, 201 | 409))
    });
}

/// Reads, as a client does that tries again: an object, or `None` where there is none.
#[track_caller]
fn read(client: &Client, path: &str) -> Option<Value> {
    let mut found = None;
    eventually("it is read", PATIENCE, || {
        let Ok(answer) = client.send("GET", path, &[], "") else { return false };
        found = (answer.code == 200).then_some(answer.body);
        matches!(answer.code, 200 | 404)
    });
    found
}

/// Deletes an object, likewise.
#[track_caller]
fn delete(client: &Client, path: &str) {
    eventually("it is deleted", PATIENCE, || {
        client.send("DELETE", path, &[], "").is_ok_and(|answer| matches!(answer.code, 200 | 404))
    });
}

fn object(name: &str) -> Value {
    json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name } })
}

/// Waits for something of the `ManagementPlane`, having it looked at again and again: nothing tells the controllers of
/// what changes in etcd, and they look once a minute.
#[track_caller]
fn looked_at(plane: &Plane, what: &str, mut holds: impl FnMut(&Value) -> bool) {
    let mut turn = 0_u32;
    eventually(what, PATIENCE, || {
        if turn.is_multiple_of(25) {
            plane.change(&json!({ "metadata": { "annotations": { "test/look": turn.to_string() } } }));
        }
        turn += 1;
        holds(&plane.object())
    });
}

/// Waits until etcd has so many members, all well, and nothing is being changed.
#[track_caller]
fn settled(plane: &Plane, members: u32) {
    looked_at(plane, &format!("{members} members"), |object| {
        object["status"]["store"]["members"] == members && plane.condition("StoreReady") == "True Reconciled"
    });
    eventually("their pods run", PATIENCE, || {
        plane.rolled_out("statefulsets", "kplane-etcd")
            && plane.workload("statefulsets", "kplane-etcd")["spec"]["replicas"] == members
    });
}

/// The names of the claims of members.
fn claims(plane: &Plane) -> Vec<String> {
    let list = plane.management().client().get(CLAIMS).ok();
    let items = list["items"].as_array().cloned().unwrap_or_default();
    let names = items.iter().filter_map(|claim| claim["metadata"]["name"].as_str());
    names.filter(|name| name.starts_with("data-")).map(str::to_owned).collect()
}
