//! Jobs.

use kplane_machinery::field::{ErrorList, FieldError};
use kplane_machinery::object::{at, meta_mut, meta_str, name, str_at, uid};
use serde_json::Value;

use crate::common::{clear_status, counts, first_generation, spec_changed};
use crate::podspec::{defaults, print as pod_print, validate, warnings};
use crate::print;
use crate::rules::{label_selector, selector_matches};
use crate::strategy::{Context, Strategy};
use crate::val::{At, Obj, dflt, dflt_str, ensure, int, items, map_mut, sub, text, truth};

const UID_LABEL: &str = "batch.kubernetes.io/controller-uid";
const NAME_LABEL: &str = "batch.kubernetes.io/job-name";
const OLD_UID_LABEL: &str = "controller-uid";
const OLD_NAME_LABEL: &str = "job-name";

/// `Job`.
pub(crate) struct Jobs;

/// Defaults of the spec of a Job itself; a CronJob's template has only those of its pods.
fn default_spec(spec: &mut Obj) {
    let neither = sub_absent(spec, "completions") && sub_absent(spec, "parallelism");
    if neither {
        spec.insert("completions".into(), 1.into());
        spec.insert("parallelism".into(), 1.into());
    }
    dflt(spec, "parallelism", 1);
    let per_index = !sub_absent(spec, "backoffLimitPerIndex");
    dflt(spec, "backoffLimit", if per_index { i64::from(i32::MAX) } else { 6 });
    dflt_str(spec, "completionMode", "NonIndexed");
    dflt(spec, "suspend", false);
    dflt(spec, "manualSelector", false);
    let has_policy = !sub_absent(spec, "podFailurePolicy");
    dflt_str(spec, "podReplacementPolicy", if has_policy { "Failed" } else { "TerminatingOrFailed" });
    if let Some(policy) = crate::val::child(spec, "podFailurePolicy") {
        crate::val::each(policy, "rules", |rule| {
            crate::val::each(rule, "onPodConditions", |pattern| dflt_str(pattern, "status", "True"));
        });
    }
}

fn sub_absent(spec: &Obj, field: &str) -> bool {
    spec.get(field).is_none_or(Value::is_null)
}

/// A Job selects its pods by its own uid, unless it is told to let the user choose.
fn generate_selector(job: &mut Value) {
    let (own_uid, own_name) = (uid(job).to_owned(), name(job).to_owned());
    if own_uid.is_empty() {
        return;
    }
    let template_labels = job
        .as_object_mut()
        .and_then(|j| ensure(j, "spec"))
        .and_then(|s| ensure(s, "template"))
        .and_then(|t| ensure(t, "metadata"))
        .and_then(|m| ensure(m, "labels"));
    if let Some(labels) = template_labels {
        for (key, value) in [
            (UID_LABEL, &own_uid),
            (OLD_UID_LABEL, &own_uid),
            (NAME_LABEL, &own_name),
            (OLD_NAME_LABEL, &own_name),
        ] {
            dflt(labels, key, value.as_str());
        }
    }
    if let Some(labels) =
        map_mut(job, "spec").and_then(|s| ensure(s, "selector")).and_then(|s| ensure(s, "matchLabels"))
    {
        dflt(labels, UID_LABEL, own_uid.as_str());
    }
}

