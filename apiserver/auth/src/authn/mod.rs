//! From the credentials of a request to an identity in one control plane.
//!
//! What is good where:
//!
//! | credential | root | its own control plane | another |
//! |---|---|---|---|
//! | client certificate of a control plane | – | yes | no |
//! | client certificate of root | yes | – | only in group `system:masters` |
//! | service account token | its own | yes | no |
//! | token of `--token-auth-file` | yes | – | only in group `system:masters` |
//! | bootstrap token | its own | yes | no |
//!
//! Root's other users are refused in the control planes, because a user of the same name there is somebody else.

mod bootstrap_token;
mod static_token;

use std::collections::BTreeMap;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;

pub use static_token::StaticTokens;

use crate::pki::{ClientTrust, PeerError, PeerScope, VcpScope};
use crate::token::{LEGACY_ISSUER, ObjectReader, ServiceAccountTokens, TokenError, unverified_issuer};
use crate::user::{MASTERS, UserInfo};

/// The control plane that a request is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VcpIdentity {
    /// Its name, as in its path.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// Whether it is root.
    pub is_root: bool,
    /// The issuer of its service account tokens, fixed at its creation.
    pub issuer: String,
    /// Issuers of earlier or of other addresses that are accepted too.
    pub accepted_issuers: Vec<String>,
    /// Only what was issued in this epoch is good.
    pub epoch: u64,
    /// Users of whose certificates only one generation is good, or none.
    pub generations: BTreeMap<String, Option<String>>,
}

impl VcpIdentity {
    /// What the keys of its tokens derive from: another epoch has other keys.
    pub fn key_name(&self) -> String {
        if self.epoch == 0 { self.uid.clone() } else { format!("{}\n{}", self.uid, self.epoch) }
    }

    fn accepts(&self, user: &str, scope: &VcpScope) -> bool {
        scope.epoch == self.epoch
            && match self.generations.get(user) {
                None => true,
                Some(required) => required.is_some() && *required == scope.generation,
            }
    }
}

/// What a request brought, and where it is to be judged.
#[derive(Clone, Copy)]
pub struct Credentials<'a> {
    /// The bearer token, without `Bearer`.
    pub bearer: Option<&'a str>,
    /// The client's certificate and its intermediates, empty when it showed none.
    pub peer: &'a [CertificateDer<'static>],
    /// The control plane.
    pub vcp: &'a VcpIdentity,
    /// The objects of that control plane.
    pub reader: &'a dyn ObjectReader,
    /// Whom a token must be for; empty is the API server itself, that is the issuer.
    pub audiences: &'a [String],
    /// Now, in seconds since 1970.
    pub now: i64,
}

/// How an identity was proven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    /// By a client certificate.
    Certificate,
    /// By a service account token.
    ServiceAccountToken,
    /// By a token of the file.
    StaticToken,
    /// By a bootstrap token.
    BootstrapToken,
}

/// Who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The user, with `system:authenticated`.
    pub user: UserInfo,
    /// How it was proven.
    pub via: Via,
    /// Whether it is root's own, and not one of the control plane: only these may read across control planes.
    pub of_root: bool,
    /// For a token, those of the asked audiences that it is for.
    pub audiences: Vec<String>,
}

/// Credentials were presented and are not good: 401, whatever the reason. The reason is for the log.
#[derive(Debug, thiserror::Error)]
pub enum AuthnError {
    /// The client certificate is not trusted.
    #[error(transparent)]
    Certificate(#[from] PeerError),
    /// The service account token is not good.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The token is none that we know. The words are those of a `TokenReview`.
    #[error("invalid bearer token")]
    UnknownToken,
    /// The credential is good elsewhere.
    #[error("the credential is not of this control plane")]
    ElsewhereOnly,
    /// The certificate was revoked.
    #[error("the credential was revoked")]
    Revoked,
}

impl AuthnError {
    /// Whether the credentials could not be judged, rather than being bad.
    pub fn read_failure(&self) -> Option<&kplane_machinery::Status> {
        match self {
            Self::Token(TokenError::Read(status)) => Some(status),
            _ => None,
        }
    }
}

/// Judges credentials for every control plane.
#[derive(Debug)]
pub struct Authenticator {
    trust: Arc<ClientTrust>,
    tokens: Arc<ServiceAccountTokens>,
    static_tokens: StaticTokens,
    /// The CAs of the operator: whom they certify is root's, whatever the certificate says.
    operator: Option<ClientTrust>,
}

impl Authenticator {
    /// With the CAs for clients, the keys of service accounts, and the tokens of a file.
    pub fn new(
        trust: Arc<ClientTrust>,
        tokens: Arc<ServiceAccountTokens>,
        static_tokens: StaticTokens,
    ) -> Self {
        Self { trust, tokens, static_tokens, operator: None }
    }

    /// Whom these CAs certify is one of root's users too.
    pub fn with_operator(self, operator: Option<ClientTrust>) -> Self {
        Self { operator, ..self }
    }

