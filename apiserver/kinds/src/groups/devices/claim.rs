//! What a claim asks for, and what became of it.

use std::collections::{HashMap, HashSet};

use kplane_machinery::field::{ErrorList, FieldError};
use kplane_machinery::object::meta_str;
use serde_json::Value;

use super::names::{
    MOST, binding, class, configuration, driver, each_of, each_once, fully_qualified, label, pool, raw,
    selectors, tolerations,
};
use crate::podspec::affinity;
use crate::val::{At, same};

/// How many alternatives a request has at most.
const MOST_ALTERNATIVES: usize = 8;
/// By how many a claim is reserved at most.
const MOST_CONSUMERS: usize = 256;
const MOST_CONDITIONS: usize = 8;
const MOST_ADDRESSES: usize = 16;
const NO_SUCH_REQUEST: &str =
    "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'";

/// The requests of a claim, each with the names of its alternatives.
struct Requests<'a>(HashMap<&'a str, HashSet<&'a str>>);

impl<'a> Requests<'a> {
    fn of(spec: &At<'a>) -> Self {
        let alternatives =
            |request: &At<'a>| request.f("firstAvailable").items().map(|each| each.f("name").str()).collect();
        let each = |request: At<'a>| (request.f("name").str(), alternatives(&request));
        Self(spec.at(&["devices", "requests"]).items().map(each).collect())
    }

    fn has(&self, name: &str) -> bool {
        match name.split_once('/') {
            None => self.0.contains_key(name),
            Some((request, alternative)) => {
                self.0.get(request).is_some_and(|alternatives| alternatives.contains(alternative))
            }
        }
    }

    /// The name of a request, or of one and of an alternative of it.
    fn named(&self, name: &At<'_>, errors: &mut ErrorList) {
        let text = name.str();
        let parts = text.split('/').count();
        if parts <= 2 {
            for part in text.split('/') {
                for message in crate::check::label(part) {
                    errors.push(FieldError::invalid_str(&name.path, part, message));
                }
            }
        }
        if parts > 2 || !self.has(text) {
            name.invalid_text(errors, NO_SUCH_REQUEST);
        }
    }

    fn list(&self, list: &At<'_>, errors: &mut ErrorList) {
        each_once(list, MOST, errors, |name| name.str().to_owned(), |name, errors| self.named(&name, errors));
    }
}

/// The spec of a claim in a version.
pub(super) fn spec(spec: &At<'_>, version: &str, errors: &mut ErrorList) {
    let devices = spec.f("devices");
    let requests = Requests::of(spec);
    let name = |request: &At<'_>| request.f("name").str().to_owned();
    each_once(&devices.f("requests"), MOST, errors, name, |each, errors| request(&each, version, errors));
    each_of(&devices.f("constraints"), MOST, errors, |constraint, errors| {
        requests.list(&constraint.f("requests"), errors);
        let (same, distinct) = (constraint.f("matchAttribute"), constraint.f("distinctAttribute"));
        if same.there() {
            fully_qualified(&same, errors);
        } else if distinct.there() {
            fully_qualified(&distinct, errors);
        } else {
            let told = "exactly one of \"matchAttribute\" or \"distinctAttribute\" is required, but multiple fields are set";
            constraint.required(errors, told);
        }
    });
    each_of(&devices.f("config"), MOST, errors, |config, errors| {
        requests.list(&config.f("requests"), errors);
        configuration(&config, false, errors);
    });
}

fn request(request: &At<'_>, version: &str, errors: &mut ErrorList) {
    label(&request.f("name"), errors);
    let exactly = if version == "v1beta1" { request.clone() } else { request.f("exactly") };
    let one = if version == "v1beta1" { !exactly.f("deviceClassName").empty() } else { exactly.there() };
    let alternatives = request.f("firstAvailable");
    match (one, alternatives.len() > 0) {
        (false, false) => {
            request.required(errors, "exactly one of `exactly` or `firstAvailable` is required");
        }
        (true, true) => errors.push(FieldError::invalid(
            &request.path,
            &Value::Null,
            "exactly one of `exactly` or `firstAvailable` is required, but multiple fields are set",
        )),
        (true, false) => devices(&exactly, errors),
        (false, true) => {
            let name = |each: &At<'_>| each.f("name").str().to_owned();
            each_once(&alternatives, MOST_ALTERNATIVES, errors, name, |each, errors| {
                label(&each.f("name"), errors);
                devices(&each, errors);
            });
        }
    }
}

/// Devices of a class.
fn devices(request: &At<'_>, errors: &mut ErrorList) {
    class(&request.f("deviceClassName"), errors);
    selectors(&request.f("selectors"), false, errors);
    let (mode, count) = (request.f("allocationMode"), request.f("count"));
    match mode.str() {
        "All" if count.num() != 0 => {
            count.invalid(errors, "must not be specified when allocationMode is 'All'");
        }
        "All" => {}
        "ExactCount" if count.num() <= 0 => count.invalid(errors, "must be greater than zero"),
        "ExactCount" => {}
        _ => mode.unsupported(errors, &["All", "ExactCount"]),
    }
    tolerations(&request.f("tolerations"), errors);
}

