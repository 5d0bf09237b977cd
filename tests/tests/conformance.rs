//! What Kubernetes' own conformance tests demand of an API server, under their names.

use std::collections::BTreeSet;
use std::time::Duration;

use kplane_tests::{Client, Kubectl, Next, Server, Store, eventually, version};
use serde_json::{Value, json};

const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";
const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const SOON: Duration = Duration::from_secs(20);

/// A control plane of the test's own: a client and kubectl in it, and the server, to be kept meanwhile.
fn setup() -> (Client, Kubectl, Server) {
    let server = Server::start(Store::Embedded);
    let kubectl = server.create_vcp("a");
    (server.client().vcp("a"), kubectl, server)
}

fn config_map(name: &str, label: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": { "name": name, "labels": { "watch": label } },
    })
}

fn names(list: &Value) -> Vec<String> {
    let items = list["items"].as_array().unwrap_or_else(|| panic!("no list: {list}")).iter();
    items.filter_map(|item| item["metadata"]["name"].as_str().map(str::to_owned)).collect()
}

/// A definition with one version, established.
fn define(a: &Client, group: &str, plural: &str, kind: &str, schema: Value) -> String {
    let object = definition(group, plural, kind, schema);
    a.post(DEFINITIONS, &object).ok();
    established(a, group, plural);
    format!("/apis/{group}/v1/namespaces/default/{plural}")
}

fn definition(group: &str, plural: &str, kind: &str, schema: Value) -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": { "name": format!("{plural}.{group}") },
        "spec": {
            "group": group, "scope": "Namespaced",
            "names": { "plural": plural, "singular": kind.to_lowercase(), "kind": kind, "listKind": format!("{kind}List") },
            "versions": [{ "name": "v1", "served": true, "storage": true, "schema": { "openAPIV3Schema": schema } }],
        },
    })
}

fn established(a: &Client, group: &str, plural: &str) {
    eventually("the definition is established", SOON, || {
        let object = a.get(&format!("{DEFINITIONS}/{plural}.{group}")).ok();
        let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
        conditions.iter().any(|c| c["type"] == "Established" && c["status"] == "True")
    });
}

fn open_schema() -> Value {
    json!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true })
}

/// The whole life of an object by every verb: what the "should support … API operations" tests do.
fn supports_api_operations(a: &Client, collection: &str, object: &Value, all: Option<&str>) {
    let named = |name: &str| {
        let mut object = object.clone();
        object["metadata"]["name"] = name.into();
        object["metadata"]["labels"] = json!({ "special": "yes" });
        object
    };
    let name = object["metadata"]["name"].as_str().expect("a name").to_owned();
    let path = format!("{collection}/{name}");
    let selected = format!("{collection}?labelSelector=special%3Dyes");
    let made = a.post(collection, &named(&name)).ok();
    let list = a.get(&selected).ok();
    let watch = a.watch(&format!("{selected}&resourceVersion={}", version(&list)));
    for other in ["second", "third"] {
        a.post(collection, &named(&format!("{name}-{other}"))).ok();
        watch.until("ADDED", &format!("{name}-{other}"));
    }
    assert_eq!(a.get(&path).ok()["metadata"]["uid"], made["metadata"]["uid"]);
    assert_eq!(names(&a.get(&selected).ok()).len(), 3);
    if let Some(all) = all {
        assert_eq!(names(&a.get(&format!("{all}?labelSelector=special%3Dyes")).ok()).len(), 3);
    }
    let patched = a.merge(&path, &json!({ "metadata": { "annotations": { "patched": "true" } } })).ok();
    assert_eq!(patched["metadata"]["annotations"]["patched"], "true");
    assert_eq!(watch.until("MODIFIED", &name)["metadata"]["annotations"]["patched"], "true");
    let mut updated = a.get(&path).ok();
    updated["metadata"]["annotations"]["updated"] = "true".into();
    a.put(&path, &updated).ok();
    assert_eq!(watch.until("MODIFIED", &name)["metadata"]["annotations"]["updated"], "true");
    // An old version is refused.
    a.put(&path, &updated).refused(409);
    a.delete(&path).ok();
    watch.until("DELETED", &name);
    a.get(&path).refused(404);
    a.delete(&selected).ok();
    assert_eq!(names(&a.get(&selected).ok()), [""; 0]);
}

// Watchers

#[test]
fn watchers_should_observe_add_update_and_delete_watch_notifications_on_configmaps() {
    let (a, _kubectl, _server) = setup();
    let watch = |selector: &str| a.watch(&format!("{CONFIG_MAPS}?labelSelector={selector}"));
    let (for_a, for_b) = (watch("watch%3Da"), watch("watch%3Db"));
    let either = watch("watch%20in%20%28a%2Cb%29");
    a.post(CONFIG_MAPS, &config_map("x", "a")).ok();
    for watch in [&for_a, &either] {
        watch.expect("ADDED", "x");
    }
    for mutation in ["1", "2"] {
        a.merge(&format!("{CONFIG_MAPS}/x"), &json!({ "data": { "mutation": mutation } })).ok();
        for watch in [&for_a, &either] {
            assert_eq!(watch.expect("MODIFIED", "x")["data"]["mutation"], mutation);
        }
    }
    a.delete(&format!("{CONFIG_MAPS}/x")).ok();
    for watch in [&for_a, &either] {
        watch.expect("DELETED", "x");
    }
    // The other has seen nothing of it.
    a.post(CONFIG_MAPS, &config_map("y", "b")).ok();
    for_b.expect("ADDED", "y");
    either.expect("ADDED", "y");
    assert!(matches!(for_a.within(Duration::from_millis(100)), Next::Nothing));
}

