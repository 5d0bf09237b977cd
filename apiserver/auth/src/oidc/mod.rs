//! Tokens of issuers elsewhere: OpenID Connect by structured authentication configuration.
//!
//! ```text
//! AuthenticationConfiguration ─ compile ─► Issuer ── user(claims) ─► UserInfo
//! token ─ Presented::parse ─► issuer, key id, claims ── JwkSet::verify
//! ```
//!
//! Nothing here calls anybody: whoever has the keys of an issuer gives them.

mod check;
mod config;
mod issuer;
mod jwks;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

pub use check::compile;
pub use config::{
    AnonymousCondition, AnonymousConfig, AuthenticationConfiguration, ClaimMappings, ClaimValidationRule,
    ExtraMapping, IssuerConfig, JwtAuthenticator, PlainMapping, PrefixedMapping, UserValidationRule,
};
pub use issuer::Issuer;
pub use jwks::{JwkSet, Unverified};

/// The longest token that is read.
const LONGEST: usize = 64 * 1024;

/// A token as it was presented: nothing of it is verified.
#[derive(Debug)]
pub struct Presented<'a> {
    /// The issuer it claims.
    pub issuer: String,
    claims: Map<String, Value>,
    key: String,
    algorithm: String,
    signed: &'a str,
    signature: Vec<u8>,
}

impl<'a> Presented<'a> {
    /// Reads a web token; `None` when it is none.
    pub fn parse(token: &'a str) -> Option<Self> {
        if token.len() > LONGEST {
            return None;
        }
        let (signed, signature) = token.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.').filter(|(_, claims)| !claims.contains('.'))?;
        let decode = |part: &str| BASE64_URL_SAFE_NO_PAD.decode(part).ok();
        let header: Map<String, Value> = serde_json::from_slice(&decode(header)?).ok()?;
        let claims: Map<String, Value> = serde_json::from_slice(&decode(claims)?).ok()?;
        let text =
            |map: &Map<String, Value>, field| map.get(field).and_then(Value::as_str).unwrap_or("").to_owned();
        // Extensions that must be understood are not.
        if header.contains_key("crit") {
            return None;
        }
        Some(Self {
            issuer: text(&claims, "iss"),
            key: text(&header, "kid"),
            algorithm: text(&header, "alg"),
            claims,
            signed,
            signature: decode(signature)?,
        })
    }

    /// Its claims, if one of the keys signed it.
    pub fn verified(&self, keys: &JwkSet) -> Result<&Map<String, Value>, Unverified> {
        keys.verify(&self.key, &self.algorithm, self.signed.as_bytes(), &self.signature)?;
        Ok(&self.claims)
    }
}

#[cfg(test)]
mod tests;
