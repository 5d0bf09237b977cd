//! A small blocking client of the API, for what kubectl is too slow or too kind for.

use std::path::Path;
use std::sync::LazyLock;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use http::header::{ACCEPT, CONTENT_TYPE, RETRY_AFTER, WARNING};
use http_body_util::BodyExt;
use hyper_util::rt::TokioIo;
use kube::client::Body;
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::Runtime;

/// How long an answer may take at all.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a watch may take to show what must come.
const WATCH_PATIENCE: Duration = Duration::from_secs(20);

/// All clients of a test share one runtime, since tests themselves block.
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime for the clients")
});

/// A client with the credentials of a kubeconfig.
#[derive(Clone)]
pub struct Client {
    inner: kube::Client,
    prefix: String,
}

/// What the server answered.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The HTTP status.
    pub code: u16,
    /// The body, if it is JSON.
    pub body: Value,
    /// The body as text.
    pub text: String,
    /// Its Content-Type.
    pub content_type: String,
    /// Its Retry-After, if it has one.
    pub retry_after: Option<String>,
    /// What it warns of, as the headers have it.
    pub warnings: Vec<String>,
}

impl Answer {
    /// The body of an answer that is a success.
    ///
    /// # Panics
    /// If it is none.
    #[track_caller]
    pub fn ok(self) -> Value {
        assert!((200..300).contains(&self.code), "{}: {}", self.code, self.text);
        self.body
    }

    /// The message of an answer with that status.
    ///
    /// # Panics
    /// If it has another.
    #[track_caller]
    pub fn refused(self, code: u16) -> String {
        assert_eq!(self.code, code, "{}", self.text);
        self.body["message"].as_str().unwrap_or_default().to_owned()
    }
}

impl Client {
    /// With the current context of a kubeconfig.
    ///
    /// # Panics
    /// If the kubeconfig does not work.
    pub fn new(kubeconfig: &Path) -> Self {
        let kubeconfig = Kubeconfig::read_from(kubeconfig).expect("a kubeconfig");
        Self { inner: kube_client(kubeconfig, ""), prefix: String::new() }
    }

    /// The typed client of kube for a control plane, and what to run it on.
    ///
    /// # Panics
    /// If the kubeconfig does not work.
    pub fn typed(kubeconfig: &Path, vcp: &str) -> (kube::Client, &'static Runtime) {
        let kubeconfig = Kubeconfig::read_from(kubeconfig).expect("a kubeconfig");
        (kube_client(kubeconfig, &format!("/clusters/{vcp}/control-plane")), &RUNTIME)
    }

    /// The same in a control plane.
    pub fn vcp(&self, name: &str) -> Self {
        Self { inner: self.inner.clone(), prefix: format!("/clusters/{name}/control-plane") }
    }

