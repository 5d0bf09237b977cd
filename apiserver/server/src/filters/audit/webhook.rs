//! Audit events sent to a server, in batches (`--audit-webhook-config-file`).

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderValue, Request, header};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use kplane_schema::Format;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// How batches are made, as upstream's `--audit-webhook-batch-*`.
#[derive(Clone, Copy, Debug)]
pub struct Batching {
    /// At most so many events in one.
    pub size: usize,
    /// None waits longer.
    pub wait: Duration,
    /// So many wait at most; more are dropped, and the log says so.
    pub buffer: usize,
}

/// How long a server may take.
const TIMEOUT: Duration = Duration::from_secs(30);
/// How long is waited before a batch is sent again.
const BACKOFF: Duration = Duration::from_secs(1);
/// How often it is sent at all.
const ATTEMPTS: u32 = 5;

/// Sends events.
pub struct Webhook {
    events: mpsc::Sender<Arc<str>>,
}

impl Webhook {
    /// Reads the kubeconfig of the server, and begins to send.
    pub fn start(config: &Path, batching: Batching, shutdown: CancellationToken) -> anyhow::Result<Self> {
        let target = Target::load(config)?;
        let (events, receiver) = mpsc::channel(batching.buffer.max(1));
        tokio::spawn(run(target, receiver, batching, shutdown));
        Ok(Self { events })
    }

    /// Hands an event over.
    pub fn send(&self, event: &Arc<str>) {
        if self.events.try_send(event.clone()).is_err() {
            tracing::error!("an audit event was dropped: the audit webhook does not keep up");
        }
    }
}

async fn run(
    target: Target,
    mut events: mpsc::Receiver<Arc<str>>,
    batching: Batching,
    shutdown: CancellationToken,
) {
    let mut batch: Vec<Arc<str>> = Vec::new();
    loop {
        // What is there when the server ends is sent still.
        let first = tokio::select! {
            event = events.recv() => event,
            () = shutdown.cancelled() => events.try_recv().ok(),
        };
        let Some(first) = first else { return };
        batch.push(first);
        let end = tokio::time::Instant::now() + batching.wait;
        while batch.len() < batching.size.max(1) {
            tokio::select! {
                event = events.recv() => match event {
                    Some(event) => batch.push(event),
                    None => break,
                },
                () = tokio::time::sleep_until(end) => break,
                () = shutdown.cancelled() => match events.try_recv() {
                    Ok(event) => batch.push(event),
                    Err(_) => break,
                },
            }
        }
        deliver(&target, &batch).await;
        batch.clear();
    }
}

async fn deliver(target: &Target, batch: &[Arc<str>]) {
    let mut body = String::from(
        "{\"kind\":\"EventList\",\"apiVersion\":\"audit.k8s.io/v1\",\"metadata\":{},\"items\":[",
    );
    for (i, event) in batch.iter().enumerate() {
        if i > 0 {
            body.push(',');
        }
        body.push_str(event.trim_end());
    }
    body.push_str("]}");
    let body = Bytes::from(body);
    for attempt in 1..=ATTEMPTS {
        match tokio::time::timeout(TIMEOUT, target.post(body.clone())).await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => tracing::warn!(%error, attempt, "the audit webhook failed"),
            Err(_) => tracing::warn!(attempt, "the audit webhook did not answer in time"),
        }
        tokio::time::sleep(BACKOFF * attempt).await;
    }
    tracing::error!(events = batch.len(), "audit events were dropped: the audit webhook cannot be reached");
}

/// The server.
struct Target {
    host: String,
    port: u16,
    path: String,
    tls: Option<tokio_rustls::TlsConnector>,
    authorization: Option<HeaderValue>,
}

impl Target {
    fn load(path: &Path) -> anyhow::Result<Self> {
        let bytes = std::fs::read(path).context("it cannot be read")?;
        let value = kplane_schema::parse(&bytes, Format::Yaml).context("it is not valid YAML")?.value;
        let folder = path.parent().unwrap_or(Path::new("."));
        Self::of(&value, folder)
    }

