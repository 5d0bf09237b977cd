//! A running `kplane-apiserver`.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use kplane_storage::testing::{EtcdServer, free_port};
use tempfile::TempDir;

use crate::{Client, Kubectl, eventually, program};

/// Which store a server runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Store {
    /// A file of its own.
    Embedded,
    /// An etcd of its own.
    Etcd,
}

/// A server with a folder of its own; killed when dropped.
pub struct Server {
    child: Child,
    folder: TempDir,
    etcd: Option<EtcdServer>,
    port: u16,
    arguments: Vec<String>,
    level: String,
}

impl Server {
    /// Starts one and waits until it is ready.
    ///
    /// # Panics
    /// If it does not become ready; its log is printed.
    pub fn start(store: Store) -> Self {
        Self::start_with(store, &[])
    }

    /// Starts one with flags of its own.
    ///
    /// # Panics
    /// If it does not become ready; its log is printed.
    pub fn start_with(store: Store, flags: &[&str]) -> Self {
        Self::start_prepared(store, flags, |_| {})
    }

    /// Starts one that logs at a level, with flags of its own.
    ///
    /// # Panics
    /// If it does not become ready; its log is printed.
    pub fn start_logging(store: Store, level: &str, flags: &[&str]) -> Self {
        Self::start_at(store, flags, level, |_| {})
    }

    /// The same, with something done to its data directory before.
    ///
    /// # Panics
    /// If it does not become ready; its log is printed.
    pub fn start_prepared(store: Store, flags: &[&str], prepare: impl FnOnce(&Path)) -> Self {
        let level = std::env::var("RUST_LOG").unwrap_or_else(|_| "info".into());
        Self::start_at(store, flags, &level, prepare)
    }

    fn start_at(store: Store, flags: &[&str], level: &str, prepare: impl FnOnce(&Path)) -> Self {
        let level = level.to_owned();
        let folder = tempfile::Builder::new().prefix("kplane-test-").tempdir().expect("a folder");
        prepare(&folder.path().join("data"));
        let etcd = (store == Store::Etcd).then(start_etcd);
        let mut arguments = vec!["--data-dir".to_owned(), folder.path().join("data").display().to_string()];
        match &etcd {
            Some(etcd) => {
                arguments.push("--storage=etcd".into());
                arguments.push(format!("--etcd-servers={}", etcd.endpoint()));
            }
            None => arguments.push("--storage=embedded".into()),
        }
        arguments.extend(flags.iter().map(|flag| (*flag).to_owned()));
        let port = free_port();
        let child = spawn(&arguments, port, folder.path(), &level);
        let mut server = Self { child, folder, etcd, port, arguments, level };
        server.wait_ready();
        server
    }

    fn wait_ready(&mut self) {
        let kubeconfig = self.admin_kubeconfig();
        let log = self.log_path();
        let child = &mut self.child;
        eventually("the server is ready", Duration::from_secs(60), || {
            if let Some(status) = child.try_wait().expect("the state of the server") {
                let log = std::fs::read_to_string(&log).unwrap_or_default();
                panic!("the server ended with {status}:\n{log}");
            }
            kubeconfig.exists() && Kubectl::new(&kubeconfig).run(&["get", "--raw", "/readyz"]).success
        });
    }

    /// Ends it at once, as a crash would, and starts it again on the same port with the same data.
    pub fn crash_and_restart(&mut self) {
        self.kill();
        self.start_again();
    }

    /// Starts it again after [`Server::kill`], where it is to end by itself; what it says.
    ///
    /// # Panics
    /// If it goes on, or ends as if all were well.
    pub fn start_in_vain(&mut self) -> String {
        let before = std::fs::read_to_string(self.log_path()).unwrap_or_default().len();
        self.child = spawn(&self.arguments, self.port, self.folder.path(), &self.level);
        let mut ended = None;
        eventually("the server ends", Duration::from_secs(60), || {
            ended = self.child.try_wait().expect("the state of the server");
            ended.is_some()
        });
        assert!(ended.is_some_and(|status| !status.success()), "{ended:?}");
        std::fs::read_to_string(self.log_path()).unwrap_or_default().split_off(before)
    }

    /// Ends it at once, as a crash would.
    ///
    /// # Panics
    /// If it cannot be ended.
    pub fn kill(&mut self) {
        self.child.kill().expect("kill");
        self.child.wait().expect("wait");
    }

