//! From a CustomResourceDefinition to a [`ResourceDef`].

use std::sync::Arc;

use kplane_kinds::def::{Conversion, ScalePaths};
use kplane_kinds::{Column, ResourceDef, Scope, Subresource, Verbs, VersionDef};
use kplane_machinery::field::Path;
use kplane_machinery::schema::{Schema, SchemaLink, SchemaType};
use kplane_machinery::{GroupVersionKind, Status};
use kplane_rules::{CelEngine, RuleEngine};
use kplane_schema::structural;
use serde_json::Value;

use super::strategy::{CustomStrategy, VersionRules};
use crate::discovery::compare_versions;

/// Whether a definition's names are accepted and its kind may be served.
pub fn is_established(crd: &Value) -> bool {
    condition(crd, "Established") == Some("True")
}

/// The status of a condition.
pub fn condition<'a>(crd: &'a Value, name: &str) -> Option<&'a str> {
    crd["status"]["conditions"].as_array()?.iter().find(|c| c["type"] == name)?["status"].as_str()
}

fn text(value: &Value, field: &str) -> Arc<str> {
    value.get(field).and_then(Value::as_str).unwrap_or("").into()
}

fn texts(value: &Value) -> Vec<Arc<str>> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).map(Arc::from).collect()
}

/// Compiles a definition that has passed validation.
pub fn compile(crd: &Value) -> Result<ResourceDef, Status> {
    let spec = &crd["spec"];
    // What is served are the accepted names: those asked for may be taken.
    let names = if crd["status"]["acceptedNames"]["plural"].as_str().is_some_and(|p| !p.is_empty()) {
        &crd["status"]["acceptedNames"]
    } else {
        &spec["names"]
    };
    let group = text(spec, "group");
    let kind = text(names, "kind");
    let mut versions = Vec::new();
    let mut storage_version: Arc<str> = "".into();
    let mut subresources: Vec<Subresource> = Vec::new();
    let mut rules = VersionRules::new();
    for version in spec["versions"].as_array().into_iter().flatten() {
        let name = text(version, "name");
        if version["storage"].as_bool() == Some(true) {
            storage_version = name.clone();
        }
        let schema = schema(spec, version)?;
        if let Some(compiled) = CelEngine.compile(&schema) {
            rules.insert(name.clone(), compiled);
        }
        for sub in subresources_of(version, &name) {
            let same =
                subresources.iter_mut().find(|known| known.name == sub.name && known.scale == sub.scale);
            match same.and_then(|known| known.versions.as_mut()) {
                Some(versions) => versions.push(name.clone()),
                None => subresources.push(sub),
            }
        }
        versions.push(VersionDef {
            schema,
            served: version["served"].as_bool().unwrap_or(false),
            columns: columns(version),
            selectable_fields: version["selectableFields"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|f| f["jsonPath"].as_str())
                .map(|path| Arc::from(path.trim_start_matches('.')))
                .collect(),
            deprecation: (version["deprecated"].as_bool() == Some(true)).then(|| {
                version["deprecationWarning"]
                    .as_str()
                    .map_or_else(|| format!("{group}/{name} {kind} is deprecated").into(), Arc::from)
            }),
            name,
        });
    }
    versions.sort_by(|a, b| compare_versions(&b.name, &a.name));
    // As they are published: status, then scale, whichever version names them first.
    subresources.sort_by(|a, b| b.name.cmp(&a.name));
    Ok(ResourceDef {
        schema_epoch: epoch(spec),
        group,
        list_kind: text(names, "listKind"),
        plural: text(names, "plural"),
        singular: text(names, "singular"),
        short_names: texts(&names["shortNames"]),
        categories: texts(&names["categories"]),
        scope: if spec["scope"] == "Namespaced" { Scope::Namespaced } else { Scope::Cluster },
        versions,
        storage_version,
        verbs: if condition(crd, "Terminating") == Some("True") { Verbs::NO_CREATE } else { Verbs::ALL },
        subresources,
        time_to_live: None,
        strategy: Arc::new(CustomStrategy::new(rules)),
        custom: true,
        kind,
        storage_group_resource: None,
        conversion: conversion(spec),
        root_only: false,
        hash_version: None,
    })
}

/// The webhook that converts, if one does.
fn conversion(spec: &Value) -> Option<Arc<Conversion>> {
    let conversion = &spec["conversion"];
    (conversion["strategy"] == "Webhook").then(|| {
        Arc::new(Conversion {
            client: conversion["webhook"]["clientConfig"].clone(),
            review_versions: texts(&conversion["webhook"]["conversionReviewVersions"]),
        })
    })
}

/// Another for every change of the definition, so that new defaults show on what is stored already.
fn epoch(spec: &Value) -> u32 {
    use sha2::{Digest, Sha256};
    let digest = Sha256::digest(spec.to_string());
    u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]])
}

/// The shape of a version: its structural schema with the fields every object has.
fn schema(spec: &Value, version: &Value) -> Result<SchemaLink, Status> {
    let mut schema = match version.pointer("/schema/openAPIV3Schema") {
        Some(raw) => structural::from_json(raw, &Path::new("openAPIV3Schema")).map_err(|errors| {
            let told: Vec<String> = errors.iter().map(ToString::to_string).collect();
            Status::internal(format!("a stored schema cannot be read: {}", told.join(", ")))
        })?,
        None => Schema { schema_type: SchemaType::Object, preserve_unknown: true, ..Schema::default() },
    };
    if spec["preserveUnknownFields"].as_bool() == Some(true) {
        schema.preserve_unknown = true;
    }
    structural::add_type_and_object_meta(&mut schema);
    Ok(schema.into())
}

/// The printer columns beside the name.
fn columns(version: &Value) -> Vec<Column> {
    let given = version["additionalPrinterColumns"].as_array().into_iter().flatten();
    given
        .map(|column| Column {
            name: text(column, "name"),
            column_type: text(column, "type"),
            format: text(column, "format"),
            description: text(column, "description"),
            priority: column["priority"].as_i64().unwrap_or(0) as i32,
            json_path: Some(text(column, "jsonPath")),
        })
        .collect()
}

fn subresources_of(version: &Value, name: &Arc<str>) -> Vec<Subresource> {
    let mut out = Vec::new();
    let versions = Some(vec![name.clone()]);
    let given = &version["subresources"];
    if given["status"].is_object() {
        out.push(Subresource {
            name: "status".into(),
            verbs: Verbs::GET_PATCH_UPDATE,
            kind: None,
            schema: None,
            scale: None,
            versions: versions.clone(),
        });
    }
    if let Some(scale) = given["scale"].as_object() {
        let path = |field: &str| -> Option<Vec<Arc<str>>> {
            let path = scale.get(field)?.as_str()?;
            (!path.is_empty()).then(|| path.split('.').filter(|s| !s.is_empty()).map(Arc::from).collect())
        };
        out.push(Subresource {
            name: "scale".into(),
            verbs: Verbs::GET_PATCH_UPDATE,
            kind: Some(GroupVersionKind::new("autoscaling", "v1", "Scale")),
            schema: kplane_schema::builtin().for_gvk(&GroupVersionKind::new("autoscaling", "v1", "Scale")),
            scale: Some(ScalePaths {
                spec_replicas: path("specReplicasPath").unwrap_or_default(),
                status_replicas: path("statusReplicasPath").unwrap_or_default(),
                selector: path("labelSelectorPath"),
            }),
            versions,
        });
    }
    out
}
