//! Making and verifying tokens: the `token` subresource of a service account.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use kplane_machinery::field::{FieldError, Path};
use kplane_machinery::{GroupKind, GroupResource, Status, object, time::Time};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::claims::{BoundObject, Claims, ServiceAccountClaims, sign_claims, verify_claims};
use super::keys::TokenKeys;
use super::secrets::DatedSecret;
use super::{ObjectReader, TokenError, legacy};
use crate::user::{UserInfo, service_account_username};

/// The shortest life of a token.
const SHORTEST: i64 = 10 * 60;
/// The longest.
const LONGEST: i64 = 1 << 32;
/// What clients ask for whose tokens may be used longer than they are meant to, with a warning.
const WARNED: i64 = 60 * 60 + 7;
/// How long these are good.
const EXTENDED: i64 = 365 * 24 * 60 * 60;
/// How many verified signatures are remembered.
const REMEMBERED: usize = 4096;

/// A token asked for.
#[derive(Clone, Copy, Debug)]
pub struct IssueRequest<'a> {
    /// What the keys of the control plane derive from.
    pub key_name: &'a str,
    /// Its issuer.
    pub issuer: &'a str,
    /// The service account, as it is now.
    pub account: &'a Value,
    /// The `TokenRequest`, after defaulting and pruning.
    pub request: &'a Value,
    /// Now, in seconds since 1970.
    pub now: i64,
}

/// What a request for a token led to.
#[derive(Clone)]
pub struct TokenRequestOutcome {
    /// The `TokenRequest` to answer with: it holds the token.
    pub response: Value,
    /// The credential's id, for the audit annotation `authentication.kubernetes.io/issued-credential-id`.
    pub credential_id: String,
    /// What the client is to be told beside.
    pub warning: Option<String>,
}

impl fmt::Debug for TokenRequestOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenRequestOutcome")
            .field("credential_id", &self.credential_id)
            .finish_non_exhaustive()
    }
}

/// Makes and verifies the service account tokens of every control plane.
pub struct ServiceAccountTokens {
    keys: TokenKeys,
    remembered: Mutex<HashMap<[u8; 32], Signed>>,
    /// The longest life of a token; none without.
    longest: Option<i64>,
}

/// Claims whose signature is good for as long as its key is trusted.
type Signed = (Arc<Claims>, Option<i64>);

impl fmt::Debug for ServiceAccountTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServiceAccountTokens").field("keys", &self.keys).finish_non_exhaustive()
    }
}

impl ServiceAccountTokens {
    /// With these keys.
    pub fn new(keys: TokenKeys) -> Self {
        Self { keys, remembered: Mutex::default(), longest: None }
    }

    /// None lives longer than so many seconds, whatever is asked for (`--service-account-max-token-expiration`).
    pub fn at_most(self, longest: Option<i64>) -> Self {
        Self { longest, ..self }
    }

    /// The keys, for the discovery documents.
    pub fn keys(&self) -> &TokenKeys {
        &self.keys
    }

    /// Signs claims for a control plane.
    pub fn sign(&self, key_name: &str, claims: &Claims, now: i64) -> Result<String, Status> {
        sign_claims(&self.keys, key_name, claims, now).ok_or_else(|| Status::internal("cannot sign a token"))
    }