    /// Starts it again after [`Server::kill`], on the same port with the same data.
    ///
    /// # Panics
    /// If it does not become ready.
    pub fn start_again(&mut self) {
        self.child = spawn(&self.arguments, self.port, self.folder.path(), &self.level);
        self.wait_ready();
    }

    /// Another server over the same etcd, with the same keys.
    ///
    /// # Panics
    /// If this one has no etcd, or the other does not become ready.
    pub fn replica(&self) -> Self {
        let etcd = self.etcd.as_ref().expect("only servers over etcd have replicas");
        self.replica_at(&etcd.endpoint())
    }

    /// The same, which reaches the etcd at another address.
    ///
    /// # Panics
    /// If it does not become ready.
    pub fn replica_at(&self, endpoint: &str) -> Self {
        let level = self.level.clone();
        let folder = tempfile::Builder::new().prefix("kplane-test-").tempdir().expect("a folder");
        let data = folder.path().join("data");
        let pki = data.join("pki");
        std::fs::create_dir_all(&pki).expect("a folder for its keys");
        for file in ["ca.crt", "ca.key", "plane.key"] {
            std::fs::copy(self.folder.path().join("data/pki").join(file), pki.join(file)).expect(file);
        }
        let arguments = vec![
            "--data-dir".to_owned(),
            data.display().to_string(),
            "--storage=etcd".into(),
            format!("--etcd-servers={endpoint}"),
        ];
        let port = free_port();
        let child = spawn(&arguments, port, folder.path(), &level);
        let mut server = Self { child, folder, etcd: None, port, arguments, level };
        server.wait_ready();
        server
    }

    /// Kills its etcd, as a crash would.
    pub fn kill_etcd(&mut self) {
        if let Some(etcd) = &mut self.etcd {
            etcd.kill();
        }
    }

    /// Starts its etcd again, with the same data.
    pub fn resume_etcd(&mut self) {
        if let Some(etcd) = &mut self.etcd {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(etcd.resume());
        }
    }

    /// A client of root's administrator.
    pub fn client(&self) -> Client {
        Client::new(&self.admin_kubeconfig())
    }

    /// The kubeconfig of root's administrator.
    pub fn admin_kubeconfig(&self) -> PathBuf {
        self.folder.path().join("data/admin.kubeconfig")
    }

    /// A folder of the test's own.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The etcd it runs on, if it does.
    pub fn etcd(&self) -> Option<&EtcdServer> {
        self.etcd.as_ref()
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    fn log_path(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// kubectl as root's administrator.
    pub fn root(&self) -> Kubectl {
        Kubectl::new(&self.admin_kubeconfig())
    }

    /// kubectl as root's administrator in a control plane.
    pub fn vcp(&self, name: &str) -> Kubectl {
        self.root().server(format!("https://127.0.0.1:{}/clusters/{name}/control-plane", self.port))
    }

    /// Makes a control plane, and kubectl in it.
    pub fn create_vcp(&self, name: &str) -> Kubectl {
        self.root().apply(&format!(
            "apiVersion: tenancy.kplane.dev/v1alpha1\nkind: VirtualCluster\nmetadata: {{name: {name}}}\n"
        ));
        self.vcp(name)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // A server that is gone already needs no killing.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- log of the server\n{}", self.log());
        }
    }
}

/// An etcd, waited for on a runtime of its own.
fn start_etcd() -> EtcdServer {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(EtcdServer::start())
}

fn spawn(arguments: &[String], port: u16, folder: &Path, level: &str) -> Child {
    let log = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(folder.join("log"))
        .expect("the server's log");
    Command::new(program("kplane-apiserver"))
        .args(arguments)
        .arg(format!("--secure-port={port}"))
        .env("RUST_LOG", level)
        .stdin(Stdio::null())
        .stdout(Stdio::from(log.try_clone().expect("the log twice")))
        .stderr(Stdio::from(log))
        .spawn()
        .expect("kplane-apiserver starts")
}

/// Sends a signal, as `kill -STOP`.
///
/// # Panics
/// If there is no such process.
pub fn signal(pid: u32, name: &str) {
    let status = Command::new("kill").args([format!("-{name}"), pid.to_string()]).status().expect("kill");
    assert!(status.success(), "kill -{name} {pid}");
}
