//! Tokens that others issued: by an issuer that the control plane trusts, or one that the plane's own file names, or any
//! that the operator's webhook knows.

mod keys;
mod webhook;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use kplane_auth::UserInfo;
use kplane_auth::authn::VcpIdentity;
use kplane_auth::oidc::{self, Issuer, JwtAuthenticator, Presented, Unverified};
use kplane_auth::user::MASTERS;
use kplane_machinery::field::{ErrorList, Path};
use kplane_machinery::time::Time;
use kplane_machinery::{Status, object};
use kplane_registry::{ObjectKey, Vcp};
use serde_json::Value;
use sha2::{Digest, Sha256};

use self::keys::IssuerKeys;
pub use self::webhook::{TokenWebhook, WebhookOptions, kubeconfig_target};

use crate::app::App;
use crate::endpoints::failures;
use crate::tenancy::resource_key;

/// How many lists of issuers are kept compiled. Control planes of one class share theirs.
const KEPT: usize = 256;

type Issuers = Arc<Vec<Issuer>>;

/// Who is known by tokens from elsewhere.
#[derive(Default)]
pub struct ForeignTokens {
    /// Those of the plane's file: root's users.
    plane: RwLock<Issuers>,
    webhook: Option<TokenWebhook>,
    keys: IssuerKeys,
    compiled: Mutex<HashMap<[u8; 32], Issuers>>,
    /// What begins the issuers of service account tokens.
    url: String,
}

/// Whom a token from elsewhere speaks for.
pub struct Foreign {
    /// The user, without `system:authenticated`.
    pub user: UserInfo,
    /// Whether it is one of root's.
    pub of_root: bool,
    /// The audiences that a webhook says it is for.
    pub audiences: Option<Vec<String>>,
}

