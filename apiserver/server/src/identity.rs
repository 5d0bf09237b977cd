//! Who is who in which control plane, and what they may do there: authentication and authorization put to work on the
//! registry.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, bail};
use async_trait::async_trait;
use http::HeaderMap;
use kplane_auth::authn::{Authenticator, AuthnError, Credentials, StaticTokens, VcpIdentity};
use kplane_auth::oidc::AuthenticationConfiguration;
use kplane_auth::pki::{
    CertifiedPem, ClientSubject, ClientTrust, Pki, PkiError, VcpScope, certificates_of_pem,
};
use kplane_auth::token::{IssueRequest, ServiceAccountTokens, TokenKeys, TokenRequestOutcome};
use kplane_auth::user::MASTERS;
use kplane_auth::{ObjectReader, UserInfo};
use kplane_machinery::field::ErrorList;
use kplane_machinery::time::Time;
use kplane_machinery::{GroupResource, Status};
use kplane_registry::{Vcp, VcpState};
use rustls::pki_types::CertificateDer;
use serde_json::Value;
use tokio::sync::RwLock;

use crate::app::App;
use crate::authorization::Link;
use crate::endpoints::failures;
use crate::endpoints::reader::VcpReader;
use crate::filters::bearer;
use crate::foreign::{ForeignTokens, TokenWebhook, kubeconfig_target};
use crate::front_proxy::FrontProxy;
use crate::legacy_tokens::UsedTokens;
use crate::nodes::NodeIndexes;
use crate::options::Options;
use crate::rbac::Policies;

/// Who asks.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The user.
    pub user: UserInfo,
    /// Whether it is root's own: only such read across control planes.
    pub of_root: bool,
}

/// Whether requests without credentials are served.
enum Anonymous {
    Off,
    /// For these paths alone, or for all when none is named.
    On(Vec<String>),
}

/// The file of the operator's CAs, and what it held when it was read last.
struct ClientCas {
    file: PathBuf,
    seen: Mutex<Vec<u8>>,
}

/// Everybody's identities.
pub struct Identities {
    authenticator: Authenticator,
    pki: Arc<RwLock<Pki>>,
    client_cas: Option<ClientCas>,
    foreign: ForeignTokens,
    front_proxy: Option<FrontProxy>,
    root_links: std::sync::RwLock<Arc<[Link]>>,
    usual_links: Arc<[Link]>,
    anonymous: std::sync::RwLock<Arc<Anonymous>>,
    /// What `--anonymous-auth` says, where the file says nothing.
    anonymous_auth: bool,
    /// Secrets whose token was used, on their way to be marked.
    used_tokens: UsedTokens,
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

    fn token_used(&self, secret: &Value) {
        self.app().identities.used_tokens.note(self.vcp().id, secret);
    }
}

