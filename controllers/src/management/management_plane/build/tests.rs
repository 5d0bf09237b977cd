//! What is built, looked at as the cluster would.

use super::*;
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::core::v1::Service;
use kplane_crds::v1alpha1::{ExposureType, ManagedEtcd, ManagementPlaneSpec};

fn plane() -> ManagementPlane {
    let mut spec = ManagementPlaneSpec { namespace: "barn".into(), ..ManagementPlaneSpec::default() };
    spec.exposure.type_ = ExposureType::NodePort;
    spec.exposure.node_port = Some(30443);
    spec.apiserver.extra_args = vec!["--v=4".into()];
    ManagementPlane::new("default", spec)
}

fn given() -> Given {
    let digests = Digests { apiserver: "a1".into(), etcd: "e1".into() };
    let members = (0..MOST).map(|index| (index, format!("10.96.0.{}", 10 + index))).collect();
    let addresses = ServiceAddresses { apiserver: Some("10.96.0.8".into()), members };
    Given { image: "image:1".into(), digests, encryption_key: true, addresses, tls_routes: Some("v1") }
}

/// Everything, in the order in which it is applied.
fn all(plane: &ManagementPlane, deployed: &Deployed, given: &Given) -> Vec<Object> {
    [services(plane, deployed), build(plane, deployed, given)].concat()
}

fn find(objects: &[Object], kind: &str, name: &str) -> Value {
    let found = objects.iter().find(|o| o.value["kind"] == kind && o.name == name);
    found.map(|o| o.value.clone()).unwrap_or_else(|| panic!("no {kind} {name}"))
}

#[test]
fn a_deployed_plane_has_an_etcd_and_an_api_server() {
    let deployed = Deployed::new(Store::Managed(ManagedEtcd::default()), 2);
    let objects = all(&plane(), &deployed, &given());
    let etcd: StatefulSet = serde_json::from_value(find(&objects, "StatefulSet", ETCD)).unwrap();
    let etcd = etcd.spec.unwrap();
    assert_eq!(etcd.replicas, Some(3));
    let start = find(&objects, "ConfigMap", ETCD);
    assert_eq!(start["data"]["ETCD_INITIAL_CLUSTER_STATE"], "new");
    let members = start["data"]["ETCD_INITIAL_CLUSTER"].as_str().unwrap();
    assert!(members.ends_with(",kplane-etcd-2=https://kplane-etcd-2.kplane-etcd.barn.svc:2380"), "{members}");
    let server: Deployment = serde_json::from_value(find(&objects, "Deployment", APISERVER)).unwrap();
    let pod = server.spec.unwrap().template.spec.unwrap();
    let args = pod.containers[0].args.clone().unwrap();
    assert!(args.contains(&"--etcd-servers=https://kplane-etcd-0.kplane-etcd.barn.svc:2379,https://kplane-etcd-1.kplane-etcd.barn.svc:2379,https://kplane-etcd-2.kplane-etcd.barn.svc:2379".to_owned()));
    assert_eq!(args.last().map(String::as_str), Some("--v=4"));
    let service: Service = serde_json::from_value(find(&objects, "Service", APISERVER)).unwrap();
    assert_eq!(service.spec.unwrap().ports.unwrap()[0].node_port, Some(30443));
    find(&objects, "PodDisruptionBudget", ETCD);
    find(&objects, "PodDisruptionBudget", APISERVER);
}

#[test]
fn a_file_store_has_a_volume_and_no_etcd() {
    let objects = all(&plane(), &Deployed::new(Store::File, 1), &given());
    let server = find(&objects, "Deployment", APISERVER);
    assert_eq!(server["spec"]["strategy"]["type"], "Recreate");
    assert!(!objects.iter().any(|o| o.name == ETCD));
}

/// What the restricted level of pod security asks of a pod, and what kubelet must find to start it.
#[test]
fn every_pod_is_restricted_and_mounts_only_what_is_there() {
    for store in [Store::Managed(ManagedEtcd::default()), Store::File] {
        let replicas = if store == Store::File { 1 } else { 2 };
        let objects = all(&plane(), &Deployed::new(store, replicas), &given());
        for object in objects.iter().filter(|o| o.value["spec"]["template"].is_object()) {
            let pod = &object.value["spec"]["template"]["spec"];
            assert_eq!(pod["securityContext"]["runAsNonRoot"], true, "{}", object.name);
            assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
            assert_eq!(pod["automountServiceAccountToken"], false);
            let claims = object.value["spec"]["volumeClaimTemplates"].as_array().cloned().unwrap_or_default();
            let mut volumes: Vec<&str> =
                claims.iter().filter_map(|c| c["metadata"]["name"].as_str()).collect();
            volumes
                .extend(pod["volumes"].as_array().into_iter().flatten().filter_map(|v| v["name"].as_str()));
            for container in pod["containers"].as_array().into_iter().flatten() {
                assert_eq!(container["imagePullPolicy"], "IfNotPresent");
                let security = &container["securityContext"];
                assert_eq!(security["allowPrivilegeEscalation"], false);
                assert_eq!(security["readOnlyRootFilesystem"], true);
                assert_eq!(security["capabilities"]["drop"], json!(["ALL"]));
                for mount in container["volumeMounts"].as_array().into_iter().flatten() {
                    let name = mount["name"].as_str().unwrap();
                    assert!(volumes.contains(&name), "{} mounts {name}", object.name);
                }
                for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
                    let port = &container[probe]["httpGet"]["port"];
                    let ports = container["ports"].as_array().unwrap();
                    assert!(ports.iter().any(|p| p["containerPort"] == *port), "{probe} of {}", object.name);
                }
            }
        }
    }
}

