//! Classes of devices, and rules that taint some.

use kplane_machinery::field::ErrorList;
use serde_json::Value;

use super::names::{MOST, configuration, driver, each_of, label, pool, selectors, taint};
use crate::check;
use crate::common::{clear_status, first_generation, spec_changed};
use crate::print;
use crate::strategy::{Context, Strategy};
use crate::val::{At, ensure, same};

/// `DeviceClass`.
pub(crate) struct Classes;

pub(super) fn class(object: &Value, old: Option<&Value>, errors: &mut ErrorList) {
    let spec = At::root(object).f("spec");
    let old = old.map(|old| At::root(old).f("spec"));
    // What was stored was valid, and stays so.
    let stored =
        |field: &str| old.as_ref().is_some_and(|old| same(old.f(field).value(), spec.f(field).value()));
    selectors(&spec.f("selectors"), stored("selectors"), errors);
    each_of(&spec.f("config"), MOST, errors, |config, errors| {
        configuration(&config, stored("config"), errors);
    });
    let name = spec.f("extendedResourceName");
    // A quota of it must have a name, too.
    let can_be_counted = || check::qualified(&format!("requests.{}", name.str())).is_empty();
    if name.there() && !(check::is_extended_resource(name.str()) && can_be_counted()) {
        name.invalid_text(errors, "must be a valid extended resource name");
    }
}

impl Strategy for Classes {
    fn prepare_create(&self, _cx: &Context<'_>, object: &mut Value) {
        first_generation(object);
    }

    fn validate_create(&self, _cx: &Context<'_>, object: &Value) -> ErrorList {
        let mut errors = Vec::new();
        class(object, None, &mut errors);
        errors
    }

    fn validate_update(&self, _cx: &Context<'_>, object: &Value, old: &Value) -> ErrorList {
        let mut errors = Vec::new();
        class(object, Some(old), &mut errors);
        errors
    }

    fn generation(&self, cx: &Context<'_>, object: &Value, old: &Value) -> Option<bool> {
        spec_changed(cx, object, old)
    }

    fn row(&self, _version: &str, object: &Value, now: i64) -> Option<Vec<Value>> {
        Some(vec![print::name(object), print::age(object, now)])
    }
}

/// `DeviceTaintRule`.
pub(crate) struct TaintRules;

fn rule(object: &Value, old: Option<&Value>, errors: &mut ErrorList) {
    let spec = At::root(object).f("spec");
    let selector = spec.f("deviceSelector");
    let named = |field: &str| Some(selector.f(field)).filter(At::there);
    if let Some(name) = named("driver") {
        driver(&name, errors);
    }
    if let Some(name) = named("pool") {
        pool(&name, errors);
    }
    if let Some(name) = named("device") {
        label(&name, errors);
    }
    let old = old.map(|old| At::root(old).at(&["spec", "taint"]));
    taint(&spec.f("taint"), old.as_ref(), errors);
}

impl Strategy for TaintRules {
    fn default(&self, _version: &str, object: &mut Value) {
        if let Some(fields) = object.as_object_mut() {
            ensure(fields, "status");
        }
    }

    fn prepare_create(&self, _cx: &Context<'_>, object: &mut Value) {
        clear_status(object);
        first_generation(object);
    }

    fn validate_create(&self, _cx: &Context<'_>, object: &Value) -> ErrorList {
        let mut errors = Vec::new();
        rule(object, None, &mut errors);
        errors
    }

    fn validate_update(&self, cx: &Context<'_>, object: &Value, old: &Value) -> ErrorList {
        let mut errors = Vec::new();
        if cx.subresource.is_none() {
            rule(object, Some(old), &mut errors);
        }
        errors
    }

    fn generation(&self, cx: &Context<'_>, object: &Value, old: &Value) -> Option<bool> {
        spec_changed(cx, object, old)
    }

    fn row(&self, _version: &str, object: &Value, now: i64) -> Option<Vec<Value>> {
        Some(vec![print::name(object), print::age(object, now)])
    }
}