/// Whether a URL is that of an issuer of ours.
fn is_own(url: &str, issuer: &str) -> bool {
    issuer.strip_prefix(url).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

impl ForeignTokens {
    /// With the issuers of the plane's file; the error is what is wrong with them.
    pub fn new(
        plane: &[JwtAuthenticator],
        webhook: Option<TokenWebhook>,
        url: &str,
    ) -> Result<Self, ErrorList> {
        let tokens = Self { webhook, url: url.to_owned(), ..Self::default() };
        tokens.replace_plane(plane)?;
        Ok(tokens)
    }

    /// Takes other issuers for root's users, from the next request on; when one is wrong, none.
    pub fn replace_plane(&self, plane: &[JwtAuthenticator]) -> Result<(), ErrorList> {
        let compiled = oidc::compile(plane, &Path::new("jwt"), &|issuer| is_own(&self.url, issuer))?;
        *self.plane.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(compiled);
        Ok(())
    }

    /// The issuers of `spec.auth.issuers`, compiled. What is wrong with them is told at its place.
    pub fn compile(&self, issuers: &Value) -> Result<Issuers, ErrorList> {
        let text = issuers.to_string();
        let hash: [u8; 32] = Sha256::digest(&text).into();
        if let Some(found) = self.compiled.lock().unwrap_or_else(PoisonError::into_inner).get(&hash) {
            return Ok(found.clone());
        }
        let at = Path::new("spec").child("auth").child("issuers");
        let authenticators: Vec<JwtAuthenticator> = serde_json::from_value(issuers.clone())
            .map_err(|e| vec![kplane_machinery::field::FieldError::invalid_str(&at, &text, e.to_string())])?;
        let compiled = Arc::new(oidc::compile(&authenticators, &at, &|issuer| is_own(&self.url, issuer))?);
        let mut kept = self.compiled.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= KEPT {
            kept.clear();
        }
        kept.insert(hash, compiled.clone());
        Ok(compiled)
    }

    /// Whom a token speaks for that is none of the control plane's own. `Err(Ok)`: it is good for nobody, and why;
    /// `Err(Err)`: it could not be judged.
    pub async fn identify(
        &self,
        app: &App,
        vcp: &Vcp,
        identity: &VcpIdentity,
        token: &str,
        audiences: &[String],
    ) -> Result<Foreign, Result<String, Status>> {
        let mut said: Vec<String> = Vec::new();
        // None of these issuers knows of audiences of the API server: a token is for the server, or for nobody.
        let for_us = audiences.is_empty() || audiences.contains(&identity.issuer);
        if let Some(presented) =
            Presented::parse(token).filter(|presented| for_us && !presented.issuer.is_empty())
        {
            if !vcp.is_root() {
                let issuers = self.of_vcp(app, vcp).await.map_err(Err)?;
                match self.judge(app, issuers.iter(), &presented, false).await {
                    Some(Ok(user)) => return Ok(Foreign { user, of_root: false, audiences: None }),
                    Some(Err(why)) => said.push(why),
                    None => {}
                }
            }
            let plane = self.plane.read().unwrap_or_else(PoisonError::into_inner).clone();
            match self.judge(app, plane.iter(), &presented, true).await {
                Some(Ok(user)) => return root_user(vcp, user, None).map_err(Ok),
                Some(Err(why)) => said.push(why),
                None => {}
            }
        }
        // What others were told is none of the webhook's business: it judges for root alone.
        if let Some(webhook) = self.webhook.as_ref().filter(|_| vcp.is_root()) {
            match webhook.review(&app.egress, token, audiences, &identity.issuer).await {
                Ok(Some((user, audiences))) => return root_user(vcp, user, Some(audiences)).map_err(Ok),
                Ok(None) => {}
                Err(why) => said.push(why),
            }
        }
        Err(Ok(match said.as_slice() {
            [] => "invalid bearer token".to_owned(),
            [one] => format!("[invalid bearer token, {one}]"),
            many => format!("[invalid bearer token, {}]", many.join(", ")),
        }))
    }

    /// The issuers that a control plane's record names, as of now.
    async fn of_vcp(&self, app: &App, vcp: &Vcp) -> Result<Issuers, Status> {
        let key = ObjectKey { resource: resource_key(), namespace: None, name: vcp.name.clone() };
        let record = app.registry.get(&app.registry.root(), &key).await.map_err(failures::store)?;
        let Some(record) = record else { return Ok(Issuers::default()) };
        let record = record.to_value().map_err(Status::internal)?;
        let issuers = &record["spec"]["auth"]["issuers"];
        if object::uid(&record) != vcp.uid() || issuers.as_array().is_none_or(Vec::is_empty) {
            return Ok(Issuers::default());
        }
        self.compile(issuers).map_err(|errors| {
            let told: Vec<String> = errors.iter().map(ToString::to_string).collect();
            Status::internal(format!("the issuers of VirtualCluster {}: {}", vcp.name, told.join("; ")))
        })
    }

    /// What one of the issuers makes of a token; `None` when it is of none of them.
    async fn judge(
        &self,
        app: &App,
        mut issuers: impl Iterator<Item = &Issuer>,
        presented: &Presented<'_>,
        operator: bool,
    ) -> Option<Result<UserInfo, String>> {
        let issuer = issuers.find(|issuer| issuer.config.url == presented.issuer)?;
        Some(self.verified(app, issuer, presented, operator).await)
    }

    async fn verified(
        &self,
        app: &App,
        issuer: &Issuer,
        presented: &Presented<'_>,
        operator: bool,
    ) -> Result<UserInfo, String> {
        let failed = |why: &dyn std::fmt::Display| format!("oidc: verify token: {why}");
        let mut keys =
            self.keys.of(&app.egress, &issuer.config, operator, None).await.map_err(|e| failed(&e))?;
        let mut verified = presented.verified(&keys);
        if verified == Err(Unverified::UnknownKey) {
            // The issuer may have changed its keys since.
            let newer = self.keys.of(&app.egress, &issuer.config, operator, Some(&keys)).await;
            keys = newer.map_err(|e| failed(&e))?;
            verified = presented.verified(&keys);
        }
        let claims = verified.map_err(|why| {
            failed(&match why {
                Unverified::UnknownKey | Unverified::Signature => {
                    "failed to verify signature: failed to verify id token signature"
                }
                Unverified::Algorithm => "oidc: id token signed with unsupported algorithm",
            })
        })?;
        issuer.user(claims, Time::now().unix())
    }
}

/// Root's users enter another control plane as administrators or not at all.
fn root_user(vcp: &Vcp, user: UserInfo, audiences: Option<Vec<String>>) -> Result<Foreign, String> {
    if !vcp.is_root() && !user.in_group(MASTERS) {
        return Err("the credential is not of this control plane".to_owned());
    }
    Ok(Foreign { user, of_root: true, audiences })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn issuers_are_compiled_once_for_all_who_share_them() {
        let tokens = ForeignTokens::new(&[], None, "https://plane:6443").unwrap();
        let issuers = |url: &str| json!([{"issuer": {"url": url, "audiences": ["a"]}, "claimMappings": {"username": {"claim": "sub", "prefix": ""}}}]);
        let one = tokens.compile(&issuers("https://issuer.test")).unwrap();
        assert!(Arc::ptr_eq(&one, &tokens.compile(&issuers("https://issuer.test")).unwrap()));
        for own in ["https://plane:6443", "https://plane:6443/clusters/a/control-plane"] {
            let errors = tokens.compile(&issuers(own)).unwrap_err();
            assert!(errors[0].to_string().starts_with("spec.auth.issuers[0].issuer.url"), "{errors:?}");
        }
        assert!(tokens.compile(&json!([{"issuer": {"urll": "x"}}])).is_err());
    }
}