    /// The CAs of the operator.
    pub fn operator(&self) -> Option<&ClientTrust> {
        self.operator.as_ref()
    }

    /// The tokens of service accounts.
    pub fn tokens(&self) -> &ServiceAccountTokens {
        &self.tokens
    }

    /// Whether a token is one of the file: root's, whatever the control plane.
    pub fn has_static(&self, token: &str) -> bool {
        self.static_tokens.find(token.trim()).is_some()
    }

    /// Who it is; `Ok(None)` when nothing was presented, an error when what was presented is not good. A bad
    /// certificate beside a good token is forgiven, as upstream does.
    pub async fn authenticate(&self, credentials: &Credentials<'_>) -> Result<Option<Identity>, AuthnError> {
        let by_certificate = self.by_certificate(credentials);
        if let Ok(Some(identity)) = by_certificate {
            return Ok(Some(identity));
        }
        match credentials.bearer.map(str::trim).filter(|token| !token.is_empty()) {
            Some(token) => self.by_token(token, credentials).await.map(Some),
            None => by_certificate,
        }
    }

    fn by_certificate(&self, credentials: &Credentials<'_>) -> Result<Option<Identity>, AuthnError> {
        let vcp = credentials.vcp;
        let found = self.trust.verify(credentials.peer, credentials.now);
        let (found, by_operator) = match (found, &self.operator) {
            (Err(_), Some(operator)) => (operator.verify(credentials.peer, credentials.now), true),
            (found, _) => (found, false),
        };
        let Some(peer) = found? else { return Ok(None) };
        let of_root = match &peer.scope {
            _ if by_operator => true,
            PeerScope::Root => true,
            PeerScope::Vcp(scope) if scope.uid == vcp.uid => {
                if !vcp.accepts(&peer.user.username, scope) {
                    return Err(AuthnError::Revoked);
                }
                vcp.is_root
            }
            PeerScope::Vcp(_) => return Err(AuthnError::ElsewhereOnly),
        };
        may_enter(vcp, of_root, &peer.user)?;
        Ok(Some(Identity {
            user: peer.user.clone().authenticated(),
            via: Via::Certificate,
            of_root,
            audiences: Vec::new(),
        }))
    }

    /// Who a token speaks for: also the answer of a `TokenReview`.
    pub async fn by_token(&self, token: &str, credentials: &Credentials<'_>) -> Result<Identity, AuthnError> {
        let vcp = credentials.vcp;
        let own = [vcp.issuer.clone()];
        let audiences = if credentials.audiences.is_empty() { &own } else { credentials.audiences };
        if let Some(user) = self.static_tokens.find(token) {
            may_enter(vcp, true, user)?;
            return Ok(Identity {
                user: user.clone().authenticated(),
                via: Via::StaticToken,
                of_root: true,
                audiences: audiences.to_vec(),
            });
        }
        let claimed = unverified_issuer(token);
        if claimed.as_deref() == Some(LEGACY_ISSUER) {
            let key_name = vcp.key_name();
            let user =
                self.tokens.verify_legacy(token, &key_name, credentials.reader, credentials.now).await?;
            // Made before there were audiences: good for the server alone.
            let audiences: Vec<_> =
                audiences.iter().filter(|wanted| **wanted == vcp.issuer).cloned().collect();
            if audiences.is_empty() {
                return Err(AuthnError::UnknownToken);
            }
            return Ok(Identity {
                user: user.authenticated(),
                via: Via::ServiceAccountToken,
                of_root: vcp.is_root,
                audiences,
            });
        }
        if let Some(claimed) = claimed {
            let issuer =
                std::iter::once(&vcp.issuer).chain(&vcp.accepted_issuers).find(|known| **known == claimed);
            let issuer = issuer.ok_or(AuthnError::UnknownToken)?;
            let (user, audiences) = self
                .tokens
                .verify(token, &vcp.key_name(), issuer, audiences, credentials.reader, credentials.now)
                .await?;
            return Ok(Identity {
                user: user.authenticated(),
                via: Via::ServiceAccountToken,
                of_root: vcp.is_root,
                audiences,
            });
        }
        match bootstrap_token::find(token, credentials.reader, credentials.now)
            .await
            .map_err(TokenError::Read)?
        {
            Some(user) => Ok(Identity {
                user: user.authenticated(),
                via: Via::BootstrapToken,
                of_root: vcp.is_root,
                audiences: audiences.to_vec(),
            }),
            None => Err(AuthnError::UnknownToken),
        }
    }
}

/// Root's users enter another control plane as administrators or not at all.
fn may_enter(vcp: &VcpIdentity, of_root: bool, user: &UserInfo) -> Result<(), AuthnError> {
    if of_root && !vcp.is_root && !user.in_group(MASTERS) {
        return Err(AuthnError::ElsewhereOnly);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
