//! Where a call goes: [`Target`].

use std::net::SocketAddr;
use std::sync::Arc;

use http::Uri;

use crate::Error;

/// How a target is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Scheme {
    Http,
    Https,
}

impl Scheme {
    /// As URLs have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// A certificate that the server shows, in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The certificate, and those that lead to its authority.
    pub certificate: Arc<[u8]>,
    /// Its key.
    pub key: Arc<[u8]>,
}

/// How the peer is verified.
#[derive(Clone, Debug, Default)]
pub struct Tls {
    /// The certificates that are trusted, in PEM. Empty: those of the machine.
    pub ca_bundle: Arc<[u8]>,
    /// The peer's certificate is not looked at.
    pub insecure: bool,
    /// The name that the peer's certificate is for; empty: the target's host.
    pub server_name: String,
    /// What the server shows of itself.
    pub client: Option<ClientCertificate>,
}

/// Where a call goes.
#[derive(Clone, Debug)]
pub struct Target {
    /// How it is spoken to.
    pub scheme: Scheme,
    /// Its name or address, as in the URL; an IPv6 address without its brackets.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Where to dial instead of what the host resolves to: the endpoint of a Service.
    pub address: Option<SocketAddr>,
    /// How it is verified.
    pub tls: Tls,
}

impl Target {
    /// The target of a URL, of which the path is not part.
    pub fn of_url(url: &str) -> Result<Self, Error> {
        let uri: Uri = url.parse().map_err(|e| Error::Invalid(format!("{url:?} is no URL: {e}")))?;
        let scheme = match uri.scheme_str() {
            Some("https") => Scheme::Https,
            Some("http") => Scheme::Http,
            _ => return Err(Error::Invalid(format!("{url:?} is no URL of https"))),
        };
        let host = uri.host().filter(|host| !host.is_empty());
        let host = host.ok_or_else(|| Error::Invalid(format!("{url:?} names no host")))?;
        let port = uri.port_u16().unwrap_or(if scheme == Scheme::Https { 443 } else { 80 });
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        Ok(Self { scheme, host, port, address: None, tls: Tls::default() })
    }

    /// The host and port as in a URL; the port is left out where it goes without saying.
    pub fn authority(&self) -> String {
        let host = self.bracketed_host();
        match (self.scheme, self.port) {
            (Scheme::Https, 443) | (Scheme::Http, 80) => host,
            (_, port) => format!("{host}:{port}"),
        }
    }

    fn bracketed_host(&self) -> String {
        if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() }
    }

    /// The name that the peer's certificate is for.
    pub(crate) fn server_name(&self) -> &str {
        if self.tls.server_name.is_empty() { &self.host } else { &self.tls.server_name }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read() {
        let target = Target::of_url("https://example.test/hook?x=1").unwrap();
        assert_eq!((target.host.as_str(), target.port), ("example.test", 443));
        assert_eq!(target.authority(), "example.test");
        let target = Target::of_url("https://[::1]:8443/hook").unwrap();
        assert_eq!((target.host.as_str(), target.port), ("::1", 8443));
        assert_eq!(target.authority(), "[::1]:8443");
        assert!(Target::of_url("ftp://example.test").is_err());
        assert!(Target::of_url("/hook").is_err());
    }
}
