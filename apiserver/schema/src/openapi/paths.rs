//! The paths of a document.

use kplane_machinery::{GroupVersion, GroupVersionKind};
use serde_json::{Map, Value, json};

use super::definitions::{Definitions, kind};
use super::{Form, ResourcePaths, v3_path};

/// The query parameters: name, type and description.
static PARAMETERS: &str = include_str!("parameters.txt");

const LISTING: &[&str] = &[
    "allowWatchBookmarks",
    "continue",
    "fieldSelector",
    "labelSelector",
    "limit",
    "resourceVersion",
    "resourceVersionMatch",
    "sendInitialEvents",
    "shardSelector",
    "timeoutSeconds",
    "watch",
];
const WRITING: &[&str] = &["dryRun", "fieldManager", "fieldValidation"];
const PATCHING: &[&str] = &["dryRun", "fieldManager for patches", "fieldValidation", "force"];
/// What is asked of one custom resource.
const READING: &[&str] = &["resourceVersion"];
const DELETING: &[&str] = &[
    "dryRun",
    "gracePeriodSeconds",
    "ignoreStoreReadErrorWithClusterBreakingPotential",
    "orphanDependents",
    "propagationPolicy",
];
const DELETING_ALL: &[&str] = &[
    "continue",
    "dryRun",
    "fieldSelector",
    "gracePeriodSeconds",
    "ignoreStoreReadErrorWithClusterBreakingPotential",
    "labelSelector",
    "limit",
    "orphanDependents",
    "propagationPolicy",
    "resourceVersion",
    "resourceVersionMatch",
    "sendInitialEvents",
    "shardSelector",
    "timeoutSeconds",
];
const PATCHES: &[&str] = &[
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
];
const MEDIA: &[&str] = &["application/json", "application/yaml", "application/vnd.kubernetes.protobuf"];
const CUSTOM_MEDIA: &[&str] = &["application/json", "application/yaml"];

/// One operation, in either form.
struct Operation<'a> {
    method: &'a str,
    /// `list`, `post`, `put`, …: `x-kubernetes-action`.
    action: &'a str,
    /// `create`, `replace`, … in the identifier.
    verb: &'a str,
    description: String,
    /// What the identifier ends with, such as `CollectionNamespacedDeployment`.
    suffix: String,
    query: &'a [&'a str],
    body: Option<Value>,
    answer: Value,
    codes: &'a [(&'a str, &'a str)],
    patches: &'a [&'a str],
    media: &'a [&'a str],
    /// The media types of the body; that of a patch has its own.
    takes: &'a [&'a str],
}

const ANY: &[&str] = &["*/*"];
const OK: (&str, &str) = ("200", "OK");
const CREATED: (&str, &str) = ("201", "Created");
const ACCEPTED: (&str, &str) = ("202", "Accepted");

/// The path that tells the resources of a group and version.
pub(super) fn group_version(
    group_version: &GroupVersion,
    form: Form,
    definitions: &mut Definitions,
    paths: &mut Map<String, Value>,
) {
    let answer = definitions.refer_meta("APIResourceList");
    let operation = Operation {
        method: "get",
        action: "",
        verb: "get",
        description: "get available resources".to_owned(),
        suffix: "APIResources".to_owned(),
        query: &[],
        body: None,
        answer,
        codes: &[OK],
        patches: &[],
        media: MEDIA,
        takes: ANY,
    };
    let (name, written) = write(&operation, group_version, None, form);
    let mut path = Map::new();
    path.insert(name, written);
    paths.insert(format!("/{}/", v3_path(group_version)), path.into());
}

