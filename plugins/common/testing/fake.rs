//! A management cluster in few lines, over plain HTTP, for tests that run the plugins: objects, watches, and a
//! controller that makes every object ready at once, but for those named `stuck`.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Output};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

/// The state of the cluster.
#[derive(Default)]
struct State {
    objects: BTreeMap<String, Value>,
    events: Vec<(&'static str, String, Value)>,
}

/// The cluster.
#[derive(Clone, Default)]
pub struct Fake {
    state: Arc<(Mutex<State>, Condvar)>,
}

impl Fake {
    /// Serves on a port, 0 for any; gives the port.
    pub fn serve(&self, port: u16) -> u16 {
        let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let this = self.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let this = this.clone();
                std::thread::spawn(move || this.handle(stream.unwrap(), port));
            }
        });
        port
    }

    /// The object at a path.
    #[allow(dead_code)]
    pub fn object(&self, path: &str) -> Option<Value> {
        self.state.0.lock().unwrap().objects.get(path).cloned()
    }

    fn put(&self, path: &str, mut object: Value) -> Value {
        let mut state = self.state.0.lock().unwrap();
        let version = state.events.len() + 1;
        object["metadata"]["resourceVersion"] = json!(version.to_string());
        let kind = if state.objects.contains_key(path) { "MODIFIED" } else { "ADDED" };
        state.events.push((kind, path.to_owned(), object.clone()));
        state.objects.insert(path.to_owned(), object.clone());
        self.state.1.notify_all();
        object
    }

    fn remove(&self, path: &str) -> Option<Value> {
        let mut state = self.state.0.lock().unwrap();
        let object = state.objects.remove(path)?;
        state.events.push(("DELETED", path.to_owned(), object.clone()));
        self.state.1.notify_all();
        Some(object)
    }

    fn handle(&self, mut stream: TcpStream, port: u16) {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let (mut first, mut length) = (String::new(), 0);
        reader.read_line(&mut first).unwrap();
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).unwrap() == 0 || line == "\r\n" {
                break;
            }
            if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        let mut words = first.split(' ');
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        if query.contains("watch=true") {
            return self.watch(stream, path, query);
        }
        let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
        let (code, answer) = self.answer(method, path, query, body, port);
        let text = answer.to_string();
        let _ = write!(
            stream,
            "HTTP/1.1 {code} x\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{text}",
            text.len()
        );
    }

    fn answer(&self, method: &str, path: &str, query: &str, body: Value, port: u16) -> (u16, Value) {
        // Deletions carry it in their options.
        let dry_run = query.contains("dryRun=All") || body["dryRun"][0] == "All";
        let missing = || {
            let (rest, name) = path.rsplit_once('/').unwrap_or_default();
            let resource = rest.rsplit('/').next().unwrap_or_default();
            let message = format!("{resource} {name:?} not found");
            let details = json!({ "name": name, "kind": resource });
            let status = json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 404,
                "reason": "NotFound", "message": message, "details": details });
            (404, status)
        };
        let is_collection = path.split('/').count() == if path.starts_with("/apis/") { 5 } else { 6 };
        match method {
            "GET" if path == "/readyz" => (200, json!("ok")),
            "GET" if path == "/version" => (
                200,
                json!({"major": "1", "minor": "36", "gitVersion": "v1.36.2+kplane",
                "gitCommit": "", "gitTreeState": "", "buildDate": "", "goVersion": "", "compiler": "", "platform": ""}),
            ),
            "GET" if is_collection || path == "/api/v1/events" => {
                let state = self.state.0.lock().unwrap();
                let prefix = format!("{path}/");
                let wanted = selected(query);
                let items: Vec<&Value> = state
                    .objects
                    .iter()
                    .filter(|(key, _)| key.starts_with(&prefix))
                    .map(|(_, object)| object)
                    .filter(|object| wanted.as_deref().is_none_or(|name| object["metadata"]["name"] == name))
                    .collect();
                let version = state.events.len().to_string();
                (
                    200,
                    json!({"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": version}, "items": items}),
                )
            }
            "GET" => self.object(path).map_or_else(missing, |object| (200, object)),
            "POST" => {
                let name = body["metadata"]["name"].as_str().unwrap_or_default().to_owned();
                let at = format!("{path}/{name}");
                if self.object(&at).is_some() {
                    let message = format!("{name:?} already exists");
                    return (
                        409,
                        json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 409,
                        "reason": "AlreadyExists", "message": message }),
                    );
                }
                let mut object = body;
                object["metadata"]["uid"] = json!(format!("uid-{name}"));
                object["metadata"]["generation"] = json!(1);
                object["metadata"]["creationTimestamp"] = json!("2026-01-01T00:00:00Z");
                if dry_run {
                    return (201, object);
                }
                let object = self.put(&at, object);
                self.control(&at, &name, object.clone(), port);
                (201, object)
            }
            "PATCH" => match self.object(path) {
                Some(mut object) => {
                    merge(&mut object, &body);
                    (200, if dry_run { object } else { self.put(path, object) })
                }
                None => missing(),
            },
            "DELETE" if dry_run => self.object(path).map_or_else(missing, |object| (200, object)),
            "DELETE" => self.remove(path).map_or_else(missing, |object| (200, object)),
            _ => missing(),
        }
    }

    /// What controllers do.
    fn control(&self, path: &str, name: &str, mut object: Value, port: u16) {
        let stuck = name == "stuck";
        let server = format!("http://127.0.0.1:{port}/clusters/{name}/control-plane");
        let time = "2026-01-01T00:00:00Z";
        let condition = |kind: &str, status: &str| {
            json!({"type": kind, "status": status, "reason": "PathTaken",
            "message": "another owner holds the path", "observedGeneration": 1, "lastTransitionTime": time})
        };
        object["status"] = json!({
            "observedGeneration": 1,
            "externalEndpoint": server,
            "conditions": [condition("Ready", if stuck { "False" } else { "True" })],
        });
        if stuck {
            object["status"]["conditions"].as_array_mut().unwrap().push(condition("Stalled", "True"));
        }
        if path.contains("/controlplanes/") && !stuck {
            let kubeconfig = json!({
                "clusters": [{"name": "x", "cluster": {"server": server}}],
                "users": [{"name": "x", "user": {"token": "secret"}}],
                "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x"}}],
                "current-context": "x",
            });
            use base64::Engine;
            let text = base64::engine::general_purpose::STANDARD.encode(kubeconfig.to_string());
            let (namespace, secret) =
                (format!("kplane-cp-{name}"), format!("controlplane-{name}-kubeconfig"));
            object["status"]["kubeconfigSecretRef"] = json!({"namespace": namespace, "name": secret});
            let value = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": secret, "namespace": namespace},
                "data": {"kubeconfig-external": text}});
            self.put(&format!("/api/v1/namespaces/{namespace}/secrets/{secret}"), value);
        }
        let (this, path) = (self.clone(), path.to_owned());
        std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(10));
            this.put(&path, object);
        });
    }

    fn watch(&self, mut stream: TcpStream, path: &str, query: &str) {
        let from = query.split('&').find_map(|pair| pair.strip_prefix("resourceVersion="));
        let mut next: usize = from.and_then(|version| version.parse().ok()).unwrap_or(0);
        let (prefix, wanted) = (format!("{path}/"), selected(query));
        let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n";
        if stream.write_all(head.as_bytes()).is_err() {
            return;
        }
        loop {
            let mut state = self.state.0.lock().unwrap();
            while state.events.len() <= next {
                state = self.state.1.wait(state).unwrap();
            }
            let (kind, key, object) = state.events[next].clone();
            drop(state);
            next += 1;
            let named = wanted.as_deref().is_none_or(|name| object["metadata"]["name"] == name);
            if key.starts_with(&prefix) && named {
                let line = format!("{}\n", json!({ "type": kind, "object": object }));
                if stream.write_all(line.as_bytes()).is_err() {
                    return;
                }
            }
        }
    }
}

