//! `Impersonate-User` and its kin: one user acting as another, if it may
//! (`k8s.io/apiserver/pkg/endpoints/filters/impersonation`).
//!
//! There are five ways to be allowed, tried one after the other. The first four are constrained: each has a verb of its
//! own for whom it impersonates (`impersonate:<mode>`) and another for what is done as that user
//! (`impersonate-on:<mode>:<verb>`). The last is the plain verb `impersonate`.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::HeaderMap;
use kplane_auth::UserInfo;
use kplane_auth::authz::Attributes;
use kplane_auth::authz::node::NODES;
use kplane_auth::user::{ANONYMOUS, AUTHENTICATED, MASTERS, UNAUTHENTICATED, parse_service_account};
use kplane_machinery::Status;
use kplane_machinery::field::go_quote;
use kplane_machinery::names::is_dns1123_subdomain;
use kplane_registry::Vcp;

use super::RequestInfo;
use super::authorize;
use crate::app::App;
use crate::identity::Caller;
use crate::query::percent_decoded;

const EXTRA: &str = "impersonate-extra-";
const NODE: &str = "system:node:";
const NODE_NAME: &str = "authentication.kubernetes.io/node-name";
const AUTHENTICATION: &str = "authentication.k8s.io";
/// From so many values on, one question about all of them is asked first.
const MANY: usize = 4;

/// A way to be allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    AssociatedNode,
    ArbitraryNode,
    ServiceAccount,
    UserInfo,
    Legacy,
}

const MODES: [Mode; 5] =
    [Mode::AssociatedNode, Mode::ArbitraryNode, Mode::ServiceAccount, Mode::UserInfo, Mode::Legacy];

impl Mode {
    /// The part of its verbs; `None` for the plain one.
    fn name(self) -> Option<&'static str> {
        Some(match self {
            Self::AssociatedNode => "associated-node",
            Self::ArbitraryNode => "arbitrary-node",
            Self::ServiceAccount => "serviceaccount",
            Self::UserInfo => "user-info",
            Self::Legacy => return None,
        })
    }

    /// Whether it is a way to act as this user.
    fn fits(self, wanted: &UserInfo, caller: &UserInfo) -> bool {
        let plain = wanted.uid.is_empty() && wanted.groups.is_empty() && wanted.extra.is_empty();
        let node = node_name(&wanted.username);
        let account = parse_service_account(&wanted.username);
        match self {
            Self::AssociatedNode => {
                let own =
                    caller.extra.get(NODE_NAME).filter(|names| names.len() == 1).map(|names| &*names[0]);
                plain && node.is_some() && node == own && parse_service_account(&caller.username).is_some()
            }
            Self::ArbitraryNode => plain && node.is_some(),
            Self::ServiceAccount => plain && account.is_some(),
            Self::UserInfo => node.is_none() && account.is_none(),
            Self::Legacy => true,
        }
    }
}

fn node_name(username: &str) -> Option<&str> {
    username.strip_prefix(NODE).filter(|name| is_dns1123_subdomain(name).is_empty())
}

/// The user that the headers ask for, as they say it; `None` when they ask for nobody.
fn wanted(headers: &HeaderMap) -> Result<Option<UserInfo>, Status> {
    let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
    let mut wanted = UserInfo::new(text("impersonate-user"), Vec::<String>::new());
    wanted.uid = text("impersonate-uid");
    for value in headers.get_all("impersonate-group") {
        wanted.groups.push(value.to_str().map_err(|_| unreadable("Impersonate-Group"))?.to_owned());
    }
    for (header, value) in headers {
        let Some(key) = header.as_str().strip_prefix(EXTRA) else { continue };
        let value = value.to_str().map_err(|_| unreadable(header.as_str()))?;
        wanted.extra.entry(percent_decoded(key)).or_default().push(value.to_owned());
    }
    if !wanted.username.is_empty() {
        return Ok(Some(wanted));
    }
    if wanted.uid.is_empty() && wanted.groups.is_empty() && wanted.extra.is_empty() {
        return Ok(None);
    }
    Err(Status::bad_request(format!("requested {} without impersonating a user name", go_syntax(&wanted))))
}

fn unreadable(header: &str) -> Status {
    Status::bad_request(format!("the header {header} is not text"))
}

