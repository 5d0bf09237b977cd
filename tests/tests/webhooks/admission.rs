//! What Kubernetes' conformance tests demand of admission webhooks, under their names.

use std::time::{Duration, Instant};

use kplane_tests::{Client, eventually};
use serde_json::{Value, json};

use crate::hook::{Asked, Hook, Reply, allow, deny, patch};
use crate::*;

const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

/// The webhooks of the conformance tests, by path.
fn agnhost(asked: &Asked) -> Reply {
    let object = &asked.body["request"]["object"];
    let old = &asked.body["request"]["oldObject"];
    let data =
        |key: &str| if object.is_null() { old["data"][key].clone() } else { object["data"][key].clone() };
    match asked.path.as_str() {
        "/always-allow" => allow(asked),
        "/always-deny" => deny(asked, "this webhook denies all requests"),
        "/always-allow-delay" => Reply { after: Duration::from_secs(5), ..allow(asked) },
        "/configmaps" | "/custom-resource" if data("webhook-e2e-test") == "webhook-disallow" => {
            deny(asked, "the object contains unwanted data")
        }
        "/pods" if object["spec"]["containers"][0]["name"] == "webhook-disallow" => {
            deny(asked, "the pod contains unwanted container name")
        }
        "/pods/attach" if asked.body["request"]["name"] == "to-be-attached-pod" => {
            deny(asked, "attaching to pod 'to-be-attached-pod' is not allowed")
        }
        "/crd" if object["metadata"]["labels"]["webhook-e2e-test"] == "webhook-disallow" => {
            deny(asked, "the crd contains unwanted label")
        }
        "/mutating" if data("mutation-start") == "yes" && data("mutation-stage-1").is_null() => {
            patch(asked, json!([{"op": "add", "path": "/data/mutation-stage-1", "value": "yes"}]))
        }
        "/mutating-second" if data("mutation-stage-1") == "yes" && data("mutation-stage-2").is_null() => {
            patch(asked, json!([{"op": "add", "path": "/data/mutation-stage-2", "value": "yes"}]))
        }
        "/mutating-pods" => patch(
            asked,
            json!([{"op": "add", "path": "/spec/initContainers", "value": [{
                "name": "webhook-added-init-container", "image": "webhook-added-image", "resources": {},
            }]}]),
        ),
        _ => allow(asked),
    }
}

fn start() -> (Client, Hook, Server) {
    let (a, _, server) = setup();
    let hook = Hook::start(agnhost);
    serve(&a, &hook);
    (a, hook, server)
}

fn define(a: &Client, versions: Value) -> String {
    let object = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "owls.birds.test"},
        "spec": {
            "group": "birds.test", "scope": "Namespaced", "versions": versions,
            "names": {"plural": "owls", "singular": "owl", "kind": "Owl", "listKind": "OwlList"},
        },
    });
    a.post(DEFINITIONS, &object).ok();
    established(a);
    "/apis/birds.test/v1/namespaces/default/owls".to_owned()
}

fn established(a: &Client) {
    eventually("the definition is established", Duration::from_secs(20), || {
        let object = a.get(&format!("{DEFINITIONS}/owls.birds.test")).ok();
        let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
        conditions.iter().any(|c| c["type"] == "Established" && c["status"] == "True")
    });
}

fn version(name: &str, storage: bool, schema: Value) -> Value {
    json!({"name": name, "served": true, "storage": storage, "schema": {"openAPIV3Schema": schema}})
}

fn open() -> Value {
    json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
}

fn owl(version: &str, name: &str, data: Value) -> Value {
    json!({"apiVersion": format!("birds.test/{version}"), "kind": "Owl", "metadata": {"name": name}, "data": data})
}

const WRITES: &[&str] = &["CREATE", "UPDATE"];

