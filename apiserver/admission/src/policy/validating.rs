//! Policies that refuse.

use std::collections::BTreeMap;

use async_trait::async_trait;
use kplane_machinery::{Reason, Status, StatusCause};
use kplane_rules::Budget;
use kplane_rules::admission::{Answers, POLICY_BUDGET, Question, Session};
use serde_json::{Value, json};

use super::definition::{Binding, Bound, Policy, Validation};
use super::evaluation::{Failed, Subject, answered, conditions, value};
use super::is_exempt;
use super::params::{self, Missing};
use crate::{Attributes, Operation, Plugin};

/// The longest message an expression may make.
const LONGEST_MESSAGE: usize = 5 * 1024;
/// The longest value of an audit annotation.
const LONGEST_ANNOTATION: usize = 10 * 1024;

/// The plugin.
pub struct ValidatingAdmissionPolicy;

/// What a validation, or the lack of one, says against a write.
struct Objection {
    message: String,
    reason: String,
    /// Of the expression in the policy.
    index: usize,
}

/// The first that denies.
struct Denial {
    message: String,
    reason: String,
}

/// What an evaluation found.
#[derive(Default)]
struct Found {
    objections: Vec<Objection>,
    annotations: Vec<(String, String)>,
    /// Of annotations: each denies, whatever the binding's actions are.
    failures: Vec<String>,
}

#[async_trait]
impl Plugin for ValidatingAdmissionPolicy {
    fn name(&self) -> &'static str {
        "ValidatingAdmissionPolicy"
    }

    fn handles(&self, attributes: &Attributes<'_>) -> bool {
        !is_exempt(attributes)
    }

    async fn validate(&self, attributes: &Attributes<'_>, object: &Value) -> Result<(), Status> {
        let configuration = attributes.reader.configuration().await?;
        let mut answers = Answers::default();
        let mut denials = Vec::new();
        for bound in &configuration.policies.validating {
            judge(bound, attributes, object, &mut answers, &mut denials).await?;
        }
        let Some(first) = denials.into_iter().next() else { return Ok(()) };
        let mut status = attributes.forbidden(object, &first.message);
        (status.code, status.reason) = match first.reason.as_str() {
            "Forbidden" => (403, Reason::Forbidden),
            "Unauthorized" => (401, Reason::Unauthorized),
            "RequestEntityTooLarge" => (413, Reason::RequestEntityTooLarge),
            _ => (422, Reason::Invalid),
        };
        if let Some(details) = &mut status.details {
            details.causes.push(StatusCause { message: first.message, ..StatusCause::default() });
        }
        Err(status)
    }
}

fn denied(bound: &Bound, binding: Option<&Binding>, why: &str, reason: &str) -> Denial {
    let with = binding.map_or_else(String::new, |binding| format!(" with binding '{}'", binding.name));
    Denial {
        message: format!("ValidatingAdmissionPolicy '{}'{with} denied request: {why}", bound.name),
        reason: reason.to_owned(),
    }
}

async fn judge(
    bound: &Bound,
    attributes: &Attributes<'_>,
    object: &Value,
    answers: &mut Answers,
    denials: &mut Vec<Denial>,
) -> Result<(), Status> {
    let policy = &*bound.policy;
    let shown = (attributes.operation != Operation::Delete).then_some(object);
    let misconfigured = |binding: Option<&Binding>, why: String| -> Option<Denial> {
        let what = if binding.is_some() { "binding" } else { "policy" };
        policy.fails_closed.then(|| denied(bound, binding, &format!("failed to configure {what}: {why}"), ""))
    };
    let seen = match policy.constraints.matches(attributes, shown).await {
        Ok(Some(seen)) => seen,
        Ok(None) => return Ok(()),
        Err(status) => {
            denials.extend(misconfigured(None, status.message));
            return Ok(());
        }
    };
    let mut subject: Option<Subject> = None;
    let mut annotations: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for binding in &bound.bindings {
        if let Some(constraints) = &binding.constraints {
            match constraints.matches(attributes, shown).await {
                Ok(Some(_)) => {}
                Ok(None) => continue,
                Err(status) => {
                    denials.extend(misconfigured(Some(binding), status.message));
                    continue;
                }
            }
        }
        let params = match params::collect(attributes, policy.param_kind.as_ref(), binding).await {
            Ok(params) => params,
            Err(Missing::Kind(why)) => {
                denials.extend(misconfigured(None, why));
                return Ok(());
            }
            Err(Missing::Binding(why)) => {
                denials.extend(misconfigured(Some(binding), why));
                continue;
            }
            Err(Missing::Unread(status)) => {
                denials.extend(misconfigured(Some(binding), status.message));
                continue;
            }
        };
        for param in &params {
            if subject.is_none() {
                subject = Some(Subject::new(attributes, shown, &seen).await?);
            }
            let Some(subject) = &subject else { continue };
            let found = evaluate(policy, attributes, subject, param, answers).await?;
            for objection in &found.objections {
                act(bound, binding, objection, attributes, denials);
            }
            for (key, value) in found.annotations {
                let values = annotations.entry(key).or_default();
                if !values.contains(&value) {
                    values.push(value);
                }
            }
            denials.extend(found.failures.iter().map(|why| denied(bound, Some(binding), why, "")));
        }
    }
    for (key, values) in annotations {
        (attributes.annotate)(format!("{}/{key}", bound.name), values.join(", "));
    }
    Ok(())
}

