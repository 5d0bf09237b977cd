//! Policies that refuse.

use serde_json::json;

use crate::*;

const KIND: &str = "validatingadmission";

#[test]
fn should_validate_against_a_deployment() {
    let (a, _server) = start();
    let spec = json!({
        "matchConstraints": rules("apps", "deployments"),
        "validations": [
            {"expression": "object.spec.replicas > 1", "messageExpression": "'wants replicas > 1, got ' + string(object.spec.replicas)"},
            {"expression": "namespaceObject.metadata.name == 'default'", "message": "Internal error! Other namespace should not be allowed."},
        ],
    });
    bind(&a, KIND, "p", spec, json!({"validationActions": ["Deny"]}));
    a.post(DEPLOYMENTS, &deployment("replicated", 2)).ok();
    let refused = a.post(DEPLOYMENTS, &deployment("single", 1));
    assert_eq!(refused.code, 422);
    assert_eq!(refused.body["reason"], "Invalid");
    assert_eq!(
        refused.body["message"],
        "deployments.apps \"single\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'p-binding' denied request: wants replicas > 1, got 1"
    );
    // It holds for updates, too, and no more once it is gone.
    let one = format!("{DEPLOYMENTS}/replicated");
    a.merge(&one, &json!({"spec": {"replicas": 1}})).refused(422);
    a.delete(&format!("{GROUP}/{KIND}policybindings/p-binding")).ok();
    a.merge(&one, &json!({"spec": {"replicas": 1}})).ok();
}

#[test]
fn should_allow_expressions_to_refer_variables() {
    let (a, _server) = start();
    let spec = json!({
        "matchConstraints": rules("apps", "deployments"),
        "variables": [
            {"name": "replicas", "expression": "object.spec.replicas"},
            {"name": "oddReplicas", "expression": "variables.replicas % 2 == 1"},
        ],
        "validations": [
            {"expression": "variables.replicas > 1"}, {"expression": "variables.oddReplicas"},
        ],
    });
    bind(&a, KIND, "v", spec, json!({"validationActions": ["Deny"]}));
    a.post(DEPLOYMENTS, &deployment("three", 3)).ok();
    let told = a.post(DEPLOYMENTS, &deployment("two", 2)).refused(422);
    assert!(told.ends_with("denied request: failed expression: variables.oddReplicas"), "{told}");
    let told = a.post(DEPLOYMENTS, &deployment("one", 1)).refused(422);
    assert!(told.ends_with("denied request: failed expression: variables.replicas > 1"), "{told}");
}

#[test]
fn should_support_validating_admission_policy_api_operations() {
    let (a, _server) = start();
    let spec = json!({
        "matchConstraints": rules("apps", "deployments"),
        "validations": [{"expression": "object.spec.replicas <= 100"}],
    });
    operations(&a, "validatingadmissionpolicies", &spec, true);
}

#[test]
fn should_support_validating_admission_policy_binding_api_operations() {
    let (a, _server) = start();
    let spec = json!({"policyName": "replicalimit-policy.example.com", "validationActions": ["Deny"]});
    operations(&a, "validatingadmissionpolicybindings", &spec, false);
}

#[test]
fn parameters_are_found_and_their_lack_is_said() {
    let (a, _server) = start();
    let spec = json!({
        "paramKind": {"apiVersion": "v1", "kind": "ConfigMap"},
        "matchConstraints": rules("apps", "deployments"),
        "validations": [{"expression": "object.spec.replicas <= int(params.data.max)", "reason": "Forbidden"}],
    });
    let params = json!({"name": "limits", "namespace": "default", "parameterNotFoundAction": "Deny"});
    bind(&a, KIND, "limit", spec, json!({"validationActions": ["Deny"], "paramRef": params}));
    let told = a.post(DEPLOYMENTS, &deployment("d", 1)).refused(422);
    assert!(
        told.ends_with("failed to configure binding: no params found for policy binding with `Deny` parameterNotFoundAction"),
        "{told}"
    );
    a.post(CONFIG_MAPS, &config_map("limits", json!({"max": "2"}))).ok();
    a.post(DEPLOYMENTS, &deployment("d", 2)).ok();
    a.post(DEPLOYMENTS, &deployment("e", 3)).refused(403);
    // As fresh as the parameter.
    a.merge(&format!("{CONFIG_MAPS}/limits"), &json!({"data": {"max": "3"}})).ok();
    a.post(DEPLOYMENTS, &deployment("e", 3)).ok();
}

