//! What creates, updates and patches (other than apply) do to `managedFields`.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Request;
use super::entries::{Manager, Managers, Owned, asks_reset, decode, encode};
use super::set::Set;
use super::typed::{TypeRef, blank, filled};
use super::walk::{Comparison, compare};
use crate::object::{meta_str, set_meta};
use crate::schema::Schema;

/// How many updaters keep an entry of their own.
const MAX_UPDATERS: usize = 10;
const ANCIENT: &str = "ancient-changes";

/// Fields that nobody owns: what every object has.
fn system_fields() -> Set {
    Set::of_fields(&[
        &["apiVersion"],
        &["kind"],
        &["metadata"],
        &["metadata", "name"],
        &["metadata", "namespace"],
        &["metadata", "creationTimestamp"],
        &["metadata", "selfLink"],
        &["metadata", "uid"],
        &["metadata", "clusterName"],
        &["metadata", "generation"],
        &["metadata", "managedFields"],
        &["metadata", "resourceVersion"],
    ])
}

/// Takes the fields that nobody owns from a manager, and the manager away if it has no other.
pub(super) fn strip_system_fields(managers: &mut Managers, manager: &Manager) {
    if let Some(owned) = managers.get_mut(manager) {
        owned.set = owned.set.difference(&system_fields());
        if owned.set.is_empty() {
            managers.remove(manager);
        }
    }
}

pub(super) fn without_managed_fields(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(meta) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        meta.remove("managedFields");
    }
    object
}

/// The differences of two objects in the versions that managers speak of.
pub(super) struct Comparisons<'a> {
    request: &'a Request<'a>,
    old: &'a Value,
    new: &'a Value,
    known: BTreeMap<String, Option<Comparison>>,
}

impl<'a> Comparisons<'a> {
    pub fn new(request: &'a Request<'a>, old: &'a Value, new: &'a Value) -> Self {
        Self { request, old, new, known: BTreeMap::new() }
    }

    /// `None` for a version that is no longer served.
    pub fn at(&mut self, api_version: &str) -> Result<Option<Comparison>, String> {
        if let Some(known) = self.known.get(api_version) {
            return Ok(known.clone());
        }
        let Some(schema) = self.request.versions.schema(api_version) else {
            self.known.insert(api_version.to_owned(), None);
            return Ok(None);
        };
        let convert = |object: &Value| -> Result<Value, String> {
            if api_version == self.request.api_version {
                return Ok(object.clone());
            }
            self.request.versions.convert(object, api_version)
        };
        let (old, new) = (convert(self.old)?, convert(self.new)?);
        let compared = compare_objects(&old, &new, schema).without(self.request.reset);
        self.known.insert(api_version.to_owned(), Some(compared.clone()));
        Ok(Some(compared))
    }
}

pub(super) fn compare_objects(old: &Value, new: &Value, schema: &Schema) -> Comparison {
    compare(&filled(old, schema), &filled(new, schema), TypeRef::of_object(schema))
}

/// What changed, by the managers other than `acting` who own it, and what was removed.
pub(super) struct Taken {
    pub conflicts: Vec<(Manager, Set)>,
    pub removed: Vec<(Manager, Set)>,
}

/// Finds what `acting` takes from the others. Managers whose version is no longer served are dropped.
pub(super) fn find_taken(
    managers: &mut Managers,
    acting: Option<&Manager>,
    comparisons: &mut Comparisons<'_>,
) -> Result<Taken, String> {
    let mut taken = Taken { conflicts: Vec::new(), removed: Vec::new() };
    let mut unserved = Vec::new();
    for (manager, owned) in managers.iter().filter(|(m, _)| Some(*m) != acting) {
        let Some(compared) = comparisons.at(&owned.api_version)? else {
            unserved.push(manager.clone());
            continue;
        };
        let conflict = owned.set.intersection(&compared.modified.union(&compared.added));
        if !conflict.is_empty() {
            taken.conflicts.push((manager.clone(), conflict));
        }
        if !compared.removed.is_empty() {
            taken.removed.push((manager.clone(), compared.removed));
        }
    }
    for manager in unserved {
        managers.remove(&manager);
    }
    Ok(taken)
}

/// Takes it.
pub(super) fn take(managers: &mut Managers, taken: &Taken) {
    for (manager, set) in taken.conflicts.iter().chain(&taken.removed) {
        if let Some(owned) = managers.get_mut(manager) {
            owned.set = owned.set.difference(set);
        }
    }
    managers.retain(|_, owned| !owned.set.is_empty());
}