#[test]
fn watchers_should_be_able_to_start_watching_from_a_specific_resource_version() {
    let (a, _kubectl, _server) = setup();
    let path = format!("{CONFIG_MAPS}/x");
    a.post(CONFIG_MAPS, &config_map("x", "a")).ok();
    let first = a.merge(&path, &json!({ "data": { "mutation": "1" } })).ok();
    a.merge(&path, &json!({ "data": { "mutation": "2" } })).ok();
    a.delete(&path).ok();
    let watch =
        a.watch(&format!("{CONFIG_MAPS}?labelSelector=watch%3Da&resourceVersion={}", version(&first)));
    assert_eq!(watch.expect("MODIFIED", "x")["data"]["mutation"], "2");
    watch.expect("DELETED", "x");
}

#[test]
fn watchers_should_be_able_to_restart_watching_from_the_last_resource_version_observed_by_the_previous_watch()
{
    let (a, _kubectl, _server) = setup();
    let path = format!("{CONFIG_MAPS}/x");
    let watch = a.watch(&format!("{CONFIG_MAPS}?labelSelector=watch%3Da"));
    a.post(CONFIG_MAPS, &config_map("x", "a")).ok();
    a.merge(&path, &json!({ "data": { "mutation": "1" } })).ok();
    watch.expect("ADDED", "x");
    let last = watch.expect("MODIFIED", "x");
    drop(watch);
    a.merge(&path, &json!({ "data": { "mutation": "2" } })).ok();
    a.delete(&path).ok();
    let watch = a.watch(&format!("{CONFIG_MAPS}?labelSelector=watch%3Da&resourceVersion={}", version(&last)));
    assert_eq!(watch.expect("MODIFIED", "x")["data"]["mutation"], "2");
    watch.expect("DELETED", "x");
}

#[test]
fn watchers_should_observe_an_object_deletion_if_it_stops_meeting_the_requirements_of_the_selector() {
    let (a, _kubectl, _server) = setup();
    let path = format!("{CONFIG_MAPS}/x");
    let watch = a.watch(&format!("{CONFIG_MAPS}?labelSelector=watch%3Da"));
    a.post(CONFIG_MAPS, &config_map("x", "a")).ok();
    watch.expect("ADDED", "x");
    a.merge(&path, &json!({ "metadata": { "labels": { "watch": "wrong" } } })).ok();
    watch.expect("DELETED", "x");
    a.merge(&path, &json!({ "data": { "mutation": "2" } })).ok();
    a.merge(&path, &json!({ "metadata": { "labels": { "watch": "a" } } })).ok();
    assert_eq!(watch.expect("ADDED", "x")["data"]["mutation"], "2");
    a.merge(&path, &json!({ "data": { "mutation": "3" } })).ok();
    watch.expect("MODIFIED", "x");
    a.delete(&path).ok();
    watch.expect("DELETED", "x");
}

#[test]
fn watchers_should_receive_events_on_concurrent_watches_in_same_order() {
    let (a, _kubectl, _server) = setup();
    let begin = version(&a.get(CONFIG_MAPS).ok());
    let writer = a.clone();
    let writes = std::thread::spawn(move || {
        for i in 0..60 {
            let path = format!("{CONFIG_MAPS}/c{}", i % 7);
            match i % 3 {
                0 => drop(writer.post(CONFIG_MAPS, &config_map(&format!("c{}", i % 7), "a"))),
                1 => drop(writer.merge(&path, &json!({ "data": { "i": i.to_string() } }))),
                _ => drop(writer.delete(&path)),
            }
        }
        writer.post(CONFIG_MAPS, &config_map("end", "a")).ok();
    });
    let watches: Vec<_> =
        (0..8).map(|_| a.watch(&format!("{CONFIG_MAPS}?resourceVersion={begin}"))).collect();
    let seen: BTreeSet<Vec<u64>> = watches
        .iter()
        .map(|watch| {
            let mut versions = Vec::new();
            loop {
                let (_, object) = watch.next();
                versions.push(version(&object));
                if object["metadata"]["name"] == "end" {
                    return versions;
                }
            }
        })
        .collect();
    writes.join().expect("the writes");
    assert_eq!(seen.len(), 1, "{seen:?}");
    assert!(seen.iter().flatten().is_sorted());
}

// Chunking and tables

