//! What may change in a pod that exists.

use kplane_machinery::field::{ErrorList, FieldError};
use serde_json::Value;

use crate::val::{At, Obj, items, list, same, sub};

const FORBIDDEN: &str = "pod updates may not change fields other than `spec.containers[*].image`,\
    `spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing \
    tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

/// Of an existing pod only images, the deadline, added tolerations and removed gates may change.
pub(crate) fn validate(new: &At<'_>, old: &At<'_>, errors: &mut ErrorList) {
    for name in ["containers", "initContainers"] {
        let (now, before) = (new.f(name), old.f(name));
        if now.len() != before.len() {
            errors.push(FieldError::forbidden(&now.path, "pod updates may not add or remove containers"));
            return;
        }
    }
    deadline(new, old, errors);
    tolerations(new, old, errors);
    gates(new, old, errors);
    let mut changed = new.value().clone();
    let Some(changed) = changed.as_object_mut() else { return };
    let gated = old.f("schedulingGates").len() > 0;
    put_back(changed, old.value(), gated);
    let changed = Value::Object(std::mem::take(changed));
    if !same(&changed, old.value()) {
        let names = differing(&changed, old.value());
        errors.push(FieldError::forbidden(&new.path, format!("{FORBIDDEN}\n{names}")));
    }
}

/// The names of the fields that differ.
fn differing(new: &Value, old: &Value) -> String {
    let empty = Obj::new();
    let (a, b) = (new.as_object().unwrap_or(&empty), old.as_object().unwrap_or(&empty));
    let mut names: Vec<&String> = a.keys().chain(b.keys()).collect();
    names.sort();
    names.dedup();
    let absent = Value::Null;
    names
        .into_iter()
        .filter(|n| !same(a.get(*n).unwrap_or(&absent), b.get(*n).unwrap_or(&absent)))
        .map(|n| format!("  {n}\n"))
        .collect()
}

/// Restores what may change, so that the rest can be compared.
fn put_back(changed: &mut Obj, old: &Value, gated: bool) {
    for name in ["containers", "initContainers"] {
        if let Some(Value::Array(containers)) = changed.get_mut(name) {
            for (container, before) in containers.iter_mut().zip(items(old, name)) {
                if let (Some(container), Some(image)) = (container.as_object_mut(), before.get("image")) {
                    container.insert("image".into(), image.clone());
                }
            }
        }
    }
    let mut free = vec!["activeDeadlineSeconds", "tolerations", "schedulingGates"];
    if gated {
        free.extend(["nodeSelector", "affinity"]);
    }
    if old.get("terminationGracePeriodSeconds").and_then(Value::as_i64).is_some_and(|s| s < 0)
        && changed.get("terminationGracePeriodSeconds").and_then(Value::as_i64) == Some(1)
    {
        free.push("terminationGracePeriodSeconds");
    }
    for name in free {
        match sub(old, name) {
            Some(value) => changed.insert(name.into(), value.clone()),
            None => changed.remove(name),
        };
    }
}

fn deadline(new: &At<'_>, old: &At<'_>, errors: &mut ErrorList) {
    let (now, before) = (new.f("activeDeadlineSeconds"), old.f("activeDeadlineSeconds"));
    match (now.int(), before.int()) {
        (Some(n), _) if !(0..=i64::from(i32::MAX)).contains(&n) => {
            now.invalid(errors, "must be between 0 and 2147483647, inclusive");
        }
        (Some(n), Some(o)) if n > o => {
            now.invalid(errors, "must be less than or equal to previous value");
        }
        (None, Some(_)) => now.invalid(errors, "must not update from a positive integer to nil value"),
        _ => {}
    }
}

fn tolerations(new: &At<'_>, old: &At<'_>, errors: &mut ErrorList) {
    let (now, before) = (new.f("tolerations"), old.f("tolerations"));
    let without_seconds = |t: &Value| {
        let mut t = t.clone();
        if let Some(fields) = t.as_object_mut() {
            fields.remove("tolerationSeconds");
        }
        t
    };
    let kept = list(before.value())
        .iter()
        .all(|o| list(now.value()).iter().any(|n| same(&without_seconds(n), &without_seconds(o))));
    if !kept {
        errors.push(FieldError::forbidden(
            &now.path,
            "existing toleration can not be modified except its tolerationSeconds",
        ));
    }
}

fn gates(new: &At<'_>, old: &At<'_>, errors: &mut ErrorList) {
    let before: Vec<&str> = old.f("schedulingGates").items().map(|g| g.f("name").str()).collect();
    let added: Vec<&str> = new
        .f("schedulingGates")
        .items()
        .map(|g| g.f("name").str())
        .filter(|name| !before.contains(name))
        .collect();
    if !added.is_empty() {
        new.f("schedulingGates").forbidden(
            errors,
            format!("only deletion is allowed, but found new scheduling gates '{}'", added.join(",")),
        );
    }
}
