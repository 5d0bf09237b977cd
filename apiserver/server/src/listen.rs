//! The listener: TCP, TLS, HTTP/1.1 and HTTP/2, and an orderly end.

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, HeaderValue};
use http::{Request, StatusCode, Version};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use rustls::pki_types::CertificateDer;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use crate::body::Answer;
use crate::connections::{Connection, Connections, Place};

/// Who is at the other end of a connection.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Its address.
    pub address: SocketAddr,
    /// The name of the server that it asked for in its TLS handshake (SNI).
    pub server_name: Option<Arc<str>>,
    /// The certificate chain it presented, verified to end in a trusted authority; empty when it presented none.
    pub certificates: Arc<[CertificateDer<'static>]>,
    /// The connection.
    pub connection: Arc<Connection>,
}

/// What answers requests.
pub trait Handler: Send + Sync + 'static {
    /// Answers one.
    fn handle(self: Arc<Self>, request: Request<Incoming>, peer: Peer)
    -> impl Future<Output = Answer> + Send;

    /// Shakes hands with a client, as its turn comes: what that costs is borne by who asks for it.
    fn handshake<F>(&self, address: IpAddr, handshake: F) -> impl Future<Output = F::Output> + Send
    where
        F: Future + Send;

    /// Carries the requests of a connection that carries many at once, as its turn comes: frames cost as well.
    fn carry<F>(&self, peer: &Peer, carrying: F) -> impl Future<Output = F::Output> + Send
    where
        F: Future + Send;
}

/// How long a client may take to shake hands.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// How many streams a client may have open over one connection, as Go's server has it.
const STREAMS: u32 = 250;
/// The most that the headers of a request may take.
const MAX_HEADERS: u32 = 1 << 20;
/// How long requests in flight may take once the server is told to end.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);

/// Serves until `shutdown`, then lets the requests in flight finish. From `draining` on each answer over HTTP/1 ends its
/// connection: one that is closed while nothing is under way may be closed just when the next request is sent.
pub async fn serve<H: Handler>(
    listener: TcpListener,
    tls: Arc<rustls::ServerConfig>,
    handler: Arc<H>,
    most: usize,
    draining: CancellationToken,
    shutdown: CancellationToken,
) {
    let acceptor = TlsAcceptor::from(tls);
    let open = Connections::new(most);
    let connections = TaskTracker::new();
    connections.spawn(open.clone().run(shutdown.clone()));
    loop {
        let (stream, address) = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of file descriptors, mostly: wait for some to be given back.
                    warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            },
        };
        let (acceptor, handler) = (acceptor.clone(), handler.clone());
        let (draining, shutdown) = (draining.clone(), shutdown.clone());
        let place = open.enter(address.ip());
        connections.spawn(async move {
            // Also in the middle of a handshake.
            let ended = place.connection().ended().clone();
            tokio::select! {
                () = connection(stream, address, acceptor, handler, &place, draining, shutdown) => {}
                () = ended.cancelled() => debug!(%address, "a connection was given up"),
            }
        });
    }
    drop(listener);
    connections.close();
    if tokio::time::timeout(DRAIN_TIMEOUT, connections.wait()).await.is_err() {
        warn!("some requests were still in flight when the server ended");
    }
}

async fn connection<H: Handler>(
    stream: TcpStream,
    address: SocketAddr,
    acceptor: TlsAcceptor,
    handler: Arc<H>,
    place: &Place,
    draining: CancellationToken,
    shutdown: CancellationToken,
) {
    // Small answers must not wait for more to send.
    if let Err(error) = stream.set_nodelay(true) {
        debug!(%error, %address, "TCP_NODELAY could not be set");
    }
    let handshake = handler.handshake(address.ip(), acceptor.accept(stream));
    let stream = match tokio::time::timeout(HANDSHAKE_TIMEOUT, handshake).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return debug!(%error, %address, "TLS handshake failed"),
        Err(_) => return debug!(%address, "TLS handshake timed out"),
    };
    let certificates: Arc<[CertificateDer<'static>]> = match stream.get_ref().1.peer_certificates() {
        Some(chain) => chain.iter().map(|c| c.clone().into_owned()).collect(),
        None => Arc::default(),
    };
    let server_name = stream.get_ref().1.server_name().map(Arc::from);
    let carries_many = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let peer = Peer { address, server_name, certificates, connection: place.connection().clone() };
    let whose = peer.clone();
    let carrier = handler.clone();
    let service = service_fn(move |request: Request<Incoming>| {
        let (handler, peer, draining) = (handler.clone(), peer.clone(), draining.clone());
        let exchange = peer.connection.begin();
        async move {
            let closable = request.version() < Version::HTTP_2;
            let mut answer = handler.handle(request, peer).await;
            if closable && draining.is_cancelled() && answer.status() != StatusCode::SWITCHING_PROTOCOLS {
                answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Ok::<_, std::convert::Infallible>(answer.map(|body| exchange.answer(body)))
        }
    });
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(Duration::from_secs(32));
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(MAX_HEADERS)
        .keep_alive_interval(Some(Duration::from_secs(30)))
        .keep_alive_timeout(Duration::from_secs(20));
    let builder = if carries_many { builder.http2_only() } else { builder.http1_only() };
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    let running = async {
        tokio::pin!(connection);
        let ending = async {
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = place.connection().ending().cancelled() => {}
            }
        };
        tokio::select! {
            result = connection.as_mut() => result,
            () = ending => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        }
    };
    // Over HTTP/1 there is one request at a time, which waits for turns of its own.
    let result = if carries_many { carrier.carry(&whose, running).await } else { running.await };
    if let Err(error) = result {
        debug!(%error, %address, "connection ended");
    }
}

/// The largest body a request may have: 3 MiB, as upstream.
pub const MAX_BODY: usize = 3 * 1024 * 1024;

/// Reads a body whole. `Err(None)`: it is larger than [`MAX_BODY`]; `Err(Some)`: the client stopped sending.
pub async fn read_body(body: Incoming) -> Result<Bytes, Option<String>> {
    use http_body_util::{BodyExt, LengthLimitError, Limited};
    match Limited::new(body, MAX_BODY).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(None),
        Err(error) => Err(Some(error.to_string())),
    }
}
