//! The devices that a driver offers.

use kplane_machinery::field::{ErrorList, FieldError};
use kplane_machinery::names;
use kplane_machinery::quantity::Quantity;
use serde_json::{Value, json};

use super::names::{binding, driver, each_of, each_once, label, pool, qualified, taint};
use crate::amount;
use crate::check;
use crate::podspec::affinity;
use crate::val::{At, same};

/// How many devices a slice has at most, and how many if one of them has taints or consumes counters.
const MOST_DEVICES: usize = 128;
const MOST_DEVICES_OF_MANY_PARTS: usize = 64;
/// How many attributes and capacities a device has at most, together.
const MOST_ENTRIES: usize = 32;
const MOST_TAINTS: usize = 16;
const MOST_COUNTER_SETS: usize = 8;
/// How many counters a set has at most.
const MOST_COUNTERS: usize = 32;
/// Of how many sets a device consumes counters at most.
const MOST_CONSUMPTIONS: usize = 2;
const MOST_VALUES: usize = 10;
const VALUE_BYTES: usize = 64;

/// Where the devices of a slice are, by what a device may say, too.
const PLACES: [&str; 3] = ["nodeName", "nodeSelector", "allNodes"];

/// The spec of a slice in a version, on its way from an old one.
pub(super) fn spec(spec: &At<'_>, old: Option<&At<'_>>, version: &str, errors: &mut ErrorList) {
    driver(&spec.f("driver"), errors);
    let of_pool = spec.f("pool");
    pool(&of_pool.f("name"), errors);
    let count = of_pool.f("resourceSliceCount");
    if count.num() <= 0 {
        errors.push(FieldError::invalid(&count.path, &json!(count.num()), "must be greater than zero"));
    }
    let generation = of_pool.f("generation");
    if generation.num() < 0 {
        generation.invalid(errors, "must be greater than or equal to zero");
    }
    if let Some(old) = old {
        for path in [["pool", "name"].as_slice(), &["driver"], &["nodeName"]] {
            spec.at(path).immutable(errors, &old.at(path));
        }
    }
    let mut places = places(spec, "must be either unset or set to a non-empty string", errors);
    let selector = spec.f("nodeSelector");
    if selector.there() && selector.f("nodeSelectorTerms").len() != 1 {
        selector.f("nodeSelectorTerms").invalid(errors, "must have exactly one node selector term");
    }
    let per_device = spec.f("perDeviceNodeSelection");
    if per_device.is_true() {
        places.push("`perDeviceNodeSelection`".to_owned());
    } else if per_device.there() {
        per_device.invalid(errors, "must be either unset or set to true");
    }
    one_place(
        spec,
        &places,
        "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required",
        ", but multiple fields are set",
        errors,
    );
    let (devices, counters) = (spec.f("devices"), spec.f("sharedCounters"));
    if counters.there() && devices.there() {
        errors.push(FieldError::invalid_str(
            &spec.path,
            "",
            "only one of `sharedCounters` or `devices` is allowed",
        ));
    }
    let of_many_parts = devices.items().any(|device| {
        let content = content(&device, version);
        ["taints", "consumesCounters"].iter().any(|field| content.f(field).len() > 0)
    });
    let most = if of_many_parts { MOST_DEVICES_OF_MANY_PARTS } else { MOST_DEVICES };
    let name = |each: &At<'_>| each.f("name").str().to_owned();
    each_once(&devices, most, errors, name, |each, errors| {
        label(&each.f("name"), errors);
        let before = old.and_then(|old| old.f("devices").items().find(|was| name(was) == name(&each)));
        let before = before.map(|was| content(&was, version));
        device(&content(&each, version), before.as_ref(), per_device.is_true(), errors);
    });
    each_once(&counters, MOST_COUNTER_SETS, errors, name, |set, errors| {
        required_label(&set.f("name"), errors);
        of_set(&set.f("counters"), errors);
    });
}

/// What a device is: in the oldest version in a field of it, which has no part in the paths of errors.
fn content<'a>(device: &At<'a>, version: &str) -> At<'a> {
    if version == "v1beta1" {
        At::new(device.value().get("basic"), device.path.clone())
    } else {
        device.clone()
    }
}

