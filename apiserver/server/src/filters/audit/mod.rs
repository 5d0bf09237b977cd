//! Audit: `audit.k8s.io/v1` events of requests, as a policy says, to a log and to a webhook. The name of the control plane
//! is in the annotation `kplane.dev/cluster` of each.

mod log;
mod policy;
mod webhook;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use http::{HeaderMap, Method, StatusCode, header};
use http_body::Body as _;
use http_body_util::BodyExt;
use kplane_auth::UserInfo;
use kplane_machinery::{object, time};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

pub use self::policy::{Decision, Level, Policy, Stage};

use self::log::{LogFile, Rotation};
use self::webhook::{Batching, Webhook};
use super::RequestInfo;
use crate::body::{self, Answer};
use crate::options::Options;

/// Where events go, and which.
pub struct Audit {
    policy: Policy,
    log: Option<Mutex<LogFile>>,
    webhook: Option<Webhook>,
}

impl Audit {
    /// As the flags say; `None` when they say nothing.
    pub fn of(options: &Options, shutdown: &CancellationToken) -> anyhow::Result<Option<Arc<Self>>> {
        let rotation = Rotation {
            bytes: options.audit_log_maxsize << 20,
            backups: options.audit_log_maxbackup,
            age: Duration::from_secs(options.audit_log_maxage * 24 * 3600),
        };
        let log = match &options.audit_log_path {
            Some(path) => Some(Mutex::new(
                LogFile::open(path, rotation)
                    .with_context(|| format!("cannot write the audit log {}", path.display()))?,
            )),
            None => None,
        };
        let batching = Batching {
            size: options.audit_webhook_batch_max_size,
            wait: Duration::from_secs(options.audit_webhook_batch_max_wait),
            buffer: options.audit_webhook_batch_buffer_size,
        };
        let webhook = match &options.audit_webhook_config_file {
            Some(path) => Some(
                Webhook::start(path, batching, shutdown.clone())
                    .with_context(|| format!("--audit-webhook-config-file {}", path.display()))?,
            ),
            None => None,
        };
        let policy = match &options.audit_policy_file {
            Some(path) => {
                Policy::load(path).with_context(|| format!("--audit-policy-file {}", path.display()))?
            }
            None => Policy::metadata(),
        };
        if log.is_none() && webhook.is_none() {
            return Ok(None);
        }
        Ok(Some(Arc::new(Self { policy, log, webhook })))
    }

    fn write(&self, event: &Value) {
        let mut line = event.to_string();
        line.push('\n');
        if let Some(log) = &self.log {
            let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
            if let Err(error) = log.write(&line) {
                tracing::error!(%error, "an audit event could not be written");
            }
        }
        if let Some(webhook) = &self.webhook {
            webhook.send(&line.into());
        }
    }
}

/// What endpoints tell of a request while they answer it.
#[derive(Debug, Default)]
pub struct Sink {
    /// What the policy says, once it is known who asks.
    decision: OnceLock<Decision>,
    told: Mutex<Told>,
}

#[derive(Debug, Default)]
struct Told {
    /// What the object that was sent is called.
    named: Option<Value>,
    request: Option<Value>,
    annotations: BTreeMap<String, String>,
}

impl Sink {
    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether objects that are sent are wanted.
    pub fn wants_request(&self) -> bool {
        self.decision.get().is_some_and(|decision| decision.level >= Level::Request)
    }

    /// The object that was sent, or the patch. The first counts. Its names are told wherever anything is.
    pub fn request(&self, object: &Value) {
        if self.decision.get().is_some_and(|decision| decision.level >= Level::Metadata) {
            self.told().named.get_or_insert_with(|| named(object));
        }
        if self.wants_request() {
            self.told().request.get_or_insert_with(|| object.clone());
        }
    }

    /// Adds an annotation to the events of this request. The first of a name counts.
    pub fn annotate(&self, name: impl Into<String>, value: impl Into<String>) {
        if self.decision.get().is_some_and(|decision| decision.level >= Level::Metadata) {
            self.told().annotations.entry(name.into()).or_insert_with(|| value.into());
        }
    }
}

/// A request on its way: what is known of it.
pub struct Audited {
    audit: Option<Arc<Audit>>,
    id: String,
    method: Method,
    received: String,
    uri: String,
    agent: String,
    sources: Vec<String>,
    /// What endpoints tell.
    pub sink: Arc<Sink>,
    /// Filled in as the filters learn it.
    pub user: Option<UserInfo>,
    /// Who acts, where another is impersonated.
    pub impersonated: Option<UserInfo>,
    /// What is asked for.
    pub info: Option<RequestInfo>,
    /// The control plane asked for.
    pub cluster: String,
    /// What fairness made of it.
    pub flow: super::fairness::FlowIds,
    /// For a watch: what counts it while its stream lasts.
    pub watch: Option<Arc<super::fairness::OpenWatch>>,
}