impl Identities {
    /// With the plane's certificates and keys, and what the operator's flags and files say.
    pub async fn new(pki: &Arc<RwLock<Pki>>, options: &Options, url: &str) -> anyhow::Result<Self> {
        let held = pki.read().await;
        let trust = ClientTrust::new(held.authority().trusted()).context("the CA for clients")?;
        let keys = TokenKeys::new(held.secrets().to_vec());
        let ca_pem = held.ca_pem().to_owned();
        drop(held);
        let static_tokens = match &options.token_auth_file {
            Some(path) => StaticTokens::load(path)
                .with_context(|| format!("the tokens of --token-auth-file {}", path.display()))?,
            None => StaticTokens::default(),
        };
        let longest = options.service_account_max_token_expiration;
        let longest = (!longest.is_zero()).then(|| i64::try_from(longest.as_secs()).unwrap_or(i64::MAX));
        let service_accounts = Arc::new(ServiceAccountTokens::new(keys).at_most(longest));
        let operator = options.client_ca_file.as_deref().map(trust_of).transpose()?;
        let config = match &options.authentication_config {
            Some(file) => authentication_config(file)?,
            None => AuthenticationConfiguration::default(),
        };
        let webhook = match &options.authentication_token_webhook_config_file {
            Some(file) => Some(TokenWebhook::new(
                kubeconfig_target(file)?,
                options.authentication_token_webhook_cache_ttl,
            )),
            None => None,
        };
        let foreign = ForeignTokens::new(&config.jwt, webhook, url).map_err(|e| wrong_issuers(&e))?;
        let anonymous = anonymous_of(config, options.anonymous_auth);
        Ok(Self {
            authenticator: Authenticator::new(Arc::new(trust), service_accounts, static_tokens)
                .with_operator(operator),
            // Read anew at once: what was there a moment ago is not kept.
            client_cas: options.client_ca_file.clone().map(|file| ClientCas { file, seen: Mutex::default() }),
            foreign,
            front_proxy: front_proxy(options)?,
            root_links: std::sync::RwLock::new(crate::authorization::of_root(options)?.into()),
            usual_links: crate::authorization::USUAL.into(),
            pki: pki.clone(),
            anonymous: std::sync::RwLock::new(Arc::new(anonymous)),
            anonymous_auth: options.anonymous_auth,
            used_tokens: UsedTokens::default(),
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
            epoch: vcp.credentials().epoch,
            generations: vcp.credentials().generations.clone(),
        }
    }

    /// Who presents these credentials; `None` when nothing was presented.
    pub async fn authenticate(
        &self,
        app: &App,
        vcp: Option<&Vcp>,
        headers: &HeaderMap,
        peer: &[CertificateDer<'static>],
    ) -> Result<Option<Caller>, Status> {
        let bearer = bearer(headers);
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
        let proxied = self.front_proxy.as_ref().and_then(|proxy| proxy.user(headers, peer, credentials.now));
        if let Some(user) = proxied
            && (identity.is_root || user.in_group(MASTERS))
        {
            return Ok(Some(Caller { user: user.authenticated(), of_root: true }));
        }
        match (self.authenticator.authenticate(&credentials).await, vcp, bearer) {
            (Ok(found), ..) => {
                Ok(found.map(|identity| Caller { user: identity.user, of_root: identity.of_root }))
            }
            // None of ours: it may be another's.
            (Err(AuthnError::UnknownToken), Some(vcp), Some(token)) => {
                match self.foreign.identify(app, vcp, &identity, token, &[]).await {
                    Ok(found) => {
                        Ok(Some(Caller { user: found.user.authenticated(), of_root: found.of_root }))
                    }
                    Err(Ok(why)) => {
                        tracing::debug!(why, "a token was refused");
                        Err(Status::unauthorized())
                    }
                    Err(Err(status)) => Err(status),
                }
            }
            (Err(error), ..) => Err(refused(&error)),
        }
    }

    /// Whether a path is served to who presents nothing.
    pub fn serves_anonymous(&self, path: &str) -> bool {
        let anonymous = self.anonymous.read().unwrap_or_else(PoisonError::into_inner).clone();
        match &*anonymous {
            Anonymous::Off => false,
            Anonymous::On(paths) => paths.is_empty() || paths.iter().any(|allowed| allowed == path),
        }
    }

    /// The authorizers of root.
    pub fn root_links(&self) -> Arc<[Link]> {
        self.root_links.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The authorizers of every other control plane.
    pub fn usual_links(&self) -> Arc<[Link]> {
        self.usual_links.clone()
    }

    /// Takes up the file of `--authorization-config`; when it cannot be used, everything stays as it is.
    pub fn take_authorization_config(&self, file: &Path) -> anyhow::Result<()> {
        let links = crate::authorization::load(file)?;
        *self.root_links.write().unwrap_or_else(PoisonError::into_inner) = links.into();
        Ok(())
    }

    /// Takes up the file of `--authentication-config`; when it cannot be used, everything stays as it is.
    pub fn take_authentication_config(&self, file: &Path) -> anyhow::Result<()> {
        let config = authentication_config(file)?;
        self.foreign.replace_plane(&config.jwt).map_err(|e| wrong_issuers(&e))?;
        let anonymous = anonymous_of(config, self.anonymous_auth);
        *self.anonymous.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(anonymous);
        Ok(())
    }

    /// Secrets whose token was used, on their way to be marked.
    pub fn used_tokens(&self) -> &UsedTokens {
        &self.used_tokens
    }

    /// Tokens that others issued.
    pub fn foreign(&self) -> &ForeignTokens {
        &self.foreign
    }

    /// The tokens of service accounts.
    pub fn tokens(&self) -> &ServiceAccountTokens {
        self.authenticator.tokens()
    }

    /// Takes up the token secrets of the data directory, if they changed.
    pub async fn reload_secrets(&self) -> Result<bool, PkiError> {
        let mut pki = self.pki.write().await;
        let changed = pki.reload_secrets()?;
        if changed {
            self.authenticator.tokens().replace_secrets(pki.secrets().to_vec());
        }
        Ok(changed)
    }

    /// Takes up the CAs of `--client-ca-file`, if they changed. When they cannot be used, those from before stay.
    pub fn reload_client_cas(&self) -> anyhow::Result<bool> {
        let (Some(known), Some(operator)) = (&self.client_cas, self.authenticator.operator()) else {
            return Ok(false);
        };
        let pem = std::fs::read(&known.file).with_context(|| known.file.display().to_string())?;
        let mut seen = known.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if *seen == pem {
            return Ok(false);
        }
        let certificates =
            certificates_of_pem(&pem).map_err(|why| anyhow::anyhow!("{} {why}", known.file.display()))?;
        operator.replace(certificates.iter()).with_context(|| known.file.display().to_string())?;
        *seen = pem;
        Ok(true)
    }

    /// The control plane as it is now, if other credentials of it are good now than were when the request was routed.
    /// What waited for a fresh revision since then has made the directory as new; `wait` makes sure of it.
    pub async fn newer(&self, app: &App, vcp: &Arc<Vcp>, wait: bool) -> Result<Option<Arc<Vcp>>, Status> {
        let now = if wait {
            app.registry.vcp_by_id(vcp.id).await.map_err(failures::store)?
        } else {
            app.registry.known(vcp.id)
        };
        // One that is gone has no good credentials.
        let now = now.filter(|now| now.state() == VcpState::Active).ok_or_else(Status::unauthorized)?;
        Ok((now.credentials() != vcp.credentials()).then_some(now))
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
    ) -> Result<(UserInfo, Vec<String>), Result<String, Status>> {
        let (identity, reader) = (self.of_vcp(vcp), VcpReader::new(app, vcp));
        let credentials = Credentials {
            bearer: Some(token),
            peer: &[],
            vcp: &identity,
            reader: &reader,
            audiences,
            now: Time::now().unix(),
        };
        match self.authenticator.by_token(token, &credentials).await {
            Ok(found) => Ok((found.user, found.audiences)),
            Err(AuthnError::UnknownToken) => {
                let found = self.foreign.identify(app, vcp, &identity, token, audiences).await?;
                let own = || vec![identity.issuer.clone()];
                Ok((found.user.authenticated(), found.audiences.unwrap_or_else(own)))
            }
            Err(error) => match error.read_failure() {
                Some(status) => Err(Err(status.clone())),
                None => Err(Ok(error.to_string())),
            },
        }
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
        Ok(self.authenticator.tokens().keys().jwks(&self.of_vcp(vcp).key_name(), Time::now().unix()))
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
        let key_name = identity.key_name();
        let reader = VcpReader::new(app, vcp);
        let asked = IssueRequest {
            key_name: &key_name,
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
        of: &ClientSubject<'_>,
        generation: Option<&str>,
        ttl: std::time::Duration,
    ) -> Result<CertifiedPem, Status> {
        let scope = (!vcp.is_root()).then(|| VcpScope {
            uid: vcp.uid(),
            epoch: vcp.credentials().epoch,
            generation: generation.map(str::to_owned),
        });
        let pki = self.pki.read().await;
        pki.issue_client(scope.as_ref(), of, ttl, Time::now().unix()).map_err(Status::internal)
    }

    /// A client certificate good in one control plane, or in root, for a key that its user keeps: the DER of a
    /// `SubjectPublicKeyInfo`. In PEM.
    pub async fn certify_client(
        &self,
        vcp: &Vcp,
        public_key: &[u8],
        of: &ClientSubject<'_>,
        ttl: std::time::Duration,
    ) -> Result<String, Status> {
        let scope = (!vcp.is_root()).then(|| VcpScope {
            uid: vcp.uid(),
            epoch: vcp.credentials().epoch,
            generation: None,
        });
        let now = Time::now().unix();
        let end = now.saturating_add(i64::try_from(ttl.as_secs()).map_err(Status::internal)?);
        let pki = self.pki.read().await;
        pki.authority().certify_client(public_key, scope.as_ref(), of, end, now).map_err(Status::internal)
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

fn wrong_issuers(errors: &ErrorList) -> anyhow::Error {
    let told: Vec<String> = errors.iter().map(ToString::to_string).collect();
    anyhow::anyhow!("--authentication-config: {}", told.join("; "))
}

/// Who is served without credentials: what the file says, or else the flag.
fn anonymous_of(config: AuthenticationConfiguration, flag: bool) -> Anonymous {
    match config.anonymous {
        Some(config) if config.enabled => {
            Anonymous::On(config.conditions.into_iter().map(|condition| condition.path).collect())
        }
        Some(_) => Anonymous::Off,
        None if flag => Anonymous::On(Vec::new()),
        None => Anonymous::Off,
    }
}

/// The CAs of a PEM file.
fn trust_of(file: &Path) -> anyhow::Result<ClientTrust> {
    let pem = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let certificates =
        certificates_of_pem(&pem).map_err(|why| anyhow::anyhow!("{} {why}", file.display()))?;
    ClientTrust::new(certificates.iter()).with_context(|| format!("the CAs of {}", file.display()))
}

fn authentication_config(file: &Path) -> anyhow::Result<AuthenticationConfiguration> {
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let config: AuthenticationConfiguration = serde_saphyr::from_str(&text)
        .with_context(|| format!("{} is no AuthenticationConfiguration", file.display()))?;
    let versions = ["v1", "v1beta1"].map(|version| format!("apiserver.config.k8s.io/{version}"));
    if config.kind != "AuthenticationConfiguration" || !versions.contains(&config.api_version) {
        bail!("{} is no AuthenticationConfiguration of apiserver.config.k8s.io/v1", file.display());
    }
    if let Some(anonymous) = &config.anonymous
        && !anonymous.enabled
        && !anonymous.conditions.is_empty()
    {
        bail!(
            "{}: anonymous.conditions: enabled should be set to true when conditions are defined",
            file.display()
        );
    }
    Ok(config)
}

fn front_proxy(options: &Options) -> anyhow::Result<Option<FrontProxy>> {
    let Some(file) = &options.requestheader_client_ca_file else { return Ok(None) };
    Ok(Some(FrontProxy {
        trust: trust_of(file)?,
        allowed_names: options.requestheader_allowed_names.clone(),
        username_headers: options.requestheader_username_headers.clone(),
        uid_headers: options.requestheader_uid_headers.clone(),
        group_headers: options.requestheader_group_headers.clone(),
        extra_prefixes: options.requestheader_extra_headers_prefix.clone(),
    }))
}

/// 401, whatever the reason, which is for the log alone; unless the credentials could not be judged.
fn refused(error: &AuthnError) -> Status {
    if let Some(status) = error.read_failure() {
        return status.clone();
    }
    tracing::debug!(%error, "credentials were refused");
    Status::unauthorized()
}