/// The fields that say where devices are.
fn places(of: &At<'_>, unnamed: &str, errors: &mut ErrorList) -> Vec<String> {
    let mut set = Vec::new();
    for field in PLACES {
        let place = of.f(field);
        if !place.there() {
            continue;
        }
        let counts = match field {
            "nodeName" if place.str().is_empty() => {
                place.invalid_text(errors, unnamed);
                false
            }
            "nodeName" => {
                place.invalid_all(errors, check::subdomain(place.str()));
                true
            }
            "nodeSelector" => {
                affinity::node_selector(&place, errors);
                true
            }
            _ if !place.is_true() => {
                place.invalid(errors, "must be either unset or set to true");
                false
            }
            _ => true,
        };
        if counts {
            set.push(format!("`{field}`"));
        }
    }
    set
}

fn one_place(of: &At<'_>, places: &[String], told: &str, several: &str, errors: &mut ErrorList) {
    match places.len() {
        0 => of.required(errors, told),
        1 => {}
        _ => {
            let shown = format!("{{{}}}", places.join(", "));
            errors.push(FieldError::invalid_str(&of.path, &shown, format!("{told}{several}")));
        }
    }
}

fn required_label(name: &At<'_>, errors: &mut ErrorList) {
    if name.str().is_empty() { name.required(errors, "") } else { label(name, errors) }
}

/// Counters by name; any amount is a valid one.
fn of_set(counters: &At<'_>, errors: &mut ErrorList) {
    if counters.len() == 0 {
        return counters.required(errors, "");
    }
    if counters.len() > MOST_COUNTERS {
        return errors.push(FieldError::too_many(&counters.path, counters.len(), MOST_COUNTERS));
    }
    for (name, _) in counters.entries() {
        for message in check::label(name) {
            errors.push(FieldError::invalid_str(&counters.path, name, message));
        }
    }
}

fn device(device: &At<'_>, old: Option<&At<'_>>, has_place: bool, errors: &mut ErrorList) {
    let (attributes, capacity) = (device.f("attributes"), device.f("capacity"));
    let entries = attributes.len() + capacity.len();
    if entries > MOST_ENTRIES {
        errors.push(FieldError::invalid(
            &device.path,
            &json!(entries),
            format!("the total number of attributes and capacities must not exceed {MOST_ENTRIES}"),
        ));
    }
    for (name, value) in attributes.entries() {
        qualified(name, &attributes, errors);
        attribute(&value, errors);
    }
    let changed = |field: &str| old.is_none_or(|old| !same(old.f(field).value(), device.f(field).value()));
    if changed("capacity") {
        for (name, value) in capacity.entries() {
            qualified(name, &capacity, errors);
            let policy = value.f("requestPolicy");
            if !policy.there() {
                continue;
            }
            if device.f("allowMultipleAllocations").is_true() {
                request_policy(&policy, amount::of(value.f("value").value()), errors);
            } else {
                policy.forbidden(errors, "allowMultipleAllocations must be true");
            }
        }
    }
    if changed("taints") {
        each_of(&device.f("taints"), MOST_TAINTS, errors, |each, errors| taint(&each, None, errors));
    }
    let set = |each: &At<'_>| each.f("counterSet").str().to_owned();
    each_once(&device.f("consumesCounters"), MOST_CONSUMPTIONS, errors, set, |each, errors| {
        required_label(&each.f("counterSet"), errors);
        of_set(&each.f("counters"), errors);
    });
    if has_place {
        let told = "exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required when `perDeviceNodeSelection` is set to true in the ResourceSlice spec";
        let places = places(device, "must not be empty", errors);
        one_place(device, &places, told, "", errors);
    } else if PLACES.iter().any(|place| device.f(place).there()) {
        errors.push(FieldError::invalid(
            &device.path,
            &Value::Null,
            "`nodeName`, `nodeSelector` and `allNodes` can only be set if `perDeviceNodeSelection` is set to true in the ResourceSlice spec",
        ));
    }
    binding(device, errors);
}

