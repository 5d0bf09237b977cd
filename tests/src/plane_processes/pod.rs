//! One pod as processes: its files, its addresses, its containers.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use serde_json::Value;

use super::network;

/// The Secrets of a namespace by name: files by name.
pub(super) type Secrets = BTreeMap<String, BTreeMap<String, Vec<u8>>>;

/// Which port of this machine is a pod's port.
#[derive(Default)]
pub(super) struct Ports {
    known: Mutex<BTreeMap<(String, u16), u16>>,
    /// Whether pods reach each other by what the cluster's network gives them, and not by these ports.
    pub(super) network: bool,
}

impl Ports {
    pub(super) fn of_network(network: bool) -> Self {
        Self { network, ..Self::default() }
    }

    /// The same one each time, also for a pod that comes again.
    pub(super) fn of(&self, pod: &str, port: u16) -> u16 {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (pod.to_owned(), port);
        if let Some(port) = known.get(&key) {
            return *port;
        }
        // One that is promised to another is free only until that one runs.
        let mut port = crate::free_port();
        while known.values().any(|taken| *taken == port) {
            port = crate::free_port();
        }
        known.insert(key, port);
        port
    }
}

/// What runs of a pod.
pub(super) struct Running {
    pub(super) name: String,
    pub(super) uid: String,
    pub(super) root: PathBuf,
    pub(super) child: Option<Child>,
    pub(super) restarts: u32,
    pub(super) ready: bool,
    pub(super) told: Option<Value>,
    pub(super) ending: bool,
    /// How its container ended last: the code, and what it said.
    pub(super) last: Option<(i32, String)>,
    /// Whether it has ended for good.
    pub(super) over: bool,
}

/// The files of a namespace that pods are given: those of Secrets, and the texts of ConfigMaps.
pub(super) struct Given {
    pub(super) secrets: Secrets,
    pub(super) config_maps: Secrets,
}

/// The ConfigMaps of a list.
pub(super) fn config_maps(list: &Value) -> Secrets {
    let items = list["items"].as_array().into_iter().flatten();
    items
        .filter_map(|item| {
            let data = item["data"].as_object().cloned().unwrap_or_default();
            let bytes = |(key, value): (String, Value)| Some((key, value.as_str()?.as_bytes().to_vec()));
            Some((
                item["metadata"]["name"].as_str()?.to_owned(),
                data.into_iter().filter_map(bytes).collect(),
            ))
        })
        .collect()
}

/// What a container said at its end: what it wrote to that purpose, else the end of its log.
pub(super) fn last_words(root: &Path) -> String {
    let written = std::fs::read_to_string(root.join("dev/termination-log")).unwrap_or_default();
    if !written.is_empty() {
        return written;
    }
    let log = crate::tail(&root.with_extension("log"));
    let start = log.char_indices().rev().nth(2000).map_or(0, |(at, _)| at);
    log[start..].to_owned()
}

/// The Secrets of a list.
pub(super) fn secrets(list: &Value) -> Secrets {
    let items = list["items"].as_array().into_iter().flatten();
    items
        .filter_map(|item| {
            let data = item["data"].as_object().cloned().unwrap_or_default();
            let decode = |(key, value): (String, Value)| Some((key, STANDARD.decode(value.as_str()?).ok()?));
            Some((
                item["metadata"]["name"].as_str()?.to_owned(),
                data.into_iter().filter_map(decode).collect(),
            ))
        })
        .collect()
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key].as_array().map_or(&[], Vec::as_slice)
}

/// The mounts of a pod's containers, the outer before the inner, with their volumes.
fn mounts(pod: &Value) -> Vec<(&Value, &Value)> {
    let spec = &pod["spec"];
    let containers = list(spec, "initContainers").iter().chain(list(spec, "containers"));
    let mut found: Vec<(&Value, &Value)> = containers
        .flat_map(|container| list(container, "volumeMounts"))
        .filter_map(|mount| {
            Some((mount, list(spec, "volumes").iter().find(|volume| volume["name"] == mount["name"])?))
        })
        .collect();
    found.sort_by_key(|(mount, _)| text(mount, "mountPath").len());
    found
}

