//! Policies that change.

use std::collections::HashSet;

use async_trait::async_trait;
use kplane_machinery::{Reason, Status, StatusCause, patch};
use kplane_rules::Budget;
use kplane_rules::admission::{Answers, POLICY_BUDGET, Session};
use serde_json::Value;

use super::definition::{Binding, Bound, Mutation};
use super::evaluation::{Subject, answered, conditions, value};
use super::is_exempt;
use super::params::{self, Missing};
use crate::webhook::matching::Seen;
use crate::webhook::mutating::settle;
use crate::{Attributes, Operation, Plugin};

/// The plugin.
pub struct MutatingAdmissionPolicy;

/// What is remembered between the two times that a write's policies may be applied.
#[derive(Debug, Default)]
struct Applied {
    /// Those that want to see what others change after them.
    eligible: Vec<String>,
    /// Those of them that are to be applied again.
    again: HashSet<String>,
    /// The object as the policies left it.
    left: Option<Value>,
}

impl Applied {
    fn require(&mut self) {
        self.again.extend(self.eligible.drain(..));
    }
}

#[async_trait]
impl Plugin for MutatingAdmissionPolicy {
    fn name(&self) -> &'static str {
        "MutatingAdmissionPolicy"
    }

    fn handles(&self, attributes: &Attributes<'_>) -> bool {
        !is_exempt(attributes) && matches!(attributes.operation, Operation::Create | Operation::Update)
    }

    fn asks_others(&self) -> bool {
        true
    }

    async fn mutate(&self, attributes: &Attributes<'_>, object: &mut Value) -> Result<(), Status> {
        let configuration = attributes.reader.configuration().await?;
        if configuration.policies.mutating.is_empty() {
            return Ok(());
        }
        let mut applied = Applied::default();
        let outcome = run(&configuration.policies.mutating, attributes, object, &mut applied, false).await;
        attributes.memory.put(self.name(), applied);
        outcome
    }

    async fn reinvoke(&self, attributes: &Attributes<'_>, object: &mut Value) -> Result<(), Status> {
        let Some(mut applied) = attributes.memory.take::<Applied>(self.name()) else { return Ok(()) };
        // Whatever stands in the chain between has changed it since.
        if applied.left.as_ref() != Some(object) {
            applied.require();
        }
        let configuration = attributes.reader.configuration().await?;
        run(&configuration.policies.mutating, attributes, object, &mut applied, true).await
    }
}

async fn run(
    policies: &[Bound],
    attributes: &Attributes<'_>,
    object: &mut Value,
    applied: &mut Applied,
    again: bool,
) -> Result<(), Status> {
    let mut answers = Answers::default();
    for bound in policies {
        if again && !applied.again.contains(&bound.name) {
            continue;
        }
        let before = object.clone();
        let matched = match one(bound, attributes, object, &mut answers).await {
            Ok(matched) => matched,
            Err(Refusal::Failed(binding, why)) if bound.policy.fails_closed => {
                return Err(refused(bound, binding.as_deref(), &why, attributes, object));
            }
            Err(Refusal::Failed(..)) => {
                *object = before;
                continue;
            }
            Err(Refusal::Status(status)) => return Err(*status),
        };
        if *object != before {
            applied.require();
        }
        if matched && bound.policy.reinvoked {
            applied.eligible.push(bound.name.clone());
        }
    }
    applied.left = Some(object.clone());
    Ok(())
}

enum Refusal {
    /// The failure policy decides; of a binding, by its name.
    Failed(Option<String>, String),
    Status(Box<Status>),
}

impl From<Status> for Refusal {
    fn from(status: Status) -> Self {
        Self::Status(Box::new(status))
    }
}

fn refused(
    bound: &Bound,
    binding: Option<&str>,
    why: &str,
    attributes: &Attributes<'_>,
    object: &Value,
) -> Status {
    let message = match binding {
        Some(binding) => format!("policy '{}' with binding '{binding}' denied request: {why}", bound.name),
        None => format!("policy {:?} denied request: {why}", bound.name),
    };
    let mut status = attributes.forbidden(object, &message);
    (status.code, status.reason) = (422, Reason::Invalid);
    if let Some(details) = &mut status.details {
        details.causes.push(StatusCause { message, ..StatusCause::default() });
    }
    status
}

/// Applies a policy by each of its bindings; whether any meant the write.
async fn one(
    bound: &Bound,
    attributes: &Attributes<'_>,
    object: &mut Value,
    answers: &mut Answers,
) -> Result<bool, Refusal> {
    let policy = &*bound.policy;
    let configured = |binding: Option<&Binding>, why: String| {
        let what = if binding.is_some() { "binding" } else { "policy" };
        Refusal::Failed(
            binding.map(|binding| binding.name.clone()),
            format!("failed to configure {what}: {why}"),
        )
    };
    let matched = policy.constraints.matches(attributes, Some(object)).await;
    let Some(seen) = matched.map_err(|status| configured(None, status.message))? else { return Ok(false) };
    let mut any = false;
    for binding in &bound.bindings {
        if let Some(constraints) = &binding.constraints {
            let matched = constraints.matches(attributes, Some(object)).await;
            if matched.map_err(|status| configured(Some(binding), status.message))?.is_none() {
                continue;
            }
        }
        let params = match params::collect(attributes, policy.param_kind.as_ref(), binding).await {
            Ok(params) => params,
            Err(Missing::Kind(why)) => return Err(configured(None, why)),
            Err(Missing::Binding(why)) => return Err(configured(Some(binding), why)),
            Err(Missing::Unread(status)) => return Err(configured(Some(binding), status.message)),
        };
        for param in &params {
            let failed = |why: String| Refusal::Failed(Some(binding.name.clone()), why);
            let subject = Subject::new(attributes, Some(object), &seen).await?;
            match conditions(policy, attributes, &subject, param, answers).await? {
                Ok(true) => {}
                Ok(false) => continue,
                Err(why) => return Err(failed(why)),
            }
            any = true;
            let mut subject = subject;
            for mutation in &policy.mutations {
                // Each sees what those before it made, and its variables anew.
                let made = answered(policy, attributes, answers, |answers| {
                    let session = Session::new(subject.inputs(param, answers), &policy.variables);
                    value(&session, &mutation.expression, &mut Budget::new(POLICY_BUDGET))
                });
                let made = made.await?.map_err(|failure| failed(failure.told()))?;
                change(&mut subject.object, made, mutation, attributes, &seen).map_err(failed)?;
            }
            let changed = if seen.version == attributes.version || attributes.own_kind().is_some() {
                subject.object
            } else {
                let reader = attributes.reader;
                reader.convert(attributes.def, subject.object, &seen.version, attributes.version).await?
            };
            attributes.keep(object, changed)?;
        }
    }
    Ok(any)
}

/// Does to the object what an expression made.
fn change(
    object: &mut Value,
    made: Value,
    mutation: &Mutation,
    attributes: &Attributes<'_>,
    seen: &Seen,
) -> Result<(), String> {
    if mutation.applies {
        let schema = match attributes.own_schema() {
            Some(own) => own,
            None => {
                let described = attributes.def.version(&seen.version);
                &described
                    .ok_or_else(|| format!("{} has no version {}", attributes.def.kind, seen.version))?
                    .schema
            }
        };
        *object = kplane_machinery::managed::merge_into(object, &made, schema)
            .map_err(|told| format!("error applying patch: invalid ApplyConfiguration: {told}"))?;
    } else {
        patch::json::apply(object, &made).map_err(|error| format!("JSON Patch: {error}"))?;
    }
    settle(attributes, object, &seen.version)
}
