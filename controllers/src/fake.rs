//! A small API server for tests: objects by path, no schema, no rules but names, finalizers and versions.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use http::{Method, Request, Response};
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};

/// The server.
#[derive(Clone, Default)]
pub struct FakeApi {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    objects: BTreeMap<String, Value>,
    version: u64,
    writes: Vec<String>,
}

impl FakeApi {
    /// A client of it.
    pub fn client(&self) -> Client {
        let api = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let api = api.clone();
            async move { Ok::<_, Infallible>(api.answer(request).await) }
        });
        Client::new(service, "default")
    }

    /// Puts an object there.
    pub fn put(&self, path: &str, mut object: Value) {
        let mut state = self.state.lock().unwrap();
        state.stamp(&mut object, true);
        state.objects.insert(path.to_owned(), object);
    }

    /// An object.
    pub fn get(&self, path: &str) -> Option<Value> {
        self.state.lock().unwrap().objects.get(path).cloned()
    }

    /// Removes an object, whatever holds it.
    pub fn remove(&self, path: &str) {
        self.state.lock().unwrap().objects.remove(path);
    }

    /// The writes since the last look, without those of Events and statuses.
    pub fn writes(&self) -> Vec<String> {
        let all = std::mem::take(&mut self.state.lock().unwrap().writes);
        all.into_iter().filter(|w| !w.contains("/events") && !w.ends_with("/status")).collect()
    }

    async fn answer(&self, request: Request<Body>) -> Response<Body> {
        let (parts, body) = request.into_parts();
        let bytes = body.collect_bytes().await.unwrap();
        let mut body: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        encode_secret(&mut body);
        // What is applied is made if it is not there.
        let applied = parts.headers.get("content-type").is_some_and(|t| t == "application/apply-patch+yaml");
        let method = if applied { Method::from_bytes(b"APPLY").unwrap() } else { parts.method.clone() };
        let (code, answer) =
            self.state.lock().unwrap().handle(&method, &parts.uri.path().replace("%3A", ":"), body);
        let bytes = serde_json::to_vec(&answer).unwrap();
        Response::builder()
            .status(code)
            .header("content-type", "application/json")
            .body(Body::from(bytes))
            .unwrap()
    }
}

fn error(code: u16, reason: &str) -> (u16, Value) {
    let status = json!({
        "apiVersion": "v1", "kind": "Status", "status": "Failure",
        "code": code, "reason": reason, "message": reason,
    });
    (code, status)
}

impl State {
    fn stamp(&mut self, object: &mut Value, new: bool) {
        self.version += 1;
        let metadata = &mut object["metadata"];
        if new {
            if metadata["uid"].is_null() {
                metadata["uid"] = format!("uid-{}", self.version).into();
            }
            metadata["creationTimestamp"] = "2026-01-01T00:00:00Z".into();
            metadata["generation"] = 1.into();
        }
        metadata["resourceVersion"] = self.version.to_string().into();
    }

    fn handle(&mut self, method: &Method, path: &str, body: Value) -> (u16, Value) {
        if method != Method::GET {
            self.writes.push(format!("{method} {path}"));
        }
        if path.ends_with("/credentials") {
            return (201, credential(body));
        }
        let subresource = ["/status", "/finalize"].iter().find(|s| path.ends_with(*s));
        let key = subresource.map_or(path, |s| path.trim_end_matches(s)).to_owned();
        match method.as_str() {
            "GET" => self.read(&key),
            "POST" => {
                let name = body["metadata"]["name"].as_str().unwrap_or("generated").to_owned();
                let key = format!("{key}/{name}");
                if self.objects.contains_key(&key) {
                    return error(409, "AlreadyExists");
                }
                let mut object = body;
                self.stamp(&mut object, true);
                self.objects.insert(key, object.clone());
                (201, object)
            }
            "PUT" => self.write(&key, body),
            "APPLY" if !self.objects.contains_key(&key) => {
                let mut object = body;
                self.stamp(&mut object, true);
                self.objects.insert(key, object.clone());
                (201, object)
            }
            "PATCH" | "APPLY" => {
                let Some(mut object) = self.objects.get(&key).cloned() else { return error(404, "NotFound") };
                for guard in ["uid", "resourceVersion"] {
                    let wanted = &body["metadata"][guard];
                    if !wanted.is_null() && *wanted != object["metadata"][guard] {
                        return error(409, "Conflict");
                    }
                }
                merge(&mut object, &body);
                self.write(&key, object)
            }
            "DELETE" => self.delete(&key),
            _ => error(405, "MethodNotAllowed"),
        }
    }