#[test]
fn a_member_of_etcd_finds_its_name_in_the_certificate() {
    let names = member_names(&plane());
    for member in etcd::endpoints(&plane(), 5).split(',') {
        let host = member.trim_start_matches("https://").trim_end_matches(":2379");
        assert!(names.iter().any(|name| name == host), "{host}");
    }
}

/// Members are reached by the addresses of their Services, whatever becomes of their names.
#[test]
fn members_and_their_clients_need_no_dns() {
    use kplane_crds::v1alpha1::BackupSpec;
    let mut plane = plane();
    plane.spec.store.backup = Some(BackupSpec { schedule: "0 3 * * *".into(), ..BackupSpec::default() });
    let told = |replicas: i32, given: &Given| {
        let etcd = ManagedEtcd { replicas, ..ManagedEtcd::default() };
        let objects = all(&plane, &Deployed::new(Store::Managed(etcd), 2), given);
        let pod = |kind: &str, name: &str| find(&objects, kind, name)["spec"]["template"]["spec"].clone();
        let job = find(&objects, "CronJob", ETCD_BACKUP)["spec"]["jobTemplate"]["spec"].clone();
        let members = pod("StatefulSet", ETCD)["hostAliases"].clone();
        assert_eq!(members, pod("Deployment", APISERVER)["hostAliases"]);
        assert_eq!(members, job["template"]["spec"]["hostAliases"]);
        members
    };
    let alias = |index: i32| {
        json!({
            "ip": format!("10.96.0.{}", 10 + index),
            "hostnames": [format!("kplane-etcd-{index}.kplane-etcd.barn.svc")],
        })
    };
    let all = json!([alias(0), alias(1), alias(2), alias(3), alias(4)]);
    // A member that comes or goes changes nobody's pod.
    assert_eq!((told(1, &given()), told(3, &given())), (all.clone(), all));
    let mut partly = given();
    partly.addresses.members.remove(&4);
    assert_eq!(told(3, &partly), Value::Null);
}

#[test]
fn tls_passes_through_an_ingress_and_a_gateway() {
    let mut plane = plane();
    plane.spec.exposure.type_ = ExposureType::Ingress;
    plane.spec.exposure.host = Some("kplane.example.test".into());
    let deployed = Deployed::new(Store::File, 1);
    let ingress = find(&all(&plane, &deployed, &given()), "Ingress", APISERVER);
    assert_eq!(ingress["spec"]["rules"][0]["host"], "kplane.example.test");
    assert!(ingress["spec"].get("tls").is_none(), "it would end TLS");
    plane.spec.exposure.type_ = ExposureType::Gateway;
    plane.spec.exposure.gateway =
        Some(kplane_crds::v1alpha1::GatewayExposure { name: "edge".into(), ..Default::default() });
    let route = find(&all(&plane, &deployed, &given()), "TLSRoute", APISERVER);
    assert_eq!(route["spec"]["parentRefs"][0], json!({ "name": "edge" }));
}

/// What is read only at a start is in an annotation: a change of it rolls the pods, and of those alone that it is for.
#[test]
fn pods_start_anew_for_what_they_read_at_their_start() {
    let deployed = Deployed::new(Store::Managed(ManagedEtcd::default()), 2);
    let templates = |given: &Given| {
        let objects = all(&plane(), &deployed, given);
        let of = |kind: &str, name: &str| find(&objects, kind, name)["spec"]["template"].clone();
        (of("Deployment", APISERVER), of("StatefulSet", ETCD))
    };
    let (server, etcd) = templates(&given());
    assert_eq!(server["metadata"]["annotations"], json!({ CERTIFICATES_ANNOTATION: "a1" }));
    assert_eq!(etcd["metadata"]["annotations"], json!({ CERTIFICATES_ANNOTATION: "e1" }));
    let mut other = given();
    other.digests.apiserver = "a2".into();
    let (changed, same) = templates(&other);
    assert!(changed != server && same == etcd);
}