#[test]
fn should_include_webhook_resources_in_discovery_documents() {
    let (a, _, _server) = setup();
    let groups = a.get("/apis").ok();
    let groups = groups["groups"].as_array().unwrap();
    assert!(groups.iter().any(|g| g["name"] == "admissionregistration.k8s.io"));
    let list = a.get("/apis/admissionregistration.k8s.io/v1").ok();
    for name in ["mutatingwebhookconfigurations", "validatingwebhookconfigurations"] {
        assert!(list["resources"].as_array().unwrap().iter().any(|r| r["name"] == name), "{name}");
    }
}

#[test]
fn should_be_able_to_deny_pod_and_configmap_creation() {
    let (a, hook, _server) = start();
    configure(
        &a,
        VALIDATING,
        "deny",
        &[
            webhook(&hook, "/pods", rule(&["CREATE"], "", "v1", &["pods"])),
            webhook(&hook, "/configmaps", rule(&["CREATE", "UPDATE", "DELETE"], "", "v1", &["configmaps"])),
        ],
    );
    let said = a.post(PODS, &pod("p", "webhook-disallow")).refused(400);
    assert_eq!(
        said,
        "admission webhook \"pods.test.k8s.io\" denied the request: the pod contains unwanted container name"
    );
    a.post(PODS, &pod("p", "fine")).ok();
    let bad = json!({"webhook-e2e-test": "webhook-disallow"});
    assert!(a.post(CONFIG_MAPS, &config_map("c", bad.clone())).refused(400).contains("unwanted data"));
    a.post(CONFIG_MAPS, &config_map("c", json!({"fine": "yes"}))).ok();
    let path = format!("{CONFIG_MAPS}/c");
    assert!(a.put(&path, &config_map("c", bad.clone())).refused(400).contains("unwanted data"));
    assert!(a.merge(&path, &json!({"data": bad})).refused(400).contains("unwanted data"));
    assert!(
        a.apply(&format!("{path}?fieldManager=x"), &config_map("c", bad).to_string())
            .refused(400)
            .contains("unwanted")
    );
    // What it saw is an AdmissionReview as upstream sends them.
    let asked = hook.asked();
    let first = asked.iter().find(|asked| asked.path == "/pods").expect("the pod was shown");
    assert_eq!((first.method.as_str(), first.query.as_str()), ("POST", "timeout=10s"));
    let request = &first.body["request"];
    assert_eq!(first.body["apiVersion"], "admission.k8s.io/v1");
    assert_eq!(request["kind"], json!({"group": "", "version": "v1", "kind": "Pod"}));
    assert_eq!(request["requestResource"], json!({"group": "", "version": "v1", "resource": "pods"}));
    assert_eq!((&request["operation"], &request["namespace"]), (&json!("CREATE"), &json!("default")));
    assert_eq!((&request["oldObject"], &request["dryRun"]), (&Value::Null, &json!(false)));
    assert_eq!(request["object"]["spec"]["dnsPolicy"], "ClusterFirst", "defaults are set");
    assert_eq!(request["options"]["kind"], "CreateOptions");
    assert!(request["userInfo"]["groups"].as_array().unwrap().contains(&json!("system:masters")));
    a.delete(&path).ok();
    let last = hook.asked().pop().unwrap().body["request"].take();
    assert_eq!((&last["operation"], &last["object"]), (&json!("DELETE"), &Value::Null));
    assert_eq!(last["oldObject"]["data"]["fine"], "yes");
    assert_eq!(last["options"]["kind"], "DeleteOptions");
}

#[test]
fn should_be_able_to_deny_attaching_pod() {
    let (a, hook, _server) = start();
    let attach = rule(&["CONNECT"], "", "v1", &["pods/attach", "pods/exec"]);
    configure(&a, VALIDATING, "attach", &[webhook(&hook, "/pods/attach", attach)]);
    a.post(PODS, &pod("to-be-attached-pod", "one")).ok();
    let path = format!("{PODS}/to-be-attached-pod/attach?container=one&stdin=true");
    let said = a.post(&path, &Value::Null).refused(400);
    assert!(said.contains("attaching to pod 'to-be-attached-pod' is not allowed"), "{said}");
    let request = hook.asked().pop().unwrap().body["request"].take();
    assert_eq!(request["kind"]["kind"], "PodAttachOptions");
    assert_eq!((&request["operation"], &request["subResource"]), (&json!("CONNECT"), &json!("attach")));
    assert_eq!(request["object"]["container"], "one");
    assert_eq!(request["object"]["stdin"], true);
}

