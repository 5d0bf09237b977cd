//! A proxy of the operator's before root that authenticates users itself and says in headers who asks
//! (`--requestheader-…`). It proves who it is by a client certificate.

use http::HeaderMap;
use kplane_auth::UserInfo;
use kplane_auth::pki::ClientTrust;
use rustls::pki_types::CertificateDer;

/// Who may speak for others, and by which headers.
#[derive(Debug)]
pub struct FrontProxy {
    /// The CA that signed its certificate.
    pub trust: ClientTrust,
    /// The common names that it may have; any, when there are none.
    pub allowed_names: Vec<String>,
    /// The headers that say the user's name; the first that does counts.
    pub username_headers: Vec<String>,
    /// Those that say the uid.
    pub uid_headers: Vec<String>,
    /// Those that say groups.
    pub group_headers: Vec<String>,
    /// How those begin that say more.
    pub extra_prefixes: Vec<String>,
}

impl FrontProxy {
    /// The user that the proxy speaks for; `None` when it is not the proxy who asks, or it speaks for nobody.
    pub fn user(&self, headers: &HeaderMap, peer: &[CertificateDer<'static>], now: i64) -> Option<UserInfo> {
        let proxy = match self.trust.verify(peer, now) {
            Ok(found) => found?,
            Err(why) => {
                tracing::debug!(%why, "a client certificate is not the front proxy's");
                return None;
            }
        };
        if !self.allowed_names.is_empty() && !self.allowed_names.contains(&proxy.user.username) {
            tracing::debug!(
                name = proxy.user.username,
                "a certificate of the front proxy's CA has another name"
            );
            return None;
        }
        let first = |names: &[String]| -> String {
            let mut values = names.iter().filter_map(|name| headers.get(name.as_str())?.to_str().ok());
            values.find(|value| !value.is_empty()).unwrap_or_default().to_owned()
        };
        let username = first(&self.username_headers);
        if username.is_empty() {
            return None;
        }
        let groups = self.group_headers.iter().flat_map(|name| headers.get_all(name.as_str()));
        let mut user =
            UserInfo::new(username, groups.filter_map(|value| value.to_str().ok()).map(str::to_owned));
        user.uid = first(&self.uid_headers);
        for (header, value) in headers {
            let key = self.extra_prefixes.iter().find_map(|prefix| {
                header.as_str().strip_prefix(prefix.to_lowercase().as_str()).filter(|key| !key.is_empty())
            });
            if let (Some(key), Ok(value)) = (key, value.to_str()) {
                let key = crate::query::percent_decoded(key);
                user.extra.entry(key).or_default().push(value.to_owned());
            }
        }
        Some(user)
    }
}
