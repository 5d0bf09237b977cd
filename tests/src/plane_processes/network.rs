//! A network like a cluster's without DNS: nothing but this machine, Services with the very addresses that they were
//! given, and names for those alone who are told of them in `hostAliases`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;

use super::pod::Ports;
use crate::relay::copy;

/// Set for the process in the network of its own.
const INSIDE: &str = "KPLANE_TEST_NETWORK";

/// Runs the test of this name again, alone in a network of its own. Says whether this is that process, which is to do
/// the work; the other has nothing left to do. Where there can be no such network the test is skipped.
///
/// # Panics
/// If the test fails there.
#[must_use]
pub fn in_its_own(test: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        run("ip", &["link", "set", "lo", "up"]);
        return true;
    }
    // Whoever is not root becomes it in a namespace of users.
    let ways: [&[&str]; 2] = [&["--net"], &["--net", "--map-root-user"]];
    let works = |way: &&[&str]| {
        let tried = Command::new("unshare").args(*way).args(["ip", "link", "set", "lo", "up"]).output();
        tried.is_ok_and(|output| output.status.success())
    };
    let Some(way) = ways.into_iter().find(works) else {
        eprintln!("skipped: no network of its own can be had here (unshare --net)");
        return false;
    };
    let program = std::env::current_exe().expect("the path of the test");
    let mut command = Command::new("unshare");
    command.args(way).arg(program).args(["--exact", test, "--nocapture"]).env(INSIDE, "yes");
    let status = command.status().expect("unshare");
    assert!(status.success(), "in a network of its own: {status}");
    false
}

fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output().expect(program);
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {}: {told}", arguments.join(" "));
}

/// A Service: which pods it is for, by their labels, and whether also for those that are not ready.
struct Service {
    address: String,
    selector: Vec<(String, Value)>,
    unready: bool,
}

/// By address and port of a Service: the ports of its pods on this machine.
type Targets = BTreeMap<(String, u16), Vec<u16>>;

/// The Services of a namespace, for as long as the process runs.
#[derive(Default)]
pub(super) struct Proxy {
    known: BTreeSet<(String, u16)>,
    targets: Arc<Mutex<Targets>>,
}

impl Proxy {
    /// Brings addresses and targets up to date: `pods` with whether they are ready.
    pub(super) fn update(&mut self, services: &Value, pods: &[(Value, bool)], ports: &Ports) {
        for object in services["items"].as_array().into_iter().flatten() {
            let spec = &object["spec"];
            let address = spec["clusterIP"].as_str().unwrap_or_default().to_owned();
            if matches!(address.as_str(), "" | "None") {
                continue;
            }
            let selector = spec["selector"].as_object().cloned().unwrap_or_default().into_iter().collect();
            let unready = spec["publishNotReadyAddresses"] == true;
            let service = Service { address, selector, unready };
            for port in spec["ports"].as_array().into_iter().flatten() {
                let number = |key: &str| port[key].as_u64().and_then(|port| u16::try_from(port).ok());
                let (Some(port), Some(target)) = (number("port"), number("targetPort")) else { continue };
                self.serve(&service, port, target, pods, ports);
            }
        }
    }

    fn serve(&mut self, service: &Service, port: u16, target: u16, pods: &[(Value, bool)], ports: &Ports) {
        let chosen = pods.iter().filter(|(pod, ready)| {
            let has = |(key, value): &(String, Value)| pod["metadata"]["labels"][key] == *value;
            (*ready || service.unready) && service.selector.iter().all(has)
        });
        let name = |pod: &Value| pod["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let found = chosen.map(|(pod, _)| ports.of(&name(pod), target)).collect();
        let key = (service.address.clone(), port);
        self.targets.lock().unwrap_or_else(PoisonError::into_inner).insert(key.clone(), found);
        if !self.known.insert(key.clone()) {
            return;
        }
        if !self.known.iter().any(|(address, other)| *address == key.0 && *other != port) {
            run("ip", &["address", "add", &format!("{}/32", key.0), "dev", "lo"]);
        }
        let listener = TcpListener::bind((key.0.as_str(), port)).expect("the address of a Service");
        let targets = self.targets.clone();
        std::thread::spawn(move || {
            for (turn, client) in listener.incoming().flatten().enumerate() {
                let found = targets.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
                let found = found.unwrap_or_default();
                let Some(port) = found.get(turn % found.len().max(1)) else { continue };
                let Ok(server) = TcpStream::connect(("127.0.0.1", *port)) else { continue };
                let nodelay = client.set_nodelay(true).and_then(|()| server.set_nodelay(true));
                let pair = nodelay.and_then(|()| Ok((client.try_clone()?, server.try_clone()?)));
                let Ok((client_too, server_too)) = pair else { continue };
                std::thread::spawn(move || copy(client, server, None));
                std::thread::spawn(move || copy(server_too, client_too, None));
            }
        });
    }
}

/// A program that finds no other names than a kubelet gives its pod.
pub(super) fn with_names(pod: &Value, root: &std::path::Path, program: &std::path::Path) -> Command {
    let mut hosts = "127.0.0.1\tlocalhost\n".to_owned();
    for alias in pod["spec"]["hostAliases"].as_array().into_iter().flatten() {
        let names = alias["hostnames"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let names: Vec<&str> = names.collect();
        hosts.push_str(&format!("{}\t{}\n", alias["ip"].as_str().unwrap_or_default(), names.join(" ")));
    }
    let file = root.with_extension("hosts");
    std::fs::write(&file, hosts).expect("a file of names");
    let mut command = Command::new("unshare");
    let script = "mount --bind \"$1\" /etc/hosts; shift; exec \"$@\"";
    command.args(["--mount", "--", "sh", "-euc", script, "sh"]).arg(file).arg(program);
    command
}