/// The paths of a resource.
pub(super) fn resource(
    resource: &ResourcePaths,
    form: Form,
    definitions: &mut Definitions,
    paths: &mut Map<String, Value>,
) {
    let gv = GroupVersion::new(resource.group.clone(), resource.version.clone());
    let gvk = GroupVersionKind::new(gv.group.clone(), gv.version.clone(), resource.kind.clone());
    let custom = resource.schema.type_name.is_none();
    let (media, takes) = if custom { (CUSTOM_MEDIA, CUSTOM_MEDIA) } else { (MEDIA, ANY) };
    let (one, list) = definitions.refer_resource(resource);
    let has = |verb: &str| resource.verbs.iter().any(|v| &**v == verb);
    let mut refer =
        |wanted: bool, name: &str| if wanted { definitions.refer_meta(name) } else { Value::Null };
    let deletes = has("delete") || has("deletecollection");
    let status = refer(deletes, "Status");
    let options = refer(deletes, "DeleteOptions");
    let patches_any =
        has("patch") || resource.subresources.iter().any(|s| s.verbs.iter().any(|verb| &**verb == "patch"));
    let patch = refer(patches_any, "Patch");
    refer(has("watch") && !custom, "WatchEvent");
    let kind_name = &*resource.kind;
    let scope = if resource.namespaced { "Namespaced" } else { "" };
    let base = format!("/{}", v3_path(&gv));
    let within = if resource.namespaced { format!("{base}/namespaces/{{namespace}}") } else { base.clone() };
    let suffix = format!("{scope}{kind_name}");
    let patches: Vec<&str> =
        PATCHES.iter().copied().filter(|p| !custom || !p.contains("strategic")).collect();

    let mut collection = Vec::new();
    let listing = |suffix: String| Operation {
        method: "get",
        action: "list",
        verb: "list",
        description: if custom {
            format!("list objects of kind {kind_name}")
        } else {
            format!("list or watch objects of kind {kind_name}")
        },
        suffix,
        query: LISTING,
        body: None,
        answer: list.clone(),
        codes: &[OK],
        patches: &[],
        media,
        takes,
    };
    if has("list") {
        collection.push(listing(suffix.clone()));
    }
    if has("create") {
        collection.push(Operation {
            method: "post",
            action: "post",
            verb: "create",
            description: format!("create {} {kind_name}", article(kind_name)),
            suffix: suffix.clone(),
            query: WRITING,
            body: Some(one.clone()),
            answer: one.clone(),
            codes: &[OK, CREATED, ACCEPTED],
            patches: &[],
            media,
            takes,
        });
    }
    if has("deletecollection") {
        collection.push(Operation {
            method: "delete",
            action: "deletecollection",
            verb: "delete",
            description: format!("delete collection of {kind_name}"),
            suffix: format!("Collection{suffix}"),
            query: if custom { LISTING } else { DELETING_ALL },
            body: (!custom).then(|| options.clone()),
            answer: status.clone(),
            codes: &[OK],
            patches: &[],
            media,
            takes,
        });
    }
    let mut item = Vec::new();
    let verbs: Vec<&str> = resource.verbs.iter().map(|v| &**v).collect();
    let told = |what: &str| format!("{what} the specified {kind_name}");
    let reading = if custom { READING } else { &[] };
    let types = Types { patches: &patches, media, takes, reading };
    items(&verbs, &told, &suffix, &one, &patch, types, &mut item);
    if has("delete") {
        item.push(Operation {
            method: "delete",
            action: "delete",
            verb: "delete",
            description: format!("delete {} {kind_name}", article(kind_name)),
            suffix: suffix.clone(),
            query: DELETING,
            body: Some(options),
            answer: status,
            codes: &[OK, ACCEPTED],
            patches: &[],
            media,
            takes,
        });
    }
    let plural = &*resource.plural;
    let namespace = resource.namespaced.then_some(());
    add(paths, format!("{within}/{plural}"), &collection, None, namespace, &gv, &gvk, form);
    add(paths, format!("{within}/{plural}/{{name}}"), &item, Some(kind_name), namespace, &gv, &gvk, form);
    if resource.namespaced && has("list") {
        let mut everywhere = [listing(format!("{kind_name}ForAllNamespaces"))];
        let path = format!("{base}/{plural}");
        if custom {
            everywhere[0].query = &[];
        }
        add(paths, path.clone(), &everywhere, None, None, &gv, &gvk, form);
        if custom && let Some(written) = paths.get_mut(&path) {
            // The one operation shares its parameters with the path.
            let mut names = LISTING.to_vec();
            names.push("pretty");
            names.sort_unstable();
            written["parameters"] = names.into_iter().filter_map(|name| parameter(name, form)).collect();
        }
    }
    for subresource in &resource.subresources {
        let of = match subresource.schema.as_ref().and_then(|schema| schema.type_name.as_ref()) {
            Some(name) => definitions.refer(name),
            None => one.clone(),
        };
        let gvk = subresource.kind.as_ref().filter(|_| !custom).unwrap_or(&gvk);
        let name = &*subresource.name;
        let verbs: Vec<&str> = subresource.verbs.iter().map(|v| &**v).collect();
        let told = |what: &str| format!("{what} {name} of the specified {kind_name}");
        let suffix = format!("{suffix}{}", capital(name));
        let mut operations = Vec::new();
        items(&verbs, &told, &suffix, &of, &patch, types, &mut operations);
        if verbs.contains(&"create") {
            operations.push(Operation {
                method: "post",
                action: "post",
                verb: "create",
                description: format!("create {name} of {} {kind_name}", article(kind_name)),
                suffix,
                query: WRITING,
                body: Some(of.clone()),
                answer: of,
                codes: &[OK, CREATED, ACCEPTED],
                patches: &[],
                media,
                takes,
            });
        }
        let path = format!("{within}/{plural}/{{name}}/{name}");
        add(paths, path, &operations, Some(&*gvk.kind), namespace, &gv, gvk, form);
    }
}

