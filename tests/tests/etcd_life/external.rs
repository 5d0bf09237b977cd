//! An etcd that is somebody else's: whatever keeps it from serving is said, with what helps.

use std::time::Duration;

use kplane_storage::testing::EtcdServer;
use kplane_tests::Plane;
use rcgen::{CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, KeyPair, date_time_ymd};
use serde_json::{Value, json};

use crate::{OBJECTS, looked_at, object};

const SECRETS: &str = "/api/v1/namespaces/kplane-system/secrets";
/// How many bytes etcd may hold.
const ROOM: u64 = 16 << 20;

/// An authority, for etcd and its clients.
struct Pki(CertifiedIssuer<'static, KeyPair>);

impl Pki {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::<String>::new()).expect("no names");
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        Self(CertifiedIssuer::self_signed(params, key).expect("an authority"))
    }

    /// A certificate until this year, and its key.
    fn issue(&self, usage: ExtendedKeyUsagePurpose, until: i32) -> (String, String) {
        let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("a name");
        params.extended_key_usages = vec![usage];
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(until, 1, 1);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.0).expect("a certificate");
        (certificate.pem(), key.serialize_pem())
    }
}

fn said(plane: &Plane, condition: &str, wanted: &str, words: &[&str]) {
    looked_at(plane, wanted, |_| plane.condition(condition) == wanted);
    let told = plane.object().to_string();
    for words in words {
        assert!(told.contains(words), "{words:?} is not in {told}");
    }
}

#[test]
fn what_keeps_somebody_elses_etcd_from_serving_is_said() {
    let pki = Pki::new();
    let ca = pki.0.pem();
    let (certificate, key) = pki.issue(ExtendedKeyUsagePurpose::ServerAuth, 2200);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let mut etcd = runtime.block_on(EtcdServer::start_small_tls(&ca, &certificate, &key, ROOM));
    let external = json!({ "endpoints": [etcd.endpoint()], "tlsSecretRef": { "name": "theirs" } });
    let plane = Plane::begin(&json!({
        "apiserver": { "replicas": 1, "extraArgs": ["--etcd-compaction-interval=0"] },
        "store": { "etcd": { "managed": null, "external": external } },
    }));
    said(&plane, "StoreReady", "False EtcdUnreachable", &["the Secret \\\"theirs\\\"", "tlsSecretRef"]);

    let management = plane.management().client();
    let secret = |(certificate, key): (String, String)| -> Value {
        json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "theirs" },
            "stringData": { "ca.crt": ca, "tls.crt": certificate, "tls.key": key },
        })
    };
    management.post(SECRETS, &secret(pki.issue(ExtendedKeyUsagePurpose::ClientAuth, 2024))).ok();
    said(&plane, "Ready", "False CertificateExpired", &["ended at 2024-01-01", "put a new one there"]);

    // Servers have begun with the certificate that had ended; they begin anew with the new one.
    let good = secret(pki.issue(ExtendedKeyUsagePurpose::ClientAuth, 2200));
    management.merge(&format!("{SECRETS}/theirs"), &good).ok();
    looked_at(&plane, "it serves", |_| plane.condition("Ready").starts_with("True "));

    let client = plane.client();
    let mut refused = String::new();
    for turn in 0..60 {
        let mut large = object(&format!("large-{turn}"));
        large["data"] = json!({ "text": "x".repeat(900_000) });
        let answer = client.send("POST", OBJECTS, &[], &large.to_string());
        match answer {
            Ok(answer) if answer.code == 201 => {}
            Ok(answer) => {
                refused = answer.text;
                break;
            }
            Err(_) => std::thread::sleep(Duration::from_millis(100)),
        }
    }
    assert!(refused.contains("space"), "{refused}");
    said(&plane, "Ready", "False NoSpace", &["etcdctl alarm disarm"]);

    etcd.kill();
    said(&plane, "Ready", "False EtcdUnreachable", &["see that spec.store.etcd.external names the members"]);
}
