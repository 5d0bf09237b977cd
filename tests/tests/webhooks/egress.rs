//! Where the server does not go on a tenant's word.

use kplane_tests::Client;
use serde_json::json;

use crate::hook::{Hook, allow};
use crate::*;

/// What a write says while the one webhook is at this URL.
#[track_caller]
fn calling(a: &Client, url: &str) -> String {
    let hook = json!({
        "name": "out.test.k8s.io", "clientConfig": {"url": url}, "sideEffects": "None",
        "rules": [rule(&["CREATE"], "", "v1", &["configmaps"])], "admissionReviewVersions": ["v1"], "timeoutSeconds": 3,
    });
    configure(a, VALIDATING, "out", &[hook]);
    let answer = a.post(CONFIG_MAPS, &config_map("c", json!({}))).refused(500);
    a.delete(&format!("{VALIDATING}/out")).ok();
    answer
}

#[test]
fn addresses_that_are_nobodys_business_are_refused() {
    let server = Server::start_with(Store::Embedded, &["--egress-denied-cidrs=10.0.0.0/8"]);
    control_plane(&server, "a", json!([]));
    let a = server.client().vcp("a");
    let own = format!("https://{}:1/", hook::own_address());
    for (url, why) in [
        ("https://127.0.0.1:1/", "a loopback address"),
        ("https://[::1]:1/", "a loopback address"),
        ("https://[::ffff:127.0.0.1]:1/", "a loopback address"),
        ("https://localhost:1/", "a loopback address"),
        ("https://2130706433:1/", "a loopback address"),
        ("https://0.0.0.0:1/", "an unspecified address"),
        ("https://169.254.169.254/latest/meta-data", "a link-local address"),
        ("https://[64:ff9b::a9fe:a9fe]/", "a link-local address"),
        ("https://[fe80::1]/", "a link-local address"),
        ("https://224.0.0.1/", "a multicast address"),
        ("https://10.1.2.3/", "in a range that the plane denies"),
        (own.as_str(), "an address of the machine of the shared API server"),
    ] {
        let said = calling(&a, url);
        assert!(said.contains("egress denied") && said.contains(why), "{url}: {said}");
    }
}

#[test]
fn the_server_itself_is_out_of_reach_whatever_is_allowed() {
    let server = Server::start(Store::Embedded);
    control_plane(&server, "a", json!(["0.0.0.0/0", "::/0"]));
    let a = server.client().vcp("a");
    for host in ["127.0.0.1", "localhost", "0.0.0.0", "[::ffff:127.0.0.1]"] {
        let said = calling(&a, &format!("https://{host}:{}/", server.port()));
        assert!(said.contains("an address of the shared API server"), "{host}: {said}");
    }
}

#[test]
fn a_grant_is_for_one_control_plane_and_ends_when_it_is_taken_back() {
    let server = Server::start(Store::Embedded);
    let hook = Hook::start(allow);
    control_plane(&server, "a", json!(["127.0.0.0/8", hook::own_address().to_string()]));
    control_plane(&server, "b", json!([]));
    let client = server.client();
    for name in ["a", "b"] {
        let vcp = client.vcp(name);
        serve(&vcp, &hook);
        configure(
            &vcp,
            VALIDATING,
            "hook",
            &[webhook(&hook, "/x", rule(&["CREATE"], "", "v1", &["configmaps"]))],
        );
    }
    let (a, b) = (client.vcp("a"), client.vcp("b"));
    a.post(CONFIG_MAPS, &config_map("one", json!({}))).ok();
    // By a Service as by a URL.
    let said = b.post(CONFIG_MAPS, &config_map("one", json!({}))).refused(500);
    assert!(said.contains("egress denied"), "{said}");
    let record = "/apis/tenancy.kplane.dev/v1alpha1/virtualclusters/a";
    client.merge(record, &json!({"spec": {"egress": null}})).ok();
    let said = a.post(CONFIG_MAPS, &config_map("two", json!({}))).refused(500);
    assert!(said.contains("egress denied"), "{said}");
    let said = client.merge(record, &json!({"spec": {"egress": {"allowedCIDRs": ["ten"]}}})).refused(422);
    assert!(said.contains("spec.egress.allowedCIDRs[0]: Invalid value: \"ten\""), "{said}");
}

#[test]
fn an_external_name_leads_nowhere_that_is_refused() {
    let (a, _, server) = setup();
    let hook = Hook::start(allow);
    let b = server.client().vcp("b");
    control_plane(&server, "b", json!([]));
    for (vcp, reached) in [(&a, true), (&b, false)] {
        vcp.post("/api/v1/namespaces", &json!({"metadata": {"name": "hooks"}})).ok();
        let service = json!({"metadata": {"name": "hook"}, "spec": {"type": "ExternalName", "externalName": "localhost"}});
        vcp.post("/api/v1/namespaces/hooks/services", &service).ok();
        let mut one = webhook(&hook, "/x", rule(&["CREATE"], "", "v1", &["configmaps"]));
        one["clientConfig"]["service"]["port"] = hook.address.port().into();
        configure(vcp, VALIDATING, "hook", &[one]);
        let answer = vcp.post(CONFIG_MAPS, &config_map("c", json!({})));
        assert_eq!(answer.code == 201, reached, "{}", answer.text);
    }
}
