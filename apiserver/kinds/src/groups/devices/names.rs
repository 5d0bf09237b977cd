//! Names, selectors, tolerations and configurations, which several kinds of the group have
//! (upstream: `pkg/apis/resource/validation`).

use std::collections::HashSet;
use std::hash::Hash;

use kplane_machinery::field::{ErrorList, FieldError};
use kplane_machinery::names;
use kplane_rules::{DEVICE_SELECTOR_BYTES, DeviceSelectorError, check_device_selector};
use serde_json::{Value, json};

use crate::check;
use crate::val::At;

/// How many selectors, configurations, requests or constraints there are at most, each.
pub(super) const MOST: usize = 32;
/// The longest parameters of a configuration, or data of a device's status, in bytes.
const RAW_BYTES: usize = 10 * 1024;
const DRIVER_BYTES: usize = 63;
const POOL_BYTES: usize = 253;
const IDENTIFIER_BYTES: usize = 32;

/// Checks each item of a list, unless there are too many.
pub(super) fn each_of(
    list: &At<'_>,
    most: usize,
    errors: &mut ErrorList,
    check: impl FnMut(At<'_>, &mut ErrorList),
) {
    let mut check = check;
    if list.len() > most {
        errors.push(FieldError::too_many(&list.path, list.len(), most));
        return;
    }
    list.items().for_each(|item| check(item, errors));
}

/// The same, and no two items may have the same key, which is shown.
pub(super) fn each_once<K: Eq + Hash + Into<Value> + Clone>(
    list: &At<'_>,
    most: usize,
    errors: &mut ErrorList,
    key: impl Fn(&At<'_>) -> K,
    check: impl FnMut(At<'_>, &mut ErrorList),
) {
    each_of(list, most, errors, check);
    if list.len() > most {
        return;
    }
    let mut seen = HashSet::new();
    for item in list.items() {
        let key = key(&item);
        if !seen.insert(key.clone()) {
            errors.push(FieldError::duplicate(&item.path, &key.into()));
        }
    }
}

/// A DNS label.
pub(super) fn label(name: &At<'_>, errors: &mut ErrorList) {
    name.invalid_all(errors, check::label(name.str()));
}

/// The name of a driver.
pub(super) fn driver(name: &At<'_>, errors: &mut ErrorList) {
    let text = name.str();
    if text.is_empty() {
        return name.required(errors, "");
    }
    if text.len() > DRIVER_BYTES {
        errors.push(FieldError::too_long(&name.path, DRIVER_BYTES));
    }
    name.invalid_all(errors, check::subdomain(&text.to_lowercase()));
}

/// The name of a pool of devices: DNS subdomains between slashes.
pub(super) fn pool(name: &At<'_>, errors: &mut ErrorList) {
    let text = name.str();
    if text.is_empty() {
        return name.required(errors, "");
    }
    if text.len() > POOL_BYTES {
        errors.push(FieldError::too_long(&name.path, POOL_BYTES));
    }
    for part in text.split('/') {
        for message in check::subdomain(part) {
            errors.push(FieldError::invalid_str(&name.path, part, message));
        }
    }
}

/// The name of a class of devices.
pub(super) fn class(name: &At<'_>, errors: &mut ErrorList) {
    if name.str().is_empty() {
        name.required(errors, "");
    } else {
        name.invalid_all(errors, check::subdomain(name.str()));
    }
}

/// A key of attributes or capacities: an identifier, with or without a domain before it.
pub(super) fn qualified(name: &str, at: &At<'_>, errors: &mut ErrorList) {
    let parts: Vec<&str> = name.split('/').collect();
    match *parts.as_slice() {
        [id] => identifier(id, at, errors),
        [domain, id] => {
            if domain.is_empty() {
                errors.push(FieldError::invalid_str(&at.path, "", "the domain must not be empty"));
            } else {
                driver(&At::new(Some(&json!(domain)), at.path.clone()), errors);
            }
            if id.is_empty() {
                errors.push(FieldError::invalid_str(&at.path, "", "the name must not be empty"));
            } else {
                identifier(id, at, errors);
            }
        }
        _ => errors.push(FieldError::invalid_str(&at.path, name, "must not contain more than one slash")),
    }
}

/// The name of an attribute with its domain.
pub(super) fn fully_qualified(name: &At<'_>, errors: &mut ErrorList) {
    qualified(name.str(), name, errors);
    if !name.str().contains('/') {
        name.invalid_text(errors, "a fully qualified name must be a domain and a name separated by a slash");
    }
}

fn identifier(id: &str, at: &At<'_>, errors: &mut ErrorList) {
    if id.len() > IDENTIFIER_BYTES {
        errors.push(FieldError::too_long(&at.path, IDENTIFIER_BYTES));
    }
    for message in names::is_c_identifier(id) {
        errors.push(FieldError::invalid_str(&at.path, id, message));
    }
}

/// A list of selectors. Those that are stored already are not compiled again.
pub(super) fn selectors(list: &At<'_>, stored: bool, errors: &mut ErrorList) {
    each_of(list, MOST, errors, |selector, errors| {
        let cel = selector.f("cel");
        if !cel.there() {
            return cel.required(errors, "");
        }
        let expression = cel.f("expression");
        if stored {
            return;
        }
        if expression.str().len() > DEVICE_SELECTOR_BYTES {
            errors.push(FieldError::too_long(&expression.path, DEVICE_SELECTOR_BYTES));
            return;
        }
        match check_device_selector(expression.str()) {
            Ok(()) => {}
            Err(DeviceSelectorError::Invalid(told)) => expression.invalid_text(errors, told),
            Err(DeviceSelectorError::TooCostly) => {
                expression.forbidden(errors, "too complex, exceeds cost limit");
            }
        }
    });
}

/// What is handed to a driver. Parameters that are stored already may be longer than new ones.
pub(super) fn configuration(config: &At<'_>, stored: bool, errors: &mut ErrorList) {
    let opaque = config.f("opaque");
    if !opaque.there() {
        return opaque.required(errors, "");
    }
    driver(&opaque.f("driver"), errors);
    raw(&opaque.f("parameters"), stored, errors);
}

/// A JSON object of any shape.
pub(super) fn raw(value: &At<'_>, stored: bool, errors: &mut ErrorList) {
    if !value.there() {
        value.required(errors, "");
    } else if !stored && value.value().to_string().len() > RAW_BYTES {
        errors.push(FieldError::too_long(&value.path, RAW_BYTES));
    } else if !value.value().is_object() {
        errors.push(FieldError::invalid_str(&value.path, "<value omitted>", "must be a valid JSON object"));
    }
}

const EFFECTS: [&str; 3] = ["NoExecute", "NoSchedule", "None"];

/// The key of a taint, a toleration or a condition.
pub(super) fn label_name(key: &At<'_>, errors: &mut ErrorList) {
    key.invalid_all(errors, check::qualified(key.str()));
}

/// A taint of a device. An effect that is stored already stays valid.
pub(super) fn taint(taint: &At<'_>, old: Option<&At<'_>>, errors: &mut ErrorList) {
    label_name(&taint.f("key"), errors);
    let value = taint.f("value");
    value.invalid_all(errors, check::label_value(value.str()));
    let effect = taint.f("effect");
    if old.is_none_or(|old| old.f("effect").str() != effect.str()) {
        effect.required_one_of(errors, &EFFECTS);
    }
}

/// Taints that are put up with.
pub(super) fn tolerations(list: &At<'_>, errors: &mut ErrorList) {
    for toleration in list.items() {
        let (key, value) = (toleration.f("key"), toleration.f("value"));
        if !key.str().is_empty() {
            label_name(&key, errors);
        }
        let operator = toleration.f("operator");
        match operator.str() {
            "Exists" if !value.str().is_empty() => {
                value.invalid_text(errors, "must be empty for operator `Exists`");
            }
            "Exists" => {}
            "Equal" => value.invalid_all(errors, check::label_value(value.str())),
            _ => operator.required_one_of(errors, &["Equal", "Exists"]),
        }
        let effect = toleration.f("effect");
        if !effect.str().is_empty() {
            effect.one_of(errors, &EFFECTS);
        }
    }
}

/// The conditions that a device waits for before pods are bound, and those that end the wait.
pub(super) fn binding(device: &At<'_>, errors: &mut ErrorList) {
    const MOST: usize = 4;
    let (wanted, failures) = (device.f("bindingConditions"), device.f("bindingFailureConditions"));
    for list in [&wanted, &failures] {
        each_of(list, MOST, errors, |condition, errors| label_name(&condition, errors));
    }
    let mut seen = HashSet::new();
    for condition in wanted.items().filter(|condition| !seen.insert(condition.str())) {
        condition.duplicate(errors);
    }
    let mut failed = HashSet::new();
    for condition in failures.items() {
        if !failed.insert(condition.str()) {
            condition.duplicate(errors);
        }
        if seen.contains(condition.str()) {
            condition
                .invalid_text(errors, "bindingFailureConditions must not overlap with bindingConditions");
        }
    }
    if wanted.len() == 0 && failures.len() > 0 {
        wanted.invalid(errors, "bindingConditions are required to use bindingFailureConditions");
    }
    if failures.len() == 0 && wanted.len() > 0 {
        failures.invalid(errors, "bindingFailureConditions are required to use bindingConditions");
    }
}
