//! Questions to the authorizer.

use kplane_machinery::names;

use super::{Cx, Outcome, Registry, Stop, failed, no_overload};
use crate::admission::{Decision, Question};
use crate::value::{Special, Value};

pub(super) fn declare(d: &mut Registry) {
    d.add("path", "authorizer_path: Authorizer.(string) -> PathCheck", |_, args| match args {
        [Value::Special(special), Value::String(path)] => match &**special {
            Special::Authorizer(_) if path.trim().is_empty() => failed("path must not be empty"),
            Special::Authorizer(subject) => Ok(Value::special(Special::PathCheck(Box::new(Question {
                service_account: subject.clone(),
                path: Some(path.to_string()),
                ..Question::default()
            })))),
            _ => no_overload(),
        },
        _ => no_overload(),
    });
    d.add(
        "serviceAccount",
        "authorizer_serviceaccount: Authorizer.(string, string) -> Authorizer",
        |_, args| match args {
            [Value::Special(special), Value::String(namespace), Value::String(name)]
                if matches!(&**special, Special::Authorizer(_)) =>
            {
                let told = names::name_is_dns_subdomain(name, false);
                if !told.is_empty() {
                    return failed("Invalid service account name");
                }
                let told = names::name_is_dns_label(namespace, false);
                if !told.is_empty() {
                    return failed("Invalid service account namespace");
                }
                let subject = Some((namespace.to_string(), name.to_string()));
                Ok(Value::special(Special::Authorizer(subject)))
            }
            _ => no_overload(),
        },
    );
    d.add("group", "authorizer_group: Authorizer.(string) -> GroupCheck", |_, args| match args {
        [Value::Special(special), Value::String(group)] => match &**special {
            Special::Authorizer(subject) => Ok(Value::special(Special::GroupCheck(Box::new(Question {
                service_account: subject.clone(),
                group: group.to_string(),
                ..Question::default()
            })))),
            _ => no_overload(),
        },
        _ => no_overload(),
    });
    d.add("resource", "groupcheck_resource: GroupCheck.(string) -> ResourceCheck", |_, args| match args {
        [Value::Special(special), Value::String(resource)] => match &**special {
            Special::GroupCheck(_) if resource.trim().is_empty() => failed("resource must not be empty"),
            Special::GroupCheck(question) => Ok(Value::special(Special::ResourceCheck(Box::new(Question {
                resource: resource.to_string(),
                ..(**question).clone()
            })))),
            _ => no_overload(),
        },
        _ => no_overload(),
    });
    narrowing(d);
    d.add(
        "check",
        "pathcheck_check: PathCheck.(string) -> Decision; resourcecheck_check: ResourceCheck.(string) -> Decision",
        check,
    );
    d.add("allowed", "decision_allowed: Decision.() -> bool", |_, args| {
        decided(args, |d| Value::Bool(d.allowed))
    });
    d.add("reason", "decision_reason: Decision.() -> string", |_, args| {
        decided(args, |d| Value::text(&d.reason))
    });
    d.add("errored", "decision_errored: Decision.() -> bool", |_, args| {
        decided(args, |d| Value::Bool(d.error.is_some()))
    });
    d.add("error", "decision_error: Decision.() -> string", |_, args| {
        decided(args, |d| Value::text(d.error.as_deref().unwrap_or("")))
    });
}

fn narrowing(d: &mut Registry) {
    d.add("subresource", "resourcecheck_subresource: ResourceCheck.(string) -> ResourceCheck", |_, args| {
        narrowed(args, |question, text| question.subresource = text)
    });
    d.add("namespace", "resourcecheck_namespace: ResourceCheck.(string) -> ResourceCheck", |_, args| {
        narrowed(args, |question, text| question.namespace = text)
    });
    d.add("name", "resourcecheck_name: ResourceCheck.(string) -> ResourceCheck", |_, args| {
        narrowed(args, |question, text| question.name = text)
    });
    d.add("fieldSelector", "authorizer_fieldselector: ResourceCheck.(string) -> ResourceCheck", |_, args| {
        narrowed(args, |question, text| question.field_selector = text)
    });
    d.add("labelSelector", "authorizer_labelselector: ResourceCheck.(string) -> ResourceCheck", |_, args| {
        narrowed(args, |question, text| question.label_selector = text)
    });
}

fn narrowed<'a>(args: &[Value<'a>], set: fn(&mut Question, String)) -> Outcome<'a> {
    let [Value::Special(special), Value::String(text)] = args else { return no_overload() };
    let Special::ResourceCheck(question) = &**special else { return no_overload() };
    let mut question = question.clone();
    set(&mut question, text.to_string());
    Ok(Value::special(Special::ResourceCheck(question)))
}

fn check<'a>(cx: &Cx<'_>, args: &[Value<'a>]) -> Outcome<'a> {
    let [Value::Special(special), Value::String(verb)] = args else { return no_overload() };
    let (Special::PathCheck(question) | Special::ResourceCheck(question)) = &**special else {
        return no_overload();
    };
    let question = Question { verb: verb.to_string(), ..(**question).clone() };
    match cx.answers.get(&question) {
        Some(decision) => Ok(Value::special(Special::Decision(Box::new(decision.clone())))),
        None => Err(Stop::Ask(Box::new(question))),
    }
}

fn decided<'a>(args: &[Value<'a>], shown: fn(&Decision) -> Value<'a>) -> Outcome<'a> {
    let [Value::Special(special)] = args else { return no_overload() };
    match &**special {
        Special::Decision(decision) => Ok(shown(decision)),
        _ => no_overload(),
    }
}
