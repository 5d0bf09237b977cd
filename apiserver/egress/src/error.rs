//! What can go wrong with a call, worded as Go's network packages do, for that is what users of Kubernetes know and look
//! for.

use std::net::{IpAddr, SocketAddr};

/// A call that failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The policy does not let the caller reach the address.
    #[error(
        "dial tcp {address}: egress denied: {} is {why}; an administrator of the management cluster allows it with \
         spec.egress.allowedCIDRs of the control plane's class or VirtualCluster", address.ip()
    )]
    Denied {
        /// The address.
        address: SocketAddr,
        /// What the address is: `a loopback address`.
        why: &'static str,
    },
    /// The name cannot be resolved.
    #[error("dial tcp: lookup {host}: {why}")]
    Lookup {
        /// The name.
        host: String,
        /// What the resolver said.
        why: String,
    },
    /// Nobody answers at the address.
    #[error("dial tcp {address}: {why}")]
    Dial {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        why: String,
    },
    /// The handshake failed, or the peer's certificate is not trusted.
    #[error("tls: {0}")]
    Tls(String),
    /// It took longer than the caller waits.
    #[error("context deadline exceeded")]
    Timeout,
    /// The peer ended the connection before it had answered.
    #[error("EOF")]
    Closed,
    /// The peer does not speak HTTP as it should.
    #[error("{0}")]
    Http(String),
    /// The answer is larger than the caller takes.
    #[error("the answer is larger than {limit} bytes")]
    TooLarge {
        /// How much it takes.
        limit: usize,
    },
    /// The peer answers with a redirect.
    #[error(
        "the answer is a redirect ({code}), and redirects are not followed; give the address it leads to"
    )]
    Redirect {
        /// Its status code.
        code: u16,
    },
    /// The target is not described as it should be.
    #[error("{0}")]
    Invalid(String),
}

impl Error {
    pub(crate) fn dial(address: SocketAddr, error: &std::io::Error) -> Self {
        let why = match error.kind() {
            std::io::ErrorKind::ConnectionRefused => "connect: connection refused".to_owned(),
            std::io::ErrorKind::HostUnreachable => "connect: no route to host".to_owned(),
            std::io::ErrorKind::NetworkUnreachable => "connect: network is unreachable".to_owned(),
            std::io::ErrorKind::TimedOut => "i/o timeout".to_owned(),
            _ => format!("connect: {error}"),
        };
        Self::Dial { address, why }
    }

    pub(crate) fn denied(address: SocketAddr, why: &'static str) -> Self {
        Self::Denied { address: SocketAddr::new(canonical(address.ip()), address.port()), why }
    }

    /// Whether the policy refused it, so that trying again changes nothing.
    pub fn is_denied(&self) -> bool {
        matches!(self, Self::Denied { .. })
    }

    /// Whether the time was over.
    pub fn is_timeout(&self) -> bool {
        matches!(self, Self::Timeout)
    }
}

fn canonical(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

/// A failure as Go's HTTP client words it: `Post "https://host/path": EOF`.
pub fn of_request(method: &http::Method, url: &str, error: &Error) -> String {
    let method = method.as_str();
    let (first, rest) = method.split_at(method.len().min(1));
    format!("{first}{} {url:?}: {error}", rest.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_read_as_those_of_go() {
        let error = Error::Dial {
            address: SocketAddr::from(([10, 0, 0, 1], 443)),
            why: "connect: connection refused".into(),
        };
        assert_eq!(
            of_request(&http::Method::POST, "https://a.b.svc:443/x?timeout=10s", &error),
            r#"Post "https://a.b.svc:443/x?timeout=10s": dial tcp 10.0.0.1:443: connect: connection refused"#
        );
    }
}
