//! From manifests to a layer: each object as the server would have stored it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use kplane_auth::bootstrap;
use kplane_kinds::ResourceDef;
use kplane_kinds::def::SCHEMA_EPOCH;
use kplane_machinery::field::{ErrorList, FieldError, Path};
use kplane_machinery::{Status, object};
use kplane_registry::{Layer, ObjectKey, ResourceKey};
use kplane_schema::Format;
use serde_json::{Value, json};

use crate::base;
use crate::custom;
use crate::endpoints::cx::{Cx, Resource};
use crate::endpoints::decode::{self, Expected, FieldValidation};
use crate::endpoints::managed::{self, Tracking};
use crate::endpoints::negotiate::Media;
use crate::endpoints::{objects, system, write};

/// Who manages the fields of what a layer holds.
const MANAGER: &str = "kplane-addons";
/// The time at which all of a layer happens, until a control plane says when it was created.
const THEN: &str = "1970-01-01T00:00:00Z";
const CREATED: &str = "{{kplane.created}}";

/// Kinds whose objects are a matter of one control plane, and why.
const REFUSED: &[(&str, &str, &str)] = &[
    ("", "Pod", "pods are made in a control plane, not inherited"),
    ("", "Node", "nodes join a control plane"),
    ("", "Event", "events tell what happened in a control plane"),
    ("", "Service", "its address is given by each control plane"),
    ("", "Endpoints", "it follows a Service, which cannot be inherited"),
    ("discovery.k8s.io", "EndpointSlice", "it follows a Service, which cannot be inherited"),
    ("coordination.k8s.io", "Lease", "a lease is held in a control plane"),
    ("networking.k8s.io", "IPAddress", "addresses are given by each control plane"),
];

/// A document of the manifests.
struct Document {
    /// Which manifest it stands in.
    path: Path,
    value: Value,
    group: String,
    version: String,
    kind: String,
}

impl Document {
    fn error(&self, why: impl std::fmt::Display) -> FieldError {
        let shown = format!("{} {}", self.kind, object::name(&self.value));
        FieldError::invalid_str(&self.path, shown.trim_end(), why.to_string())
    }
}

/// The layer of some manifests, or all that is wrong with them.
pub fn build(cx: &Cx, manifests: &[&str]) -> Result<Result<Layer, ErrorList>, Status> {
    let mut errors = Vec::new();
    let mut documents = read(manifests, &mut errors);
    documents.extend(companions(&documents));
    let mut completed = Vec::new();
    let mut kinds = Kinds { cx, custom: HashMap::new(), facts: Vec::new() };
    // Definitions first: the others may be of their kinds.
    let (definitions, others): (Vec<_>, Vec<_>) = documents
        .iter()
        .partition(|d| d.kind == "CustomResourceDefinition" && d.group == "apiextensions.k8s.io");
    for document in definitions {
        match kinds.definition(document) {
            Ok(entry) => completed.push(entry),
            Err(found) => errors.extend(found),
        }
    }
    for document in others {
        match kinds.resource(document).and_then(|resource| complete(cx, document, &resource)) {
            Ok(entry) => completed.push(entry),
            Err(found) => errors.extend(found),
        }
    }
    placed(&documents, &completed, &mut errors);
    if completed.is_empty() && errors.is_empty() {
        errors.push(FieldError::required(
            &Path::new("spec").child("manifests"),
            "must hold at least one object",
        ));
    }
    if !errors.is_empty() {
        return Ok(Err(errors));
    }
    let at = Path::new("spec").child("manifests");
    let layer = match Layer::build(SCHEMA_EPOCH, completed) {
        Ok(layer) => layer,
        Err(error) => return Ok(Err(vec![FieldError::invalid_str(&at, "", error.to_string())])),
    };
    let unknown = layer.parameters().iter().find(|name| !base::PARAMETERS.contains(&name.as_str()));
    if let Some(name) = unknown {
        let why = format!("there is no value for the placeholder {{{{kplane.{name}}}}}");
        return Ok(Err(vec![FieldError::invalid_str(&at, name, why)]));
    }
    Ok(Ok(layer))
}

/// The documents of all manifests; lists are taken apart.
fn read(manifests: &[&str], errors: &mut ErrorList) -> Vec<Document> {
    let mut documents = Vec::new();
    for (index, text) in manifests.iter().enumerate() {
        let path = Path::new("spec").child("manifests").index(index);
        for (number, part) in split(text).into_iter().enumerate() {
            let parsed = match kplane_schema::parse(part.as_bytes(), Format::Yaml) {
                Ok(parsed) => parsed,
                Err(error) => {
                    let why = format!("document {} is no YAML: {error}", number + 1);
                    errors.push(FieldError::invalid_str(&path, "", why));
                    continue;
                }
            };
            if let Some(twice) = parsed.duplicates.first() {
                let why = format!("document {}: {twice}", number + 1);
                errors.push(FieldError::invalid_str(&path, "", why));
            }
            take_apart(&path, number, parsed.value, &mut documents, errors);
        }
    }
    documents
}

