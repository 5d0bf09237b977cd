use super::*;
use crate::fake::FakeApi;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{OwnerReference, Time};
use kplane_crds::tenancy::CredentialRequestStatus;
use kplane_crds::v1alpha1::{ArgoCdExport, ClusterApiExport, ExportedEndpoint, Exports};
use serde_json::{Value, json};

use crate::management::kubeconfig::{Addresses, secret_data};

fn kubeconfigs(certificate: &str) -> Secret {
    let credential = CredentialRequestStatus {
        client_certificate_data: certificate.into(),
        client_key_data: "a2V5".into(),
        certificate_authority_data: None,
        expiration_timestamp: Time(jiff::Timestamp::UNIX_EPOCH),
    };
    let addresses = Addresses {
        internal: "https://in/clusters/owl/control-plane".into(),
        internal_ca: "in".into(),
        external: "https://out/clusters/owl/control-plane".into(),
        external_ca: "out".into(),
    };
    let mut secret = Secret::default();
    secret.metadata.namespace = Some("kplane-cp-owl".into());
    secret.metadata.name = Some("owl-kubeconfig".into());
    secret.data = Some(secret_data(&addresses, "owl", &credential).unwrap());
    secret
}

fn both() -> Exports {
    Exports {
        argo_cd: Some(ArgoCdExport {
            labels: BTreeMap::from([("tier".to_owned(), "barn".to_owned())]),
            ..ArgoCdExport::default()
        }),
        cluster_api: Some(ClusterApiExport {
            namespace: "clusters".into(),
            endpoint: ExportedEndpoint::External,
            ..ClusterApiExport::default()
        }),
    }
}

fn built(exports: &Exports, secret: &Secret) -> Result<Vec<Secret>, Trouble> {
    let owner = OwnerReference { uid: "1".into(), controller: Some(true), ..OwnerReference::default() };
    let source =
        Source { name: "owl", control_plane: "owl", argo_cd_secret: "kplane-owl".into(), owner, secret };
    build(Some(exports), &source)
}

fn text(secret: &Secret, key: &str) -> String {
    String::from_utf8(secret.data.as_ref().unwrap()[key].0.clone()).unwrap()
}

#[test]
fn each_form_is_as_its_tool_reads_it() {
    let all = built(&both(), &kubeconfigs("Y2VydA==")).unwrap();
    let [argo_cd, cluster_api] = &all[..] else { panic!("{all:?}") };
    assert_eq!((argo_cd.namespace().as_deref(), argo_cd.name_any().as_str()), (Some("argocd"), "kplane-owl"));
    assert_eq!(argo_cd.labels()["argocd.argoproj.io/secret-type"], "cluster");
    assert_eq!(argo_cd.labels()["tier"], "barn");
    assert_eq!(text(argo_cd, "name"), "owl");
    assert_eq!(text(argo_cd, "server"), "https://in/clusters/owl/control-plane");
    let config: Value = serde_json::from_str(&text(argo_cd, "config")).unwrap();
    let tls = json!({ "insecure": false, "caData": "aW4=", "certData": "Y2VydA==", "keyData": "a2V5" });
    assert_eq!(config, json!({ "tlsClientConfig": tls }));

    assert_eq!(cluster_api.name_any(), "owl-kubeconfig");
    assert_eq!(cluster_api.type_.as_deref(), Some("cluster.x-k8s.io/secret"));
    assert_eq!(cluster_api.labels()["cluster.x-k8s.io/cluster-name"], "owl");
    let kubeconfig = kube::config::Kubeconfig::from_yaml(&text(cluster_api, "value")).unwrap();
    let server = kubeconfig.clusters[0].cluster.as_ref().unwrap().server.as_deref();
    assert_eq!(server, Some("https://out/clusters/owl/control-plane"));
}

#[test]
fn one_secret_holds_one_thing() {
    let mut exports = both();
    exports.cluster_api.as_mut().unwrap().namespace = "kplane-cp-owl".into();
    let refused = built(&exports, &kubeconfigs("Y2VydA=="));
    assert!(matches!(refused, Err(Trouble::Refused { reason: reason::INVALID_SPEC, .. })), "{refused:?}");
}

const ARGO_CD: &str = "/api/v1/namespaces/argocd/secrets/kplane-owl";
const CLUSTER_API: &str = "/api/v1/namespaces/clusters/secrets/owl-kubeconfig";

#[tokio::test]
async fn copies_are_written_renewed_mended_and_removed() {
    let api = FakeApi::default();
    let client = Secrets::all(api.client());
    let wanted = built(&both(), &kubeconfigs("Y2VydA==")).unwrap();
    let recorded = to_record(&wanted, &[]).unwrap();
    let exported = apply(&client, "1", &wanted, &recorded).await;
    assert!(exported.trouble.is_none() && exported.recorded == recorded, "{exported:?}");
    assert_eq!(to_record(&wanted, &recorded), None);
    api.writes();
    apply(&client, "1", &wanted, &recorded).await;
    assert!(api.writes().is_empty(), "all is as it should be");

    // What another wrote stays, and a label that is asked for no more goes.
    let mut marked = api.get(ARGO_CD).unwrap();
    marked["metadata"]["labels"]["mine"] = "yes".into();
    api.put(ARGO_CD, marked);
    let mut exports = both();
    exports.argo_cd.as_mut().unwrap().labels.clear();
    let renewed = built(&exports, &kubeconfigs("bmV3")).unwrap();
    let exported = apply(&client, "1", &renewed, &recorded).await;
    assert!(exported.trouble.is_none(), "{exported:?}");
    let labels = api.get(ARGO_CD).unwrap()["metadata"]["labels"].clone();
    assert_eq!((&labels["mine"], &labels["tier"]), (&json!("yes"), &Value::Null));
    let found: Secret = serde_json::from_value(api.get(ARGO_CD).unwrap()).unwrap();
    assert!(text(&found, "config").contains("bmV3"), "it is renewed with the credentials");

    exports.argo_cd = None;
    let wanted = built(&exports, &kubeconfigs("bmV3")).unwrap();
    let exported = apply(&client, "1", &wanted, &recorded).await;
    assert!(api.get(ARGO_CD).is_none() && api.get(CLUSTER_API).is_some());
    assert_eq!(exported.recorded, [SecretReference::new("clusters", "owl-kubeconfig")]);
    remove_all(&client, "1", &exported.recorded).await.unwrap();
    assert!(api.get(CLUSTER_API).is_none());
}

#[tokio::test]
async fn a_secret_of_somebody_else_is_left_alone() {
    let api = FakeApi::default();
    let theirs = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "kplane-owl", "namespace": "argocd" },
        "data": { "name": "dGhlaXJz" },
    });
    api.put(ARGO_CD, theirs);
    api.writes();
    let wanted = built(&both(), &kubeconfigs("Y2VydA==")).unwrap();
    let recorded = to_record(&wanted, &[]).unwrap();
    let exported = apply(&Secrets::all(api.client()), "1", &wanted, &recorded).await;
    assert_eq!(exported.trouble.as_ref().map(|(why, _)| *why), Some(reason::NOT_OURS));
    assert!(api.get(CLUSTER_API).is_some(), "the other one is written");
    apply(&Secrets::all(api.client()), "1", &[], &recorded).await;
    assert_eq!(api.get(ARGO_CD).unwrap()["data"]["name"], "dGhlaXJz");
    assert!(api.get(CLUSTER_API).is_none());
}
