//! Audit events that are sent to a server of the operator's.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kplane_tests::https::{Authority, serve};
use kplane_tests::{Server, Store, eventually};
use serde_json::{Value, json};

use crate::settings::{SECRETS, secret};
use crate::world::FLAG;

fn ids(batch: &Value) -> Vec<String> {
    let items = batch["items"].as_array().into_iter().flatten();
    items.map(|event| format!("{}/{}", event["auditID"], event["stage"])).collect()
}

#[test]
fn audit_events_are_sent_in_batches_and_again_until_they_are_taken() {
    let authority = Authority::new();
    let (taken, refused) = (Arc::new(Mutex::new(Vec::<Value>::new())), Arc::new(Mutex::new(Vec::new())));
    let patience = AtomicUsize::new(2);
    let url = serve(&authority, {
        let (taken, refused) = (taken.clone(), refused.clone());
        move |asked| {
            assert_eq!(asked.path, "/events");
            let refuses =
                patience.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
            if refuses.is_ok() {
                refused.lock().expect("refused").push(asked.body.clone());
                return None;
            }
            taken.lock().expect("taken").push(asked.body.clone());
            Some(json!({}))
        }
    });
    let folder = tempfile::tempdir().expect("a folder");
    let (ca, config) = (folder.path().join("ca.pem"), folder.path().join("webhook.json"));
    std::fs::write(&ca, authority.pem()).expect("a CA");
    let kubeconfig = json!({
        "current-context": "c", "contexts": [{"name": "c", "context": {"cluster": "k"}}],
        "clusters": [{"name": "k", "cluster": {"server": format!("{url}/events"), "certificate-authority": ca}}],
    });
    std::fs::write(&config, kubeconfig.to_string()).expect("a kubeconfig");
    let server = Server::start_with(
        Store::Embedded,
        &[
            &format!("--audit-webhook-config-file={}", config.display()),
            "--audit-webhook-batch-max-size=5",
            "--audit-webhook-batch-max-wait=1",
        ],
    );
    for name in ["a", "b"] {
        server.create_vcp(name);
        server.client().vcp(name).post(SECRETS, &secret(&format!("of-{name}"))).ok();
        server.client().vcp(name).get(&format!("{SECRETS}/of-{name}")).ok();
    }
    server.client().vcp("a").get("/api/v1/namespaces/default/secrets/of-b").refused(404);
    let events = || -> Vec<Value> {
        let batches = taken.lock().expect("taken");
        batches.iter().flat_map(|batch| batch["items"].as_array().cloned().unwrap_or_default()).collect()
    };
    let has = |verb: &str, cluster: &str, name: &str| {
        events().iter().any(|event| {
            event["verb"] == verb
                && event["stage"] == "ResponseComplete"
                && event["annotations"]["kplane.dev/cluster"] == cluster
                && event["objectRef"]["resource"] == "secrets"
                && event["objectRef"]["name"] == name
        })
    };
    for name in ["a", "b"] {
        eventually("the events have come", Duration::from_secs(40), || {
            has("get", name, &format!("of-{name}"))
        });
    }
    eventually("a refusal is an event too", Duration::from_secs(20), || has("get", "a", "of-b"));
    assert!(!has("get", "b", "of-a"));
    // What was refused has come later, and nothing came twice.
    let batches = taken.lock().expect("taken").clone();
    let came: Vec<String> = batches.iter().flat_map(ids).collect();
    assert_eq!(came.iter().collect::<BTreeSet<_>>().len(), came.len(), "an event came twice");
    let refused = refused.lock().expect("refused");
    assert_eq!(refused.len(), 2);
    assert!(refused.iter().flat_map(ids).all(|id| came.contains(&id)), "a refused batch is lost");
    for batch in &batches {
        assert_eq!((&batch["kind"], &batch["apiVersion"]), (&json!("EventList"), &json!("audit.k8s.io/v1")));
        assert!(ids(batch).len() <= 5, "{} in a batch", ids(batch).len());
    }
    assert!(batches.iter().any(|batch| ids(batch).len() > 1), "each event came alone");
    for event in events() {
        assert_eq!(event["level"], "Metadata");
        assert!(event["annotations"]["kplane.dev/cluster"].is_string(), "{event}");
        assert!(event.get("requestObject").is_none() && event.get("responseObject").is_none(), "{event}");
    }
    let text = serde_json::to_string(&batches).expect("JSON");
    use base64::Engine;
    let encoded = base64::engine::general_purpose::STANDARD.encode(FLAG);
    assert!(!text.contains(FLAG) && !text.contains(&encoded), "a Secret is in an event");
}
