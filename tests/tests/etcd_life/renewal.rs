//! Certificates are made anew when their end comes near, and everybody shows the new ones.

use kplane_tests::{Plane, eventually};
use serde_json::json;

use crate::{OBJECTS, PATIENCE, control_plane, create, object, read, settled};

const SECRETS: [&str; 4] =
    ["kplane-apiserver-tls", "kplane-apiserver-admin", "kplane-etcd-tls", "kplane-etcd-client"];

#[test]
fn every_certificate_is_renewed_in_time_and_shown() {
    let plane = Plane::start_with(&json!({
        "apiserver": { "replicas": 1 },
        "store": { "etcd": { "managed": { "replicas": 1 } } },
    }));
    settled(&plane, 1);
    create(&control_plane(&plane, "a"), OBJECTS, &object("kept"));
    let certificates = || SECRETS.map(|name| plane.secret(name, "tls.crt").expect("a certificate"));
    let server = || plane.pods("kplane-apiserver").first().and_then(|pod| plane.shown(pod, 6443));
    let member = || plane.shown("kplane-etcd-0", 2379);
    let (before, server_before, member_before) = (certificates(), server(), member());
    assert!(server_before.is_some() && member_before.is_some());
    let etcd = plane.pid("kplane-etcd-0");

    // They live for 8760 hours: an hour later each would end too soon, and now is that hour.
    plane.change(&json!({ "spec": { "certificates": { "duration": "8760h", "renewBefore": "8759h" } } }));
    eventually("nothing is due yet", PATIENCE, || {
        let object = plane.object();
        object["status"]["observedGeneration"] == object["metadata"]["generation"]
    });
    assert_eq!(certificates(), before);
    plane.change(&json!({ "spec": { "certificates": { "duration": "9000h", "renewBefore": "8999h" } } }));
    eventually("all are new", PATIENCE, || {
        certificates().iter().zip(&before).all(|(now, before)| now != before)
    });
    eventually("etcd shows its own", PATIENCE, || member().is_some_and(|now| Some(now) != member_before));
    eventually("so does the server", PATIENCE, || server().is_some_and(|now| Some(now) != server_before));
    plane.wait_ready();
    assert_eq!(plane.pid("kplane-etcd-0"), etcd, "etcd need not begin anew for it");
    assert!(read(&plane.client().vcp("a"), &format!("{OBJECTS}/kept")).is_some());
}