fn attribute(attribute: &At<'_>, errors: &mut ErrorList) {
    for field in ["string", "version"] {
        let value = attribute.f(field);
        if !value.there() {
            continue;
        }
        if field == "version" && !names::is_semantic_version(value.str()) {
            value.invalid_text(errors, "must be a string compatible with semver.org spec 2.0.0");
        }
        if value.str().len() > VALUE_BYTES {
            errors.push(FieldError::too_long(&value.path, VALUE_BYTES));
        }
    }
    let values = ["bool", "int", "string", "version"].iter().filter(|field| attribute.f(field).there());
    match values.count() {
        0 => errors.push(FieldError::invalid_str(&attribute.path, "", "exactly one value must be specified")),
        1 => {}
        _ => attribute.invalid(errors, "exactly one value must be specified"),
    }
}

/// Which amounts of a capacity may be asked for.
fn request_policy(policy: &At<'_>, most: Option<Quantity>, errors: &mut ErrorList) {
    let (values, range) = (policy.f("validValues"), policy.f("validRange"));
    let most = most.unwrap_or_default();
    let of_default = policy.f("default");
    let default = amount::of(of_default.value());
    match (values.len() > 0, range.there()) {
        (true, true) => policy.forbidden(
            errors,
            "exactly one policy can be specified, cannot specify \"validValues\" and \"validRange\" at the same time",
        ),
        (false, false) => {}
        (named, _) => match default {
            None if named => of_default.required(errors, "required when validValues is defined"),
            None => of_default.required(errors, "required when validRange is defined"),
            Some(default) if named => among(&values, default, most, errors),
            Some(default) => within(&range, default, most, errors),
        },
    }
}

fn among(values: &At<'_>, default: Quantity, most: Quantity, errors: &mut ErrorList) {
    let amounts: Vec<Quantity> = values.items().filter_map(|value| amount::of(value.value())).collect();
    for (index, pair) in amounts.windows(2).enumerate() {
        if pair[0] > pair[1] {
            let at = values.path.index(index + 1);
            let shown = pair[1].to_string();
            errors.push(FieldError::invalid_str(&at, &shown, "values must be sorted in ascending order"));
        }
    }
    let key = |value: &At<'_>| amount::of(value.value()).unwrap_or_default().value().to_string();
    each_once(values, MOST_VALUES, errors, key, |value, errors| {
        if amount::of(value.value()).is_some_and(|option| option > most) {
            let told = format!("option is larger than capacity value: {most}");
            errors.push(FieldError::invalid_str(&value.path, &amount::text(value.value()), told));
        }
    });
    if !amounts.contains(&default) {
        let told = "default value is not valid according to the requestPolicy";
        errors.push(FieldError::invalid_str(&values.path, &default.to_string(), told));
    }
}

fn within(range: &At<'_>, default: Quantity, most: Quantity, errors: &mut ErrorList) {
    let of = |field: &str| amount::of(range.f(field).value());
    let Some(min) = of("min") else {
        return range.f("min").required(errors, "required when validRange is defined");
    };
    let mut blame = |field: &str, shown: Quantity, told: String| {
        errors.push(FieldError::invalid_str(&range.path.child(field), &shown.to_string(), told));
    };
    if min > most {
        blame("min", min, format!("min is larger than capacity value: {most}"));
    }
    if default < min {
        blame("default", default, format!("default is less than min: {min}"));
    }
    let max = of("max");
    if let Some(max) = max {
        if min > max {
            blame("max", min, format!("min is larger than max: {max}"));
        }
        if max > most {
            blame("max", max, format!("max is larger than capacity value: {most}"));
        }
        if default > max {
            blame("default", default, format!("default is more than max: {max}"));
        }
    }
    let Some(step) = of("step") else { return };
    if step.sign() <= 0 {
        return blame("step", step, "must be greater than zero".to_owned());
    }
    let first = min.add(step);
    if first > most {
        blame("step", step, format!("one step {first} is larger than capacity value: {most}"));
    }
    for value in [Some(default), max].into_iter().flatten() {
        // Amounts beyond 64 bits are not counted in steps.
        let (Some(value_of), Some(min_of), Some(step_of)) = (value.as_i64(), min.as_i64(), step.as_i64())
        else {
            continue;
        };
        let off = value_of.checked_sub(min_of).and_then(|distance| distance.checked_rem(step_of));
        if off.is_some_and(|rest| rest != 0) {
            let told = format!("value is not a multiple of a given step ({step}) from ({min})");
            blame("step", value, told);
        }
    }
}