/// The spec of a Job, also in a CronJob's template.
pub(super) fn validate_spec(spec: &At<'_>, in_cron_job: bool, errors: &mut ErrorList) {
    for field in [
        "parallelism",
        "completions",
        "activeDeadlineSeconds",
        "backoffLimit",
        "ttlSecondsAfterFinished",
        "backoffLimitPerIndex",
        "maxFailedIndexes",
    ] {
        spec.f(field).non_negative(errors);
    }
    let (mode, completions) = (spec.f("completionMode"), spec.f("completions"));
    if mode.there() {
        if !["Indexed", "NonIndexed"].contains(&mode.str()) {
            mode.unsupported(errors, &["Indexed", "NonIndexed"]);
        }
        if mode.str() == "Indexed" && !completions.there() {
            completions.required(errors, "when completion mode is Indexed");
        }
    }
    if spec.f("backoffLimitPerIndex").there() && mode.str() != "Indexed" {
        spec.f("backoffLimitPerIndex").invalid(errors, "requires indexed completion mode");
    }
    let manager = spec.f("managedBy");
    if manager.there() && !manager.str().contains('/') {
        manager.invalid(errors, "should be a domain-prefixed path (such as \"acme.io/foo\")");
    }
    if spec.f("podReplacementPolicy").there() {
        spec.f("podReplacementPolicy").one_of(errors, &["Failed", "TerminatingOrFailed"]);
    }
    if in_cron_job {
        for (field, says) in
            [("selector", "`selector` will be auto-generated"), ("manualSelector", "must be unset")]
        {
            let field = spec.f(field);
            if field.there() && (field.is_true() || field.len() > 0) {
                if says.starts_with('`') {
                    field.invalid(errors, says);
                } else {
                    field.unsupported(errors, &["nil", "false"]);
                }
            }
        }
    }
    let template = spec.f("template");
    validate::template(&template, errors);
    let policy = template.at(&["spec", "restartPolicy"]);
    match policy.str() {
        "OnFailure" | "Never" => {
            if policy.str() == "OnFailure" && spec.f("podFailurePolicy").there() {
                policy.invalid(errors, "only \"Never\" is supported when podFailurePolicy is specified");
            }
        }
        "" | "Always" => policy.required(errors, "valid values: \"OnFailure\", \"Never\""),
        _ => policy.unsupported(errors, &["Never", "OnFailure"]),
    }
    failure_policy(&spec.f("podFailurePolicy"), errors);
}

fn failure_policy(policy: &At<'_>, errors: &mut ErrorList) {
    let actions = ["Count", "FailIndex", "FailJob", "Ignore"];
    for rule in policy.f("rules").items() {
        rule.f("action").required_one_of(errors, &actions);
        let (codes, conditions) = (rule.f("onExitCodes"), rule.f("onPodConditions"));
        if codes.there() && conditions.len() > 0 {
            rule.invalid(errors, "specifying both OnExitCodes and OnPodConditions is not supported");
        }
        if !codes.there() && conditions.len() == 0 {
            rule.invalid(errors, "specifying one of OnExitCodes and OnPodConditions is required");
        }
        if codes.there() {
            codes.f("operator").required_one_of(errors, &["In", "NotIn"]);
            let values = codes.f("values");
            if values.len() == 0 {
                values.invalid(errors, "at least one value is required");
            }
            for value in values.items() {
                if codes.f("operator").str() == "In" && value.num() == 0 {
                    value.invalid(errors, "must not be 0 for the In operator");
                }
            }
        }
    }
}

fn validate_selector(job: &At<'_>, errors: &mut ErrorList) {
    let spec = job.f("spec");
    let selector = spec.f("selector");
    if !selector.there() {
        // The selector is made of the uid, so that it is missing only where there is none.
        if spec.f("manualSelector").is_true() || !uid(job.value()).is_empty() {
            selector.required(errors, "");
        }
        return;
    }
    label_selector(&selector, errors);
    let labels = spec.at(&["template", "metadata", "labels"]);
    if !selector_matches(selector.value(), labels.value().as_object()) {
        errors.push(FieldError::invalid(
            &labels.path,
            labels.value(),
            "`selector` does not match template `labels`",
        ));
    }
    if !spec.f("manualSelector").is_true() && !uid(job.value()).is_empty() {
        for (key, want) in [(OLD_UID_LABEL, uid(job.value())), (OLD_NAME_LABEL, name(job.value()))] {
            let found = labels.key(key);
            if !found.there() {
                found.required(errors, format!("must be '{want}'").as_str());
            } else if found.str() != want {
                found.invalid(errors, format!("must be '{want}'"));
            }
        }
    }
}