#[test]
fn servers_with_support_for_api_chunking_should_return_chunks_of_results_for_list_calls() {
    let (a, _kubectl, _server) = setup();
    let collection = "/api/v1/namespaces/default/podtemplates";
    for i in 0..40 {
        let object = json!({
            "apiVersion": "v1", "kind": "PodTemplate", "metadata": { "name": format!("template-{i:04}") },
            "template": { "spec": { "containers": [{ "name": "test", "image": "test2" }] } },
        });
        a.post(collection, &object).ok();
    }
    let mut found = Vec::new();
    let mut token = String::new();
    let mut at = None;
    loop {
        let list = a.get(&format!("{collection}?limit=17&continue={token}")).ok();
        let items = names(&list);
        assert!(items.len() <= 17);
        // All of one moment.
        assert_eq!(*at.get_or_insert(version(&list)), version(&list));
        found.extend(items);
        token = list["metadata"]["continue"].as_str().unwrap_or_default().to_owned();
        let remaining = list["metadata"]["remainingItemCount"].as_u64();
        assert_eq!(remaining, (found.len() < 40).then_some(40 - found.len() as u64));
        if token.is_empty() {
            break;
        }
        // What comes meanwhile is not seen.
        a.post(collection, &json!({
            "apiVersion": "v1", "kind": "PodTemplate", "metadata": { "name": format!("zz-{}", found.len()) },
            "template": { "spec": { "containers": [{ "name": "test", "image": "test2" }] } },
        }))
        .ok();
    }
    let expected: Vec<String> = (0..40).map(|i| format!("template-{i:04}")).collect();
    assert_eq!(found, expected);
}

#[test]
fn servers_with_support_for_table_transformation_should_return_a_406_for_a_backend_which_does_not_implement_metadata()
 {
    let (a, _kubectl, _server) = setup();
    let table = "application/json;as=Table;v=v1;g=meta.k8s.io";
    let review = json!({
        "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
        "spec": { "resourceAttributes": { "namespace": "default", "verb": "list", "resource": "pods" } },
    });
    let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    let answer = a.send("POST", path, &[("Accept", table)], &review.to_string()).expect("an answer");
    assert_eq!(answer.code, 406, "{}", answer.text);
    let namespaces = a.get_as("/api/v1/namespaces", table).ok();
    assert_eq!(namespaces["kind"], "Table");
    assert_eq!(namespaces["rows"].as_array().map(Vec::len), Some(4));
}

// Discovery

#[test]
fn discovery_should_validate_preferredversion_for_each_apigroup() {
    let (a, _kubectl, _server) = setup();
    let groups = a.get("/apis").ok();
    let groups = groups["groups"].as_array().expect("groups");
    assert!(groups.len() > 15);
    for group in groups {
        let versions = group["versions"].as_array().expect("versions");
        assert!(versions.contains(&group["preferredVersion"]), "{group}");
        let one = a.get(&format!("/apis/{}", group["name"].as_str().expect("a name"))).ok();
        assert_eq!(one["preferredVersion"], group["preferredVersion"]);
    }
}

#[test]
fn discovery_should_locate_the_groupversion_and_a_resource_within_each_apigroup() {
    let (a, _kubectl, _server) = setup();
    for (version, resource) in [
        ("admissionregistration.k8s.io/v1", "validatingwebhookconfigurations"),
        ("apiextensions.k8s.io/v1", "customresourcedefinitions"),
        ("apiregistration.k8s.io/v1", "apiservices"),
        ("apps/v1", "deployments"),
        ("authentication.k8s.io/v1", "tokenreviews"),
        ("authorization.k8s.io/v1", "selfsubjectaccessreviews"),
        ("autoscaling/v1", "horizontalpodautoscalers"),
        ("autoscaling/v2", "horizontalpodautoscalers"),
        ("batch/v1", "jobs"),
        ("certificates.k8s.io/v1", "certificatesigningrequests"),
        ("coordination.k8s.io/v1", "leases"),
        ("discovery.k8s.io/v1", "endpointslices"),
        ("events.k8s.io/v1", "events"),
        ("networking.k8s.io/v1", "ingresses"),
        ("node.k8s.io/v1", "runtimeclasses"),
        ("policy/v1", "poddisruptionbudgets"),
        ("scheduling.k8s.io/v1", "priorityclasses"),
        ("storage.k8s.io/v1", "csinodes"),
    ] {
        let list = a.get(&format!("/apis/{version}")).ok();
        assert_eq!(list["groupVersion"], version);
        let resources = list["resources"].as_array().expect("resources");
        assert!(resources.iter().any(|found| found["name"] == resource), "{resource} in {version}");
    }
}

#[test]
fn aggregateddiscovery_should_support_raw_aggregated_discovery_request_for_crds() {
    let (a, _kubectl, _server) = setup();
    define(&a, "agg.example.com", "foos", "Foo", open_schema());
    let accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
    let answer = a.get_as("/apis", accept);
    assert!(answer.content_type.contains("as=APIGroupDiscoveryList"), "{}", answer.content_type);
    let list = answer.ok();
    let found = list["items"]
        .as_array()
        .expect("groups")
        .iter()
        .find(|group| group["metadata"]["name"] == "agg.example.com");
    assert_eq!(found.expect("the group")["versions"][0]["resources"][0]["resource"], "foos");
    let core = a.get_as("/api", accept).ok();
    assert_eq!(core["kind"], "APIGroupDiscoveryList");
}

#[test]
fn server_version_should_find_the_server_version() {
    let (a, _kubectl, _server) = setup();
    let version = a.get("/version").ok();
    assert_eq!(version["major"], "1");
    assert_eq!(version["minor"], "36");
}

