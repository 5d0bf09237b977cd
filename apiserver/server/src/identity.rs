//! Who is who in which control plane, and what they may do there: authentication and authorization put to work on the
//! registry.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use async_trait::async_trait;
use kplane_auth::authn::{Authenticator, AuthnError, Credentials, Identity, StaticTokens, VcpIdentity};
use kplane_auth::pki::{CertifiedPem, ClientTrust, Pki};
use kplane_auth::token::{IssueRequest, ServiceAccountTokens, TokenKeys, TokenRequestOutcome};
use kplane_auth::{ObjectReader, UserInfo};
use kplane_machinery::time::Time;
use kplane_machinery::{GroupResource, Status};
use kplane_registry::Vcp;
use rustls::pki_types::CertificateDer;
use serde_json::Value;
use tokio::sync::RwLock;

use crate::app::App;
use crate::endpoints::reader::VcpReader;
use crate::nodes::NodeIndexes;
use crate::rbac::Policies;

/// Who asks.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The user.
    pub user: UserInfo,
    /// Whether it is root's own: only such read across control planes.
    pub of_root: bool,
}

/// Everybody's identities.
pub struct Identities {
    authenticator: Authenticator,
    pki: Arc<RwLock<Pki>>,
    /// Whether requests without credentials are served.
    pub anonymous: bool,
    /// `https://HOST:PORT`, with which issuers begin.
    url: String,
    /// The CA that client certificates end in, in PEM.
    pub ca_pem: String,
    policies: Policies,
    nodes: NodeIndexes,
}

#[async_trait]
impl ObjectReader for VcpReader<'_> {
    async fn get(
        &self,
        group: &str,
        resource: &str,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Value>, Status> {
        kplane_admission::Reader::get(self, &GroupResource::new(group, resource), namespace, name).await
    }
}

impl Identities {
    /// With the plane's certificates and keys, and the tokens of a file.
    pub async fn new(
        pki: &Arc<RwLock<Pki>>,
        tokens: Option<&Path>,
        anonymous: bool,
        url: &str,
    ) -> anyhow::Result<Self> {
        let held = pki.read().await;
        let trust = ClientTrust::new([held.authority().certificate()]).context("the CA for clients")?;
        let keys = TokenKeys::new(held.secret().clone(), []);
        let ca_pem = held.ca_pem().to_owned();
        drop(held);
        let static_tokens = match tokens {
            Some(path) => StaticTokens::load(path)
                .with_context(|| format!("the tokens of --token-auth-file {}", path.display()))?,
            None => StaticTokens::default(),
        };
        let service_accounts = Arc::new(ServiceAccountTokens::new(keys));
        Ok(Self {
            authenticator: Authenticator::new(Arc::new(trust), service_accounts, static_tokens),
            pki: pki.clone(),
            anonymous,
            url: url.to_owned(),
            ca_pem,
            policies: Policies::default(),
            nodes: NodeIndexes::default(),
        })
    }

    /// A control plane as identities know it.
    pub fn of_vcp(&self, vcp: &Vcp) -> VcpIdentity {
        VcpIdentity {
            name: vcp.name.to_string(),
            uid: vcp.uid(),
            is_root: vcp.is_root(),
            issuer: format!("{}/clusters/{}/control-plane", self.url, vcp.name),
            accepted_issuers: Vec::new(),
        }
    }

