//! sig-api-machinery: watches, pages, tables, namespaces, garbage collection.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::common::*;

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

#[test]
fn server_version_should_find_the_server_version() {
    let (a, _kubectl, _server) = setup();
    let version = a.get("/version").ok();
    assert_eq!(version["major"], "1");
    assert_eq!(version["minor"], "36");
}

#[test]
fn servers_with_support_for_api_chunking_should_support_continue_listing_from_the_last_key_if_the_original_version_has_been_compacted_away_though_the_list_is_inconsistent()
 {
    let server = Server::start_with(Store::Embedded, &["--etcd-compaction-interval=1s"]);
    server.create_vcp("a");
    let a = server.client().vcp("a");
    for i in 0..40 {
        a.post(CONFIG_MAPS, &config_map(&format!("chunk-{i:04}"), "chunk")).ok();
    }
    let path = format!("{CONFIG_MAPS}?labelSelector=watch%3Dchunk&limit=10");
    let first = a.get(&path).ok();
    let token = first["metadata"]["continue"].as_str().expect("more").to_owned();
    let inconsistent = {
        let mut token_of_410 = None;
        eventually("the first page's revision is forgotten", Duration::from_secs(60), || {
            // Without writes there is nothing to forget.
            a.merge(
                &format!("{CONFIG_MAPS}/chunk-0039"),
                &json!({ "data": { "at": format!("{:?}", std::time::Instant::now()) } }),
            )
            .ok();
            let answer = a.get(&format!("{path}&continue={token}"));
            if answer.code == 410 {
                assert_eq!(answer.body["reason"], "Expired");
                token_of_410 = answer.body["metadata"]["continue"].as_str().map(str::to_owned);
            }
            answer.code == 410
        });
        token_of_410.expect("a token to go on with")
    };
    let second = a.get(&format!("{path}&continue={inconsistent}")).ok();
    assert_ne!(version(&second), version(&first), "it is of now");
    let mut found = names(&first);
    found.extend(names(&second));
    let mut token = second["metadata"]["continue"].as_str().expect("more").to_owned();
    while !token.is_empty() {
        let next = a.get(&format!("{path}&continue={token}")).ok();
        assert_eq!(version(&next), version(&second), "consistent from there on");
        found.extend(names(&next));
        token = next["metadata"]["continue"].as_str().unwrap_or_default().to_owned();
    }
    let expected: Vec<String> = (0..40).map(|i| format!("chunk-{i:04}")).collect();
    assert_eq!(found, expected);
}

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

#[test]
fn namespaces_should_apply_changes_to_a_namespace_status() {
    let (a, _kubectl, _server) = setup();
    let namespace = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "status" } });
    let made = a.post("/api/v1/namespaces", &namespace).ok();
    assert_eq!(made["status"]["phase"], "Active");
    assert_eq!(a.get("/api/v1/namespaces/status/status").ok()["status"]["phase"], "Active");
    let path = "/api/v1/namespaces/status/status";
    let condition = |kind: &str| json!({ "type": kind, "status": "True", "reason": "E2E", "message": "m", "lastTransitionTime": null });
    let patched = a.merge(path, &json!({ "status": { "conditions": [condition("StatusPatch")] } })).ok();
    assert_eq!(patched["status"]["conditions"][0]["type"], "StatusPatch");
    let updated = update(&a, path, |object| {
        object["status"]["conditions"].as_array_mut().expect("conditions").push(condition("StatusUpdate"));
    });
    assert_eq!(updated["status"]["conditions"][1]["type"], "StatusUpdate");
}

#[test]
fn namespaces_should_apply_an_update_to_a_namespace() {
    let (a, _kubectl, _server) = setup();
    let namespace = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "updated" } });
    a.post("/api/v1/namespaces", &namespace).ok();
    let updated = update(&a, "/api/v1/namespaces/updated", |object| {
        object["metadata"]["labels"]["updated"] = "updated".into();
    });
    assert_eq!(updated["metadata"]["labels"]["updated"], "updated");
    assert_eq!(updated["metadata"]["labels"]["kubernetes.io/metadata.name"], "updated");
}
