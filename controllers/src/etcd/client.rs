//! Connections to etcd (client required).

use std::future::Future;
use std::time::Duration;

use etcd_client::{Certificate, Client, ConnectOptions, Identity, TlsOptions};

use crate::Error;

/// How long a connection, and a request that does no work, may take.
const PATIENCE: Duration = Duration::from_secs(4);

/// By what etcd is trusted and who asks.
#[derive(Clone, Default)]
pub struct Access {
    /// The authorities to trust, in PEM.
    pub ca: Option<Vec<u8>>,
    /// The client's certificate and key, in PEM.
    pub identity: Option<(Vec<u8>, Vec<u8>)>,
    /// The name to find in the certificate of whoever answers, when it is not that of the address.
    pub name: Option<String>,
}

impl Access {
    /// A client of these addresses. Whether one answers shows with the first request.
    pub async fn connect(&self, endpoints: &[String]) -> Result<Client, Error> {
        let mut options = ConnectOptions::new()
            .with_connect_timeout(PATIENCE)
            .with_keep_alive(Duration::from_secs(10), Duration::from_secs(10));
        if self.ca.is_some() || self.identity.is_some() {
            let mut tls = TlsOptions::new();
            if let Some(ca) = &self.ca {
                tls = tls.ca_certificate(Certificate::from_pem(ca));
            }
            if let Some((certificate, key)) = &self.identity {
                tls = tls.identity(Identity::from_pem(certificate, key));
            }
            if let Some(name) = &self.name {
                tls = tls.domain_name(name);
            }
            options = options.with_tls(tls);
        }
        within(PATIENCE, Client::connect(endpoints, Some(options))).await
    }
}

/// The answer to a request that does no work.
pub async fn soon<T>(request: impl Future<Output = Result<T, etcd_client::Error>>) -> Result<T, Error> {
    within(PATIENCE, request).await
}

/// The answer to a request, if it comes in time.
pub async fn within<T>(
    patience: Duration,
    request: impl Future<Output = Result<T, etcd_client::Error>>,
) -> Result<T, Error> {
    match tokio::time::timeout(patience, request).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(Error::Etcd(describe(&error))),
        Err(_) => Err(Error::Etcd(format!("no answer within {} s", patience.as_secs()))),
    }
}

/// etcd's own words, and the causes of a transport's.
pub fn describe(error: &etcd_client::Error) -> String {
    if let etcd_client::Error::GRpcStatus(status) = error
        && std::error::Error::source(status).is_none()
    {
        return status.message().to_owned();
    }
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(deeper) = cause {
        let more = deeper.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = deeper.source();
    }
    text
}
