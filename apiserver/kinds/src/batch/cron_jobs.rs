//! CronJobs.

use kplane_machinery::field::ErrorList;
use kplane_machinery::object::str_at;
use serde_json::Value;

use super::{jobs, schedule};
use crate::common::{clear_status, first_generation, spec_changed};
use crate::podspec::{defaults, print as pod_print, warnings};
use crate::print::{self, NONE};
use crate::strategy::{Context, Strategy};
use crate::val::{At, dflt, dflt_str, ensure, items, truth};

/// Longer names would leave no room for what the controller adds to those of the Jobs.
const MAX_NAME: usize = 52;

/// `CronJob`.
pub(crate) struct CronJobs;

fn validate(object: &Value, create: bool) -> ErrorList {
    let mut errors = Vec::new();
    let root = At::root(object);
    let spec = root.f("spec");
    let cron = spec.f("schedule");
    if cron.str().is_empty() {
        cron.required(&mut errors, "");
    } else {
        let zoned = cron.str().contains("TZ");
        if zoned && spec.f("timeZone").there() {
            cron.invalid(&mut errors, "cannot use both timeZone field and TZ or CRON_TZ in schedule");
        } else if zoned {
            cron.invalid(&mut errors, "cannot use TZ or CRON_TZ in schedule, use timeZone field instead");
        }
        if let Some(says) = schedule::error(cron.str()) {
            cron.invalid(&mut errors, says);
        }
    }
    spec.f("startingDeadlineSeconds").non_negative(&mut errors);
    let zone = spec.f("timeZone");
    if zone.there() {
        if zone.str().is_empty() {
            zone.invalid(&mut errors, "timeZone must be nil or non-empty string");
        } else if zone.str().eq_ignore_ascii_case("local") {
            zone.invalid(
                &mut errors,
                "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones",
            );
        }
    }
    spec.f("concurrencyPolicy").required_one_of(&mut errors, &["Allow", "Forbid", "Replace"]);
    jobs::validate_spec(&spec.at(&["jobTemplate", "spec"]), true, &mut errors);
    for field in ["successfulJobsHistoryLimit", "failedJobsHistoryLimit"] {
        spec.f(field).non_negative(&mut errors);
    }
    let name = root.at(&["metadata", "name"]);
    if create && name.len() > MAX_NAME {
        name.invalid(&mut errors, format!("must be no more than {MAX_NAME} characters"));
    }
    errors
}

impl Strategy for CronJobs {
    fn default(&self, _version: &str, object: &mut Value) {
        let Some(fields) = object.as_object_mut() else { return };
        ensure(fields, "status");
        let Some(spec) = ensure(fields, "spec") else { return };
        dflt(spec, "schedule", "");
        dflt_str(spec, "concurrencyPolicy", "Allow");
        dflt(spec, "suspend", false);
        dflt(spec, "successfulJobsHistoryLimit", 3);
        dflt(spec, "failedJobsHistoryLimit", 1);
        if let Some(template) = ensure(spec, "jobTemplate") {
            ensure(template, "metadata");
            if let Some(job) = ensure(template, "spec") {
                defaults::template(job, "template");
            }
        }
    }

    fn prepare_create(&self, _cx: &Context<'_>, object: &mut Value) {
        clear_status(object);
        first_generation(object);
    }

    fn validate_create(&self, _cx: &Context<'_>, object: &Value) -> ErrorList {
        validate(object, true)
    }

    fn validate_update(&self, cx: &Context<'_>, object: &Value, _old: &Value) -> ErrorList {
        if cx.subresource.is_some() { Vec::new() } else { validate(object, false) }
    }

    fn warnings(&self, cx: &Context<'_>, object: &Value, old: Option<&Value>) -> Vec<String> {
        if cx.subresource.is_some() {
            return Vec::new();
        }
        let root = At::root(object);
        let mut out = warnings::of_template(object, old, &["spec", "jobTemplate", "spec", "template"], true);
        if root.at(&["spec", "schedule"]).str().contains("TZ") {
            out.push(
                "spec.schedule: cannot use TZ or CRON_TZ in schedule, use timeZone field instead".into(),
            );
        }
        out
    }

    fn generation(&self, cx: &Context<'_>, object: &Value, old: &Value) -> Option<bool> {
        spec_changed(cx, object, old)
    }

    fn row(&self, _version: &str, object: &Value, now: i64) -> Option<Vec<Value>> {
        let spec = object.get("spec").unwrap_or(&Value::Null);
        let job = At::root(spec).at(&["jobTemplate", "spec"]);
        let (names, images) = pod_print::names_and_images(job.f("template").value());
        let last = str_at(object, &["status", "lastScheduleTime"]);
        let active = object.get("status").map(|s| items(s, "active")).unwrap_or(&[]).len();
        Some(vec![
            print::name(object),
            str_at(spec, &["schedule"]).into(),
            print::text_or(spec, &["timeZone"], NONE),
            if truth(spec, "suspend") { "True" } else { "False" }.into(),
            active.into(),
            if last.is_empty() { NONE.to_owned() } else { print::since(last, now) }.into(),
            print::age(object, now),
            names.into(),
            images.into(),
            print::selector(crate::val::sub(job.value(), "selector")).into(),
        ])
    }
}
