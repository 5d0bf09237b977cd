//! sig-api-machinery: admission policies and priority and fairness, as objects.

use crate::common::*;

const ADMISSION: &str = "/apis/admissionregistration.k8s.io/v1";
const FLOW_CONTROL: &str = "/apis/flowcontrol.apiserver.k8s.io/v1";

#[test]
fn api_priority_and_fairness_should_support_flowschema_api_operations() {
    let (a, _kubectl, _server) = setup();
    let schema = json!({
        "apiVersion": "flowcontrol.apiserver.k8s.io/v1", "kind": "FlowSchema", "metadata": { "name": "e2e-flowschema" },
        "spec": {
            "matchingPrecedence": 10000, "priorityLevelConfiguration": { "name": "global-default" },
            "distinguisherMethod": { "type": "ByUser" },
            "rules": [{
                "subjects": [{ "kind": "User", "user": { "name": "example-e2e-non-existent-user" } }],
                "nonResourceRules": [{ "verbs": ["*"], "nonResourceURLs": ["*"] }],
            }],
        },
    });
    let collection = format!("{FLOW_CONTROL}/flowschemas");
    supports_api_operations(&a, &collection, &schema, None);
    a.post(&collection, &schema).ok();
    let status = json!({ "conditions": [
        { "type": "PatchStatusFailed", "status": "True", "reason": "Test", "message": "m", "lastTransitionTime": "2026-01-01T00:00:00Z" },
    ] });
    let path = format!("{collection}/e2e-flowschema");
    let patched = a.strategic(&format!("{path}/status"), &json!({ "status": status })).ok();
    assert!(patched["status"]["conditions"].to_string().contains("PatchStatusFailed"));
    update(&a, &format!("{path}/status"), |object| {
        object["status"]["conditions"][0]["message"] = "updated".into();
    });
    assert!(a.get(&format!("{path}/status")).ok()["status"].to_string().contains("updated"));
}

#[test]
fn api_priority_and_fairness_should_support_prioritylevelconfiguration_api_operations() {
    let (a, _kubectl, _server) = setup();
    let level = json!({
        "apiVersion": "flowcontrol.apiserver.k8s.io/v1", "kind": "PriorityLevelConfiguration",
        "metadata": { "name": "e2e-level" },
        "spec": { "type": "Limited", "limited": { "nominalConcurrencyShares": 2, "limitResponse": { "type": "Reject" } } },
    });
    let collection = format!("{FLOW_CONTROL}/prioritylevelconfigurations");
    supports_api_operations(&a, &collection, &level, None);
    a.post(&collection, &level).ok();
    let status = json!({ "conditions": [
        { "type": "PatchStatusFailed", "status": "True", "reason": "Test", "message": "m", "lastTransitionTime": "2026-01-01T00:00:00Z" },
    ] });
    supports_status(&a, &format!("{collection}/e2e-level"), &status);
}

fn match_constraints() -> Value {
    json!({ "resourceRules": [{
        "apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"], "resources": ["deployments"],
    }] })
}

#[test]
fn validatingadmissionpolicy_should_support_validatingadmissionpolicy_api_operations() {
    let (a, _kubectl, _server) = setup();
    let policy = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy", "metadata": { "name": "e2e" },
        "spec": {
            "failurePolicy": "Ignore", "matchConstraints": match_constraints(),
            "validations": [{ "expression": "object.spec.replicas <= 100" }],
        },
    });
    let collection = format!("{ADMISSION}/validatingadmissionpolicies");
    supports_api_operations(&a, &collection, &policy, None);
    a.post(&collection, &policy).ok();
    let status = json!({ "conditions": [
        { "type": "StatusPatched", "status": "True", "reason": "E2E", "message": "m", "lastTransitionTime": "2026-01-01T00:00:00Z" },
    ] });
    supports_status(&a, &format!("{collection}/e2e"), &status);
}

#[test]
fn validatingadmissionpolicy_should_support_validatingadmissionpolicybinding_api_operations() {
    let (a, _kubectl, _server) = setup();
    let binding = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": { "name": "e2e" }, "spec": { "policyName": "replicalimit.example.com", "validationActions": ["Deny"] },
    });
    supports_api_operations(&a, &format!("{ADMISSION}/validatingadmissionpolicybindings"), &binding, None);
}

#[test]
fn mutatingadmissionpolicy_should_support_mutatingadmissionpolicy_api_operations() {
    let (a, _kubectl, _server) = setup();
    let policy = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingAdmissionPolicy", "metadata": { "name": "e2e" },
        "spec": {
            "failurePolicy": "Ignore", "reinvocationPolicy": "Never", "matchConstraints": match_constraints(),
            "mutations": [{ "patchType": "ApplyConfiguration", "applyConfiguration": {
                "expression": "Object{metadata: Object.metadata{annotations: {\"a\": \"b\"}}}",
            } }],
        },
    });
    supports_api_operations(&a, &format!("{ADMISSION}/mutatingadmissionpolicies"), &policy, None);
}

#[test]
fn mutatingadmissionpolicy_should_support_mutatingadmissionpolicybinding_api_operations() {
    let (a, _kubectl, _server) = setup();
    let binding = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingAdmissionPolicyBinding",
        "metadata": { "name": "e2e" }, "spec": { "policyName": "annotate.example.com" },
    });
    supports_api_operations(&a, &format!("{ADMISSION}/mutatingadmissionpolicybindings"), &binding, None);
}
