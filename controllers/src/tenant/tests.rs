//! The loops against a small API server.

use std::sync::Arc;

use serde_json::{Value, json};

use super::discovery::Discovery;
use super::follow::Sink;
use super::garbage::Garbage;
use super::namespaces::Namespaces;
use super::object::{Identity, ORPHAN};
use super::queue::{Next, Worker};
use super::router::{NamespaceKey, Router};
use super::service_accounts::ServiceAccounts;
use super::tasks::Tasks;
use crate::fake::FakeApi;
use crate::runtime::raw::Raw;

const DEMO: &str = "/clusters/demo/control-plane";

struct Barn {
    api: FakeApi,
    namespaces: Arc<Namespaces>,
    service_accounts: Arc<ServiceAccounts>,
    garbage: Arc<Garbage>,
    router: Router,
}

fn barn() -> Barn {
    let api = FakeApi::default();
    let resource = |plural: &str, kind: &str| {
        json!({ "resource": plural, "responseKind": { "kind": kind }, "scope": "Namespaced",
            "verbs": ["delete", "deletecollection", "list"] })
    };
    let core = json!([resource("configmaps", "ConfigMap"), resource("pods", "Pod")]);
    api.put(
        &format!("{DEMO}/api"),
        json!({ "items": [{ "metadata": {}, "versions": [{ "version": "v1", "resources": core }] }] }),
    );
    api.put(&format!("{DEMO}/apis"), json!({ "items": [] }));
    let raw = Raw::new(api.client());
    let discovery = Arc::new(Discovery::new(raw.clone()));
    let namespaces = Arc::new(Namespaces::new(raw.clone(), discovery.clone()));
    let service_accounts = Arc::new(ServiceAccounts::new(raw.clone(), Some("pem".into())));
    let garbage = Arc::new(Garbage::new(raw.clone(), discovery.clone()));
    let tasks = Arc::new(Tasks::new(raw, garbage.clone(), discovery));
    let router = Router::new(namespaces.clone(), service_accounts.clone(), garbage.clone(), tasks);
    Barn { api, namespaces, service_accounts, garbage, router }
}

fn path(plural: &str, name: &str) -> String {
    format!("{DEMO}/api/v1/namespaces/farm/{plural}/{name}")
}

/// An object as it is listed over all control planes.
fn listed(kind: &str, plural: &str, name: &str, more: Value) -> Value {
    let mut metadata = json!({
        "name": name, "namespace": "farm", "uid": format!("{name}-uid"), "resourceVersion": "1",
        "annotations": { "kplane.dev/cluster": "demo", "kplane.dev/api-version": "v1",
            "kplane.dev/kind": kind, "kplane.dev/resource": plural },
    });
    for (key, value) in more.as_object().into_iter().flatten() {
        metadata[key] = value.clone();
    }
    json!({ "metadata": metadata })
}

fn owned_by(name: &str) -> Value {
    json!({ "ownerReferences": [{
        "apiVersion": "v1", "kind": "ConfigMap", "name": name, "uid": format!("{name}-uid"),
        "blockOwnerDeletion": true,
    }]})
}

fn key(name: &str) -> Identity {
    Identity { cluster: "demo".into(), uid: format!("{name}-uid").into() }
}

impl Barn {
    /// Puts an object there and lets the loops see it.
    fn add(&mut self, kind: &str, plural: &str, name: &str, more: Value) {
        let object = listed(kind, plural, name, more);
        self.api.put(&path(plural, name), object.clone());
        self.router.applied(&object);
    }
}

#[tokio::test]
async fn what_lost_its_owner_goes_and_what_did_not_stays() {
    let mut barn = barn();
    barn.add("ConfigMap", "configmaps", "owner", json!({}));
    barn.add("Pod", "pods", "kept", owned_by("owner"));
    barn.add("Pod", "pods", "lost", owned_by("nobody"));
    barn.garbage.reconcile(key("kept")).await.unwrap();
    barn.garbage.reconcile(key("lost")).await.unwrap();
    assert!(barn.api.get(&path("pods", "kept")).is_some());
    assert!(barn.api.get(&path("pods", "lost")).is_none());
    // An object of the same name is not the owner.
    barn.add(
        "Pod",
        "pods",
        "mistaken",
        json!({ "ownerReferences": [{
        "apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": "an-earlier-uid" }]}),
    );
    barn.garbage.reconcile(key("mistaken")).await.unwrap();
    assert!(barn.api.get(&path("pods", "mistaken")).is_none());
}

