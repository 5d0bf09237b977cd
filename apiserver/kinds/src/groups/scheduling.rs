//! PriorityClasses and RuntimeClasses.

use kplane_machinery::field::{ErrorList, FieldError};
use serde_json::Value;

use crate::check;
use crate::common::first_generation;
use crate::print;
use crate::strategy::{Context, Strategy};
use crate::val::{At, dflt, dflt_str, int, text, truth};

/// The highest priority a user may define.
const HIGHEST: i64 = 1_000_000_000;
const SYSTEM: [(&str, i64); 2] =
    [("system-cluster-critical", 2_000_000_000), ("system-node-critical", 2_000_001_000)];

/// `PriorityClass`.
pub(crate) struct PriorityClasses;

impl Strategy for PriorityClasses {
    fn default(&self, _version: &str, object: &mut Value) {
        if let Some(fields) = object.as_object_mut() {
            dflt_str(fields, "preemptionPolicy", "PreemptLowerPriority");
            dflt(fields, "value", 0);
        }
    }

    fn prepare_create(&self, _cx: &Context<'_>, object: &mut Value) {
        first_generation(object);
    }

    fn validate_create(&self, _cx: &Context<'_>, object: &Value) -> ErrorList {
        let mut errors = Vec::new();
        let root = At::root(object);
        let name = root.at(&["metadata", "name"]);
        let known = SYSTEM.contains(&(name.str(), root.f("value").num()));
        if name.str().starts_with("system-") && !known {
            name.forbidden(
                &mut errors,
                format!(
                    "priority class names with 'system-' prefix are reserved for system use only. error: {} is not a known system priority class",
                    name.str()
                ),
            );
        } else if !known && root.f("value").num() > HIGHEST {
            root.f("value").forbidden(
                &mut errors,
                format!("maximum allowed value of a user defined priority is {HIGHEST}"),
            );
        }
        root.f("preemptionPolicy").one_of(&mut errors, &["Never", "PreemptLowerPriority"]);
        errors
    }

    fn validate_update(&self, _cx: &Context<'_>, object: &Value, old: &Value) -> ErrorList {
        let mut errors = Vec::new();
        let (new, old) = (At::root(object), At::root(old));
        if new.f("value").num() != old.f("value").num() {
            new.f("value").forbidden(&mut errors, "may not be changed in an update.");
        }
        new.f("preemptionPolicy").immutable(&mut errors, &old.f("preemptionPolicy"));
        errors
    }

    /// The generation stays what it was made.
    fn generation(&self, _cx: &Context<'_>, _object: &Value, _old: &Value) -> Option<bool> {
        Some(false)
    }

    fn row(&self, _version: &str, object: &Value, now: i64) -> Option<Vec<Value>> {
        Some(vec![
            print::name(object),
            int(object, "value").unwrap_or(0).into(),
            truth(object, "globalDefault").into(),
            print::age(object, now),
            text(object, "preemptionPolicy").into(),
        ])
    }
}

/// `RuntimeClass`.
pub(crate) struct RuntimeClasses;

impl Strategy for RuntimeClasses {
    fn validate_create(&self, _cx: &Context<'_>, object: &Value) -> ErrorList {
        let mut errors = Vec::new();
        let handler = At::root(object).f("handler");
        if handler.str().is_empty() {
            handler.required(&mut errors, "");
        } else {
            handler.invalid_all(&mut errors, check::label(handler.str()));
        }
        let scheduling = At::root(object).f("scheduling");
        crate::rules::labels(&scheduling.f("nodeSelector"), &mut errors);
        crate::podspec::affinity::tolerations(&scheduling.f("tolerations"), &mut errors);
        errors
    }

    fn validate_update(&self, _cx: &Context<'_>, object: &Value, old: &Value) -> ErrorList {
        let mut errors: Vec<FieldError> = Vec::new();
        At::root(object).f("handler").immutable(&mut errors, &At::root(old).f("handler"));
        errors
    }

    fn allow_unconditional_update(&self) -> bool {
        false
    }

    fn row(&self, _version: &str, object: &Value, now: i64) -> Option<Vec<Value>> {
        Some(vec![print::name(object), text(object, "handler").into(), print::age(object, now)])
    }
}
