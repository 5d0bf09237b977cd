//! What a kind is: [`ResourceDef`].

use std::sync::Arc;
use std::time::Duration;

use kplane_machinery::schema::SchemaLink;
use kplane_machinery::{GroupKind, GroupResource, GroupVersionKind};

use crate::strategy::Strategy;

/// The generation of the rules by which objects of built-in kinds are defaulted.
pub const SCHEMA_EPOCH: u32 = 1;

/// Whether objects live in a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// In the control plane itself.
    Cluster,
    /// In a namespace of it.
    Namespaced,
}

bitset! {
    /// The verbs a resource answers.
    Verbs: CREATE "create", DELETE "delete", DELETE_COLLECTION "deletecollection", GET "get", LIST "list",
           PATCH "patch", UPDATE "update", WATCH "watch"
}

impl Verbs {
    /// All of them: what nearly every resource has.
    pub const ALL: Verbs = Verbs(0xff);
    /// Reviews: created, answered and not stored.
    pub const CREATE_ONLY: Verbs = Verbs::CREATE;
    /// What a kind has whose definition is being deleted.
    pub const NO_CREATE: Verbs = Verbs(Verbs::ALL.0 & !Verbs::CREATE.0);
    /// What a `status` subresource has.
    pub const GET_PATCH_UPDATE: Verbs = Verbs(Verbs::GET.0 | Verbs::PATCH.0 | Verbs::UPDATE.0);
}

/// A column of the table that `kubectl get` prints.
#[derive(Clone, Debug, PartialEq)]
pub struct Column {
    /// The heading.
    pub name: Arc<str>,
    /// `string`, `integer`, `number`, `boolean`, `date`.
    pub column_type: Arc<str>,
    /// `name` for the name, else often empty.
    pub format: Arc<str>,
    /// Shown in the table's definitions.
    pub description: Arc<str>,
    /// 0 is always shown, 1 with `-o wide`.
    pub priority: i32,
    /// Where a custom resource's cell is found; built-in kinds compute theirs in [`Strategy::row`].
    pub json_path: Option<Arc<str>>,
}

/// One version of a kind.
#[derive(Clone, Debug)]
pub struct VersionDef {
    /// `v1`.
    pub name: Arc<str>,
    /// Offered to clients.
    pub served: bool,
    /// The shape of an object in it.
    pub schema: SchemaLink,
    /// Printed columns; empty means name and age alone.
    pub columns: Vec<Column>,
    /// The paths a field selector may name beside `metadata.name` and `metadata.namespace`, such as `spec.nodeName`.
    pub selectable_fields: Vec<Arc<str>>,
    /// Sent as a `Warning` with each answer, for deprecated versions.
    pub deprecation: Option<Arc<str>>,
}

/// A part of a resource with a path and rules of its own.
#[derive(Clone, Debug)]
pub struct Subresource {
    /// `status`, `scale`, `eviction`, …
    pub name: Arc<str>,
    /// The verbs it answers.
    pub verbs: Verbs,
    /// The kind it takes and answers, when that is not the resource's own, such as `autoscaling/v1 Scale`.
    pub kind: Option<GroupVersionKind>,
    /// The shape of that kind.
    pub schema: Option<SchemaLink>,
    /// For `scale` of a custom resource: where replicas and selector are found.
    pub scale: Option<ScalePaths>,
    /// The versions of the resource that have it; `None` for all.
    pub versions: Option<Vec<Arc<str>>>,
}

/// Where the parts of a `Scale` are found in an object, as paths of field names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScalePaths {
    /// `spec.replicas`.
    pub spec_replicas: Vec<Arc<str>>,
    /// `status.replicas`.
    pub status_replicas: Vec<Arc<str>>,
    /// The selector as text or, for built-in kinds, as a `LabelSelector` or map.
    pub selector: Option<Vec<Arc<str>>>,
}

/// How objects of a kind go from one of its versions to another, when a webhook of its control plane does that.
#[derive(Clone, Debug, PartialEq)]
pub struct Conversion {
    /// Where the webhook is: a `clientConfig`.
    pub client: serde_json::Value,
    /// The versions of `ConversionReview` it takes, the preferred first.
    pub review_versions: Vec<Arc<str>>,
}

