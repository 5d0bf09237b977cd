//! Admission webhooks beyond what the conformance tests ask.

use kplane_tests::Client;
use serde_json::{Value, json};

use crate::hook::{Asked, Hook, Reply, allow, deny, patch, review};
use crate::*;

fn start(answer: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> (Client, Hook, Server) {
    let (a, _, server) = setup();
    let hook = Hook::start(answer);
    serve(&a, &hook);
    (a, hook, server)
}

fn maps(operations: &[&str]) -> Value {
    rule(operations, "", "v1", &["configmaps"])
}

#[test]
fn a_webhook_is_asked_again_when_a_later_one_changed_the_object() {
    let (a, hook, _server) = start(|asked| {
        let data = &asked.body["request"]["object"]["data"];
        match asked.path.as_str() {
            // Says how often it saw the object.
            "/counts" => {
                let seen = data["seen"].as_str().and_then(|n| n.parse::<u32>().ok()).unwrap_or(0) + 1;
                patch(asked, json!([{"op": "add", "path": "/data/seen", "value": seen.to_string()}]))
            }
            "/changes" if data["changed"].is_null() => {
                patch(asked, json!([{"op": "add", "path": "/data/changed", "value": "yes"}]))
            }
            _ => allow(asked),
        }
    });
    for (policy, seen) in [("Never", "1"), ("IfNeeded", "2")] {
        let mut counts = webhook(&hook, "/counts", maps(&["CREATE"]));
        counts["reinvocationPolicy"] = policy.into();
        let webhooks = [counts, webhook(&hook, "/changes", maps(&["CREATE"]))];
        configure(&a, MUTATING, "again", &webhooks);
        let made = a.post(CONFIG_MAPS, &config_map(&policy.to_lowercase(), json!({"a": "b"}))).ok();
        assert_eq!(
            (&made["data"]["seen"], &made["data"]["changed"]),
            (&json!(seen), &json!("yes")),
            "{policy}"
        );
        a.delete(&format!("{MUTATING}/again")).ok();
    }
}

#[test]
fn a_refusal_has_the_code_the_webhook_gives_and_warnings_reach_the_client() {
    let (a, kubectl, _server) = setup();
    let hook = Hook::start(|asked| match asked.path.as_str() {
        "/coded" => review(
            asked,
            json!({"allowed": false, "status": {"code": 409, "reason": "Conflict", "message": "not now"}}),
        ),
        "/mute" => review(asked, json!({"allowed": false})),
        _ => review(asked, json!({"allowed": true, "warnings": ["owls ahead"]})),
    });
    serve(&a, &hook);
    for (path, code, said) in [
        ("/coded", 409, "admission webhook \"coded.test.k8s.io\" denied the request: not now"),
        ("/mute", 400, "admission webhook \"mute.test.k8s.io\" denied the request without explanation"),
    ] {
        configure(&a, VALIDATING, "hook", &[webhook(&hook, path, maps(&["CREATE"]))]);
        assert_eq!(a.post(CONFIG_MAPS, &config_map("c", json!({}))).refused(code), said);
        a.delete(&format!("{VALIDATING}/hook")).ok();
    }
    configure(&a, VALIDATING, "hook", &[webhook(&hook, "/warn", maps(&["CREATE"]))]);
    let output = kubectl.run(&["create", "configmap", "warned"]);
    assert!(output.success && output.stderr.contains("Warning: owls ahead"), "{}", output.stderr);
}

#[test]
fn what_is_no_answer_is_a_failure() {
    let (a, hook, _server) = start(|asked| match asked.path.as_str() {
        "/other-uid" => {
            let mut reply = allow(asked);
            reply.body = reply.body.replace(asked.body["request"]["uid"].as_str().unwrap(), "another");
            reply
        }
        "/no-response" => {
            Reply::json(json!({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1"}))
        }
        "/text" => Reply { headers: vec![("content-type", "text/plain".into())], ..allow(asked) },
        "/broken" => Reply { body: "oops".into(), ..Reply::code(500) },
        "/moved" => Reply { headers: vec![("location", "/always".into())], ..Reply::code(302) },
        "/patch" => patch(asked, json!([{"op": "remove", "path": "/data/absent"}])),
        _ => allow(asked),
    });
    for (path, said) in [
        ("/other-uid", "received invalid webhook response: expected response.uid="),
        ("/no-response", "received invalid webhook response: webhook response was absent"),
        ("/text", "failed to call webhook: serializer for text/plain doesn't exist"),
        (
            "/broken",
            "failed to call webhook: an error on the server (\"oops\") has prevented the request from succeeding",
        ),
        ("/moved", "redirects are not followed"),
        ("/patch", "Internal error occurred: "),
    ] {
        configure(&a, MUTATING, "hook", &[webhook(&hook, path, maps(&["CREATE"]))]);
        let answer = a.post(CONFIG_MAPS, &config_map("c", json!({"a": "b"}))).refused(500);
        assert!(answer.contains(said), "{path}: {answer}");
        a.delete(&format!("{MUTATING}/hook")).ok();
    }
}

#[test]
fn selectors_scopes_and_dry_runs_are_respected() {
    let (a, hook, _server) = start(|asked| deny(asked, "no"));
    let mut one = webhook(&hook, "/deny", maps(&["CREATE"]));
    one["namespaceSelector"] = json!({"matchLabels": {"guarded": "yes"}});
    one["objectSelector"] = json!({"matchLabels": {"odd": "yes"}});
    configure(&a, VALIDATING, "selected", &[one]);
    a.post("/api/v1/namespaces", &json!({"metadata": {"name": "guarded", "labels": {"guarded": "yes"}}}))
        .ok();
    let mut object = config_map("c", json!({}));
    let guarded = "/api/v1/namespaces/guarded/configmaps";
    a.post(guarded, &object).ok();
    object["metadata"] = json!({"name": "odd", "labels": {"odd": "yes"}});
    a.post(CONFIG_MAPS, &object).ok();
    assert!(hook.asked().is_empty());
    a.post(guarded, &object).refused(400);
    a.post(&format!("{guarded}?dryRun=All"), &object).refused(400);
    assert_eq!(hook.asked().pop().unwrap().body["request"]["dryRun"], true);
    let mut cluster = webhook(&hook, "/deny", rule(&["CREATE"], "*", "*", &["*"]));
    cluster["rules"][0]["scope"] = "Cluster".into();
    configure(&a, VALIDATING, "cluster", &[cluster]);
    a.post(CONFIG_MAPS, &config_map("d", json!({}))).ok();
    a.post("/api/v1/namespaces", &json!({"metadata": {"name": "refused"}})).refused(400);
}

#[test]
fn subresources_are_seen_in_their_own_kinds() {
    let (a, hook, _server) = start(allow);
    let all = rule(&["*"], "*", "*", &["*/*"]);
    configure(&a, VALIDATING, "all", &[webhook(&hook, "/allow", all)]);
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"},
        "spec": {
            "replicas": 1, "selector": {"matchLabels": {"a": "b"}},
            "template": {"metadata": {"labels": {"a": "b"}}, "spec": pod("p", "c")["spec"]},
        },
    });
    let deployments = "/apis/apps/v1/namespaces/default/deployments";
    a.post(deployments, &deployment).ok();
    a.merge(&format!("{deployments}/d/scale"), &json!({"spec": {"replicas": 3}})).ok();
    // The controllers write too: theirs are passed by.
    let of = |subresource: &str| {
        let mut asked = hook.asked().into_iter().rev();
        asked.find(|asked| asked.body["request"]["subResource"] == subresource).expect(subresource)
    };
    let asked = of("scale");
    let request = &asked.body["request"];
    assert_eq!(request["kind"], json!({"group": "autoscaling", "version": "v1", "kind": "Scale"}));
    assert_eq!(request["resource"]["resource"], "deployments");
    assert_eq!(
        (&request["object"]["kind"], &request["object"]["spec"]["replicas"]),
        (&json!("Scale"), &json!(3))
    );
    assert_eq!(request["oldObject"]["spec"]["replicas"], 1);
    let token = json!({"spec": {"audiences": ["x"]}});
    a.post("/api/v1/namespaces/default/serviceaccounts/default/token", &token).ok();
    assert_eq!(of("token").body["request"]["kind"]["kind"], "TokenRequest");
}

#[test]
fn a_scale_and_a_binding_can_be_changed() {
    let (a, hook, _server) = start(|asked| match asked.body["request"]["resource"]["resource"].as_str() {
        Some("deployments") => patch(asked, json!([{"op": "replace", "path": "/spec/replicas", "value": 7}])),
        _ => {
            patch(asked, json!([{"op": "add", "path": "/metadata/annotations", "value": {"bound": "here"}}]))
        }
    });
    let scale = rule(&["UPDATE"], "apps", "v1", &["deployments/scale"]);
    let binding = rule(&["CREATE"], "", "v1", &["pods/binding", "bindings"]);
    let webhooks = [webhook(&hook, "/scale", scale), webhook(&hook, "/binding", binding)];
    configure(&a, MUTATING, "parts", &webhooks);
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"},
        "spec": {
            "replicas": 0, "selector": {"matchLabels": {"a": "b"}},
            "template": {"metadata": {"labels": {"a": "b"}}, "spec": pod("p", "c")["spec"]},
        },
    });
    let deployments = "/apis/apps/v1/namespaces/default/deployments";
    a.post(deployments, &deployment).ok();
    let scaled = a.merge(&format!("{deployments}/d/scale"), &json!({"spec": {"replicas": 3}})).ok();
    assert_eq!((&scaled["kind"], &scaled["spec"]["replicas"]), (&json!("Scale"), &json!(7)));
    assert_eq!(a.get(&format!("{deployments}/d")).ok()["spec"]["replicas"], 7);
    for (name, path) in [("p", format!("{PODS}/p/binding")), ("q", BINDINGS.to_owned())] {
        a.post(PODS, &pod(name, "c")).ok();
        let binding = json!({
            "apiVersion": "v1", "kind": "Binding", "metadata": {"name": name},
            "target": {"apiVersion": "v1", "kind": "Node", "name": "n"},
        });
        a.post(&path, &binding).ok();
        let bound = a.get(&format!("{PODS}/{name}")).ok();
        assert_eq!(
            (&bound["spec"]["nodeName"], &bound["metadata"]["annotations"]["bound"]),
            (&json!("n"), &json!("here"))
        );
    }
    let asked: Vec<(Value, Value)> = (hook.asked().iter())
        .map(|asked| {
            (
                asked.body["request"]["resource"]["resource"].clone(),
                asked.body["request"]["oldObject"].clone(),
            )
        })
        .filter(|(resource, _)| resource != "deployments")
        .collect();
    assert_eq!(asked, [(json!("pods"), Value::Null), (json!("bindings"), Value::Null)]);
}

