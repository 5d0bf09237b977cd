//! What each plugin does and says.

use serde_json::json;

use crate::testing::{Objects, Write};
use crate::*;

fn pod() -> Value {
    json!({"metadata": {"name": "x"}, "spec": {"containers": [{"name": "c", "image": "i"}]}})
}

fn account() -> Value {
    json!({"metadata": {"name": "default", "namespace": "ns"}, "imagePullSecrets": [{"name": "pull"}]})
}

#[tokio::test]
async fn pods_get_an_account_and_its_token() {
    let objects = Objects::default().with("serviceaccounts", account());
    let made = Write::create(&objects, "pods").ask(ServiceAccount, pod()).await.unwrap();
    assert_eq!(made["spec"]["serviceAccountName"], "default");
    assert_eq!(made["spec"]["imagePullSecrets"], json!([{"name": "pull"}]));
    let volume = made["spec"]["volumes"][0]["name"].as_str().unwrap();
    assert!(volume.starts_with("kube-api-access-"));
    assert_eq!(made["spec"]["containers"][0]["volumeMounts"][0]["name"], volume);
    let sources = &made["spec"]["volumes"][0]["projected"]["sources"];
    assert_eq!(sources[0]["serviceAccountToken"]["expirationSeconds"], 3607);

    let mut plain = pod();
    plain["spec"]["automountServiceAccountToken"] = false.into();
    let made = Write::create(&objects, "pods").ask(ServiceAccount, plain).await.unwrap();
    assert_eq!(made["spec"].get("volumes"), None);

    let mut other = pod();
    other["spec"]["serviceAccountName"] = "sa".into();
    let refused = Write::create(&objects, "pods").ask(ServiceAccount, other).await.unwrap_err();
    assert_eq!(
        refused,
        "pods \"x\" is forbidden: error looking up service account ns/sa: serviceaccount \"sa\" not found"
    );
}

#[tokio::test]
async fn mirror_pods_name_no_account() {
    let objects = Objects::default();
    let mut mirror = pod();
    mirror["metadata"]["annotations"] = json!({"kubernetes.io/config.mirror": "h"});
    let made = Write::create(&objects, "pods").ask(ServiceAccount, mirror.clone()).await.unwrap();
    assert_eq!(made, mirror);
    mirror["spec"]["volumes"] = json!([{"name": "s", "secret": {"secretName": "s"}}]);
    let refused = Write::create(&objects, "pods").ask(ServiceAccount, mirror).await.unwrap_err();
    assert_eq!(refused, "pods \"x\" is forbidden: a mirror pod may not reference secrets");
}

#[tokio::test]
async fn pods_tolerate_lost_nodes_for_a_while() {
    let objects = Objects::default();
    let mut given = pod();
    given["spec"]["tolerations"] = json!([{"key": "node.kubernetes.io/not-ready", "operator": "Exists"}]);
    let made = Write::create(&objects, "pods").ask(DefaultTolerationSeconds, given).await.unwrap();
    let tolerations = made["spec"]["tolerations"].as_array().unwrap();
    assert_eq!(tolerations.len(), 2);
    assert_eq!(tolerations[1]["key"], "node.kubernetes.io/unreachable");
    assert_eq!(tolerations[1]["tolerationSeconds"], 300);
}