    /// Takes other secrets, say after they were rotated.
    pub fn replace_secrets(&self, secrets: Vec<DatedSecret>) {
        self.keys.replace(secrets);
        self.remembered.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// The token of an account for a Secret of type `kubernetes.io/service-account-token`.
    pub fn sign_legacy(
        &self,
        key_name: &str,
        account: &Value,
        secret: &str,
        now: i64,
    ) -> Result<String, Status> {
        legacy::sign(&self.keys, key_name, account, secret, now)
            .ok_or_else(|| Status::internal("cannot sign a token"))
    }

    /// Whether such a token is of the account, and of the key that signs now.
    pub fn is_current_legacy(&self, key_name: &str, token: &str, account: &Value, now: i64) -> bool {
        legacy::is_current(&self.keys, key_name, token, account, now)
    }

    /// Verifies such a token against its Secret and account as they are now.
    pub async fn verify_legacy(
        &self,
        token: &str,
        key_name: &str,
        reader: &dyn ObjectReader,
        now: i64,
    ) -> Result<UserInfo, TokenError> {
        legacy::verify(&self.keys, key_name, token, reader, now).await
    }

    /// Verifies a token in a control plane, for one of these audiences, and against the objects as they are now.
    pub async fn verify(
        &self,
        token: &str,
        key_name: &str,
        issuer: &str,
        audiences: &[String],
        reader: &dyn ObjectReader,
        now: i64,
    ) -> Result<(UserInfo, Vec<String>), TokenError> {
        let claims = self.signed(key_name, token, now)?;
        let audiences = claims.check(issuer, audiences, now)?;
        claims.check_live(reader, now).await?;
        if claims.kubernetes.warnafter.is_some_and(|after| after != 0 && after < now) {
            tracing::warn!(subject = claims.sub, "a stale service account token is used");
        }
        Ok((claims.user(), audiences))
    }

    /// The claims, from memory when this very token was verified before: only the signature is remembered.
    fn signed(&self, key_name: &str, token: &str, now: i64) -> Result<Arc<Claims>, TokenError> {
        let mut hash = Sha256::new();
        hash.update((key_name.len() as u64).to_be_bytes());
        hash.update(key_name);
        hash.update(token);
        let key: [u8; 32] = hash.finalize().into();
        if let Some((claims, until)) =
            self.remembered.lock().unwrap_or_else(PoisonError::into_inner).get(&key)
            && until.is_none_or(|until| until > now)
        {
            return Ok(claims.clone());
        }
        let (claims, until) = verify_claims::<Claims>(&self.keys, key_name, token, now)?;
        let claims = Arc::new(claims);
        let mut remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        if remembered.len() >= REMEMBERED {
            remembered.clear();
        }
        remembered.insert(key, (claims.clone(), until));
        Ok(claims)
    }

    /// Answers a `TokenRequest`: checks it, binds it, signs it.
    pub async fn issue(
        &self,
        ask: IssueRequest<'_>,
        reader: &dyn ObjectReader,
    ) -> Result<TokenRequestOutcome, Status> {
        let IssueRequest { key_name, issuer, account, request, now } = ask;
        let (namespace, name) = (object::namespace(account), object::name(account));
        for (what, said, real) in
            [("namespace", object::namespace(request), namespace), ("name", object::name(request), name)]
        {
            if !said.is_empty() && said != real {
                let field = Path::new("metadata").child(what);
                let why = format!("must match the service account {what} if specified");
                let errors = vec![FieldError::invalid_str(&field, said, why)];
                return Err(Status::invalid(
                    &GroupKind::new("authentication.k8s.io", "TokenRequest"),
                    name,
                    &errors,
                ));
            }
        }
        let (said, real) = (object::uid(request), object::uid(account));
        if !said.is_empty() && said != real {
            let why = format!(
                "the UID in the token request ({said}) does not match the UID of the service account ({real})"
            );
            let kind = GroupResource::new("authentication.k8s.io", "TokenRequest");
            return Err(Status::conflict(&kind, name, why));
        }
        let wanted = expiration(request)?;
        let asked = self.longest.map_or(wanted, |longest| wanted.min(longest));
        let warning = (asked < wanted)
            .then(|| format!("requested expiration of {wanted} seconds shortened to {asked} seconds"));
        let audiences = audiences(request, issuer);
        let bound = object::at(request, &["spec", "boundObjectRef"]).filter(|bound| !bound.is_null());

        let jti = uuid::Uuid::new_v4().to_string();
        let mut claims = Claims {
            aud: audiences.clone(),
            exp: now + asked,
            iat: now,
            iss: issuer.to_owned(),
            jti: jti.clone(),
            kubernetes: ServiceAccountClaims {
                namespace: namespace.to_owned(),
                serviceaccount: BoundObject { name: name.to_owned(), uid: object::uid(account).to_owned() },
                ..ServiceAccountClaims::default()
            },
            nbf: now,
            sub: service_account_username(namespace, name),
        };
        if let Some(bound) = bound {
            bind(&mut claims.kubernetes, bound, name, reader).await?;
        }
        let expires = claims.exp;
        if asked == WARNED && claims.kubernetes.pod.is_some() && audiences == [issuer] {
            claims.kubernetes.warnafter = Some(claims.exp);
            claims.exp = now + self.longest.map_or(EXTENDED, |longest| EXTENDED.min(longest));
        }
        let token = self.sign(key_name, &claims, now)?;

        let mut spec = json!({ "audiences": audiences, "expirationSeconds": asked, "boundObjectRef": bound });
        if bound.is_none() {
            spec["boundObjectRef"] = Value::Null;
        }
        let at = |unix: i64| Time::from_unix(unix, 0).to_string();
        let mut metadata =
            request.get("metadata").filter(|m| m.is_object()).cloned().unwrap_or_else(|| json!({}));
        metadata["name"] = name.into();
        metadata["namespace"] = namespace.into();
        metadata["uid"] = real.into();
        metadata["creationTimestamp"] = at(now).into();
        Ok(TokenRequestOutcome {
            response: json!({
                "kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1", "metadata": metadata, "spec": spec,
                "status": { "token": token, "expirationTimestamp": at(expires) },
            }),
            credential_id: format!("JTI={jti}"),
            warning,
        })
    }
}

fn expiration(request: &Value) -> Result<i64, Status> {
    let field = Path::new("spec").child("expirationSeconds");
    let Some(value) = object::at(request, &["spec", "expirationSeconds"]).filter(|v| !v.is_null()) else {
        return Ok(3600);
    };
    let why = match value.as_i64() {
        Some(seconds) if seconds < SHORTEST => "may not specify a duration less than 10 minutes",
        Some(seconds) if seconds > LONGEST => "may not specify a duration larger than 2^32 seconds",
        Some(seconds) => return Ok(seconds),
        None => "must be a number of seconds",
    };
    let errors = vec![FieldError::invalid(&field, value, why)];
    Err(Status::invalid(&GroupKind::new("authentication.k8s.io", "TokenRequest"), "", &errors))
}

fn audiences(request: &Value, issuer: &str) -> Vec<String> {
    let asked: Vec<String> = object::at(request, &["spec", "audiences"])
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|audience| audience.as_str().map(str::to_owned))
        .collect();
    if asked.is_empty() { vec![issuer.to_owned()] } else { asked }
}

