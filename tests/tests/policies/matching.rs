//! Which requests a policy is about, and with which parameters.

use serde_json::json;

use crate::*;

const KIND: &str = "validatingadmission";
const AUTOSCALERS: &str = "/apis/autoscaling/v1/namespaces/default/horizontalpodautoscalers";

fn remove(a: &Client, name: &str) {
    a.delete(&format!("{GROUP}/{KIND}policies/{name}")).ok();
    a.delete(&format!("{GROUP}/{KIND}policybindings/{name}-binding")).ok();
}

#[test]
fn equivalent_versions_are_seen_in_the_version_of_the_rule() {
    let (a, _server) = start();
    let autoscaler = |percentage: u32| {
        json!({
            "apiVersion": "autoscaling/v1", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "h"},
            "spec": {
                "scaleTargetRef": {"kind": "Deployment", "name": "d", "apiVersion": "apps/v1"},
                "minReplicas": 1, "maxReplicas": 3, "targetCPUUtilizationPercentage": percentage,
            },
        })
    };
    let spec = |policy: &str| {
        json!({
            "matchConstraints": {"matchPolicy": policy, "resourceRules": [{
                "apiGroups": ["autoscaling"], "apiVersions": ["v2"], "operations": ["CREATE"],
                "resources": ["horizontalpodautoscalers"],
            }]},
            "validations": [{
                "expression": "object.spec.metrics[0].resource.target.averageUtilization < 90",
                "messageExpression": "request.requestKind.version + ' as ' + request.kind.version + ' of ' + object.apiVersion",
            }],
        })
    };
    bind(&a, KIND, "p", spec("Equivalent"), json!({"validationActions": ["Deny"]}));
    a.post(&format!("{AUTOSCALERS}?dryRun=All"), &autoscaler(50)).ok();
    let told = a.post(AUTOSCALERS, &autoscaler(95)).refused(422);
    assert!(told.ends_with("denied request: v1 as v2 of autoscaling/v2"), "{told}");
    remove(&a, "p");
    bind(&a, KIND, "p", spec("Exact"), json!({"validationActions": ["Deny"]}));
    a.post(AUTOSCALERS, &autoscaler(95)).ok();
}

#[test]
fn what_is_excluded_is_not_seen() {
    let (a, _server) = start();
    let mut constraints = rules("", "configmaps");
    constraints["excludeResourceRules"] = json!([{
        "apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps"],
        "resourceNames": ["exempt"],
    }]);
    let spec = json!({"matchConstraints": constraints, "validations": [{"expression": "false", "message": "never"}]});
    // A binding narrows it further.
    let resources = json!({
        "namespaceSelector": {"matchExpressions": [{"key": "free", "operator": "DoesNotExist"}]},
        "excludeResourceRules": [{
            "apiGroups": ["*"], "apiVersions": ["*"], "operations": ["UPDATE"], "resources": ["*"],
        }],
    });
    bind(&a, KIND, "never", spec, json!({"validationActions": ["Deny"], "matchResources": resources}));
    a.post(CONFIG_MAPS, &config_map("exempt", json!({}))).ok();
    a.merge(&format!("{CONFIG_MAPS}/exempt"), &json!({"data": {"a": "b"}})).ok();
    let told = a.post(CONFIG_MAPS, &config_map("other", json!({}))).refused(422);
    assert!(told.ends_with("denied request: never"), "{told}");
    a.post("/api/v1/namespaces", &json!({"metadata": {"name": "free", "labels": {"free": "yes"}}})).ok();
    a.post("/api/v1/namespaces/free/configmaps", &config_map("other", json!({}))).ok();
}

#[test]
fn every_parameter_that_a_selector_finds_is_asked() {
    let (a, _server) = start();
    let spec = json!({
        "paramKind": {"apiVersion": "v1", "kind": "ConfigMap"},
        "matchConstraints": rules("apps", "deployments"),
        "matchConditions": [{"name": "for-this", "expression": "params.data.name == object.metadata.name || params.data.name == '*'"}],
        "validations": [{
            "expression": "object.spec.replicas <= int(params.data.max)",
            "messageExpression": "params.metadata.name + ' allows ' + params.data.max + ' in ' + namespaceObject.metadata.name",
        }],
    });
    let selector = json!({"matchLabels": {"limits": "yes"}});
    let binding = |action: &str| {
        json!({
            "validationActions": ["Deny"],
            "paramRef": {"selector": selector, "parameterNotFoundAction": action},
        })
    };
    bind(&a, KIND, "limits", spec.clone(), binding("Allow"));
    a.post(&format!("{DEPLOYMENTS}?dryRun=All"), &deployment("d", 9)).ok();
    remove(&a, "limits");
    bind(&a, KIND, "limits", spec, binding("Deny"));
    let told = a.post(DEPLOYMENTS, &deployment("d", 9)).refused(422);
    assert!(
        told.ends_with("no params found for policy binding with `Deny` parameterNotFoundAction"),
        "{told}"
    );
    for (name, data) in [("all", json!({"name": "*", "max": "5"})), ("one", json!({"name": "e", "max": "3"}))]
    {
        let mut object = config_map(name, data);
        object["metadata"]["labels"] = json!({"limits": "yes"});
        a.post(CONFIG_MAPS, &object).ok();
    }
    a.post(CONFIG_MAPS, &config_map("unlabelled", json!({"name": "*", "max": "0"}))).ok();
    a.post(DEPLOYMENTS, &deployment("d", 4)).ok();
    let told = a.post(DEPLOYMENTS, &deployment("e", 4)).refused(422);
    assert!(told.ends_with("denied request: one allows 3 in default"), "{told}");
    let told = a.post(DEPLOYMENTS, &deployment("f", 6)).refused(422);
    assert!(told.ends_with("denied request: all allows 5 in default"), "{told}");
    // A kind of parameters that is not there is said of the policy.
    let spec = json!({
        "paramKind": {"apiVersion": "limits.test/v1", "kind": "Limit"},
        "matchConstraints": rules("", "configmaps"), "validations": [{"expression": "params != null"}],
    });
    bind(&a, KIND, "unknown", spec, binding("Allow"));
    let told = a.post(CONFIG_MAPS, &config_map("c", json!({}))).refused(422);
    assert!(
        told.ends_with("failed to configure policy: failed to find resource referenced by paramKind: 'limits.test/v1, Kind=Limit'"),
        "{told}"
    );
}