// Custom resources

#[test]
fn customresourcedefinition_resources_custom_resource_defaulting_for_requests_and_from_storage_works() {
    let (a, _kubectl, _server) = setup();
    let schema = |b: Value| json!({ "type": "object", "properties": { "a": { "type": "string", "default": "A" }, "b": b } });
    let path = define(&a, "def.example.com", "foos", "Foo", schema(json!({ "type": "string" })));
    let object = json!({ "apiVersion": "def.example.com/v1", "kind": "Foo", "metadata": { "name": "foo1" } });
    assert_eq!(a.post(&path, &object).ok()["a"], "A");
    let named = format!("{DEFINITIONS}/foos.def.example.com");
    let patch = json!([
        { "op": "add", "path": "/spec/versions/0/schema/openAPIV3Schema/properties/b/default", "value": "B" },
        { "op": "remove", "path": "/spec/versions/0/schema/openAPIV3Schema/properties/a/default" },
    ]);
    let kind = [("Content-Type", "application/json-patch+json")];
    a.send("PATCH", &named, &kind, &patch.to_string()).expect("an answer").ok();
    eventually("the new default is in force", SOON, || a.get(&format!("{path}/foo1")).ok()["b"] == "B");
    // What was stored with a default keeps it.
    assert_eq!(a.get(&format!("{path}/foo1")).ok()["a"], "A");
    let mut second = object;
    second["metadata"]["name"] = "foo2".into();
    let second = a.post(&path, &second).ok();
    assert_eq!((&second["b"], second.get("a")), (&json!("B"), None));
}

#[test]
fn customresourcedefinition_watch_watch_on_custom_resource_definition_objects() {
    let (a, _kubectl, _server) = setup();
    let path = define(&a, "watch.example.com", "noxus", "Noxu", open_schema());
    let watch = a.watch(&path);
    let object = |name: &str| json!({ "apiVersion": "watch.example.com/v1", "kind": "Noxu", "metadata": { "name": name } });
    for name in ["first", "second"] {
        a.post(&path, &object(name)).ok();
        watch.expect("ADDED", name);
    }
    for name in ["first", "second"] {
        a.merge(&format!("{path}/{name}"), &json!({ "status": { "a": "b" } })).ok();
        watch.expect("MODIFIED", name);
        a.delete(&format!("{path}/{name}")).ok();
        watch.expect("DELETED", name);
    }
}

#[test]
fn customresourcedefinition_resources_getting_updating_patching_custom_resource_definition_status_sub_resource_works()
 {
    let (a, _kubectl, _server) = setup();
    define(&a, "st.example.com", "foos", "Foo", open_schema());
    let path = format!("{DEFINITIONS}/foos.st.example.com/status");
    let mut object = a.get(&path).ok();
    let update = json!({ "type": "StatusUpdate", "status": "True", "reason": "E2E", "message": "Set from an e2e test", "lastTransitionTime": "2026-01-01T00:00:00Z" });
    object["status"]["conditions"].as_array_mut().expect("conditions").push(update.clone());
    let updated = a.put(&path, &object).ok();
    assert!(
        updated["status"]["conditions"]
            .as_array()
            .is_some_and(|all| all.iter().any(|c| c["type"] == "StatusUpdate"))
    );
    let mut conditions = updated["status"]["conditions"].clone();
    conditions.as_array_mut().expect("conditions").retain(|c| c["type"] != "StatusUpdate");
    let patched = a.merge(&path, &json!({ "status": { "conditions": conditions } })).ok();
    assert!(!patched["status"]["conditions"].to_string().contains("StatusUpdate"));
}

#[test]
fn customresourcefieldselectors_must_list_and_watch_custom_resources_matching_the_field_selector() {
    let (a, _kubectl, _server) = setup();
    let schema = json!({ "type": "object", "properties": { "host": { "type": "string" }, "port": { "type": "string" } } });
    let mut object = definition("sel.example.com", "hosts", "Host", schema);
    object["spec"]["versions"][0]["selectableFields"] =
        json!([{ "jsonPath": ".host" }, { "jsonPath": ".port" }]);
    a.post(DEFINITIONS, &object).ok();
    established(&a, "sel.example.com", "hosts");
    let path = "/apis/sel.example.com/v1/namespaces/default/hosts";
    let watch = a.watch(&format!("{path}?fieldSelector=host%3Dhost1"));
    for (name, host, port) in [("a", "host1", "80"), ("b", "host1", "8080"), ("c", "host2", "80")] {
        a.post(path, &json!({ "apiVersion": "sel.example.com/v1", "kind": "Host", "metadata": { "name": name }, "host": host, "port": port })).ok();
    }
    assert_eq!(names(&a.get(&format!("{path}?fieldSelector=host%3Dhost1")).ok()), ["a", "b"]);
    assert_eq!(names(&a.get(&format!("{path}?fieldSelector=host%3Dhost1%2Cport%3D80")).ok()), ["a"]);
    watch.expect("ADDED", "a");
    watch.expect("ADDED", "b");
    a.merge(&format!("{path}/a"), &json!({ "host": "host2" })).ok();
    watch.expect("DELETED", "a");
    a.get(&format!("{path}?fieldSelector=other%3D1")).refused(400);
}