#[test]
fn conditions_selectors_and_actions_decide_what_is_said() {
    let (a, server) = start();
    let spec = json!({
        "matchConstraints": rules("", "configmaps"),
        "matchConditions": [{"name": "no-system", "expression": "!object.metadata.name.startsWith('kube-')"}],
        "validations": [{"expression": "!has(object.data.bad)", "message": "bad data"}],
    });
    let resources =
        json!({"objectSelector": {"matchExpressions": [{"key": "exempt", "operator": "DoesNotExist"}]}});
    let binding = json!({"validationActions": ["Warn"], "matchResources": resources});
    bind(&a, KIND, "warned", spec.clone(), binding);
    a.post(CONFIG_MAPS, &config_map("w", json!({"bad": "1"}))).ok();
    bind(&a, KIND, "denied", spec, json!({"validationActions": ["Deny"]}));
    let told = a.post(CONFIG_MAPS, &config_map("d", json!({"bad": "1"}))).refused(422);
    assert!(
        told.ends_with(
            "ValidatingAdmissionPolicy 'denied' with binding 'denied-binding' denied request: bad data"
        ),
        "{told}"
    );
    a.post(CONFIG_MAPS, &config_map("kube-d", json!({"bad": "1"}))).ok();
    // Another control plane has no such policy.
    server.create_vcp("b");
    server.client().vcp("b").post(CONFIG_MAPS, &config_map("d", json!({"bad": "1"}))).ok();
}

#[test]
fn the_authorizer_is_asked() {
    let (a, _server) = start();
    let spec = json!({
        "matchConstraints": rules("", "configmaps"),
        "validations": [{"expression":
            "authorizer.serviceAccount('default', 'nobody').group('').resource('secrets').namespace('default').check('get').allowed() || authorizer.requestResource.check('create').allowed() == (object.metadata.name == 'mine')"}],
    });
    bind(&a, KIND, "asks", spec, json!({"validationActions": ["Deny"]}));
    a.post(CONFIG_MAPS, &config_map("mine", json!({}))).ok();
    a.post(CONFIG_MAPS, &config_map("other", json!({}))).refused(422);
}