fn condition<'a>(job: &'a Value, kind: &str) -> Option<&'a Value> {
    let conditions = job.get("status").map(|s| items(s, "conditions")).unwrap_or(&[]);
    conditions.iter().find(|c| text(c, "type") == kind && text(c, "status") == "True")
}

impl Strategy for Jobs {
    fn default(&self, _version: &str, object: &mut Value) {
        let Some(fields) = object.as_object_mut() else { return };
        ensure(fields, "status");
        let Some(spec) = ensure(fields, "spec") else { return };
        default_spec(spec);
        let labels = at_labels(spec);
        defaults::template(spec, "template");
        if let (Some(labels), Some(meta)) = (labels, meta_mut(object))
            && meta.get("labels").is_none_or(crate::val::is_empty)
        {
            meta.insert("labels".into(), labels);
        }
    }

    fn prepare_create(&self, _cx: &Context<'_>, object: &mut Value) {
        clear_status(object);
        first_generation(object);
        if !object.get("spec").is_some_and(|s| truth(s, "manualSelector")) {
            generate_selector(object);
        }
        // A Job without labels carries those of its pods.
        let labels = map_mut(object, "spec").and_then(|s| at_labels(s));
        if let (Some(labels), Some(meta)) = (labels, meta_mut(object))
            && meta.get("labels").is_none_or(crate::val::is_empty)
        {
            meta.insert("labels".into(), labels);
        }
    }

    fn validate_create(&self, _cx: &Context<'_>, object: &Value) -> ErrorList {
        let mut errors = Vec::new();
        let root = At::root(object);
        validate_spec(&root.f("spec"), false, &mut errors);
        if errors.is_empty() {
            validate_selector(&root, &mut errors);
        }
        errors
    }

    fn validate_update(&self, cx: &Context<'_>, object: &Value, old: &Value) -> ErrorList {
        let mut errors = Vec::new();
        let (new, old_root) = (At::root(object), At::root(old));
        if cx.subresource == Some("status") {
            counts(&new.f("status"), &["active", "succeeded", "failed", "ready", "terminating"], &mut errors);
            return errors;
        }
        let (spec, was) = (new.f("spec"), old_root.f("spec"));
        validate_spec(&spec, false, &mut errors);
        let elastic = spec.f("completionMode").str() == "Indexed"
            && was.f("completions").value() == was.f("parallelism").value()
            && spec.f("completions").value() == spec.f("parallelism").value();
        if !elastic {
            spec.f("completions").immutable(&mut errors, &was.f("completions"));
        }
        spec.f("selector").immutable(&mut errors, &was.f("selector"));
        let free =
            was.f("suspend").is_true() && at(old, &["status", "startTime"]).is_none_or(|t| t.is_null());
        template_kept(&spec.f("template"), &was.f("template"), free, &mut errors);
        for field in
            ["completionMode", "podFailurePolicy", "backoffLimitPerIndex", "managedBy", "successPolicy"]
        {
            spec.f(field).immutable(&mut errors, &was.f(field));
        }
        errors
    }

    fn warnings(&self, cx: &Context<'_>, object: &Value, old: Option<&Value>) -> Vec<String> {
        if cx.subresource.is_some() {
            return Vec::new();
        }
        let root = At::root(object);
        let mut out = Vec::new();
        let mode = root.at(&["spec", "completionMode"]).str();
        if mode == "Indexed" && old.is_none() {
            let (completions, parallelism) =
                (root.at(&["spec", "completions"]).num(), root.at(&["spec", "parallelism"]).num());
            if completions > 100_000 && parallelism > 10_000 {
                out.push("spec.parallelism: In Indexed Jobs with a number of completions higher than 10^5 and a parallelism higher than 10^4, Kubernetes might not be able to track completedIndexes when a big number of indexes fail".into());
            }
        }
        out.extend(warnings::of_template(object, old, &["spec", "template"], true));
        out
    }

