//! FlowSchemas and PriorityLevelConfigurations.

use kplane_machinery::field::ErrorList;
use kplane_machinery::object::{at, str_at};
use serde_json::Value;

use crate::common::{clear_status, first_generation, spec_changed};
use crate::print::{self, NONE};
use crate::strategy::{Context, StatusKeeps, Strategy};
use crate::val::{At, child, dflt, ensure, int, items, sub, text};

/// `FlowSchema`.
pub(crate) struct FlowSchemas;

fn subject(subject: &At<'_>, errors: &mut ErrorList) {
    let kinds = [("Group", "group"), ("ServiceAccount", "serviceAccount"), ("User", "user")];
    let kind = subject.f("kind");
    if !kinds.iter().any(|(k, _)| *k == kind.str()) {
        kind.unsupported(errors, &["Group", "ServiceAccount", "User"]);
        return;
    }
    for (k, field) in kinds {
        let part = subject.f(field);
        if k == kind.str() {
            if !part.there() {
                part.required(errors, &format!("{field} is required when subject kind is '{k}'"));
            } else if part.f("name").str().is_empty() {
                part.f("name").required(errors, "");
            }
        } else if part.there() {
            part.forbidden(errors, format!("{field} is forbidden when subject kind is not '{k}'"));
        }
    }
}

impl Strategy for FlowSchemas {
    fn status_keeps(&self) -> StatusKeeps {
        StatusKeeps::All
    }

    fn default(&self, _version: &str, object: &mut Value) {
        let Some(fields) = object.as_object_mut() else { return };
        ensure(fields, "status");
        let Some(spec) = ensure(fields, "spec") else { return };
        if spec.get("matchingPrecedence").and_then(Value::as_i64).unwrap_or(0) == 0 {
            spec.insert("matchingPrecedence".into(), 1000.into());
        }
        ensure(spec, "priorityLevelConfiguration");
    }

    fn prepare_create(&self, _cx: &Context<'_>, object: &mut Value) {
        clear_status(object);
        first_generation(object);
    }

    fn validate_create(&self, _cx: &Context<'_>, object: &Value) -> ErrorList {
        let mut errors = Vec::new();
        let spec = At::root(object).f("spec");
        let precedence = spec.f("matchingPrecedence");
        if precedence.num() <= 0 {
            precedence.invalid(&mut errors, "must be a positive value");
        } else if precedence.num() > 10_000 {
            precedence.invalid(&mut errors, "must not be greater than 10000");
        }
        if precedence.num() == 1 && kplane_machinery::object::name(object) != "exempt" {
            precedence.invalid(&mut errors, "only the schema named 'exempt' may have matchingPrecedence 1");
        }
        let method = spec.f("distinguisherMethod");
        if method.there() {
            method.f("type").one_of(&mut errors, &["ByNamespace", "ByUser"]);
        }
        let level = spec.at(&["priorityLevelConfiguration", "name"]);
        if level.str().is_empty() {
            level.required(&mut errors, "must reference a priority level");
        } else {
            level.invalid_all(&mut errors, crate::check::subdomain(level.str()));
        }
        for rule in spec.f("rules").items() {
            let (subjects, resources, others) =
                (rule.f("subjects"), rule.f("resourceRules"), rule.f("nonResourceRules"));
            if subjects.len() == 0 {
                subjects.required(&mut errors, "subjects must contain at least one value");
            }
            subjects.items().for_each(|s| subject(&s, &mut errors));
            if resources.len() == 0 && others.len() == 0 {
                rule.required(
                    &mut errors,
                    "at least one of resourceRules and nonResourceRules has to be non-empty",
                );
            }
        }
        errors
    }

    fn validate_update(&self, cx: &Context<'_>, object: &Value, _old: &Value) -> ErrorList {
        if cx.subresource.is_some() { Vec::new() } else { self.validate_create(cx, object) }
    }

    fn allow_unconditional_update(&self) -> bool {
        false
    }

    fn generation(&self, cx: &Context<'_>, object: &Value, old: &Value) -> Option<bool> {
        spec_changed(cx, object, old)
    }

    fn row(&self, _version: &str, object: &Value, now: i64) -> Option<Vec<Value>> {
        let conditions = object.get("status").map(|s| items(s, "conditions")).unwrap_or(&[]);
        let dangling = conditions.iter().find(|c| text(c, "type") == "Dangling");
        Some(vec![
            print::name(object),
            print::text_or(object, &["spec", "priorityLevelConfiguration", "name"], NONE),
            print::count(object, &["spec", "matchingPrecedence"]).into(),
            print::text_or(object, &["spec", "distinguisherMethod", "type"], NONE),
            print::age(object, now),
            dangling.map_or("?", |c| text(c, "status")).into(),
        ])
    }
}

