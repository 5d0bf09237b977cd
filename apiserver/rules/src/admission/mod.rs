//! Expressions of admission: match conditions of webhooks and policies, and what policies decide.
//!
//! ```text
//! write:    check_expression(source, scope, wanted) ─► the detail of a field error, in upstream's words
//! compile:  Expression::compile / MatchConditions::compile   (cheap to keep, shared by content)
//!           Compiler::{new, mutating, typed} ─ variable(name, source), compile(source, wanted): a policy's expressions
//! request:  Session::new(inputs, &variables) ─ evaluate(&expression, &mut Budget): variables once, when they are asked for
//!           Inputs { object, oldObject, request, … } ─► expression.evaluate(&inputs, &mut Budget)
//!           MatchConditions::matches(&inputs) ─► Verdict::{Matches, Excluded, Failed}
//! ```
//!
//! Evaluation is synchronous and pure. An expression that asks the authorizer ends with [`Failure::Ask`]; the caller
//! finds out, keeps the answer in [`Answers`] and evaluates again:
//!
//! ```text
//! let mut answers = Answers::default();
//! let verdict = loop {
//!     match conditions.matches(&Inputs { answers: &answers, ..inputs }) {
//!         Ok(verdict) => break verdict,
//!         Err(question) => { let decision = ask(&question).await; answers.insert(question, decision); }
//!     }
//! };
//! ```

mod conditions;
mod declared;
mod expression;
mod session;
mod type_check;

pub use conditions::{MatchConditions, Verdict};
pub use expression::{Compiler, Expression, check_expression};
pub use session::Session;
pub use type_check::{MOST_KINDS, type_check};

use std::collections::BTreeMap;

use serde_json::Value;

/// What all expressions of one policy may cost, for one request.
pub const POLICY_BUDGET: u64 = 10_000_000;
/// What the match conditions of one webhook or policy may cost, for one request.
pub const MATCH_CONDITIONS_BUDGET: u64 = 2_500_000;

/// What an expression sees beside `object`, `oldObject`, `request` and `namespaceObject`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Scope {
    /// `params` is there.
    pub params: bool,
    /// `authorizer` is there, and `authorizer.requestResource`.
    pub authorizer: bool,
}

/// What an expression must evaluate to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Wanted {
    /// A condition.
    Bool,
    /// A message.
    Text,
    /// An audit annotation: null leaves it out.
    TextOrNull,
    /// An apply configuration.
    Object,
    /// A JSON patch.
    Patch,
    /// A variable.
    Anything,
}

/// What an expression is about. What is not there is [`Value::Null`].
#[derive(Clone, Copy)]
#[expect(missing_docs, reason = "the fields are the variables")]
pub struct Inputs<'a> {
    pub object: &'a Value,
    pub old_object: &'a Value,
    /// As `AdmissionRequest` in JSON, without the objects.
    pub request: &'a Value,
    pub params: &'a Value,
    pub namespace_object: &'a Value,
    /// What the authorizer has said so far.
    pub answers: &'a Answers,
}

/// A question to the authorizer.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the fields are those of a SubjectAccessReview")]
pub struct Question {
    /// Another than who makes the request: a service account's namespace and name.
    pub service_account: Option<(String, String)>,
    pub verb: String,
    /// For what is no resource; the others are empty then.
    pub path: Option<String>,
    pub group: String,
    pub resource: String,
    pub subresource: String,
    pub namespace: String,
    pub name: String,
    pub field_selector: String,
    pub label_selector: String,
}

/// What the authorizer said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are what expressions see of a decision")]
pub struct Decision {
    pub allowed: bool,
    pub reason: String,
    pub error: Option<String>,
}

/// The answers of the authorizer, for one request.
#[derive(Clone, Debug, Default)]
pub struct Answers(BTreeMap<Question, Decision>);

impl Answers {
    /// Keeps an answer.
    pub fn insert(&mut self, question: Question, decision: Decision) {
        self.0.insert(question, decision);
    }

    /// What was said to a question, if it was asked.
    pub fn get(&self, question: &Question) -> Option<&Decision> {
        self.0.get(question)
    }
}

/// Why there is no value.
#[derive(Clone, Debug)]
pub enum Failure {
    /// The evaluation failed; in the words of upstream, without the expression.
    Error(String),
    /// The budget is spent.
    OutOfBudget,
    /// The authorizer must be asked first.
    Ask(Box<Question>),
}
