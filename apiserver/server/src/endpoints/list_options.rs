//! `metav1.ListOptions`, read from a query and checked as `ValidateListOptions` does.

use std::time::Duration;

use base64::Engine;
use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use kplane_machinery::field::{FieldError, Path};
use kplane_machinery::{Status, meta};
use serde::{Deserialize, Serialize};

use crate::query::Query;

/// The options of a list or watch.
#[derive(Clone, Debug, Default)]
pub struct ListOptions {
    /// At most this many items; 0 is no limit.
    pub limit: u64,
    /// Where an earlier page ended.
    pub continue_token: Option<String>,
    /// The revision asked for; `None` when absent or empty.
    pub resource_version: Option<u64>,
    /// `Exact` or `NotOlderThan`.
    pub version_match: Option<VersionMatch>,
    /// How long a watch, or a list that waits for a revision, may take.
    pub timeout: Option<Duration>,
    /// A watch begins with what is there now.
    pub send_initial_events: Option<bool>,
    /// A watch may be sent bookmarks.
    pub bookmarks: bool,
}

/// `resourceVersionMatch`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "upstream's names")]
pub enum VersionMatch {
    Exact,
    NotOlderThan,
}

impl ListOptions {
    /// Reads and checks the options of a list or, with `watch`, of a watch.
    pub fn parse(query: &Query, watch: bool) -> Result<Self, Status> {
        let number = |name: &str| -> Result<Option<i64>, Status> {
            match query.get(name).filter(|v| !v.is_empty()) {
                None => Ok(None),
                Some(text) => text.parse().map(Some).map_err(|_| {
                    Status::bad_request(format!("strconv.ParseInt: parsing {text:?}: invalid syntax"))
                }),
            }
        };
        let text = |name: &str| query.get(name).filter(|v| !v.is_empty());
        let version_text = text("resourceVersion");
        let token = text("continue");
        let send_initial_events = query.get("sendInitialEvents").map(|_| query.flag("sendInitialEvents"));
        let given_match = text("resourceVersionMatch").unwrap_or("");
        let errors = meta::validate_list_options(&meta::ListOptions {
            watch,
            resource_version: version_text.unwrap_or(""),
            resource_version_match: given_match,
            continue_token: token.unwrap_or(""),
            send_initial_events,
        });
        let version_match = match given_match {
            "Exact" => Some(VersionMatch::Exact),
            "NotOlderThan" => Some(VersionMatch::NotOlderThan),
            _ => None,
        };
        let timeout = number("timeoutSeconds")?;
        let limit = number("limit")?;
        meta::invalid_options("ListOptions", &errors)?;
        let resource_version = match version_text {
            None => None,
            Some(text) => Some(parse_version(text)?),
        };
        Ok(Self {
            limit: limit.filter(|n| *n > 0).map_or(0, |n| n as u64),
            continue_token: token.map(str::to_owned),
            resource_version,
            version_match,
            timeout: timeout.filter(|n| *n > 0).map(|n| Duration::from_secs(n as u64)),
            send_initial_events,
            bookmarks: query.flag("allowWatchBookmarks"),
        })
    }
}

/// A resourceVersion as a number; upstream's words when it is none.
pub fn parse_version(text: &str) -> Result<u64, Status> {
    text.parse().map_err(|_| {
        let error = FieldError::invalid_str(
            &Path::new("resourceVersion"),
            text,
            format!("strconv.ParseUint: parsing {text:?}: invalid syntax"),
        );
        Status::bad_request(error.to_string().replacen(
            "resourceVersion: Invalid value: ",
            "Invalid value: ",
            1,
        ))
    })
}

/// As Go's `RawURLEncoding`: no padding, and bits that are left over do not matter.
const TOKEN_ENCODING: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new()
        .with_encode_padding(false)
        .with_decode_padding_mode(DecodePaddingMode::RequireNone)
        .with_decode_allow_trailing_bits(true),
);

/// Go's words for text that is no base64: the place of the first byte that does not belong.
fn illegal_base64(text: &str, error: &base64::DecodeError) -> String {
    let at = match error {
        base64::DecodeError::InvalidByte(at, _) | base64::DecodeError::InvalidLastSymbol(at, _) => *at,
        _ => text.len(),
    };
    format!("illegal base64 data at input byte {at}")
}

/// What a continue token holds: the revision of the first page and where the next begins.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ContinueToken {
    v: String,
    /// The revision; -1 goes on at the present one, inconsistently.
    pub rv: i64,
    /// The last key of the page before and a zero byte; relative to the list.
    pub start: String,
    /// How many there are behind it at that revision, if that is known. Who makes it up deceives himself alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub behind: Option<u64>,
}