#[test]
fn access_reviews_are_shown_and_reasons_are_kept() {
    let (a, hook, _server) = start(|asked| match asked.path.as_str() {
        "/change" => {
            patch(asked, json!([{"op": "replace", "path": "/spec/resourceAttributes/verb", "value": "fly"}]))
        }
        _ => review(
            asked,
            json!({"allowed": false, "status": {"code": 451, "reason": "TooManyOwls", "message": "no"}}),
        ),
    });
    let reviews = || rule(&["CREATE"], "authorization.k8s.io", "v1", &["*"]);
    let path = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
    let asks = json!({
        "apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview",
        "spec": {"user": "jane", "resourceAttributes": {"verb": "get", "resource": "pods"}},
    });
    configure(&a, MUTATING, "change", &[webhook(&hook, "/change", reviews())]);
    let answer = a.post(path, &asks).ok();
    assert_eq!(
        (&answer["spec"]["resourceAttributes"]["verb"], &answer["status"]["allowed"]),
        (&json!("fly"), &json!(false))
    );
    a.delete(&format!("{MUTATING}/change")).ok();
    configure(&a, VALIDATING, "deny", &[webhook(&hook, "/deny", reviews())]);
    let answer = a.post(path, &asks);
    assert_eq!((answer.code, &answer.body["reason"]), (451, &json!("TooManyOwls")));
    // What is wrong with a review is said first.
    a.post(path, &json!({"spec": {"user": "jane"}})).refused(422);
    a.delete(&format!("{VALIDATING}/deny")).ok();
    a.post(path, &asks).ok();
}

