//! A deployed management plane whose pods are processes of this machine.
//!
//! A management cluster of its own ([`Server`]), the controllers, and a small kubelet: it starts what the pods of the
//! plane's namespace say, with their very arguments, Secrets and volumes, under addresses of this machine. What makes
//! the pods are the controllers of workloads, so that rollouts are real. A balancer plays the Service of the API server.

mod kubelet;
pub mod network;
mod pod;
mod service;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::{Client, Kubectl, Server, Store, eventually, program};
use kubelet::Kubelet;
pub use service::Balancer;

/// The namespace of the plane.
pub const NAMESPACE: &str = "kplane-system";
/// The path of its one object.
pub const PLANE: &str = "/apis/controlplane.kplane.dev/v1alpha1/managementplanes/default";
/// What the name of an image begins with that cannot be had.
pub const MISSING: &str = "missing.example/";
const PLANES: &str = "/apis/controlplane.kplane.dev/v1alpha1/managementplanes";
/// How long the first start may take: three etcd, two servers, on a busy machine.
const STARTED_WITHIN: Duration = Duration::from_secs(90);

/// A deployed management plane.
///
/// What is dropped first ends first: the pods before the controllers, and these before their cluster.
pub struct Plane {
    kubelet: Kubelet,
    service: Balancer,
    controllers: Controllers,
    management: Server,
}

impl Plane {
    /// Three etcd members and two API servers, ready.
    ///
    /// # Panics
    /// If they do not become so.
    pub fn start() -> Self {
        Self::start_with(&json!({}))
    }

    /// With what the spec of the `ManagementPlane` says besides.
    ///
    /// # Panics
    /// If it does not become ready.
    pub fn start_with(spec: &Value) -> Self {
        let plane = Self::begin(spec);
        plane.wait_ready();
        plane
    }

    /// The same, not waited for.
    ///
    /// # Panics
    /// If the management cluster does not start.
    pub fn begin(spec: &Value) -> Self {
        Self::begin_with(spec, &[])
    }

    /// The same, with flags for the controllers.
    ///
    /// # Panics
    /// If the management cluster does not start.
    pub fn begin_with(spec: &Value, flags: &[&str]) -> Self {
        Self::begin_in(spec, flags, false)
    }

    /// The same in a cluster without DNS, where the controllers run as they do in its pods. For a process in a network of
    /// its own: see [`network::in_its_own`].
    ///
    /// # Panics
    /// If the management cluster does not start.
    pub fn begin_without_dns(spec: &Value) -> Self {
        Self::begin_in(spec, &["--controllers=tenant"], true)
    }

    fn begin_in(spec: &Value, flags: &[&str], network: bool) -> Self {
        let management = Server::start(Store::Embedded);
        let service = Balancer::start();
        let mut flags: Vec<String> = flags.iter().map(|flag| (*flag).to_owned()).collect();
        if !network {
            // The Service is here, and not at its name.
            flags.push(format!("--plane-address=https://127.0.0.1:{}", service.port()));
            // So are the members of etcd.
            flags.push(format!("--etcd-addresses={}", addresses_in(management.folder()).display()));
        }
        let controllers = Controllers::run(&management, &flags);
        let client = management.client();
        eventually("the definitions are installed", STARTED_WITHIN, || client.get(PLANES).code == 200);
        let mut whole = json!({
            "topology": "Deployed",
            "exposure": { "type": "NodePort", "host": "127.0.0.1", "nodePort": 30443, "port": service.port() },
        });
        merge(&mut whole, spec);
        let object = json!({
            "apiVersion": "controlplane.kplane.dev/v1alpha1",
            "kind": "ManagementPlane",
            "metadata": { "name": "default" },
            "spec": whole,
        });
        client.post(PLANES, &object).ok();
        let pods = management.folder().join("pods");
        let kubelet = Kubelet::start(client, NAMESPACE, pods, service.targets(), network);
        tell_addresses(&kubelet, &management);
        Self { kubelet, service, controllers, management }
    }

    /// Waits until the plane says that it is ready and all pods are.
    ///
    /// # Panics
    /// If it does not.
    #[track_caller]
    pub fn wait_ready(&self) {
        eventually("the plane is ready", STARTED_WITHIN, || self.condition("Ready").starts_with("True "));
        self.wait_rolled_out();
    }

    /// Waits until every pod is as its Deployment or StatefulSet says, and ready.
    ///
    /// # Panics
    /// If that does not come.
    #[track_caller]
    pub fn wait_rolled_out(&self) {
        eventually("all is rolled out", STARTED_WITHIN, || {
            self.rolled_out("deployments", "kplane-apiserver")
                && self.rolled_out("statefulsets", "kplane-etcd")
        });
    }

