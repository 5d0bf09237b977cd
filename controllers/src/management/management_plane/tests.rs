//! What a deployed plane comes to as time goes by, with a small API server in the place of the cluster.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kplane_crds::v1alpha1::{ManagedEtcd, ManagementPlane, ManagementPlaneSpec};

use super::build::{ETCD_CA_SECRET, ETCD_CLIENT_SECRET, ETCD_SECRET, PKI_SECRET, SERVING_SECRET};
use super::issue;
use super::validate::{Deployed, Store};
use crate::fake::FakeApi;
use crate::management::plane::ADMIN_SECRET;
use crate::management::secrets::Secrets;
use crate::runtime::raw::Raw;

/// The certificates in these Secrets.
fn certificates(api: &FakeApi, secrets: &[&str], key: &str) -> BTreeMap<String, Vec<u8>> {
    let read = |name: &&str| {
        let secret = api.get(&format!("/api/v1/namespaces/barn/secrets/{name}")).unwrap();
        ((*name).to_owned(), STANDARD.decode(secret["data"][key].as_str().unwrap()).unwrap())
    };
    secrets.iter().map(read).collect()
}

#[tokio::test]
async fn certificates_are_renewed_before_their_end_and_after_a_long_sleep() {
    let api = FakeApi::default();
    let (raw, secrets) = (Raw::new(api.client()), Secrets::all(api.client()));
    let spec = ManagementPlaneSpec { namespace: "barn".into(), ..ManagementPlaneSpec::default() };
    let plane = ManagementPlane::new("default", spec);
    let deployed = Deployed::new(Store::Managed(ManagedEtcd::default()), 2);
    // They live for a year, and are due thirty days before.
    let at = |day: i64| jiff::Timestamp::from_second(1_800_000_000 + day * 86_400).unwrap();
    let issue = async |day| {
        issue::certificates(&plane, &deployed, "https://10.0.0.1:6443", &raw, &secrets, at(day))
            .await
            .unwrap()
    };
    let leaves =
        || certificates(&api, &[SERVING_SECRET, ADMIN_SECRET, ETCD_SECRET, ETCD_CLIENT_SECRET], "tls.crt");
    let authorities = || certificates(&api, &[PKI_SECRET, ETCD_CA_SECRET], "ca.crt");

    let issued = issue(0).await;
    assert_eq!(issued.expires, at(365));
    let (mut before, known) = (leaves(), authorities());
    let kubeconfig = certificates(&api, &[ADMIN_SECRET], "kubeconfig");
    let kubeconfig = String::from_utf8_lossy(&kubeconfig[ADMIN_SECRET]);
    assert!(kubeconfig.contains("https://10.0.0.1:6443"), "{kubeconfig}");
    assert!(kubeconfig.contains("tls-server-name: kplane-apiserver.barn.svc"), "{kubeconfig}");
    issue(334).await;
    assert_eq!(leaves(), before, "none is due");

    // The day has come; and then nobody has looked until long after their end.
    for day in [336, 336 + 365 + 100] {
        let again = issue(day).await;
        assert_eq!(again.expires, at(day + 365));
        assert_ne!(again.digests.apiserver, issued.digests.apiserver, "the server begins anew for etcd's");
        let now = leaves();
        for (name, pem) in &now {
            assert_ne!(Some(pem), before.get(name), "{name} is as it was");
            let (_, block) = x509_parser::pem::parse_x509_pem(pem).unwrap();
            let validity = block.parse_x509().unwrap().validity().clone();
            let clock = x509_parser::time::ASN1Time::from_timestamp(at(day).as_second()).unwrap();
            assert!(validity.is_valid_at(clock), "{name} on day {day}: {validity:?}");
        }
        before = now;
    }
    // What was made while the clock was ahead is made again.
    issue(3).await;
    for (name, pem) in &leaves() {
        assert_ne!(Some(pem), before.get(name), "{name} begins in two years");
    }
    assert_eq!(authorities(), known, "who signs is the same");
}
