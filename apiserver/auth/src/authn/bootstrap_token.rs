//! Bootstrap tokens: `<id>.<secret>`, kept in a Secret of `kube-system`.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use kplane_machinery::time::Time;
use kplane_machinery::{Status, object};
use serde_json::Value;
use subtle::ConstantTimeEq;

use crate::token::ObjectReader;
use crate::user::UserInfo;

/// The group of all of them; further ones begin with it and a colon.
const GROUP: &str = "system:bootstrappers";

/// The user of a token, without `system:authenticated`; `None` when it is no bootstrap token, or not a good one.
pub(super) async fn find(
    token: &str,
    reader: &dyn ObjectReader,
    now: i64,
) -> Result<Option<UserInfo>, Status> {
    let Some((id, secret)) = token.split_once('.') else { return Ok(None) };
    let plain = |text: &str| text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    if id.len() != 6 || secret.len() != 16 || !plain(id) || !plain(secret) {
        return Ok(None);
    }
    let found = reader.get("", "secrets", "kube-system", &format!("bootstrap-token-{id}")).await?;
    Ok(found.and_then(|found| user(&found, id, secret, now)))
}

fn user(found: &Value, id: &str, secret: &str, now: i64) -> Option<UserInfo> {
    if !object::meta_str(found, "deletionTimestamp").is_empty()
        || object::str_at(found, &["type"]) != "bootstrap.kubernetes.io/token"
    {
        return None;
    }
    let data = |key: &str| {
        let text = object::str_at(found, &["data", key]);
        BASE64_STANDARD.decode(text).ok().and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_default()
    };
    if data("token-id") != id || !bool::from(data("token-secret").as_bytes().ct_eq(secret.as_bytes())) {
        return None;
    }
    let expiration = data("expiration");
    if !expiration.is_empty() && Time::parse(&expiration).map_or(true, |end| end.unix() <= now) {
        return None;
    }
    if data("usage-bootstrap-authentication") != "true" {
        return None;
    }
    let mut groups = vec![GROUP.to_owned()];
    for group in data("auth-extra-groups").split(',').filter(|group| !group.is_empty()) {
        // One that is not of bootstrappers spoils the token, as upstream holds.
        if !group.starts_with("system:bootstrappers:") {
            return None;
        }
        groups.push(group.to_owned());
    }
    groups[1..].sort();
    groups.dedup();
    Some(UserInfo::new(format!("system:bootstrap:{id}"), groups))
}