#[test]
fn who_names_parameters_must_be_able_to_read_them() {
    let (a, _server) = start();
    let rbac = "/apis/rbac.authorization.k8s.io/v1";
    let role = |name: &str, rules: Value| {
        a.post(&format!("{rbac}/clusterroles"), &json!({"metadata": {"name": name}, "rules": rules})).ok();
        let binding = json!({"metadata": {"name": name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "jane"}]});
        a.post(&format!("{rbac}/clusterrolebindings"), &binding).ok();
    };
    role(
        "policies",
        json!([{"apiGroups": ["admissionregistration.k8s.io"], "resources": ["*"], "verbs": ["*"]}]),
    );
    let as_jane = |method: &str, path: &str, object: &Value| {
        let headers = [("impersonate-user", "jane"), ("content-type", "application/json")];
        a.send(method, path, &headers, &object.to_string()).expect("an answer")
    };
    for kind in ["validatingadmission", "mutatingadmission"] {
        let (policies, bindings) =
            (format!("{GROUP}/{kind}policies"), format!("{GROUP}/{kind}policybindings"));
        let mut spec = json!({"matchConstraints": rules("", "configmaps"),
            "paramKind": {"apiVersion": "v1", "kind": "Secret"}});
        if kind.starts_with("validating") {
            // What the parameter holds is in the answer.
            spec["validations"] =
                json!([{"expression": "false", "messageExpression": "string(params.data.password)"}]);
        } else {
            spec["reinvocationPolicy"] = "Never".into();
            spec["mutations"] = json!([{"patchType": "ApplyConfiguration", "applyConfiguration": {
                "expression": "Object{metadata: Object.metadata{annotations: {'seen': string(params.data.password)}}}"}}]);
        }
        let policy = json!({"metadata": {"name": "spy"}, "spec": spec});
        let told = as_jane("POST", &policies, &policy).refused(422);
        assert!(
            told.contains("spec.paramKind: Forbidden: user &{jane  [system:authenticated] map[]} must have \"get\" permission on all objects of the referenced paramKind (kind=Secret, apiVersion=v1)"),
            "{told}"
        );
        a.post(&policies, &policy).ok();
        let mut spec = json!({"policyName": "spy", "paramRef": {"name": "s", "namespace": "default", "parameterNotFoundAction": "Deny"}});
        if kind.starts_with("validating") {
            spec["validationActions"] = json!(["Deny"]);
        }
        let binding = json!({"metadata": {"name": "spy"}, "spec": spec});
        let told = as_jane("POST", &bindings, &binding).refused(422);
        assert!(
            told.contains("spec.paramRef: Forbidden: user &{jane  [system:authenticated] map[]} does not have \"get\" permission on the object referenced by paramRef"),
            "{told}"
        );
        // One that is there already may be changed in all else.
        a.post(&bindings, &binding).ok();
        let label = json!({"metadata": {"labels": {"a": "b"}}});
        let headers = [("impersonate-user", "jane"), ("content-type", "application/merge-patch+json")];
        for path in [format!("{policies}/spy"), format!("{bindings}/spy")] {
            a.send("PATCH", &path, &headers, &label.to_string()).expect("an answer").ok();
        }
        let other = json!({"spec": {"paramRef": {"name": "t"}}}).to_string();
        a.send("PATCH", &format!("{bindings}/spy"), &headers, &other).expect("an answer").refused(422);
        a.delete(&format!("{bindings}/spy")).ok();
        a.delete(&format!("{policies}/spy")).ok();
    }
    // Who may read Secrets may name them.
    role("reads", json!([{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}]));
    let policy = json!({"metadata": {"name": "spy"}, "spec": {"matchConstraints": rules("", "configmaps"),
        "paramKind": {"apiVersion": "v1", "kind": "Secret"}, "validations": [{"expression": "true"}]}});
    as_jane("POST", &format!("{GROUP}/{KIND}policies"), &policy).ok();
}

#[test]
fn what_does_not_compile_is_not_stored() {
    let (a, _server) = start();
    let policy = |expression: &str| {
        json!({"metadata": {"name": "p"}, "spec": {
            "matchConstraints": rules("", "configmaps"), "validations": [{"expression": expression}]}})
    };
    let policies = format!("{GROUP}/{KIND}policies");
    let told = a.post(&policies, &policy("object.x == nope")).refused(422);
    assert!(
        told.contains("spec.validations[0].expression: Invalid value: \"object.x == nope\": compilation failed: ERROR: <input>:1:13: undeclared reference to 'nope' (in container '')"),
        "{told}"
    );
    let told = a.post(&policies, &policy("'x'")).refused(422);
    assert!(told.contains("must evaluate to bool"), "{told}");
    // One that fails when it runs refuses, unless it says otherwise.
    a.post(&policies, &policy("object.data.missing == 'x'")).ok();
    let binding =
        json!({"metadata": {"name": "b"}, "spec": {"policyName": "p", "validationActions": ["Deny"]}});
    a.post(&format!("{GROUP}/{KIND}policybindings"), &binding).ok();
    let told = a.post(CONFIG_MAPS, &config_map("c", json!({"a": "b"}))).refused(422);
    assert!(
        told.ends_with("expression 'object.data.missing == 'x'' resulted in error: no such key: missing"),
        "{told}"
    );
    a.merge(&format!("{policies}/p"), &json!({"spec": {"failurePolicy": "Ignore"}})).ok();
    a.post(CONFIG_MAPS, &config_map("c", json!({"a": "b"}))).ok();
}