    /// Whether all pods of a Deployment or StatefulSet are of its newest template and ready, and no others are left.
    pub fn rolled_out(&self, plural: &str, name: &str) -> bool {
        let object = self.workload(plural, name);
        let (spec, status) = (&object["spec"], &object["status"]);
        let count = |key: &str| status[key].as_i64().unwrap_or(0);
        let wanted = spec["replicas"].as_i64().unwrap_or(1);
        status["observedGeneration"] == object["metadata"]["generation"]
            && count("updatedReplicas") == wanted
            && count("readyReplicas") == wanted
            && count("replicas") == wanted
            && self.kubelet.processes(name).len() == usize::try_from(wanted).unwrap_or(0)
    }

    /// A Deployment or StatefulSet of the plane.
    pub fn workload(&self, plural: &str, name: &str) -> Value {
        self.management.client().get(&format!("/apis/apps/v1/namespaces/{NAMESPACE}/{plural}/{name}")).body
    }

    /// A condition of the `ManagementPlane`: its status and reason.
    pub fn condition(&self, name: &str) -> String {
        let plane = self.object();
        let conditions = plane["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let found = conditions.iter().find(|condition| condition["type"] == name);
        let text = |key: &str| found.and_then(|c| c[key].as_str()).unwrap_or_default().to_owned();
        format!("{} {}", text("status"), text("reason"))
    }

    /// The `ManagementPlane`.
    pub fn object(&self) -> Value {
        self.management.client().get(PLANE).body
    }

    /// Changes the `ManagementPlane`.
    ///
    /// # Panics
    /// If it is refused.
    #[track_caller]
    pub fn change(&self, patch: &Value) {
        self.management.client().merge(PLANE, patch).ok();
    }

    /// A key of a Secret of the plane, as text.
    pub fn secret(&self, name: &str, key: &str) -> Option<String> {
        secret_in(&self.management.client(), NAMESPACE, name, key)
    }

    /// kubectl in the management cluster.
    pub fn kubectl(&self) -> Kubectl {
        self.management.root()
    }

    /// The management cluster.
    pub fn management(&self) -> &Server {
        &self.management
    }

    /// The Service of the API server.
    pub fn service(&self) -> &Balancer {
        &self.service
    }

    /// A file of the kubeconfig of root's administrator, as it is in its Secret now, through the Service.
    ///
    /// # Panics
    /// If there is none.
    pub fn admin_kubeconfig(&self) -> PathBuf {
        let text =
            self.secret("kplane-apiserver-admin", "kubeconfig").expect("the administrator's kubeconfig");
        self.kubeconfig("admin", &text)
    }

    /// A file of this kubeconfig, through the Service.
    ///
    /// # Panics
    /// If it is none.
    pub fn kubeconfig(&self, name: &str, text: &str) -> PathBuf {
        let mut config: Value = serde_saphyr::from_str(text).expect("a kubeconfig");
        let server = &mut config["clusters"][0]["cluster"]["server"];
        let path = server.as_str().and_then(|url| url.splitn(4, '/').nth(3)).unwrap_or_default().to_owned();
        *server = format!("https://127.0.0.1:{}/{path}", self.service.port()).trim_end_matches('/').into();
        let file = self.management.folder().join(format!("{name}.kubeconfig"));
        std::fs::write(&file, config.to_string()).expect("a kubeconfig");
        file
    }

    /// A client of root's administrator, through the Service.
    pub fn client(&self) -> Client {
        Client::new(&self.admin_kubeconfig())
    }

    /// The names of the running pods of a part: `kplane-etcd`, `kplane-apiserver`.
    pub fn pods(&self, part: &str) -> Vec<String> {
        self.kubelet.processes(part).into_iter().map(|(name, _)| name).collect()
    }

    /// The running processes of a part, by the names of their pods.
    pub fn processes(&self, part: &str) -> Vec<(String, u32)> {
        self.kubelet.processes(part)
    }

    /// The process of a pod.
    ///
    /// # Panics
    /// If it does not run.
    pub fn pid(&self, pod: &str) -> u32 {
        let found = self.kubelet.processes(pod).into_iter().find(|(name, _)| name == pod);
        found.unwrap_or_else(|| panic!("{pod} does not run")).1
    }

    /// Kills the process of a pod, as a crash would. The kubelet starts it again, unless it is held.
    ///
    /// # Panics
    /// If it does not run.
    pub fn kill(&self, pod: &str) {
        crate::signal(self.pid(pod), "KILL");
    }

    /// From now on what ends in this pod is not started again, until it is let go.
    pub fn hold(&self, pod: &str) {
        self.kubelet.hold(pod, true);
    }

    /// See [`Plane::hold`].
    pub fn let_go(&self, pod: &str) {
        self.kubelet.hold(pod, false);
    }

    /// Where a container's port is on this machine.
    pub fn port(&self, pod: &str, container_port: u16) -> u16 {
        self.kubelet.port(pod, container_port)
    }

    /// The certificate that a container shows at a port; `None` when it shows none.
    pub fn shown(&self, pod: &str, container_port: u16) -> Option<Vec<u8>> {
        pod::shown(self.port(pod, container_port))
    }

    /// The folder that is the root of a pod's files.
    pub fn root(&self, pod: &str) -> PathBuf {
        self.kubelet.root(pod)
    }

    /// What the process of a pod has logged, from its first start on.
    pub fn log(&self, pod: &str) -> String {
        std::fs::read_to_string(self.kubelet.root(pod).with_extension("log")).unwrap_or_default()
    }

    /// Ends the controllers at once and starts them again.
    pub fn restart_controllers(&mut self) {
        self.controllers.restart();
    }

    /// Ends the controllers at once.
    pub fn end_controllers(&mut self) {
        self.controllers.end();
    }
}

/// A key of a Secret, as text.
pub fn secret_in(client: &Client, namespace: &str, name: &str, key: &str) -> Option<String> {
    let answer = client.get(&format!("/api/v1/namespaces/{namespace}/secrets/{name}"));
    let encoded = answer.body["data"][key].as_str()?;
    String::from_utf8(STANDARD.decode(encoded).ok()?).ok()
}

fn merge(into: &mut Value, from: &Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from.clone(),
    }
}

