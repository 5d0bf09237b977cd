//! A row of the table: a kind in constants, and the [`ResourceDef`] it makes.

use std::sync::Arc;
use std::time::Duration;

use kplane_machinery::schema::{Schema, SchemaLink};
use kplane_machinery::{GroupResource, GroupVersionKind};

use kplane_schema::Descriptions;

use super::columns::Col;
use crate::def::{Column, ResourceDef, ScalePaths, Scope, Subresource, Verbs, VersionDef};
use crate::strategy::{Plain, Strategy};

/// A subresource, as a constant.
#[derive(Clone, Copy)]
pub(super) struct Sub {
    name: &'static str,
    verbs: Verbs,
    /// Group, version and kind; an empty version stands for the resource's own.
    kind: Option<(&'static str, &'static str, &'static str)>,
}

/// A subresource of the resource's own kind.
pub(super) const fn own(name: &'static str, verbs: Verbs) -> Sub {
    Sub { name, verbs, kind: None }
}

/// A subresource of another kind.
pub(super) const fn other(
    name: &'static str,
    verbs: Verbs,
    kind: (&'static str, &'static str, &'static str),
) -> Sub {
    Sub { name, verbs, kind: Some(kind) }
}

/// `status`.
pub(super) const STATUS: Sub = own("status", Verbs::GET_PATCH_UPDATE);

/// `scale`, for kinds with `spec.replicas`, `status.replicas` and `spec.selector`.
pub(super) const SCALE: Sub = other("scale", Verbs::GET_PATCH_UPDATE, ("autoscaling", "v1", "Scale"));

/// A kind, as a constant.
#[derive(Clone, Copy)]
pub(super) struct Row {
    group: &'static str,
    kind: &'static str,
    plural: &'static str,
    short: &'static [&'static str],
    categories: &'static [&'static str],
    scope: Scope,
    versions: &'static [&'static str],
    storage_version: &'static str,
    hash_version: Option<&'static str>,
    verbs: Verbs,
    subs: &'static [Sub],
    columns: &'static [Col],
    fields: &'static [&'static str],
    ttl_seconds: u64,
    stored_as: Option<(&'static str, &'static str)>,
    deprecation: Option<&'static str>,
    root_only: bool,
    schema: Option<fn() -> Schema>,
    strategy: fn() -> Arc<dyn Strategy>,
}

fn plain() -> Arc<dyn Strategy> {
    Arc::new(Plain)
}

/// A namespaced kind of one group, its preferred version first.
pub(super) const fn namespaced(
    group: &'static str,
    versions: &'static [&'static str],
    kind: &'static str,
    plural: &'static str,
) -> Row {
    Row {
        group,
        kind,
        plural,
        short: &[],
        categories: &[],
        scope: Scope::Namespaced,
        versions,
        storage_version: versions[0],
        hash_version: None,
        verbs: Verbs::ALL,
        subs: &[],
        columns: &[],
        fields: &[],
        ttl_seconds: 0,
        stored_as: None,
        deprecation: None,
        root_only: false,
        schema: None,
        strategy: plain,
    }
}

/// A cluster-scoped kind of one group, its preferred version first.
pub(super) const fn cluster(
    group: &'static str,
    versions: &'static [&'static str],
    kind: &'static str,
    plural: &'static str,
) -> Row {
    let mut row = namespaced(group, versions, kind, plural);
    row.scope = Scope::Cluster;
    row
}

