//! The recorded exchanges with kube-apiserver, played against a fresh control plane: the score may not fall below
//! `replay-floor.txt`. The records lie beside the checkout or where `KPLANE_REFERENCE` says; without them there is
//! nothing to play.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use kplane_tests::{Server, Store, eventually};

/// Where the records are, if they are anywhere.
fn reference() -> Option<PathBuf> {
    let folder = match std::env::var_os("KPLANE_REFERENCE") {
        Some(folder) => PathBuf::from(folder),
        None => PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/reference"),
    };
    folder.join("replay.py").exists().then_some(folder)
}

/// The number after a label, as in `exact 84.6 %`.
fn number_after(text: &str, label: &str) -> Option<f64> {
    let rest = text.split_once(label)?.1;
    rest.split_whitespace().next()?.parse().ok()
}

#[test]
fn the_score_does_not_fall() {
    let Some(reference) = reference() else {
        eprintln!("skipped: there are no records to play (KPLANE_REFERENCE)");
        return;
    };
    let floor = include_str!("replay-floor.txt");
    let server = Server::start(Store::Embedded);
    let kubectl = server.create_vcp("replay");
    eventually("the control plane answers", Duration::from_secs(30), || {
        kubectl.run(&["get", "--raw", "/readyz"]).success
    });

    // The administrator's kubeconfig, of that control plane.
    let text = std::fs::read_to_string(server.admin_kubeconfig()).expect("the administrator's kubeconfig");
    let mut config: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    for entry in config["clusters"].as_array_mut().expect("clusters") {
        entry["cluster"]["server"] =
            format!("https://127.0.0.1:{}/clusters/replay/control-plane", server.port()).into();
    }
    let kubeconfig = server.folder().join("replay.kubeconfig");
    std::fs::write(&kubeconfig, config.to_string()).expect("a kubeconfig of the control plane");

    let output = Command::new("python3")
        .arg("-B")
        .arg(reference.join("replay.py"))
        .arg("--kubeconfig")
        .arg(&kubeconfig)
        .arg("--verbose")
        .output()
        .expect("python3");
    let report = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{report}\n{}", String::from_utf8_lossy(&output.stderr));
    let summary = report.lines().last().unwrap_or_default();
    println!("{summary}");
    for (label, in_floor) in [("exact ", "exact "), ("right status ", "status ")] {
        let reached = number_after(summary, label).expect("a score");
        let least = number_after(floor, in_floor).expect("a floor");
        assert!(reached >= least, "{label}{reached} % is below {least} %:\n{report}");
    }
}
