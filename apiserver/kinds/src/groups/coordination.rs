//! Leases.

use kplane_machinery::field::ErrorList;
use kplane_machinery::object::str_at;
use serde_json::Value;

use crate::print;
use crate::strategy::{Context, Strategy};
use crate::val::At;

/// `Lease`.
pub(crate) struct Leases;

fn validate(object: &Value) -> ErrorList {
    let mut errors = Vec::new();
    let spec = At::root(object).f("spec");
    let duration = spec.f("leaseDurationSeconds");
    if duration.there() && duration.num() <= 0 {
        duration.invalid(&mut errors, "must be greater than 0");
    }
    spec.f("leaseTransitions").non_negative(&mut errors);
    let (strategy, preferred) = (spec.f("strategy"), spec.f("preferredHolder"));
    if !preferred.str().is_empty() && strategy.str().is_empty() {
        preferred.forbidden(&mut errors, "may only be specified if `strategy` is defined");
    }
    errors
}

impl Strategy for Leases {
    fn default(&self, _version: &str, object: &mut Value) {
        crate::common::ensure_spec(object);
    }

    fn validate_create(&self, _cx: &Context<'_>, object: &Value) -> ErrorList {
        validate(object)
    }

    fn validate_update(&self, _cx: &Context<'_>, object: &Value, _old: &Value) -> ErrorList {
        validate(object)
    }

    fn allow_create_on_update(&self) -> bool {
        true
    }

    fn allow_unconditional_update(&self) -> bool {
        false
    }

    fn row(&self, _version: &str, object: &Value, now: i64) -> Option<Vec<Value>> {
        let holder = str_at(object, &["spec", "holderIdentity"]);
        Some(vec![print::name(object), holder.into(), print::age(object, now)])
    }
}
