//! The client that Python programs use.

use std::path::Path;
use std::process::Command;

use kplane_tests::{Server, Store};

#[test]
fn the_python_client_lives_through_every_verb() {
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/python/bin/python");
    assert!(python.exists(), "{} is missing: hack/setup installs it", python.display());
    let server = Server::start(Store::Embedded);
    server.create_vcp("a");
    // The same credentials, another server.
    let kubeconfig = std::fs::read_to_string(server.admin_kubeconfig()).expect("a kubeconfig");
    let address = format!("https://127.0.0.1:{}", server.port());
    let kubeconfig = kubeconfig.replace(&address, &format!("{address}/clusters/a/control-plane"));
    let path = server.folder().join("vcp.kubeconfig");
    std::fs::write(&path, kubeconfig).expect("a kubeconfig");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/client.py");
    let output = Command::new(python).arg(script).arg(&path).output().expect("Python runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