impl Audited {
    /// A request that arrives.
    pub fn new(
        audit: Option<Arc<Audit>>,
        id: &str,
        method: &Method,
        uri: &http::Uri,
        headers: &HeaderMap,
        source: std::net::IpAddr,
    ) -> Self {
        let agent = headers.get(header::USER_AGENT).and_then(|v| v.to_str().ok()).unwrap_or("");
        Self {
            audit,
            id: id.to_owned(),
            method: method.clone(),
            received: time::now_micro(),
            // As upstream: the path and the query, whatever the form of the request line.
            uri: uri.path_and_query().map_or_else(|| uri.to_string(), ToString::to_string),
            agent: agent.to_owned(),
            sources: vec![source.to_string()],
            sink: Arc::default(),
            user: None,
            impersonated: None,
            info: None,
            cluster: String::new(),
            flow: super::fairness::FlowIds::default(),
            watch: None,
        }
    }

    /// It is known who asks for what, or that the credentials are bad: from here on the policy holds.
    pub fn begin(&self) {
        let (Some(audit), Some(info)) = (&self.audit, &self.info) else { return };
        let decision = audit.policy.decide(self.user.as_ref(), info);
        // Set once only: a request has one beginning.
        if self.sink.decision.set(decision).is_ok() {
            self.tell(Stage::RequestReceived, None, None);
        }
    }

    fn decision(&self) -> Option<&Decision> {
        // What failed before anybody was known is told as well.
        if self.sink.decision.get().is_none() {
            self.begin_unknown();
        }
        self.sink.decision.get()
    }

    fn begin_unknown(&self) {
        if let Some(audit) = &self.audit {
            let nothing = RequestInfo {
                path: self.uri.clone(),
                verb: self.method.as_str().to_lowercase(),
                ..RequestInfo::default()
            };
            let info = self.info.as_ref().unwrap_or(&nothing);
            // Another thread cannot have set it: a request is answered by one task.
            let _ = self.sink.decision.set(audit.policy.decide(self.user.as_ref(), info));
        }
    }

    fn tell(&self, stage: Stage, status: Option<StatusCode>, response: Option<Value>) {
        let (Some(audit), Some(decision)) = (&self.audit, self.sink.decision.get()) else { return };
        if decision.level == Level::None || decision.omitted.contains(&stage) {
            return;
        }
        audit.write(&self.event(decision, stage, status, response));
    }

    fn event(
        &self,
        decision: &Decision,
        stage: Stage,
        status: Option<StatusCode>,
        response: Option<Value>,
    ) -> Value {
        let verb =
            self.info.as_ref().map_or_else(|| self.method.as_str().to_lowercase(), |info| info.verb.clone());
        let mut event = json!({
            "kind": "Event",
            "apiVersion": "audit.k8s.io/v1",
            "level": decision.level.as_str(),
            "auditID": self.id,
            "stage": stage.as_str(),
            "requestURI": self.uri,
            "verb": verb,
            "user": self.user.clone().unwrap_or_default(),
            "sourceIPs": self.sources,
            "userAgent": self.agent,
            "requestReceivedTimestamp": self.received,
            "stageTimestamp": time::now_micro(),
        });
        if let Some(user) = &self.impersonated {
            event["impersonatedUser"] = json!(user);
        }
        let told = self.sink.told();
        if let Some(info) = self.info.as_ref().filter(|info| info.is_resource) {
            event["objectRef"] = object_ref(info, told.named.as_ref());
        }
        if let Some(status) = status {
            event["responseStatus"] = response_status(status, response.as_ref());
        }
        if stage != Stage::RequestReceived
            && let Some(request) = &told.request
        {
            event["requestObject"] = without(decision, request.clone());
        }
        if decision.level == Level::RequestResponse
            && let Some(response) = response
        {
            event["responseObject"] = without(decision, response);
        }
        let mut annotations: BTreeMap<&str, &str> =
            told.annotations.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        annotations.insert("kplane.dev/cluster", &self.cluster);
        event["annotations"] = json!(annotations);
        event
    }

    /// The request panicked.
    pub fn panicked(&self) {
        if self.decision().is_some() {
            self.tell(Stage::Panic, Some(StatusCode::INTERNAL_SERVER_ERROR), None);
        }
    }

    /// The request is answered; of a stream, the answer begins, and its end is told when it comes.
    pub async fn answered(mut self, answer: Answer) -> Answer {
        let guard = self.watch.take();
        let Some(decision) = self.decision().cloned() else { return held(answer, guard) };
        if decision.level == Level::None {
            return held(answer, guard);
        }
        let status = answer.status();
        if answer.body().size_hint().exact().is_none() {
            self.tell(Stage::ResponseStarted, Some(status), None);
            return held(answer, Some((guard, Ending { audited: self, status })));
        }
        let wanted = decision.level == Level::RequestResponse || !status.is_success();
        if !wanted {
            self.tell(Stage::ResponseComplete, Some(status), None);
            return answer;
        }
        let (parts, body) = answer.into_parts();
        let bytes = match body.collect().await {
            Ok(collected) => collected.to_bytes(),
            Err(never) => match never {},
        };
        self.tell(Stage::ResponseComplete, Some(status), value_of(&bytes));
        Answer::from_parts(parts, body::full(bytes))
    }
}