#[test]
fn slow_webhooks_of_one_control_plane_hold_up_no_others_controllers() {
    let (a, hook, server) =
        start(|asked| Reply { after: std::time::Duration::from_secs(20), ..allow(asked) });
    let mut slow = webhook(&hook, "/slow", rule(&["CREATE"], "", "v1", &["pods"]));
    slow["timeoutSeconds"] = 30.into();
    configure(&a, VALIDATING, "slow", &[slow]);
    let controller = |name: &str| {
        json!({
            "apiVersion": "v1", "kind": "ReplicationController", "metadata": {"name": name},
            "spec": {
                "replicas": 1, "selector": {"name": name},
                "template": {"metadata": {"labels": {"name": name}}, "spec": pod("p", "c")["spec"]},
            },
        })
    };
    const CONTROLLERS: &str = "/api/v1/namespaces/default/replicationcontrollers";
    for number in 0..40 {
        a.post(CONTROLLERS, &controller(&format!("slow-{number}"))).ok();
    }
    kplane_tests::eventually("the webhook is asked", std::time::Duration::from_secs(20), || {
        !hook.asked().is_empty()
    });
    control_plane(&server, "b", json!([]));
    let b = server.client().vcp("b");
    let begun = std::time::Instant::now();
    b.post(CONTROLLERS, &controller("quick")).ok();
    kplane_tests::eventually("the pod is made", std::time::Duration::from_secs(15), || {
        !b.get(PODS).ok()["items"].as_array().unwrap().is_empty()
    });
    assert!(begun.elapsed() < std::time::Duration::from_secs(15));
}

