//! The OpenAPI documents that kubectl, Helm and client-go read, version 2 and version 3.
//!
//! The definitions of built-in types are upstream's; the paths are those of the resources given. The deprecated paths
//! below `watch` are left out.

mod convert;
mod definitions;
mod gnostic;
mod merge;
mod paths;
mod schemes;

use std::collections::BTreeSet;
use std::sync::Arc;

use kplane_machinery::schema::SchemaLink;
use kplane_machinery::{GroupVersion, GroupVersionKind};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha512};

pub use convert::v3_of_v2;
use definitions::Definitions;
pub use gnostic::v2_protobuf;
pub use merge::merge_v2;

/// A resource as the documents show it.
#[derive(Clone, Debug)]
pub struct ResourcePaths {
    /// The group, empty for core.
    pub group: Arc<str>,
    /// `v1`.
    pub version: Arc<str>,
    /// `Deployment`.
    pub kind: Arc<str>,
    /// `DeploymentList`.
    pub list_kind: Arc<str>,
    /// `deployments`.
    pub plural: Arc<str>,
    /// Whether its objects live in a namespace.
    pub namespaced: bool,
    /// `get`, `list`, `create`, …
    pub verbs: Vec<Arc<str>>,
    /// Its subresources.
    pub subresources: Vec<SubresourcePaths>,
    /// The shape of its objects.
    pub schema: SchemaLink,
    /// The fields a custom resource may be selected by, beside its name and namespace.
    pub selectable_fields: Vec<Arc<str>>,
}

/// A subresource as the documents show it.
#[derive(Clone, Debug)]
pub struct SubresourcePaths {
    /// `status`.
    pub name: Arc<str>,
    /// `get`, `patch`, `update`, `create`.
    pub verbs: Vec<Arc<str>>,
    /// The kind it takes and answers, when it is not the resource's own.
    pub kind: Option<GroupVersionKind>,
    /// The shape of that kind.
    pub schema: Option<SchemaLink>,
}

/// Which form a document has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    V2,
    V3,
}

impl Form {
    fn reference(self, name: &str) -> Value {
        match self {
            Self::V2 => json!({"$ref": format!("#/definitions/{name}")}),
            Self::V3 => json!({"$ref": format!("#/components/schemas/{name}")}),
        }
    }
}

/// The document of one group and version, as `/openapi/v3/apis/<group>/<version>` serves it.
pub fn v3(group_version: &GroupVersion, resources: &[ResourcePaths]) -> Value {
    // A group that definitions make has a document of its own kind.
    let custom =
        !resources.is_empty() && resources.iter().all(|resource| resource.schema.type_name.is_none());
    let groups = if custom { schemes::client() } else { [group_version.clone()].into() };
    let mut definitions = Definitions::new(Form::V3, groups);
    let mut paths = Map::new();
    if !custom {
        paths::group_version(group_version, Form::V3, &mut definitions, &mut paths);
    }
    for resource in resources {
        paths::resource(resource, Form::V3, &mut definitions, &mut paths);
    }
    let mut document = json!({
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": "unversioned"},
        "paths": paths,
        "components": {"schemas": definitions.finish()},
    });
    if custom {
        document["info"] = json!({"title": "Kubernetes CRD Swagger", "version": "v0.1.0"});
    } else {
        document["components"]["securitySchemes"] = json!({"BearerToken": bearer_token()});
    }
    document
}

/// The document of all groups, as `/openapi/v2` serves it.
pub fn v2(version: &str, resources: &[ResourcePaths]) -> Value {
    let groups: BTreeSet<GroupVersion> =
        resources.iter().map(|r| GroupVersion::new(r.group.clone(), r.version.clone())).collect();
    let mut definitions = Definitions::new(Form::V2, schemes::server());
    let mut paths = Map::new();
    for group in &groups {
        paths::group_version(group, Form::V2, &mut definitions, &mut paths);
    }
    for resource in resources {
        paths::resource(resource, Form::V2, &mut definitions, &mut paths);
    }
    json!({
        "swagger": "2.0",
        "info": {"title": "Kubernetes", "version": version},
        "paths": paths,
        "definitions": definitions.finish(),
        "securityDefinitions": {"BearerToken": bearer_token()},
        "security": [{"BearerToken": []}],
    })
}

/// The path of a group and version below `/openapi/v3`: `api/v1`, `apis/apps/v1`.
pub fn v3_path(group_version: &GroupVersion) -> String {
    if group_version.group.is_empty() {
        format!("api/{}", group_version.version)
    } else {
        format!("apis/{group_version}")
    }
}

/// What `/openapi/v3` serves: the groups and versions, each with the hash of its document. `prefix` stands before the
/// paths: that of the control plane, or nothing.
pub fn v3_index<'a>(prefix: &str, documents: impl IntoIterator<Item = (&'a GroupVersion, &'a str)>) -> Value {
    let mut paths = Map::new();
    for (group_version, hash) in documents {
        let path = v3_path(group_version);
        let url = format!("{prefix}/openapi/v3/{path}?hash={hash}");
        paths.insert(path, json!({"serverRelativeURL": url}));
    }
    json!({"paths": paths})
}

/// The hash of a document: its `ETag`, and the `hash` in the index.
pub fn hash(document: &[u8]) -> String {
    Sha512::digest(document).iter().map(|byte| format!("{byte:02X}")).collect()
}

fn bearer_token() -> Value {
    json!({"description": "Bearer Token authentication", "in": "header", "name": "authorization", "type": "apiKey"})
}

#[cfg(test)]
mod tests;
