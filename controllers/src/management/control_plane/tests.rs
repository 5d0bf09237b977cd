//! A ControlPlane from its creation to its end, against a small API server that is both the management cluster and
//! the shared API server, as with the provider `local`.

use std::sync::Arc;

use kplane_crds::v1alpha1::ControlPlane;
use kube::runtime::controller::Action;
use serde_json::{Value, json};

use super::reconcile;
use crate::fake::FakeApi;
use crate::management::context::Context;
use crate::management::plane::{EmbeddedPlane, Planes};
use crate::management::run::ManagementOptions;
use crate::management::secrets::Secrets;

const CONTROL_PLANE: &str = "/apis/controlplane.kplane.dev/v1alpha1/controlplanes/owl";
const ENDPOINT: &str = "/apis/controlplane.kplane.dev/v1alpha1/controlplaneendpoints/owl";
const RECORD: &str = "/apis/tenancy.kplane.dev/v1alpha1/virtualclusters/owl";
const SECRET: &str = "/api/v1/namespaces/kplane-cp-owl/secrets/controlplane-owl-kubeconfig";
const NAMESPACE: &str = "/api/v1/namespaces/kplane-cp-owl";
const BINDING: &str =
    "/clusters/owl/control-plane/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/kplane:control-plane";

struct Barn {
    api: FakeApi,
    context: Arc<Context>,
}

impl Barn {
    fn new(spec: Value) -> Self {
        let api = FakeApi::default();
        api.put(
            "/apis/controlplane.kplane.dev/v1alpha1/managementplanes/default",
            json!({
                "apiVersion": "controlplane.kplane.dev/v1alpha1", "kind": "ManagementPlane",
                "metadata": { "name": "default" }, "spec": {},
                "status": { "topology": "Embedded", "endpoint": "https://127.0.0.1:8443", "caBundle": "pem" },
            }),
        );
        api.put(
            CONTROL_PLANE,
            json!({
                "apiVersion": "controlplane.kplane.dev/v1alpha1", "kind": "ControlPlane",
                "metadata": { "name": "owl", "uid": "owl-uid" }, "spec": spec,
            }),
        );
        let client = api.client();
        let embedded = EmbeddedPlane::new(client.clone(), "https://127.0.0.1:8443", "pem", "v1");
        let planes = Arc::new(Planes::new(client.clone(), Some(embedded)));
        let secrets = Secrets::all(client.clone());
        let context = Context::new(client, planes, Arc::new(ManagementOptions::default()), secrets, "test");
        Self { api, context }
    }

    async fn reconcile(&self) -> Action {
        let object: ControlPlane = serde_json::from_value(self.control_plane()).unwrap();
        reconcile(Arc::new(object), self.context.clone()).await.unwrap()
    }

    fn control_plane(&self) -> Value {
        self.api.get(CONTROL_PLANE).unwrap()
    }

    fn condition(&self, type_: &str) -> String {
        let object = self.control_plane();
        let conditions = object["status"]["conditions"].as_array().unwrap();
        let found = conditions.iter().find(|c| c["type"] == type_);
        found.map_or("none".into(), |c| format!("{} {}", c["status"], c["reason"]).replace('"', ""))
    }