#[tokio::test]
async fn priorities_come_from_classes() {
    let class = json!({"metadata": {"name": "high"}, "value": 7, "preemptionPolicy": "Never"});
    let default = json!({"metadata": {"name": "low"}, "value": 1, "globalDefault": true});
    let kind = "priorityclasses.scheduling.k8s.io";
    let none = Objects::default();
    let made = Write::create(&none, "pods").ask(Priority, pod()).await.unwrap();
    assert_eq!(made["spec"]["priority"], 0);
    assert_eq!(made["spec"]["preemptionPolicy"], "PreemptLowerPriority");
    assert_eq!(made["spec"].get("priorityClassName"), None);

    let objects = Objects::default().with(kind, class).with(kind, default);
    let made = Write::create(&objects, "pods").ask(Priority, pod()).await.unwrap();
    assert_eq!(made["spec"]["priorityClassName"], "low");
    let mut high = pod();
    high["spec"]["priorityClassName"] = "high".into();
    let made = Write::create(&objects, "pods").ask(Priority, high.clone()).await.unwrap();
    assert_eq!((&made["spec"]["priority"], &made["spec"]["preemptionPolicy"]), (&json!(7), &json!("Never")));
    high["spec"]["priority"] = 8.into();
    let refused = Write::create(&objects, "pods").ask(Priority, high).await.unwrap_err();
    assert!(
        refused.contains("(8) must not be provided in pod spec; priority admission controller computed 7")
    );
    let second = json!({"metadata": {"name": "z"}, "value": 2, "globalDefault": true});
    let refused = Write::create(&objects, kind).ask(Priority, second).await.unwrap_err();
    assert!(refused.ends_with("PriorityClass low is already marked as default. Only one default can exist"));
}

#[tokio::test]
async fn runtimes_cost_what_their_class_says() {
    let class = json!({"metadata": {"name": "vm"}, "overhead": {"podFixed": {"cpu": "1"}},
        "scheduling": {"nodeSelector": {"vm": "yes"}, "tolerations": [{"key": "vm", "operator": "Exists"}]}});
    let objects = Objects::default().with("runtimeclasses.node.k8s.io", class);
    let mut given = pod();
    given["spec"]["runtimeClassName"] = "vm".into();
    let made = Write::create(&objects, "pods").ask(RuntimeClass, given.clone()).await.unwrap();
    assert_eq!(made["spec"]["overhead"]["cpu"], "1");
    assert_eq!(made["spec"]["nodeSelector"]["vm"], "yes");
    assert_eq!(made["spec"]["tolerations"][0]["key"], "vm");
    given["spec"]["nodeSelector"] = json!({"vm": "no"});
    let refused = Write::create(&objects, "pods").ask(RuntimeClass, given).await.unwrap_err();
    assert!(refused.ends_with("nodeSelector[vm] = yes; pod.spec.nodeSelector[vm] = no"), "{refused}");
    let mut unknown = pod();
    unknown["spec"]["runtimeClassName"] = "no".into();
    let refused = Write::create(&objects, "pods").ask(RuntimeClass, unknown).await.unwrap_err();
    assert_eq!(refused, "pods \"x\" is forbidden: pod rejected: RuntimeClass \"no\" not found");
}

