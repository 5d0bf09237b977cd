//! sig-storage: volumes, their classes and drivers, and what is immutable.

use crate::common::*;

#[test]
fn configmap_should_be_immutable_if_immutable_field_is_set() {
    let (a, _kubectl, _server) = setup();
    let path = format!("{CONFIG_MAPS}/i");
    let mut object = config_map("i", "a");
    object["data"] = json!({ "a": "b" });
    a.post(CONFIG_MAPS, &object).ok();
    a.merge(&path, &json!({ "data": { "a": "c" } })).ok();
    a.merge(&path, &json!({ "immutable": true })).ok();
    a.merge(&path, &json!({ "data": { "a": "d" } })).refused(422);
    a.merge(&path, &json!({ "immutable": false })).refused(422);
    a.merge(&path, &json!({ "metadata": { "labels": { "still": "fine" } } })).ok();
    a.delete(&path).ok();
}

const STORAGE: &str = "/apis/storage.k8s.io/v1";

#[test]
fn csiinlinevolumes_should_run_through_the_lifecycle_of_a_csidriver() {
    let (a, _kubectl, _server) = setup();
    let driver = json!({
        "apiVersion": "storage.k8s.io/v1", "kind": "CSIDriver", "metadata": { "name": "inline-driver" },
        "spec": { "podInfoOnMount": true, "attachRequired": false, "volumeLifecycleModes": ["Persistent", "Ephemeral"] },
    });
    supports_api_operations(&a, &format!("{STORAGE}/csidrivers"), &driver, None);
}

#[test]
fn csiinlinevolumes_should_support_csivolumesource_in_pod_api() {
    let (a, _kubectl, _server) = setup();
    let mut object = pod("pod-csi-inline-volumes");
    object["spec"]["volumes"] = json!([{ "name": "csi", "csi": { "driver": "e2e.example.com", "readOnly": true, "fsType": "ext4" } }]);
    object["spec"]["containers"][0]["volumeMounts"] = json!([{ "name": "csi", "mountPath": "/data" }]);
    a.post(PODS, &object).ok();
    let read = a.get(&format!("{PODS}/pod-csi-inline-volumes")).ok();
    assert_eq!(
        read["spec"]["volumes"][0]["csi"],
        json!({ "driver": "e2e.example.com", "readOnly": true, "fsType": "ext4" })
    );
    let patched = a
        .strategic(
            &format!("{PODS}/pod-csi-inline-volumes"),
            &json!({ "metadata": { "labels": { "patched": "true" } } }),
        )
        .ok();
    assert_eq!(patched["metadata"]["labels"]["patched"], "true");
}

#[test]
fn csinodes_csi_conformance_should_run_through_the_lifecycle_of_a_csinode() {
    let (a, _kubectl, _server) = setup();
    let node = json!({
        "apiVersion": "storage.k8s.io/v1", "kind": "CSINode", "metadata": { "name": "e2e-csinode" },
        "spec": { "drivers": [{ "name": "e2e-driver", "nodeID": "e2e-node" }] },
    });
    supports_api_operations(&a, &format!("{STORAGE}/csinodes"), &node, None);
}

#[test]
fn csistoragecapacity_should_support_csistoragecapacities_api_operations() {
    let (a, _kubectl, _server) = setup();
    let capacity = json!({
        "apiVersion": "storage.k8s.io/v1", "kind": "CSIStorageCapacity", "metadata": { "name": "e2e-capacity" },
        "storageClassName": "sc", "capacity": "1Gi", "nodeTopology": { "matchLabels": { "a": "b" } },
    });
    let collection = format!("{STORAGE}/namespaces/default/csistoragecapacities");
    supports_api_operations(&a, &collection, &capacity, Some(&format!("{STORAGE}/csistoragecapacities")));
}

#[test]
fn secrets_should_be_immutable_if_immutable_field_is_set() {
    let (a, _kubectl, _server) = setup();
    let path = "/api/v1/namespaces/default/secrets/immutable";
    let secret = json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "immutable" }, "data": { "data-1": "dmFsdWUtMQ0K" } });
    a.post("/api/v1/namespaces/default/secrets", &secret).ok();
    update(&a, path, |object| object["data"]["data-3"] = "dmFsdWUtMw0K".into());
    update(&a, path, |object| object["immutable"] = true.into());
    a.merge(path, &json!({ "data": { "data-4": "dmFsdWUtNA0K" } })).refused(422);
    a.merge(path, &json!({ "immutable": false })).refused(422);
    a.merge(path, &json!({ "metadata": { "labels": { "label1": "label1value" } } })).ok();
    a.delete(path).ok();
}

const VOLUMES: &str = "/api/v1/persistentvolumes";
const CLAIMS: &str = "/api/v1/namespaces/default/persistentvolumeclaims";

fn volume(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "PersistentVolume", "metadata": { "name": name, "labels": { "e2e-pv-pool": "true" } },
        "spec": {
            "capacity": { "storage": "5Gi" }, "accessModes": ["ReadWriteOnce"], "storageClassName": "e2e-none",
            "persistentVolumeReclaimPolicy": "Retain", "csi": { "driver": "e2e-driver", "volumeHandle": "h" },
        },
    })
}