    /// Who presents these credentials; `None` when nothing was presented.
    pub async fn authenticate(
        &self,
        app: &App,
        vcp: Option<&Vcp>,
        bearer: Option<&str>,
        peer: &[CertificateDer<'static>],
    ) -> Result<Option<Caller>, Status> {
        let root = app.registry.root();
        // Where there is no control plane, only root's administrators are known: nobody's uid is empty.
        let (identity, reader) = match vcp {
            Some(vcp) => (self.of_vcp(vcp), VcpReader::new(app, vcp)),
            None => (
                VcpIdentity {
                    is_root: false,
                    uid: String::new(),
                    issuer: String::new(),
                    ..self.of_vcp(&root)
                },
                VcpReader::new(app, &root),
            ),
        };
        let credentials = Credentials {
            // A stranger's token must not be looked for among root's objects.
            bearer: bearer.filter(|_| vcp.is_some() || self.is_static(bearer)),
            peer,
            vcp: &identity,
            reader: &reader,
            audiences: &[],
            now: Time::now().unix(),
        };
        if vcp.is_none() && bearer.is_some() && credentials.bearer.is_none() {
            return Err(Status::unauthorized());
        }
        match self.authenticator.authenticate(&credentials).await {
            Ok(found) => Ok(found.map(|identity| Caller { user: identity.user, of_root: identity.of_root })),
            Err(error) => Err(refused(&error)),
        }
    }

    fn is_static(&self, bearer: Option<&str>) -> bool {
        bearer.is_some_and(|token| self.authenticator.has_static(token))
    }

    /// Whom a token speaks for: the answer of a `TokenReview`.
    pub async fn review_token(
        &self,
        app: &App,
        vcp: &Vcp,
        token: &str,
        audiences: &[String],
    ) -> Result<Identity, AuthnError> {
        let (identity, reader) = (self.of_vcp(vcp), VcpReader::new(app, vcp));
        let credentials = Credentials {
            bearer: Some(token),
            peer: &[],
            vcp: &identity,
            reader: &reader,
            audiences,
            now: Time::now().unix(),
        };
        self.authenticator.by_token(token, &credentials).await
    }

    /// The pods of nodes.
    pub fn nodes(&self) -> &NodeIndexes {
        &self.nodes
    }

    /// What RBAC says in a control plane.
    pub fn policies(&self) -> &Policies {
        &self.policies
    }

    /// The public keys of a control plane's tokens.
    pub fn jwks(&self, vcp: &Vcp) -> Result<Value, Status> {
        Ok(self.authenticator.tokens().keys().jwks(&vcp.uid()))
    }

    /// Where those keys are found.
    pub fn openid_configuration(&self, vcp: &Vcp) -> Result<Value, Status> {
        Ok(self.authenticator.tokens().keys().openid_configuration(&self.of_vcp(vcp).issuer))
    }

    /// Answers a `TokenRequest` for a service account.
    pub async fn issue_token(
        &self,
        app: &App,
        vcp: &Vcp,
        account: &Value,
        request: &Value,
    ) -> Result<TokenRequestOutcome, Status> {
        let identity = self.of_vcp(vcp);
        let reader = VcpReader::new(app, vcp);
        let asked = IssueRequest {
            vcp_uid: &identity.uid,
            issuer: &identity.issuer,
            account,
            request,
            now: Time::now().unix(),
        };
        self.authenticator.tokens().issue(asked, &reader).await
    }

    /// A client certificate good in one control plane, or in root.
    pub async fn issue_client(
        &self,
        vcp: &Vcp,
        user: &str,
        groups: &[String],
        ttl: std::time::Duration,
    ) -> Result<CertifiedPem, Status> {
        let uid = (!vcp.is_root()).then(|| vcp.uid());
        let pki = self.pki.read().await;
        pki.issue_client(uid.as_deref(), user, groups, ttl, Time::now().unix()).map_err(Status::internal)
    }

    /// A client certificate good in one control plane, or in root, for a key that its user keeps: the DER of a
    /// `SubjectPublicKeyInfo`. In PEM.
    pub async fn certify_client(
        &self,
        vcp: &Vcp,
        public_key: &[u8],
        user: &str,
        groups: &[String],
        ttl: std::time::Duration,
    ) -> Result<String, Status> {
        let uid = (!vcp.is_root()).then(|| vcp.uid());
        let now = Time::now().unix();
        let end = now.saturating_add(i64::try_from(ttl.as_secs()).map_err(Status::internal)?);
        let pki = self.pki.read().await;
        pki.authority()
            .certify_client(public_key, uid.as_deref(), user, groups, end, now)
            .map_err(Status::internal)
    }

    /// Where the server is reached: `https://HOST:PORT`.
    pub fn url_of_server(&self) -> &str {
        &self.url
    }

    /// Where a control plane is reached.
    pub fn url(&self, vcp: &Vcp) -> String {
        format!("{}/clusters/{}/control-plane", self.url, vcp.name)
    }
}

/// 401, whatever the reason, which is for the log alone; unless the credentials could not be judged.
fn refused(error: &AuthnError) -> Status {
    if let Some(status) = error.read_failure() {
        return status.clone();
    }
    tracing::debug!(%error, "credentials were refused");
    Status::unauthorized()
}
