//! Service account tokens: JSON web tokens signed with ES256.
//!
//! The key of a control plane derives from the plane's secret and the control plane's uid, so that a thousand control
//! planes need neither key generation nor storage, and a token of one is noise to another. A secret being replaced
//! stays as a previous one for as long as its tokens live.

mod claims;
mod keys;
mod legacy;
mod request;
pub mod secrets;

use serde_json::Value;

pub use claims::{BoundObject, Claims, ServiceAccountClaims, unverified_issuer};
pub use keys::{PlaneSecret, TokenKeys};
pub use legacy::LEGACY_ISSUER;
pub use request::{IssueRequest, ServiceAccountTokens, TokenRequestOutcome};

/// Why a token is refused. The client is told 401 and no more.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// It is no token of ours, or changed.
    #[error("invalid signature")]
    Signature,
    /// It is not in the form of one.
    #[error("malformed token: {0}")]
    Malformed(&'static str),
    /// It is of another control plane.
    #[error("the token's issuer is another")]
    Issuer,
    /// Its time is over.
    #[error("service account token has expired")]
    Expired,
    /// Its time has not come.
    #[error("service account token is not valid yet")]
    NotYet,
    /// It is for somebody else.
    #[error("token audiences {found:?} is invalid for the target audiences {wanted:?}")]
    Audience {
        /// For whom it is.
        found: Vec<String>,
        /// For whom it should be.
        wanted: Vec<String>,
    },
    /// What it is bound to is gone or another.
    #[error("{0}")]
    Invalidated(String),
    /// The objects could not be read.
    #[error("cannot check the token: {0}")]
    Read(#[from] kplane_machinery::Status),
}

/// Reads objects of one control plane, as they are now.
#[async_trait::async_trait]
pub trait ObjectReader: Send + Sync {
    /// The object, or `None` when there is none. `group` is empty for core, `namespace` for cluster-scoped ones.
    async fn get(
        &self,
        group: &str,
        resource: &str,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Value>, kplane_machinery::Status>;

    /// A good token of a Secret was presented: the day is written on the Secret.
    fn token_used(&self, _secret: &Value) {}
}

#[cfg(test)]
mod tests;
