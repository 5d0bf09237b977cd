//! The `resource.k8s.io` group: claims of devices, and the devices there are.

use kplane_machinery::field::ErrorList;
use kplane_machinery::object::{meta_str, str_at};
use serde_json::{Value, json};

use crate::check;
use crate::common::{clear_status, first_generation, spec_changed};
use crate::print;
use crate::strategy::{Context, StatusKeeps, Strategy};
use crate::val::{At, Obj, child, dflt_str, each, ensure, items, map_mut, sub};

/// The fields of a request of `v1beta1` that newer versions do not keep in `exactly`.
const OF_REQUEST: [&str; 2] = ["name", "firstAvailable"];

fn default_request(request: &mut Obj) {
    dflt_str(request, "allocationMode", "ExactCount");
    if request.get("allocationMode").and_then(Value::as_str) == Some("ExactCount")
        && request.get("count").and_then(Value::as_i64).unwrap_or(0) == 0
    {
        request.insert("count".into(), 1.into());
    }
    each(request, "tolerations", |toleration| dflt_str(toleration, "operator", "Equal"));
}

fn default_claim(spec: &mut Obj, version: &str) {
    let Some(devices) = ensure(spec, "devices") else { return };
    each(devices, "requests", |request| {
        if version == "v1beta1" {
            if request.get("deviceClassName").is_some_and(|c| !crate::val::is_empty(c)) {
                default_request(request);
            }
        } else if let Some(exactly) = child(request, "exactly") {
            default_request(exactly);
        }
        each(request, "firstAvailable", default_request);
    });
}

fn validate_claim(spec: &At<'_>, version: &str, errors: &mut ErrorList) {
    let mut names = std::collections::HashSet::new();
    for request in spec.at(&["devices", "requests"]).items() {
        let name = request.f("name");
        if name.str().is_empty() {
            name.required(errors, "");
        } else {
            name.invalid_all(errors, check::label(name.str()));
            if !names.insert(name.str()) {
                name.duplicate(errors);
            }
        }
        let exactly = if version == "v1beta1" { request.clone() } else { request.f("exactly") };
        let one = if version == "v1beta1" { !exactly.f("deviceClassName").empty() } else { exactly.there() };
        let first = request.f("firstAvailable");
        match (one, first.len() > 0) {
            (false, false) => {
                request.required(errors, "exactly one of `exactly` or `firstAvailable` is required")
            }
            (true, true) => request.invalid(
                errors,
                "exactly one of `exactly` or `firstAvailable` is required, but multiple fields are set",
            ),
            (true, false) => device_request(&exactly, errors),
            (false, true) => first.items().for_each(|r| device_request(&r, errors)),
        }
    }
}

fn device_request(request: &At<'_>, errors: &mut ErrorList) {
    let (class, mode, count) =
        (request.f("deviceClassName"), request.f("allocationMode"), request.f("count"));
    if class.str().is_empty() {
        class.required(errors, "");
    } else {
        class.invalid_all(errors, check::subdomain(class.str()));
    }
    match mode.str() {
        "All" if count.num() != 0 => {
            count.invalid(errors, "must not be specified when allocationMode is 'All'");
        }
        "All" => {}
        "ExactCount" if count.num() <= 0 => count.invalid(errors, "must be greater than zero"),
        "ExactCount" => {}
        _ => mode.unsupported(errors, &["All", "ExactCount"]),
    }
}

/// Requests of `v1beta1` are flat; later ones keep the device asked for in `exactly`.
fn convert_requests(spec: &mut Obj, from: &str, to: &str) {
    let Some(devices) = child(spec, "devices") else { return };
    each(devices, "requests", |request| {
        if from == "v1beta1" && to != "v1beta1" {
            let flat: Vec<String> =
                request.keys().filter(|k| !OF_REQUEST.contains(&k.as_str())).cloned().collect();
            let mut exactly = Obj::new();
            for key in flat {
                if let Some(value) = request.remove(&key) {
                    exactly.insert(key, value);
                }
            }
            if !exactly.is_empty() {
                request.insert("exactly".into(), Value::Object(exactly));
            }
        } else if to == "v1beta1"
            && let Some(Value::Object(exactly)) = request.remove("exactly")
        {
            request.extend(exactly);
        }
    });
}

/// `ResourceClaim`, or `ResourceClaimTemplate` when `template`.
pub(crate) struct Claims {
    /// The spec of the claim is that of the spec.
    pub(crate) template: bool,
}

impl Claims {
    fn claim_mut<'a>(&self, object: &'a mut Value) -> Option<&'a mut Obj> {
        let spec = crate::common::ensure_spec(object)?;
        if self.template { ensure(spec, "spec") } else { Some(spec) }
    }

    fn claim<'a>(&self, object: &'a Value) -> At<'a> {
        let spec = At::root(object).f("spec");
        if self.template { spec.f("spec") } else { spec }
    }
}

impl Strategy for Claims {
    fn status_keeps(&self) -> StatusKeeps {
        StatusKeeps::All
    }

