//! Volumes and claims.

use serde_json::json;

use super::{PODS, setup, template, wait_gone, wait_until};

const VOLUMES: &str = "/api/v1/persistentvolumes";
const CLAIMS: &str = "/api/v1/namespaces/default/persistentvolumeclaims";

#[test]
fn should_run_through_the_lifecycle_of_a_pv_and_a_pvc() {
    let (a, _server) = setup();
    let claim = json!({ "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": { "name": "data" },
        "spec": { "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": "1Gi" } } } });
    a.post(CLAIMS, &claim).ok();
    let volume = json!({ "apiVersion": "v1", "kind": "PersistentVolume", "metadata": { "name": "disk" },
        "spec": { "capacity": { "storage": "2Gi" }, "accessModes": ["ReadWriteOnce"],
            "hostPath": { "path": "/tmp/disk" } } });
    a.post(VOLUMES, &volume).ok();
    let bound = wait_until(&a, &format!("{CLAIMS}/data"), "it is bound", |c| c["status"]["phase"] == "Bound");
    assert_eq!(bound["spec"]["volumeName"], "disk");
    assert_eq!(bound["status"]["capacity"]["storage"], "2Gi");
    assert_eq!(bound["metadata"]["annotations"]["pv.kubernetes.io/bind-completed"], "yes");
    let disk = wait_until(&a, &format!("{VOLUMES}/disk"), "it is bound", |v| v["status"]["phase"] == "Bound");
    assert_eq!(disk["spec"]["claimRef"]["uid"], bound["metadata"]["uid"]);

    // A pod on a node holds the claim; when it is gone the claim goes, and the volume is released.
    let node = json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": "n1" } });
    a.post("/api/v1/nodes", &node).ok();
    let mut spec = template("user")["spec"].clone();
    spec["nodeName"] = "n1".into();
    spec["volumes"] = json!([{ "name": "v", "persistentVolumeClaim": { "claimName": "data" } }]);
    let pod = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "user" }, "spec": spec });
    a.post(PODS, &pod).ok();
    a.delete(&format!("{CLAIMS}/data")).ok();
    let held = a.get(&format!("{CLAIMS}/data")).ok();
    assert!(held["metadata"]["deletionTimestamp"].is_string());
    let now = json!({ "apiVersion": "v1", "kind": "DeleteOptions", "gracePeriodSeconds": 0 });
    a.delete_with(&format!("{PODS}/user"), &now).ok();
    wait_gone(&a, &format!("{CLAIMS}/data"));
    wait_until(&a, &format!("{VOLUMES}/disk"), "it is released", |v| v["status"]["phase"] == "Released");
    a.delete(&format!("{VOLUMES}/disk")).ok();
    wait_gone(&a, &format!("{VOLUMES}/disk"));
}
