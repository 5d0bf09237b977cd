//! Tokens in Secrets of type `kubernetes.io/service-account-token`: they do not end, and are good for as long as their
//! Secret holds them.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use kplane_machinery::object;
use kplane_machinery::time::Time;
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;

use super::claims::{header_key, sign_claims, verify_claims};
use super::keys::TokenKeys;
use super::{ObjectReader, TokenError};
use crate::user::{UserInfo, service_account_username};

/// The issuer of all of them.
pub const LEGACY_ISSUER: &str = "kubernetes/serviceaccount";
/// The label that takes a token out of use.
const INVALID_SINCE: &str = "kubernetes.io/legacy-token-invalid-since";

#[derive(Serialize, Deserialize)]
struct LegacyClaims {
    iss: String,
    #[serde(rename = "kubernetes.io/serviceaccount/namespace", default)]
    namespace: String,
    #[serde(rename = "kubernetes.io/serviceaccount/secret.name", default)]
    secret: String,
    #[serde(rename = "kubernetes.io/serviceaccount/service-account.name", default)]
    account: String,
    #[serde(rename = "kubernetes.io/serviceaccount/service-account.uid", default)]
    uid: String,
    sub: String,
}

/// The token of a service account for a Secret.
pub(super) fn sign(
    keys: &TokenKeys,
    key_name: &str,
    account: &serde_json::Value,
    secret: &str,
    now: i64,
) -> Option<String> {
    let (namespace, name) = (object::namespace(account), object::name(account));
    let claims = LegacyClaims {
        iss: LEGACY_ISSUER.to_owned(),
        namespace: namespace.to_owned(),
        secret: secret.to_owned(),
        account: name.to_owned(),
        uid: object::uid(account).to_owned(),
        sub: service_account_username(namespace, name),
    };
    sign_claims(keys, key_name, &claims, now)
}

/// Whether a token is of the account, and of the key that signs now.
pub(super) fn is_current(
    keys: &TokenKeys,
    key_name: &str,
    token: &str,
    account: &serde_json::Value,
    now: i64,
) -> bool {
    header_key(token).is_some_and(|id| keys.signs_with(key_name, &id, now))
        && verify_claims::<LegacyClaims>(keys, key_name, token, now)
            .is_ok_and(|(claims, _)| claims.uid == object::uid(account))
}

/// Whom a token speaks for, by its Secret and its account as they are now.
pub(super) async fn verify(
    keys: &TokenKeys,
    key_name: &str,
    token: &str,
    reader: &dyn ObjectReader,
    now: i64,
) -> Result<UserInfo, TokenError> {
    let (claims, _) = verify_claims::<LegacyClaims>(keys, key_name, token, now)?;
    if claims.iss != LEGACY_ISSUER {
        return Err(TokenError::Issuer);
    }
    let (namespace, account) = (&claims.namespace, &claims.account);
    if [namespace, account, &claims.secret, &claims.uid].iter().any(|text| text.is_empty()) {
        return Err(TokenError::Malformed("claims"));
    }
    let username = service_account_username(namespace, account);
    if claims.sub != username {
        return Err(TokenError::Malformed("subject"));
    }
    let invalid = |why: &str| TokenError::Invalidated(why.to_owned());
    let secret = reader.get("", "secrets", namespace, &claims.secret).await?;
    let secret = secret.ok_or_else(|| invalid("service account token has been invalidated"))?;
    let stored = BASE64_STANDARD.decode(object::str_at(&secret, &["data", "token"])).unwrap_or_default();
    if !bool::from(stored.ct_eq(token.as_bytes())) {
        return Err(invalid("service account token does not match server's copy"));
    }
    let found = reader.get("", "serviceaccounts", namespace, account).await?;
    let found = found.ok_or_else(|| invalid("the service account is gone"))?;
    if object::uid(&found) != claims.uid {
        return Err(invalid("service account UID does not match claim"));
    }
    for object in [&secret, &found] {
        let deletion = object::meta_str(object, "deletionTimestamp");
        if !deletion.is_empty() && Time::parse(deletion).map_or(true, |at| at.unix() < now) {
            return Err(invalid("service account token has been invalidated"));
        }
    }
    // Also that of one out of use: whoever cleans up wants to know that somebody still tries.
    reader.token_used(&secret);
    if !object::str_at(&secret, &["metadata", "labels", INVALID_SINCE]).is_empty() {
        let name = &claims.secret;
        return Err(TokenError::Invalidated(format!(
            "the token in secret {namespace}/{name} for service account {namespace}/{account} has been marked invalid. \
             Use tokens from the TokenRequest API or manually created secret-based tokens, or remove the \
             '{INVALID_SINCE}' label from the secret to temporarily allow use of this token"
        )));
    }
    Ok(UserInfo {
        username,
        uid: claims.uid,
        groups: vec!["system:serviceaccounts".to_owned(), format!("system:serviceaccounts:{namespace}")],
        ..UserInfo::default()
    })
}