fn take_apart(
    path: &Path,
    number: usize,
    mut value: Value,
    documents: &mut Vec<Document>,
    errors: &mut ErrorList,
) {
    if value.is_null() {
        return;
    }
    let text = |field: &str| value.get(field).and_then(Value::as_str).unwrap_or("").to_owned();
    let (api_version, kind) = (text("apiVersion"), text("kind"));
    if api_version.is_empty() || kind.is_empty() {
        let why = format!("document {} has no apiVersion and kind", number + 1);
        return errors.push(FieldError::invalid_str(path, "", why));
    }
    if api_version == "v1"
        && kind == "List"
        && let Some(items) = value.get_mut("items").and_then(Value::as_array_mut)
    {
        return std::mem::take(items)
            .into_iter()
            .for_each(|item| take_apart(path, number, item, documents, errors));
    }
    let (group, version) = api_version.split_once('/').unwrap_or(("", &api_version));
    documents.push(Document {
        path: path.clone(),
        group: group.to_owned(),
        version: version.to_owned(),
        kind,
        value,
    });
}

/// The documents of a text, which lines of `---` divide.
fn split(text: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    for line in text.lines() {
        match line.strip_prefix("---") {
            Some(rest) if rest.is_empty() || rest.starts_with([' ', '\t', '#']) => {
                let rest = rest.trim();
                let begins = if rest.starts_with('#') { "" } else { rest };
                parts.push(if begins.is_empty() { String::new() } else { format!("{begins}\n") });
            }
            _ => {
                if let Some(part) = parts.last_mut() {
                    part.push_str(line);
                    part.push('\n');
                }
            }
        }
    }
    let said =
        |part: &String| part.lines().any(|line| !matches!(line.trim().bytes().next(), None | Some(b'#')));
    parts.into_iter().filter(said).collect()
}

/// What the controllers would make in each namespace; in an inherited one it is inherited too.
fn companions(documents: &[Document]) -> Vec<Document> {
    let has = |kind: &str, namespace: &str, name: &str| {
        documents.iter().any(|d| {
            d.group.is_empty()
                && d.kind == kind
                && object::namespace(&d.value) == namespace
                && object::name(&d.value) == name
        })
    };
    let mut made = Vec::new();
    for namespace in documents.iter().filter(|d| d.group.is_empty() && d.kind == "Namespace") {
        let name = object::name(&namespace.value);
        let mut add = |kind: &str, value: Value| {
            if !has(kind, name, object::name(&value)) {
                made.push(Document {
                    path: namespace.path.clone(),
                    value,
                    group: String::new(),
                    version: "v1".into(),
                    kind: kind.to_owned(),
                });
            }
        };
        add(
            "ServiceAccount",
            json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": name}}),
        );
        add(
            "ConfigMap",
            json!({
                "apiVersion": "v1", "kind": "ConfigMap",
                "metadata": {"name": "kube-root-ca.crt", "namespace": name},
                "data": {"ca.crt": "{{kplane.ca}}"},
            }),
        );
    }
    made
}

/// Every object must be in a namespace that is there, and be there once.
fn placed(documents: &[Document], completed: &[(ObjectKey, Value)], errors: &mut ErrorList) {
    let mut namespaces: HashSet<&str> = bootstrap::NAMESPACES.into_iter().collect();
    namespaces.extend(
        documents
            .iter()
            .filter(|d| d.group.is_empty() && d.kind == "Namespace")
            .map(|d| object::name(&d.value)),
    );
    let at = Path::new("spec").child("manifests");
    let mut seen = HashSet::new();
    for (key, _) in completed {
        let shown = format!("{}/{}", key.resource.resource, key.name);
        if let Some(namespace) = key.namespace.as_deref().filter(|name| !namespaces.contains(name)) {
            let why =
                format!("the namespace {namespace} is neither in the manifests nor in every control plane");
            errors.push(FieldError::invalid_str(&at, &shown, why));
        }
        if !seen.insert(key) {
            errors.push(FieldError::duplicate(&at, &shown.into()));
        }
    }
}

/// The kinds that objects of a layer may be of.
struct Kinds<'a> {
    cx: &'a Cx,
    custom: HashMap<(String, String), Arc<ResourceDef>>,
    facts: Vec<custom::Fact>,
}

