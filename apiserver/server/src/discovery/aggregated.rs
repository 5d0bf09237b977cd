//! The aggregated document, `apidiscovery.k8s.io` `APIGroupDiscoveryList` (KEP-3352).

use kplane_machinery::GroupVersionKind;
use serde_json::{Value, json};

use super::Groups;
use super::legacy::{texts, verbs, verbs_of};

/// `/api` (core alone) or `/apis` (all others) in the aggregated form of a version, `v2` or `v2beta1`.
pub fn aggregated(groups: &Groups, core: bool, version: &str) -> Value {
    let items: Vec<Value> = groups
        .0
        .iter()
        .filter(|g| g.name.is_empty() == core)
        .map(|group| {
            let versions: Vec<Value> = group
                .versions
                .iter()
                .map(|(version, defs)| {
                    let resources: Vec<Value> = defs.iter().map(|def| resource(def, version)).collect();
                    json!({"version": &**version, "resources": resources, "freshness": "Current"})
                })
                .collect();
            let mut metadata = json!({"creationTimestamp": null});
            if !group.name.is_empty() {
                metadata["name"] = (&*group.name).into();
            }
            json!({"metadata": metadata, "versions": versions})
        })
        .collect();
    json!({
        "kind": "APIGroupDiscoveryList",
        "apiVersion": format!("apidiscovery.k8s.io/{version}"),
        "metadata": {},
        "items": items,
    })
}

fn kind_of(kind: &GroupVersionKind) -> Value {
    json!({"group": &*kind.group, "version": &*kind.version, "kind": &*kind.kind})
}

fn resource(def: &kplane_kinds::ResourceDef, version: &str) -> Value {
    // A built-in kind of the resource's own group and version is told by its name alone, as upstream does.
    let own = |kind: &str| {
        if def.custom {
            kind_of(&def.gvk(version))
        } else {
            json!({"group": "", "version": "", "kind": kind})
        }
    };
    let mut entry = json!({
        "resource": &*def.plural,
        "responseKind": own(&def.kind),
        "scope": if def.namespaced() { "Namespaced" } else { "Cluster" },
        "singularResource": &*def.singular,
        "verbs": verbs_of(def),
    });
    if !def.short_names.is_empty() {
        entry["shortNames"] = texts(&def.short_names);
    }
    if !def.categories.is_empty() {
        entry["categories"] = texts(&def.categories);
    }
    let subresources: Vec<Value> = def
        .subresources_of(version)
        .map(|sub| {
            let kind = match &sub.kind {
                Some(kind) if *kind.group != *def.group || *kind.version != *version => kind_of(kind),
                Some(kind) => own(&kind.kind),
                None => own(&def.kind),
            };
            json!({"subresource": &*sub.name, "responseKind": kind, "verbs": verbs(sub.verbs)})
        })
        .collect();
    if !subresources.is_empty() {
        entry["subresources"] = subresources.into();
    }
    entry
}