async fn bind(
    claims: &mut ServiceAccountClaims,
    bound: &Value,
    account: &str,
    reader: &dyn ObjectReader,
) -> Result<(), Status> {
    let text = |field: &str| bound.get(field).and_then(Value::as_str).unwrap_or("");
    let (api_version, kind, name, uid) = (text("apiVersion"), text("kind"), text("name"), text("uid"));
    let (resource, namespace) = match (api_version, kind) {
        ("v1", "Pod") => ("pods", claims.namespace.as_str()),
        ("v1", "Secret") => ("secrets", claims.namespace.as_str()),
        ("v1", "Node") => ("nodes", ""),
        _ => {
            let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
            return Err(Status::bad_request(format!(
                "cannot bind token to object of type {group}/{version}, Kind={kind}"
            )));
        }
    };
    let found = reader.get("", resource, namespace, name).await?;
    let found = found.ok_or_else(|| Status::not_found(&GroupResource::new("", resource), name))?;
    let real = object::uid(&found);
    if kind == "Pod" && object::str_at(&found, &["spec", "serviceAccountName"]) != account {
        return Err(Status::bad_request(format!(
            "cannot bind token for serviceaccount {account:?} to pod running with different serviceaccount name."
        )));
    }
    if !uid.is_empty() && uid != real {
        return Err(Status::conflict(
            &GroupResource::new("", kind),
            name,
            format!(
                "the UID in the bound object reference ({uid}) does not match the UID in record. \
                 The object might have been deleted and then recreated"
            ),
        ));
    }
    let object_of = |name: &str, uid: &str| Some(BoundObject { name: name.to_owned(), uid: uid.to_owned() });
    match kind {
        "Secret" => claims.secret = object_of(name, real),
        "Node" => claims.node = object_of(name, real),
        _ => {
            claims.pod = object_of(name, real);
            let node = object::str_at(&found, &["spec", "nodeName"]);
            if !node.is_empty() {
                let found = reader.get("", "nodes", "", node).await?;
                claims.node = object_of(node, found.as_ref().map_or("", object::uid));
            }
        }
    }
    Ok(())
}
