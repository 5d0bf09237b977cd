//! The end of a credential, whatever became of what it needs.

use std::sync::Arc;

use kplane_crds::v1alpha1::ControlPlaneCredential;
use serde_json::{Value, json};

use super::reconcile;
use crate::fake::FakeApi;
use crate::management::context::Context;
use crate::management::plane::{EmbeddedPlane, Planes};
use crate::management::run::ManagementOptions;
use crate::management::secrets::Secrets;

const GROUP: &str = "/apis/controlplane.kplane.dev/v1alpha1";
const SECRET: &str = "/api/v1/namespaces/kplane-cp-owl/secrets/viewer-kubeconfig";

struct Barn {
    api: FakeApi,
    context: Arc<Context>,
}

impl Barn {
    fn new() -> Self {
        let api = FakeApi::default();
        let object = |kind: &str, name: &str, spec: Value, status: Value| {
            json!({
                "apiVersion": "controlplane.kplane.dev/v1alpha1", "kind": kind,
                "metadata": { "name": name, "uid": format!("{name}-uid") }, "spec": spec, "status": status,
            })
        };
        let plane = json!({ "topology": "Embedded", "endpoint": "https://in", "caBundle": "pem" });
        let plane = object("ManagementPlane", "default", json!({}), plane);
        api.put(&format!("{GROUP}/managementplanes/default"), plane);
        let owl =
            json!({ "endpoint": "https://in", "externalEndpoint": "https://out", "virtualClusterUID": "1" });
        api.put(&format!("{GROUP}/controlplanes/owl"), object("ControlPlane", "owl", json!({}), owl));
        let spec = json!({ "controlPlaneRef": { "name": "owl" } });
        api.put(&Self::path(), object("ControlPlaneCredential", "viewer", spec, json!({})));
        let client = api.client();
        let embedded = EmbeddedPlane::new(client.clone(), "https://in", "pem", "v1");
        let planes = Arc::new(Planes::new(client.clone(), Some(embedded)));
        let secrets = Secrets::all(client.clone());
        let context = Context::new(client, planes, Arc::new(ManagementOptions::default()), secrets, "test");
        Self { api, context }
    }

    fn path() -> String {
        format!("{GROUP}/controlplanecredentials/viewer")
    }

    fn credential(&self) -> Option<Value> {
        self.api.get(&Self::path())
    }

    /// Changes the credential, and reconciles it.
    async fn change(&self, key: &str, value: Value) {
        let mut object = self.credential().unwrap();
        object["metadata"][key] = value;
        self.api.put(&Self::path(), object);
        self.reconcile().await;
    }

    async fn reconcile(&self) {
        let object: ControlPlaneCredential = serde_json::from_value(self.credential().unwrap()).unwrap();
        reconcile(Arc::new(object), self.context.clone()).await.unwrap();
    }

    fn ready(&self) -> Value {
        let object = self.credential().unwrap();
        let conditions = object["status"]["conditions"].as_array().unwrap();
        conditions.iter().find(|condition| condition["type"] == "Ready").unwrap().clone()
    }
}

#[tokio::test]
async fn without_its_management_plane_its_end_says_why_and_can_be_forced() {
    let barn = Barn::new();
    barn.reconcile().await;
    assert_eq!(barn.ready()["reason"], "Reconciled");
    assert!(barn.api.get(SECRET).is_some());
    barn.api.remove(&format!("{GROUP}/managementplanes/default"));
    barn.change("deletionTimestamp", "2026-01-01T00:00:01Z".into()).await;
    let ready = barn.ready();
    assert_eq!(ready["reason"], "ManagementPlanePending");
    let told = ready["message"].as_str().unwrap();
    assert!(told.contains("controlplane.kplane.dev/force-delete=true"), "{told}");
    barn.change("annotations", json!({ "controlplane.kplane.dev/force-delete": "true" })).await;
    assert!(barn.credential().is_none() && barn.api.get(SECRET).is_none());
}

#[tokio::test]
async fn without_its_control_plane_it_goes_at_once() {
    let barn = Barn::new();
    barn.reconcile().await;
    barn.api.remove(&format!("{GROUP}/controlplanes/owl"));
    barn.api.remove(&format!("{GROUP}/managementplanes/default"));
    barn.change("deletionTimestamp", "2026-01-01T00:00:01Z".into()).await;
    assert!(barn.credential().is_none() && barn.api.get(SECRET).is_none());
}
