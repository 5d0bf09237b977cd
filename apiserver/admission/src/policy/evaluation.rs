//! One evaluation of a policy, and the answers of the authorizer that it shares with others.

use kplane_machinery::{GroupResource, Status};
use kplane_rules::Budget;
use kplane_rules::admission::{Answers, Expression, Failure, Inputs, Session, Verdict};
use serde_json::Value;

use super::definition::Policy;
use crate::apart::in_turn;
use crate::webhook::matching::{Seen, ask, converted};
use crate::webhook::review;
use crate::{Attributes, Operation};

/// A write as a policy sees it.
pub(super) struct Subject {
    pub object: Value,
    pub old: Value,
    pub request: Value,
    pub namespace: Value,
}

impl Subject {
    /// Brings a write into the version that a policy sees.
    pub(super) async fn new(
        attributes: &Attributes<'_>,
        object: Option<&Value>,
        seen: &Seen,
    ) -> Result<Self, Status> {
        let mut request = review::request(attributes, "", &seen.version);
        if attributes.operation != Operation::Delete
            && request.get("name").is_none()
            && let (Some(object), Some(fields)) = (object, request.as_object_mut())
        {
            let name = kplane_machinery::object::name(object);
            if !name.is_empty() {
                fields.insert("name".into(), name.into());
            }
        }
        Ok(Self {
            object: converted(attributes, object, seen).await?.unwrap_or(Value::Null),
            old: converted(attributes, attributes.old, seen).await?.unwrap_or(Value::Null),
            request,
            namespace: namespace_of(attributes).await?,
        })
    }

    /// What expressions see of it.
    pub(super) fn inputs<'a>(&'a self, params: &'a Value, answers: &'a Answers) -> Inputs<'a> {
        Inputs {
            object: &self.object,
            old_object: &self.old,
            request: &self.request,
            params,
            namespace_object: &self.namespace,
            answers,
        }
    }
}

/// The namespace of what is written; null for what is in none, and for namespaces themselves.
async fn namespace_of(attributes: &Attributes<'_>) -> Result<Value, Status> {
    let of_itself = attributes.def.group.is_empty() && &*attributes.def.plural == "namespaces";
    if of_itself || attributes.namespace.is_empty() {
        return Ok(Value::Null);
    }
    let namespaces = GroupResource::new("", "namespaces");
    let found = attributes.reader.get(&namespaces, "", attributes.namespace).await?;
    found.ok_or_else(|| Status::not_found(&namespaces, attributes.namespace))
}

/// Whether the conditions of a policy mean a write; the inner error says why that cannot be told.
pub(super) async fn conditions(
    policy: &Policy,
    attributes: &Attributes<'_>,
    subject: &Subject,
    params: &Value,
    answers: &mut Answers,
) -> Result<Result<bool, String>, Status> {
    if policy.conditions.is_empty() {
        return Ok(Ok(true));
    }
    loop {
        let long = policy.conditions.may_take_long();
        let known = &*answers;
        let matches = || policy.conditions.matches(&subject.inputs(params, known));
        let verdict = in_turn(attributes.reader, long, matches).await;
        match verdict {
            Ok(Verdict::Matches) => return Ok(Ok(true)),
            Ok(Verdict::Excluded(_)) => return Ok(Ok(false)),
            Ok(Verdict::Failed(_)) if !policy.fails_closed => return Ok(Ok(false)),
            Ok(Verdict::Failed(why)) => return Ok(Err(why)),
            Err(question) => {
                let decision = ask(attributes, &question).await?;
                answers.insert(*question, decision);
            }
        }
    }
}

/// Runs an evaluation of a policy as often as it has questions for the authorizer.
pub(super) async fn answered<T>(
    policy: &Policy,
    attributes: &Attributes<'_>,
    answers: &mut Answers,
    mut run: impl FnMut(&Answers) -> Result<T, Box<kplane_rules::admission::Question>> + Send,
) -> Result<T, Status> {
    loop {
        let known = &*answers;
        match in_turn(attributes.reader, policy.may_take_long, || run(known)).await {
            Ok(done) => return Ok(done),
            Err(question) => {
                let decision = ask(attributes, &question).await?;
                answers.insert(*question, decision);
            }
        }
    }
}

/// The value of an expression, or why there is none; a question ends it.
pub(super) fn value<'a>(
    session: &Session<'a>,
    expression: &'a Expression,
    budget: &mut Budget,
) -> Result<Result<Value, Failed>, Box<kplane_rules::admission::Question>> {
    match session.evaluate(expression, budget) {
        Ok(value) => Ok(Ok(value)),
        Err(Failure::Error(told)) => Ok(Err(Failed::Error(told))),
        Err(Failure::OutOfBudget) => Ok(Err(Failed::OutOfBudget)),
        Err(Failure::Ask(question)) => Err(question),
    }
}

/// Why an expression has no value.
pub(super) enum Failed {
    Error(String),
    OutOfBudget,
}

impl Failed {
    pub(super) fn told(self) -> String {
        match self {
            Self::Error(told) => told,
            Self::OutOfBudget => {
                "validation failed due to running out of cost budget, no further validation rules will be run"
                    .to_owned()
            }
        }
    }
}
