//! Calls to servers on this machine.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::StatusCode;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rcgen::{CertificateParams, KeyPair};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::{Tls, parse_ranges};

/// A server that answers every request with what it was asked, and counts its connections.
struct Peer {
    address: SocketAddr,
    ca: Arc<[u8]>,
    connections: Arc<AtomicUsize>,
}

async fn peer(name: &str, authority: bool, protocols: &[&[u8]]) -> Peer {
    let mut params = CertificateParams::new([name.to_owned()]).unwrap();
    if authority {
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    }
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key.into())
        .unwrap();
    config.alpn_protocols = protocols.iter().map(|p| p.to_vec()).collect();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let connections = Arc::new(AtomicUsize::new(0));
    let count = connections.clone();
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            let (acceptor, count) = (acceptor.clone(), count.clone());
            tokio::spawn(async move {
                let Ok(tls) = acceptor.accept(tcp).await else { return };
                count.fetch_add(1, Ordering::Relaxed);
                let answer = service_fn(|request: Request<hyper::body::Incoming>| async move {
                    let path = request.uri().path().to_owned();
                    let body = request.into_body().collect().await.unwrap().to_bytes();
                    let (status, body) = match path.as_str() {
                        "/moved" => (StatusCode::FOUND, Bytes::new()),
                        "/never" => std::future::pending().await,
                        "/much" => (StatusCode::OK, Bytes::from(vec![b'x'; 4096])),
                        _ => (StatusCode::OK, body),
                    };
                    let mut response = Response::new(http_body_util::Full::new(body));
                    *response.status_mut() = status;
                    Ok::<_, std::convert::Infallible>(response)
                });
                // Ends when the client lets go.
                let _ = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new())
                    .serve_connection(TokioIo::new(tls), answer)
                    .await;
            });
        }
    });
    Peer { address, ca: certificate.pem().into_bytes().into(), connections }
}

fn target(peer: &Peer, host: &str) -> Target {
    Target {
        scheme: crate::Scheme::Https,
        host: host.into(),
        port: 443,
        address: Some(peer.address),
        tls: Tls { ca_bundle: peer.ca.clone(), ..Tls::default() },
    }
}

fn tenant(allowed: &[&str]) -> Caller {
    let allowed = parse_ranges(allowed.iter().copied()).unwrap();
    Caller::Tenant { id: "owls".into(), allowed: allowed.into() }
}

fn post(path: &str) -> Request<Bytes> {
    Request::post(path).body(Bytes::from_static(b"owl")).unwrap()
}

const LIMITS: Limits = Limits { time: Duration::from_secs(5), body: 1024 };

#[tokio::test]
async fn calls_are_answered_and_connections_kept() {
    for protocols in [&[b"h2".as_slice(), b"http/1.1"][..], &[b"http/1.1"], &[]] {
        for authority in [false, true] {
            let peer = peer("hook.owls.svc", authority, protocols).await;
            let egress = Egress::new(Policy::default());
            let (caller, target) = (tenant(&["127.0.0.0/8"]), target(&peer, "hook.owls.svc"));
            for _ in 0..3 {
                let answer = egress.send(&caller, &target, post("/x?timeout=1s"), LIMITS).await.unwrap();
                assert_eq!(&answer.body()[..], b"owl");
            }
            assert_eq!(peer.connections.load(Ordering::Relaxed), 1, "{protocols:?}");
            assert_eq!(egress.waiting(), 1);
            // Another tenant's calls have connections of their own.
            let other =
                Caller::Tenant { id: "hawks".into(), allowed: parse_ranges(["127.0.0.1"]).unwrap().into() };
            egress.send(&other, &target, post("/"), LIMITS).await.unwrap();
            assert_eq!(peer.connections.load(Ordering::Relaxed), 2);
        }
    }
}

#[tokio::test]
async fn a_connection_is_judged_each_time_it_is_used() {
    let peer = peer("hook", false, &[]).await;
    let egress = Egress::new(Policy::default());
    let target = target(&peer, "hook");
    egress.send(&tenant(&["127.0.0.1"]), &target, post("/"), LIMITS).await.unwrap();
    assert_eq!(egress.waiting(), 1);
    let error = egress.send(&tenant(&[]), &target, post("/"), LIMITS).await.unwrap_err();
    assert!(error.is_denied(), "{error}");
}

#[tokio::test]
async fn names_are_judged_by_what_they_resolve_to() {
    let egress = Egress::new(Policy::default());
    for url in
        ["https://localhost:1/", "https://127.1:1/", "https://2130706433:1/", "http://[::ffff:127.0.0.1]:1/"]
    {
        let target = Target::of_url(url).unwrap();
        let error = egress.send(&tenant(&[]), &target, post("/"), LIMITS).await.unwrap_err();
        assert!(error.is_denied(), "{url}: {error}");
        assert!(error.to_string().contains("loopback"), "{error}");
        let error = egress.upgrade(&tenant(&[]), &target, post("/").map(full)).await.unwrap_err();
        assert!(error.is_denied(), "{url}: {error}");
    }
}

#[tokio::test]
async fn failures_say_what_is_wrong() {
    let peer = peer("hook", false, &[b"h2"]).await;
    let stranger = self::peer("hook", false, &[]).await;
    let egress = Egress::new(Policy::default());
    let caller = tenant(&["127.0.0.1"]);
    let mut closed = target(&peer, "hook");
    closed.address = Some({
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap()
    });
    let mut untrusted = target(&peer, "hook");
    untrusted.tls.ca_bundle = stranger.ca.clone();
    let mut nonsense = target(&peer, "hook");
    nonsense.tls.ca_bundle = b"nonsense".as_slice().into();
    for (target, path, limits, said) in [
        (closed, "/", LIMITS, "connect: connection refused"),
        (untrusted, "/", LIMITS, "x509: certificate signed by unknown authority"),
        (target(&peer, "other"), "/", LIMITS, "x509: certificate is valid for hook, not other"),
        (nonsense, "/", LIMITS, "unable to load root certificates"),
        (target(&peer, "hook"), "/moved", LIMITS, "redirects are not followed"),
        (target(&peer, "hook"), "/much", LIMITS, "larger than 1024 bytes"),
        (
            target(&peer, "hook"),
            "/never",
            Limits { time: Duration::from_millis(50), ..LIMITS },
            "context deadline exceeded",
        ),
    ] {
        let error = egress.send(&caller, &target, post(path), limits).await.unwrap_err();
        assert!(error.to_string().contains(said), "{error}");
    }
    let mut insecure = target(&peer, "other");
    insecure.tls = Tls { insecure: true, ..Tls::default() };
    egress.send(&caller, &insecure, post("/"), LIMITS).await.unwrap();
}

#[tokio::test]
async fn a_peer_that_closed_is_called_anew() {
    // Answers one request a connection, and closes it without saying so.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut tcp, _)) = listener.accept().await {
            let mut buffer = [0; 1024];
            let read = tcp.read(&mut buffer).await.unwrap();
            assert!(buffer[..read].ends_with(b"owl"));
            tcp.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.unwrap();
        }
    });
    let egress = Egress::new(Policy::default());
    let target = Target::of_url(&format!("http://{address}/")).unwrap();
    for _ in 0..5 {
        let answer = egress.send(&Caller::Operator, &target, post("/"), LIMITS).await.unwrap();
        assert_eq!(&answer.body()[..], b"ok");
    }
}
