//! Match conditions: [`MatchConditions`].

use serde_json::Value;

use super::{Expression, Failure, Inputs, MATCH_CONDITIONS_BUDGET, Question, Scope, Wanted};
use crate::Budget;

struct Condition {
    name: String,
    expression: Expression,
}

/// The `matchConditions` of a webhook or a policy.
#[derive(Default)]
pub struct MatchConditions(Vec<Condition>);

/// What match conditions say of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// All hold.
    Matches,
    /// The named one does not.
    Excluded(String),
    /// Some could not be evaluated and none failed to hold: the failure policy decides.
    Failed(String),
}

impl MatchConditions {
    /// The conditions as they are in the configuration; whoever stored them has checked them.
    pub fn compile(conditions: &Value, scope: Scope) -> Self {
        let text = |condition: &Value, field: &str| -> String {
            condition.get(field).and_then(Value::as_str).unwrap_or_default().to_owned()
        };
        let conditions = conditions.as_array().into_iter().flatten();
        Self(
            conditions
                .map(|condition| Condition {
                    name: text(condition, "name"),
                    expression: Expression::compile(
                        text(condition, "expression").trim(),
                        scope,
                        Wanted::Bool,
                    ),
                })
                .collect(),
        )
    }

    /// Whether there are none, so that everything matches.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether one of them may keep a processor busy.
    pub fn may_take_long(&self) -> bool {
        self.0.iter().any(|condition| condition.expression.may_take_long())
    }

    /// Whether a request is meant. The error is a question to ask first.
    pub fn matches(&self, inputs: &Inputs<'_>) -> Result<Verdict, Box<Question>> {
        let mut budget = Budget::new(MATCH_CONDITIONS_BUDGET);
        let mut failed = Vec::new();
        for condition in &self.0 {
            match condition.expression.evaluate(inputs, &mut budget) {
                Ok(Value::Bool(false)) => return Ok(Verdict::Excluded(condition.name.clone())),
                Ok(_) => {}
                Err(Failure::Error(told)) => failed.push(told),
                Err(Failure::OutOfBudget) => {
                    return Ok(Verdict::Failed(crate::program::OUT_OF_BUDGET.to_owned()));
                }
                Err(Failure::Ask(question)) => return Err(question),
            }
        }
        Ok(match failed.as_slice() {
            [] => Verdict::Matches,
            [one] => Verdict::Failed(one.clone()),
            many => Verdict::Failed(format!("[{}]", many.join(", "))),
        })
    }
}