/// All replicas encrypt with one key; a plane that has none from its beginning goes on without.
#[test]
fn the_key_of_the_store_is_given_to_every_replica() {
    let deployed = Deployed::new(Store::Managed(ManagedEtcd::default()), 2);
    let mounted = |given: &Given| {
        let server = find(&all(&plane(), &deployed, given), "Deployment", APISERVER);
        let mounts = server["spec"]["template"]["spec"]["containers"][0]["volumeMounts"].clone();
        mounts.as_array().unwrap().iter().any(|mount| {
            mount["mountPath"] == "/var/lib/kplane/pki/encryption.key" && mount["subPath"] == "encryption.key"
        })
    };
    assert!(mounted(&given()));
    assert!(!mounted(&Given { encryption_key: false, ..given() }));
}

/// Every object, whole, as it stands in `testdata/`. With `UPDATE_TESTDATA=1` the test writes the files anew: what has
/// changed in them is what changes in clusters.
#[test]
fn what_is_built_is_what_stands_in_testdata() {
    use kplane_crds::v1alpha1::{BackupDestination, BackupS3, BackupSpec, ExternalEtcd, GatewayExposure};
    let secret = |name: &str| kplane_crds::reference::LocalObjectReference { name: name.into() };
    let mut usual = plane();
    usual.metadata.uid = Some("1a2b".into());
    let backup = BackupSpec { schedule: "0 3 * * *".into(), ..BackupSpec::default() };
    usual.spec.store.backup = Some(backup.clone());
    let mut in_bucket = usual.clone();
    let s3 = BackupS3 {
        bucket: "owls".into(),
        prefix: "barn".into(),
        region: "eu-1".into(),
        endpoint: "https://s3.example.test".into(),
        path_style: Some(false),
        credentials_secret_ref: secret("keys"),
        ca_secret_ref: Some(secret("authority")),
    };
    let destination = BackupDestination { s3: Some(s3), ..BackupDestination::default() };
    in_bucket.spec.store.backup = Some(BackupSpec { destination, ..backup });
    let exposed = |type_: ExposureType| {
        let mut plane = usual.clone();
        plane.spec.exposure.type_ = type_;
        plane.spec.exposure.host = Some("kplane.example.test".into());
        plane.spec.exposure.gateway = Some(GatewayExposure {
            name: "edge".into(),
            namespace: "gateways".into(),
            section_name: "tls".into(),
        });
        plane
    };
    let managed = Deployed::new(Store::Managed(ManagedEtcd::default()), 2);
    let with = |start: Start, change: Change| Deployed {
        terms: Some(Terms { start, change: Some(change), formed: Some("ab".into()), ..Terms::first(3) }),
        ..managed.clone()
    };
    let attempts = vec!["kplane-0.db_1".to_owned(), "kplane-1.db_2".to_owned()];
    let restore = Change::Restore { from: "kplane-1.db".into(), attempts: attempts.clone(), members: 3 };
    let restoring = with(Start::Nobody, restore);
    let external =
        ExternalEtcd { endpoints: vec!["https://e:2379".into()], tls_secret_ref: Some(secret("theirs")) };
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("src/management/management_plane/build/testdata");
    let update = std::env::var_os("UPDATE_TESTDATA").is_some();
    // Of what differs from the usual in some kinds alone, these are shown.
    const ALL: &[&str] = &[];
    let of_etcd = &["ConfigMap", "StatefulSet"][..];
    let of_bucket = &["CronJob", "PersistentVolumeClaim"][..];
    let outside = &["Service", "Ingress", "TLSRoute"][..];
    let mut wrong = Vec::new();
    for (name, plane, deployed, kinds) in [
        ("managed", &usual, &managed, ALL),
        ("joining", &usual, &with(Start::Join(vec![0, 1, 2]), Change::Tidy), of_etcd),
        ("restoring", &usual, &restoring, of_etcd),
        ("undoing", &usual, &with(Start::Nobody, Change::Undo { attempts }), of_etcd),
        ("bucket", &in_bucket, &managed, of_bucket),
        ("restoring-from-bucket", &in_bucket, &restoring, of_etcd),
        ("external", &usual, &Deployed::new(Store::External(external), 2), ALL),
        ("file", &usual, &Deployed::new(Store::File, 1), ALL),
        ("load-balancer", &exposed(ExposureType::LoadBalancer), &managed, outside),
        ("ingress", &exposed(ExposureType::Ingress), &managed, outside),
        ("gateway", &exposed(ExposureType::Gateway), &managed, outside),
    ] {
        let objects = all(plane, deployed, &given());
        let shown =
            objects.iter().filter(|o| kinds.is_empty() || kinds.iter().any(|kind| o.value["kind"] == *kind));
        let values: Vec<&Value> = shown.map(|object| &object.value).collect();
        let text = serde_json::to_string_pretty(&values).unwrap() + "\n";
        let path = folder.join(format!("{name}.json"));
        if update {
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(&path, &text).unwrap();
        }
        if std::fs::read_to_string(&path).unwrap_or_default() != text {
            wrong.push(path.display().to_string());
        }
    }
    assert!(
        wrong.is_empty(),
        "not what is built: {wrong:?}; run this with UPDATE_TESTDATA=1 and look at the difference"
    );
}
