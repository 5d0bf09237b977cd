//! The `resource.k8s.io` group: claims of devices, and the devices there are.

mod claim;
mod class;
mod names;
mod slice;
#[cfg(test)]
mod tests;

pub(crate) use class::{Classes, TaintRules};

use kplane_machinery::field::ErrorList;
use kplane_machinery::object::{meta_str, str_at};
use serde_json::Value;

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
        claim::spec(&self.claim(object), cx.version, &mut errors);
        errors
    }

    fn validate_update(&self, cx: &Context<'_>, object: &Value, old: &Value) -> ErrorList {
        let mut errors = Vec::new();
        match cx.subresource {
            None => At::root(object).f("spec").immutable(&mut errors, &At::root(old).f("spec")),
            Some("status") => claim::status(object, old, &mut errors),
            Some(_) => {}
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

    fn validate_create(&self, cx: &Context<'_>, object: &Value) -> ErrorList {
        let mut errors = Vec::new();
        slice::spec(&At::root(object).f("spec"), None, cx.version, &mut errors);
        errors
    }

    fn validate_update(&self, cx: &Context<'_>, object: &Value, old: &Value) -> ErrorList {
        let mut errors = Vec::new();
        slice::spec(&At::root(object).f("spec"), Some(&At::root(old).f("spec")), cx.version, &mut errors);
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