fn inside(root: &Path, path: &str) -> PathBuf {
    root.join(path.trim_start_matches('/'))
}

/// Writes a file in one step, if it is another than what is there.
fn write(path: &Path, bytes: &[u8]) {
    if std::fs::read(path).is_ok_and(|there| there == bytes) {
        return;
    }
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
    let new = path.with_extension("new");
    std::fs::write(&new, bytes).expect("a file of a Secret");
    std::fs::rename(&new, path).expect("a file of a Secret");
}

/// The files of a volume of Secrets.
fn files<'a>(volume: &Value, secrets: &'a Secrets) -> Vec<(&'a str, &'a [u8])> {
    let mut names = vec![text(&volume["secret"], "secretName")];
    names.extend(list(&volume["projected"], "sources").iter().map(|source| text(&source["secret"], "name")));
    let found = names.into_iter().filter_map(|name| secrets.get(name)).flatten();
    found.map(|(key, bytes)| (key.as_str(), bytes.as_slice())).collect()
}

/// Makes the folders of a pod's volumes. Says `false` when a Secret is not there yet.
pub(super) fn prepare(pod: &Value, root: &Path, claims: &Path, secrets: &Secrets) -> bool {
    for (mount, volume) in mounts(pod) {
        let at = inside(root, text(mount, "mountPath"));
        if let Some(claim) = volume["persistentVolumeClaim"]["claimName"].as_str() {
            let folder = claims.join(claim);
            std::fs::create_dir_all(&folder).expect("a volume");
            std::fs::create_dir_all(at.parent().expect("a folder")).expect("a folder");
            if !at.exists() {
                std::os::unix::fs::symlink(&folder, &at).expect("a volume");
            }
        } else if volume["secret"].is_object() {
            let name = text(&volume["secret"], "secretName");
            if volume["secret"]["optional"] != true && !secrets.contains_key(name) {
                return false;
            }
            if !mount["subPath"].is_string() {
                std::fs::create_dir_all(&at).expect("a volume");
            }
        } else if !mount["subPath"].is_string() {
            std::fs::create_dir_all(&at).expect("a volume");
        }
    }
    refresh(pod, root, secrets, true);
    true
}

/// Brings the files of the Secrets up to date. Those that are mounted by themselves stay as they were at the start.
pub(super) fn refresh(pod: &Value, root: &Path, secrets: &Secrets, start: bool) {
    for (mount, volume) in mounts(pod) {
        let at = inside(root, text(mount, "mountPath"));
        for (key, bytes) in files(volume, secrets) {
            match mount["subPath"].as_str() {
                None => write(&at.join(key), bytes),
                Some(path) if path == key && start => write(&at, bytes),
                Some(_) => {}
            }
        }
    }
}

/// An argument, with the pod's addresses and paths replaced by those of this machine.
fn local(argument: &str, pod: &str, root: &Path, namespace: &str, ports: &Ports) -> String {
    let mut out = argument.replace("$(NAME)", pod);
    // A pod by its name in a headless Service: `pod.service.namespace.svc:port`.
    let suffix = format!(".{namespace}.svc:");
    while let Some(at) = out.find(&suffix).filter(|_| !ports.network) {
        let start = out[..at].rfind(['/', ',', '=']).map_or(0, |found| found + 1);
        let end = out[at + suffix.len()..]
            .find(|c: char| !c.is_ascii_digit())
            .map_or(out.len(), |found| at + suffix.len() + found);
        let host = out[start..at].split('.').next().unwrap_or_default().to_owned();
        let port = out[at + suffix.len()..end].parse().unwrap_or(0);
        out.replace_range(start..end, &format!("localhost:{}", ports.of(&host, port)));
    }
    if let Some(at) = out.find("0.0.0.0:") {
        let digits = &out[at + 8..];
        let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
        let port = digits[..end].parse().unwrap_or(0);
        out.replace_range(at..at + 8 + end, &format!("127.0.0.1:{}", ports.of(pod, port)));
    }
    if let Some(port) = out.strip_prefix("--secure-port=").and_then(|port| port.parse().ok()) {
        out = format!("--secure-port={}", ports.of(pod, port));
    }
    if out.starts_with('/') {
        out.insert_str(0, &root.display().to_string());
    }
    out.replace("=0.0.0.0", "=127.0.0.1").replace("=/", &format!("={}/", root.display()))
}

