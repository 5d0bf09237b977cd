//! PodDisruptionBudgets.

use kplane_machinery::field::ErrorList;
use serde_json::{Value, json};

use crate::check::NameRule;
use crate::common::{counts, first_generation, spec_changed, zeros};
use crate::print;
use crate::rules::{at_most_hundred, int_or_percent, label_selector};
use crate::strategy::{Context, Strategy};
use crate::val::{At, sub};

const STATUS: [&str; 4] = ["currentHealthy", "desiredHealthy", "disruptionsAllowed", "expectedPods"];

/// `PodDisruptionBudget`.
pub(crate) struct Budgets;

fn validate(object: &Value) -> ErrorList {
    let mut errors = Vec::new();
    let spec = At::root(object).f("spec");
    let (least, most) = (spec.f("minAvailable"), spec.f("maxUnavailable"));
    if least.there() && most.there() {
        spec.invalid(&mut errors, "minAvailable and maxUnavailable cannot be both set");
    }
    for part in [&least, &most] {
        int_or_percent(part, &mut errors);
        at_most_hundred(part, &mut errors);
    }
    label_selector(&spec.f("selector"), &mut errors);
    let policy = spec.f("unhealthyPodEvictionPolicy");
    if policy.there() {
        policy.one_of(&mut errors, &["AlwaysAllow", "IfHealthyBudget"]);
    }
    errors
}

impl Strategy for Budgets {
    fn name_rule(&self) -> NameRule {
        NameRule::PathSegment
    }

    fn default(&self, _version: &str, object: &mut Value) {
        crate::common::ensure_spec(object);
        zeros(object, "status", &STATUS);
    }

    fn prepare_create(&self, _cx: &Context<'_>, object: &mut Value) {
        crate::val::set_status(object, json!({}));
        zeros(object, "status", &STATUS);
        first_generation(object);
    }

    fn validate_create(&self, _cx: &Context<'_>, object: &Value) -> ErrorList {
        validate(object)
    }

    fn validate_update(&self, cx: &Context<'_>, object: &Value, _old: &Value) -> ErrorList {
        if cx.subresource.is_some() {
            let mut errors = Vec::new();
            counts(&At::root(object).f("status"), &STATUS, &mut errors);
            return errors;
        }
        validate(object)
    }

    fn allow_unconditional_update(&self) -> bool {
        false
    }

    fn generation(&self, cx: &Context<'_>, object: &Value, old: &Value) -> Option<bool> {
        spec_changed(cx, object, old)
    }

    fn row(&self, _version: &str, object: &Value, now: i64) -> Option<Vec<Value>> {
        let spec = object.get("spec").unwrap_or(&Value::Null);
        let shown = |field: &str| sub(spec, field).map_or_else(|| "N/A".to_owned(), print::plain);
        Some(vec![
            print::name(object),
            shown("minAvailable").into(),
            shown("maxUnavailable").into(),
            print::count(object, &["status", "disruptionsAllowed"]).into(),
            print::age(object, now),
        ])
    }
}