#[test]
fn should_be_able_to_deny_custom_resource_creation_update_and_deletion() {
    let (a, hook, _server) = start();
    let owls = define(&a, json!([version("v1", true, open())]));
    let all = rule(&["CREATE", "UPDATE", "DELETE"], "birds.test", "v1", &["owls"]);
    configure(&a, VALIDATING, "custom", &[webhook(&hook, "/custom-resource", all)]);
    let bad = json!({"webhook-e2e-test": "webhook-disallow"});
    let said = a.post(&owls, &owl("v1", "o", bad.clone())).refused(400);
    assert!(said.contains("the object contains unwanted data"), "{said}");
    a.post(&owls, &owl("v1", "o", json!({"webhook-e2e-test": "webhook-allow"}))).ok();
    let path = format!("{owls}/o");
    assert!(a.merge(&path, &json!({"data": bad})).refused(400).contains("unwanted data"));
    // A deletion is judged by what would go.
    a.delete("/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/custom").ok();
    a.merge(&path, &json!({"data": bad})).ok();
    let all = rule(&["DELETE"], "birds.test", "v1", &["owls"]);
    configure(&a, VALIDATING, "custom", &[webhook(&hook, "/custom-resource", all)]);
    assert!(a.delete(&path).refused(400).contains("unwanted data"));
    assert!(a.delete(&owls).refused(400).contains("unwanted data"), "one of a collection");
    a.merge(&path, &json!({"data": {"webhook-e2e-test": "webhook-allow"}})).ok();
    a.delete(&path).ok();
}

#[test]
fn should_unconditionally_reject_operations_on_fail_closed_webhook() {
    let (a, hook, _server) = start();
    let mut closed = webhook(&hook, "/configmaps", rule(&["CREATE"], "", "v1", &["configmaps"]));
    // It is verified by an authority that did not sign its certificate.
    closed["clientConfig"]["caBundle"] = Hook::start(allow).ca_bundle.into();
    configure(&a, VALIDATING, "closed", std::slice::from_ref(&closed));
    let said = a.post(CONFIG_MAPS, &config_map("c", json!({}))).refused(500);
    assert_eq!(
        said,
        "Internal error occurred: failed calling webhook \"configmaps.test.k8s.io\": failed to call webhook: \
         Post \"https://hook.hooks.svc:8443/configmaps?timeout=10s\": tls: failed to verify certificate: \
         x509: certificate signed by unknown authority"
    );
    closed["clientConfig"]["service"]["name"] = "absent".into();
    let path = format!("{VALIDATING}/closed");
    a.merge(&path, &json!({"webhooks": [closed]})).ok();
    let said = a.post(CONFIG_MAPS, &config_map("c", json!({}))).refused(500);
    assert!(said.ends_with("/configmaps?timeout=10s\": service \"absent\" not found"), "{said}");
    closed["failurePolicy"] = "Ignore".into();
    a.merge(&path, &json!({"webhooks": [closed]})).ok();
    a.post(CONFIG_MAPS, &config_map("c", json!({}))).ok();
}

#[test]
fn should_mutate_configmap() {
    let (a, hook, _server) = start();
    let maps = || rule(&["CREATE"], "", "v1", &["configmaps"]);
    configure(
        &a,
        MUTATING,
        "mutate",
        &[webhook(&hook, "/mutating", maps()), webhook(&hook, "/mutating-second", maps())],
    );
    let made = a.post(CONFIG_MAPS, &config_map("c", json!({"mutation-start": "yes"}))).ok();
    let all = json!({"mutation-start": "yes", "mutation-stage-1": "yes", "mutation-stage-2": "yes"});
    assert_eq!(made["data"], all);
    assert_eq!(a.get(&format!("{CONFIG_MAPS}/c")).ok()["data"], all);
}

