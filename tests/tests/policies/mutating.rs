//! Policies that change.

use serde_json::json;

use crate::*;

const KIND: &str = "mutatingadmission";

fn applying(group: &str, resource: &str, expression: &str) -> Value {
    json!({
        "matchConstraints": rules(group, resource), "reinvocationPolicy": "Never",
        "mutations": [{"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": expression}}],
    })
}

#[test]
fn should_mutate_a_deployment() {
    let (a, _server) = start();
    bind(&a, KIND, "m", applying("apps", "deployments", "Object{spec: Object.spec{replicas: 2}}"), json!({}));
    let made = a.post(DEPLOYMENTS, &deployment("d", 1)).ok();
    assert_eq!(made["spec"]["replicas"], 2);
    assert_eq!(made["spec"]["template"]["spec"]["containers"][0]["name"], "c");
}

#[test]
fn should_mutate_a_deployment_with_annotations() {
    let (a, _server) = start();
    let expression =
        "Object{metadata: Object.metadata{annotations: {'my-foo-annotation': 'myAnnotationValue'}}}";
    bind(&a, KIND, "m", applying("apps", "deployments", expression), json!({}));
    let mut given = deployment("d", 1);
    given["metadata"]["annotations"] = json!({"own": "kept"});
    let made = a.post(DEPLOYMENTS, &given).ok();
    assert_eq!(made["metadata"]["annotations"]["my-foo-annotation"], "myAnnotationValue");
    assert_eq!(made["metadata"]["annotations"]["own"], "kept");
}

#[test]
fn should_support_mutating_admission_policy_api_operations() {
    let (a, _server) = start();
    let spec = applying("apps", "deployments", "Object{spec: Object.spec{replicas: 2}}");
    operations(&a, "mutatingadmissionpolicies", &spec, false);
}

#[test]
fn should_support_mutating_admission_policy_binding_api_operations() {
    let (a, _server) = start();
    operations(
        &a,
        "mutatingadmissionpolicybindings",
        &json!({"policyName": "replicalimit-policy.example.com"}),
        false,
    );
}

#[test]
fn patches_see_what_those_before_them_made() {
    let (a, _server) = start();
    let patch = |expression: &str| json!({"patchType": "JSONPatch", "jsonPatch": {"expression": expression}});
    let spec = json!({
        "matchConstraints": rules("", "configmaps"), "reinvocationPolicy": "IfNeeded",
        "variables": [{"name": "count", "expression": "object.data.size()"}],
        "mutations": [
            patch("[JSONPatch{op: 'add', path: '/data/' + jsonpatch.escapeKey('a/b'), value: string(variables.count)}]"),
            patch("[JSONPatch{op: 'test', path: '/data/a~1b', value: '1'}, JSONPatch{op: 'add', path: '/data/second', value: string(variables.count)}]"),
        ],
    });
    let mut spec = spec;
    spec["mutations"][0]["jsonPatch"]["expression"] =
        json!("[JSONPatch{op: 'add', path: '/data/a.b', value: string(variables.count)}]");
    spec["mutations"][1]["jsonPatch"]["expression"] = json!(
        "[JSONPatch{op: 'test', path: '/data/a.b', value: '1'}, JSONPatch{op: 'add', path: '/data/second', value: string(variables.count)}]"
    );
    spec["matchConditions"] = json!([{"name": "once", "expression": "!('second' in object.data)"}]);
    bind(&a, KIND, "p", spec, json!({}));
    let made = a.post(CONFIG_MAPS, &config_map("c", json!({"own": "x"}))).ok();
    assert_eq!(made["data"], json!({"own": "x", "a.b": "1", "second": "2"}));
}

#[test]
fn what_cannot_be_applied_refuses() {
    let (a, _server) = start();
    let expression =
        "Object{spec: Object.spec{template: Object.spec.wrong{metadata: Object.spec.template.metadata{}}}}";
    bind(&a, KIND, "m", applying("apps", "deployments", expression), json!({}));
    let told = a.post(DEPLOYMENTS, &deployment("d", 1)).refused(422);
    assert!(
        told.contains("policy 'm' with binding 'm-binding' denied request: ")
            && told.contains("unexpected type name \"Object.spec.wrong\""),
        "{told}"
    );
    let policies = format!("{GROUP}/{KIND}policies");
    let wrong = applying("apps", "deployments", "Object{spec: 1}.spec");
    let told = a.post(&policies, &json!({"metadata": {"name": "x"}, "spec": wrong})).refused(422);
    assert!(told.contains("spec.mutations[0].applyConfiguration.expression: Invalid value"), "{told}");
    assert!(told.contains("must evaluate to Object"), "{told}");
}

#[test]
fn a_policy_is_applied_again_when_a_later_one_changed_the_object() {
    let (a, _server) = start();
    let patch = |expression: &str| json!({"patchType": "JSONPatch", "jsonPatch": {"expression": expression}});
    let spec = |policy: &str, expression: &str| {
        json!({
            "matchConstraints": rules("", "configmaps"), "reinvocationPolicy": policy,
            "mutations": [patch(expression)],
        })
    };
    let counts = "[JSONPatch{op: 'add', path: '/data/seen', value: has(object.data.seen) ? object.data.seen + '+' : '1'}]";
    let changes =
        "has(object.data.changed) ? [] : [JSONPatch{op: 'add', path: '/data/changed', value: 'yes'}]";
    for (policy, seen) in [("Never", "1"), ("IfNeeded", "1+")] {
        bind(&a, KIND, "a-counts", spec(policy, counts), json!({}));
        bind(&a, KIND, "b-changes", spec("Never", changes), json!({}));
        let made = a.post(CONFIG_MAPS, &config_map(&policy.to_lowercase(), json!({"own": "x"}))).ok();
        assert_eq!(made["data"], json!({"own": "x", "seen": seen, "changed": "yes"}), "{policy}");
        for name in ["a-counts", "b-changes"] {
            a.delete(&format!("{GROUP}/{KIND}policies/{name}")).ok();
            a.delete(&format!("{GROUP}/{KIND}policybindings/{name}-binding")).ok();
        }
    }
}

#[test]
fn parameters_make_apply_configurations() {
    let (a, _server) = start();
    let mut spec = applying(
        "apps",
        "deployments",
        "Object{metadata: Object.metadata{labels: {params.data.key: variables.value}}}",
    );
    spec["paramKind"] = json!({"apiVersion": "v1", "kind": "ConfigMap"});
    spec["variables"] =
        json!([{"name": "value", "expression": "params.data.value + '-' + request.operation.lowerAscii()"}]);
    let params = json!({"selector": {"matchLabels": {"labels": "yes"}}, "parameterNotFoundAction": "Allow"});
    bind(&a, KIND, "labels", spec, json!({"paramRef": params}));
    assert!(a.post(DEPLOYMENTS, &deployment("none", 1)).ok()["metadata"]["labels"].is_null());
    for (name, key) in [("one", "first"), ("two", "second")] {
        let mut object = config_map(name, json!({"key": key, "value": name}));
        object["metadata"]["labels"] = json!({"labels": "yes"});
        a.post(CONFIG_MAPS, &object).ok();
    }
    let made = a.post(DEPLOYMENTS, &deployment("d", 1)).ok();
    assert_eq!(made["metadata"]["labels"], json!({"first": "one-create", "second": "two-create"}));
}