    /// An object, or else the collection at this path.
    fn read(&self, key: &str) -> (u16, Value) {
        if let Some(object) = self.objects.get(key) {
            return (200, object.clone());
        }
        let prefix = format!("{key}/");
        let items: Vec<&Value> = self
            .objects
            .iter()
            .filter(|(path, _)| path.strip_prefix(&prefix).is_some_and(|rest| !rest.contains('/')))
            .map(|(_, object)| object)
            .collect();
        let is_collection = ["configmaps", "pods"].iter().any(|plural| key.ends_with(plural));
        if items.is_empty() && !is_collection {
            return error(404, "NotFound");
        }
        let list = json!({
            "apiVersion": "v1", "kind": "List", "metadata": { "resourceVersion": "1" }, "items": items,
        });
        (200, list)
    }

    fn write(&mut self, key: &str, mut object: Value) -> (u16, Value) {
        let Some(current) = self.objects.get(key) else { return error(404, "NotFound") };
        let version = &object["metadata"]["resourceVersion"];
        if !version.is_null() && *version != current["metadata"]["resourceVersion"] {
            return error(409, "Conflict");
        }
        self.stamp(&mut object, false);
        let empty = |v: &Value| v.as_array().is_none_or(Vec::is_empty);
        let over = !object["metadata"]["deletionTimestamp"].is_null()
            && empty(&object["metadata"]["finalizers"])
            && empty(&object["spec"]["finalizers"]);
        if over {
            self.objects.remove(key);
        } else {
            self.objects.insert(key.to_owned(), object.clone());
        }
        (200, object)
    }

    fn delete(&mut self, key: &str) -> (u16, Value) {
        if let Some(object) = self.objects.get_mut(key) {
            let held = object["metadata"]["finalizers"].as_array().is_some_and(|f| !f.is_empty());
            if held {
                object["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:01Z".into();
                return (200, object.clone());
            }
            self.objects.remove(key);
            return (200, json!({ "apiVersion": "v1", "kind": "Status", "status": "Success" }));
        }
        let prefix = format!("{key}/");
        let inside: Vec<String> =
            self.objects.keys().filter(|path| path.starts_with(&prefix)).cloned().collect();
        if inside.is_empty() {
            return error(404, "NotFound");
        }
        for path in inside {
            self.delete(&path);
        }
        (200, json!({ "apiVersion": "v1", "kind": "List", "metadata": {}, "items": [] }))
    }
}

fn credential(mut request: Value) -> Value {
    let expires = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(24);
    request["status"] = json!({
        "clientCertificateData": "Y2VydA==",
        "clientKeyData": "a2V5",
        "certificateAuthorityData": "Y2E=",
        "expirationTimestamp": expires.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
    });
    request
}

/// As the server stores what is written as text.
fn encode_secret(object: &mut Value) {
    use base64::Engine as _;
    let Some(Value::Object(texts)) = object.as_object_mut().and_then(|o| o.remove("stringData")) else {
        return;
    };
    for (key, text) in texts {
        let encoded = base64::engine::general_purpose::STANDARD.encode(text.as_str().unwrap_or_default());
        object["data"][key] = encoded.into();
    }
}

/// RFC 7386.
fn merge(target: &mut Value, patch: &Value) {
    let Some(patch) = patch.as_object() else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (key, value) in patch {
        if value.is_null() {
            if let Some(object) = target.as_object_mut() {
                object.remove(key);
            }
        } else {
            merge(&mut target[key], value);
        }
    }
}