#[test]
fn should_mutate_pod_and_apply_defaults_after_mutation() {
    let (a, hook, _server) = start();
    let pods = rule(&["CREATE"], "", "v1", &["pods"]);
    configure(&a, MUTATING, "mutate", &[webhook(&hook, "/mutating-pods", pods)]);
    let made = a.post(PODS, &pod("p", "one")).ok();
    let added = &made["spec"]["initContainers"][0];
    assert_eq!(added["name"], "webhook-added-init-container");
    assert_eq!(added["terminationMessagePolicy"], "File", "{added}");
    assert!(added["volumeMounts"][0]["name"].as_str().unwrap().starts_with("kube-api-access-"), "{added}");
}

#[test]
fn should_not_be_able_to_mutate_or_prevent_deletion_of_webhook_configuration_objects() {
    let (a, hook, _server) = start();
    let any = || json!({"operations": ["*"], "apiGroups": ["admissionregistration.k8s.io"], "apiVersions": ["*"], "resources": ["*"]});
    configure(&a, VALIDATING, "deny", &[webhook(&hook, "/always-deny", any())]);
    configure(&a, MUTATING, "deny", &[webhook(&hook, "/always-deny", any())]);
    let made = configure(&a, VALIDATING, "dummy", &[webhook(&hook, "/always-allow", any())]);
    assert_eq!(made["metadata"]["labels"], Value::Null);
    configure(&a, MUTATING, "dummy", &[webhook(&hook, "/always-allow", any())]);
    a.delete(&format!("{VALIDATING}/dummy")).ok();
    a.delete(&format!("{MUTATING}/dummy")).ok();
    assert!(hook.asked().is_empty());
}

#[test]
fn should_deny_crd_creation() {
    let (a, hook, _server) = start();
    let definitions = rule(&["CREATE"], "apiextensions.k8s.io", "*", &["customresourcedefinitions"]);
    configure(&a, VALIDATING, "crd", &[webhook(&hook, "/crd", definitions)]);
    let object = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "owls.birds.test", "labels": {"webhook-e2e-test": "webhook-disallow"}},
        "spec": {
            "group": "birds.test", "scope": "Namespaced", "versions": [version("v1", true, open())],
            "names": {"plural": "owls", "singular": "owl", "kind": "Owl", "listKind": "OwlList"},
        },
    });
    let said = a.post(DEFINITIONS, &object).refused(400);
    assert!(said.contains("the crd contains unwanted label"), "{said}");
}

#[test]
fn should_mutate_custom_resource_also_with_pruning() {
    let (a, hook, _server) = start();
    let known = json!({
        "type": "object",
        "properties": {"data": {"type": "object", "properties": {
            "mutation-start": {"type": "string"}, "mutation-stage-1": {"type": "string"},
        }}},
    });
    let owls = define(&a, json!([version("v1", true, known)]));
    let rule = || rule(&["CREATE"], "birds.test", "v1", &["owls"]);
    configure(
        &a,
        MUTATING,
        "mutate",
        &[webhook(&hook, "/mutating", rule()), webhook(&hook, "/mutating-second", rule())],
    );
    let made = a.post(&owls, &owl("v1", "o", json!({"mutation-start": "yes"}))).ok();
    assert_eq!(made["data"], json!({"mutation-start": "yes", "mutation-stage-1": "yes"}));
}

