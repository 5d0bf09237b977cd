//! What policies write into the audit log.

use std::time::Duration;

use kplane_tests::eventually;
use serde_json::json;

use crate::*;

#[test]
fn annotations_and_failures_are_in_the_audit_log() {
    let folder = tempfile::tempdir().unwrap();
    let (policy, log) = (folder.path().join("policy.yaml"), folder.path().join("audit.log"));
    let rules_of_audit = "apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: [RequestReceived]\nrules:\n- {level: Metadata, resources: [{group: \"\", resources: [configmaps]}]}\n- {level: None}\n";
    std::fs::write(&policy, rules_of_audit).unwrap();
    let flags =
        [format!("--audit-policy-file={}", policy.display()), format!("--audit-log-path={}", log.display())];
    let server = Server::start_with(Store::Embedded, &[&flags[0], &flags[1]]);
    server.create_vcp("a");
    let a = server.client().vcp("a");
    let spec = json!({
        "matchConstraints": rules("", "configmaps"),
        "variables": [{"name": "size", "expression": "object.data.size()"}],
        "validations": [
            {"expression": "variables.size < 3"},
            {"expression": "variables.size < 2", "messageExpression": "'has ' + string(variables.size) + ' entries'", "reason": "Forbidden"},
        ],
        "auditAnnotations": [
            {"key": "size", "valueExpression": "'it is ' + string(variables.size)"},
            {"key": "rare", "valueExpression": "null"},
        ],
    });
    bind(&a, "validatingadmission", "sizes", spec, json!({"validationActions": ["Warn", "Audit"]}));
    let text = config_map("two", json!({"a": "1", "b": "2"})).to_string();
    let made = a.raw("POST", CONFIG_MAPS, &[("content-type", "application/json")], text.as_bytes());
    assert_eq!(made.code, 201);
    let mut found = json!(null);
    eventually("the event is written", Duration::from_secs(20), || {
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        let mut events = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        found = events.find(|event| event["objectRef"]["name"] == "two").unwrap_or_default();
        !found.is_null()
    });
    let annotations = &found["annotations"];
    assert_eq!(annotations["sizes/size"], "it is 2");
    assert!(annotations["sizes/rare"].is_null(), "{annotations}");
    let failure: Value = serde_json::from_str(
        annotations["validation.policy.admission.k8s.io/validation_failure"].as_str().unwrap(),
    )
    .unwrap();
    assert_eq!(
        failure,
        json!([{
            "message": "has 2 entries", "policy": "sizes", "binding": "sizes-binding", "expressionIndex": 1,
            "validationActions": ["Warn", "Audit"],
        }])
    );
}