#[tokio::test]
async fn new_nodes_are_tainted_once() {
    let objects = Objects::default();
    let node = json!({"metadata": {"name": "n"}});
    let made = Write::create(&objects, "nodes").ask(TaintNodesByCondition, node).await.unwrap();
    assert_eq!(
        made["spec"]["taints"],
        json!([{"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}])
    );
    let again = Write::create(&objects, "nodes").ask(TaintNodesByCondition, made.clone()).await.unwrap();
    assert_eq!(again, made);
}

#[tokio::test]
async fn classes_have_defaults() {
    let mark = |name: &str, at: &str| {
        json!({"metadata": {"name": name, "creationTimestamp": at, "annotations": {
            "storageclass.kubernetes.io/is-default-class": "true",
            "ingressclass.kubernetes.io/is-default-class": "true"}}})
    };
    let mut objects = Objects::default();
    for kind in ["storageclasses.storage.k8s.io", "ingressclasses.networking.k8s.io"] {
        objects = objects.with(kind, mark("a", "2020-01-01T00:00:00Z"));
        objects = objects.with(kind, mark("b", "2021-01-01T00:00:00Z"));
    }
    let claim = json!({"metadata": {"name": "x"}, "spec": {}});
    let write = Write::create(&objects, "persistentvolumeclaims");
    let made = write.ask(DefaultStorageClass, claim.clone()).await.unwrap();
    assert_eq!(made["spec"]["storageClassName"], "b");
    let none = json!({"metadata": {"name": "x"}, "spec": {"storageClassName": ""}});
    assert_eq!(write.ask(DefaultStorageClass, none.clone()).await.unwrap(), none);
    let made = write.ask(StorageObjectInUseProtection, claim.clone()).await.unwrap();
    assert_eq!(made["metadata"]["finalizers"], json!(["kubernetes.io/pvc-protection"]));
    let write = Write::create(&objects, "ingresses.networking.k8s.io");
    assert_eq!(write.ask(DefaultIngressClass, claim).await.unwrap()["spec"]["ingressClassName"], "b");
}

#[tokio::test]
async fn claims_grow_where_the_class_allows() {
    let claim = |size: &str, phase: &str, class: &str| {
        json!({"metadata": {"name": "x"}, "status": {"phase": phase},
            "spec": {"storageClassName": class, "resources": {"requests": {"storage": size}}}})
    };
    let class = |name: &str, grows: bool| json!({"metadata": {"name": name}, "allowVolumeExpansion": grows});
    let kind = "storageclasses.storage.k8s.io";
    let objects = Objects::default().with(kind, class("yes", true)).with(kind, class("no", false));
    for (old, new, refused) in [
        (claim("1Gi", "Bound", "yes"), claim("2Gi", "Bound", "yes"), None),
        (claim("1Gi", "Bound", "no"), claim("1024Mi", "Bound", "no"), None),
        (claim("1Gi", "Bound", "no"), claim("2Gi", "Bound", "no"), Some("must support resize")),
        (claim("1Gi", "Pending", "yes"), claim("2Gi", "Pending", "yes"), Some("Only bound persistent")),
    ] {
        let write = Write::update(&objects, "persistentvolumeclaims", old);
        let answer = write.ask(PersistentVolumeClaimResize, new).await;
        match refused {
            None => assert!(answer.is_ok(), "{answer:?}"),
            Some(words) => assert!(answer.as_ref().is_err_and(|e| e.contains(words)), "{answer:?}"),
        }
    }
}

#[tokio::test]
async fn signers_are_guarded() {
    let request = |signer: &str| json!({"metadata": {"name": "x"}, "spec": {"signerName": signer}, "status": {"certificate": "Yw=="}});
    let objects = Objects { allowed: vec!["approve a.b/*", "sign a.b/c"], ..Objects::default() };
    let kind = "certificatesigningrequests.certificates.k8s.io";
    let mut write = Write::update(&objects, kind, json!({}));
    write.subresource = "approval";
    assert!(write.ask(CertificateApproval, request("a.b/c")).await.is_ok());
    let refused = write.ask(CertificateApproval, request("b.b/c")).await.unwrap_err();
    assert_eq!(
        refused,
        "certificatesigningrequests.certificates.k8s.io \"x\" is forbidden: user not permitted to approve requests with signerName \"b.b/c\""
    );
    write.subresource = "status";
    assert!(write.ask(CertificateSigning, request("a.b/c")).await.is_ok());
    assert!(write.ask(CertificateSigning, request("a.b/d")).await.is_err());
    write.old = Some(request("a.b/d"));
    assert!(write.ask(CertificateSigning, request("a.b/d")).await.is_ok(), "nothing is signed");
}

#[tokio::test]
async fn limit_ranges_default_and_bound() {
    let range = json!({"metadata": {"name": "r", "namespace": "ns"}, "spec": {"limits": [{
        "type": "Container", "default": {"cpu": "1"}, "defaultRequest": {"cpu": "500m", "memory": "1Mi"},
        "max": {"cpu": "2"}, "min": {"cpu": "100m"}, "maxLimitRequestRatio": {"cpu": "4"}}]}});
    let objects = Objects::default().with("limitranges", range);
    let write = Write::create(&objects, "pods");
    let made = write.ask(LimitRanger, pod()).await.unwrap();
    assert_eq!(
        made["metadata"]["annotations"]["kubernetes.io/limit-ranger"],
        "LimitRanger plugin set: cpu, memory request for container c; cpu limit for container c"
    );
    assert_eq!(made["spec"]["containers"][0]["resources"]["limits"]["cpu"], "1");
    let mut big = pod();
    big["spec"]["containers"][0]["resources"] = json!({"requests": {"cpu": "3"}, "limits": {"cpu": "3"}});
    let refused = write.ask(LimitRanger, big).await.unwrap_err();
    assert_eq!(refused, "pods \"x\" is forbidden: maximum cpu usage per Container is 2, but limit is 3");
    let mut wide = pod();
    wide["spec"]["containers"][0]["resources"] = json!({"requests": {"cpu": "200m"}, "limits": {"cpu": "1"}});
    let refused = write.ask(LimitRanger, wide).await.unwrap_err();
    assert!(
        refused
            .ends_with("cpu max limit to request ratio per Container is 4, but provided ratio is 5.000000")
    );
}

#[tokio::test]
async fn quotas_are_charged_and_hold() {
    let quota = json!({"metadata": {"name": "q", "namespace": "ns"}, "spec": {"hard": {"pods": "1"}},
        "status": {"hard": {"pods": "1"}, "used": {"pods": "0"}}});
    let objects = Objects::default().with("resourcequotas", quota);
    let write = Write::create(&objects, "pods");
    write.ask(ResourceQuota, pod()).await.unwrap();
    let refused = write.ask(ResourceQuota, pod()).await.unwrap_err();
    assert_eq!(
        refused,
        "pods \"x\" is forbidden: exceeded quota: q, requested: pods=1, used: pods=1, limited: pods=1"
    );
    let maps = Write::create(&objects, "configmaps");
    assert!(maps.ask(ResourceQuota, json!({"metadata": {"name": "x"}})).await.is_ok());
    let new = json!({"metadata": {"name": "q", "namespace": "ns"}, "spec": {"hard": {"pods": "1"}}});
    let objects = Objects::default().with("resourcequotas", new);
    let refused = Write::create(&objects, "pods").ask(ResourceQuota, pod()).await.unwrap_err();
    assert!(refused.ends_with("status unknown for quota: q, resources: pods"));
    let cpu = json!({"metadata": {"name": "q", "namespace": "ns"}, "spec": {"hard": {"limits.cpu": "1"}},
        "status": {"hard": {"limits.cpu": "1"}, "used": {"limits.cpu": "0"}}});
    let objects = Objects::default().with("resourcequotas", cpu);
    let refused = Write::create(&objects, "pods").ask(ResourceQuota, pod()).await.unwrap_err();
    assert!(refused.ends_with("failed quota: q: must specify limits.cpu for: c"), "{refused}");
}

#[tokio::test]
async fn namespaces_ask_for_security() {
    let namespace = |labels: Value| json!({"metadata": {"name": "ns", "labels": labels}});
    let enforce = json!({"pod-security.kubernetes.io/enforce": "restricted"});
    let objects = Objects::default().with("namespaces", namespace(enforce));
    let refused = Write::create(&objects, "pods").ask(PodSecurity, pod()).await.unwrap_err();
    assert_eq!(
        refused,
        "pods \"x\" is forbidden: violates PodSecurity \"restricted:latest\": allowPrivilegeEscalation != false (container \"c\" must set securityContext.allowPrivilegeEscalation=false), unrestricted capabilities (container \"c\" must set securityContext.capabilities.drop=[\"ALL\"]), runAsNonRoot != true (pod or container \"c\" must set securityContext.runAsNonRoot=true), seccompProfile (pod or container \"c\" must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\")"
    );
    let mut good = pod();
    good["spec"]["securityContext"] =
        json!({"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}});
    good["spec"]["containers"][0]["securityContext"] =
        json!({"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}});
    Write::create(&objects, "pods").ask(PodSecurity, good).await.unwrap();

    let warn = json!({"pod-security.kubernetes.io/warn": "baseline"});
    let objects = Objects::default().with("namespaces", namespace(warn));
    let mut host = pod();
    host["spec"]["hostNetwork"] = true.into();
    host["spec"]["containers"][0]["securityContext"] = json!({"privileged": true});
    let write = Write::create(&objects, "deployments.apps");
    let deployment = json!({"metadata": {"name": "d"}, "spec": {"template": host}});
    write.ask(PodSecurity, deployment).await.unwrap();
    assert_eq!(
        *write.warnings.lock().unwrap(),
        [
            "would violate PodSecurity \"baseline:latest\": host namespaces (hostNetwork=true), privileged (container \"c\" must not set securityContext.privileged=true)"
        ]
    );
    let wrong = namespace(json!({"pod-security.kubernetes.io/enforce": "much"}));
    let refused = Write::create(&objects, "namespaces").ask(PodSecurity, wrong).await.unwrap_err();
    assert_eq!(
        refused,
        "Namespace \"ns\" is invalid: metadata.labels[pod-security.kubernetes.io/enforce]: Invalid value: \"much\": must be one of privileged, baseline, restricted"
    );
}

#[tokio::test]
async fn nodes_keep_to_themselves() {
    let objects = Objects::default();
    let mut write = Write::create(&objects, "nodes");
    (write.user, write.groups) = ("system:node:a", vec!["system:nodes".into()]);
    let node = |name: &str, label: &str| json!({"metadata": {"name": name, "labels": {label: "x"}}});
    assert!(write.ask(NodeRestriction, node("a", "kubernetes.io/hostname")).await.is_ok());
    assert!(write.ask(NodeRestriction, node("a", "mine")).await.is_ok());
    let refused =
        write.ask(NodeRestriction, node("a", "node-restriction.kubernetes.io/s")).await.unwrap_err();
    assert!(refused.ends_with("set the following labels: node-restriction.kubernetes.io/s"), "{refused}");
    let refused = write.ask(NodeRestriction, node("b", "mine")).await.unwrap_err();
    assert_eq!(refused, "nodes \"b\" is forbidden: node \"a\" is not allowed to modify node \"b\"");
    write.resource = "pods";
    assert!(write.ask(NodeRestriction, pod()).await.is_err(), "no mirror");
    write.groups = Vec::new();
    assert!(write.ask(NodeRestriction, pod()).await.is_ok(), "somebody else");
}

#[tokio::test]
async fn devices_are_had_as_an_administrator_where_the_namespace_says_so() {
    let named = |labels: serde_json::Value| json!({"metadata": {"name": "ns", "labels": labels}});
    let (plain, labelled) = (
        Objects::default().with("namespaces", named(json!({}))),
        Objects::default().with("namespaces", named(json!({"resource.kubernetes.io/admin-access": "true"}))),
    );
    let requests = json!({"devices": {"requests": [
        {"name": "a", "exactly": {"deviceClassName": "d"}},
        {"name": "b", "exactly": {"deviceClassName": "d", "adminAccess": true}},
    ]}});
    for (resource, spec) in [
        ("resourceclaims.resource.k8s.io", requests.clone()),
        ("resourceclaimtemplates.resource.k8s.io", json!({"spec": requests})),
    ] {
        let object = json!({"metadata": {"name": "x", "namespace": "ns"}, "spec": spec});
        let told = Write::create(&plain, resource).ask(DeviceAdminAccess, object.clone()).await.unwrap_err();
        assert!(
            told.ends_with("spec.devices.requests[1].adminAccess: Forbidden: admin access to devices requires the `resource.kubernetes.io/admin-access: true` label on the containing namespace"),
            "{told}"
        );
        Write::create(&labelled, resource).ask(DeviceAdminAccess, object).await.unwrap();
    }
}
