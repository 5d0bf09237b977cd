//! A small kubelet: makes the pods of a namespace run, and says how they do.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::{Value, json};

use super::network::Proxy;
use super::pod::{self, Ports, Running};
use super::service::Targets;
use crate::Client;

const NODE: &str = "this-machine";
/// How often pods are looked at.
const LOOK: Duration = Duration::from_millis(100);

#[derive(Default)]
struct State {
    running: BTreeMap<String, Running>,
    held: BTreeSet<String>,
}

/// Runs pods until dropped.
pub(super) struct Kubelet {
    state: Arc<Mutex<State>>,
    ports: Arc<Ports>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    folder: PathBuf,
}

/// What one look needs.
struct Look {
    client: Client,
    namespace: String,
    folder: PathBuf,
    targets: Targets,
    ports: Arc<Ports>,
    proxy: Option<Mutex<Proxy>>,
}

fn locked(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Kubelet {
    /// With the cluster's network, if there is to be one: see [`super::network`].
    pub(super) fn start(
        client: Client,
        namespace: &str,
        folder: PathBuf,
        targets: Targets,
        network: bool,
    ) -> Self {
        let state: Arc<Mutex<State>> = Arc::default();
        let stop: Arc<AtomicBool> = Arc::default();
        let ports = Arc::new(Ports::of_network(network));
        let namespace = namespace.to_owned();
        let proxy = network.then(Mutex::default);
        let look = Look { client, namespace, folder: folder.clone(), targets, ports: ports.clone(), proxy };
        let (seen, told) = (state.clone(), stop.clone());
        let thread = std::thread::spawn(move || {
            while !told.load(Ordering::SeqCst) {
                look.once(&seen);
                std::thread::sleep(LOOK);
            }
        });
        Self { state, ports, stop, thread: Some(thread), folder }
    }

    /// The running processes of the pods whose names begin so.
    pub(super) fn processes(&self, prefix: &str) -> Vec<(String, u32)> {
        let state = locked(&self.state);
        let running = state.running.values().filter(|running| running.name.starts_with(prefix));
        running.filter_map(|running| Some((running.name.clone(), running.child.as_ref()?.id()))).collect()
    }

    pub(super) fn hold(&self, pod: &str, held: bool) {
        let mut state = locked(&self.state);
        if held {
            state.held.insert(pod.to_owned());
        } else {
            state.held.remove(pod);
        }
    }

    pub(super) fn port(&self, pod: &str, port: u16) -> u16 {
        self.ports.of(pod, port)
    }

    pub(super) fn root(&self, pod: &str) -> PathBuf {
        let state = locked(&self.state);
        let running = state.running.values().find(|running| running.name == pod);
        running.map_or_else(|| self.folder.join(pod), |running| running.root.clone())
    }
}

impl Drop for Kubelet {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            // What it panicked of has been printed.
            let _ = thread.join();
        }
        for running in locked(&self.state).running.values_mut() {
            kill(running);
            if std::thread::panicking() {
                let log = crate::tail(&running.root.with_extension("log"));
                eprintln!("--- log of {}\n{log}", running.name);
            }
        }
    }
}

/// Whether a pod's image cannot be had. All others are the programs that were built.
fn is_missing(pod: &Value) -> bool {
    let image = pod["spec"]["containers"][0]["image"].as_str();
    image.is_some_and(|image| image.starts_with(super::MISSING))
}

fn kill(running: &mut Running) {
    if let Some(mut child) = running.child.take() {
        // One that has ended needs no killing.
        let _ = child.kill();
        let _ = child.wait();
    }
}

impl Look {
    fn path(&self, plural: &str) -> String {
        format!("/api/v1/namespaces/{}/{plural}", self.namespace)
    }

    fn list(&self, plural: &str) -> Option<Value> {
        let answer = self.client.send("GET", &self.path(plural), &[], "").ok()?;
        (answer.code == 200).then_some(answer.body)
    }

