//! What the servers behind aggregated APIs have, beside our own, in the documents of discovery.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use http::Request;
use http::header::ACCEPT;
use kplane_auth::UserInfo;
use kplane_egress::Limits;
use kplane_machinery::{Status, object};
use kplane_registry::{ListRequest, Stored, Vcp};
use serde_json::{Map, Value, json};

use super::{Api, resource_key};
use crate::app::App;
use crate::discovery::compare_versions;
use crate::endpoints::cx::Cx;
use crate::endpoints::failures;

/// How long a server may take to say what it has, and how much it may say.
pub(super) const LIMITS: Limits = Limits { time: Duration::from_secs(5), body: 8 << 20 };
/// The priority of groups that definitions make.
const CUSTOM_PRIORITY: i64 = 1000;

/// The aggregated APIs of a control plane, by group, each with the version it prefers first.
pub(super) async fn all(cx: &Cx) -> Result<BTreeMap<String, Vec<Api>>, Status> {
    // Those that all control planes begin with are the server's own.
    let written = |stored: &Stored| !stored.is_inherited();
    let key = resource_key();
    let listed = cx.app.registry.list_where(&cx.vcp, &key, ListRequest::default(), &written);
    let mut groups: BTreeMap<String, Vec<Api>> = BTreeMap::new();
    for stored in &listed.await.map_err(failures::store)?.items {
        if let Some(api) = Api::read(&stored.to_value().map_err(Status::internal)?) {
            groups.entry(api.group.clone()).or_default().push(api);
        }
    }
    for apis in groups.values_mut() {
        apis.sort_by(|a, b| {
            let by_priority = b.version_priority.cmp(&a.version_priority);
            by_priority.then_with(|| compare_versions(&b.version, &a.version))
        });
    }
    Ok(groups)
}

fn priority(apis: &[Api]) -> i64 {
    apis.iter().map(|api| api.group_priority).max().unwrap_or(0)
}

fn group(name: &str, apis: &[Api]) -> Map<String, Value> {
    let versions: Vec<Value> = apis
        .iter()
        .map(|api| json!({"groupVersion": format!("{name}/{}", api.version), "version": api.version}))
        .collect();
    let mut fields = Map::new();
    fields.insert("name".into(), name.into());
    fields.insert("preferredVersion".into(), versions.first().cloned().unwrap_or_default());
    fields.insert("versions".into(), versions.into());
    fields
}

/// Adds versions to a list of them unless they are there.
fn add_versions(known: &mut Value, more: Vec<Value>) {
    let Some(known) = known.as_array_mut() else { return };
    for version in more {
        if !known.iter().any(|held| held["version"] == version["version"]) {
            known.push(version);
        }
    }
}

/// Puts groups among those that follow the server's own, which come first and stay in their order.
fn place(cx: &Cx, items: &mut Vec<Value>, more: Vec<(i64, Value)>, name: impl Fn(&Value) -> String) {
    let own = cx.app.kinds.groups(cx.vcp.is_root()).0.iter().filter(|group| !group.name.is_empty()).count();
    let tail = items.split_off(own.min(items.len()));
    let mut tail: Vec<(i64, Value)> = tail.into_iter().map(|item| (CUSTOM_PRIORITY, item)).collect();
    tail.extend(more);
    tail.sort_by_cached_key(|(priority, item)| (Reverse(*priority), name(item)));
    items.extend(tail.into_iter().map(|(_, item)| item));
}

/// `/apis`: adds the groups.
pub async fn merge_groups(cx: &Cx, list: &mut Value) -> Result<(), Status> {
    let groups = all(cx).await?;
    let Some(items) = list["groups"].as_array_mut() else { return Ok(()) };
    let mut more = Vec::new();
    for (name, apis) in &groups {
        let mut described = group(name, apis);
        match items.iter_mut().find(|item| item["name"] == name.as_str()) {
            Some(known) => {
                if let Some(Value::Array(versions)) = described.remove("versions") {
                    add_versions(&mut known["versions"], versions);
                }
            }
            None => more.push((priority(apis), Value::Object(described))),
        }
    }
    place(cx, items, more, |item| object::str_at(item, &["name"]).to_owned());
    Ok(())
}

/// `/apis/<group>`: adds the versions, or makes the document.
pub async fn merge_group(cx: &Cx, name: &str, known: Option<Value>) -> Result<Option<Value>, Status> {
    let mut groups = all(cx).await?;
    let Some(apis) = groups.remove(name) else { return Ok(known) };
    let mut described = group(name, &apis);
    Ok(Some(match known {
        Some(mut known) => {
            if let Some(Value::Array(versions)) = described.remove("versions") {
                add_versions(&mut known["versions"], versions);
            }
            known
        }
        None => {
            described.insert("kind".into(), "APIGroup".into());
            described.insert("apiVersion".into(), "v1".into());
            Value::Object(described)
        }
    }))
}

