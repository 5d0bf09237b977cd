//! Calls: [`Egress`].

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::HOST;
use http::{HeaderValue, Request, Response, Uri, Version};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::client::conn::{TrySendError, http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};

use crate::body::full;
use crate::dial::{Protocols, dial};
use crate::pool::{Key, Lease, Pool, Sender, key};
use crate::tls::TlsConfigs;
use crate::{Caller, Error, Policy, ReplyBody, RequestBody, Target};

/// What a call may cost.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// From its beginning to the end of the answer.
    pub time: Duration,
    /// The bytes of the answer.
    pub body: usize,
}

/// Makes calls. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Egress {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    policy: Policy,
    tls: TlsConfigs,
    pool: Arc<Pool>,
}

impl Egress {
    /// Calls under a policy.
    pub fn new(policy: Policy) -> Self {
        Self { shared: Arc::new(Shared { policy, tls: TlsConfigs::default(), pool: Arc::default() }) }
    }

    /// Sends a request, whose URI is a path and query, and reads the whole answer.
    pub async fn send(
        &self,
        caller: &Caller,
        target: &Target,
        request: Request<Bytes>,
        limits: Limits,
    ) -> Result<Response<Bytes>, Error> {
        let call = async {
            let (parts, bytes) = request.into_parts();
            let again = || Request::from_parts(parts.clone(), full(bytes.clone()));
            let response = match self.exchange(caller, target, again(), true).await {
                // A connection that had waited was closed by the peer just then: nothing was answered.
                Err(Failure { error: Error::Closed, reused: true }) => {
                    self.exchange(caller, target, again(), false).await
                }
                other => other,
            };
            let response = response.map_err(|failure| failure.error)?;
            if response.status().is_redirection() && response.status().as_u16() != 304 {
                return Err(Error::Redirect { code: response.status().as_u16() });
            }
            let (parts, body) = response.into_parts();
            let body = Limited::new(body, limits.body).collect().await.map_err(|error| {
                if error.downcast_ref::<LengthLimitError>().is_some() {
                    return Error::TooLarge { limit: limits.body };
                }
                match error.downcast::<hyper::Error>() {
                    Ok(error) => of_hyper(&error),
                    Err(error) => Error::Http(error.to_string()),
                }
            })?;
            Ok(Response::from_parts(parts, body.to_bytes()))
        };
        tokio::time::timeout(limits.time, call).await.map_err(|_| Error::Timeout)?
    }

    /// Sends a request, whose URI is a path and query, and hands the answer on as it comes.
    pub async fn stream(
        &self,
        caller: &Caller,
        target: &Target,
        request: Request<RequestBody>,
    ) -> Result<Response<ReplyBody>, Error> {
        self.exchange(caller, target, request, true).await.map_err(|failure| failure.error)
    }

