//! Server-side apply.

use serde_json::Value;

use super::Request;
use super::entries::{Manager, Managers, Owned, decode, write};
use super::merge::{check, merge};
use super::set::{Set, path_text};
use super::typed::{TypeRef, blank, filled};
use super::update::{
    Comparisons, Taken, before_first_apply, compare_objects, find_taken, strip_system_fields, take,
    without_managed_fields,
};
use super::walk::{Emptied, field_set, same, with_named_fields, without};
use crate::meta::annotation;
use crate::object::{name, namespace, set_meta};
use crate::schema::Schema;
use crate::status::{Reason, Status, StatusCause, StatusDetails};

/// What `kubectl apply` keeps its last configuration in.
pub const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// The manager for whom fields of `kubectl apply` without `--server-side` are no conflict.
const KUBECTL: &str = "kubectl";

/// Why an apply fails.
enum Failure {
    Conflicts(Vec<(Manager, Set)>),
    Other(Status),
}

impl From<String> for Failure {
    fn from(message: String) -> Self {
        Self::Other(Status::plain(message))
    }
}

/// Applies `config` to `live` (`None` when there is no such object yet) for `manager`, and gives the object
/// to be stored, with its `managedFields`, before defaulting.
pub fn apply(
    request: &Request<'_>,
    live: Option<&Value>,
    config: &Value,
    manager: &str,
    force: bool,
) -> Result<Value, Status> {
    let text = |field: &str| config.get(field).and_then(Value::as_str).unwrap_or_default();
    if text("apiVersion") != request.api_version || text("kind") != request.kind {
        let (group, version) = text("apiVersion").split_once('/').unwrap_or(("", text("apiVersion")));
        return Err(Status::bad_request(format!(
            "invalid object type: {group}/{version}, Kind={}",
            text("kind")
        )));
    }
    let meta = config.get("metadata").filter(|m| !m.is_null());
    if meta.and_then(|m| m.get("managedFields")).is_some_and(|m| !m.is_null()) {
        return Err(Status::bad_request("metadata.managedFields must be nil"));
    }
    let Some(schema) = request.versions.schema(request.api_version) else {
        return Err(Status::plain(format!("no schema for version {}", request.api_version)));
    };
    let errors = check(config, TypeRef::of_object(schema));
    if !errors.is_empty() {
        let said = match errors.as_slice() {
            [one] => one.clone(),
            many => format!("errors:\n  {}", many.join("\n  ")),
        };
        let (group, version) = request.api_version.split_once('/').unwrap_or(("", request.api_version));
        return Err(Status::plain(format!(
            "failed to create typed patch object ({}/{}; {group}/{version}, Kind={}): {said}",
            namespace(config),
            name(config),
            request.kind
        )));
    }
    let managers = match live {
        Some(live) => {
            decode(live).map_err(|e| Status::plain(format!("failed to decode managed fields: {e}")))?
        }
        None => Managers::new(),
    };
    let mut applied = match attempt(request, schema, live, config, managers.clone(), manager, force) {
        Ok(applied) => applied,
        Err(Failure::Conflicts(conflicts)) if manager == KUBECTL => {
            let left = minus_last_applied(request, schema, live, conflicts);
            if !left.is_empty() {
                return Err(conflict_status(&left));
            }
            attempt(request, schema, live, config, managers, manager, true).map_err(into_status)?
        }
        Err(failure) => return Err(into_status(failure)),
    };
    if manager == KUBECTL && annotation(&applied, LAST_APPLIED).is_some() {
        update_last_applied(&mut applied, config);
    }
    Ok(applied)
}

fn into_status(failure: Failure) -> Status {
    match failure {
        Failure::Conflicts(conflicts) => conflict_status(&conflicts),
        Failure::Other(status) => status,
    }
}

fn attempt(
    request: &Request<'_>,
    schema: &Schema,
    live: Option<&Value>,
    config: &Value,
    mut managers: Managers,
    manager: &str,
    force: bool,
) -> Result<Value, Failure> {
    let before = match live {
        Some(live) => without_managed_fields(live),
        None => serde_json::json!({"apiVersion": request.api_version, "kind": request.kind}),
    };
    if managers.is_empty() && live.is_some() {
        managers = before_first_apply(request, &before)?;
    }
    let t = TypeRef::of_object(schema);
    let acting = Manager::applier(manager, request.subresource);
    let merged = merge(Some(&before), Some(config), t).unwrap_or_default();
    let last = managers.get(&acting).cloned();
    let set = field_set(config, t).recursive_difference(request.reset);
    managers.insert(
        acting.clone(),
        Owned { set, api_version: request.api_version.to_owned(), time: last.as_ref().and_then(|l| l.time) },
    );
    let merged = prune(request, merged, &managers, last.as_ref())?;
    let blank_before = match live {
        Some(_) => before.clone(),
        None => blank(request.api_version, request.kind, schema),
    };
    let mut comparisons = Comparisons::new(request, &blank_before, &merged);
    let taken: Taken = find_taken(&mut managers, Some(&acting), &mut comparisons)?;
    if !force && !taken.conflicts.is_empty() {
        return Err(Failure::Conflicts(taken.conflicts));
    }
    take(&mut managers, &taken);
    // The time tells when the applier last changed something.
    let unchanged = same(&filled(&before, schema), &filled(&merged, schema));
    if !unchanged && let Some(owned) = managers.get_mut(&acting) {
        owned.time = Some(request.now);
    }
    strip_system_fields(&mut managers, &acting);
    let mut out = if unchanged && live.is_some() { before } else { merged };
    let kept_time = last.as_ref().and_then(|l| l.time);
    if let Some(owned) = managers.get_mut(&acting)
        && (kept_time.is_none() || last.as_ref().is_none_or(|l| l.set != owned.set))
    {
        owned.time = Some(request.now);
    }
    write(&mut out, &managers);
    Ok(out)
}

