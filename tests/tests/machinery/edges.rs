//! The edges of HTTP: methods, limits, health checks, figures, documents known by their tag.

use crate::*;

fn send(a: &Client, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> kplane_tests::Answer {
    a.send(method, path, headers, body).unwrap_or_else(|error| panic!("{method} {path}: {error}"))
}

#[test]
fn methods_are_those_of_the_routes() {
    let (a, _server) = setup();
    for (method, path, code) in [
        ("HEAD", "/api/v1/namespaces", 405),
        ("OPTIONS", "/api/v1/namespaces", 405),
        ("PUT", "/api/v1/namespaces", 405),
        ("POST", "/api/v1/namespaces/default", 405),
        ("POST", "/version", 405),
        ("HEAD", "/version", 405),
        ("POST", "/apis", 405),
        ("POST", "/nope", 404),
        ("HEAD", "/healthz", 200),
        ("POST", "/livez", 200),
    ] {
        let answer = send(&a, method, path, &[], "");
        assert_eq!(answer.code, code, "{method} {path}: {}", answer.text);
        // No CORS unless it is asked for.
        assert!(method != "HEAD" || answer.text.is_empty());
    }
}

#[test]
fn health_is_told_check_by_check() {
    let (a, _server) = setup();
    for endpoint in ["healthz", "livez", "readyz"] {
        assert_eq!(a.get_as(&format!("/{endpoint}"), "*/*").text, "ok");
        assert_eq!(a.get_as(&format!("/{endpoint}/ping"), "*/*").text, "ok");
        let told = a.get_as(&format!("/{endpoint}?verbose"), "*/*").text;
        assert!(told.starts_with("[+]ping ok\n"), "{told}");
        assert!(told.ends_with(&format!("{endpoint} check passed\n")), "{told}");
        let told = a.get_as(&format!("/{endpoint}?verbose&exclude=etcd&exclude=nope"), "*/*").text;
        assert!(told.contains("[+]etcd excluded: ok\n"), "{told}");
        assert!(
            told.contains("warn: some health checks cannot be excluded: no matches for \"nope\"\n"),
            "{told}"
        );
        assert_eq!(a.get(&format!("/{endpoint}/nope")).code, 404);
    }
}

#[test]
fn figures_have_upstreams_names_and_no_control_planes() {
    let (a, server) = setup();
    let root = server.client();
    a.get(CONFIG_MAPS).ok();
    a.post(&format!("{CONFIG_MAPS}?dryRun=All"), &config_map("dry", "x")).ok();
    let _watch = a.watch(CONFIG_MAPS);
    let text = root.get_as("/metrics", "*/*").text;
    for series in [
        "apiserver_request_total{code=\"200\",component=\"apiserver\",dry_run=\"\",group=\"\",resource=\"configmaps\",scope=\"namespace\",subresource=\"\",verb=\"LIST\",version=\"v1\"} ",
        "apiserver_request_total{code=\"201\",component=\"apiserver\",dry_run=\"All\",group=\"\",resource=\"configmaps\",scope=\"resource\",subresource=\"\",verb=\"POST\",version=\"v1\"} ",
        "apiserver_request_duration_seconds_count{component=\"apiserver\",dry_run=\"\",group=\"\",resource=\"configmaps\",scope=\"namespace\",subresource=\"\",verb=\"LIST\",version=\"v1\"} ",
        "apiserver_longrunning_requests{component=\"apiserver\",dry_run=\"\",group=\"\",resource=\"configmaps\",scope=\"namespace\",subresource=\"\",verb=\"WATCH\",version=\"v1\"} ",
        "apiserver_current_inflight_requests{request_kind=\"readOnly\"} ",
        "kubernetes_build_info{",
        "process_open_fds ",
    ] {
        assert!(text.contains(series), "{series}\n{text}");
    }
    // Every idle control plane would be a series.
    let count = |text: &str| text.lines().filter(|line| !line.starts_with('#')).count();
    for i in 0..5 {
        server.create_vcp(&format!("idle-{i}"));
    }
    let before = count(&root.get_as("/metrics", "*/*").text);
    for i in 5..10 {
        server.create_vcp(&format!("idle-{i}"));
    }
    assert_eq!(count(&root.get_as("/metrics", "*/*").text), before);
}

#[test]
fn limits_are_told() {
    let (a, _server) = setup();
    let mut large = config_map("large", "x");
    large["data"] = json!({ "a": "x".repeat(1_100_000) });
    let told = a.post(CONFIG_MAPS, &large).refused(422);
    assert!(told.contains("Too long: may not be more than 1048576 bytes"), "{told}");
    large["data"] = json!({ "a": "x".repeat(3_200_000) });
    let told = a.post(CONFIG_MAPS, &large).refused(413);
    assert_eq!(told, "Request entity too large: limit is 3145728");
    let patch = json!(
        (0..10_001)
            .map(|_| json!({ "op": "test", "path": "/kind", "value": "ConfigMap" }))
            .collect::<Vec<_>>()
    );
    a.post(CONFIG_MAPS, &config_map("patched", "x")).ok();
    let kind = [("Content-Type", "application/json-patch+json")];
    let told = send(&a, "PATCH", &format!("{CONFIG_MAPS}/patched"), &kind, &patch.to_string()).refused(413);
    assert!(told.contains("The allowed maximum operations in a JSON patch is 10000, got 10001"), "{told}");
    let told = a.get(&format!("{CONFIG_MAPS}?timeout=soon")).refused(400);
    assert!(told.starts_with("invalid timeout specified in the request URL"), "{told}");
    a.get(&format!("{CONFIG_MAPS}?timeout=1.5s")).ok();
}

#[test]
fn a_dry_run_of_a_deletion_deletes_nothing() {
    let (a, _server) = setup();
    a.post(CONFIG_MAPS, &config_map("kept", "x")).ok();
    let path = format!("{CONFIG_MAPS}/kept");
    let options = json!({ "apiVersion": "v1", "kind": "DeleteOptions", "dryRun": ["All"] });
    a.delete_with(&path, &options).ok();
    a.delete(&format!("{path}?dryRun=All")).ok();
    a.delete_with(CONFIG_MAPS, &options).ok();
    a.get(&path).ok();
    a.delete_with(&path, &json!({ "dryRun": ["Some"] })).refused(422);
    a.delete(&path).ok();
    a.get(&path).refused(404);
}

#[test]
fn what_has_a_version_cannot_be_created() {
    let (a, _server) = setup();
    let mut object = config_map("known", "x");
    object["metadata"]["resourceVersion"] = "7".into();
    let refused = a.post(CONFIG_MAPS, &object);
    assert_eq!(refused.code, 500, "{}", refused.text);
    assert_eq!(refused.body["message"], "resourceVersion should not be set on objects to be created");
    object["metadata"]["resourceVersion"] = "0".into();
    a.post(CONFIG_MAPS, &object).ok();
}

#[test]
fn a_table_shows_no_annotation_that_only_versions_have() {
    let (a, _server) = setup();
    let daemons = "/apis/apps/v1/namespaces/default/daemonsets";
    let labels = serde_json::json!({ "app": "a" });
    let template = serde_json::json!({
        "metadata": { "labels": labels }, "spec": { "containers": [{ "name": "c", "image": "c" }] },
    });
    let spec = serde_json::json!({ "selector": { "matchLabels": labels }, "template": template });
    a.post(daemons, &serde_json::json!({ "metadata": { "name": "d" }, "spec": spec })).ok();
    let path = format!("{daemons}/d");
    let whole = a.get(&path).ok();
    assert_eq!(whole["metadata"]["annotations"]["deprecated.daemonset.template.generation"], "1");
    for (form, pointer) in [("Table", "/rows/0/object/metadata"), ("PartialObjectMetadata", "/metadata")] {
        let shown = a.get_as(&path, &format!("application/json;as={form};v=v1;g=meta.k8s.io")).ok();
        assert_eq!(shown.pointer(pointer).expect(pointer).get("annotations"), None, "{shown}");
    }
}

#[test]
fn documents_are_known_by_their_tags() {
    let (a, _server) = setup();
    let index = a.get("/openapi/v3").ok();
    let url = index["paths"]["api/v1"]["serverRelativeURL"].as_str().expect("a URL");
    assert!(url.starts_with("/clusters/a/control-plane/openapi/v3/api/v1?hash="), "{url}");
    let (own, hash) = url.split_once("?hash=").expect("a hash");
    let own = own.trim_start_matches("/clusters/a/control-plane");
    let document = a.get(&format!("{own}?hash={hash}")).ok();
    assert!(document["components"]["schemas"].get("io.k8s.api.core.v1.ConfigMap").is_some());
    // Who has it is told so, and who asks by an old hash where the new one is.
    let tag = format!("\"{hash}\"");
    assert_eq!(send(&a, "GET", own, &[("If-None-Match", &tag)], "").code, 304);
    assert_eq!(send(&a, "GET", own, &[("If-None-Match", "\"old\"")], "").code, 200);
    assert_eq!(send(&a, "GET", &format!("{own}?hash=OLD"), &[], "").code, 301);
}
