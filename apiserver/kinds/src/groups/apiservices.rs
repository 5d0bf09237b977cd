//! APIServices.

use kplane_machinery::field::{ErrorList, FieldError};
use kplane_machinery::object::{at, name};
use serde_json::{Value, json};

use crate::check::NameRule;
use crate::common::clear_status;
use crate::print;
use crate::strategy::{Context, StatusKeeps, Strategy};
use crate::val::{At, dflt, ensure, items, sub, text};

/// `APIService`.
pub(crate) struct ApiServices;

fn validate(object: &Value) -> ErrorList {
    let mut errors = Vec::new();
    let root = At::root(object);
    let spec = root.f("spec");
    let (group, version) = (spec.f("group"), spec.f("version"));
    let wanted = format!("{}.{}", version.str(), group.str());
    if name(object) != wanted {
        root.at(&["metadata", "name"])
            .invalid_text(&mut errors, format!("must be `spec.version+\".\"+spec.group`: {wanted:?}"));
    }
    if !group.str().is_empty() {
        group.invalid_all(&mut errors, crate::check::subdomain(group.str()));
    } else if version.str() != "v1" {
        group.required(&mut errors, "only v1 may have an empty group and it better be legacy kube");
    }
    version.invalid_all(&mut errors, crate::check::label1035(version.str()));
    for (field, limit) in [("groupPriorityMinimum", 20_000), ("versionPriority", 1000)] {
        let number = spec.f(field);
        if number.num() <= 0 || number.num() > limit {
            let shown = Value::from(number.num());
            errors.push(FieldError::invalid(
                &number.path,
                &shown,
                format!("must be positive and less than {}", if limit == 1000 { "1000" } else { "20000" }),
            ));
        }
    }
    let (service, insecure, bundle) =
        (spec.f("service"), spec.f("insecureSkipTLSVerify"), spec.f("caBundle"));
    if !service.there() {
        if bundle.len() > 0 {
            bundle.invalid(&mut errors, "local APIServices may not have a caBundle");
        }
        if insecure.is_true() {
            insecure.invalid(&mut errors, "local APIServices may not have insecureSkipTLSVerify");
        }
        return errors;
    }
    for field in ["namespace", "name"] {
        if service.f(field).str().is_empty() {
            service.f(field).required(&mut errors, "");
        }
    }
    if let Some(says) = crate::check::port(service.f("port").num()) {
        service.f("port").invalid(&mut errors, format!("port is not valid: {says}"));
    }
    if insecure.is_true() && bundle.len() > 0 {
        insecure.invalid(&mut errors, "may not be true if caBundle is present");
    }
    errors
}

impl Strategy for ApiServices {
    fn status_keeps(&self) -> StatusKeeps {
        StatusKeeps::All
    }

    fn name_rule(&self) -> NameRule {
        NameRule::PathSegment
    }

    fn default(&self, _version: &str, object: &mut Value) {
        let Some(fields) = object.as_object_mut() else { return };
        ensure(fields, "status");
        let Some(spec) = ensure(fields, "spec") else { return };
        dflt(spec, "groupPriorityMinimum", 0);
        dflt(spec, "versionPriority", 0);
        super::admission::default_client(spec);
    }

    /// What this server serves itself is there at once.
    fn prepare_create(&self, cx: &Context<'_>, object: &mut Value) {
        clear_status(object);
        if at(object, &["spec", "service"]).is_none_or(Value::is_null) {
            crate::val::set_status(
                object,
                json!({"conditions": [{
                    "type": "Available", "status": "True", "reason": "Local",
                    "message": "Local APIServices are always available", "lastTransitionTime": cx.now,
                }]}),
            );
        }
    }

    fn validate_create(&self, _cx: &Context<'_>, object: &Value) -> ErrorList {
        validate(object)
    }

    fn validate_update(&self, _cx: &Context<'_>, object: &Value, _old: &Value) -> ErrorList {
        validate(object)
    }

    fn allow_unconditional_update(&self) -> bool {
        false
    }

    fn row(&self, _version: &str, object: &Value, now: i64) -> Option<Vec<Value>> {
        let service = object
            .get("spec")
            .and_then(|s| sub(s, "service"))
            .map_or_else(|| "Local".to_owned(), |s| format!("{}/{}", text(s, "namespace"), text(s, "name")));
        let conditions = object.get("status").map(|s| items(s, "conditions")).unwrap_or(&[]);
        let available = match conditions.iter().find(|c| text(c, "type") == "Available") {
            None => "Unknown".to_owned(),
            Some(c) if text(c, "status") == "True" => "True".to_owned(),
            Some(c) => format!("{} ({})", text(c, "status"), text(c, "reason")),
        };
        Some(vec![print::name(object), service.into(), available.into(), print::age(object, now)])
    }
}
