//! The listener: TCP, TLS, HTTP/1.1 and HTTP/2, and an orderly end.

use std::future::Future;
use std::net::SocketAddr;
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

/// Who is at the other end of a connection.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Its address.
    pub address: SocketAddr,
    /// The name of the server that it asked for in its TLS handshake (SNI).
    pub server_name: Option<Arc<str>>,
    /// The certificate chain it presented, verified to end in a trusted authority; empty when it presented none.
    pub certificates: Arc<[CertificateDer<'static>]>,
}

/// What answers requests.
pub trait Handler: Send + Sync + 'static {
    /// Answers one.
    fn handle(self: Arc<Self>, request: Request<Incoming>, peer: Peer)
    -> impl Future<Output = Answer> + Send;
}

/// How long a client may take to shake hands.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long requests in flight may take once the server is told to end.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);

/// Serves until `shutdown`, then lets the requests in flight finish. From `draining` on each answer over HTTP/1 ends its
/// connection: one that is closed while nothing is under way may be closed just when the next request is sent.
pub async fn serve<H: Handler>(
    listener: TcpListener,
    tls: Arc<rustls::ServerConfig>,
    handler: Arc<H>,
    draining: CancellationToken,
    shutdown: CancellationToken,
) {
    let acceptor = TlsAcceptor::from(tls);
    let connections = TaskTracker::new();
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
        connections.spawn(connection(stream, address, acceptor, handler, draining, shutdown));
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
    draining: CancellationToken,
    shutdown: CancellationToken,
) {
    // Small answers must not wait for more to send.
    if let Err(error) = stream.set_nodelay(true) {
        debug!(%error, %address, "TCP_NODELAY could not be set");
    }
    let stream = match tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return debug!(%error, %address, "TLS handshake failed"),
        Err(_) => return debug!(%address, "TLS handshake timed out"),
    };
    let certificates: Arc<[CertificateDer<'static>]> = match stream.get_ref().1.peer_certificates() {
        Some(chain) => chain.iter().map(|c| c.clone().into_owned()).collect(),
        None => Arc::default(),
    };
    let server_name = stream.get_ref().1.server_name().map(Arc::from);
    let peer = Peer { address, server_name, certificates };
    let service = service_fn(move |request: Request<Incoming>| {
        let (handler, peer, draining) = (handler.clone(), peer.clone(), draining.clone());
        async move {
            let closable = request.version() < Version::HTTP_2;
            let mut answer = handler.handle(request, peer).await;
            if closable && draining.is_cancelled() && answer.status() != StatusCode::SWITCHING_PROTOCOLS {
                answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Ok::<_, std::convert::Infallible>(answer)
        }
    });
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(Duration::from_secs(32));
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(1000)
        .max_header_list_size(1 << 20)
        .keep_alive_interval(Some(Duration::from_secs(30)))
        .keep_alive_timeout(Duration::from_secs(20));
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let result = tokio::select! {
        result = connection.as_mut() => result,
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
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