fn held<G: Send + 'static>(answer: Answer, guard: Option<G>) -> Answer {
    match guard {
        Some(guard) => answer.map(|body| body::guarded(body, guard)),
        None => answer,
    }
}

/// Tells of the end of a stream when it is dropped.
struct Ending {
    audited: Audited,
    status: StatusCode,
}

impl Drop for Ending {
    fn drop(&mut self) {
        self.audited.tell(Stage::ResponseComplete, Some(self.status), None);
    }
}

/// What an answer holds, if it is JSON or protobuf.
fn value_of(bytes: &[u8]) -> Option<Value> {
    if bytes.starts_with(b"k8s\0") {
        return kplane_schema::proto::decode(bytes, None).ok();
    }
    serde_json::from_slice(bytes).ok().filter(Value::is_object)
}

fn response_status(code: StatusCode, response: Option<&Value>) -> Value {
    let mut status = json!({"metadata": {}, "code": code.as_u16()});
    if let Some(response) = response.filter(|response| response["kind"] == "Status") {
        for field in ["status", "message", "reason", "details"] {
            if let Some(value) = response.get(field) {
                status[field] = value.clone();
            }
        }
    }
    status
}

/// What tells an object from others, in its metadata.
fn named(object: &Value) -> Value {
    let mut metadata = json!({});
    for field in ["name", "uid", "resourceVersion"] {
        let text = object::meta_str(object, field);
        if !text.is_empty() {
            metadata[field] = text.into();
        }
    }
    json!({"metadata": metadata})
}

fn object_ref(info: &RequestInfo, request: Option<&Value>) -> Value {
    let mut reference = json!({"resource": info.resource, "apiVersion": info.version});
    for (field, text) in [
        ("namespace", &info.namespace),
        ("name", &info.name),
        ("apiGroup", &info.group),
        ("subresource", &info.subresource),
    ] {
        if !text.is_empty() {
            reference[field] = text.as_str().into();
        }
    }
    if let Some(request) = request.filter(|request| request.is_object()) {
        for (field, text) in [
            ("name", object::name(request)),
            ("uid", object::uid(request)),
            ("resourceVersion", object::resource_version(request)),
        ] {
            if !text.is_empty() && reference.get(field).is_none() {
                reference[field] = text.into();
            }
        }
    }
    reference
}

/// An object as it is written down.
fn without(decision: &Decision, mut value: Value) -> Value {
    if decision.omit_managed_fields {
        object::set_meta(&mut value, "managedFields", None);
        for item in value.get_mut("items").and_then(Value::as_array_mut).into_iter().flatten() {
            object::set_meta(item, "managedFields", None);
        }
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    fn audited() -> Audited {
        let uri: http::Uri = "/clusters/a/control-plane/api/v1/namespaces/n/pods".parse().expect("a uri");
        let mut audited =
            Audited::new(None, "id", &Method::POST, &uri, &HeaderMap::new(), [127, 0, 0, 1].into());
        audited.cluster = "a".into();
        audited.user = Some(UserInfo { username: "jane".into(), ..UserInfo::default() });
        audited.info = Some(RequestInfo {
            is_resource: true,
            verb: "create".into(),
            resource: "pods".into(),
            namespace: "n".into(),
            ..RequestInfo::default()
        });
        audited
    }

    #[test]
    fn an_event_says_who_did_what_where() {
        let audited = audited();
        let decision = Decision { level: Level::RequestResponse, omit_managed_fields: true, omitted: vec![] };
        audited.sink.decision.set(decision.clone()).expect("once");
        let pod = json!({"kind": "Pod", "metadata": {"name": "p", "managedFields": [{}]}});
        audited.sink.request(&pod);
        audited.sink.annotate("authorization.k8s.io/decision", "allow");
        let event = audited.event(&decision, Stage::ResponseComplete, Some(StatusCode::CREATED), Some(pod));
        assert_eq!(event["objectRef"]["name"], "p");
        assert_eq!(event["user"]["username"], "jane");
        assert_eq!(event["annotations"]["kplane.dev/cluster"], "a");
        assert_eq!(event["annotations"]["authorization.k8s.io/decision"], "allow");
        assert_eq!(event["responseStatus"]["code"], 201);
        assert_eq!(event["requestObject"]["metadata"], json!({"name": "p"}));
        assert_eq!(event["responseObject"]["metadata"], json!({"name": "p"}));
        let received = audited.event(&decision, Stage::RequestReceived, None, None);
        assert!(received.get("requestObject").is_none() && received.get("responseStatus").is_none());
    }

    #[test]
    fn bodies_are_taken_by_the_level_alone() {
        let audited = audited();
        let decision = Decision { level: Level::Metadata, ..Decision::default() };
        audited.sink.decision.set(decision.clone()).expect("once");
        audited.sink.request(&json!({"data": {"password": "secret"}}));
        let answer = json!({"data": {"password": "secret"}});
        let event = audited.event(&decision, Stage::ResponseComplete, Some(StatusCode::OK), Some(answer));
        assert!(!event.to_string().contains("secret"), "{event}");
    }
}