/// `PriorityLevelConfiguration`.
pub(crate) struct PriorityLevels;

impl Strategy for PriorityLevels {
    fn status_keeps(&self) -> StatusKeeps {
        StatusKeeps::All
    }

    fn default(&self, _version: &str, object: &mut Value) {
        let Some(fields) = object.as_object_mut() else { return };
        ensure(fields, "status");
        let Some(spec) = ensure(fields, "spec") else { return };
        if spec.get("type").and_then(Value::as_str) == Some("Exempt")
            && let Some(exempt) = ensure(spec, "exempt")
        {
            dflt(exempt, "nominalConcurrencyShares", 0);
            dflt(exempt, "lendablePercent", 0);
        }
        if let Some(limited) = child(spec, "limited") {
            dflt(limited, "nominalConcurrencyShares", 30);
            dflt(limited, "lendablePercent", 0);
            if let Some(queuing) = ensure(limited, "limitResponse").and_then(|r| child(r, "queuing")) {
                for (field, value) in [("queues", 64), ("handSize", 8), ("queueLengthLimit", 50)] {
                    if queuing.get(field).and_then(Value::as_i64).unwrap_or(0) == 0 {
                        queuing.insert(field.into(), value.into());
                    }
                }
            }
        }
    }

    fn prepare_create(&self, _cx: &Context<'_>, object: &mut Value) {
        clear_status(object);
        first_generation(object);
    }

    fn validate_create(&self, _cx: &Context<'_>, object: &Value) -> ErrorList {
        let mut errors = Vec::new();
        let spec = At::root(object).f("spec");
        let (kind, limited, exempt) = (spec.f("type"), spec.f("limited"), spec.f("exempt"));
        match kind.str() {
            "Exempt" => {
                if limited.there() {
                    limited.forbidden(&mut errors, "must be nil if the type is not Limited");
                }
            }
            "Limited" => {
                if exempt.there() {
                    exempt.forbidden(&mut errors, "must be nil if the type is Limited");
                }
                if limited.there() {
                    limited_spec(&limited, &mut errors);
                } else {
                    limited.required(&mut errors, "must not be empty when type is Limited");
                }
            }
            _ => kind.unsupported(&mut errors, &["Exempt", "Limited"]),
        }
        errors
    }

    fn validate_update(&self, cx: &Context<'_>, object: &Value, _old: &Value) -> ErrorList {
        if cx.subresource.is_some() { Vec::new() } else { self.validate_create(cx, object) }
    }

    fn allow_unconditional_update(&self) -> bool {
        false
    }

    fn generation(&self, cx: &Context<'_>, object: &Value, old: &Value) -> Option<bool> {
        spec_changed(cx, object, old)
    }

    fn row(&self, _version: &str, object: &Value, now: i64) -> Option<Vec<Value>> {
        let limited = at(object, &["spec", "limited"]).unwrap_or(&Value::Null);
        let number = |from: Option<&Value>, field: &str| -> Value {
            from.and_then(|q| int(q, field)).map_or_else(|| NONE.into(), Value::from)
        };
        let queuing = limited.get("limitResponse").and_then(|r| sub(r, "queuing"));
        Some(vec![
            print::name(object),
            str_at(object, &["spec", "type"]).into(),
            number(Some(limited), "nominalConcurrencyShares"),
            number(queuing, "queues"),
            number(queuing, "handSize"),
            number(queuing, "queueLengthLimit"),
            print::age(object, now),
        ])
    }
}

fn limited_spec(limited: &At<'_>, errors: &mut ErrorList) {
    let shares = limited.f("nominalConcurrencyShares");
    if shares.num() < 0 {
        shares.invalid(errors, "must be a non-negative integer");
    }
    let lend = limited.f("lendablePercent");
    if lend.there() && !(0..=100).contains(&lend.num()) {
        lend.invalid(errors, "must be between 0 and 100, inclusive");
    }
    let response = limited.f("limitResponse");
    let (kind, queuing) = (response.f("type"), response.f("queuing"));
    match kind.str() {
        "Reject" => {
            if queuing.there() {
                queuing.forbidden(errors, "must be nil if limited.limitResponse.type is not Limited");
            }
        }
        "Queue" => {
            if !queuing.there() {
                queuing.required(errors, "must not be empty if limited.limitResponse.type is Limited");
                return;
            }
            for field in ["queues", "handSize", "queueLengthLimit"] {
                if queuing.f(field).num() <= 0 {
                    queuing.f(field).invalid(errors, "must be positive");
                }
            }
            if queuing.f("handSize").num() > queuing.f("queues").num() {
                queuing.f("handSize").invalid(
                    errors,
                    format!("should not be greater than queues ({})", queuing.f("queues").num()),
                );
            }
        }
        _ => kind.unsupported(errors, &["Queue", "Reject"]),
    }
}
