//! From a target to a connection with it.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::tls::TlsConfigs;
use crate::{Caller, Error, Policy, Scheme, Target};

/// How long one address is tried.
const PATIENCE: Duration = Duration::from_secs(10);

/// A connection with a target, inside TLS where the target asks for it.
#[derive(Debug)]
pub(crate) struct Stream {
    inner: Inner,
    /// Who is at the other end.
    pub peer: SocketAddr,
}

#[derive(Debug)]
enum Inner {
    Plain(TcpStream),
    Tls(Box<tokio_rustls::client::TlsStream<TcpStream>>),
}

impl Stream {
    /// Whether both ends agreed on HTTP/2.
    pub(crate) fn is_http2(&self) -> bool {
        match &self.inner {
            Inner::Plain(_) => false,
            Inner::Tls(stream) => stream.get_ref().1.alpn_protocol() == Some(b"h2"),
        }
    }
}

/// The protocols that are offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocols {
    Any,
    Http1,
}

/// Resolves, judges, dials, and shakes hands.
pub(crate) async fn dial(
    policy: &Policy,
    tls: &TlsConfigs,
    caller: &Caller,
    target: &Target,
    protocols: Protocols,
) -> Result<Stream, Error> {
    let tcp = dial_tcp(policy, caller, target).await?;
    let peer = tcp.peer_addr().map_err(|_| Error::Closed)?;
    // Requests are written at once; what is small must not wait.
    tcp.set_nodelay(true).map_err(|e| Error::dial(peer, &e))?;
    if target.scheme == Scheme::Http {
        return Ok(Stream { inner: Inner::Plain(tcp), peer });
    }
    let config = tls.config(target, protocols).await?;
    let name = crate::tls::server_name(target)?;
    let connector = TlsConnector::from(config);
    let shaken = timeout(PATIENCE, connector.connect(name, tcp)).await;
    let shaken = shaken.map_err(|_| Error::Tls("handshake timeout".into()))?;
    let stream = shaken.map_err(|e| crate::tls::failure(&e, target))?;
    Ok(Stream { inner: Inner::Tls(Box::new(stream)), peer })
}

async fn dial_tcp(policy: &Policy, caller: &Caller, target: &Target) -> Result<TcpStream, Error> {
    let mut failure = None;
    for address in resolve(target).await? {
        // The address that is judged is the one that is dialled; nothing is resolved again in between.
        if let Err(why) = policy.check(caller, address) {
            failure.get_or_insert(Error::denied(address, why));
            continue;
        }
        match timeout(PATIENCE, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => failure = Some(Error::dial(address, &error)),
            Err(_) => failure = Some(Error::Dial { address, why: "i/o timeout".into() }),
        }
    }
    Err(failure.unwrap_or_else(|| Error::Lookup { host: target.host.clone(), why: "no such host".into() }))
}

async fn resolve(target: &Target) -> Result<Vec<SocketAddr>, Error> {
    if let Some(address) = target.address {
        return Ok(vec![address]);
    }
    if let Ok(ip) = target.host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip, target.port)]);
    }
    let lookup = |why: String| Error::Lookup { host: target.host.clone(), why };
    let found = timeout(PATIENCE, tokio::net::lookup_host((target.host.as_str(), target.port)));
    match found.await {
        Ok(Ok(addresses)) => Ok(addresses.collect()),
        Ok(Err(error)) => {
            tracing::debug!(host = target.host, %error, "a name cannot be resolved");
            Err(lookup("no such host".into()))
        }
        Err(_) => Err(lookup("i/o timeout".into())),
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.inner {
            Inner::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Inner::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.inner {
            Inner::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Inner::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.inner {
            Inner::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Inner::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.inner {
            Inner::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Inner::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
