//! `/healthz`, `/livez`, `/readyz` and `/metrics` of the controllers, over plain HTTP: kubelet asks, and nothing secret is
//! told.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::{Response, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// What the controllers say of themselves.
#[derive(Debug, Default)]
pub struct Health {
    /// The management cluster was reached and what is needed there is installed.
    ready: AtomicBool,
}

impl Health {
    /// Says that the controllers work, or wait for their Lease.
    pub fn set_ready(&self) {
        self.ready.store(true, Ordering::Release);
    }

    fn answer(&self, path: &str) -> (StatusCode, String) {
        let ready = self.ready.load(Ordering::Acquire);
        match path {
            "/healthz" | "/livez" => (StatusCode::OK, "ok".into()),
            "/readyz" if ready => (StatusCode::OK, "ok".into()),
            "/readyz" => {
                (StatusCode::SERVICE_UNAVAILABLE, "the management cluster is not reached yet".into())
            }
            "/metrics" => {
                let version = env!("CARGO_PKG_VERSION");
                let text = format!(
                    "# TYPE kplane_controllers_info gauge\nkplane_controllers_info{{version=\"{version}\"}} 1\n\
                     # TYPE kplane_controllers_ready gauge\nkplane_controllers_ready {}\n",
                    u8::from(ready)
                );
                (StatusCode::OK, text)
            }
            _ => (StatusCode::NOT_FOUND, "404 page not found".into()),
        }
    }
}

/// Answers at an address until `shutdown`.
pub async fn serve(
    address: SocketAddr,
    health: Arc<Health>,
    shutdown: CancellationToken,
) -> std::io::Result<()> {
    let listener = TcpListener::bind(address).await?;
    loop {
        let (stream, _) = tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::debug!(%error, "a connection for a health check could not be accepted");
                    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                    continue;
                }
            },
        };
        let health = health.clone();
        tokio::spawn(async move {
            let service = service_fn(|request: http::Request<Incoming>| {
                let (status, text) = health.answer(request.uri().path());
                let mut response = Response::new(text);
                *response.status_mut() = status;
                async move { Ok::<_, Infallible>(response) }
            });
            let mut builder = http1::Builder::new();
            builder.timer(TokioTimer::new()).header_read_timeout(std::time::Duration::from_secs(10));
            if let Err(error) = builder.serve_connection(TokioIo::new(stream), service).await {
                tracing::debug!(%error, "a health check's connection ended");
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_is_not_said_before_it_is_so() {
        let health = Health::default();
        assert_eq!(health.answer("/livez").0, StatusCode::OK);
        assert_eq!(health.answer("/readyz").0, StatusCode::SERVICE_UNAVAILABLE);
        health.set_ready();
        assert_eq!(health.answer("/readyz").0, StatusCode::OK);
        assert_eq!(health.answer("/secrets").0, StatusCode::NOT_FOUND);
    }
}
