//! What a request asks for, read from its method and path alone (`k8s.io/apiserver/pkg/endpoints/request`).

use http::Method;
use kplane_auth::authz::Selectors;
use kplane_machinery::{fields, labels};

/// Which control plane a path addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Root, at `/` and at `/clusters/root/control-plane`.
    Root,
    /// The control plane of that name.
    Vcp(String),
    /// All of them, at `/clusters/*/control-plane`: reads by root's administrators.
    All,
}

/// What a request asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestInfo {
    /// True for a path below `/api/v1` or `/apis/<group>/<version>`.
    pub is_resource: bool,
    /// The path within the control plane.
    pub path: String,
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`; for paths that are no
    /// resources the method in lower case.
    pub verb: String,
    /// `api` or `apis`.
    pub prefix: String,
    /// The group, empty for core.
    pub group: String,
    /// The version.
    pub version: String,
    /// The namespace; empty when none is named.
    pub namespace: String,
    /// The plural resource.
    pub resource: String,
    /// The subresource, such as `status`.
    pub subresource: String,
    /// The object's name; of a list, that of a `metadata.name` field selector.
    pub name: String,
    /// What follows the subresource (proxied paths).
    pub rest: String,
    /// The path was of the deprecated form `/api/v1/watch/…`.
    pub legacy_watch: bool,
    /// What a list, watch or deletion of a collection is narrowed to, for authorization.
    pub selectors: Selectors,
}

/// Splits the control plane off a path. `None` for a path below `/clusters/` that names no control plane.
///
/// The path is taken as the client sent it: nothing is decoded before it is split, so an encoded slash or dot
/// cannot move a request to another control plane.
pub fn split_target(path: &str) -> Option<(Target, &str)> {
    let Some(rest) = path.strip_prefix("/clusters/") else {
        return if path == "/clusters" { None } else { Some((Target::Root, path)) };
    };
    let (name, rest) = rest.split_once('/')?;
    let rest = rest.strip_prefix("control-plane")?;
    let rest = match rest {
        "" => "/",
        rest if rest.starts_with('/') => rest,
        _ => return None,
    };
    let target = match name {
        "root" => Target::Root,
        "*" => Target::All,
        name => Target::Vcp(name.to_owned()),
    };
    Some((target, rest))
}

/// One segment with its percent-escapes decoded; `None` if they are malformed or not UTF-8.
fn decode_segment(segment: &str) -> Option<String> {
    if !segment.contains('%') {
        return Some(segment.to_owned());
    }
    let mut out = Vec::with_capacity(segment.len());
    let mut bytes = segment.bytes();
    while let Some(b) = bytes.next() {
        if b == b'%' {
            let hex = [bytes.next()?, bytes.next()?];
            let text = std::str::from_utf8(&hex).ok()?;
            out.push(u8::from_str_radix(text, 16).ok()?);
        } else {
            out.push(b);
        }
    }
    String::from_utf8(out).ok()
}

/// Reads a request. `query` is the raw query; `None` means a path whose escapes are malformed.
pub fn parse(method: &Method, path: &str, query: &crate::query::Query) -> Option<RequestInfo> {
    let mut info =
        RequestInfo { path: path.to_owned(), verb: method.as_str().to_lowercase(), ..Default::default() };
    let parts: Vec<String> =
        path.split('/').filter(|s| !s.is_empty()).map(decode_segment).collect::<Option<_>>()?;
    let mut parts = parts.into_iter().peekable();
    match parts.next().as_deref() {
        Some("api") => info.prefix = "api".into(),
        Some("apis") => {
            info.prefix = "apis".into();
            match parts.next() {
                Some(group) => info.group = group,
                None => return Some(info),
            }
        }
        _ => return Some(info),
    }
    match parts.next() {
        Some(version) => info.version = version,
        None => {
            info.group = String::new();
            return Some(info);
        }
    }
    let mut parts: Vec<String> = parts.collect();
    if parts.is_empty() {
        info.group = String::new();
        info.version = String::new();
        return Some(info);
    }
    info.is_resource = true;
    info.verb = match *method {
        Method::POST => "create",
        Method::GET | Method::HEAD => "get",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ => "",
    }
    .to_owned();
    if parts[0] == "watch" && parts.len() > 1 {
        parts.remove(0);
        info.legacy_watch = true;
        info.verb = "watch".into();
    }
    if parts[0] == "namespaces" && parts.len() > 1 {
        info.namespace = parts[1].clone();
        // A namespace's own subresources keep `namespaces` as the resource.
        if parts.len() > 2 && !matches!(parts[2].as_str(), "status" | "finalize") {
            parts.drain(..2);
        }
    }
    let mut parts = parts.into_iter();
    info.resource = parts.next().unwrap_or_default();
    info.name = parts.next().unwrap_or_default();
    info.subresource = parts.next().unwrap_or_default();
    info.rest = parts.collect::<Vec<_>>().join("/");
    if info.name.is_empty() && info.verb == "get" {
        info.verb = if query.flag("watch") { "watch" } else { "list" }.into();
    }
    if matches!(info.verb.as_str(), "list" | "watch") && info.name.is_empty() {
        if let Some(name) = name_of_selector(query.get("fieldSelector").unwrap_or("")) {
            info.name = name;
        }
    } else if info.name.is_empty() && info.verb == "delete" {
        info.verb = "deletecollection".into();
    } else if info.verb == "get" && query.flag("watch") && info.subresource.is_empty() {
        // GET of a name with `watch` is a watch of that one object.
        info.verb = "watch".into();
    }
    if matches!(info.verb.as_str(), "list" | "watch" | "deletecollection") {
        info.selectors = selectors(query);
    }
    Some(info)
}

/// The selectors of a request. One that cannot be read narrows nothing; the endpoint refuses it.
fn selectors(query: &crate::query::Query) -> Selectors {
    let given = |name| query.get(name).filter(|text| !text.is_empty());
    let fields = given("fieldSelector").and_then(|text| fields::Selector::parse(text).ok());
    let labels = given("labelSelector").and_then(|text| labels::Selector::parse(text).ok());
    Selectors {
        fields: fields.map(|selector| selector.terms().to_vec()).unwrap_or_default(),
        labels: labels.map(|selector| selector.requirements().to_vec()).unwrap_or_default(),
    }
}

/// The name that a field selector asks for, when it asks for exactly one.
fn name_of_selector(selector: &str) -> Option<String> {
    selector.split(',').find_map(|term| {
        let value = term.strip_prefix("metadata.name=")?;
        let value = value.strip_prefix('=').unwrap_or(value);
        (!value.is_empty()).then(|| value.to_owned())
    })
}

impl RequestInfo {
    /// Whether the request changes nothing.
    pub fn is_read(&self) -> bool {
        matches!(self.verb.as_str(), "get" | "list" | "watch" | "head" | "options")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::Query;

    fn of(method: Method, uri: &str) -> RequestInfo {
        let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
        parse(&method, path, &Query::parse(query)).expect("a well-formed path")
    }

    #[test]
    fn resources_are_read_as_upstream() {
        let info = of(Method::GET, "/api/v1/namespaces/default/pods/x/status");
        assert_eq!((&*info.verb, &*info.namespace, &*info.resource), ("get", "default", "pods"));
        assert_eq!((&*info.name, &*info.subresource), ("x", "status"));
        let info = of(Method::PUT, "/api/v1/namespaces/x/finalize");
        assert_eq!((&*info.resource, &*info.name, &*info.subresource), ("namespaces", "x", "finalize"));
        assert_eq!(info.namespace, "x");
        assert_eq!(of(Method::GET, "/apis/apps/v1/deployments?watch=1").verb, "watch");
        assert_eq!(of(Method::DELETE, "/apis/apps/v1/namespaces/a/deployments").verb, "deletecollection");
        assert_eq!(of(Method::GET, "/api/v1/pods?fieldSelector=metadata.name%3Dp").name, "p");
        let narrowed =
            of(Method::GET, "/api/v1/pods?fieldSelector=spec.nodeName%3Dn&labelSelector=a%3Db").selectors;
        assert_eq!((&*narrowed.fields[0].field, &*narrowed.labels[0].key), ("spec.nodeName", "a"));
        assert!(!of(Method::GET, "/apis/apps/v1").is_resource);
        assert!(!of(Method::GET, "/version").is_resource);
    }

    #[test]
    fn a_target_is_exactly_one_segment() {
        assert_eq!(split_target("/api/v1"), Some((Target::Root, "/api/v1")));
        assert_eq!(split_target("/clusters/a/control-plane"), Some((Target::Vcp("a".into()), "/")));
        assert_eq!(split_target("/clusters/a/control-plane/api"), Some((Target::Vcp("a".into()), "/api")));
        assert_eq!(split_target("/clusters/root/control-plane/x"), Some((Target::Root, "/x")));
        assert_eq!(split_target("/clusters/*/control-plane/x"), Some((Target::All, "/x")));
        for bad in ["/clusters/a", "/clusters/a/control-planeX", "/clusters/a/b", "/clusters", "/clusters/"] {
            assert_eq!(split_target(bad), None, "{bad}");
        }
        assert_eq!(
            split_target("/clusters/a%2F..%2Fb/control-plane/x"),
            Some((Target::Vcp("a%2F..%2Fb".into()), "/x"))
        );
    }
}
