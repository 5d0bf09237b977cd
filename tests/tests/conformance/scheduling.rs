//! sig-scheduling: limits of what pods may ask for.

use crate::common::*;

const RANGES: &str = "/api/v1/namespaces/default/limitranges";

fn range(name: &str) -> Value {
    let sizes = |cpu: &str, memory: &str, storage: &str| json!({ "cpu": cpu, "memory": memory, "ephemeral-storage": storage });
    json!({
        "apiVersion": "v1", "kind": "LimitRange", "metadata": { "name": name },
        "spec": { "limits": [{
            "type": "Container", "min": sizes("50m", "100Mi", "100Gi"), "max": sizes("500m", "500Mi", "500Gi"),
            "default": sizes("500m", "500Mi", "500Gi"), "defaultRequest": sizes("100m", "200Mi", "200Gi"),
        }] },
    })
}

fn sized(name: &str, resources: Value) -> Value {
    let mut object = pod(name);
    object["spec"]["containers"][0]["resources"] = resources;
    object
}

#[test]
fn limitrange_should_create_a_limitrange_with_defaults_and_ensure_pod_has_those_defaults_applied() {
    let (a, _kubectl, _server) = setup();
    a.post(RANGES, &range("limit-range")).ok();
    let defaulted = a.post(PODS, &pod("pod-no-resources")).ok()["spec"]["containers"][0]["resources"].clone();
    assert_eq!(
        defaulted["requests"],
        json!({ "cpu": "100m", "memory": "200Mi", "ephemeral-storage": "200Gi" })
    );
    assert_eq!(
        defaulted["limits"],
        json!({ "cpu": "500m", "memory": "500Mi", "ephemeral-storage": "500Gi" })
    );
    let partial = json!({ "requests": { "memory": "150Mi", "ephemeral-storage": "150Gi" }, "limits": { "cpu": "300m" } });
    let merged =
        a.post(PODS, &sized("pod-partial-resources", partial)).ok()["spec"]["containers"][0]["resources"]
            .clone();
    // What is limited and not asked for is asked for as limited.
    assert_eq!(merged["requests"], json!({ "cpu": "300m", "memory": "150Mi", "ephemeral-storage": "150Gi" }));
    assert_eq!(merged["limits"], json!({ "cpu": "300m", "memory": "500Mi", "ephemeral-storage": "500Gi" }));
    for (name, size) in [("too-small", "10m"), ("too-large", "600m")] {
        let resources = json!({ "requests": { "cpu": size }, "limits": { "cpu": size } });
        let told = a.post(PODS, &sized(name, resources)).refused(403);
        assert!(told.contains("usage per Container is"), "{told}");
    }
    update(&a, &format!("{RANGES}/limit-range"), |object| {
        object["spec"]["limits"][0]["min"] =
            json!({ "cpu": "9m", "memory": "49Mi", "ephemeral-storage": "49Gi" });
    });
    let small = json!({ "requests": { "cpu": "10m" }, "limits": { "cpu": "10m" } });
    a.post(PODS, &sized("small-enough", small)).ok();
    let large = json!({ "requests": { "cpu": "600m" }, "limits": { "cpu": "600m" } });
    a.post(PODS, &sized("still-too-large", large)).refused(403);
    a.delete(&format!("{RANGES}/limit-range")).ok();
    let large = json!({ "requests": { "cpu": "600m" }, "limits": { "cpu": "600m" } });
    a.post(PODS, &sized("free", large)).ok();
}

#[test]
fn limitrange_should_list_patch_and_delete_a_limitrange_by_collection() {
    let (a, _kubectl, _server) = setup();
    supports_api_operations(&a, RANGES, &range("e2e-limitrange"), Some("/api/v1/limitranges"));
    a.post(RANGES, &range("e2e-limitrange")).ok();
    let patch = json!({ "spec": { "limits": [{ "type": "Container", "min": { "cpu": "25m" } }] } });
    let patched = a.strategic(&format!("{RANGES}/e2e-limitrange"), &patch).ok();
    assert_eq!(patched["spec"]["limits"][0]["min"]["cpu"], "25m");
}
