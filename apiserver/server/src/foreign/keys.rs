//! The keys of token issuers elsewhere: fetched when a token asks for them, shared by all control planes that trust the
//! issuer, and forgotten when too many are known. No timer keeps them fresh.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, header};
use kplane_auth::oidc::{IssuerConfig, JwkSet};
use kplane_egress::{Caller, Egress, Limits, Target};
use serde_json::Value;

/// After this the keys are fetched again before they are used.
const FRESH: Duration = Duration::from_secs(3600);
/// So long keys are good that cannot be fetched again.
const STALE: Duration = Duration::from_secs(24 * 3600);
/// How soon an issuer is asked again: for a key it did not have, or after a failure.
const AGAIN: Duration = Duration::from_secs(5);
/// How many issuers are known at once.
const KEPT: usize = 1024;
const LIMITS: Limits = Limits { time: Duration::from_secs(10), body: 1 << 20 };

/// Where an issuer is, and how it is verified.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Place {
    issuer: String,
    discovery: String,
    authority: String,
    /// The operator's file reaches what root's objects may not.
    operator: bool,
}

#[derive(Default)]
struct State {
    keys: Option<(Instant, Arc<JwkSet>)>,
    /// When it was asked last, and what went wrong.
    asked: Option<Instant>,
    failure: Option<String>,
}

/// An issuer's keys. One request at a time asks for them; the others wait for its answer.
#[derive(Default)]
struct Source {
    state: tokio::sync::Mutex<State>,
}

/// The keys of all issuers.
#[derive(Default)]
pub struct IssuerKeys {
    sources: Mutex<HashMap<Place, Arc<Source>>>,
}

impl IssuerKeys {
    /// The keys of an issuer. With `unknown`, those that do not suffice: others than these are asked for, if it was not
    /// done just now.
    pub async fn of(
        &self,
        egress: &Egress,
        config: &IssuerConfig,
        operator: bool,
        unknown: Option<&Arc<JwkSet>>,
    ) -> Result<Arc<JwkSet>, String> {
        let place = Place {
            issuer: config.url.clone(),
            discovery: config.discovery_url.clone(),
            authority: config.certificate_authority.clone(),
            operator,
        };
        let source = {
            let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
            if sources.len() >= KEPT && !sources.contains_key(&place) {
                sources.clear();
            }
            sources.entry(place).or_default().clone()
        };
        let mut state = source.state.lock().await;
        let now = Instant::now();
        if let Some((at, keys)) = &state.keys {
            let suffices = unknown.is_none_or(|unknown| !Arc::ptr_eq(unknown, keys));
            if suffices && now.duration_since(*at) < FRESH {
                return Ok(keys.clone());
            }
        }
        if state.asked.is_none_or(|asked| now.duration_since(asked) >= AGAIN) {
            state.asked = Some(now);
            match fetch(egress, config, operator).await {
                Ok(keys) => {
                    state.failure = None;
                    state.keys = Some((now, Arc::new(keys)));
                }
                Err(why) => {
                    tracing::warn!(issuer = config.url, why, "the keys of a token issuer cannot be fetched");
                    state.failure = Some(why);
                }
            }
        }
        match &state.keys {
            Some((at, keys)) if now.duration_since(*at) < STALE => Ok(keys.clone()),
            _ => Err(state
                .failure
                .clone()
                .unwrap_or_else(|| "the keys of the issuer are not known".to_owned())),
        }
    }
}

/// Discovery, then the key set.
async fn fetch(egress: &Egress, config: &IssuerConfig, operator: bool) -> Result<JwkSet, String> {
    let discovery = if config.discovery_url.is_empty() {
        format!("{}/.well-known/openid-configuration", config.url.trim_end_matches('/'))
    } else {
        config.discovery_url.clone()
    };
    let document = get(egress, config, operator, &discovery).await?;
    let said = document["issuer"].as_str().unwrap_or("");
    if said != config.url {
        return Err(format!(
            "oidc: issuer did not match the issuer returned by provider, expected {:?} got {said:?}",
            config.url
        ));
    }
    let keys = document["jwks_uri"].as_str().unwrap_or("");
    if !keys.starts_with("https://") {
        return Err(format!("the jwks_uri {keys:?} of the issuer {:?} is no URL of https", config.url));
    }
    let keys = JwkSet::parse(&get(egress, config, operator, keys).await?)?;
    if keys.is_empty() {
        return Err(format!("the issuer {:?} has no keys that can be used", config.url));
    }
    Ok(keys)
}

async fn get(egress: &Egress, config: &IssuerConfig, operator: bool, url: &str) -> Result<Value, String> {
    let failed = |why: &dyn std::fmt::Display| format!("GET {url}: {why}");
    let mut target = Target::of_url(url).map_err(|e| failed(&e))?;
    target.tls.ca_bundle = config.certificate_authority.as_bytes().into();
    let path = url.split_once("://").and_then(|(_, rest)| rest.split_once('/')).map_or("", |(_, path)| path);
    let request = Request::get(format!("/{path}"))
        .header(header::ACCEPT, "application/json")
        .body(Bytes::new())
        .map_err(|e| failed(&e))?;
    let caller = if operator { Caller::Operator } else { Caller::Root };
    let answer = egress.send(&caller, &target, request, LIMITS).await.map_err(|e| failed(&e))?;
    if !answer.status().is_success() {
        return Err(failed(&answer.status()));
    }
    serde_json::from_slice(answer.body()).map_err(|e| failed(&e))
}
