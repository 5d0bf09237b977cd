//! `Impersonate-User` and its kin: one user acting as another, if it may.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::HeaderMap;
use kplane_auth::UserInfo;
use kplane_auth::authz::Attributes;
use kplane_machinery::Status;
use kplane_registry::Vcp;

use crate::app::App;
use crate::identity::Caller;

const EXTRA: &str = "impersonate-extra-";

/// The user that the request acts as. One who is impersonated is never root's own: what crosses control planes cannot
/// be reached by impersonation.
pub async fn user(
    app: &App,
    vcp: Option<&Arc<Vcp>>,
    caller: Caller,
    headers: &HeaderMap,
) -> Result<Caller, Status> {
    let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok()).filter(|v| !v.is_empty());
    let name = text("impersonate-user");
    let uid = text("impersonate-uid");
    let groups: Vec<String> = headers
        .get_all("impersonate-group")
        .iter()
        .filter_map(|v| v.to_str().ok())
        .filter(|v| !v.is_empty())
        .map(str::to_owned)
        .collect();
    let mut extra: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (header, value) in headers {
        if let (Some(key), Ok(value)) = (header.as_str().strip_prefix(EXTRA), value.to_str()) {
            let key = percent_decoded(key).to_lowercase();
            extra.entry(key).or_default().push(value.to_owned());
        }
    }
    let Some(name) = name else {
        if uid.is_some() || !groups.is_empty() || !extra.is_empty() {
            let why = "requested impersonation without impersonating a user";
            return Err(Status::internal(format!("{why} [groups {groups:?}, extra {extra:?}]")));
        }
        return Ok(caller);
    };
    let service_account = kplane_auth::user::parse_service_account(name);

    // Each part needs the permission to impersonate it.
    let mut asked: Vec<(&str, &str, &str, &str, &str)> = vec![match service_account {
        Some((namespace, account)) => ("", "serviceaccounts", "", namespace, account),
        None => ("", "users", "", "", name),
    }];
    asked.extend(groups.iter().map(|group| ("", "groups", "", "", group.as_str())));
    asked.extend(uid.map(|uid| ("authentication.k8s.io", "uids", "", "", uid)));
    for (key, values) in &extra {
        asked.extend(
            values
                .iter()
                .map(|value| ("authentication.k8s.io", "userextras", key.as_str(), "", value.as_str())),
        );
    }
    for (group, resource, subresource, namespace, name) in asked {
        let attributes = Attributes {
            user: &caller.user,
            verb: "impersonate",
            group,
            version: "v1",
            resource,
            subresource,
            namespace,
            name,
            path: "",
        };
        app.identities.require(app, vcp, &attributes).await?;
    }

    let mut user = UserInfo { username: name.to_owned(), uid: uid.unwrap_or("").to_owned(), groups, extra };
    if let Some((namespace, _)) = service_account
        && user.groups.is_empty()
    {
        user.groups = vec!["system:serviceaccounts".into(), format!("system:serviceaccounts:{namespace}")];
    }
    let anonymous = name == kplane_auth::user::ANONYMOUS;
    let implied =
        if anonymous { kplane_auth::user::UNAUTHENTICATED } else { kplane_auth::user::AUTHENTICATED };
    if !user.in_group(implied) && !user.in_group(kplane_auth::user::UNAUTHENTICATED) {
        user.groups.push(implied.to_owned());
    }
    Ok(Caller { user, of_root: false })
}

/// A header's name with its percent-escapes decoded; what is malformed stays.
fn percent_decoded(text: &str) -> String {
    crate::query::Query::parse(&format!("k={}", text.replace('+', "%2B"))).get("k").unwrap_or(text).to_owned()
}