    fn generation(&self, cx: &Context<'_>, object: &Value, old: &Value) -> Option<bool> {
        spec_changed(cx, object, old)
    }

    fn orphan_by_default(&self) -> bool {
        true
    }

    fn delete_warnings(&self, propagation: bool) -> Vec<String> {
        if propagation {
            return Vec::new();
        }
        vec![
            "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove \
             them or set propagationPolicy=Orphan to suppress this warning"
                .into(),
        ]
    }

    fn selectable_value(&self, object: &Value, path: &str) -> String {
        match path {
            "status.successful" => print::count(object, &["status", "succeeded"]).to_string(),
            _ => String::new(),
        }
    }

    fn row(&self, _version: &str, object: &Value, now: i64) -> Option<Vec<Value>> {
        let spec = object.get("spec").unwrap_or(&Value::Null);
        let (names, images) = spec.get("template").map(pod_print::names_and_images).unwrap_or_default();
        let done = print::count(object, &["status", "succeeded"]);
        let completions = match (int(spec, "completions"), int(spec, "parallelism").unwrap_or(0)) {
            (Some(all), _) => format!("{done}/{all}"),
            (None, p) if p > 1 => format!("{done}/1 of {p}"),
            _ => format!("{done}/1"),
        };
        let start = print::epoch(str_at(object, &["status", "startTime"]));
        let end = print::epoch(str_at(object, &["status", "completionTime"]));
        let duration = match (start, end) {
            (None, _) => String::new(),
            (Some(s), Some(e)) => print::duration(e - s),
            (Some(s), None) => print::duration(now - s),
        };
        let state = if condition(object, "Complete").is_some() {
            "Complete"
        } else if condition(object, "Failed").is_some() {
            "Failed"
        } else if !meta_str(object, "deletionTimestamp").is_empty() {
            "Terminating"
        } else if condition(object, "Suspended").is_some() {
            "Suspended"
        } else if condition(object, "FailureTarget").is_some() {
            "FailureTarget"
        } else if condition(object, "SuccessCriteriaMet").is_some() {
            "SuccessCriteriaMet"
        } else {
            "Running"
        };
        Some(vec![
            print::name(object),
            state.into(),
            completions.into(),
            duration.into(),
            print::age(object, now),
            names.into(),
            images.into(),
            print::selector(spec.get("selector")).into(),
        ])
    }
}

/// The labels of the template, when it has any.
fn at_labels(spec: &Obj) -> Option<Value> {
    let labels = spec.get("template")?.get("metadata")?.get("labels")?;
    (!crate::val::is_empty(labels)).then(|| labels.clone())
}

/// The template may not change, but for where its pods go while a Job has not begun.
fn template_kept(new: &At<'_>, old: &At<'_>, free: bool, errors: &mut ErrorList) {
    let mut changed = new.value().clone();
    if free && let Some(spec) = map_mut(&mut changed, "spec") {
        for field in ["nodeSelector", "affinity", "tolerations", "schedulingGates"] {
            match sub(old.f("spec").value(), field) {
                Some(value) => spec.insert(field.into(), value.clone()),
                None => spec.remove(field),
            };
        }
    }
    if free && let Some(meta) = map_mut(&mut changed, "metadata") {
        for field in ["labels", "annotations"] {
            match sub(old.f("metadata").value(), field) {
                Some(value) => meta.insert(field.into(), value.clone()),
                None => meta.remove(field),
            };
        }
    }
    if !crate::val::same(&changed, old.value()) {
        new.invalid(errors, "field is immutable");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_job_selects_its_pods_by_its_uid() {
        let mut job = json!({"metadata": {"name": "j", "uid": "u"}, "spec": {"template": {"spec": {}}}});
        generate_selector(&mut job);
        assert_eq!(
            job["spec"]["selector"]["matchLabels"],
            json!({"batch.kubernetes.io/controller-uid": "u"})
        );
        assert_eq!(job["spec"]["template"]["metadata"]["labels"]["job-name"], "j");
    }
}