#[tokio::test]
async fn an_owner_of_an_unknown_kind_is_no_reason_to_delete() {
    let mut barn = barn();
    barn.add(
        "Pod",
        "pods",
        "kept",
        json!({ "ownerReferences": [{
        "apiVersion": "farm.test/v1", "kind": "Barn", "name": "x", "uid": "x" }]}),
    );
    assert!(barn.garbage.reconcile(key("kept")).await.is_err());
    assert!(barn.api.get(&path("pods", "kept")).is_some());
}

#[tokio::test]
async fn orphans_are_let_go_before_their_owner() {
    let mut barn = barn();
    barn.add("Pod", "pods", "orphan", owned_by("owner"));
    let deleting = json!({ "deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": [ORPHAN] });
    barn.add("ConfigMap", "configmaps", "owner", deleting);
    barn.garbage.reconcile(key("owner")).await.unwrap();
    let orphan = barn.api.get(&path("pods", "orphan")).unwrap();
    assert_eq!(orphan["metadata"]["ownerReferences"], json!([]));
    assert!(barn.api.get(&path("configmaps", "owner")).is_none());
}

#[tokio::test]
async fn a_foreground_deletion_waits_for_its_dependents() {
    let mut barn = barn();
    barn.add("Pod", "pods", "child", owned_by("owner"));
    let deleting =
        json!({ "deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["foregroundDeletion"] });
    barn.add("ConfigMap", "configmaps", "owner", deleting);
    barn.garbage.reconcile(key("owner")).await.unwrap();
    assert!(barn.api.get(&path("configmaps", "owner")).is_some(), "its dependent is still there");
    barn.garbage.reconcile(key("child")).await.unwrap();
    assert!(barn.api.get(&path("pods", "child")).is_none());
    barn.router.deleted(&listed("Pod", "pods", "child", owned_by("owner")));
    barn.garbage.reconcile(key("owner")).await.unwrap();
    assert!(barn.api.get(&path("configmaps", "owner")).is_none());
}

fn farm() -> NamespaceKey {
    NamespaceKey { cluster: "demo".into(), name: "farm".into() }
}

#[tokio::test]
async fn a_namespace_goes_when_its_content_has_gone() {
    let mut barn = barn();
    let namespace = format!("{DEMO}/api/v1/namespaces/farm");
    barn.api.put(
        &namespace,
        json!({
            "metadata": { "name": "farm", "deletionTimestamp": "2026-01-01T00:00:00Z" },
            "spec": { "finalizers": ["kubernetes"] }, "status": { "phase": "Terminating" },
        }),
    );
    barn.add("ConfigMap", "configmaps", "plain", json!({}));
    barn.add("ConfigMap", "configmaps", "held", json!({ "finalizers": ["farm.test/owl"] }));
    let next = barn.namespaces.reconcile(farm()).await.unwrap();
    assert!(matches!(next, Next::After(_)));
    assert!(barn.api.get(&path("configmaps", "plain")).is_none());
    let conditions = barn.api.get(&namespace).unwrap()["status"]["conditions"].to_string();
    assert!(conditions.contains("farm.test/owl in 1 resource instances"), "{conditions}");
    let mut held = barn.api.get(&path("configmaps", "held")).unwrap();
    held["metadata"]["finalizers"] = json!([]);
    barn.api.put(&path("configmaps", "held"), held);
    assert_eq!(barn.namespaces.reconcile(farm()).await.unwrap(), Next::Done);
    assert!(barn.api.get(&namespace).is_none());
}

#[tokio::test]
async fn a_namespace_gets_its_account_and_its_certificates() {
    let barn = barn();
    barn.service_accounts.reconcile(farm()).await.unwrap();
    assert!(barn.api.get(&path("serviceaccounts", "default")).is_some());
    let map = path("configmaps", "kube-root-ca.crt");
    assert_eq!(barn.api.get(&map).unwrap()["data"]["ca.crt"], "pem");
    barn.api.put(&map, json!({ "metadata": { "name": "kube-root-ca.crt" }, "data": { "ca.crt": "forged" } }));
    barn.service_accounts.reconcile(farm()).await.unwrap();
    assert_eq!(barn.api.get(&map).unwrap()["data"]["ca.crt"], "pem");
}