fn find(program: &str) -> PathBuf {
    let built = std::env::current_exe().ok().and_then(|mut path| {
        path.pop();
        if path.ends_with("deps") {
            path.pop();
        }
        Some(path.join(program)).filter(|path| path.is_file())
    });
    let beside = || kplane_storage::testing::etcd_program(program);
    built.or_else(beside).unwrap_or_else(|| PathBuf::from(program))
}

/// `None` when a ConfigMap is not there yet.
fn command(
    pod: &Value,
    container: &Value,
    running: &Running,
    namespace: &str,
    ports: &Ports,
    given: &Given,
) -> Option<Command> {
    let words: Vec<String> = ["command", "args"]
        .iter()
        .flat_map(|key| list(container, key))
        .filter_map(Value::as_str)
        .map(|word| local(word, &running.name, &running.root, namespace, ports))
        .collect();
    let (program, arguments) = words.split_first().expect("a command");
    let log = running.root.with_extension("log");
    let log = std::fs::File::options().create(true).append(true).open(log).expect("a log");
    let program = find(program);
    let mut command = match ports.network {
        true => network::with_names(pod, &running.root, &program),
        false => Command::new(program),
    };
    command
        .args(arguments)
        .env("RUST_LOG", std::env::var("RUST_LOG").unwrap_or_else(|_| "info".into()))
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("the log twice"))
        .stderr(log);
    for variable in list(container, "env") {
        let here = |value: &str| local(value, &running.name, &running.root, namespace, ports);
        let of_map = &variable["valueFrom"]["configMapKeyRef"];
        let value = match variable["valueFrom"]["fieldRef"]["fieldPath"].as_str() {
            Some("metadata.name") => running.name.clone(),
            Some("metadata.namespace") => namespace.to_owned(),
            _ if of_map.is_object() => {
                let bytes = given.config_maps.get(text(of_map, "name"))?.get(text(of_map, "key"))?;
                here(&String::from_utf8_lossy(bytes))
            }
            _ => here(text(variable, "value")),
        };
        command.env(text(variable, "name"), value);
    }
    Some(command)
}

/// Starts a pod's container, after the init containers the first time. `None` when one of these failed, which stands
/// in `last` then.
pub(super) fn start(
    pod: &Value,
    running: &mut Running,
    namespace: &str,
    ports: &Ports,
    given: &Given,
) -> Option<Child> {
    std::fs::create_dir_all(running.root.join("dev")).expect("a folder");
    // An end is told of once.
    let _ = std::fs::remove_file(running.root.join("dev/termination-log"));
    if running.restarts == 0 {
        for container in list(&pod["spec"], "initContainers") {
            let status = command(pod, container, running, namespace, ports, given)?.status().ok()?;
            if !status.success() {
                running.last = Some((status.code().unwrap_or(137), last_words(&running.root)));
                return None;
            }
        }
    }
    let container = list(&pod["spec"], "containers").first()?;
    command(pod, container, running, namespace, ports, given)?.spawn().ok()
}