    fn of(config: &Value, folder: &Path) -> anyhow::Result<Self> {
        let named = |list: &str, name: &str, inner: &str| -> Value {
            let all = config[list].as_array().into_iter().flatten();
            all.filter(|one| one["name"] == name).map(|one| one[inner].clone()).next().unwrap_or_default()
        };
        let current = config["current-context"].as_str().unwrap_or("");
        let context = named("contexts", current, "context");
        let cluster = named("clusters", context["cluster"].as_str().unwrap_or(""), "cluster");
        let user = named("users", context["user"].as_str().unwrap_or(""), "user");
        let server = cluster["server"].as_str().context("its current context names no server")?;
        let uri: http::Uri = server.parse().with_context(|| format!("{server:?} is no URL"))?;
        let secure = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => bail!("{server:?} is neither https nor http"),
        };
        let host = uri.host().with_context(|| format!("{server:?} has no host"))?;
        let file = |from: &Value, data: &str, name: &str| -> anyhow::Result<Option<Vec<u8>>> {
            if let Some(text) = from[data].as_str() {
                return Ok(Some(STANDARD.decode(text).with_context(|| format!("{data} is not base64"))?));
            }
            let Some(path) = from[name].as_str() else { return Ok(None) };
            let path = folder.join(path);
            Ok(Some(std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?))
        };
        if cluster["insecure-skip-tls-verify"] == true {
            bail!("insecure-skip-tls-verify is not supported; name the authority of the server instead");
        }
        let tls = if secure {
            let ca = file(&cluster, "certificate-authority-data", "certificate-authority")?
                .context("a server of https needs certificate-authority or certificate-authority-data")?;
            let pair = match file(&user, "client-certificate-data", "client-certificate")? {
                None => None,
                Some(certificate) => {
                    let key =
                        file(&user, "client-key-data", "client-key")?.context("client-key is missing")?;
                    Some((certificate, key))
                }
            };
            Some(connector(&ca, pair)?)
        } else {
            None
        };
        let authorization = user["token"]
            .as_str()
            .map(|token| -> anyhow::Result<HeaderValue> {
                let mut value = HeaderValue::from_str(&format!("Bearer {token}")).context("the token")?;
                value.set_sensitive(true);
                Ok(value)
            })
            .transpose()?;
        Ok(Self {
            host: host.trim_matches(['[', ']']).to_owned(),
            port: uri.port_u16().unwrap_or(if secure { 443 } else { 80 }),
            path: uri.path_and_query().map_or("/", |path| path.as_str()).to_owned(),
            tls,
            authorization,
        })
    }

    async fn post(&self, body: Bytes) -> anyhow::Result<()> {
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await.context("cannot connect")?;
        match &self.tls {
            None => self.post_over(stream, body).await,
            Some(connector) => {
                let name = ServerName::try_from(self.host.clone()).context("the name of the server")?;
                let stream = connector.connect(name, stream).await.context("the TLS handshake")?;
                self.post_over(stream, body).await
            }
        }
    }

    async fn post_over<S>(&self, stream: S, body: Bytes) -> anyhow::Result<()>
    where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    {
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let connection = tokio::spawn(connection);
        let host = format!("{}:{}", self.host, self.port);
        let mut request = Request::post(self.path.as_str())
            .header(header::HOST, host)
            .header(header::CONTENT_TYPE, "application/json");
        if let Some(value) = &self.authorization {
            request = request.header(header::AUTHORIZATION, value);
        }
        let answer = sender.send_request(request.body(Full::new(body))?).await?;
        let status = answer.status();
        // Redirects are not followed: they are answers like any other that is no success.
        let _ = answer.into_body().collect().await;
        connection.abort();
        if status.is_success() { Ok(()) } else { bail!("it answered with {status}") }
    }
}

fn connector(ca: &[u8], pair: Option<(Vec<u8>, Vec<u8>)>) -> anyhow::Result<tokio_rustls::TlsConnector> {
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(ca) {
        roots.add(certificate.context("the certificate authority")?).context("the certificate authority")?;
    }
    if roots.is_empty() {
        bail!("the certificate authority holds no certificate");
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots);
    let config = match pair {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let chain = CertificateDer::pem_slice_iter(&certificate)
                .collect::<Result<Vec<_>, _>>()
                .context("the client certificate")?;
            let key = PrivateKeyDer::from_pem_slice(&key).context("the client key")?;
            builder.with_client_auth_cert(chain, key).context("the client certificate")?
        }
    };
    Ok(tokio_rustls::TlsConnector::from(Arc::new(config)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn config(server: &str, more: Value) -> Value {
        let mut cluster = json!({"server": server});
        for (field, value) in more.as_object().into_iter().flatten() {
            cluster[field] = value.clone();
        }
        json!({
            "clusters": [{"name": "c", "cluster": cluster}], "users": [{"name": "u", "user": {"token": "t"}}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}], "current-context": "x",
        })
    }

    #[test]
    fn a_server_is_verified_or_not_used() {
        let of =
            |config: &Value| Target::of(config, Path::new(".")).map(|_| ()).map_err(|e| format!("{e:#}"));
        assert!(of(&config("http://127.0.0.1:1/x", json!({}))).is_ok());
        assert!(of(&config("https://a.example", json!({}))).is_err());
        let insecure = json!({"insecure-skip-tls-verify": true});
        assert!(of(&config("https://a.example", insecure)).is_err_and(|e| e.contains("not supported")));
        assert!(of(&config("ftp://a.example", json!({}))).is_err());
        assert!(of(&json!({})).is_err());
    }

    #[tokio::test]
    async fn events_come_in_batches() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address");
        let (sender, mut bodies) = mpsc::channel::<Value>(10);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let sender = sender.clone();
                let service = hyper::service::service_fn(move |request: Request<hyper::body::Incoming>| {
                    let sender = sender.clone();
                    async move {
                        assert_eq!(request.headers()[header::AUTHORIZATION], "Bearer t");
                        let bytes = request.into_body().collect().await.expect("a body").to_bytes();
                        sender.send(serde_json::from_slice(&bytes).expect("JSON")).await.expect("a reader");
                        Ok::<_, std::convert::Infallible>(http::Response::new(Full::new(Bytes::new())))
                    }
                });
                let served = hyper::server::conn::http1::Builder::new();
                let _ = served.serve_connection(TokioIo::new(stream), service).await;
            }
        });
        let target = Target::of(&config(&format!("http://{address}/events"), json!({})), Path::new("."));
        let (events, receiver) = mpsc::channel(10);
        let batching = Batching { size: 2, wait: Duration::from_millis(50), buffer: 10 };
        let token = CancellationToken::new();
        tokio::spawn(run(target.expect("a target"), receiver, batching, token));
        for i in 0..3 {
            events.send(format!("{{\"n\":{i}}}\n").into()).await.expect("room");
        }
        let first = bodies.recv().await.expect("a batch");
        assert_eq!(first["kind"], "EventList");
        assert_eq!(first["items"], json!([{"n": 0}, {"n": 1}]));
        assert_eq!(bodies.recv().await.expect("a batch")["items"], json!([{"n": 2}]));
    }
}