/// The media types of a resource, and what is asked when one object is read.
#[derive(Clone, Copy)]
struct Types<'a> {
    patches: &'a [&'a str],
    media: &'a [&'a str],
    takes: &'a [&'a str],
    reading: &'a [&'a str],
}

/// `get`, `update` and `patch` of one object or subresource.
fn items<'a>(
    verbs: &[&str],
    told: &dyn Fn(&str) -> String,
    suffix: &str,
    of: &Value,
    patch: &Value,
    types: Types<'a>,
    out: &mut Vec<Operation<'a>>,
) {
    let make = |method, action, verb, what: &str, query, body, codes, patches| Operation {
        method,
        action,
        verb,
        description: told(what),
        suffix: suffix.to_owned(),
        query,
        body,
        answer: of.clone(),
        codes,
        patches,
        media: types.media,
        takes: types.takes,
    };
    // What makes a custom resource by a patch is not told.
    let custom = !types.reading.is_empty();
    if verbs.contains(&"get") {
        out.push(make("get", "get", "read", "read", types.reading, None, &[OK], &[]));
    }
    if verbs.contains(&"update") {
        out.push(make("put", "put", "replace", "replace", WRITING, Some(of.clone()), &[OK, CREATED], &[]));
    }
    if verbs.contains(&"patch") {
        let what = "partially update";
        out.push(make(
            "patch",
            "patch",
            "patch",
            what,
            PATCHING,
            Some(patch.clone()),
            if custom { &[OK] } else { &[OK, CREATED] },
            types.patches,
        ));
    }
}