fn published(a: &Client, path: &str) -> Option<Value> {
    let answer = a.get(&format!("/openapi/v3/{path}"));
    (answer.code == 200).then(|| answer.body["components"]["schemas"].clone())
}

#[test]
fn customresourcepublishopenapi_works_for_crd_with_validation_schema() {
    let (a, kubectl, _server) = setup();
    let schema = json!({
        "type": "object", "description": "Foo CRD for Testing",
        "properties": { "spec": { "type": "object", "description": "Specification of Foo", "properties": {
            "bars": { "type": "array", "description": "List of Bars and their specs.", "items": {
                "type": "object", "required": ["name"], "properties": {
                    "name": { "type": "string", "description": "Name of Bar." },
                    "age": { "type": "string", "description": "Age of Bar." },
                },
            } },
        } } },
    });
    define(&a, "pub.example.com", "foos", "Foo", schema);
    eventually("it is published", SOON, || {
        published(&a, "apis/pub.example.com/v1")
            .is_some_and(|schemas| schemas.to_string().contains("List of Bars"))
    });
    assert!(kubectl.ok(&["explain", "foos.spec.bars"]).contains("List of Bars and their specs."));
    let apply = |bars: &str| {
        let manifest = format!(
            "apiVersion: pub.example.com/v1\nkind: Foo\nmetadata: {{name: f}}\nspec: {{bars: [{bars}]}}\n"
        );
        kubectl.run_with(&["apply", "-f", "-"], &manifest)
    };
    assert!(apply("{name: a}").success);
    let unknown = apply("{name: a, unknown: b}");
    assert!(!unknown.success && unknown.stderr.contains("unknown"), "{}", unknown.stderr);
    let missing = apply("{age: old}");
    assert!(!missing.success && missing.stderr.contains("name"), "{}", missing.stderr);
}

#[test]
fn customresourcepublishopenapi_works_for_crd_preserving_unknown_fields_at_the_schema_root() {
    let (a, kubectl, _server) = setup();
    define(&a, "unk.example.com", "foos", "Foo", open_schema());
    kubectl.apply(
        "apiVersion: unk.example.com/v1\nkind: Foo\nmetadata: {name: f}\nanything: {goes: [1, two]}\n",
    );
    assert_eq!(kubectl.json(&["get", "foos", "f"])["anything"]["goes"], json!([1, "two"]));
    assert!(kubectl.ok(&["explain", "foos"]).contains("KIND:"));
}

#[test]
fn customresourcepublishopenapi_removes_definition_from_spec_when_one_version_gets_changed_to_not_be_served()
{
    let (a, _kubectl, _server) = setup();
    let mut object = definition("ver.example.com", "foos", "Foo", open_schema());
    let mut second = object["spec"]["versions"][0].clone();
    second["name"] = "v2".into();
    second["storage"] = false.into();
    object["spec"]["versions"].as_array_mut().expect("versions").push(second);
    a.post(DEFINITIONS, &object).ok();
    established(&a, "ver.example.com", "foos");
    eventually("both are published", SOON, || {
        published(&a, "apis/ver.example.com/v1").is_some()
            && published(&a, "apis/ver.example.com/v2").is_some()
    });
    let patch = json!([{ "op": "replace", "path": "/spec/versions/1/served", "value": false }]);
    let kind = [("Content-Type", "application/json-patch+json")];
    a.send("PATCH", &format!("{DEFINITIONS}/foos.ver.example.com"), &kind, &patch.to_string())
        .expect("an answer")
        .ok();
    eventually("one is published no more", SOON, || published(&a, "apis/ver.example.com/v2").is_none());
    assert!(published(&a, "apis/ver.example.com/v1").is_some());
    a.get("/apis/ver.example.com/v2/namespaces/default/foos").refused(404);
}

// Field validation

#[test]
fn fieldvalidation_should_detect_unknown_and_duplicate_fields_of_a_typed_object() {
    let (a, _kubectl, _server) = setup();
    let manifest = r#"{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"d"},"spec":{"unknown1":"val1",
        "replicas":1,"replicas":2,"selector":{"matchLabels":{"a":"b"}},
        "template":{"metadata":{"labels":{"a":"b"}},"spec":{"containers":[{"name":"n","image":"i","unknownNested":"v"}]}}}}"#;
    let path = "/apis/apps/v1/namespaces/default/deployments";
    let told =
        a.post_text(&format!("{path}?fieldValidation=Strict"), "application/json", manifest).refused(400);
    for part in [
        "strict decoding error",
        "unknown field \"spec.unknown1\"",
        "duplicate field \"spec.replicas\"",
        "unknown field \"spec.template.spec.containers[0].unknownNested\"",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
    let made = a.post_text(&format!("{path}?fieldValidation=Ignore"), "application/json", manifest).ok();
    assert_eq!(made["spec"]["replicas"], 2);
}

#[test]
fn fieldvalidation_should_detect_unknown_metadata_fields_of_a_typed_object() {
    let (a, _kubectl, _server) = setup();
    let manifest =
        r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"c","unknownMeta":"unknown"}}"#;
    let told = a
        .post_text(&format!("{CONFIG_MAPS}?fieldValidation=Strict"), "application/json", manifest)
        .refused(400);
    assert!(told.contains("unknown field \"metadata.unknownMeta\""), "{told}");
}