    /// Sends a request; an error is one of the connection.
    pub fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Result<Answer, String> {
        let answer = async {
            let response = self.inner.send(self.request(method, path, headers, body)).await;
            let response = response.map_err(|error| format!("{error:?}"))?;
            let code = response.status().as_u16();
            let header = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
            let content_type = header.unwrap_or_default().to_owned();
            let header = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
            let retry_after = header.map(str::to_owned);
            let said = response.headers().get_all(WARNING).iter();
            let warnings = said.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()).collect();
            let bytes = response.into_body().collect_bytes().await.map_err(|error| format!("{error:?}"))?;
            let text = String::from_utf8_lossy(&bytes).into_owned();
            let body = serde_json::from_str(&text).unwrap_or(Value::Null);
            Ok(Answer { code, body, text, content_type, retry_after, warnings })
        };
        RUNTIME.block_on(async {
            tokio::time::timeout(PATIENCE, answer)
                .await
                .unwrap_or_else(|_| Err(format!("not within {PATIENCE:?}")))
        })
    }

    /// Sends bytes and returns bytes, for those who speak no JSON.
    ///
    /// # Panics
    /// If there is no answer.
    #[track_caller]
    pub fn raw(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Raw {
        let mut stream = self.open(method, path, headers, body);
        let mut bytes = Vec::new();
        while let Some(chunk) = stream.chunk() {
            bytes.extend_from_slice(&chunk);
        }
        Raw { code: stream.code, content_type: stream.content_type.clone(), bytes }
    }

    /// Sends bytes and returns what is answered as it comes.
    ///
    /// # Panics
    /// If there is no answer.
    #[track_caller]
    pub fn open(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Stream {
        let mut request = self.request(method, path, headers, "");
        *request.body_mut() = Body::from(body.to_vec());
        let response =
            RUNTIME.block_on(async { tokio::time::timeout(PATIENCE, self.inner.send(request)).await });
        let response = response.expect("an answer in time").expect("an answer");
        let header = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let content_type = header.unwrap_or_default().to_owned();
        Stream {
            code: response.status().as_u16(),
            content_type,
            body: response.into_body(),
            rest: Vec::new(),
        }
    }

    /// Asks for another protocol on the connection; the error is an answer that does not agree, with its text.
    ///
    /// # Errors
    /// With the status and the text of such an answer.
    ///
    /// # Panics
    /// If there is no answer.
    pub fn upgrade(&self, path: &str, headers: &[(&str, &str)]) -> Result<Upgraded, (u16, String)> {
        let mut all = vec![("Connection", "Upgrade")];
        all.extend(headers);
        let request = self.request("GET", path, &all, "");
        RUNTIME.block_on(async {
            let mut response = tokio::time::timeout(PATIENCE, self.inner.send(request))
                .await
                .expect("an answer in time")
                .expect("an answer");
            if response.status() != http::StatusCode::SWITCHING_PROTOCOLS {
                let code = response.status().as_u16();
                let text = response.into_body().collect().await.expect("a body").to_bytes();
                return Err((code, String::from_utf8_lossy(&text).into_owned()));
            }
            let headers = response.headers().clone();
            let upgraded = hyper::upgrade::on(&mut response).await.expect("a connection of our own");
            Ok(Upgraded { headers, io: TokioIo::new(upgraded) })
        })
    }

    fn request(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> http::Request<Body> {
        let mut request = http::Request::builder().method(method).uri(format!("{}{path}", self.prefix));
        if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case(ACCEPT.as_str())) {
            request = request.header(ACCEPT, "application/json");
        }
        if !body.is_empty()
            && !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case(CONTENT_TYPE.as_str()))
        {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(Body::from(body.as_bytes().to_vec())).expect("a request")
    }

    #[track_caller]
    fn must(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        self.send(method, path, headers, body).unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }

    /// GET.
    ///
    /// # Panics
    /// If there is no answer.
    #[track_caller]
    pub fn get(&self, path: &str) -> Answer {
        self.must("GET", path, &[], "")
    }

    /// GET in another format.
    ///
    /// # Panics
    /// If there is no answer.
    #[track_caller]
    pub fn get_as(&self, path: &str, accept: &str) -> Answer {
        self.must("GET", path, &[("Accept", accept)], "")
    }

    /// POST.
    ///
    /// # Panics
    /// If there is no answer.
    #[track_caller]
    pub fn post(&self, path: &str, body: &Value) -> Answer {
        self.must("POST", path, &[], &body.to_string())
    }

    /// PUT.
    ///
    /// # Panics
    /// If there is no answer.
    #[track_caller]
    pub fn put(&self, path: &str, body: &Value) -> Answer {
        self.must("PUT", path, &[], &body.to_string())
    }

    /// A merge patch.
    ///
    /// # Panics
    /// If there is no answer.
    #[track_caller]
    pub fn merge(&self, path: &str, patch: &Value) -> Answer {
        self.must("PATCH", path, &[("Content-Type", "application/merge-patch+json")], &patch.to_string())
    }

    /// A strategic merge patch.
    ///
    /// # Panics
    /// If there is no answer.
    #[track_caller]
    pub fn strategic(&self, path: &str, patch: &Value) -> Answer {
        let kind = "application/strategic-merge-patch+json";
        self.must("PATCH", path, &[("Content-Type", kind)], &patch.to_string())
    }

    /// A server-side apply; the body may be YAML.
    ///
    /// # Panics
    /// If there is no answer.
    #[track_caller]
    pub fn apply(&self, path: &str, body: &str) -> Answer {
        self.must("PATCH", path, &[("Content-Type", "application/apply-patch+yaml")], body)
    }

    /// POST of text as it is, in YAML or with what a Value cannot hold.
    ///
    /// # Panics
    /// If there is no answer.
    #[track_caller]
    pub fn post_text(&self, path: &str, content_type: &str, body: &str) -> Answer {
        self.must("POST", path, &[("Content-Type", content_type)], body)
    }

    /// DELETE.
    ///
    /// # Panics
    /// If there is no answer.
    #[track_caller]
    pub fn delete(&self, path: &str) -> Answer {
        self.must("DELETE", path, &[], "")
    }

    /// DELETE with options.
    ///
    /// # Panics
    /// If there is no answer.
    #[track_caller]
    pub fn delete_with(&self, path: &str, options: &Value) -> Answer {
        self.must("DELETE", path, &[], &options.to_string())
    }

    /// A watch: the path of a list with its query.
    ///
    /// # Panics
    /// If the server does not begin one.
    #[track_caller]
    pub fn watch(&self, path: &str) -> Watch {
        let separator = if path.contains('?') { '&' } else { '?' };
        let request = self.request("GET", &format!("{path}{separator}watch=true"), &[], "");
        let response = RUNTIME.block_on(self.inner.send(request)).expect("a watch");
        let code = response.status();
        let mut body = response.into_body();
        if !code.is_success() {
            let bytes = RUNTIME.block_on(body.collect_bytes()).unwrap_or_default();
            panic!("{path}: {code}: {}", String::from_utf8_lossy(&bytes));
        }
        let (sender, events) = channel();
        let task = RUNTIME.spawn(async move {
            let mut buffer = Vec::new();
            while let Some(Ok(frame)) = body.frame().await {
                let Ok(data) = frame.into_data() else { continue };
                buffer.extend_from_slice(&data);
                while let Some(end) = buffer.iter().position(|byte| *byte == b'\n') {
                    let line: Vec<u8> = buffer.drain(..=end).collect();
                    let event = serde_json::from_slice(&line).expect("an event");
                    if sender.send(event).is_err() {
                        return;
                    }
                }
            }
        });
        Watch { events, task }
    }
}

/// What the server answered, as bytes.
#[derive(Clone, Debug)]
pub struct Raw {
    /// The HTTP status.
    pub code: u16,
    /// Its Content-Type.
    pub content_type: String,
    /// The body.
    pub bytes: Vec<u8>,
}

/// An answer that is still coming.
pub struct Stream {
    /// The HTTP status.
    pub code: u16,
    /// Its Content-Type.
    pub content_type: String,
    body: Body,
    rest: Vec<u8>,
}

impl Stream {
    /// What comes next; `None` at the end.
    ///
    /// # Panics
    /// If nothing comes in time.
    pub fn chunk(&mut self) -> Option<Vec<u8>> {
        loop {
            let frame = RUNTIME
                .block_on(async { tokio::time::timeout(WATCH_PATIENCE, self.body.frame()).await })
                .expect("something comes in time")?;
            if let Ok(data) = frame.expect("no error of the connection").into_data() {
                return Some(data.to_vec());
            }
        }
    }

    /// The next so many bytes.
    ///
    /// # Panics
    /// If the stream ends before.
    pub fn exactly(&mut self, count: usize) -> Vec<u8> {
        while self.rest.len() < count {
            let chunk = self.chunk().expect("the stream goes on");
            self.rest.extend(chunk);
        }
        self.rest.drain(..count).collect()
    }
}

/// A connection that speaks another protocol now.
pub struct Upgraded {
    /// The headers of the answer that agreed to it.
    pub headers: http::HeaderMap,
    io: TokioIo<hyper::upgrade::Upgraded>,
}

impl Upgraded {
    /// Sends bytes.
    ///
    /// # Panics
    /// If they cannot be sent.
    pub fn say(&mut self, bytes: &[u8]) {
        RUNTIME.block_on(async {
            self.io.write_all(bytes).await.expect("a connection that is open");
            self.io.flush().await.expect("a connection that is open");
        });
    }

    /// The next so many bytes.
    ///
    /// # Panics
    /// If they do not come in time.
    pub fn hear(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        RUNTIME
            .block_on(async { tokio::time::timeout(WATCH_PATIENCE, self.io.read_exact(&mut bytes)).await })
            .expect("something comes in time")
            .expect("a connection that is open");
        bytes
    }
}

impl Upgraded {
    /// Waits until the server ends it.
    ///
    /// # Panics
    /// If it does not.
    #[track_caller]
    pub fn ends(&mut self) {
        let mut rest = Vec::new();
        let ended = RUNTIME
            .block_on(async { tokio::time::timeout(WATCH_PATIENCE, self.io.read_to_end(&mut rest)).await });
        // One that is reset has ended as well.
        assert!(ended.is_ok(), "it goes on");
    }
}

/// A running watch; it ends when dropped.
pub struct Watch {
    events: Receiver<Value>,
    task: tokio::task::JoinHandle<()>,
}

fn kube_client(kubeconfig: Kubeconfig, path: &str) -> kube::Client {
    RUNTIME.block_on(async {
        let options = KubeConfigOptions::default();
        let mut config =
            kube::Config::from_custom_kubeconfig(kubeconfig, &options).await.expect("a configuration");
        // A test wants to see the first answer.
        config.default_retry = false;
        if !path.is_empty() {
            let url = format!("{}{path}", config.cluster_url.to_string().trim_end_matches('/'));
            config.cluster_url = url.parse().expect("the address of the control plane");
        }
        kube::Client::try_from(config).expect("a client")
    })
}

/// What a watch had to say within a time.
#[derive(Clone, Debug)]
pub enum Next {
    /// An event.
    Event(Value),
    /// Nothing.
    Nothing,
    /// The server ended it.
    End,
}

impl Watch {
    /// The next event within a time.
    pub fn within(&self, time: Duration) -> Next {
        match self.events.recv_timeout(time) {
            Ok(event) => Next::Event(event),
            Err(RecvTimeoutError::Timeout) => Next::Nothing,
            Err(RecvTimeoutError::Disconnected) => Next::End,
        }
    }

    /// The next event, which must come: its type, its object.
    ///
    /// # Panics
    /// If it does not.
    #[track_caller]
    pub fn next(&self) -> (String, Value) {
        match self.within(WATCH_PATIENCE) {
            Next::Event(mut event) => {
                (event["type"].as_str().unwrap_or_default().to_owned(), event["object"].take())
            }
            other => panic!("no event of the watch: {other:?}"),
        }
    }

    /// The next event, which must be of this type and of an object of this name.
    ///
    /// # Panics
    /// If it is another.
    #[track_caller]
    pub fn expect(&self, kind: &str, name: &str) -> Value {
        let (seen, object) = self.next();
        assert_eq!((seen.as_str(), object["metadata"]["name"].as_str()), (kind, Some(name)), "{object}");
        object
    }

    /// Waits for an event of this type and of an object of this name, passing others by.
    ///
    /// # Panics
    /// If it does not come.
    #[track_caller]
    pub fn until(&self, kind: &str, name: &str) -> Value {
        loop {
            let (seen, object) = self.next();
            if seen == kind && object["metadata"]["name"] == name {
                return object;
            }
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The resourceVersion of an object or a list.
///
/// # Panics
/// If it has none.
#[track_caller]
pub fn version(object: &Value) -> u64 {
    let text = object["metadata"]["resourceVersion"].as_str();
    text.and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("no resourceVersion: {object}"))
}