#[test]
fn the_webhooks_of_one_control_plane_are_nothing_to_another() {
    let (a, hook, server) = start(|asked| deny(asked, "no"));
    configure(&a, VALIDATING, "deny", &[webhook(&hook, "/deny", rule(&["*"], "*", "*", &["*"]))]);
    control_plane(&server, "b", json!([]));
    let b = server.client().vcp("b");
    b.post(CONFIG_MAPS, &config_map("c", json!({}))).ok();
    server.client().post(CONFIG_MAPS, &config_map("c", json!({}))).ok();
    // What the server's own loops write in the control plane is shown to it too.
    assert!(hook.asked().iter().all(|asked| asked.body["request"]["name"] != "c"));
    a.post(CONFIG_MAPS, &config_map("c", json!({}))).refused(400);
    a.delete(&format!("{VALIDATING}/deny")).ok();
    a.post(CONFIG_MAPS, &config_map("c", json!({}))).ok();
}

#[test]
fn what_the_servers_own_loops_write_waits_for_no_webhook() {
    let (a, hook, _server) = start(|asked| deny(asked, "no"));
    configure(&a, VALIDATING, "deny", &[webhook(&hook, "/deny", rule(&["UPDATE"], "*", "*", &["*/*"]))]);
    let schema = json!({"openAPIV3Schema": {"type": "object"}});
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "owls.birds.test"},
        "spec": {
            "group": "birds.test", "scope": "Namespaced",
            "names": {"plural": "owls", "singular": "owl", "kind": "Owl", "listKind": "OwlList"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": schema}],
        },
    });
    a.post("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", &definition).ok();
    let owls = "/apis/birds.test/v1/namespaces/default/owls";
    kplane_tests::eventually("the kind is served", std::time::Duration::from_secs(20), || {
        a.get(owls).code == 200
    });
    a.merge("/api/v1/namespaces/default", &json!({"metadata": {"labels": {"a": "b"}}})).refused(400);
}