#[test]
fn fieldvalidation_should_create_apply_an_invalid_cr_with_extra_properties_for_crd_with_validation_schema() {
    let (a, _kubectl, _server) = setup();
    let schema = json!({ "type": "object", "properties": { "spec": { "type": "object", "properties": { "foo": { "type": "string" } } } } });
    let path = define(&a, "fv.example.com", "foos", "Foo", schema);
    let manifest = "{\"apiVersion\":\"fv.example.com/v1\",\"kind\":\"Foo\",\"metadata\":{\"name\":\"f\"},\"spec\":{\"foo\":\"x\",\"extra\":1,\"foo\":\"y\"}}";
    let told =
        a.post_text(&format!("{path}?fieldValidation=Strict"), "application/json", manifest).refused(400);
    assert!(
        told.contains("unknown field \"spec.extra\"") && told.contains("duplicate field \"spec.foo\""),
        "{told}"
    );
    let told = a
        .apply(
            &format!("{path}/f?fieldManager=me&fieldValidation=Strict"),
            &manifest.replace(",\"foo\":\"y\"", ""),
        )
        .refused(400);
    assert!(told.contains("spec.extra"), "{told}");
    let made = a.post_text(&path, "application/json", manifest).ok();
    assert_eq!(made["spec"], json!({ "foo": "y" }));
}

// Garbage collection and namespaces

fn owned(name: &str, owner: &Value) -> Value {
    let mut object = config_map(name, "a");
    object["metadata"]["ownerReferences"] = json!([{
        "apiVersion": "v1", "kind": "ConfigMap", "name": owner["metadata"]["name"], "uid": owner["metadata"]["uid"],
        "controller": true, "blockOwnerDeletion": true,
    }]);
    object
}

#[test]
fn garbage_collector_should_not_be_blocked_by_dependency_circle() {
    let (a, _kubectl, _server) = setup();
    let made: Vec<Value> =
        ["one", "two", "three"].iter().map(|name| a.post(CONFIG_MAPS, &config_map(name, "a")).ok()).collect();
    for i in 0..3 {
        let owner = owned("x", &made[(i + 2) % 3])["metadata"]["ownerReferences"].clone();
        let name = made[i]["metadata"]["name"].as_str().expect("a name");
        a.merge(&format!("{CONFIG_MAPS}/{name}"), &json!({ "metadata": { "ownerReferences": owner } })).ok();
    }
    let foreground =
        json!({ "apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Foreground" });
    a.delete_with(&format!("{CONFIG_MAPS}/one"), &foreground).ok();
    eventually("all are gone", SOON, || {
        names(&a.get(&format!("{CONFIG_MAPS}?labelSelector=watch%3Da")).ok()).is_empty()
    });
}

#[test]
fn garbage_collector_should_orphan_rs_created_by_deployment_when_deleteoptions_propagationpolicy_is_orphan() {
    let (a, _kubectl, _server) = setup();
    let owner = a.post(CONFIG_MAPS, &config_map("owner", "a")).ok();
    a.post(CONFIG_MAPS, &owned("dependent", &owner)).ok();
    let orphan = json!({ "apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Orphan" });
    a.delete_with(&format!("{CONFIG_MAPS}/owner"), &orphan).ok();
    eventually("the owner is gone", SOON, || a.get(&format!("{CONFIG_MAPS}/owner")).code == 404);
    let dependent = a.get(&format!("{CONFIG_MAPS}/dependent")).ok();
    assert_eq!(dependent["metadata"].get("ownerReferences"), None);
}

#[test]
fn namespaces_should_apply_a_finalizer_to_a_namespace() {
    let (a, _kubectl, _server) = setup();
    let namespace = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "held" } });
    let mut object = a.post("/api/v1/namespaces", &namespace).ok();
    assert_eq!(object["spec"]["finalizers"], json!(["kubernetes"]));
    object["spec"]["finalizers"] = json!(["kubernetes", "example.com/fake"]);
    let finalized = a.put("/api/v1/namespaces/held/finalize", &object).ok();
    assert_eq!(finalized["spec"]["finalizers"], json!(["kubernetes", "example.com/fake"]));
    a.delete("/api/v1/namespaces/held").ok();
    eventually("only the other finalizer holds it", SOON, || {
        a.get("/api/v1/namespaces/held").ok()["spec"]["finalizers"] == json!(["example.com/fake"])
    });
    let mut object = a.get("/api/v1/namespaces/held").ok();
    assert_eq!(object["status"]["phase"], "Terminating");
    object["spec"]["finalizers"] = json!([]);
    a.put("/api/v1/namespaces/held/finalize", &object);
    eventually("it is gone", SOON, || a.get("/api/v1/namespaces/held").code == 404);
}