/// As Go's `%#v` writes it.
fn go_syntax(user: &UserInfo) -> String {
    let list = |values: &[String]| values.iter().map(|v| go_quote(v)).collect::<Vec<_>>().join(", ");
    let groups = if user.groups.is_empty() {
        "[]string(nil)".to_owned()
    } else {
        format!("[]string{{{}}}", list(&user.groups))
    };
    let extra = if user.extra.is_empty() {
        "map[string][]string(nil)".to_owned()
    } else {
        let entries: Vec<_> = user
            .extra
            .iter()
            .map(|(key, values)| format!("{}:[]string{{{}}}", go_quote(key), list(values)))
            .collect();
        format!("map[string][]string{{{}}}", entries.join(", "))
    };
    format!(
        "&user.DefaultInfo{{Name:{}, UID:{}, Groups:{groups}, Extra:{extra}}}",
        go_quote(&user.username),
        go_quote(&user.uid)
    )
}

/// The user that the request acts as. One who is impersonated is never root's own: what crosses control planes cannot
/// be reached by impersonation.
pub async fn user(
    app: &App,
    vcp: Option<&Arc<Vcp>>,
    caller: Caller,
    headers: &HeaderMap,
    info: &RequestInfo,
) -> Result<Caller, Status> {
    let Some(wanted) = wanted(headers)? else { return Ok(caller) };
    let checks = Checks { app, vcp, caller: &caller.user };
    let mut first = None;
    for mode in MODES.into_iter().filter(|mode| mode.fits(&wanted, &caller.user)) {
        match checks.act_as(mode, &wanted, info).await {
            Ok(user) => return Ok(Caller { user, of_root: false }),
            Err(refused) if refused.code == 403 => {
                first.get_or_insert(refused);
            }
            Err(error) => return Err(error),
        }
    }
    Err(first.unwrap_or_else(|| Status::internal("all impersonation modes failed")))
}

struct Checks<'a> {
    app: &'a App,
    vcp: Option<&'a Arc<Vcp>>,
    caller: &'a UserInfo,
}

impl Checks<'_> {
    async fn act_as(&self, mode: Mode, wanted: &UserInfo, info: &RequestInfo) -> Result<UserInfo, Status> {
        // Which node it is must not matter to an account that may act as the one it runs on.
        let stripped;
        let caller = if mode == Mode::AssociatedNode {
            let keys = self.caller.extra.keys().cloned().collect();
            let extra =
                BTreeMap::from([("authentication.kubernetes.io/associated-node-keys".to_owned(), keys)]);
            stripped = UserInfo { extra, ..self.caller.clone() };
            &stripped
        } else {
            self.caller
        };
        let verb = match mode.name() {
            Some(name) => {
                let verb = format!("impersonate-on:{name}:{}", info.verb);
                let attributes = authorize::attributes(caller, info);
                self.require(&Attributes { verb: &verb, ..attributes }).await?;
                format!("impersonate:{name}")
            }
            None => "impersonate".to_owned(),
        };
        let mut user = wanted.clone();
        let core = if mode == Mode::Legacy { "" } else { AUTHENTICATION };
        let ask = |group, resource| Attributes {
            version: "v1",
            ..Attributes::of_resource(caller, &verb, group, resource)
        };

        let whom = match (parse_service_account(&wanted.username), node_name(&wanted.username)) {
            (Some((namespace, name)), _) => {
                if wanted.groups.is_empty() {
                    user.groups =
                        vec!["system:serviceaccounts".into(), format!("system:serviceaccounts:{namespace}")];
                }
                Attributes { namespace, name, ..ask(core, "serviceaccounts") }
            }
            (None, Some(name)) if mode != Mode::Legacy => {
                user.groups = vec![NODES.to_owned()];
                let name = if mode == Mode::AssociatedNode { "*" } else { name };
                Attributes { name, ..ask(core, "nodes") }
            }
            _ => Attributes { name: &wanted.username, ..ask(core, "users") },
        };
        self.require(&whom).await?;
        if !wanted.uid.is_empty() {
            self.require(&Attributes { name: &wanted.uid, ..ask(AUTHENTICATION, "uids") }).await?;
        }
        self.groups(mode, &wanted.groups, ask(core, "groups")).await?;
        self.extra(mode, &wanted.extra, ask(AUTHENTICATION, "userextras")).await?;

        if user.username == ANONYMOUS {
            ensure(&mut user, UNAUTHENTICATED);
        } else if !user.in_group(UNAUTHENTICATED) {
            ensure(&mut user, AUTHENTICATED);
        }
        Ok(user)
    }

    async fn groups(&self, mode: Mode, groups: &[String], ask: Attributes<'_>) -> Result<(), Status> {
        if mode != Mode::Legacy {
            if groups.iter().any(String::is_empty) {
                return Err(ask.forbidden("impersonating the empty string group is not allowed"));
            }
            if groups.iter().any(|group| group == MASTERS) {
                let ask = Attributes { name: MASTERS, ..ask };
                return Err(ask.forbidden("impersonating the system:masters group is not allowed"));
            }
            if groups.len() >= MANY && self.require(&Attributes { name: "*", ..ask.clone() }).await.is_ok() {
                return Ok(());
            }
        }
        for group in groups {
            self.require(&Attributes { name: group, ..ask.clone() }).await?;
        }
        Ok(())
    }

    async fn extra(
        &self,
        mode: Mode,
        extra: &BTreeMap<String, Vec<String>>,
        ask: Attributes<'_>,
    ) -> Result<(), Status> {
        if mode != Mode::Legacy {
            for (key, values) in extra {
                if let Some(why) = extra_problem(key, values) {
                    return Err(ask.forbidden(&why));
                }
            }
            let many = extra.len() >= MANY || extra.values().map(Vec::len).sum::<usize>() >= MANY;
            if many && self.require(&Attributes { subresource: "*", name: "*", ..ask.clone() }).await.is_ok()
            {
                return Ok(());
            }
        }
        for (key, values) in extra {
            for value in values {
                self.require(&Attributes { subresource: key, name: value, ..ask.clone() }).await?;
            }
        }
        Ok(())
    }

    async fn require(&self, attributes: &Attributes<'_>) -> Result<String, Status> {
        self.app.identities.require(self.app, self.vcp, attributes).await
    }
}