fn claim(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": { "name": name, "labels": { "e2e-pv-pool": "true" } },
        "spec": {
            "accessModes": ["ReadWriteOnce"], "storageClassName": "e2e-other", "resources": { "requests": { "storage": "1Gi" } },
        },
    })
}

#[test]
fn persistentvolumes_csi_conformance_should_run_through_the_lifecycle_of_a_pv_and_a_pvc() {
    let (a, _kubectl, _server) = setup();
    for (collection, object, all) in
        [(VOLUMES, volume("pv"), None), (CLAIMS, claim("pvc"), Some("/api/v1/persistentvolumeclaims"))]
    {
        supports_api_operations(&a, collection, &object, all);
    }
}

#[test]
fn persistentvolumes_csi_conformance_should_apply_changes_to_a_pv_pvc_status() {
    let (a, _kubectl, _server) = setup();
    a.post(VOLUMES, &volume("pv")).ok();
    a.post(CLAIMS, &claim("pvc")).ok();
    let condition =
        json!({ "type": "StatusPatched", "status": "True", "reason": "E2E patchStatus", "message": "m" });
    let path = format!("{CLAIMS}/pvc");
    let patched =
        a.merge(&format!("{path}/status"), &json!({ "status": { "conditions": [condition] } })).ok();
    assert_eq!(patched["status"]["conditions"][0]["type"], "StatusPatched");
    update(&a, &format!("{path}/status"), |object| {
        object["status"]["conditions"][0]["type"] = "StatusUpdated".into()
    });
    assert_eq!(a.get(&path).ok()["status"]["conditions"][0]["type"], "StatusUpdated");
    let path = format!("{VOLUMES}/pv");
    shows(&a, "it is available", &path, |object| object["status"]["phase"] == "Available");
    let patched = a
        .merge(
            &format!("{path}/status"),
            &json!({ "status": { "message": "StatusPatched", "reason": "E2E patchStatus" } }),
        )
        .ok();
    assert_eq!(patched["status"]["message"], "StatusPatched");
    update(&a, &format!("{path}/status"), |object| object["status"]["reason"] = "E2E updateStatus".into());
    assert_eq!(a.get(&path).ok()["status"]["reason"], "E2E updateStatus");
}

#[test]
fn storageclasses_csi_conformance_should_run_through_the_lifecycle_of_a_storageclass() {
    let (a, _kubectl, _server) = setup();
    let class = json!({ "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": { "name": "e2e" }, "provisioner": "e2e-fake-provisioner" });
    supports_api_operations(&a, &format!("{STORAGE}/storageclasses"), &class, None);
}

#[test]
fn volumeattachment_conformance_should_run_through_the_lifecycle_of_a_volumeattachment() {
    let (a, _kubectl, _server) = setup();
    let attachment = json!({
        "apiVersion": "storage.k8s.io/v1", "kind": "VolumeAttachment", "metadata": { "name": "e2e-va" },
        "spec": { "attacher": "e2e-attacher", "nodeName": "n", "source": { "persistentVolumeName": "pv" } },
    });
    let collection = format!("{STORAGE}/volumeattachments");
    supports_api_operations(&a, &collection, &attachment, None);
    a.post(&collection, &attachment).ok();
    let path = format!("{collection}/e2e-va");
    let patched = a.merge(&format!("{path}/status"), &json!({ "status": { "attached": true } })).ok();
    assert_eq!(patched["status"]["attached"], true);
    update(&a, &format!("{path}/status"), |object| object["status"]["attached"] = false.into());
    assert_eq!(a.get(&path).ok()["status"]["attached"], false);
}

#[test]
fn volumeattributesclass_should_run_through_the_lifecycle_of_a_volumeattributesclass() {
    let (a, _kubectl, _server) = setup();
    let class = json!({
        "apiVersion": "storage.k8s.io/v1", "kind": "VolumeAttributesClass", "metadata": { "name": "e2e-vac" },
        "driverName": "e2e-driver", "parameters": { "a": "b" },
    });
    let collection = format!("{STORAGE}/volumeattributesclasses");
    discovered(&a, &collection);
    let path = format!("{collection}/e2e-vac");
    a.post(&collection, &class).ok();
    let patched = a.merge(&path, &json!({ "metadata": { "labels": { "patched": "true" } } })).ok();
    assert_eq!(patched["metadata"]["labels"]["patched"], "true");
    update(&a, &path, |object| object["metadata"]["labels"]["updated"] = "true".into());
    a.merge(&path, &json!({ "parameters": { "a": "c" } })).refused(422);
    assert_eq!(names(&a.get(&format!("{collection}?labelSelector=updated%3Dtrue")).ok()), ["e2e-vac"]);
    a.delete(&path).ok();
    eventually("nothing has it, so it goes", SOON, || a.get(&path).code == 404);
}