#[expect(clippy::too_many_arguments, reason = "the parts of a path")]
fn add(
    paths: &mut Map<String, Value>,
    path: String,
    operations: &[Operation<'_>],
    named: Option<&str>,
    namespace: Option<()>,
    gv: &GroupVersion,
    gvk: &GroupVersionKind,
    form: Form,
) {
    if operations.is_empty() {
        return;
    }
    let mut out = Map::new();
    for operation in operations {
        let (method, written) = write(operation, gv, Some(gvk), form);
        out.insert(method, written);
    }
    let mut parameters = Vec::new();
    let mut in_path = |name: &str, description: String| {
        let mut parameter = json!({"name": name, "in": "path", "required": true, "description": description});
        typed(&mut parameter, "string", form);
        parameters.push(parameter);
    };
    if let Some(kind) = named {
        in_path("name", format!("name of the {kind}"));
    }
    if namespace.is_some() {
        in_path("namespace", "object name and auth scope, such as for teams and projects".to_owned());
    }
    parameters.extend(parameter("pretty", form));
    out.insert("parameters".into(), parameters.into());
    paths.insert(path, out.into());
}

fn typed(parameter: &mut Value, type_name: &str, form: Form) {
    match form {
        Form::V3 => parameter["schema"] = json!({"type": type_name, "uniqueItems": true}),
        Form::V2 => {
            parameter["type"] = type_name.into();
            parameter["uniqueItems"] = true.into();
        }
    }
}

fn parameter(name: &str, form: Form) -> Option<Value> {
    let mut columns = PARAMETERS
        .lines()
        .map(|line| line.splitn(3, '\t'))
        .find_map(|mut columns| (columns.next() == Some(name)).then_some(columns))?;
    let (type_name, description) = (columns.next()?, columns.next()?.replace("\\n", "\n"));
    let name = name.split(' ').next().unwrap_or(name);
    let mut out = json!({"name": name, "in": "query", "description": description});
    typed(&mut out, type_name, form);
    Some(out)
}

fn write(
    operation: &Operation<'_>,
    gv: &GroupVersion,
    gvk: Option<&GroupVersionKind>,
    form: Form,
) -> (String, Value) {
    let (id, tag) = (group_id(gv), group_tag(gv));
    let mut out = json!({
        "description": operation.description,
        "operationId": format!("{}{id}{}", operation.verb, operation.suffix),
        "tags": [tag],
    });
    if !operation.action.is_empty() {
        out["x-kubernetes-action"] = operation.action.into();
    }
    if let Some(gvk) = gvk {
        out["x-kubernetes-group-version-kind"] = kind(gvk);
    }
    let mut parameters: Vec<Value> = Vec::new();
    if let Some(body) = &operation.body {
        let optional = operation.method == "delete";
        match form {
            Form::V2 => {
                let mut parameter = json!({"name": "body", "in": "body", "schema": body});
                if !optional {
                    parameter["required"] = true.into();
                }
                parameters.push(parameter);
            }
            Form::V3 => {
                let types = if operation.patches.is_empty() { operation.takes } else { operation.patches };
                out["requestBody"] = json!({"content": content(types, body)});
                if !optional {
                    out["requestBody"]["required"] = true.into();
                }
            }
        }
    }
    parameters.extend(operation.query.iter().filter_map(|name| parameter(name, form)));
    if !parameters.is_empty() {
        out["parameters"] = parameters.into();
    }
    let mut responses = json!({"401": {"description": "Unauthorized"}});
    for (code, description) in operation.codes {
        responses[*code] = match form {
            Form::V2 => json!({"description": description, "schema": operation.answer}),
            Form::V3 => {
                json!({"description": description, "content": content(operation.media, &operation.answer)})
            }
        };
    }
    out["responses"] = responses;
    if form == Form::V2 {
        out["schemes"] = json!(["https"]);
        out["produces"] = operation.media.into();
        out["consumes"] =
            if operation.patches.is_empty() { json!(["*/*"]) } else { operation.patches.into() };
    }
    (operation.method.to_owned(), out)
}

fn content(types: &[&str], schema: &Value) -> Value {
    types.iter().map(|media| ((*media).to_owned(), json!({"schema": schema}))).collect::<Map<_, _>>().into()
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

/// `AppsV1`, `RbacAuthorizationV1`, `CoreV1`.
fn group_id(gv: &GroupVersion) -> String {
    let group = gv.group.strip_suffix(".k8s.io").unwrap_or(&gv.group);
    let group: String =
        if group.is_empty() { "Core".to_owned() } else { group.split('.').map(capital).collect() };
    format!("{group}{}", capital(&gv.version))
}

/// `apps_v1`, `rbacAuthorization_v1`, `core_v1`.
fn group_tag(gv: &GroupVersion) -> String {
    let id = group_id(gv);
    let group = id.get(..id.len() - gv.version.len()).unwrap_or(&id);
    let mut chars = group.chars();
    let first: String = chars.next().map(|c| c.to_lowercase().collect()).unwrap_or_default();
    format!("{first}{}_{}", chars.as_str(), gv.version)
}

fn article(kind: &str) -> &'static str {
    if kind.starts_with(['A', 'E', 'I', 'O', 'U']) { "an" } else { "a" }
}