impl Row {
    pub(super) const fn short(mut self, names: &'static [&'static str]) -> Self {
        self.short = names;
        self
    }

    pub(super) const fn categories(mut self, names: &'static [&'static str]) -> Self {
        self.categories = names;
        self
    }

    pub(super) const fn verbs(mut self, verbs: Verbs) -> Self {
        self.verbs = verbs;
        self
    }

    pub(super) const fn subs(mut self, subs: &'static [Sub]) -> Self {
        self.subs = subs;
        self
    }

    pub(super) const fn columns(mut self, columns: &'static [Col]) -> Self {
        self.columns = columns;
        self
    }

    /// The fields a selector may name.
    pub(super) const fn fields(mut self, fields: &'static [&'static str]) -> Self {
        self.fields = fields;
        self
    }

    pub(super) const fn lives(mut self, seconds: u64) -> Self {
        self.ttl_seconds = seconds;
        self
    }

    pub(super) const fn stored_in(mut self, version: &'static str) -> Self {
        self.storage_version = version;
        self
    }

    pub(super) const fn hashed_as(mut self, version: &'static str) -> Self {
        self.hash_version = Some(version);
        self
    }

    pub(super) const fn stored_as(mut self, group: &'static str, resource: &'static str) -> Self {
        self.stored_as = Some((group, resource));
        self
    }

    /// Warned about with each answer.
    pub(super) const fn deprecated(mut self, warning: &'static str) -> Self {
        self.deprecation = Some(warning);
        self
    }

    /// A kind of our own: root's alone, with a schema given here.
    pub(super) const fn ours(mut self, schema: fn() -> Schema) -> Self {
        self.root_only = true;
        self.schema = Some(schema);
        self
    }

    pub(super) const fn with(mut self, strategy: fn() -> Arc<dyn Strategy>) -> Self {
        self.strategy = strategy;
        self
    }

    /// The definition.
    pub(super) fn build(&self, texts: &Descriptions) -> ResourceDef {
        // What a version has no field for, such as Events of another group, is described as it is stored.
        let stored =
            schema_of(self.stored_as.map_or(self.group, |(group, _)| group), self.storage_version, self.kind);
        let versions = self
            .versions
            .iter()
            .map(|version| {
                let schema = match self.schema {
                    Some(make) => make().into(),
                    None => schema_of(self.group, version, self.kind),
                };
                let columns = self.columns.iter().map(|c| column(c, &[&stored, &schema], texts)).collect();
                VersionDef {
                    name: (*version).into(),
                    served: true,
                    columns,
                    selectable_fields: self.fields.iter().map(|f| (*f).into()).collect(),
                    deprecation: self.deprecation.map(Into::into),
                    schema,
                }
            })
            .collect();
        ResourceDef {
            schema_epoch: crate::def::SCHEMA_EPOCH,
            group: self.group.into(),
            kind: self.kind.into(),
            list_kind: format!("{}List", self.kind).into(),
            plural: self.plural.into(),
            singular: self.kind.to_lowercase().into(),
            short_names: self.short.iter().map(|s| (*s).into()).collect(),
            categories: self.categories.iter().map(|s| (*s).into()).collect(),
            scope: self.scope,
            versions,
            storage_version: self.storage_version.into(),
            verbs: self.verbs,
            subresources: self.subs.iter().map(subresource).collect(),
            time_to_live: (self.ttl_seconds > 0).then(|| Duration::from_secs(self.ttl_seconds)),
            strategy: (self.strategy)(),
            custom: false,
            storage_group_resource: self.stored_as.map(|(g, r)| GroupResource::new(g, r)),
            conversion: None,
            root_only: self.root_only,
            hash_version: self.hash_version.map(Into::into),
        }
    }
}

fn subresource(sub: &Sub) -> Subresource {
    let kind = sub.kind.map(|(group, version, kind)| GroupVersionKind::new(group, version, kind));
    Subresource {
        name: sub.name.into(),
        verbs: sub.verbs,
        schema: sub.kind.map(|(group, version, kind)| schema_of(group, version, kind)),
        kind,
        scale: (sub.name == "scale").then(|| ScalePaths {
            spec_replicas: vec!["spec".into(), "replicas".into()],
            status_replicas: vec!["status".into(), "replicas".into()],
            selector: Some(vec!["spec".into(), "selector".into()]),
        }),
        versions: None,
    }
}

/// The schema of a built-in kind; one that is not in the table admits anything and loses nothing.
fn schema_of(group: &str, version: &str, kind: &str) -> SchemaLink {
    kplane_schema::builtin()
        .for_gvk(&GroupVersionKind::new(group, version, kind))
        .unwrap_or_else(|| Schema { preserve_unknown: true, ..Schema::default() }.into())
}

fn column(col: &Col, schemas: &[&SchemaLink], texts: &Descriptions) -> Column {
    let description = match col.description.strip_prefix('=') {
        Some(path) => {
            let found = schemas.iter().find_map(|schema| field_description(schema, path, texts));
            found.unwrap_or_default().into()
        }
        None => col.description.into(),
    };
    Column {
        name: col.name.into(),
        column_type: col.column_type.into(),
        format: col.format.into(),
        description,
        priority: col.priority,
        json_path: None,
    }
}

/// What the schema says about the field at a path.
fn field_description(schema: &SchemaLink, path: &str, texts: &Descriptions) -> Option<String> {
    let mut at: SchemaLink = schema.clone();
    let mut found = None;
    for name in path.split('.') {
        let next = {
            let mut here: &SchemaLink = &at;
            while let Some(items) = here.items.as_ref().or(here.additional.as_ref()) {
                here = items;
            }
            let property = here.property(name)?;
            found = match &here.type_name {
                Some(of) => texts.of_field(of, name),
                None => Some(property.description.to_string()),
            };
            property.schema.clone()
        };
        at = next;
    }
    found
}
