//! Both authorities are replaced while clients are at work.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use kplane_tests::history::Load;
use kplane_tests::plane_processes::secret_in;
use kplane_tests::{Client, Plane, eventually};
use serde_json::json;

use crate::{PATIENCE, WRITERS};

const CONTROL_PLANES: &str = "/apis/controlplane.kplane.dev/v1alpha1/controlplanes";

/// The kubeconfig that the controllers wrote for the control plane.
fn kubeconfig(plane: &Plane) -> Option<String> {
    let client = plane.management().client();
    secret_in(&client, "kplane-cp-load", "controlplane-load-kubeconfig", "kubeconfig-external")
}

/// Says that it is over when it goes.
struct Finally<'a>(&'a AtomicBool);

impl Drop for Finally<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[test]
fn both_are_replaced_under_load_and_nobody_is_refused() {
    // Trusted for no longer than it takes to replace all that the old one signed.
    let plane = Plane::start_with(&json!({ "certificates": { "authorityOverlap": "1s" } }));
    let object = json!({
        "apiVersion": "controlplane.kplane.dev/v1alpha1", "kind": "ControlPlane",
        "metadata": { "name": "load" }, "spec": {},
    });
    plane.management().client().post(CONTROL_PLANES, &object).ok();
    eventually("there is a kubeconfig", PATIENCE, || kubeconfig(&plane).is_some());
    let first = kubeconfig(&plane).expect("a kubeconfig");
    let old = plane.kubeconfig("old", &first);
    let authorities = || ["kplane-apiserver-pki", "kplane-etcd-ca"].map(|name| plane.secret(name, "ca.crt"));
    let before = authorities();
    let load = Load::start(&Client::new(&old), WRITERS);
    load.more(100);

    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // Also when the test fails: the other thread must end.
        let _end = Finally(&done);
        // A client who reads its kubeconfig again when it changes, as one in a pod does.
        scope.spawn(|| {
            let mut seen = first.clone();
            while !done.load(Ordering::SeqCst) {
                if let Some(now) = kubeconfig(&plane).filter(|now| *now != seen) {
                    load.use_client(&Client::new(&plane.kubeconfig("new", &now)));
                    seen = now;
                }
                std::thread::sleep(Duration::from_millis(100));
            }
        });
        let annotation = json!({ "controlplane.kplane.dev/rotate-authorities": "today" });
        plane.change(&json!({ "metadata": { "annotations": annotation } }));
        let reason = || plane.condition("CertificatesReady");
        eventually("the new ones are trusted", PATIENCE, || reason() == "True TrustingNewAuthority");
        eventually("the new ones sign", PATIENCE, || reason() == "True OldAuthorityTrusted");
        // Who has heard of nothing goes on, also over a connection that begins now.
        assert_eq!(Client::new(&old).get("/api/v1/namespaces").code, 200);
        eventually("the old ones are gone", PATIENCE, || reason() == "True Reconciled");
        plane.wait_rolled_out();
        load.more(100);
    });

    let after = authorities();
    for (before, after) in before.iter().zip(&after) {
        let after = after.as_deref().expect("an authority");
        assert_eq!(after.matches("BEGIN CERTIFICATE").count(), 1);
        assert_ne!(before.as_deref(), Some(after));
    }
    let told = Client::new(&old).send("GET", "/api/v1/namespaces", &[], "");
    assert!(told.is_err(), "the old authority is trusted still: {told:?}");
    // Members of etcd read whom they trust at their start only, and cut off what is under way when they end. What became of
    // it the API server finds out by itself.
    let failures = load.told();
    assert!(failures.is_empty(), "{failures:#?}");
    load.stop_and_check();
}