impl ContinueToken {
    /// A token that goes on behind an object.
    pub fn after(revision: i64, namespace: Option<&str>, name: &str, one_namespace: bool) -> Self {
        let start = match namespace {
            Some(_) if one_namespace => format!("/{name}\0"),
            Some(namespace) => format!("{namespace}/{name}\0"),
            None => format!("{name}\0"),
        };
        Self { v: "meta.k8s.io/v1".into(), rv: revision, start, behind: None }
    }

    /// As text.
    pub fn encode(&self) -> String {
        TOKEN_ENCODING.encode(serde_json::to_vec(self).unwrap_or_default())
    }

    /// Reads one; a token that was not made here is refused.
    pub fn decode(text: &str) -> Result<Self, Status> {
        let bad = |why: String| {
            Status::bad_request(format!("invalid continue token: continue key is not valid: {why}"))
        };
        let bytes = TOKEN_ENCODING.decode(text).map_err(|e| bad(illegal_base64(text, &e)))?;
        let parsed =
            kplane_schema::parse(&bytes, kplane_schema::Format::Json).map_err(|e| bad(e.to_string()))?;
        let token: Self = serde_json::from_value(parsed.value).map_err(|e| bad(e.to_string()))?;
        if token.v != "meta.k8s.io/v1" {
            return Err(bad(format!("server does not recognize this encoded version {}", token.v)));
        }
        if token.rv == 0 {
            return Err(bad("incorrect encoded start resourceVersion (version meta.k8s.io/v1)".into()));
        }
        if token.start.is_empty() {
            return Err(bad("encoded start key empty (version meta.k8s.io/v1)".into()));
        }
        Ok(token)
    }

    /// The namespace and name behind which the next page begins.
    pub fn position(
        &self,
        namespace: Option<&str>,
        namespaced: bool,
    ) -> Result<(Option<String>, String), Status> {
        let bad = || {
            Status::bad_request(format!("invalid continue token: continue key is not valid: {}", self.start))
        };
        let key = self.start.strip_suffix('\0').ok_or_else(bad)?;
        let (ns, name) = match (namespaced, namespace) {
            (false, _) => (None, key),
            (true, Some(namespace)) => (Some(namespace.to_owned()), key.strip_prefix('/').ok_or_else(bad)?),
            (true, None) => {
                let (namespace, name) = key.split_once('/').ok_or_else(bad)?;
                (Some(namespace.to_owned()), name)
            }
        };
        // What cleaning a path would change reaches out of the list.
        let unclean = |part: &str| part.contains('/') || matches!(part, "" | "." | "..");
        if unclean(name) || ns.as_deref().is_some_and(unclean) {
            return Err(bad());
        }
        Ok((ns, name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_read_back() {
        let token = ContinueToken::after(44961, Some("golden"), "l1", true);
        assert_eq!(token.encode(), "eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6NDQ5NjEsInN0YXJ0IjoiL2wxXHUwMDAwIn0");
        let read = ContinueToken::decode(&token.encode()).expect("a token of ours");
        assert_eq!(read.position(Some("golden"), true), Ok((Some("golden".into()), "l1".into())));
        let told = |text: &str| ContinueToken::decode(text).expect_err("no token").message;
        let start = "invalid continue token: continue key is not valid: ";
        assert_eq!(told("zzz"), format!("{start}invalid character 'Ï' looking for beginning of value"));
        assert_eq!(told("a*"), format!("{start}illegal base64 data at input byte 1"));
        let other = TOKEN_ENCODING.encode(r#"{"v":"v2","rv":1,"start":"a"}"#);
        assert_eq!(told(&other), format!("{start}server does not recognize this encoded version v2"));
        let outside =
            ContinueToken { v: "meta.k8s.io/v1".into(), rv: 1, start: "../x\0".into(), behind: None };
        assert_eq!(outside.position(None, true).map_err(|s| s.code), Err(400));
    }

    #[test]
    fn options_are_checked_as_upstream() {
        let status =
            ListOptions::parse(&Query::parse("resourceVersionMatch=Exact"), false).expect_err("forbidden");
        assert!(
            status.message.ends_with("resourceVersionMatch is forbidden unless resourceVersion is provided")
        );
        assert!(ListOptions::parse(&Query::parse("limit=x"), false).is_err());
        let watch = Query::parse("sendInitialEvents=true&resourceVersionMatch=NotOlderThan");
        assert_eq!(
            ListOptions::parse(&watch, true).map(|o| o.send_initial_events).ok().flatten(),
            Some(true)
        );
    }
}
