//! A server that the API server calls: webhooks, or an API of its own, over HTTPS by an authority of the test's own.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio_rustls::TlsAcceptor;

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime")
});

/// What was asked.
#[derive(Clone, Debug)]
pub struct Asked {
    pub method: String,
    pub path: String,
    pub query: String,
    pub headers: HeaderMap,
    pub body: Value,
}

/// What is answered.
pub struct Reply {
    pub code: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: String,
    pub after: Duration,
}

impl Reply {
    pub fn json(body: Value) -> Self {
        let headers = vec![("content-type", "application/json".to_owned())];
        Self { code: 200, headers, body: body.to_string(), after: Duration::ZERO }
    }

    pub fn code(code: u16) -> Self {
        Self { code, headers: Vec::new(), body: String::new(), after: Duration::ZERO }
    }
}

type Answering = dyn Fn(&Asked) -> Reply + Send + Sync;

/// A running one; it ends with the test.
pub struct Hook {
    pub address: SocketAddr,
    /// The authority of its certificate, PEM in base64.
    pub ca_bundle: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

/// An address of this machine that others could reach, or else the loopback address.
pub fn own_address() -> IpAddr {
    let found = UdpSocket::bind("0.0.0.0:0").and_then(|socket| {
        // Nothing is sent: this only asks which way it would go.
        socket.connect("192.0.2.1:9")?;
        socket.local_addr()
    });
    found.map_or(IpAddr::from([127, 0, 0, 1]), |address| address.ip())
}

impl Hook {
    pub fn start(answer: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Self {
        let answer: Arc<Answering> = Arc::new(answer);
        let mut authority = CertificateParams::new(Vec::new()).unwrap();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority_key = KeyPair::generate().unwrap();
        let root = authority.self_signed(&authority_key).unwrap();
        let issuer = Issuer::new(authority, authority_key);
        let names = ["hook.hooks.svc", "localhost", "127.0.0.1"].map(str::to_owned);
        let key = KeyPair::generate().unwrap();
        let leaf = CertificateParams::new(names).unwrap().signed_by(&key, &issuer).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![leaf.der().clone()], key.into())
            .unwrap();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = RUNTIME.block_on(TcpListener::bind("0.0.0.0:0")).expect("a port");
        let port = listener.local_addr().expect("its address").port();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let log = asked.clone();
        RUNTIME.spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                let (acceptor, answer, log) = (acceptor.clone(), answer.clone(), log.clone());
                tokio::spawn(async move {
                    let Ok(tls) = acceptor.accept(tcp).await else { return };
                    let service = service_fn(move |request| respond(request, answer.clone(), log.clone()));
                    // It ends when the caller lets go.
                    let _ = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new())
                        .serve_connection_with_upgrades(TokioIo::new(tls), service)
                        .await;
                });
            }
        });
        Self { address: SocketAddr::new(own_address(), port), ca_bundle: STANDARD.encode(root.pem()), asked }
    }

    /// What was asked so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

async fn respond(
    request: Request<Incoming>,
    answer: Arc<Answering>,
    log: Arc<Mutex<Vec<Asked>>>,
) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let mut request = request;
    let protocol = request.headers().get("upgrade").cloned();
    let upgrade = protocol.is_some().then(|| hyper::upgrade::on(&mut request));
    let (parts, body) = request.into_parts();
    let bytes = body.collect().await?.to_bytes();
    let asked = Asked {
        method: parts.method.to_string(),
        path: parts.uri.path().to_owned(),
        query: parts.uri.query().unwrap_or("").to_owned(),
        headers: parts.headers,
        body: serde_json::from_slice(&bytes).unwrap_or(Value::Null),
    };
    let reply = answer(&asked);
    log.lock().unwrap().push(asked);
    tokio::time::sleep(reply.after).await;
    let mut response = Response::builder().status(reply.code);
    if reply.code == 101
        && let (Some(protocol), Some(upgrade)) = (protocol, upgrade)
    {
        response = response.header("connection", "Upgrade").header("upgrade", protocol);
        tokio::spawn(async move {
            let Ok(upgraded) = upgrade.await else { return };
            let (mut from, mut to) = tokio::io::split(TokioIo::new(upgraded));
            // It says what it hears, until the other end lets go.
            let _ = tokio::io::copy(&mut from, &mut to).await;
        });
    }
    for (name, value) in reply.headers {
        response = response.header(name, value);
    }
    Ok(response.body(Full::new(Bytes::from(reply.body))).expect("a response"))
}

/// An `AdmissionReview` that answers one.
pub fn review(asked: &Asked, mut response: Value) -> Reply {
    response["uid"] = asked.body["request"]["uid"].clone();
    Reply::json(json!({
        "kind": "AdmissionReview", "apiVersion": asked.body["apiVersion"], "response": response,
    }))
}

pub fn allow(asked: &Asked) -> Reply {
    review(asked, json!({"allowed": true}))
}

pub fn deny(asked: &Asked, message: &str) -> Reply {
    review(asked, json!({"allowed": false, "status": {"message": message}}))
}

pub fn patch(asked: &Asked, operations: Value) -> Reply {
    let encoded = STANDARD.encode(operations.to_string());
    review(asked, json!({"allowed": true, "patchType": "JSONPatch", "patch": encoded}))
}
