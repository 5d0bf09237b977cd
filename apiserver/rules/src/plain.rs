//! Expressions over plain JSON, outside of objects and admission: the claims of a token, an access review.

use serde_json::Value;

use crate::Budget;
use crate::admission::Answers;
use crate::check::{Environment, Type};
use crate::eval::{Activation, weight};
use crate::program::{LIMIT_EXCEEDED, Program};
use crate::value::{Value as CelValue, from_json, to_json};

/// A result of more values than this is not made.
const LARGEST: u64 = 100_000;

/// An expression over variables of any shape.
pub struct PlainExpression {
    source: String,
    program: Program,
}

impl std::fmt::Debug for PlainExpression {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("PlainExpression").field(&self.source).finish()
    }
}

impl PlainExpression {
    /// Compiles it with these variables known. The error is the detail of an `Invalid value` error.
    pub fn compile(source: &str, variables: &[&'static str]) -> Result<Self, String> {
        let environment = Environment::new(variables.iter().map(|name| (*name, Type::Dyn)));
        let program =
            Program::compile(source, &environment).map_err(|told| format!("compilation failed: {told}"))?;
        Ok(Self { source: source.to_owned(), program })
    }

    /// Its text.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Its value in JSON. The error is in the words of cel-go.
    pub fn evaluate(
        &self,
        variables: &[(&'static str, &Value)],
        budget: &mut Budget,
    ) -> Result<Value, String> {
        let globals: Vec<(&'static str, CelValue<'_>)> =
            variables.iter().map(|(name, value)| (*name, from_json(value, None))).collect();
        let answers = Answers::default();
        let activation = Activation { globals: &globals, answers: &answers, variables: None };
        let (outcome, cost) = self.program.run(&activation);
        if !budget.spend(cost) {
            return Err(LIMIT_EXCEEDED.to_owned());
        }
        match outcome {
            Ok(value) if weight(&value) > LARGEST => Err(LIMIT_EXCEEDED.to_owned()),
            Ok(value) => to_json(&value),
            Err(stop) => Err(stop.words().to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn claims_become_values() {
        let claims = json!({"sub": "jane", "roles": ["dev", "ops"], "email_verified": true});
        let value = |source: &str| {
            let expression = PlainExpression::compile(source, &["claims"]).unwrap();
            expression.evaluate(&[("claims", &claims)], &mut Budget::new(1_000_000))
        };
        assert_eq!(value("'x:' + claims.sub").unwrap(), "x:jane");
        assert_eq!(value("claims.roles.map(r, 'team-' + r)").unwrap(), json!(["team-dev", "team-ops"]));
        assert_eq!(value("claims.email_verified && claims.sub != ''").unwrap(), true);
        assert_eq!(value("has(claims.nothing) ? claims.nothing : null").unwrap(), Value::Null);
        assert!(value("claims.nothing").is_err());
        assert!(PlainExpression::compile("user.name", &["claims"]).is_err());
        assert!(PlainExpression::compile("claims.", &["claims"]).is_err());
    }
}