/// The name that a field selector asks for.
fn selected(query: &str) -> Option<String> {
    let selector = query.split('&').find_map(|pair| pair.strip_prefix("fieldSelector="))?;
    selector.replace("%3D", "=").strip_prefix("metadata.name=").map(str::to_owned)
}

fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (key, value) in patch {
        if value.is_null() {
            target.as_object_mut().unwrap().remove(key);
        } else {
            merge(&mut target[key], value);
        }
    }
}

/// A user: a home directory, and a way to run a plugin in it.
pub struct User {
    /// The home directory.
    pub home: tempfile::TempDir,
}

impl User {
    /// One with nothing.
    pub fn new() -> Self {
        Self { home: tempfile::tempdir().unwrap() }
    }

    /// One whose kubeconfig leads to a cluster, and to another of the user's own.
    #[allow(dead_code)]
    pub fn with(port: u16) -> Self {
        let this = Self::new();
        let text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: mine\n\
             clusters:\n- name: kplane-management\n  cluster: {{server: \"http://127.0.0.1:{port}\"}}\n\
             contexts:\n- name: kplane-management\n  context: {{cluster: kplane-management, user: \"\"}}\n\
             - name: mine\n  context: {{cluster: mine, user: mine, x-own: kept}}\n"
        );
        this.write(".kube/config", &text);
        this
    }

    /// Writes a file in the home directory.
    #[allow(dead_code)]
    pub fn write(&self, path: &str, text: &str) {
        let path = self.home.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// The text of a file in the home directory.
    #[allow(dead_code)]
    pub fn read(&self, path: &str) -> String {
        std::fs::read_to_string(self.home.path().join(path)).unwrap()
    }

    /// Runs a program with this home and nothing else of the environment.
    pub fn run(&self, program: impl AsRef<Path>, words: &[&str]) -> Run {
        let output = Command::new(program.as_ref())
            .args(words)
            .env_clear()
            .env("HOME", self.home.path())
            .env("PATH", "/usr/bin:/bin")
            .output()
            .unwrap();
        Run::new(output, self.home.path())
    }
}

/// What a program did. Its home is `~` in what it wrote.
#[derive(Debug, PartialEq)]
pub struct Run {
    /// The exit code.
    pub code: Option<i32>,
    /// What it wrote to stdout.
    pub stdout: String,
    /// What it wrote to stderr.
    pub stderr: String,
}

impl Run {
    fn new(output: Output, home: &Path) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).replace(&*home.to_string_lossy(), "~");
        Self { code: output.status.code(), stdout: text(&output.stdout), stderr: text(&output.stderr) }
    }

    /// It went well and wrote this.
    #[track_caller]
    pub fn wrote(&self, stdout: &str) {
        assert_eq!((self.code, self.stdout.as_str(), self.stderr.as_str()), (Some(0), stdout, ""));
    }

    /// It failed, as errors do, and wrote this to stderr alone.
    #[track_caller]
    pub fn failed(&self, stderr: &str) {
        assert_eq!((self.code, self.stdout.as_str(), self.stderr.as_str()), (Some(1), "", stderr));
    }
}
