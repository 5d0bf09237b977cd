//! Whether the expressions of a policy fit what they are about is said in its status.

use std::time::Duration;

use kplane_tests::eventually;
use serde_json::json;

use crate::*;

/// The status of a policy, once it has one of its present generation.
fn checked(a: &Client, name: &str) -> Value {
    let mut found = json!(null);
    eventually("the policy is checked", Duration::from_secs(30), || {
        let object = a.get(&format!("{GROUP}/validatingadmissionpolicies/{name}")).ok();
        found = object["status"].clone();
        found["observedGeneration"] == object["metadata"]["generation"]
    });
    found["typeChecking"].take()
}

#[test]
fn what_does_not_fit_the_types_is_said() {
    let (a, _server) = start();
    let mut constraints = rules("apps", "deployments");
    constraints["resourceRules"][0]["apiVersions"] = json!(["v1"]);
    constraints["resourceRules"][0]["resources"] = json!(["replicasets", "deployments"]);
    let spec = json!({
        "matchConstraints": constraints,
        "variables": [{"name": "wanted", "expression": "object.spec.replicas"}],
        "validations": [
            {"expression": "object.spec.replicas > 1 && variables.wanted < 100"},
            {"expression": "object.spec.paused != true", "messageExpression": "'x' + object.spec.wrong"},
        ],
    });
    bind(&a, "validatingadmission", "p", spec, json!({"validationActions": ["Deny"]}));
    let warnings = checked(&a, "p")["expressionWarnings"].take();
    let fields: Vec<&str> =
        warnings.as_array().unwrap().iter().filter_map(|w| w["fieldRef"].as_str()).collect();
    // What fits is not told.
    assert_eq!(fields, ["spec.validations[1].expression", "spec.validations[1].messageExpression"]);
    assert_eq!(
        warnings[0]["warning"],
        "apps/v1, Kind=ReplicaSet: ERROR: <input>:1:12: undefined field 'paused'\n | object.spec.paused != true\n | ...........^\n"
    );
    let told = warnings[1]["warning"].as_str().unwrap();
    let parts: Vec<&str> = told.split("\n\n").collect();
    assert!(
        parts.len() == 2
            && parts[0].starts_with("apps/v1, Kind=Deployment: ERROR: <input>:1:18: undefined field 'wrong'")
            && parts[1].starts_with("apps/v1, Kind=ReplicaSet: ERROR: "),
        "{told}"
    );
    // Once it is mended nothing is told any more.
    let path = format!("{GROUP}/validatingadmissionpolicies/p");
    a.merge(&path, &json!({"spec": {"validations": [{"expression": "object.spec.replicas > 1"}]}})).ok();
    assert!(checked(&a, "p")["expressionWarnings"].is_null());
}

#[test]
fn custom_kinds_and_parameters_are_known() {
    let (a, _server) = start();
    let schema = json!({"type": "object", "properties": {"size": {"type": "integer"}}});
    let definition = |plural: &str, kind: &str| {
        json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": format!("{plural}.birds.test")},
            "spec": {
                "group": "birds.test", "scope": "Namespaced",
                "names": {"plural": plural, "singular": kind.to_lowercase(), "kind": kind, "listKind": format!("{kind}List")},
                "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}}],
            },
        })
    };
    for (plural, kind) in [("owls", "Owl"), ("limits", "Limit")] {
        a.post("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", &definition(plural, kind)).ok();
    }
    let mut constraints = rules("birds.test", "owls");
    constraints["resourceRules"][0]["apiVersions"] = json!(["v1"]);
    let spec = json!({
        "matchConstraints": constraints, "paramKind": {"apiVersion": "birds.test/v1", "kind": "Limit"},
        "validations": [{"expression": "object.size < params.size"}, {"expression": "object.size < params.most"}],
    });
    bind(&a, "validatingadmission", "p", spec, json!({"validationActions": ["Deny"]}));
    let warnings = checked(&a, "p")["expressionWarnings"].take();
    assert_eq!(warnings.as_array().map(Vec::len), Some(1));
    assert!(warnings[0]["warning"].as_str().unwrap().contains("undefined field 'most'"), "{warnings}");
}
