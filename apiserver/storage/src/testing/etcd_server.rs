//! An etcd started for one test.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Where `hack/install-etcd` unpacks it when Debian's package does not fit the machine.
const UNPACKED: &str = "/usr/local/lib/kplane-etcd/usr/bin/etcd";
const READY_WITHIN: Duration = Duration::from_secs(30);

/// A running etcd with free ports and a directory of its own; killed when dropped.
#[derive(Debug)]
pub struct EtcdServer {
    child: Option<Child>,
    directory: tempfile::TempDir,
    client_port: u16,
    peer_port: u16,
    health_port: u16,
    tls: bool,
    quota: Option<u64>,
}

impl EtcdServer {
    /// Starts it and waits until it is healthy.
    ///
    /// # Panics
    /// When there is no etcd, or it does not become healthy: a test must not pass without it.
    pub async fn start() -> Self {
        Self::start_with(None, None).await
    }

    /// The same over TLS, with client certificates: the PEM of the authority of both sides, of the
    /// server's certificate (for 127.0.0.1) and of its key.
    pub async fn start_tls(ca: &str, cert: &str, key: &str) -> Self {
        Self::start_with(Some([("ca", ca), ("cert", cert), ("key", key)]), None).await
    }

    /// The same with room for so many bytes.
    pub async fn start_small_tls(ca: &str, cert: &str, key: &str, quota: u64) -> Self {
        Self::start_with(Some([("ca", ca), ("cert", cert), ("key", key)]), Some(quota)).await
    }

    async fn start_with(tls: Option<[(&str, &str); 3]>, quota: Option<u64>) -> Self {
        let mut server = EtcdServer {
            child: None,
            directory: tempfile::tempdir().expect("a temporary directory"),
            client_port: free_port(),
            peer_port: free_port(),
            health_port: free_port(),
            tls: tls.is_some(),
            quota,
        };
        for (name, pem) in tls.into_iter().flatten() {
            std::fs::write(server.directory.path().join(name), pem).expect("a file");
        }
        server.resume().await;
        server
    }

    /// The URL to connect to.
    pub fn endpoint(&self) -> String {
        let scheme = if self.tls { "https" } else { "http" };
        format!("{scheme}://127.0.0.1:{}", self.client_port)
    }

    /// Its process id; `None` after [`EtcdServer::kill`].
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Kills it, as a crash would.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // One that is already dead is as good.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Starts it again after [`EtcdServer::kill`], with the same data and ports.
    pub async fn resume(&mut self) {
        let etcd = find().unwrap_or_else(|| {
            panic!("no etcd found in $KPLANE_ETCD, on PATH or at {UNPACKED}: run hack/install-etcd")
        });
        let client = self.endpoint();
        let peer = format!("http://127.0.0.1:{}", self.peer_port);
        let log = self.directory.path().join("log");
        let output = std::fs::File::options().create(true).append(true).open(&log).expect("a log file");
        let mut command = Command::new(&etcd);
        if self.tls {
            let file = |name| self.directory.path().join(name);
            command
                .arg("--client-cert-auth")
                .arg("--trusted-ca-file")
                .arg(file("ca"))
                .arg("--cert-file")
                .arg(file("cert"))
                .arg("--key-file")
                .arg(file("key"));
        }
        if let Some(quota) = self.quota {
            command.arg(format!("--quota-backend-bytes={quota}"));
        }
        let metrics = format!("http://127.0.0.1:{}", self.health_port);
        let child = command
            .args(["--listen-metrics-urls", &metrics])
            .env_remove("ETCD_DATA_DIR")
            .args(["--name", "test", "--log-level", "warn"])
            .args(["--unsafe-no-fsync", "--snapshot-count", "10000"])
            .arg("--data-dir")
            .arg(self.directory.path().join("data"))
            .args(["--listen-client-urls", &client])
            .args(["--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer])
            .args(["--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &format!("test={peer}")])
            .stdin(Stdio::null())
            .stdout(output.try_clone().expect("a log file"))
            .stderr(output)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {}: {error}", etcd.display()));
        self.child = Some(child);
        let deadline = Instant::now() + READY_WITHIN;
        while !healthy(self.health_port).await {
            let exited = self.child.as_mut().is_some_and(|child| !matches!(child.try_wait(), Ok(None)));
            if exited || Instant::now() > deadline {
                let log = std::fs::read_to_string(&log).unwrap_or_default();
                panic!("etcd did not become healthy:\n{log}");
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for EtcdServer {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A port that is free now, below those that the system hands out by itself: nobody gets one of these by chance before
/// the server that it is for.
pub fn free_port() -> u16 {
    loop {
        let random = RandomState::new().build_hasher().finish() % 18_000;
        let port = 12_000 + u16::try_from(random).unwrap_or(0);
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// A program of etcd's that lies beside it, such as `etcdutl`.
pub fn etcd_program(name: &str) -> Option<PathBuf> {
    let etcd = std::fs::canonicalize(find()?).ok()?;
    Some(etcd.with_file_name(name)).filter(|path| path.is_file())
}

fn find() -> Option<PathBuf> {
    let named = std::env::var_os("KPLANE_ETCD").map(PathBuf::from);
    let on_path = std::env::var_os("PATH").into_iter().flat_map(|path| {
        std::env::split_paths(&path).map(|directory| directory.join("etcd")).collect::<Vec<_>>()
    });
    named
        .into_iter()
        .chain(on_path)
        .chain([Path::new(UNPACKED).to_owned()])
        .find(|candidate| candidate.is_file())
}

async fn healthy(port: u16) -> bool {
    let ask = async {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.write_all(b"GET /health HTTP/1.0\r\nHost: localhost\r\n\r\n").await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        std::io::Result::Ok(answer.contains("\"health\":\"true\""))
    };
    matches!(tokio::time::timeout(Duration::from_secs(2), ask).await, Ok(Ok(true)))
}
