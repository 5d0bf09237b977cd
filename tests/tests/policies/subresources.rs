//! Policies about subresources that have kinds of their own.

use serde_json::json;

use crate::*;

const PODS: &str = "/api/v1/namespaces/default/pods";

fn pod(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
        "spec": {"containers": [{"name": "c", "image": "registry.k8s.io/pause:3.10"}]},
    })
}

#[test]
fn a_scale_is_changed_and_refused() {
    let (a, _server) = start();
    let expression =
        "Object{spec: Object.spec{replicas: object.spec.replicas > 5 ? 5 : object.spec.replicas}}";
    let spec = json!({
        "matchConstraints": rules("apps", "deployments/scale"), "reinvocationPolicy": "Never",
        "mutations": [{"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": expression}}],
    });
    bind(&a, "mutatingadmission", "most", spec, json!({}));
    let spec = json!({
        "matchConstraints": rules("apps", "deployments/scale"),
        "validations": [{
            "expression": "object.kind == 'Scale' && object.spec.replicas >= oldObject.spec.replicas",
            "messageExpression": "request.subResource + ' of ' + request.name + ' from ' + string(oldObject.spec.replicas) + ' to ' + string(object.spec.replicas)",
        }],
    });
    bind(&a, "validatingadmission", "grows", spec, json!({"validationActions": ["Deny"]}));
    a.post(DEPLOYMENTS, &deployment("d", 2)).ok();
    let path = format!("{DEPLOYMENTS}/d/scale");
    let scaled = a.merge(&path, &json!({"spec": {"replicas": 9}})).ok();
    assert_eq!(scaled["spec"]["replicas"], 5);
    let told = a.merge(&path, &json!({"spec": {"replicas": 4}})).refused(422);
    assert!(told.ends_with("denied request: scale of d from 5 to 4"), "{told}");
    assert_eq!(a.get(&format!("{DEPLOYMENTS}/d")).ok()["spec"]["replicas"], 5);
}

#[test]
fn a_binding_is_changed_and_refused() {
    let (a, _server) = start();
    let patch = "[JSONPatch{op: 'replace', path: '/target/name', value: object.target.name + '-east'}]";
    let spec = json!({
        "matchConstraints": rules("", "pods/binding"), "reinvocationPolicy": "Never",
        "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": patch}}],
    });
    bind(&a, "mutatingadmission", "east", spec, json!({}));
    let spec = json!({
        "matchConstraints": rules("", "pods/binding"),
        "validations": [{"expression": "object.target.name != 'full-east'", "message": "that node is full"}],
    });
    bind(&a, "validatingadmission", "full", spec, json!({"validationActions": ["Deny"]}));
    a.post(PODS, &pod("p")).ok();
    let binding = |node: &str| {
        json!({
            "apiVersion": "v1", "kind": "Binding", "metadata": {"name": "p"},
            "target": {"apiVersion": "v1", "kind": "Node", "name": node},
        })
    };
    let told = a.post(&format!("{PODS}/p/binding"), &binding("full")).refused(422);
    assert!(told.ends_with("denied request: that node is full"), "{told}");
    a.post(&format!("{PODS}/p/binding"), &binding("n")).ok();
    assert_eq!(a.get(&format!("{PODS}/p")).ok()["spec"]["nodeName"], "n-east");
}
