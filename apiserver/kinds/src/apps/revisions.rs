//! ControllerRevisions.

use kplane_machinery::field::ErrorList;
use serde_json::Value;

use crate::core::controllers::controller_of;
use crate::print;
use crate::strategy::{Context, Strategy};
use crate::val::{At, int};

/// `ControllerRevision`.
pub(crate) struct ControllerRevisions;

fn validate(object: &Value) -> ErrorList {
    let mut errors = Vec::new();
    let root = At::root(object);
    if !root.f("data").there() {
        root.f("data").required(&mut errors, "data is mandatory");
    }
    root.f("revision").non_negative(&mut errors);
    errors
}

impl Strategy for ControllerRevisions {
    fn default(&self, _version: &str, object: &mut Value) {
        if let Some(fields) = object.as_object_mut() {
            crate::val::dflt(fields, "revision", 0);
        }
    }

    fn validate_create(&self, _cx: &Context<'_>, object: &Value) -> ErrorList {
        validate(object)
    }

    fn validate_update(&self, _cx: &Context<'_>, object: &Value, old: &Value) -> ErrorList {
        let mut errors = validate(object);
        let (data, was) = (At::root(object).f("data"), At::root(old).f("data"));
        if data.value() != was.value() {
            data.invalid(&mut errors, "field is immutable");
        }
        errors
    }

    fn row(&self, _version: &str, object: &Value, now: i64) -> Option<Vec<Value>> {
        Some(vec![
            print::name(object),
            controller_of(object).into(),
            int(object, "revision").unwrap_or(0).into(),
            print::age(object, now),
        ])
    }
}
