//! An object store that speaks S3: rclone's, which checks signatures, over a folder and by TLS.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::{eventually, free_port, tail};

/// The name of the key that is let in.
pub const KEY_ID: &str = "AKIDOWLSOWLS";
/// The key.
pub const SECRET: &str = "barn-owls-see-well-at-night";

/// It runs until dropped.
pub struct ObjectStore {
    child: Child,
    port: u16,
    folder: tempfile::TempDir,
    ca: String,
}

impl ObjectStore {
    /// With one empty bucket of this name, and a certificate for 127.0.0.1.
    ///
    /// # Panics
    /// If it does not start: `hack/setup` installs it.
    pub fn start(bucket: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::create_dir_all(folder.path().join("store").join(bucket)).expect("a bucket");
        let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).expect("a certificate");
        let ca = made.cert.pem();
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).expect("a file");
            path
        };
        let certificate = file("tls.crt", &ca);
        let key = file("tls.key", &made.signing_key.serialize_pem());
        let port = free_port();
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/python/bin/rclone");
        let log = std::fs::File::create(folder.path().join("log")).expect("a log");
        let child = Command::new(&program)
            .args(["serve", "s3", "--config=", "--vfs-cache-mode=off"])
            .arg(format!("--addr=127.0.0.1:{port}"))
            .arg(format!("--auth-key={KEY_ID},{SECRET}"))
            .arg(format!("--cert={}", certificate.display()))
            .arg(format!("--key={}", key.display()))
            .arg(folder.path().join("store"))
            .env("HOME", folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        let child = child.unwrap_or_else(|error| panic!("{}: {error}; run hack/setup", program.display()));
        let started = Self { child, port, folder, ca };
        eventually("the object store answers", Duration::from_secs(30), || {
            std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        started
    }

    /// Its address.
    pub fn endpoint(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    /// The certificate that it is verified by.
    pub fn ca(&self) -> &str {
        &self.ca
    }

    /// What is below a folder of it, by path from there, that is not unfinished.
    pub fn files(&self, folder: &str) -> Vec<PathBuf> {
        let Ok(entries) = std::fs::read_dir(self.folder.path().join("store").join(folder)) else {
            return Vec::new();
        };
        let mut names: Vec<PathBuf> = entries.flatten().map(|entry| entry.file_name().into()).collect();
        names.retain(|name| !name.to_string_lossy().starts_with(".rclone_temp"));
        names.sort();
        names
    }
}

impl Drop for ObjectStore {
    fn drop(&mut self) {
        // One that has ended needs no killing.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- log of the object store\n{}", tail(&self.folder.path().join("log")));
        }
    }
}
