//! One expression: [`Expression`].

use kube_cel::cel::objects::Value as CelValue;
use serde_json::Value;

use super::{Failure, Inputs, Scope, Wanted};
use crate::Budget;
use crate::cel::{self, Outcome, Program};
use crate::types::{Checker, Type};

pub(crate) const OUT_OF_BUDGET: &str =
    "validation failed due to running out of cost budget, no further validation rules will be run";

/// An expression, compiled once and run for any number of requests.
pub struct Expression {
    source: String,
    /// Or why it does not compile.
    program: Result<Program, String>,
}

/// What is wrong with an expression, as the detail of an `Invalid value` error.
pub fn check_expression(source: &str, scope: Scope, wanted: Wanted) -> Result<(), String> {
    compile(source, scope, wanted).map(drop)
}

fn compile(source: &str, scope: Scope, wanted: Wanted) -> Result<Program, String> {
    let failed = |told: String| format!("compilation failed: {told}");
    let parsed = cel::parse(source).map_err(failed)?;
    let mut known = vec!["object", "oldObject", "request", "namespaceObject", "variables"];
    known.extend(scope.params.then_some("params"));
    known.extend(scope.authorizer.then_some("authorizer"));
    let mut checker = Checker::of(known.into_iter().map(|name| (name.to_owned(), Type::Any)).collect());
    let found = checker.check(&parsed);
    if !checker.problems.is_empty() {
        let told: Vec<String> = checker.problems.iter().map(|problem| problem.told(source)).collect();
        return Err(failed(told.join("\n")));
    }
    match wanted {
        Wanted::Bool if !found.may_be_bool() => Err("must evaluate to bool".to_owned()),
        Wanted::Text if !found.may_be_text() => Err("must evaluate to string".to_owned()),
        Wanted::TextOrNull if !found.may_be_text() && !found.may_be("null_type") => {
            Err("must evaluate to one of [string null_type]".to_owned())
        }
        _ => Ok(Program::new(parsed)),
    }
}

impl Expression {
    /// Compiles it. One that does not compile, which [`check_expression`] refuses before it is stored, fails whenever it runs.
    pub fn compile(source: &str, scope: Scope, wanted: Wanted) -> Self {
        Self { source: source.to_owned(), program: compile(source, scope, wanted) }
    }

    /// Its text.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Its value in JSON.
    pub fn evaluate(&self, inputs: &Inputs<'_>, budget: &mut Budget) -> Result<Value, Failure> {
        let program = match &self.program {
            Ok(program) => program,
            Err(told) => return Err(Failure::Error(format!("compilation error: {told}"))),
        };
        let variables: Vec<(&str, CelValue)> = [
            ("object", inputs.object),
            ("oldObject", inputs.old_object),
            ("request", inputs.request),
            ("params", inputs.params),
            ("namespaceObject", inputs.namespace_object),
        ]
        .into_iter()
        .map(|(name, value)| (name, cel::plain_to_cel(value)))
        .collect();
        match program.run_with(&variables, budget) {
            Outcome::Bool(value) => Ok(Value::Bool(value)),
            Outcome::Text(text) => Ok(Value::String(text)),
            Outcome::Other => Ok(Value::Null),
            Outcome::OutOfBudget => Err(Failure::OutOfBudget),
            Outcome::Failed(told) => {
                Err(Failure::Error(format!("expression '{}' resulted in error: {told}", self.source)))
            }
        }
    }
}
