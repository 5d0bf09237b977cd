//! Any one of the processes may go at any moment, and all may be restarted one after the other.

use kplane_tests::history::Load;
use kplane_tests::{Plane, eventually};

use crate::{PATIENCE, WRITERS, control_plane};

#[test]
fn any_one_process_may_be_killed_and_any_may_be_restarted() {
    let plane = Plane::start();
    let client = control_plane(&plane, "load");
    let load = Load::start(&client, WRITERS);
    for pod in [plane.pods("kplane-etcd"), plane.pods("kplane-apiserver")].concat() {
        load.more(50);
        plane.hold(&pod);
        plane.kill(&pod);
        // The others go on without it.
        load.more(150);
        plane.let_go(&pod);
        plane.wait_rolled_out();
    }

    // An orderly restart of all: of the servers nobody notices, when they drain.
    let kubectl = plane.kubectl();
    let before = load.told().len();
    let old = plane.pods("kplane-apiserver");
    kubectl.ok(&["-n", "kplane-system", "rollout", "restart", "deployment/kplane-apiserver"]);
    eventually("the servers are others", PATIENCE, || {
        let new = plane.pods("kplane-apiserver");
        !new.iter().any(|pod| old.contains(pod)) && plane.rolled_out("deployments", "kplane-apiserver")
    });
    load.more(100);
    let failures = load.told().split_off(before);
    assert!(failures.is_empty(), "{failures:#?}");

    let old: Vec<u32> = plane.pods("kplane-etcd").iter().map(|pod| plane.pid(pod)).collect();
    kubectl.ok(&["-n", "kplane-system", "rollout", "restart", "statefulset/kplane-etcd"]);
    eventually("the members are others", PATIENCE, || {
        let new = plane.processes("kplane-etcd");
        new.len() == 3
            && !new.iter().any(|(_, pid)| old.contains(pid))
            && plane.rolled_out("statefulsets", "kplane-etcd")
    });
    load.more(100);
    load.stop_and_check();
}