#[test]
fn namespaces_should_ensure_that_all_services_are_removed_when_a_namespace_is_deleted() {
    let (a, _kubectl, _server) = setup();
    let namespace =
        json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "nsdeletetest" } });
    a.post("/api/v1/namespaces", &namespace).ok();
    let service = json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "name": "s" }, "spec": { "ports": [{ "port": 80 }] } });
    a.post("/api/v1/namespaces/nsdeletetest/services", &service).ok();
    a.delete("/api/v1/namespaces/nsdeletetest").ok();
    eventually("it is gone", SOON, || a.get("/api/v1/namespaces/nsdeletetest").code == 404);
    a.post("/api/v1/namespaces", &namespace).ok();
    assert_eq!(names(&a.get("/api/v1/namespaces/nsdeletetest/services").ok()), [""; 0]);
}

#[test]
fn namespaces_should_patch_a_namespace() {
    let (a, _kubectl, _server) = setup();
    let namespace = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "patched" } });
    a.post("/api/v1/namespaces", &namespace).ok();
    let patched = a
        .strategic(
            "/api/v1/namespaces/patched",
            &json!({ "metadata": { "labels": { "testLabel": "testValue" } } }),
        )
        .ok();
    assert_eq!(
        patched["metadata"]["labels"],
        json!({ "kubernetes.io/metadata.name": "patched", "testLabel": "testValue" })
    );
}

// Service accounts

#[test]
fn serviceaccounts_should_guarantee_kube_root_ca_crt_exist_in_any_namespace() {
    let (a, _kubectl, _server) = setup();
    let path = format!("{CONFIG_MAPS}/kube-root-ca.crt");
    let first = a.get(&path).ok();
    assert!(first["data"]["ca.crt"].as_str().is_some_and(|text| text.starts_with("-----BEGIN CERTIFICATE")));
    a.delete(&path).ok();
    eventually("it is back", SOON, || {
        let answer = a.get(&path);
        answer.code == 200 && answer.body["metadata"]["uid"] != first["metadata"]["uid"]
    });
    a.merge(&path, &json!({ "data": { "ca.crt": "changed" } })).ok();
    eventually("it is set right", SOON, || a.get(&path).ok()["data"] == first["data"]);
}

#[test]
fn serviceaccounts_should_create_a_serviceaccounttoken_and_ensure_a_successful_tokenreview() {
    let (a, _kubectl, _server) = setup();
    let accounts = "/api/v1/namespaces/default/serviceaccounts";
    a.post(accounts, &json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": "e2e" } }))
        .ok();
    let request = json!({ "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {} });
    let token = a.post(&format!("{accounts}/e2e/token"), &request).ok()["status"]["token"].clone();
    let review = json!({ "apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": { "token": token } });
    let reviewed = a.post("/apis/authentication.k8s.io/v1/tokenreviews", &review).ok();
    assert_eq!(reviewed["status"]["authenticated"], true, "{reviewed}");
    assert_eq!(reviewed["status"]["user"]["username"], "system:serviceaccount:default:e2e");
    // It ends with its account.
    a.delete(&format!("{accounts}/e2e")).ok();
    let reviewed = a.post("/apis/authentication.k8s.io/v1/tokenreviews", &review).ok();
    assert_ne!(reviewed["status"]["authenticated"], true, "{reviewed}");
}

#[test]
fn serviceaccounts_should_run_through_the_lifecycle_of_a_serviceaccount() {
    let (a, _kubectl, _server) = setup();
    let object =
        json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": "testserviceaccount" } });
    supports_api_operations(
        &a,
        "/api/v1/namespaces/default/serviceaccounts",
        &object,
        Some("/api/v1/serviceaccounts"),
    );
}

#[test]
fn subjectreview_should_support_subjectreview_api_operations() {
    let (a, _kubectl, _server) = setup();
    let attributes = json!({ "namespace": "default", "verb": "list", "resource": "configmaps" });
    let review = json!({
        "apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview",
        "spec": { "user": "e2e", "resourceAttributes": attributes },
    });
    let path = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
    assert_eq!(a.post(path, &review).ok()["status"]["allowed"], false);
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": { "name": "e2e" },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view" },
        "subjects": [{ "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "e2e" }],
    });
    a.post("/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings", &binding).ok();
    eventually("the user may", SOON, || a.post(path, &review).ok()["status"]["allowed"] == true);
    let local = json!({
        "apiVersion": "authorization.k8s.io/v1", "kind": "LocalSubjectAccessReview", "metadata": { "namespace": "default" },
        "spec": { "user": "e2e", "resourceAttributes": attributes },
    });
    let path = "/apis/authorization.k8s.io/v1/namespaces/default/localsubjectaccessreviews";
    assert_eq!(a.post(path, &local).ok()["status"]["allowed"], true);
}

// Config maps and secrets

#[test]
fn configmap_should_run_through_a_configmap_lifecycle() {
    let (a, _kubectl, _server) = setup();
    supports_api_operations(&a, CONFIG_MAPS, &config_map("test", "a"), Some("/api/v1/configmaps"));
}

#[test]
fn configmap_should_fail_to_create_configmap_with_empty_key() {
    let (a, _kubectl, _server) = setup();
    let mut object = config_map("empty", "a");
    object["data"] = json!({ "": "value" });
    a.post(CONFIG_MAPS, &object).refused(422);
    let secret = json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "empty" }, "data": { "": "dmFsdWU=" } });
    a.post("/api/v1/namespaces/default/secrets", &secret).refused(422);
}

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