    fn delete(&self) {
        let mut object = self.control_plane();
        object["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:01Z".into();
        self.api.put(CONTROL_PLANE, object);
    }
}

fn record(uid: &str, owner: &str, detached: bool) -> Value {
    json!({
        "apiVersion": "tenancy.kplane.dev/v1alpha1", "kind": "VirtualCluster",
        "metadata": { "name": "owl", "uid": uid },
        "spec": {
            "detached": detached,
            "owner": { "apiVersion": "v1", "kind": "ControlPlane", "name": "owl", "uid": owner },
        },
    })
}

#[tokio::test]
async fn a_control_plane_becomes_ready_in_one_pass_and_then_is_quiet() {
    let barn = Barn::new(json!({}));
    barn.reconcile().await;
    assert_eq!(barn.condition("Ready"), "True Reconciled");
    assert_eq!(barn.condition("Accepted"), "True Reconciled");
    assert_eq!(barn.condition("CredentialsReady"), "True Reconciled");
    let record = barn.api.get(RECORD).unwrap();
    assert_eq!(record["spec"]["owner"]["uid"], "owl-uid");
    assert_eq!(record["spec"]["deletionPolicy"], "Retain");
    let endpoint = barn.api.get(ENDPOINT).unwrap();
    assert_eq!(endpoint["spec"]["externalEndpoint"], "https://127.0.0.1:8443/clusters/owl/control-plane");
    let secret = barn.api.get(SECRET).unwrap();
    assert!(secret["data"]["kubeconfig"].is_string() && secret["data"]["kubeconfig-external"].is_string());
    assert_eq!(secret["metadata"]["ownerReferences"][0]["uid"], "owl-uid");
    assert!(barn.api.get(NAMESPACE).is_some());
    let binding =
        barn.api.get(&BINDING.replace("kplane:", "kplane%3A")).or_else(|| barn.api.get(BINDING)).unwrap();
    assert_eq!(binding["subjects"][0]["name"], "kplane:control-plane:owl-uid");
    assert_eq!(binding["roleRef"]["name"], "cluster-admin");
    let object = barn.control_plane();
    assert_eq!(object["status"]["kubeconfigSecretRef"]["namespace"], "kplane-cp-owl");
    assert_eq!(object["status"]["virtualClusterUID"], record["metadata"]["uid"]);
    assert_eq!(object["metadata"]["finalizers"], json!(["controlplane.kplane.dev/finalizer"]));
    barn.api.writes();
    barn.reconcile().await;
    assert!(barn.api.writes().is_empty(), "all is as it should be");
    barn.api.put(BINDING, json!({ "metadata": { "name": "kplane:control-plane" } }));
    barn.reconcile().await;
    assert_eq!(barn.api.get(BINDING).unwrap()["roleRef"]["name"], "cluster-admin", "it is mended");
}

#[tokio::test]
async fn a_path_that_another_holds_is_left_alone() {
    let barn = Barn::new(json!({}));
    barn.api.put(RECORD, record("1", "somebody-else", false));
    barn.reconcile().await;
    assert_eq!(barn.condition("Accepted"), "False PathTaken");
    assert_eq!(barn.condition("Stalled"), "True PathTaken");
    assert_eq!(barn.api.writes(), [format!("PATCH {CONTROL_PLANE}")], "the finalizer, and nothing else");
}

#[tokio::test]
async fn retained_data_is_adopted_only_by_its_uid() {
    let barn = Barn::new(json!({}));
    barn.api.put(RECORD, record("1", "an-earlier-one", true));
    barn.reconcile().await;
    assert_eq!(barn.condition("Accepted"), "False PathRetained");
    assert_eq!(barn.api.get(RECORD).unwrap()["spec"]["detached"], true);

    let barn = Barn::new(json!({ "virtual": { "adoptUID": "2" } }));
    barn.api.put(RECORD, record("1", "an-earlier-one", true));
    barn.reconcile().await;
    assert_eq!(barn.condition("Accepted"), "False AdoptionMismatch");

    let barn = Barn::new(json!({ "virtual": { "adoptUID": "1" } }));
    barn.api.put(RECORD, record("1", "an-earlier-one", true));
    barn.reconcile().await;
    assert_eq!(barn.condition("Ready"), "True Reconciled");
    let record = barn.api.get(RECORD).unwrap();
    assert_eq!(
        (&record["spec"]["detached"], &record["spec"]["owner"]["uid"]),
        (&json!(false), &json!("owl-uid"))
    );
}

#[tokio::test]
async fn retain_detaches_and_destroy_removes() {
    for (policy, remains) in [("Retain", true), ("Destroy", false)] {
        let barn = Barn::new(json!({ "deletionPolicy": policy }));
        barn.reconcile().await;
        barn.delete();
        barn.reconcile().await;
        assert!(barn.api.get(CONTROL_PLANE).is_none(), "{policy}");
        assert!(barn.api.get(SECRET).is_none(), "{policy}");
        let record = barn.api.get(RECORD);
        assert_eq!(record.is_some(), remains, "{policy}");
        if let Some(record) = record {
            assert_eq!(record["spec"]["detached"], true);
        }
    }
}

#[tokio::test]
async fn a_class_decides_what_the_spec_leaves_open() {
    let barn = Barn::new(json!({ "classRef": { "name": "nest" } }));
    barn.reconcile().await;
    assert_eq!(barn.condition("Accepted"), "False ClassNotFound");
    barn.api.put(
        "/apis/controlplane.kplane.dev/v1alpha1/controlplaneclasses/nest",
        json!({
            "apiVersion": "controlplane.kplane.dev/v1alpha1", "kind": "ControlPlaneClass",
            "metadata": { "name": "nest" },
            "spec": { "deletionPolicy": "Destroy", "auth": { "defaultRole": "edit" } },
        }),
    );
    barn.reconcile().await;
    assert_eq!(barn.condition("Ready"), "True Reconciled");
    let record = barn.api.get(RECORD).unwrap();
    assert_eq!(
        (&record["spec"]["className"], &record["spec"]["deletionPolicy"]),
        (&json!("nest"), &json!("Destroy"))
    );
}

#[tokio::test]
async fn what_a_class_lets_be_reached_is_written_into_the_record_and_ends_with_it() {
    const CLASS: &str = "/apis/controlplane.kplane.dev/v1alpha1/controlplaneclasses/barn";
    let class = |egress: Value| {
        json!({
            "apiVersion": "controlplane.kplane.dev/v1alpha1", "kind": "ControlPlaneClass",
            "metadata": { "name": "barn" }, "spec": egress,
        })
    };
    let barn = Barn::new(json!({ "classRef": { "name": "barn" } }));
    barn.api.put(CLASS, class(json!({ "egress": { "allowedCIDRs": ["10.0.0.0/8"] } })));
    barn.reconcile().await;
    assert_eq!(barn.api.get(RECORD).unwrap()["spec"]["egress"]["allowedCIDRs"], json!(["10.0.0.0/8"]));
    barn.api.put(CLASS, class(json!({})));
    barn.reconcile().await;
    assert_eq!(barn.api.get(RECORD).unwrap()["spec"].get("egress"), None);
}

#[tokio::test]
async fn other_forms_of_the_kubeconfig_come_and_go_with_the_field_and_the_object() {
    const ARGO_CD: &str = "/api/v1/namespaces/argocd/secrets/kplane-owl";
    const CLUSTER_API: &str = "/api/v1/namespaces/clusters/secrets/owl-kubeconfig";
    let both = json!({ "argoCD": {}, "clusterAPI": { "namespace": "clusters" } });
    let barn = Barn::new(json!({ "exports": both }));
    barn.reconcile().await;
    assert_eq!(
        (barn.condition("Ready"), barn.condition("ExportsReady")),
        ("True Reconciled".into(), "True Reconciled".into())
    );
    assert!(barn.api.get(ARGO_CD).is_some() && barn.api.get(CLUSTER_API).is_some());
    assert_eq!(barn.api.get(ARGO_CD).unwrap()["metadata"]["ownerReferences"][0]["uid"], "owl-uid");
    barn.api.writes();
    barn.reconcile().await;
    assert!(barn.api.writes().is_empty(), "all is as it should be");

    let mut object = barn.control_plane();
    object["spec"]["exports"] = json!({ "argoCD": {} });
    barn.api.put(CONTROL_PLANE, object.clone());
    barn.reconcile().await;
    assert!(barn.api.get(CLUSTER_API).is_none(), "it goes with the field");
    assert_eq!(barn.control_plane()["status"]["exportedSecretRefs"].as_array().map(Vec::len), Some(1));

    // In the way of what is asked for next is somebody else's.
    barn.api.put(
        "/api/v1/namespaces/clusters/secrets/theirs-kubeconfig",
        json!({ "metadata": { "name": "theirs-kubeconfig" } }),
    );
    object = barn.control_plane();
    object["spec"]["exports"]["clusterAPI"] = json!({ "namespace": "clusters", "clusterName": "theirs" });
    barn.api.put(CONTROL_PLANE, object.clone());
    barn.reconcile().await;
    assert_eq!(
        (barn.condition("Ready"), barn.condition("ExportsReady")),
        ("False NotOurs".into(), "False NotOurs".into())
    );
    assert_eq!(barn.condition("CredentialsReady"), "True Reconciled");

    barn.delete();
    barn.reconcile().await;
    assert!(barn.api.get(CONTROL_PLANE).is_none() && barn.api.get(ARGO_CD).is_none());
    assert!(barn.api.get("/api/v1/namespaces/clusters/secrets/theirs-kubeconfig").is_some());
}

#[tokio::test]
async fn an_end_that_cannot_come_says_why_and_can_be_forced() {
    const PLANE: &str = "/apis/controlplane.kplane.dev/v1alpha1/managementplanes/default";
    let barn = Barn::new(json!({ "deletionPolicy": "Destroy" }));
    barn.reconcile().await;
    barn.api.remove(PLANE);
    barn.delete();
    barn.reconcile().await;
    assert_eq!(barn.condition("Ready"), "False ManagementPlanePending");
    let told = barn.control_plane()["status"]["conditions"].to_string();
    assert!(told.contains("controlplane.kplane.dev/force-delete=true"), "{told}");
    let mut object = barn.control_plane();
    object["metadata"]["annotations"] = json!({ "controlplane.kplane.dev/force-delete": "true" });
    barn.api.put(CONTROL_PLANE, object);
    barn.reconcile().await;
    assert!(barn.api.get(CONTROL_PLANE).is_none() && barn.api.get(SECRET).is_none());
    assert!(barn.api.get(RECORD).is_some(), "what could not be done is left undone");
}