#[test]
fn the_first_writes_after_a_start_are_shown_to_webhooks() {
    let (a, hook, mut server) = start(|asked| deny(asked, "no"));
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "owls.birds.test"},
        "spec": {
            "group": "birds.test", "scope": "Namespaced", "names": {"plural": "owls", "kind": "Owl"},
            "versions": [{
                "name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object"}},
            }],
        },
    });
    a.post("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", &definition).ok();
    let owls = "/apis/birds.test/v1/namespaces/default/owls";
    kplane_tests::eventually("the kind is served", std::time::Duration::from_secs(20), || {
        a.get(owls).code == 200
    });
    let all = [maps(&["CREATE"]), rule(&["CREATE"], "birds.test", "v1", &["owls"])];
    let mut denying = webhook(&hook, "/deny", all[0].clone());
    denying["rules"] = json!(all);
    configure(&a, VALIDATING, "deny", &[denying]);
    server.crash_and_restart();
    // Nothing was asked of the control plane before.
    let owl = json!({"apiVersion": "birds.test/v1", "kind": "Owl", "metadata": {"name": "o"}});
    a.post(owls, &owl).refused(400);
    server.crash_and_restart();
    a.post(CONFIG_MAPS, &config_map("c", json!({}))).refused(400);
    assert_eq!(a.get(owls).ok()["items"], json!([]));
}

#[test]
fn what_webhooks_may_not_leave_behind_is_mended() {
    let (a, hook, _server) = start(|asked| {
        let owner = asked.body["request"]["object"]["metadata"]["ownerReferences"][0].clone();
        let mut changes = vec![json!({"op": "remove", "path": "/metadata/managedFields/0/fieldsType"})];
        if owner.is_object() {
            changes.push(json!({"op": "add", "path": "/metadata/ownerReferences/-", "value": owner}));
        }
        patch(asked, json!(changes))
    });
    let made = a.post(CONFIG_MAPS, &config_map("owner", json!({}))).ok();
    let uid = &made["metadata"]["uid"];
    let owner = json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": uid});
    let mut map = config_map("c", json!({"a": "1"}));
    map["metadata"]["ownerReferences"] = json!([owner, owner]);
    let created = a.post(CONFIG_MAPS, &map);
    let said = &created.warnings;
    assert_eq!((created.code, said.len()), (201, 1), "{created:?}");
    assert!(
        said[0].contains(".metadata.ownerReferences contains duplicate entries; API server dedups"),
        "{said:?}"
    );
    configure(&a, MUTATING, "untidy", &[webhook(&hook, "/untidy", maps(&["UPDATE"]))]);
    let path = format!("{CONFIG_MAPS}/c");
    let changed = a.merge(&path, &json!({"data": {"a": "2"}}));
    let said = &changed.warnings;
    assert_eq!((changed.code, said.len()), (200, 2), "{changed:?}");
    assert!(said[0].contains(
        ".metadata.managedFields was in an invalid state after admission; this could be caused by an outdated mutating \
         admission controller; please fix your requests: missing fieldsType in managed fields entry"
    ));
    assert!(said[1].contains("contains duplicate entries after mutating admission happens;"), "{said:?}");
    let there = a.get(&path).ok();
    assert_eq!(there["metadata"]["ownerReferences"], json!([owner]));
    assert_eq!(there["metadata"]["managedFields"][0]["fieldsType"], "FieldsV1");
}
