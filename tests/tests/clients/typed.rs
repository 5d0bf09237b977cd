//! kube with the types of k8s-openapi.

use std::fmt::Debug;
use std::pin::pin;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, ReplicaSet};
use k8s_openapi::api::batch::v1::CronJob;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{
    ConfigMap, LimitRange, Namespace, PersistentVolumeClaim, Pod, ResourceQuota, Secret, Service,
};
use k8s_openapi::api::networking::v1::{IngressClass, NetworkPolicy};
use k8s_openapi::api::rbac::v1::Role;
use kplane_tests::{Client, Server, Store};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams};
use kube::core::PartialObjectMeta;
use kube::runtime::watcher;
use kube::{Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

const NAME: &str = "typed";
const PATIENCE: Duration = Duration::from_secs(20);

/// Creates, reads, lists, watches, patches, applies, replaces and deletes one object of a kind.
async fn life<K>(api: Api<K>, body: Value)
where
    K: Resource<DynamicType = ()> + Clone + Debug + Serialize + DeserializeOwned,
{
    let kind = K::kind(&());
    let mut body = body;
    body["metadata"] = json!({"name": NAME, "labels": {"by": "kube"}});
    let object: K = serde_json::from_value(body.clone()).unwrap_or_else(|e| panic!("{kind}: {e}"));
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    api.create(&dry, &object).await.unwrap_or_else(|e| panic!("{kind}: {e}"));
    let made = api.create(&PostParams::default(), &object).await.unwrap_or_else(|e| panic!("{kind}: {e}"));
    let ours = ListParams::default().labels("by=kube");
    let list = api.list(&ours).await.expect("a list");
    assert_eq!(list.items.len(), 1, "{kind}");
    assert_eq!(list.items[0].uid(), made.uid(), "{kind}");
    let metadata = api.list_metadata(&ours).await.expect("a list of metadata");
    assert_eq!(metadata.items[0].name_any(), NAME, "{kind}");
    let version = list.metadata.resource_version.expect("the version of a list");
    let mut events =
        pin!(api.watch(&WatchParams::default().labels("by=kube"), &version).await.expect("a watch"));

    let merge = json!({"metadata": {"annotations": {"merge": "yes"}}});
    let params = PatchParams::default();
    api.patch(NAME, &params, &Patch::Merge(&merge)).await.unwrap_or_else(|e| panic!("{kind}: {e}"));
    let event = tokio::time::timeout(PATIENCE, events.try_next()).await.expect("an event").expect("no error");
    assert!(matches!(event, Some(WatchEvent::Modified(_))), "{kind}: {event:?}");
    let strategic = json!({"metadata": {"annotations": {"merge": null, "strategic": "yes"}}});
    let patched = api.patch(NAME, &params, &Patch::Strategic(&strategic)).await.expect("a strategic patch");
    assert!(!patched.annotations().contains_key("merge"), "{kind}");

    let config = json!({
        "apiVersion": K::api_version(&()), "kind": kind, "metadata": {"name": NAME, "annotations": {"strategic": "applied"}},
    });
    let mine = PatchParams::apply("me");
    let conflict = api.patch(NAME, &mine, &Patch::Apply(&config)).await.expect_err("a conflict");
    assert!(matches!(&conflict, kube::Error::Api(status) if status.code == 409), "{kind}: {conflict:?}");
    let applied = api.patch(NAME, &mine.force(), &Patch::Apply(&config)).await.expect("an apply");
    assert_eq!(applied.annotations()["strategic"], "applied", "{kind}");
    let partial: PartialObjectMeta<K> = api.get_metadata(NAME).await.expect("metadata");
    assert!(
        partial
            .metadata
            .managed_fields
            .is_some_and(|f| f.iter().any(|entry| entry.operation.as_deref() == Some("Apply")))
    );

    // Others write as well: what a controller changed meanwhile is read again.
    loop {
        let mut whole = api.get(NAME).await.expect("the object");
        whole.annotations_mut().insert("replaced".into(), "yes".into());
        match api.replace(NAME, &PostParams::default(), &whole).await {
            Ok(whole) => break assert_eq!(whole.annotations()["replaced"], "yes", "{kind}"),
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            Err(error) => panic!("{kind}: {error}"),
        }
    }
    api.delete(NAME, &DeleteParams::default().dry_run()).await.expect("a dry run");
    api.get(NAME).await.expect("it is still there");
    api.delete(NAME, &DeleteParams::background().grace_period(0)).await.expect("deleted");
}

#[test]
fn kube_lives_through_every_verb() {
    let server = Server::start(Store::Embedded);
    server.create_vcp("a");
    let (client, runtime) = Client::typed(&server.admin_kubeconfig(), "a");
    let template =
        json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let selector = json!({"matchLabels": {"a": "b"}});
    runtime.block_on(async {
        let client = || client.clone();
        life::<ConfigMap>(Api::default_namespaced(client()), json!({"data": {"a": "b"}})).await;
        life::<Secret>(Api::default_namespaced(client()), json!({"stringData": {"a": "b"}})).await;
        life::<Service>(Api::default_namespaced(client()), json!({"spec": {"ports": [{"port": 80}]}})).await;
        life::<Pod>(Api::default_namespaced(client()), json!({"spec": template["spec"]})).await;
        life::<LimitRange>(Api::default_namespaced(client()), json!({"spec": {"limits": [{"type": "Pod", "max": {"cpu": "2"}}]}})).await;
        life::<ResourceQuota>(Api::default_namespaced(client()), json!({"spec": {"hard": {"pods": "10"}}})).await;
        life::<PersistentVolumeClaim>(
            Api::default_namespaced(client()),
            json!({"spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}),
        )
        .await;
        life::<Namespace>(Api::all(client()), json!({})).await;
        life::<Deployment>(Api::default_namespaced(client()), json!({"spec": {"replicas": 0, "selector": selector, "template": template}})).await;
        life::<ReplicaSet>(Api::default_namespaced(client()), json!({"spec": {"replicas": 0, "selector": selector, "template": template}})).await;
        life::<DaemonSet>(Api::default_namespaced(client()), json!({"spec": {"selector": selector, "template": template}})).await;
        let job = json!({"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}}});
        life::<CronJob>(Api::default_namespaced(client()), json!({"spec": {"schedule": "@daily", "suspend": true, "jobTemplate": {"spec": job}}})).await;
        life::<Lease>(Api::default_namespaced(client()), json!({"spec": {"holderIdentity": "me"}})).await;
        life::<NetworkPolicy>(Api::default_namespaced(client()), json!({"spec": {"podSelector": {}}})).await;
        life::<IngressClass>(Api::all(client()), json!({"spec": {"controller": "example.com/x"}})).await;
        life::<Role>(Api::default_namespaced(client()), json!({"rules": []})).await;
    });
}

/// A reflector's start: by pages and by a stream of what is there, then what happens.
#[test]
fn reflectors_start_by_lists_and_by_streams() {
    let server = Server::start(Store::Embedded);
    server.create_vcp("a");
    let (client, runtime) = Client::typed(&server.admin_kubeconfig(), "a");
    runtime.block_on(async {
        let api: Api<ConfigMap> = Api::default_namespaced(client);
        let named = |name: &str| -> ConfigMap {
            serde_json::from_value(json!({"metadata": {"name": name, "labels": {"r": "1"}}})).expect("a ConfigMap")
        };
        for n in 0..7 {
            api.create(&PostParams::default(), &named(&format!("n{n}"))).await.expect("created");
        }
        let selected = || watcher::Config::default().labels("r=1");
        for (way, config) in [("pages", selected().page_size(3)), ("stream", selected().streaming_lists())] {
            let mut events = pin!(watcher(api.clone(), config));
            let mut next = async || {
                tokio::time::timeout(PATIENCE, events.next()).await.expect("an event").expect("no end").expect("no error")
            };
            assert!(matches!(next().await, watcher::Event::Init), "{way}");
            for n in 0..7 {
                let event = next().await;
                assert!(
                    matches!(&event, watcher::Event::InitApply(object) if object.name_any() == format!("n{n}")),
                    "{way}: {event:?}"
                );
            }
            assert!(matches!(next().await, watcher::Event::InitDone), "{way}");
            api.create(&PostParams::default(), &named("late")).await.expect("created");
            let event = next().await;
            assert!(matches!(&event, watcher::Event::Apply(object) if object.name_any() == "late"), "{way}: {event:?}");
            api.delete("late", &DeleteParams::default()).await.expect("deleted");
            let event = next().await;
            assert!(matches!(&event, watcher::Event::Delete(object) if object.name_any() == "late"), "{way}: {event:?}");
        }
    });
}