#[test]
fn should_mutate_custom_resource_with_different_stored_version() {
    let (a, hook, _server) = start();
    let owls = define(&a, json!([version("v1", true, open()), version("v2", false, open())]));
    let rule = rule(WRITES, "birds.test", "v1", &["owls"]);
    configure(&a, MUTATING, "mutate", &[webhook(&hook, "/mutating", rule)]);
    a.post(&owls, &owl("v1", "o", json!({"mutation-start": "yes"}))).ok();
    let versions = json!([version("v1", false, open()), version("v2", true, open())]);
    a.merge(&format!("{DEFINITIONS}/owls.birds.test"), &json!({"spec": {"versions": versions}})).ok();
    established(&a);
    let patched = a.merge(&format!("{owls}/o"), &json!({"metadata": {"labels": {"a": "b"}}})).ok();
    assert_eq!(
        (&patched["apiVersion"], &patched["data"]["mutation-stage-1"]),
        (&json!("birds.test/v1"), &json!("yes"))
    );
    // A rule for version 1 sees what is written in version 2, as version 1.
    let v2 = owls.replace("/v1/", "/v2/");
    let made = a.post(&v2, &owl("v2", "p", json!({"mutation-start": "yes"}))).ok();
    assert_eq!(
        (&made["apiVersion"], &made["data"]["mutation-stage-1"]),
        (&json!("birds.test/v2"), &json!("yes"))
    );
    let request = hook.asked().pop().unwrap().body["request"].take();
    assert_eq!(
        (&request["kind"]["version"], &request["requestKind"]["version"]),
        (&json!("v1"), &json!("v2"))
    );
    assert_eq!(request["object"]["apiVersion"], "birds.test/v1");
}

#[test]
fn should_honor_timeout() {
    let (a, hook, _server) = start();
    let mut slow = webhook(&hook, "/always-allow-delay", rule(&["CREATE"], "", "v1", &["configmaps"]));
    slow["timeoutSeconds"] = 1.into();
    configure(&a, VALIDATING, "slow", std::slice::from_ref(&slow));
    let began = Instant::now();
    let said = a.post(CONFIG_MAPS, &config_map("c", json!({}))).refused(500);
    assert!(said.ends_with("always-allow-delay?timeout=1s\": context deadline exceeded"), "{said}");
    assert!(began.elapsed() < Duration::from_secs(4));
    slow["failurePolicy"] = "Ignore".into();
    let path = format!("{VALIDATING}/slow");
    a.merge(&path, &json!({"webhooks": [slow]})).ok();
    a.post(CONFIG_MAPS, &config_map("c", json!({}))).ok();
    // With time enough it is heard.
    slow["failurePolicy"] = "Fail".into();
    slow["timeoutSeconds"] = 30.into();
    a.merge(&path, &json!({"webhooks": [slow]})).ok();
    a.post(CONFIG_MAPS, &config_map("d", json!({}))).ok();
}

fn patching_a_webhook_should_work(collection: &str, path: &str, took_effect: impl Fn(&Client, &str) -> bool) {
    let (a, hook, _server) = start();
    configure(
        &a,
        collection,
        "patched",
        &[webhook(&hook, path, rule(&["CREATE"], "", "v1", &["configmaps"]))],
    );
    assert!(took_effect(&a, "one"));
    let at = format!("{collection}/patched");
    let mut object = a.get(&at).ok();
    object["webhooks"][0]["rules"][0]["operations"] = json!(["UPDATE"]);
    a.put(&at, &object).ok();
    assert!(!took_effect(&a, "two"), "it is not called for creations any more");
    let operations =
        json!([{"op": "replace", "path": "/webhooks/0/rules/0/operations", "value": ["CREATE"]}]);
    let kind = [("Content-Type", "application/json-patch+json")];
    a.send("PATCH", &at, &kind, &operations.to_string()).unwrap().ok();
    assert!(took_effect(&a, "three"));
}

#[test]
fn patching_updating_a_validating_webhook_should_work() {
    patching_a_webhook_should_work(VALIDATING, "/configmaps", |a, name| {
        let object = config_map(name, json!({"webhook-e2e-test": "webhook-disallow"}));
        a.post(CONFIG_MAPS, &object).code == 400
    });
}

#[test]
fn patching_updating_a_mutating_webhook_should_work() {
    patching_a_webhook_should_work(MUTATING, "/mutating", |a, name| {
        let made = a.post(CONFIG_MAPS, &config_map(name, json!({"mutation-start": "yes"}))).ok();
        made["data"]["mutation-stage-1"] == "yes"
    });
}