    /// One look at all pods.
    fn once(&self, state: &Mutex<State>) {
        let (Some(pods), Some(secrets), Some(maps)) =
            (self.list("pods"), self.list("secrets"), self.list("configmaps"))
        else {
            return;
        };
        let given = pod::Given { secrets: pod::secrets(&secrets), config_maps: pod::config_maps(&maps) };
        let pods = pods["items"].as_array().cloned().unwrap_or_default();
        let uid = |pod: &Value| pod["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
        let wanted: BTreeSet<String> = pods.iter().map(uid).collect();
        {
            let mut state = locked(state);
            for (_, running) in state.running.iter_mut().filter(|(uid, _)| !wanted.contains(*uid)) {
                kill(running);
            }
            state.running.retain(|uid, _| wanted.contains(uid));
        }
        self.reclaim();
        let mut ready = Vec::new();
        let mut served = Vec::new();
        for object in &pods {
            let name = object["metadata"]["name"].as_str().unwrap_or_default();
            let ending = object["metadata"]["deletionTimestamp"].is_string();
            self.run(&mut locked(state), object, name, &uid(object), ending, &given);
            // Not under the lock: a process that hangs must not hold up the test.
            let serves = pod::is_ready(object, name, &self.ports);
            let mut state = locked(state);
            let Some(running) = state.running.get_mut(&uid(object)) else { continue };
            running.ready = running.child.is_some() && serves;
            if running.child.is_some() && !ending {
                served.push((object.clone(), running.ready));
            }
            if running.ready && !ending && name.starts_with("kplane-apiserver-") {
                ready.push(self.ports.of(name, 6443));
            }
            self.tell(object, running);
        }
        self.targets.set(ready);
        if let Some((proxy, services)) = self.proxy.as_ref().zip(self.list("services")) {
            proxy.lock().unwrap_or_else(PoisonError::into_inner).update(&services, &served, &self.ports);
        }
    }

    /// Starts, restarts or ends a pod.
    fn run(
        &self,
        state: &mut State,
        object: &Value,
        name: &str,
        uid: &str,
        ending: bool,
        given: &pod::Given,
    ) {
        let State { running, held } = state;
        if !running.contains_key(uid) {
            let root = self.folder.join(format!("{name}-{}", uid.get(..8).unwrap_or(uid)));
            std::fs::create_dir_all(&root).expect("a folder for the pod");
            self.bind(name, object);
            let new = Running {
                name: name.to_owned(),
                uid: uid.to_owned(),
                root,
                child: None,
                restarts: 0,
                ready: false,
                told: None,
                ending: false,
                last: None,
                over: false,
            };
            running.insert(uid.to_owned(), new);
        }
        let Some(running) = running.get_mut(uid) else { return };
        let ended = running.child.as_mut().and_then(|child| child.try_wait().unwrap_or_default());
        if let Some(status) = ended {
            running.child = None;
            running.restarts += 1;
            running.last = Some((status.code().unwrap_or(137), pod::last_words(&running.root)));
            running.over = object["spec"]["restartPolicy"] == "Never";
        }
        match (&running.child, ending) {
            (Some(child), true) if !running.ending => {
                running.ending = true;
                crate::signal(child.id(), "TERM");
            }
            (None, true) => {
                let options = json!({ "gracePeriodSeconds": 0, "preconditions": { "uid": uid } });
                let path = format!("{}/{name}", self.path("pods"));
                // It may be gone already.
                let _ = self.client.send("DELETE", &path, &[], &options.to_string());
            }
            (None, false)
                if !running.over
                    && !held.contains(name)
                    && !is_missing(object)
                    && pod::prepare(object, &running.root, &self.claims(), &given.secrets) =>
            {
                running.child = pod::start(object, running, &self.namespace, &self.ports, given);
            }
            (Some(_), false) => pod::refresh(object, &running.root, &given.secrets, false),
            _ => {}
        }
    }

    /// Removes the volumes whose claims are gone.
    fn reclaim(&self) {
        let Some(claims) = self.list("persistentvolumeclaims") else { return };
        let names: BTreeSet<&str> = claims["items"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|claim| claim["metadata"]["name"].as_str())
            .collect();
        for volume in std::fs::read_dir(self.claims()).into_iter().flatten().flatten() {
            if !names.contains(volume.file_name().to_string_lossy().as_ref()) {
                std::fs::remove_dir_all(volume.path()).expect("the volume goes");
            }
        }
    }

    fn claims(&self) -> PathBuf {
        self.folder.join("volumes")
    }

    /// Without a node a pod that is deleted would be gone at once.
    fn bind(&self, name: &str, object: &Value) {
        if object["spec"]["nodeName"].is_string() {
            return;
        }
        let binding = json!({
            "apiVersion": "v1", "kind": "Binding", "metadata": { "name": name },
            "target": { "apiVersion": "v1", "kind": "Node", "name": NODE },
        });
        let path = format!("{}/{name}/binding", self.path("pods"));
        // If it is refused, it is tried with the next pod's start: the pod runs all the same.
        let _ = self.client.send("POST", &path, &[], &binding.to_string());
    }

    /// Writes the status of a pod, when it is another than the last that was written.
    fn tell(&self, object: &Value, running: &mut Running) {
        let yes = |is: bool| if is { "True" } else { "False" };
        let created = &object["metadata"]["creationTimestamp"];
        let last = running.last.as_ref().map(|(code, said)| {
            json!({ "terminated": {
                "exitCode": code, "reason": if *code == 0 { "Completed" } else { "Error" }, "message": said,
                "startedAt": created, "finishedAt": created,
            }})
        });
        let state = match (&running.child, &last) {
            (Some(_), _) => json!({ "running": { "startedAt": created } }),
            (None, Some(last)) if running.over => last.clone(),
            (None, _) if is_missing(object) => {
                json!({ "waiting": { "reason": "ErrImagePull", "message": "there is no such image" } })
            }
            _ => json!({ "waiting": { "reason": "CrashLoopBackOff", "message": "it has ended" } }),
        };
        let phase = match &running.last {
            Some((0, _)) if running.over => "Succeeded",
            Some(_) if running.over => "Failed",
            _ => "Running",
        };
        let container = &object["spec"]["containers"][0];
        let status = json!({
            "phase": phase,
            "podIP": "127.0.0.1",
            "podIPs": [{ "ip": "127.0.0.1" }],
            "conditions": [
                { "type": "PodScheduled", "status": "True" },
                { "type": "Initialized", "status": "True" },
                { "type": "ContainersReady", "status": yes(running.ready) },
                { "type": "Ready", "status": yes(running.ready) },
            ],
            "containerStatuses": [{
                "name": container["name"], "image": container["image"], "imageID": "",
                "ready": running.ready, "restartCount": running.restarts, "state": state, "lastState": last.unwrap_or_else(|| json!({})),
            }],
        });
        if running.told.as_ref() == Some(&status) {
            return;
        }
        let patch = json!({ "metadata": { "uid": running.uid }, "status": status });
        let path = format!("{}/{}/status", self.path("pods"), running.name);
        let headers = [("Content-Type", "application/merge-patch+json")];
        let answer = self.client.send("PATCH", &path, &headers, &patch.to_string());
        if answer.is_ok_and(|answer| answer.code == 200) {
            running.told = Some(status);
        }
    }
}