/// A kind: what it is called, how it is shaped, and its [`Strategy`].
#[derive(Clone)]
pub struct ResourceDef {
    /// The group, empty for core.
    pub group: Arc<str>,
    /// `Deployment`.
    pub kind: Arc<str>,
    /// `DeploymentList`.
    pub list_kind: Arc<str>,
    /// `deployments`.
    pub plural: Arc<str>,
    /// `deployment`.
    pub singular: Arc<str>,
    /// `deploy`.
    pub short_names: Vec<Arc<str>>,
    /// `all`.
    pub categories: Vec<Arc<str>>,
    /// Where its objects live.
    pub scope: Scope,
    /// Its versions, the preferred one first.
    pub versions: Vec<VersionDef>,
    /// The version objects are stored in.
    pub storage_version: Arc<str>,
    /// The verbs it answers; a review answers `create` alone and stores nothing.
    pub verbs: Verbs,
    /// Its subresources.
    pub subresources: Vec<Subresource>,
    /// How long an object lives when nobody deletes it (Events: one hour).
    pub time_to_live: Option<Duration>,
    /// What the kind decides for itself.
    pub strategy: Arc<dyn Strategy>,
    /// The generation of the rules by which objects are defaulted. One stored under another is defaulted again when it is
    /// read.
    pub schema_epoch: u32,
    /// True for a kind defined by a CustomResourceDefinition.
    pub custom: bool,
    /// The group and resource whose objects these are, when another group serves the same ones
    /// (`events.k8s.io` shows the Events of core). They are stored as that resource's, in its storage version, and
    /// [`Strategy::convert`] is then given whole apiVersions, such as `v1` and `events.k8s.io/v1`.
    pub storage_group_resource: Option<GroupResource>,
    /// Who converts its objects, when that is not [`Strategy::convert`].
    pub conversion: Option<Arc<Conversion>>,
    /// Served in the root control plane alone.
    pub root_only: bool,
    /// The version that discovery's `storageVersionHash` is made of, where that is not the storage version.
    pub hash_version: Option<Arc<str>>,
}

impl ResourceDef {
    /// Its group and plural.
    pub fn group_resource(&self) -> GroupResource {
        GroupResource { group: self.group.clone(), resource: self.plural.clone() }
    }

    /// Its group and kind.
    pub fn group_kind(&self) -> GroupKind {
        GroupKind { group: self.group.clone(), kind: self.kind.clone() }
    }

    /// Its kind in a version.
    pub fn gvk(&self, version: &str) -> GroupVersionKind {
        GroupVersionKind::new(self.group.clone(), version, self.kind.clone())
    }

    /// One of its versions.
    pub fn version(&self, name: &str) -> Option<&VersionDef> {
        self.versions.iter().find(|v| &*v.name == name)
    }

    /// The subresources of one of its versions.
    pub fn subresources_of(&self, version: &str) -> impl Iterator<Item = &Subresource> {
        let has = move |sub: &&Subresource| {
            sub.versions.as_ref().is_none_or(|versions| versions.iter().any(|v| **v == *version))
        };
        self.subresources.iter().filter(has)
    }

    /// A subresource of one of its versions.
    pub fn subresource(&self, version: &str, name: &str) -> Option<&Subresource> {
        self.subresources_of(version).find(|s| &*s.name == name)
    }

    /// Where its objects are stored: its own group and resource, unless another's.
    pub fn storage_resource(&self) -> GroupResource {
        self.storage_group_resource.clone().unwrap_or_else(|| self.group_resource())
    }

    /// Whether objects are stored at all; reviews are only answered.
    pub fn stored(&self) -> bool {
        self.verbs.contains(Verbs::GET) && self.verbs.contains(Verbs::CREATE)
    }

    /// Whether its objects live in a namespace.
    pub fn namespaced(&self) -> bool {
        self.scope == Scope::Namespaced
    }
}

impl std::fmt::Debug for ResourceDef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ResourceDef({})", self.group_resource())
    }
}