/// Gives `manager` what changed from `live` to `new`, and takes it from the others.
pub(super) fn update_managers(
    request: &Request<'_>,
    live: &Value,
    new: &Value,
    managers: &mut Managers,
    manager: &Manager,
) -> Result<(), String> {
    let mut comparisons = Comparisons::new(request, live, new);
    // The acting manager's own former fields are treated as those of any other: what it takes anew is
    // joined to them below, and only then does its time change.
    let taken = find_taken(managers, None, &mut comparisons)?;
    take(managers, &taken);
    let compared = comparisons
        .at(request.api_version)?
        .ok_or_else(|| format!("no schema for version {}", request.api_version))?;
    let set = compared.modified.union(&compared.added).difference(&compared.removed);
    let set = set.recursive_difference(request.reset).difference(&system_fields());
    if !set.is_empty() {
        let owned = managers.entry(manager.clone()).or_default();
        owned.set = owned.set.union(&set);
        owned.api_version = request.api_version.to_owned();
        owned.time = Some(request.now);
    }
    Ok(())
}

/// Merges the oldest updaters into one by version until there are not too many.
fn cap_updaters(managers: &mut Managers) {
    let mut updaters: Vec<Manager> = managers.keys().filter(|m| !m.applies).cloned().collect();
    let mut left = updaters.len();
    if left <= MAX_UPDATERS {
        return;
    }
    updaters.sort_by_key(|m| (managers[m].time.map_or(0, |t| t.unix()), m.clone()));
    let mut first: BTreeMap<String, Manager> = BTreeMap::new();
    for manager in updaters {
        if left <= MAX_UPDATERS {
            break;
        }
        let Some(owned) = managers.get(&manager).cloned() else {
            continue;
        };
        let version = owned.api_version.clone();
        let Some(earlier) = first.get(&version) else {
            first.insert(version, manager);
            continue;
        };
        let bucket = Manager::updater(ANCIENT, &version, "");
        if !managers.contains_key(&bucket)
            && let Some(start) = managers.remove(earlier)
        {
            managers.insert(bucket.clone(), start);
        }
        if bucket == manager {
            continue;
        }
        managers.remove(&manager);
        if let Some(merged) = managers.get_mut(&bucket) {
            merged.set = merged.set.union(&owned.set);
            // That of the update merged last, which is the more recent.
            merged.time = owned.time;
        }
        left -= 1;
    }
}

/// Sets the `managedFields` of `new`, an object about to be stored, after a create (`live` is `None`), an
/// update or a patch by `manager`. What the request itself says in `managedFields` counts as upstream has
/// it: absent, the live entries go on; given, they are taken; an empty list forgets all.
pub fn track_update(request: &Request<'_>, live: Option<&Value>, new: &mut Value, manager: &str) {
    let live_entries = || live.map(|l| decode(l).unwrap_or_default()).unwrap_or_default();
    let given = new.pointer("/metadata/managedFields");
    let mut managers = if !request.subresource.is_empty() {
        live_entries()
    } else if asks_reset(given) {
        Managers::new()
    } else {
        match decode(new) {
            Ok(managers) if !managers.is_empty() => managers,
            _ => live_entries(),
        }
    };
    set_meta(new, "managedFields", None);
    let created = live.is_none_or(|l| meta_str(l, "uid").is_empty());
    if managers.is_empty() && !created {
        // Nobody was tracked so far, and an update does not begin it.
        return;
    }
    let Some(schema) = request.versions.schema(request.api_version) else {
        return restore(live, new);
    };
    let before = match live {
        Some(live) => without_managed_fields(live),
        None => blank(request.api_version, request.kind, schema),
    };
    let acting = Manager::updater(manager, request.api_version, request.subresource);
    match update_managers(request, &before, new, &mut managers, &acting) {
        Ok(()) => {
            cap_updaters(&mut managers);
            set_meta(new, "managedFields", encode(&managers));
        }
        // An error in tracking does not fail the request: the live entries stay.
        Err(_) => restore(live, new),
    }
}

fn restore(live: Option<&Value>, new: &mut Value) {
    let kept = live.and_then(|l| l.pointer("/metadata/managedFields")).cloned();
    set_meta(new, "managedFields", kept);
}

/// The entry that stands for all that was there before the first apply.
pub(super) fn before_first_apply(request: &Request<'_>, live: &Value) -> Result<Managers, String> {
    let mut managers = Managers::new();
    let Some(schema) = request.versions.schema(request.api_version) else {
        return Ok(managers);
    };
    let manager = Manager::updater("before-first-apply", request.api_version, request.subresource);
    let before = blank(request.api_version, request.kind, schema);
    update_managers(request, &before, live, &mut managers, &manager)?;
    Ok(managers)
}

/// The entry of a manager, for those who look one up.
pub fn owned_by<'a>(managers: &'a Managers, name: &str) -> Option<&'a Owned> {
    managers.iter().find(|(m, _)| m.name == name).map(|(_, owned)| owned)
}
