//! The legacy documents: `APIVersions`, `APIGroupList`, `APIGroup`, `APIResourceList`.

use kplane_kinds::{ResourceDef, Verbs};
use serde_json::{Map, Value, json};

use super::{Group, Groups, storage_version_hash};

/// `/api`.
pub fn api_versions(groups: &Groups, address: &str) -> Value {
    let versions: Vec<&str> =
        groups.get("").into_iter().flat_map(|g| &g.versions).map(|(v, _)| &**v).collect();
    json!({
        "kind": "APIVersions",
        "versions": versions,
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}],
    })
}

fn group_fields(group: &Group) -> Map<String, Value> {
    let named =
        |version: &str| json!({"groupVersion": format!("{}/{version}", group.name), "version": version});
    let versions: Vec<Value> = group.versions.iter().map(|(version, _)| named(version)).collect();
    let mut fields = Map::new();
    fields.insert("name".into(), (&*group.name).into());
    fields.insert("preferredVersion".into(), versions.first().cloned().unwrap_or_default());
    fields.insert("versions".into(), versions.into());
    fields
}

/// `/apis`.
pub fn group_list(groups: &Groups) -> Value {
    let named: Vec<Value> =
        groups.0.iter().filter(|g| !g.name.is_empty()).map(|g| group_fields(g).into()).collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": named})
}

/// `/apis/<group>`.
pub fn group(group: &Group) -> Value {
    let mut fields = group_fields(group);
    fields.insert("kind".into(), "APIGroup".into());
    fields.insert("apiVersion".into(), "v1".into());
    fields.into()
}

/// `/api/v1` and `/apis/<group>/<version>`.
pub fn resource_list(groups: &Groups, group: &str, version: &str) -> Option<Value> {
    let mut resources = Vec::new();
    for def in groups.resources(group, version)? {
        let mut entry = json!({
            "name": &*def.plural, "singularName": &*def.singular, "namespaced": def.namespaced(),
            "kind": &*def.kind, "verbs": verbs_of(def),
        });
        if !def.short_names.is_empty() {
            entry["shortNames"] = texts(&def.short_names);
        }
        if !def.categories.is_empty() {
            entry["categories"] = texts(&def.categories);
        }
        if def.verbs.contains(Verbs::GET) && def.verbs.contains(Verbs::CREATE) {
            entry["storageVersionHash"] = storage_version_hash(def).into();
        }
        resources.push(entry);
        resources.extend(def.subresources_of(version).map(|sub| {
            let mut entry = json!({
                "name": format!("{}/{}", def.plural, sub.name), "singularName": "",
                "namespaced": def.namespaced(), "kind": &*def.kind, "verbs": verbs(sub.verbs),
            });
            if let Some(kind) = &sub.kind {
                entry["kind"] = (&*kind.kind).into();
                // A kind of the same group and version is told by its name alone.
                if &*kind.group != group || &*kind.version != version {
                    entry["group"] = (&*kind.group).into();
                    entry["version"] = (&*kind.version).into();
                }
            }
            entry
        }));
    }
    let name = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
    let mut list = json!({"kind": "APIResourceList", "groupVersion": name, "resources": resources});
    if !group.is_empty() {
        list["apiVersion"] = "v1".into();
    }
    Some(list)
}

/// The verbs of a kind, in the order they are published: custom resources have one of their own.
pub(super) fn verbs_of(def: &ResourceDef) -> Value {
    const CUSTOM: [&str; 8] =
        ["delete", "deletecollection", "get", "list", "patch", "create", "update", "watch"];
    if !def.custom {
        return verbs(def.verbs);
    }
    // Of a kind that is going only what leads there is published, though its objects may still be changed.
    let going = !def.verbs.contains(Verbs::CREATE);
    let shown = |verb: &&&str| !going || !matches!(**verb, "create" | "patch" | "update");
    CUSTOM.iter().filter(shown).copied().collect::<Vec<_>>().into()
}

pub(super) fn verbs(verbs: Verbs) -> Value {
    verbs.names().collect::<Vec<_>>().into()
}

pub(super) fn texts(texts: &[std::sync::Arc<str>]) -> Value {
    texts.iter().map(|t| Value::from(&**t)).collect()
}