    fn default(&self, version: &str, object: &mut Value) {
        if let Some(spec) = self.claim_mut(object) {
            default_claim(spec, version);
        }
        let Some(fields) = object.as_object_mut() else { return };
        if self.template {
            if let Some(spec) = child(fields, "spec") {
                ensure(spec, "metadata");
            }
        } else {
            ensure(fields, "status");
        }
    }

    fn prepare_create(&self, _cx: &Context<'_>, object: &mut Value) {
        if !self.template {
            clear_status(object);
        }
    }

    fn validate_create(&self, cx: &Context<'_>, object: &Value) -> ErrorList {
        let mut errors = Vec::new();
        validate_claim(&self.claim(object), cx.version, &mut errors);
        errors
    }

    fn validate_update(&self, cx: &Context<'_>, object: &Value, old: &Value) -> ErrorList {
        let mut errors = Vec::new();
        if cx.subresource.is_none() {
            At::root(object).f("spec").immutable(&mut errors, &At::root(old).f("spec"));
        }
        errors
    }

    fn convert(&self, object: &mut Value, from: &str, to: &str) -> Result<(), String> {
        if let Some(spec) = self.claim_mut(object) {
            convert_requests(spec, from, to);
        }
        Ok(())
    }

    fn row(&self, _version: &str, object: &Value, now: i64) -> Option<Vec<Value>> {
        let mut row = vec![print::name(object)];
        if !self.template {
            let status = object.get("status").unwrap_or(&Value::Null);
            let mut states = Vec::new();
            if !meta_str(object, "deletionTimestamp").is_empty() {
                states.push("deleted");
            }
            if sub(status, "allocation").is_none() {
                if meta_str(object, "deletionTimestamp").is_empty() {
                    states.push("pending");
                }
            } else {
                states.push("allocated");
                if !items(status, "reservedFor").is_empty() {
                    states.push("reserved");
                }
            }
            row.push(states.join(",").into());
        }
        row.push(print::age(object, now));
        Some(row)
    }
}

/// `ResourceSlice`.
pub(crate) struct Slices;

impl Strategy for Slices {
    fn prepare_create(&self, _cx: &Context<'_>, object: &mut Value) {
        first_generation(object);
    }

    fn validate_create(&self, _cx: &Context<'_>, object: &Value) -> ErrorList {
        let mut errors = Vec::new();
        let spec = At::root(object).f("spec");
        for field in [spec.f("driver"), spec.at(&["pool", "name"])] {
            if field.str().is_empty() {
                field.required(&mut errors, "");
            }
        }
        let count = spec.at(&["pool", "resourceSliceCount"]);
        if count.num() <= 0 {
            let shown = json!(count.num());
            errors.push(kplane_machinery::field::FieldError::invalid(
                &count.path,
                &shown,
                "must be greater than zero",
            ));
        }
        errors
    }

    fn validate_update(&self, cx: &Context<'_>, object: &Value, old: &Value) -> ErrorList {
        let mut errors = self.validate_create(cx, object);
        for path in [
            ["spec", "driver"].as_slice(),
            ["spec", "pool", "name"].as_slice(),
            ["spec", "nodeName"].as_slice(),
        ] {
            At::root(object).at(path).immutable(&mut errors, &At::root(old).at(path));
        }
        errors
    }

    fn generation(&self, cx: &Context<'_>, object: &Value, old: &Value) -> Option<bool> {
        spec_changed(cx, object, old)
    }

    /// Devices of `v1beta1` keep what they are in `basic`.
    fn convert(&self, object: &mut Value, from: &str, to: &str) -> Result<(), String> {
        let Some(spec) = map_mut(object, "spec") else { return Ok(()) };
        each(spec, "devices", |device| {
            if from == "v1beta1" && to != "v1beta1" {
                if let Some(Value::Object(basic)) = device.remove("basic") {
                    device.extend(basic);
                }
            } else if to == "v1beta1" && from != "v1beta1" {
                let name = device.remove("name");
                let basic = std::mem::take(device);
                if let Some(name) = name {
                    device.insert("name".into(), name);
                }
                device.insert("basic".into(), Value::Object(basic));
            }
        });
        Ok(())
    }

    fn row(&self, _version: &str, object: &Value, now: i64) -> Option<Vec<Value>> {
        Some(vec![
            print::name(object),
            print::text_or(object, &["spec", "nodeName"], print::UNSET),
            str_at(object, &["spec", "driver"]).into(),
            str_at(object, &["spec", "pool", "name"]).into(),
            print::age(object, now),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_flat_in_the_oldest_version() {
        let mut claim =
            json!({"spec": {"devices": {"requests": [{"name": "r", "deviceClassName": "c", "count": 1}]}}});
        let before = claim.clone();
        let strategy = Claims { template: false };
        strategy.convert(&mut claim, "v1beta1", "v1").expect("converts");
        assert_eq!(claim["spec"]["devices"]["requests"][0]["exactly"]["deviceClassName"], "c");
        strategy.convert(&mut claim, "v1", "v1beta1").expect("converts back");
        assert_eq!(claim, before);
    }
}