/// Does what a binding says about an objection.
fn act(
    bound: &Bound,
    binding: &Binding,
    objection: &Objection,
    attributes: &Attributes<'_>,
    denials: &mut Vec<Denial>,
) {
    let message = &objection.message;
    for action in &binding.actions {
        match action.as_str() {
            "Deny" => denials.push(denied(bound, Some(binding), message, &objection.reason)),
            "Warn" => (attributes.warn)(format!(
                "Validation failed for ValidatingAdmissionPolicy '{}' with binding '{}': {message}",
                bound.name, binding.name
            )),
            "Audit" => {
                let failure = json!([{
                    "message": message,
                    "policy": bound.name,
                    "binding": binding.name,
                    "expressionIndex": objection.index,
                    "validationActions": binding.actions,
                }]);
                let key = "validation.policy.admission.k8s.io/validation_failure";
                (attributes.annotate)(key.to_owned(), failure.to_string());
            }
            _ => {}
        }
    }
}

async fn evaluate(
    policy: &Policy,
    attributes: &Attributes<'_>,
    subject: &Subject,
    params: &Value,
    answers: &mut Answers,
) -> Result<Found, Status> {
    match conditions(policy, attributes, subject, params, answers).await? {
        Ok(true) => {}
        Ok(false) => return Ok(Found::default()),
        Err(why) => {
            let objection = Objection { message: why, reason: String::new(), index: 0 };
            return Ok(Found { objections: vec![objection], ..Found::default() });
        }
    }
    answered(policy, attributes, answers, |answers| {
        run(policy, &Session::new(subject.inputs(params, answers), &policy.variables))
    })
    .await
}

fn run<'a>(policy: &'a Policy, session: &Session<'a>) -> Result<Found, Box<Question>> {
    let mut found = Found::default();
    let mut budget = Budget::new(POLICY_BUDGET);
    let failed = |why: String, index: usize| Objection { message: why, reason: String::new(), index };
    let mut results = Vec::with_capacity(policy.validations.len());
    for validation in &policy.validations {
        match value(session, &validation.expression, &mut budget)? {
            Err(failure @ Failed::OutOfBudget) => {
                if policy.fails_closed {
                    found.objections.push(failed(failure.told(), 0));
                }
                return Ok(found);
            }
            result => results.push(result),
        }
    }
    for (index, (validation, result)) in policy.validations.iter().zip(results).enumerate() {
        match result {
            Ok(Value::Bool(true)) => {}
            Err(failure) if policy.fails_closed => found.objections.push(failed(failure.told(), index)),
            Err(_) => {}
            Ok(_) => {
                let message = message(validation, session, &mut budget)?;
                found.objections.push(Objection { message, reason: validation.reason.clone(), index });
            }
        }
    }
    let mut budget = Budget::new(POLICY_BUDGET);
    for (key, expression) in &policy.audits {
        match value(session, expression, &mut budget)? {
            Ok(Value::String(text)) if !text.trim().is_empty() => {
                let mut text = text.trim().to_owned();
                while text.len() > LONGEST_ANNOTATION {
                    text.pop();
                }
                found.annotations.push((key.clone(), text));
            }
            Ok(_) => {}
            Err(failure) if policy.fails_closed => found.failures.push(failure.told()),
            Err(_) => {}
        }
    }
    Ok(found)
}

/// What a validation says: the message that its expression makes, its message, or the expression.
fn message<'a>(
    validation: &'a Validation,
    session: &Session<'a>,
    budget: &mut Budget,
) -> Result<String, Box<Question>> {
    if let Some(expression) = &validation.message_expression
        && let Ok(Value::String(text)) = value(session, expression, budget)?
    {
        let text = text.trim();
        if !text.is_empty() && text.len() <= LONGEST_MESSAGE && !text.contains('\n') {
            return Ok(text.to_owned());
        }
    }
    Ok(if validation.message.is_empty() {
        format!("failed expression: {}", validation.expression.source())
    } else {
        validation.message.clone()
    })
}