#[test]
fn secrets_should_patch_a_secret() {
    let (a, _kubectl, _server) = setup();
    let secret = json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "test" }, "data": { "key": "dmFsdWU=" } });
    supports_api_operations(&a, "/api/v1/namespaces/default/secrets", &secret, Some("/api/v1/secrets"));
}

// Other kinds

#[test]
fn lease_api_should_be_available() {
    let (a, _kubectl, _server) = setup();
    let lease = json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": { "name": "lease" },
        "spec": { "holderIdentity": "holder", "leaseDurationSeconds": 30, "acquireTime": "2026-01-01T00:00:00.000000Z", "leaseTransitions": 0 },
    });
    let path = "/apis/coordination.k8s.io/v1/namespaces/default/leases";
    supports_api_operations(&a, path, &lease, Some("/apis/coordination.k8s.io/v1/leases"));
}

#[test]
fn events_should_manage_the_lifecycle_of_an_event() {
    let (a, _kubectl, _server) = setup();
    let event = json!({
        "apiVersion": "v1", "kind": "Event", "metadata": { "name": "event" }, "reason": "Test", "type": "Normal",
        "message": "This is a test event", "count": 1,
        "involvedObject": { "namespace": "default", "kind": "Pod", "name": "p" },
    });
    supports_api_operations(&a, "/api/v1/namespaces/default/events", &event, Some("/api/v1/events"));
}

#[test]
fn endpoints_should_test_the_lifecycle_of_an_endpoint() {
    let (a, _kubectl, _server) = setup();
    let endpoints = json!({
        "apiVersion": "v1", "kind": "Endpoints", "metadata": { "name": "testservice" },
        "subsets": [{ "addresses": [{ "ip": "10.0.0.24" }], "ports": [{ "name": "http", "port": 80 }] }],
    });
    supports_api_operations(
        &a,
        "/api/v1/namespaces/default/endpoints",
        &endpoints,
        Some("/api/v1/endpoints"),
    );
}

#[test]
fn ingress_api_should_support_creating_ingress_api_operations() {
    let (a, _kubectl, _server) = setup();
    let ingress = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": { "name": "ingress" },
        "spec": { "defaultBackend": { "service": { "name": "s", "port": { "number": 80 } } } },
    });
    let path = "/apis/networking.k8s.io/v1/namespaces/default/ingresses";
    supports_api_operations(&a, path, &ingress, Some("/apis/networking.k8s.io/v1/ingresses"));
    a.post(path, &ingress).ok();
    let status = json!({ "status": { "loadBalancer": { "ingress": [{ "ip": "169.1.1.1" }] } } });
    a.merge(&format!("{path}/ingress/status"), &status).ok();
    assert_eq!(a.get(&format!("{path}/ingress")).ok()["status"], status["status"]);
}

#[test]
fn disruptioncontroller_should_list_and_delete_a_collection_of_poddisruptionbudgets() {
    let (a, _kubectl, _server) = setup();
    let budget = json!({
        "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": { "name": "foo" },
        "spec": { "minAvailable": 1, "selector": { "matchLabels": { "a": "b" } } },
    });
    let path = "/apis/policy/v1/namespaces/default/poddisruptionbudgets";
    supports_api_operations(&a, path, &budget, Some("/apis/policy/v1/poddisruptionbudgets"));
}

#[test]
fn resourcequota_should_manage_the_lifecycle_of_a_resourcequota() {
    let (a, _kubectl, _server) = setup();
    let quota = json!({
        "apiVersion": "v1", "kind": "ResourceQuota", "metadata": { "name": "quota" },
        "spec": { "hard": { "cpu": "1", "memory": "500Mi" } },
    });
    let path = "/api/v1/namespaces/default/resourcequotas";
    supports_api_operations(&a, path, &quota, Some("/api/v1/resourcequotas"));
}

#[test]
fn certificates_api_should_support_csr_api_operations() {
    let (a, _kubectl, _server) = setup();
    let groups = a.get("/apis/certificates.k8s.io").ok();
    assert_eq!(groups["preferredVersion"]["version"], "v1");
    let refused = json!({
        "apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest", "metadata": { "name": "bad" },
        "spec": { "request": "bm8=", "signerName": "example.com/e2e", "usages": ["client auth"] },
    });
    a.post("/apis/certificates.k8s.io/v1/certificatesigningrequests", &refused).refused(422);
}

#[test]
fn kubectl_diff_should_check_if_kubectl_diff_finds_a_difference_for_deployments() {
    let (_a, kubectl, _server) = setup();
    let manifest = |image: &str| {
        format!(
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: httpd}}\nspec:\n  selector: {{matchLabels: {{app: httpd}}}}\n  template:\n    metadata: {{labels: {{app: httpd}}}}\n    spec: {{containers: [{{name: httpd, image: {image}}}]}}\n"
        )
    };
    kubectl.apply(&manifest("one"));
    assert!(kubectl.run_with(&["diff", "-f", "-"], &manifest("one")).success);
    let output = kubectl.run_with(&["diff", "-f", "-"], &manifest("two"));
    assert!(
        !output.success && output.stdout.contains("+        - image: two")
            || output.stdout.contains("image: two"),
        "{}",
        output.stdout
    );
}