impl Kinds<'_> {
    fn resource(&self, document: &Document) -> Result<Resource, ErrorList> {
        let Document { group, version, kind, .. } = document;
        if let Some((.., why)) = REFUSED.iter().find(|(g, k, _)| g == group && k == kind) {
            return Err(vec![document.error(why)]);
        }
        let builtin = self.cx.app.kinds.all().find(|def| {
            *def.group == **group
                && *def.kind == **kind
                && !def.root_only
                && def.stored()
                && def.storage_group_resource.is_none()
        });
        let custom = || self.custom.get(&(group.clone(), kind.clone()));
        let def = builtin.or_else(custom).filter(|def| def.version(version).is_some_and(|v| v.served));
        let def = def.ok_or_else(|| {
            let why = "there is no such kind in every control plane; the definition of a custom kind must be in the same manifests";
            vec![document.error(format!("{group}/{version}: {why}"))]
        })?;
        Ok(Resource { def: def.clone(), version: version.as_str().into() })
    }

    /// A definition, as it is once it is established.
    fn definition(&mut self, document: &Document) -> Result<(ObjectKey, Value), ErrorList> {
        let resource = self.resource(document)?;
        let (key, mut crd) = complete(self.cx, document, &resource)?;
        let refused = |status: Status| vec![document.error(status.message)];
        let group = crd["spec"]["group"].as_str().unwrap_or("").to_owned();
        let others = || self.facts.iter().filter(|fact| *fact.group == *group);
        custom::controller::accept(&mut crd, others(), CREATED).map_err(refused)?;
        if !custom::is_established(&crd) {
            let told = crd["status"]["conditions"].as_array().into_iter().flatten();
            let why = told.filter(|c| c["type"] == "NamesAccepted").find_map(|c| c["message"].as_str());
            return Err(vec![document.error(why.unwrap_or("its names are not accepted"))]);
        }
        let def = Arc::new(custom::compile(&crd).map_err(refused)?);
        self.facts.push(custom::Fact::of_names(&key.name, &group, &crd["status"]["acceptedNames"]));
        self.custom.insert((group, def.kind.to_string()), def);
        Ok((key, crd))
    }
}

/// An object as the server would have stored it.
fn complete(cx: &Cx, document: &Document, resource: &Resource) -> Result<(ObjectKey, Value), ErrorList> {
    let refused = |status: Status| vec![document.error(status.message)];
    let name = object::name(&document.value).to_owned();
    if name.is_empty() {
        return Err(vec![document.error("metadata.name is required")]);
    }
    let given = object::namespace(&document.value).to_owned();
    let namespace = match (resource.def.namespaced(), given.as_str()) {
        (true, "") => "default",
        (true, given) => given,
        (false, "") => "",
        (false, _) => return Err(vec![document.error("its kind has no namespaces")]),
    };
    let cx = Cx::system(&cx.app, &cx.vcp, namespace, &name);
    let bytes = serde_json::to_vec(&document.value).map_err(|e| vec![document.error(e)])?;
    let expected = Expected::of(resource).map_err(refused)?;
    let mut value =
        decode::object_as(&cx, &bytes, Media::Json, &expected, FieldValidation::Strict).map_err(refused)?;
    decode::match_path(&cx, resource, &mut value, false).map_err(refused)?;
    decode::default(resource, &mut value).map_err(refused)?;
    managed::track(&cx, resource, None, &mut value, &Tracking::create(MANAGER));
    system::fill_create(&mut value, resource, &cx);
    let hook = write::context(&cx, resource, THEN, None);
    let strategy = &resource.def.strategy;
    strategy.prepare_create(&hook, &mut value);
    let mut errors = system::validate_create(resource, &value);
    errors.extend(strategy.validate_create(&hook, &value));
    if !errors.is_empty() {
        return Err(errors.iter().map(|error| document.error(error)).collect());
    }
    strategy.canonicalize(&mut value);
    objects::normalise(resource, &mut value).map_err(refused)?;
    let stored = resource.def.storage_version.clone();
    objects::convert(resource, &mut value, &resource.version, &stored).map_err(refused)?;
    for field in ["uid", "creationTimestamp", "resourceVersion"] {
        object::set_meta(&mut value, field, None);
    }
    if let Some(entries) = value.pointer_mut("/metadata/managedFields").and_then(Value::as_array_mut) {
        for entry in entries {
            entry["time"] = CREATED.into();
        }
    }
    dated(&mut value);
    let key = ObjectKey {
        resource: ResourceKey::new(resource.def.group.clone(), resource.def.plural.clone()),
        namespace: resource.def.namespaced().then(|| namespace.into()),
        name: name.into(),
    };
    Ok((key, value))
}

/// What the kind's hooks dated is dated by the control plane.
fn dated(value: &mut Value) {
    match value {
        Value::String(text) if text == THEN => *text = CREATED.into(),
        Value::Array(items) => items.iter_mut().for_each(dated),
        Value::Object(fields) => fields.values_mut().for_each(dated),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_divided() {
        let parts = split("# only a comment\n---\na: 1\n--- # second\nb: |\n  --- not\n---\n---\n\n");
        assert_eq!(parts, ["a: 1\n", "b: |\n  --- not\n"]);
    }

    #[test]
    fn lists_are_taken_apart_and_namespaces_have_companions() {
        let mut errors = Vec::new();
        let documents = read(
            &[
                "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Namespace, metadata: {name: owls}}\n- {apiVersion: v1, kind: ServiceAccount, metadata: {name: default, namespace: owls}}\n",
                "kind: Nothing\n",
            ],
            &mut errors,
        );
        assert_eq!(
            documents.iter().map(|d| d.kind.as_str()).collect::<Vec<_>>(),
            ["Namespace", "ServiceAccount"]
        );
        assert_eq!(errors.len(), 1);
        let made = companions(&documents);
        assert_eq!(made.iter().map(|d| d.kind.as_str()).collect::<Vec<_>>(), ["ConfigMap"]);
    }
}