fn listing_webhooks_should_work(
    collection: &str,
    path: &str,
    data: Value,
    took_effect: impl Fn(u16, &Value) -> bool,
) {
    let (a, hook, _server) = start();
    for name in ["one", "two"] {
        let webhooks = [webhook(&hook, path, rule(&["CREATE"], "", "v1", &["configmaps"]))];
        let object = json!({"metadata": {"name": name, "labels": {"e2e": "yes"}}, "webhooks": webhooks});
        a.post(collection, &object).ok();
    }
    let selected = format!("{collection}?labelSelector=e2e%3Dyes");
    assert_eq!(a.get(&selected).ok()["items"].as_array().unwrap().len(), 2);
    let answer = a.post(CONFIG_MAPS, &config_map("c", data.clone()));
    assert!(took_effect(answer.code, &answer.body), "{}", answer.text);
    a.delete(&selected).ok();
    let answer = a.post(CONFIG_MAPS, &config_map("d", data));
    assert!(!took_effect(answer.code, &answer.body), "{}", answer.text);
}

#[test]
fn listing_validating_webhooks_should_work() {
    let data = json!({"webhook-e2e-test": "webhook-disallow"});
    listing_webhooks_should_work(VALIDATING, "/configmaps", data, |code, _| code == 400);
}

#[test]
fn listing_mutating_webhooks_should_work() {
    let data = json!({"mutation-start": "yes"});
    listing_webhooks_should_work(MUTATING, "/mutating", data, |_, made| {
        made["data"]["mutation-stage-1"] == "yes"
    });
}

#[test]
fn should_be_able_to_create_and_update_webhook_configurations_with_match_conditions() {
    let (a, hook, _server) = start();
    for collection in [VALIDATING, MUTATING] {
        let mut one = webhook(&hook, "/always-allow", rule(&["CREATE"], "", "v1", &["configmaps"]));
        one["matchConditions"] = json!([{"name": "exclude-leases", "expression": "!(request.resource.group == 'coordination.k8s.io')"}]);
        let mut made = configure(&a, collection, "conditions", &[one]);
        assert_eq!(made["webhooks"][0]["matchConditions"][0]["name"], "exclude-leases");
        let more =
            json!({"name": "rbac", "expression": "request.resource.group != 'rbac.authorization.k8s.io'"});
        made["webhooks"][0]["matchConditions"].as_array_mut().unwrap().push(more);
        let updated = a.put(&format!("{collection}/conditions"), &made).ok();
        assert_eq!(updated["webhooks"][0]["matchConditions"].as_array().unwrap().len(), 2);
    }
}

#[test]
fn should_reject_webhook_configurations_with_invalid_match_conditions() {
    let (a, hook, _server) = start();
    for collection in [VALIDATING, MUTATING] {
        let mut one = webhook(&hook, "/always-allow", rule(&["CREATE"], "", "v1", &["configmaps"]));
        one["matchConditions"] =
            json!([{"name": "invalid-expression-1", "expression": "... [] bad expression"}]);
        let said = a.post(collection, &json!({"metadata": {"name": "bad"}, "webhooks": [one]})).refused(422);
        assert!(
            said.contains("webhooks[0].matchConditions[0].expression: Invalid value")
                && said.contains("compilation failed"),
            "{said}"
        );
    }
}

#[test]
fn should_mutate_everything_except_skip_me_configmaps() {
    let (a, hook, _server) = start();
    let mut one = webhook(&hook, "/mutating", rule(&["CREATE"], "", "v1", &["configmaps"]));
    one["matchConditions"] = json!([{"name": "skip-me", "expression": "object.metadata.name != 'skip-me'"}]);
    configure(&a, MUTATING, "skip", &[one]);
    let start = json!({"mutation-start": "yes"});
    let made = a.post(CONFIG_MAPS, &config_map("skip-me", start.clone())).ok();
    assert_eq!(made["data"], start);
    let made = a.post(CONFIG_MAPS, &config_map("do-not-skip-me", start)).ok();
    assert_eq!(made["data"]["mutation-stage-1"], "yes");
}
