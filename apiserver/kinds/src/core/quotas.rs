//! ResourceQuotas and LimitRanges.

use std::collections::HashSet;

use kplane_machinery::field::{ErrorList, FieldError};
use serde_json::{Value, json};

use crate::amount;
use crate::check;
use crate::podspec::containers::quantity_value;
use crate::strategy::{Context, Strategy};
use crate::val::{At, Obj, child, dflt, each, ensure};

const STANDARD: [&str; 22] = [
    "configmaps",
    "cpu",
    "ephemeral-storage",
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "memory",
    "persistentvolumeclaims",
    "pods",
    "replicationcontrollers",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
    "requests.storage",
    "resourcequotas",
    "secrets",
    "services",
    "services.loadbalancers",
    "services.nodeports",
    "storage",
    "hugepages-",
    "requests.hugepages-",
];
const SCOPES: [&str; 7] = [
    "BestEffort",
    "CrossNamespacePodAffinity",
    "NotBestEffort",
    "NotTerminating",
    "PriorityClass",
    "Terminating",
    "VolumeAttributesClass",
];

/// `ResourceQuota`.
pub(crate) struct ResourceQuotas;

fn quota_resource(name: &str, path: &kplane_machinery::field::Path, errors: &mut ErrorList) {
    for message in check::qualified(name) {
        errors.push(FieldError::invalid_str(path, name, message));
    }
    let standard =
        STANDARD.contains(&name) || name.starts_with("hugepages-") || name.starts_with("requests.hugepages-");
    if !name.contains('/') && !standard {
        errors.push(FieldError::invalid_str(path, name, "must be a standard resource for quota"));
    }
}

fn hard(map: &At<'_>, errors: &mut ErrorList) {
    for (name, quantity) in map.entries() {
        quota_resource(name, &quantity.path, errors);
        quantity_value(name, &quantity, errors);
    }
}

fn validate_quota(spec: &At<'_>, errors: &mut ErrorList) {
    hard(&spec.f("hard"), errors);
    let scopes = spec.f("scopes");
    let mut seen = HashSet::new();
    for scope in scopes.items() {
        if !SCOPES.contains(&scope.str()) {
            errors.push(FieldError::invalid(&scopes.path, scopes.value(), "unsupported scope"));
        }
        seen.insert(scope.str());
    }
    let conflict = |a: &str, b: &str| seen.contains(a) && seen.contains(b);
    if conflict("BestEffort", "NotBestEffort") || conflict("Terminating", "NotTerminating") {
        errors.push(FieldError::invalid(&scopes.path, scopes.value(), "conflicting scopes"));
    }
    for expression in spec.at(&["scopeSelector", "matchExpressions"]).items() {
        let (name, operator, values) =
            (expression.f("scopeName"), expression.f("operator"), expression.f("values"));
        if !SCOPES.contains(&name.str()) {
            name.invalid_text(errors, "unsupported scope");
        }
        match operator.str() {
            "In" | "NotIn" => {
                if values.len() == 0 {
                    values.required(
                        errors,
                        "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector",
                    );
                }
            }
            "Exists" | "DoesNotExist" => {
                if values.len() > 0 {
                    values.invalid(
                        errors,
                        "must be no value when `operator` is 'Exists' or 'DoesNotExist' for scope selector",
                    );
                }
            }
            _ => operator.invalid_text(errors, "not a valid selector operator"),
        }
    }
}

impl Strategy for ResourceQuotas {
    fn default(&self, _version: &str, object: &mut Value) {
        if let Some(fields) = object.as_object_mut() {
            ensure(fields, "spec");
            ensure(fields, "status");
        }
    }

    fn prepare_create(&self, _cx: &Context<'_>, object: &mut Value) {
        crate::common::clear_status(object);
    }

    fn validate_create(&self, _cx: &Context<'_>, object: &Value) -> ErrorList {
        let mut errors = Vec::new();
        validate_quota(&At::root(object).f("spec"), &mut errors);
        errors
    }

    fn validate_update(&self, cx: &Context<'_>, object: &Value, old: &Value) -> ErrorList {
        let mut errors = Vec::new();
        if cx.subresource == Some("status") {
            hard(&At::root(object).at(&["status", "hard"]), &mut errors);
            hard(&At::root(object).at(&["status", "used"]), &mut errors);
            return errors;
        }
        let (new, old) = (At::root(object).f("spec"), At::root(old).f("spec"));
        validate_quota(&new, &mut errors);
        let set =
            |at: &At<'_>| -> HashSet<String> { at.f("scopes").items().map(|s| s.str().to_owned()).collect() };
        if set(&new) != set(&old) {
            new.f("scopes").invalid(&mut errors, "field is immutable");
        }
        errors
    }