/// Whether the readiness probe of a pod's container succeeds. One without is ready.
pub(super) fn is_ready(pod: &Value, name: &str, ports: &Ports) -> bool {
    let probe = &pod["spec"]["containers"][0]["readinessProbe"]["httpGet"];
    let Some(port) = probe["port"].as_u64().and_then(|port| u16::try_from(port).ok()) else { return true };
    let port = ports.of(name, port);
    get(port, text(probe, "path"), text(probe, "scheme") == "HTTPS").is_ok_and(|answer| {
        let code = answer.split(' ').nth(1).and_then(|code| code.parse::<u16>().ok());
        code.is_some_and(|code| (200..400).contains(&code))
    })
}

fn get(port: u16, path: &str, tls: bool) -> std::io::Result<String> {
    let limit = Some(Duration::from_secs(1));
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(limit)?;
    stream.set_write_timeout(limit)?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    let mut answer = [0; 64];
    let read = if tls {
        let name = rustls::pki_types::ServerName::try_from("localhost").map_err(std::io::Error::other)?;
        let connection = ClientConnection::new(client_config(), name).map_err(std::io::Error::other)?;
        let mut stream = StreamOwned::new(connection, stream);
        stream.write_all(request.as_bytes())?;
        stream.read(&mut answer)?
    } else {
        stream.write_all(request.as_bytes())?;
        stream.read(&mut answer)?
    };
    Ok(String::from_utf8_lossy(&answer[..read]).into_owned())
}

/// The certificate that is shown at a port of this machine.
pub(super) fn shown(port: u16) -> Option<Vec<u8>> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(1))).ok()?;
    let name = rustls::pki_types::ServerName::try_from("localhost").ok()?;
    let mut connection = ClientConnection::new(client_config(), name).ok()?;
    while connection.is_handshaking() {
        connection.complete_io(&mut stream).ok()?;
    }
    Some(connection.peer_certificates()?.first()?.to_vec())
}

/// As a kubelet's: it verifies nothing.
fn client_config() -> Arc<ClientConfig> {
    static CONFIG: std::sync::LazyLock<Arc<ClientConfig>> = std::sync::LazyLock::new(|| {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .expect("versions")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Trusting(provider)))
            .with_no_client_auth();
        Arc::new(config)
    });
    CONFIG.clone()
}

#[derive(Debug)]
struct Trusting(Arc<rustls::crypto::CryptoProvider>);

impl rustls::client::danger::ServerCertVerifier for Trusting {
    fn verify_server_cert(
        &self,
        _end_entity: &rustls::pki_types::CertificateDer<'_>,
        _intermediates: &[rustls::pki_types::CertificateDer<'_>],
        _server_name: &rustls::pki_types::ServerName<'_>,
        _ocsp_response: &[u8],
        _now: rustls::pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &rustls::pki_types::CertificateDer<'_>,
        dss: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &rustls::pki_types::CertificateDer<'_>,
        dss: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_paths_of_a_pod_become_those_of_this_machine() {
        let ports = Ports::default();
        let of = |argument: &str| local(argument, "owl-0", Path::new("/tmp/x"), "barn", &ports);
        let members = of(
            "--initial-cluster=owl-0=https://owl-0.owl.barn.svc:2380,owl-1=https://owl-1.owl.barn.svc:2380",
        );
        assert!(members.starts_with("--initial-cluster=owl-0=https://localhost:"), "{members}");
        assert_eq!(members.matches("localhost:").count(), 2);
        let own = of("--advertise-client-urls=https://$(NAME).owl.barn.svc:2379");
        let port = own.rsplit(':').next().map(str::to_owned);
        assert_eq!(
            of("--listen-client-urls=https://0.0.0.0:2379").rsplit(':').next().map(str::to_owned),
            port
        );
        assert_eq!(of("--key=/etc/a"), "--key=/tmp/x/etc/a");
        assert_eq!(of("--bind-address=0.0.0.0"), "--bind-address=127.0.0.1");
        assert_eq!(of("--external-hostname=owl.barn.svc"), "--external-hostname=owl.barn.svc");
    }
}
