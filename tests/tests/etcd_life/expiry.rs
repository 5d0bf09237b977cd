//! Everything stood still until long after every certificate had ended. It comes back by itself.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kplane_tests::plane_processes::{NAMESPACE, secret_in};
use kplane_tests::{Plane, eventually};
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, Issuer, KeyPair, date_time_ymd};
use serde_json::{Value, json};

use crate::{OBJECTS, PATIENCE, control_plane, create, object, read, settled};

const EXPIRATION: &str = "controlplane.kplane.dev/expiration-time";
const CONTROL_PLANES: &str = "/apis/controlplane.kplane.dev/v1alpha1/controlplanes";
/// A Secret with a certificate, and the one with the authority that signs it.
const SIGNED: [(&str, &str); 4] = [
    ("kplane-apiserver-tls", "kplane-apiserver-pki"),
    ("kplane-apiserver-admin", "kplane-apiserver-pki"),
    ("kplane-etcd-tls", "kplane-etcd-ca"),
    ("kplane-etcd-client", "kplane-etcd-ca"),
];

/// A certificate of an authority that ended years ago, and its key.
fn ended(plane: &Plane, authority: &str) -> (String, String) {
    let of = |key: &str| plane.secret(authority, key).expect("an authority");
    let signer = KeyPair::from_pem(&of("ca.key")).expect("its key");
    let issuer = Issuer::from_ca_cert_pem(&of("ca.crt"), signer).expect("its certificate");
    let mut params =
        CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]).expect("names");
    params.subject_alt_names.push(rcgen::SanType::URI("kplane://root".try_into().expect("a name")));
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
    params.not_before = date_time_ymd(2022, 1, 1);
    params.not_after = date_time_ymd(2023, 1, 1);
    let key = KeyPair::generate().expect("a key");
    (params.signed_by(&key, &issuer).expect("a certificate").pem(), key.serialize_pem())
}

/// Puts it in the place of what a Secret has.
fn put(plane: &Plane, secret: &str, data: Value) {
    let patch =
        json!({ "metadata": { "annotations": { EXPIRATION: "2023-01-01T00:00:00Z" } }, "stringData": data });
    let path = format!("/api/v1/namespaces/{NAMESPACE}/secrets/{secret}");
    plane.management().client().merge(&path, &patch).ok();
}

fn age(plane: &Plane) {
    for (secret, authority) in SIGNED {
        let (certificate, key) = ended(plane, authority);
        let mut data = json!({ "tls.crt": certificate, "tls.key": key });
        if let Some(kubeconfig) = plane.secret(secret, "kubeconfig") {
            let mut config: Value = serde_saphyr::from_str(&kubeconfig).expect("a kubeconfig");
            let user = &mut config["users"][0]["user"];
            let encode = |text: &str| STANDARD.encode(text);
            user["client-certificate-data"] = encode(&certificate).into();
            user["client-key-data"] = encode(&key).into();
            data["kubeconfig"] = config.to_string().into();
        }
        put(plane, secret, data);
    }
}

#[test]
fn what_slept_past_the_end_of_every_certificate_serves_again_by_itself() {
    let mut plane = Plane::start_with(&json!({
        "apiserver": { "replicas": 1 },
        "store": { "etcd": { "managed": { "replicas": 1 } } },
    }));
    settled(&plane, 1);
    create(&control_plane(&plane, "a"), OBJECTS, &object("kept"));
    let management = plane.management().client();
    let tenant = json!({
        "apiVersion": "controlplane.kplane.dev/v1alpha1", "kind": "ControlPlane",
        "metadata": { "name": "sleeper" }, "spec": {},
    });
    management.post(CONTROL_PLANES, &tenant).ok();
    let kubeconfig = || {
        secret_in(&management, "kplane-cp-sleeper", "controlplane-sleeper-kubeconfig", "kubeconfig-external")
    };
    eventually("there is a kubeconfig", PATIENCE, || kubeconfig().is_some());
    let before = kubeconfig();

    plane.end_controllers();
    age(&plane);
    let path = "/api/v1/namespaces/kplane-cp-sleeper/secrets/controlplane-sleeper-kubeconfig";
    management
        .merge(path, &json!({ "metadata": { "annotations": { EXPIRATION: "2023-01-01T00:00:00Z" } } }))
        .ok();
    for part in ["kplane-apiserver", "kplane-etcd"] {
        for pod in plane.pods(part) {
            plane.kill(&pod);
        }
    }
    let shown = |pod: &str, port: u16| {
        plane.shown(pod, port).is_some_and(|der| {
            plane.secret("kplane-etcd-tls", "tls.crt").is_some_and(|pem| {
                let lines: String = pem.lines().filter(|line| !line.starts_with("---")).collect();
                STANDARD.decode(lines).is_ok_and(|bytes| bytes == der)
            })
        })
    };
    eventually("etcd shows what has ended", PATIENCE, || shown("kplane-etcd-0", 2379));
    let asked = plane.client().send("GET", "/api/v1/namespaces", &[], "");
    assert!(asked.is_err(), "it serves with what has ended: {asked:?}");

    plane.restart_controllers();
    for (secret, _) in SIGNED {
        eventually("its certificate is new", PATIENCE, || {
            let path = format!("/api/v1/namespaces/{NAMESPACE}/secrets/{secret}");
            let found = management.get(&path).body;
            found["metadata"]["annotations"][EXPIRATION].as_str().is_some_and(|end| end > "2026")
        });
    }
    eventually("it is ready again", PATIENCE, || plane.condition("Ready").starts_with("True "));
    plane.wait_rolled_out();
    assert!(read(&plane.client().vcp("a"), &format!("{OBJECTS}/kept")).is_some());
    eventually("the tenant's kubeconfig is new", PATIENCE, || kubeconfig() != before);
    let tenant = kplane_tests::Client::new(&plane.kubeconfig("tenant", &kubeconfig().expect("a kubeconfig")));
    eventually("and let in", PATIENCE, || {
        tenant.send("GET", "/api/v1/namespaces", &[], "").is_ok_and(|answer| answer.code == 200)
    });
}