    /// Sends a request that asks for another protocol, over a connection of its own: it is the caller's, in that protocol,
    /// if the answer says so.
    pub async fn upgrade(
        &self,
        caller: &Caller,
        target: &Target,
        request: Request<RequestBody>,
    ) -> Result<Response<hyper::body::Incoming>, Error> {
        let Shared { policy, tls, .. } = &*self.shared;
        let stream = dial(policy, tls, caller, target, Protocols::Http1).await?;
        let peer = stream.peer;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|e| of_hyper(&e))?;
        tokio::spawn(async move {
            if let Err(error) = connection.with_upgrades().await {
                tracing::debug!(%peer, %error, "a connection failed");
            }
        });
        exchange_over(&mut Sender::Http1(sender), target, request).await.map_err(|(error, _)| error)
    }

    async fn exchange(
        &self,
        caller: &Caller,
        target: &Target,
        mut request: Request<RequestBody>,
        pooled: bool,
    ) -> Result<Response<ReplyBody>, Failure> {
        let key = key(caller, target);
        while let Some(mut lease) = pooled.then(|| self.shared.pool.take(key)).flatten() {
            // What was allowed when it was made may be forbidden by now.
            if let Err(why) = self.shared.policy.check(caller, lease.peer) {
                return Err(Failure { error: Error::denied(lease.peer, why), reused: true });
            }
            match exchange_over(&mut lease.sender, target, request).await {
                Ok(response) => return Ok(response.map(|body| ReplyBody::new(body, lease))),
                // It had ended already, and nothing was sent.
                Err((_, Some(unsent))) => request = unsent,
                Err((error, None)) => return Err(Failure { error, reused: true }),
            }
        }
        let fresh = |error| Failure { error, reused: false };
        let mut lease = self.open(key, caller, target).await.map_err(fresh)?;
        let response = exchange_over(&mut lease.sender, target, request).await.map_err(|(e, _)| fresh(e))?;
        Ok(response.map(|body| ReplyBody::new(body, lease)))
    }

    async fn open(&self, key: Key, caller: &Caller, target: &Target) -> Result<Lease, Error> {
        let Shared { policy, tls, pool } = &*self.shared;
        let stream = dial(policy, tls, caller, target, Protocols::Any).await?;
        let peer = stream.peer;
        let sender = if stream.is_http2() {
            let (sender, connection) = http2::Builder::new(TokioExecutor::new())
                .timer(TokioTimer::new())
                .handshake(TokioIo::new(stream))
                .await
                .map_err(|e| of_hyper(&e))?;
            tokio::spawn(async move {
                if let Err(error) = connection.await {
                    tracing::debug!(%peer, %error, "a connection failed");
                }
            });
            Sender::Http2(sender)
        } else {
            let (sender, connection) =
                http1::handshake(TokioIo::new(stream)).await.map_err(|e| of_hyper(&e))?;
            tokio::spawn(async move {
                if let Err(error) = connection.await {
                    tracing::debug!(%peer, %error, "a connection failed");
                }
            });
            Sender::Http1(sender)
        };
        Ok(pool.lease(key, sender, peer))
    }

    /// How many connections wait for calls.
    #[cfg(test)]
    pub(crate) fn waiting(&self) -> usize {
        self.shared.pool.len()
    }
}

struct Failure {
    error: Error,
    /// On a connection that had been used before.
    reused: bool,
}

type Unsent = (Error, Option<Request<RequestBody>>);

async fn exchange_over(
    sender: &mut Sender,
    target: &Target,
    mut request: Request<RequestBody>,
) -> Result<Response<hyper::body::Incoming>, Unsent> {
    match sender {
        Sender::Http1(sender) => {
            if sender.ready().await.is_err() {
                return Err((Error::Closed, Some(request)));
            }
            *request.version_mut() = Version::HTTP_11;
            if !request.headers().contains_key(HOST) {
                let host = HeaderValue::from_str(&target.authority())
                    .map_err(|e| (Error::Invalid(format!("the host {:?}: {e}", target.host)), None))?;
                request.headers_mut().insert(HOST, host);
            }
            sender.try_send_request(request).await.map_err(unsent)
        }
        Sender::Http2(sender) => {
            if sender.ready().await.is_err() {
                return Err((Error::Closed, Some(request)));
            }
            *request.version_mut() = Version::HTTP_2;
            let host = request.headers_mut().remove(HOST);
            let host = host.and_then(|h| h.to_str().ok().map(str::to_owned));
            let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
            let uri = Uri::builder()
                .scheme(target.scheme.as_str())
                .authority(host.unwrap_or_else(|| target.authority()))
                .path_and_query(path)
                .build()
                .map_err(|e| (Error::Invalid(format!("the host {:?}: {e}", target.host)), None))?;
            *request.uri_mut() = uri;
            sender.try_send_request(request).await.map_err(unsent)
        }
    }
}

fn unsent(mut error: TrySendError<Request<RequestBody>>) -> Unsent {
    let request = error.take_message();
    (of_hyper(error.error()), request)
}

fn of_hyper(error: &hyper::Error) -> Error {
    if error.is_incomplete_message() || error.is_canceled() || error.is_closed() {
        return Error::Closed;
    }
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    match cause.downcast_ref::<std::io::Error>().map(std::io::Error::kind) {
        Some(std::io::ErrorKind::UnexpectedEof) => Error::Closed,
        Some(std::io::ErrorKind::ConnectionReset) => Error::Http("read: connection reset by peer".into()),
        _ => Error::Http(format!("{error}: {cause}")),
    }
}

#[cfg(test)]
mod tests;