/// Removes what the manager applied last time and not this time, unless another applier owns it.
fn prune(
    request: &Request<'_>,
    merged: Value,
    managers: &Managers,
    last: Option<&Owned>,
) -> Result<Value, String> {
    let Some(last) = last.filter(|l| !l.set.is_empty()) else {
        return Ok(merged);
    };
    let Some(schema) = request.versions.schema(&last.api_version) else {
        return Ok(merged);
    };
    let convert = |object: &Value, from: &str, to: &str| -> Result<Value, String> {
        if from == to { Ok(object.clone()) } else { request.versions.convert(object, to) }
    };
    let t = TypeRef::of_object(schema);
    let converted = convert(&merged, request.api_version, &last.api_version)?;
    let empty = || Value::Object(Default::default());
    let mut pruned =
        without(&converted, &with_named_fields(&last.set, t), t, Emptied::Null).unwrap_or_else(empty);

    // What appliers own comes back: those of this version first, so that the object can be converted.
    let mut versions: Vec<&str> = Vec::new();
    for (_, owned) in managers.iter().filter(|(m, _)| m.applies) {
        if !versions.contains(&owned.api_version.as_str()) {
            versions.push(&owned.api_version);
        }
    }
    versions.sort_by_key(|v| *v != last.api_version);
    for version in versions {
        let Some(schema) = request.versions.schema(version) else {
            continue;
        };
        let t = TypeRef::of_object(schema);
        let owned = managers
            .iter()
            .filter(|(m, o)| m.applies && o.api_version == version)
            .fold(Set::new(), |all, (_, o)| all.union(&o.set));
        let all = convert(&converted, &last.api_version, version)?;
        let left = convert(&pruned, &last.api_version, version)?;
        let keep = with_named_fields(&field_set(&left, t), t).union(&with_named_fields(&owned, t));
        let remove = with_named_fields(&field_set(&all, t), t).difference(&keep);
        let back = without(&all, &remove, t, Emptied::Null).unwrap_or_else(empty);
        pruned = convert(&back, version, &last.api_version)?;
    }

    // What nobody applied comes back: only what this manager owned may go.
    let named = |object: &Value| with_named_fields(&field_set(object, t), t);
    let gone = named(&converted).difference(&named(&pruned));
    let remove = gone.intersection(&with_named_fields(&last.set, t));
    let out = without(&converted, &remove, t, Emptied::Gone).unwrap_or_else(empty);
    convert(&out, &last.api_version, request.api_version)
}

/// The conflicts that are not about fields which `kubectl apply` set and which still are as it set them.
fn minus_last_applied(
    request: &Request<'_>,
    schema: &Schema,
    live: Option<&Value>,
    conflicts: Vec<(Manager, Set)>,
) -> Vec<(Manager, Set)> {
    let Some(live) = live else {
        return conflicts;
    };
    let last: Option<Value> = annotation(live, LAST_APPLIED).and_then(|text| serde_json::from_str(text).ok());
    let Some(last) =
        last.filter(|l| l.get("apiVersion").and_then(Value::as_str) == Some(request.api_version))
    else {
        return conflicts;
    };
    let compared = compare_objects(&last, &without_managed_fields(live), schema);
    let allowed = field_set(&last, TypeRef::of_object(schema))
        .difference(&compared.modified)
        .difference(&compared.added)
        .difference(&compared.removed);
    conflicts
        .into_iter()
        .map(|(manager, set)| (manager, set.difference(&allowed)))
        .filter(|(_, set)| !set.is_empty())
        .collect()
}

/// Keeps the annotation of `kubectl apply` in step with what was applied.
fn update_last_applied(object: &mut Value, config: &Value) {
    let mut config = config.clone();
    if let Some(annotations) = config.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut) {
        annotations.remove(LAST_APPLIED);
        if annotations.is_empty() {
            set_meta(&mut config, "annotations", None);
        }
    }
    let text = format!("{config}\n");
    // Too large an annotation would make the object invalid; upstream then leaves the old one out.
    let total: usize = crate::object::meta_map(object, "annotations")
        .filter(|(k, _)| *k != LAST_APPLIED)
        .map(|(k, v)| k.len() + v.len())
        .sum::<usize>()
        + LAST_APPLIED.len()
        + text.len();
    if let Some(annotations) = object.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut) {
        let text = if total > crate::meta::ANNOTATIONS_LIMIT { String::new() } else { text };
        annotations.insert(LAST_APPLIED.to_owned(), text.into());
    }
}

/// 409 with every field in conflict as a cause.
fn conflict_status(conflicts: &[(Manager, Set)]) -> Status {
    let mut causes = Vec::new();
    let mut lines = Vec::new();
    for (manager, set) in conflicts {
        lines.push(format!("conflicts with {}:", manager.shown()));
        for path in set.paths() {
            let path = path_text(&path);
            lines.push(format!("- {path}"));
            causes.push(StatusCause {
                reason: "FieldManagerConflict".to_owned(),
                message: format!("conflict with {}", manager.shown()),
                field: path,
            });
        }
    }
    let message = match causes.as_slice() {
        [one] => format!("Apply failed with 1 conflict: {}: {}", one.message, one.field),
        many => format!("Apply failed with {} conflicts: {}", many.len(), lines.join("\n")),
    };
    let mut status = Status::new(409, Reason::Conflict, message);
    status.details = Some(Box::new(StatusDetails { causes, ..Default::default() }));
    status
}