    fn returns_deleted_object(&self) -> bool {
        true
    }

    fn row(&self, _version: &str, object: &Value, now: i64) -> Option<Vec<Value>> {
        Some(super::quotas_print::row(object, now))
    }
}

/// `LimitRange`.
pub(crate) struct LimitRanges;

/// What is not said follows from what is: the default from the most, the request from the default or the least.
fn default_item(item: &mut Obj) {
    if item.get("type").and_then(Value::as_str) != Some("Container") {
        return;
    }
    let of = |item: &mut Obj, name: &str| child(item, name).map(|m| m.clone()).unwrap_or_default();
    let (max, min) = (of(item, "max"), of(item, "min"));
    let fill = |item: &mut Obj, name: &str, from: Obj| {
        if from.is_empty() {
            return;
        }
        if let Some(map) = ensure(item, name) {
            for (resource, quantity) in from {
                map.entry(resource).or_insert(quantity);
            }
        }
    };
    fill(item, "default", max);
    let default = of(item, "default");
    fill(item, "defaultRequest", default);
    fill(item, "defaultRequest", min);
}

fn validate_item(item: &At<'_>, errors: &mut ErrorList) {
    let kind = item.f("type");
    if kind.str().is_empty() {
        kind.required(errors, "");
    } else if !kind.str().contains('/')
        && !["Container", "PersistentVolumeClaim", "Pod"].contains(&kind.str())
    {
        kind.invalid_text(errors, "must be a standard limit type or fully qualified");
    }
    let map = |name: &str| item.f(name);
    let (max, min, default, request) = (map("max"), map("min"), map("default"), map("defaultRequest"));
    if kind.str() == "Pod" {
        for part in [&default, &request] {
            if part.len() > 0 {
                part.forbidden(errors, "may not be specified when `type` is 'Pod'");
            }
        }
    }
    if kind.str() == "PersistentVolumeClaim" && !min.key("storage").there() && !max.key("storage").there() {
        item.f("limits").required(
            errors,
            "either minimum or maximum storage value is required, but neither was provided",
        );
    }
    for part in [&max, &min, &default, &request] {
        for (name, quantity) in part.entries() {
            quantity_value(name, &quantity, errors);
        }
    }
    let exceeds = |low: &At<'_>, high: &At<'_>, low_says: &str, high_says: &str, errors: &mut ErrorList| {
        for (name, quantity) in low.entries() {
            let other = high.key(name);
            if let (Some(a), Some(b)) = (amount::of(quantity.value()), amount::of(other.value()))
                && a > b
            {
                quantity.invalid(
                    errors,
                    format!(
                        "{low_says} value {} is greater than {high_says} value {}",
                        amount::text(quantity.value()),
                        amount::text(other.value())
                    ),
                );
            }
        }
    };
    exceeds(&min, &max, "min", "max", errors);
    exceeds(&min, &request, "min", "default request", errors);
    exceeds(&request, &max, "default request", "max", errors);
    exceeds(&request, &default, "default request", "default limit", errors);
    exceeds(&min, &default, "min", "default", errors);
    exceeds(&default, &max, "default", "max", errors);
}

impl Strategy for LimitRanges {
    fn default(&self, _version: &str, object: &mut Value) {
        let Some(spec) = crate::common::ensure_spec(object) else { return };
        dflt(spec, "limits", Value::Null);
        each(spec, "limits", default_item);
    }

    fn allow_create_on_update(&self) -> bool {
        true
    }

    fn validate_create(&self, _cx: &Context<'_>, object: &Value) -> ErrorList {
        let mut errors = Vec::new();
        let mut kinds = HashSet::new();
        for item in At::root(object).at(&["spec", "limits"]).items() {
            validate_item(&item, &mut errors);
            if !kinds.insert(item.f("type").str()) {
                errors.push(FieldError::duplicate(&item.path.child("type"), &json!(item.f("type").str())));
            }
        }
        errors
    }

    fn validate_update(&self, cx: &Context<'_>, object: &Value, _old: &Value) -> ErrorList {
        self.validate_create(cx, object)
    }
}
