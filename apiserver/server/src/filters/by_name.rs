//! Control planes that are reached without a path: by the name of the host, or by the issuer of a token.

use http::request::Parts;
use http::{HeaderMap, header};
use kplane_auth::token::unverified_issuer;
use kplane_machinery::{Reason, Status};

use super::Target;
use super::authenticate::bearer;
use crate::app::App;
use crate::listen::Peer;

/// The control plane that a host below `--cluster-domain` names. There the whole path is the control plane's own.
///
/// The name in the TLS handshake and the one in the request must be the same, else 421 (RFC 9110, section 15.5.20): a
/// connection opened for one control plane must not carry requests for another.
pub fn target(app: &App, parts: &Parts, peer: &Peer) -> Result<Option<Target>, Status> {
    target_of(app, &parts.uri, &parts.headers, peer)
}

/// The same of a request that is still whole.
pub fn target_of(
    app: &App,
    uri: &http::Uri,
    headers: &HeaderMap,
    peer: &Peer,
) -> Result<Option<Target>, Status> {
    let Some(domain) = &app.cluster_domain else { return Ok(None) };
    let authority = match uri.authority() {
        Some(authority) => Some(authority.host()),
        None => headers.get(header::HOST).and_then(|host| host.to_str().ok()).map(without_port),
    };
    let authority = authority.unwrap_or("").to_ascii_lowercase();
    let server_name = peer.server_name.as_deref().unwrap_or("").to_ascii_lowercase();
    let (asked, shaken) = (label(&authority, domain), label(&server_name, domain));
    match (asked, shaken) {
        (None, None) => Ok(None),
        (Some(asked), Some(shaken)) if asked == shaken => Ok(Some(match asked {
            "root" => Target::Root,
            name => Target::Vcp(name.to_owned()),
        })),
        _ => Err(Status::new(
            421,
            Reason::BadRequest,
            format!("the connection was opened for {server_name:?} and cannot serve {authority:?}"),
        )),
    }
}

/// The control plane whose service account token a request at `/` bears: what a client in a pod has, which knows an
/// address alone. The token is verified there afterwards, like any other. Without such a token: root.
pub fn target_of_token(app: &App, headers: &HeaderMap) -> Target {
    let Some(issuer) = bearer(headers).and_then(unverified_issuer) else { return Target::Root };
    let path = issuer.strip_prefix(app.identities.url_of_server());
    match path.and_then(super::request_info::split_target) {
        Some((Target::Vcp(name), "/")) => Target::Vcp(name),
        _ => Target::Root,
    }
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    }
}

/// The one label before a domain.
fn label<'a>(host: &'a str, domain: &str) -> Option<&'a str> {
    let name = host.strip_suffix(domain)?.strip_suffix('.')?;
    (!name.is_empty() && !name.contains('.')).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_label_names_a_control_plane() {
        assert_eq!(label("a.example.test", "example.test"), Some("a"));
        for other in ["example.test", "b.a.example.test", "aexample.test", "a.example.org", ""] {
            assert_eq!(label(other, "example.test"), None, "{other}");
        }
        assert_eq!(without_port("a.example.test:6443"), "a.example.test");
    }
}
