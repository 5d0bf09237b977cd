//! Certificates are made anew when their end comes near, and everybody shows the new ones; what etcd keeps of Secrets.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kplane_tests::{Client, Plane, eventually};
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
    let a = control_plane(&plane, "a");
    create(&a, OBJECTS, &object("kept"));
    nobody_reads_secrets_in_etcds_files(&plane, &a);
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

/// The bytes of all files of the member.
fn stored(folder: &Path) -> Vec<u8> {
    let entries =
        std::fs::read_dir(folder).expect("a folder of etcd").map(|entry| entry.expect("a file").path());
    let read = |path: PathBuf| {
        if path.is_dir() { stored(&path) } else { std::fs::read(path).expect("a file of etcd") }
    };
    entries.flat_map(read).collect()
}

/// What a Secret holds is in no file of etcd, neither as it was sent nor as JSON has it; what a ConfigMap holds is.
fn nobody_reads_secrets_in_etcds_files(plane: &Plane, client: &Client) {
    let (open, hidden) = ("lying-open-0815", "well-hidden-4711");
    let mut seen = object("seen");
    seen["data"] = json!({ "text": open });
    create(client, OBJECTS, &seen);
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "unseen" }, "stringData": { "text": hidden },
    });
    create(client, &OBJECTS.replace("configmaps", "secrets"), &secret);
    let files = stored(&plane.root("kplane-etcd-0").join("var/lib/etcd/data"));
    let holds = |text: &str| files.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(holds(open), "these are not etcd's files");
    assert!(!holds(hidden) && !holds(&STANDARD.encode(hidden)), "a Secret is in the clear");
}
