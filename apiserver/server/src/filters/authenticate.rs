//! Who asks: client certificate, bearer token, or nobody.

use http::{HeaderMap, header};
use kplane_auth::UserInfo;
use kplane_machinery::Status;
use kplane_registry::Vcp;

use crate::app::App;
use crate::identity::Caller;
use crate::listen::Peer;

/// The bearer token of a request.
pub fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim()).filter(|token| !token.is_empty())
}

/// Who asks, in a control plane. Of one that does not exist only root's administrators are known. Bad credentials are
/// 401; none are the anonymous user.
pub async fn user(
    app: &App,
    vcp: Option<&Vcp>,
    headers: &HeaderMap,
    peer: &Peer,
    path: &str,
) -> Result<Caller, Status> {
    match app.identities.authenticate(app, vcp, headers, &peer.certificates).await? {
        Some(caller) => Ok(caller),
        None if app.identities.serves_anonymous(path) => {
            Ok(Caller { user: UserInfo::anonymous(), of_root: false })
        }
        None => Err(Status::unauthorized()),
    }
}

/// Refuses who is not known to root.
pub async fn root(app: &App, headers: &HeaderMap, peer: &Peer) -> Result<(), Status> {
    let caller = user(app, Some(&app.registry.root()), headers, peer, "/clusters").await?;
    if caller.of_root {
        return Ok(());
    }
    let gr = kplane_machinery::GroupResource::new("", "");
    Err(Status::forbidden(&gr, "", format!("User {:?} cannot get path \"/clusters\"", caller.user.username)))
}
