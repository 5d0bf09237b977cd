//! A plane in a cluster that has no DNS.

use kplane_tests::plane_processes::network;
use kplane_tests::{Plane, eventually};
use serde_json::json;

use crate::{OBJECTS, PATIENCE, create, object, read, settled};

const CONTROL_PLANES: &str = "/apis/controlplane.kplane.dev/v1alpha1/controlplanes";
const JOBS: &str = "/apis/batch/v1/namespaces/kplane-system/jobs";
const CRON_JOB: &str = "/apis/batch/v1/namespaces/kplane-system/cronjobs/kplane-etcd-backup";

#[test]
fn one_member_needs_no_dns_nor_do_three() {
    if !network::in_its_own("nameless::one_member_needs_no_dns_nor_do_three") {
        return;
    }
    let plane = Plane::begin_without_dns(&json!({
        "apiserver": { "replicas": 2 },
        "store": {
            "etcd": { "managed": { "replicas": 1 } },
            "backup": { "schedule": "0 3 1 1 *" },
        },
    }));
    plane.wait_ready();
    // The controllers ask etcd itself.
    settled(&plane, 1);

    // And the server, through its Service: the management controllers for the control plane, those of tenants for what
    // becomes of the objects in it.
    let management = plane.management().client();
    let made = json!({
        "apiVersion": "controlplane.kplane.dev/v1alpha1", "kind": "ControlPlane",
        "metadata": { "name": "owl" }, "spec": {},
    });
    management.post(CONTROL_PLANES, &made).ok();
    eventually("the control plane is ready", PATIENCE, || {
        let conditions =
            management.get(&format!("{CONTROL_PLANES}/owl")).body["status"]["conditions"].clone();
        let conditions = conditions.as_array().cloned().unwrap_or_default();
        conditions.iter().any(|each| each["type"] == "Ready" && each["status"] == "True")
    });
    let owl = plane.client().vcp("owl");
    create(&owl, OBJECTS, &object("kept"));
    eventually("a controller of tenants has been at work", PATIENCE, || {
        read(&owl, &format!("{OBJECTS}/kube-root-ca.crt")).is_some()
    });

    // What takes snapshots is a client of etcd too.
    let job = management.get(CRON_JOB).ok()["spec"]["jobTemplate"]["spec"].clone();
    let now = json!({ "apiVersion": "batch/v1", "kind": "Job", "metadata": { "name": "now" }, "spec": job });
    management.post(JOBS, &now).ok();
    eventually("a snapshot was taken", PATIENCE, || {
        management.get(&format!("{JOBS}/now")).body["status"]["succeeded"] == 1
    });

    // It comes back under its name, and so do the servers.
    plane.kill("kplane-etcd-0");
    plane.wait_rolled_out();
    assert!(read(&owl, &format!("{OBJECTS}/kept")).is_some());

    // Others find it, and each other.
    plane.change(&json!({ "spec": { "store": { "etcd": { "managed": { "replicas": 3 } } } } }));
    settled(&plane, 3);
    plane.wait_rolled_out();
    plane.kill("kplane-etcd-0");
    create(&owl, OBJECTS, &object("without-the-first"));
    assert!(read(&owl, &format!("{OBJECTS}/without-the-first")).is_some());
}

#[test]
fn three_members_begin_without_dns() {
    if !network::in_its_own("nameless::three_members_begin_without_dns") {
        return;
    }
    let plane = Plane::begin_without_dns(&json!({ "apiserver": { "replicas": 1 } }));
    plane.wait_ready();
    settled(&plane, 3);
}