fn ensure(user: &mut UserInfo, group: &str) {
    if !user.in_group(group) {
        user.groups.push(group.to_owned());
    }
}

/// What the plain verb lets pass and the constrained ones do not.
fn extra_problem(key: &str, values: &[String]) -> Option<String> {
    if key.is_empty() {
        return Some("impersonating the empty string key in extra is not allowed".to_owned());
    }
    if let Some(why) = domain_path_problem(key) {
        return Some(format!(
            "impersonating an invalid key in extra is not allowed: extra.key: Invalid value: {}: {why}",
            go_quote(key)
        ));
    }
    if values.iter().any(String::is_empty) {
        return Some("impersonating the empty string value in extra is not allowed".to_owned());
    }
    None
}

/// Why a key is not of the form `example.com/path`.
fn domain_path_problem(key: &str) -> Option<String> {
    let Some((domain, path)) = key.split_once('/').filter(|(domain, _)| !domain.is_empty()) else {
        return Some("must be a domain-prefixed path (such as \"acme.io/foo\")".to_owned());
    };
    if let Some(why) = is_dns1123_subdomain(domain).into_iter().next() {
        return Some(why);
    }
    if path.is_empty() {
        return Some("must be a domain-prefixed path (such as \"acme.io/foo\")".to_owned());
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || "/-._~%!$&'()*+,;=:".contains(c);
    (!path.chars().all(plain))
        .then(|| "Invalid path (regex used for validation is '[A-Za-z0-9/\\-._~%!$&'()*+,;=:]+')".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_mode_is_for_users_of_its_kind() {
        let modes = |wanted: &str, caller: &UserInfo| -> Vec<Mode> {
            let wanted = UserInfo::new(wanted, Vec::<String>::new());
            MODES.into_iter().filter(|mode| mode.fits(&wanted, caller)).collect()
        };
        let jane = UserInfo::new("jane", ["dev"]);
        assert_eq!(modes("joe", &jane), [Mode::UserInfo, Mode::Legacy]);
        assert_eq!(modes("system:node:barn", &jane), [Mode::ArbitraryNode, Mode::Legacy]);
        assert_eq!(modes("system:serviceaccount:farm:owl", &jane), [Mode::ServiceAccount, Mode::Legacy]);
        let mut agent = UserInfo::new("system:serviceaccount:farm:agent", ["dev"]);
        agent.extra.insert(NODE_NAME.into(), vec!["barn".into()]);
        assert_eq!(modes("system:node:barn", &agent)[0], Mode::AssociatedNode);
        assert_eq!(modes("system:node:shed", &agent)[0], Mode::ArbitraryNode);
    }

    #[test]
    fn whoever_names_no_user_is_told_what_was_named() {
        let mut headers = HeaderMap::new();
        assert!(wanted(&headers).unwrap().is_none());
        headers.insert("impersonate-group", "dev".parse().unwrap());
        headers.insert("impersonate-extra-example.com%2fteam", "a".parse().unwrap());
        let refused = wanted(&headers).unwrap_err();
        assert_eq!(
            (refused.code, &*refused.message),
            (
                400,
                "requested &user.DefaultInfo{Name:\"\", UID:\"\", Groups:[]string{\"dev\"}, \
                 Extra:map[string][]string{\"example.com/team\":[]string{\"a\"}}} without impersonating a user name"
            )
        );
        headers.insert("impersonate-user", "jane".parse().unwrap());
        let user = wanted(&headers).unwrap().unwrap();
        assert_eq!((&*user.username, user.extra["example.com/team"].len()), ("jane", 1));
    }
}