/// `/apis` in the aggregated form: asks the servers what they have. One that does not say is shown as stale.
pub async fn merge_aggregated(cx: &Cx, document: &mut Value) -> Result<(), Status> {
    let groups = all(cx).await?;
    let Some(items) = document["items"].as_array_mut() else { return Ok(()) };
    let mut more = Vec::new();
    for (name, apis) in &groups {
        let versions = join_all(apis.iter().map(|api| async {
            match resources(&cx.app, &cx.vcp, api).await {
                Ok(list) => json!({
                    "version": api.version, "resources": entries(api, &list), "freshness": "Current",
                }),
                Err(why) => {
                    tracing::debug!(vcp = %cx.vcp.name, group = name, why, "an aggregated API does not say what it has");
                    json!({"version": api.version, "freshness": "Stale"})
                }
            }
        }));
        let versions = versions.await;
        match items.iter_mut().find(|item| item["metadata"]["name"] == name.as_str()) {
            Some(known) => add_versions(&mut known["versions"], versions),
            None => {
                let metadata = json!({"name": name, "creationTimestamp": null});
                more.push((priority(apis), json!({"metadata": metadata, "versions": versions})));
            }
        }
    }
    place(cx, items, more, |item| object::str_at(item, &["metadata", "name"]).to_owned());
    Ok(())
}

/// Asks a server for the resources of a group and version.
pub(super) async fn resources(app: &App, vcp: &Vcp, api: &Api) -> Result<Value, String> {
    ask(app, vcp, api, &api.path(), &UserInfo::new("system:kube-aggregator", ["system:masters"])).await
}

/// Asks a server for a document, in the name of a user.
pub(super) async fn ask(
    app: &App,
    vcp: &Vcp,
    api: &Api,
    path: &str,
    user: &UserInfo,
) -> Result<Value, String> {
    let (target, host) = api.target(app, vcp).await.map_err(|why| why.to_string())?;
    let url = format!("https://{}{path}", host.as_deref().unwrap_or(&target.host));
    let mut request = Request::new(Bytes::new());
    *request.uri_mut() = path.parse().map_err(|e| format!("{url}: {e}"))?;
    *request.headers_mut() =
        super::proxy::headers(&http::HeaderMap::new(), user).map_err(|status| status.message)?;
    request.headers_mut().insert(ACCEPT, http::HeaderValue::from_static("application/json"));
    if let Some(host) = host.and_then(|host| http::HeaderValue::from_str(&host).ok()) {
        request.headers_mut().insert(http::header::HOST, host);
    }
    let caller = app.caller(vcp).await.map_err(|status| status.message)?;
    let answered = app.egress.send(&caller, &target, request, LIMITS).await.map_err(|error| {
        let error = kplane_egress::of_request(&http::Method::GET, &url, &error);
        format!("failing or missing response from {url}: {error}")
    })?;
    if !answered.status().is_success() {
        let code = answered.status().as_u16();
        return Err(format!("failing or missing response from {url}: bad status from {url}: {code}"));
    }
    serde_json::from_slice(answered.body()).map_err(|e| format!("{url} answers what is no JSON: {e}"))
}

/// The resources of an `APIResourceList` in the aggregated form.
fn entries(api: &Api, list: &Value) -> Vec<Value> {
    let listed = list["resources"].as_array().map_or(&[] as &[Value], Vec::as_slice);
    let kind = |resource: &Value| {
        let or = |field: &str, own: &str| match object::str_at(resource, &[field]) {
            "" => own.to_owned(),
            given => given.to_owned(),
        };
        json!({
            "group": or("group", &api.group), "version": or("version", &api.version), "kind": resource["kind"],
        })
    };
    let name = |resource: &Value| object::str_at(resource, &["name"]).to_owned();
    let mut entries = Vec::new();
    for resource in listed.iter().filter(|resource| !name(resource).contains('/')) {
        let plural = name(resource);
        let mut entry = json!({
            "resource": plural, "responseKind": kind(resource), "verbs": resource["verbs"],
            "scope": if resource["namespaced"] == true { "Namespaced" } else { "Cluster" },
            "singularResource": object::str_at(resource, &["singularName"]),
        });
        for field in ["shortNames", "categories"] {
            if let Some(given) = resource.get(field).filter(|given| given.is_array()) {
                entry[field] = given.clone();
            }
        }
        let subresources: Vec<Value> = listed
            .iter()
            .filter_map(|sub| {
                let full = name(sub);
                let (of, short) = full.split_once('/')?;
                (of == plural)
                    .then(|| json!({"subresource": short, "responseKind": kind(sub), "verbs": sub["verbs"]}))
            })
            .collect();
        if !subresources.is_empty() {
            entry["subresources"] = subresources.into();
        }
        entries.push(entry);
    }
    entries
}