fn addresses_in(folder: &Path) -> PathBuf {
    folder.join("etcd-addresses.json")
}

/// Tells the controllers where the members of etcd are on this machine: five, as many as there can be.
fn tell_addresses(kubelet: &Kubelet, management: &Server) {
    let mut addresses = serde_json::Map::new();
    for index in 0..5 {
        let pod = format!("kplane-etcd-{index}");
        for port in [2379, 2380] {
            let here = format!("localhost:{}", kubelet.port(&pod, port));
            addresses.insert(format!("{pod}.kplane-etcd.{NAMESPACE}.svc:{port}"), here.into());
        }
    }
    let path = addresses_in(management.folder());
    let new = path.with_extension("new");
    std::fs::write(&new, Value::Object(addresses).to_string()).expect("a file of addresses");
    std::fs::rename(&new, &path).expect("a file of addresses");
}

/// The management controllers.
struct Controllers {
    child: Child,
    kubeconfig: PathBuf,
    folder: PathBuf,
    arguments: Vec<String>,
}

impl Controllers {
    fn run(server: &Server, flags: &[String]) -> Self {
        let mut arguments =
            vec!["run".to_owned(), "--controllers=management".into(), "--leader-elect=false".into()];
        arguments.extend(flags.iter().cloned());
        let folder = server.folder().to_owned();
        let kubeconfig = kubeconfig_of_controllers(server);
        Self { child: spawn(&arguments, &kubeconfig, &folder), kubeconfig, folder, arguments }
    }

    fn restart(&mut self) {
        self.end();
        self.child = spawn(&self.arguments, &self.kubeconfig, &self.folder);
    }

    fn end(&mut self) {
        // One that has ended needs no killing.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Installs what the controllers are installed with, but not themselves, and makes a kubeconfig of their service account:
/// they may do what `config/rbac` says, and no more.
///
/// # Panics
/// If it cannot be installed.
pub fn kubeconfig_of_controllers(server: &Server) -> PathBuf {
    let kubectl = server.root();
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config");
    let file = |path: &str| config.join(path).display().to_string();
    kubectl.ok(&["apply", "-f", &file("manager/namespace.yaml")]);
    kubectl.ok(&["apply", "-k", &file("crd")]);
    kubectl.ok(&["apply", "-k", &file("rbac")]);
    let token = kubectl.ok(&["-n", NAMESPACE, "create", "token", "kplane-controllers", "--duration=24h"]);
    let admin = std::fs::read_to_string(server.admin_kubeconfig()).expect("a kubeconfig");
    let mut config: Value = serde_saphyr::from_str(&admin).expect("YAML");
    config["users"][0]["user"] = json!({ "token": token.trim() });
    let path = server.folder().join("controllers.kubeconfig");
    std::fs::write(&path, config.to_string()).expect("a kubeconfig");
    path
}

fn log_of(folder: &Path) -> PathBuf {
    folder.join("controllers.log")
}

fn spawn(arguments: &[String], kubeconfig: &Path, folder: &Path) -> Child {
    let log = std::fs::File::options().create(true).append(true).open(log_of(folder)).expect("a log");
    Command::new(program("kplane-controllers"))
        .args(arguments)
        .env("KUBECONFIG", kubeconfig)
        .env("HOME", folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .expect("kplane-controllers starts")
}

impl Drop for Controllers {
    fn drop(&mut self) {
        self.end();
        if std::thread::panicking() {
            eprintln!("--- log of the controllers\n{}", crate::tail(&log_of(&self.folder)));
        }
    }
}
