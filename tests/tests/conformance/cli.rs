//! sig-cli: kubectl itself.

use crate::common::*;

#[test]
fn kubectl_client_kubectl_diff_should_check_if_kubectl_diff_finds_a_difference_for_deployments() {
    let (_a, kubectl, _server) = setup();
    let manifest = |image: &str| {
        format!(
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: httpd}}\nspec:\n  selector: {{matchLabels: {{app: httpd}}}}\n  template:\n    metadata: {{labels: {{app: httpd}}}}\n    spec: {{containers: [{{name: httpd, image: {image}}}]}}\n"
        )
    };
    kubectl.apply(&manifest("one"));
    assert!(kubectl.run_with(&["diff", "-f", "-"], &manifest("one")).success);
    let output = kubectl.run_with(&["diff", "-f", "-"], &manifest("two"));
    assert!(
        !output.success && output.stdout.contains("+        - image: two")
            || output.stdout.contains("image: two"),
        "{}",
        output.stdout
    );
}

#[test]
fn kubectl_client_kubectl_api_versions_should_check_if_v1_is_in_available_api_versions() {
    let (_a, kubectl, _server) = setup();
    let told = kubectl.ok(&["api-versions"]);
    assert!(told.lines().any(|line| line == "v1"), "{told}");
}

#[test]
fn kubectl_client_kubectl_cluster_info_should_check_if_kubernetes_control_plane_services_is_included_in_cluster_info()
 {
    let (_a, kubectl, server) = setup();
    let told = kubectl.ok(&["cluster-info"]);
    assert!(told.contains("Kubernetes control plane") && told.contains(&server.port().to_string()), "{told}");
}

#[test]
fn kubectl_client_kubectl_run_pod_should_create_a_pod_from_an_image_when_restart_is_never() {
    let (a, kubectl, _server) = setup();
    kubectl.ok(&["run", "e2e-test-httpd-pod", "--restart=Never", "--image=registry.k8s.io/e2e/httpd"]);
    let pod = a.get(&format!("{PODS}/e2e-test-httpd-pod")).ok();
    assert_eq!(pod["spec"]["containers"][0]["image"], "registry.k8s.io/e2e/httpd");
    assert_eq!(pod["spec"]["restartPolicy"], "Never");
}

#[test]
fn kubectl_client_kubectl_server_side_dry_run_should_check_if_kubectl_can_dry_run_update_pods() {
    let (a, kubectl, _server) = setup();
    kubectl.ok(&["run", "e2e-test-httpd-pod", "--image=one", "--labels=run=e2e-test-httpd-pod"]);
    let patch = r#"{"spec":{"containers":[{"name":"e2e-test-httpd-pod","image":"two"}]}}"#;
    let told = kubectl.ok(&["patch", "pod", "e2e-test-httpd-pod", "-p", patch, "--dry-run=server"]);
    assert!(told.contains("patched"), "{told}");
    assert_eq!(a.get(&format!("{PODS}/e2e-test-httpd-pod")).ok()["spec"]["containers"][0]["image"], "one");
    kubectl.ok(&["delete", "pod", "e2e-test-httpd-pod", "--dry-run=server"]);
    assert_eq!(a.get(&format!("{PODS}/e2e-test-httpd-pod")).ok()["metadata"].get("deletionTimestamp"), None);
}

#[test]
fn kubectl_client_kubectl_version_should_check_is_all_data_is_printed() {
    let (_a, kubectl, _server) = setup();
    let told = kubectl.ok(&["version"]);
    for part in ["Client Version: ", "Server Version: v1.36"] {
        assert!(told.contains(part), "{part}: {told}");
    }
}

/// `kubectl proxy` while it runs.
struct Proxy(std::process::Child);

impl Proxy {
    fn start(kubectl: &Kubectl, arguments: &[&str]) -> (Self, String) {
        let mut arguments = arguments.to_vec();
        arguments.splice(0..0, ["proxy", "--append-server-path"]);
        let mut child =
            kubectl.command(&arguments).stdout(std::process::Stdio::piped()).spawn().expect("kubectl");
        let mut line = String::new();
        let output = child.stdout.take().expect("its output");
        let proxy = Self(child);
        std::io::BufRead::read_line(&mut std::io::BufReader::new(output), &mut line).expect("what it says");
        (proxy, line.trim().to_owned())
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn curl(arguments: &[&str]) -> Value {
    let output =
        std::process::Command::new("curl").arg("-s").args(arguments).output().expect("curl is on PATH");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

#[test]
fn kubectl_client_proxy_server_should_support_proxy_with_port_0() {
    let (_a, kubectl, _server) = setup();
    let (_proxy, line) = Proxy::start(&kubectl, &["-p", "0", "--disable-filter"]);
    let address = line.strip_prefix("Starting to serve on ").expect("its address");
    assert_eq!(curl(&[&format!("http://{address}/api/")])["kind"], "APIVersions");
}

#[test]
fn kubectl_client_proxy_server_should_support_unix_socket_path() {
    let (_a, kubectl, server) = setup();
    let socket = server.folder().join("proxy.sock");
    let (_proxy, _line) = Proxy::start(&kubectl, &[&format!("--unix-socket={}", socket.display())]);
    let socket = socket.to_str().expect("a path").to_owned();
    assert_eq!(curl(&["--unix-socket", &socket, "http://localhost/api/"])["kind"], "APIVersions");
}