/// The status of a claim, on its way from an old one.
pub(super) fn status(object: &Value, old: &Value, errors: &mut ErrorList) {
    let (claim, old) = (At::root(object), At::root(old));
    let (status, old) = (claim.f("status"), old.f("status"));
    let (reserved, allocation) = (status.f("reservedFor"), status.f("allocation"));
    let uid = |consumer: &At<'_>| consumer.f("uid").str().to_owned();
    each_once(&reserved, MOST_CONSUMERS, errors, uid, |consumer, errors| {
        for field in ["resource", "name", "uid"].map(|field| consumer.f(field)) {
            if field.str().is_empty() {
                field.required(errors, "");
            }
        }
    });
    let results = allocation.at(&["devices", "results"]);
    let allocated: HashSet<String> = results.items().map(|result| identity(&result)).collect();
    each_once(&status.f("devices"), usize::MAX, errors, identity, |device, errors| {
        allocated_device(&device, &allocated, errors);
    });
    if reserved.len() > 0 {
        let added = |list: &At<'_>| {
            list.items().any(|one| !old.f("reservedFor").items().any(|was| same(one.value(), was.value())))
        };
        if !allocation.there() {
            reserved.forbidden(errors, "may not be specified when `allocated` is not set");
        } else if !meta_str(object, "deletionTimestamp").is_empty() && added(&reserved) {
            reserved.forbidden(
                errors,
                "new entries may not be added while `deallocationRequested` or `deletionTimestamp` are set",
            );
        }
    }
    if !allocation.there() {
        return;
    }
    if old.f("allocation").there() {
        return allocation.immutable(errors, &old.f("allocation"));
    }
    let requests = Requests::of(&claim.f("spec"));
    each_of(&results, MOST, errors, |result, errors| {
        requests.named(&result.f("request"), errors);
        driver(&result.f("driver"), errors);
        pool(&result.f("pool"), errors);
        label(&result.f("device"), errors);
        binding(&result, errors);
        tolerations(&result.f("tolerations"), errors);
        share(&result.f("shareID"), errors);
    });
    // Those of the class and those of the claim.
    each_of(&allocation.at(&["devices", "config"]), 2 * MOST, errors, |config, errors| {
        config.f("source").required_one_of(errors, &["FromClaim", "FromClass"]);
        requests.list(&config.f("requests"), errors);
        configuration(&config, false, errors);
    });
    let selector = allocation.f("nodeSelector");
    if selector.there() {
        affinity::node_selector(&selector, errors);
    }
}

/// A device, or a share of one, as it is shown.
fn identity(device: &At<'_>) -> String {
    let parts = ["driver", "pool", "device", "shareID"].map(|field| device.f(field).str());
    let end = if parts[3].is_empty() { 3 } else { 4 };
    parts[..end].join("/")
}

fn share(id: &At<'_>, errors: &mut ErrorList) {
    let text = id.str();
    let hyphens = [8, 13, 18, 23];
    let normal = text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| match hyphens.contains(&at) {
            true => byte == b'-',
            false => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
        });
    if id.there() && !normal {
        id.invalid_text(
            errors,
            "uid must be in RFC 4122 normalized form, `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx` with lowercase hexadecimal characters",
        );
    }
}

fn allocated_device(device: &At<'_>, allocated: &HashSet<String>, errors: &mut ErrorList) {
    driver(&device.f("driver"), errors);
    pool(&device.f("pool"), errors);
    label(&device.f("device"), errors);
    share(&device.f("shareID"), errors);
    let identity = identity(device);
    if !allocated.contains(&identity) {
        errors.push(FieldError::invalid_str(
            &device.path,
            &identity,
            "must be an allocated device in the claim",
        ));
    }
    let conditions = device.f("conditions");
    if conditions.len() > MOST_CONDITIONS {
        errors.push(FieldError::too_many(&conditions.path, conditions.len(), MOST_CONDITIONS));
    }
    if !device.f("data").empty() {
        raw(&device.f("data"), false, errors);
    }
    let network = device.f("networkData");
    for (field, most) in [("interfaceName", 256), ("hardwareAddress", 128)] {
        let text = network.f(field);
        if text.str().len() > most {
            errors.push(FieldError::too_long(&text.path, most));
        }
    }
    let addresses = network.f("ips");
    each_once(
        &addresses,
        MOST_ADDRESSES,
        errors,
        |address| address.str().to_owned(),
        |address, errors| match crate::check::parse_cidr(address.str())
            .map(|(ip, bits)| format!("{ip}/{bits}"))
        {
            None => address.invalid_text(
                errors,
                "must be a valid address in CIDR form, (e.g. 10.9.8.7/24 or 2001:db8::1/64)",
            ),
            Some(canonical) if canonical != address.str() => {
                address.invalid_text(errors, format!("must be in canonical form (\"{canonical}\")"));
            }
            Some(_) => {}
        },
    );
}
