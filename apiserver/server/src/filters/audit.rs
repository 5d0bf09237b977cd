//! The audit log: one `audit.k8s.io/v1` event a request, at level Metadata, when its answer is complete
//! (`--audit-log-path`). The name of the control plane is in the annotation `kplane.dev/cluster`.

use std::io::Write;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use http::{HeaderMap, Method, StatusCode, header};
use kplane_auth::UserInfo;
use kplane_machinery::time;
use serde_json::{Value, json};

use super::RequestInfo;

/// Where audit events go.
pub struct AuditLog {
    file: Mutex<Box<dyn Write + Send>>,
}

/// A request on its way: what is known of it when it arrives.
pub struct Audited {
    id: String,
    received: String,
    uri: String,
    agent: String,
    source: String,
    /// Filled in as the filters learn it.
    pub user: Option<UserInfo>,
    /// Who acts, where another is impersonated.
    pub impersonated: Option<UserInfo>,
    /// What is asked for.
    pub info: Option<RequestInfo>,
    /// The control plane asked for.
    pub cluster: String,
}

impl Audited {
    /// A request that arrives.
    pub fn new(id: &str, uri: &http::Uri, headers: &HeaderMap, source: std::net::IpAddr) -> Self {
        let agent = headers.get(header::USER_AGENT).and_then(|v| v.to_str().ok()).unwrap_or("");
        Self {
            id: id.to_owned(),
            received: time::now_micro(),
            uri: uri.to_string(),
            agent: agent.to_owned(),
            source: source.to_string(),
            user: None,
            impersonated: None,
            info: None,
            cluster: String::new(),
        }
    }

    fn event(&self, method: &Method, status: StatusCode) -> Value {
        let verb =
            self.info.as_ref().map_or_else(|| method.as_str().to_lowercase(), |info| info.verb.clone());
        let mut event = json!({
            "kind": "Event",
            "apiVersion": "audit.k8s.io/v1",
            "level": "Metadata",
            "auditID": self.id,
            "stage": "ResponseComplete",
            "requestURI": self.uri,
            "verb": verb,
            "user": self.user,
            "sourceIPs": [self.source],
            "userAgent": self.agent,
            "responseStatus": {"metadata": {}, "code": status.as_u16()},
            "requestReceivedTimestamp": self.received,
            "stageTimestamp": time::now_micro(),
            "annotations": {"kplane.dev/cluster": self.cluster},
        });
        if let Some(user) = &self.impersonated {
            event["impersonatedUser"] = json!(user);
        }
        if let Some(info) = self.info.as_ref().filter(|info| info.is_resource) {
            let mut object = json!({"resource": info.resource, "apiVersion": info.version});
            for (field, text) in [
                ("namespace", &info.namespace),
                ("name", &info.name),
                ("apiGroup", &info.group),
                ("subresource", &info.subresource),
            ] {
                if !text.is_empty() {
                    object[field] = text.as_str().into();
                }
            }
            event["objectRef"] = object;
        }
        event
    }
}

impl AuditLog {
    /// Appends to a file; `-` is standard output.
    pub fn open(path: &Path) -> std::io::Result<Self> {
        let file: Box<dyn Write + Send> = if path == Path::new("-") {
            Box::new(std::io::stdout())
        } else {
            let mut options = std::fs::OpenOptions::new();
            options.create(true).append(true);
            #[cfg(unix)]
            std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
            Box::new(options.open(path)?)
        };
        Ok(Self { file: Mutex::new(file) })
    }

    /// Writes down a request that was answered.
    pub fn write(&self, audited: &Audited, method: &Method, status: StatusCode) {
        let mut line = audited.event(method, status).to_string();
        line.push('\n');
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = file.write_all(line.as_bytes()).and_then(|()| file.flush()) {
            tracing::error!(%error, "an audit event could not be written");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_says_who_did_what_where() {
        let uri: http::Uri = "/clusters/a/control-plane/api/v1/namespaces/n/pods/p".parse().expect("a uri");
        let mut audited = Audited::new("id", &uri, &HeaderMap::new(), [127, 0, 0, 1].into());
        audited.cluster = "a".into();
        audited.user = Some(UserInfo { username: "jane".into(), ..UserInfo::default() });
        audited.info = Some(RequestInfo {
            is_resource: true,
            verb: "get".into(),
            resource: "pods".into(),
            namespace: "n".into(),
            name: "p".into(),
            ..RequestInfo::default()
        });
        let event = audited.event(&Method::GET, StatusCode::OK);
        assert_eq!(event["objectRef"]["name"], "p");
        assert_eq!(event["user"]["username"], "jane");
        assert_eq!(event["annotations"]["kplane.dev/cluster"], "a");
        assert_eq!(event["responseStatus"]["code"], 200);
    }
}
