//! Rules on the `cel` crate: parsed within limits, their evaluation metered.

mod budget;
mod functions;
mod meter;
mod parse;
mod values;

use std::panic::{AssertUnwindSafe, catch_unwind};

use kube_cel::cel::Value as CelValue;
use kube_cel::cel::objects::OptionalValue;
use kube_cel::cel::parser::Expression;

pub use budget::Budget;
pub(crate) use functions::{RESULTS, is_namespace, known};
pub(crate) use parse::{at, parse};
pub(crate) use values::{plain_to_cel, to_cel};

/// An expression, ready to run.
pub(crate) struct Program {
    metered: Expression,
}

/// What a rule sees.
#[derive(Clone)]
pub(crate) struct Variables {
    pub this: CelValue,
    pub old: Option<CelValue>,
}

impl Variables {
    /// `oldSelf` as an optional value, for rules that also run where there is no old one.
    pub(crate) fn with_optional_old(self) -> Self {
        let old = self.old.map_or_else(OptionalValue::none, OptionalValue::of);
        Self { this: self.this, old: Some(CelValue::Opaque(std::sync::Arc::new(old))) }
    }
}

/// How an evaluation ended.
pub(crate) enum Outcome {
    Bool(bool),
    Text(String),
    /// Neither.
    Other,
    /// In the words of cel-go.
    Failed(String),
    /// The object's rules have cost too much.
    OutOfBudget,
}

impl Program {
    pub(crate) fn new(parsed: Expression) -> Self {
        Self { metered: meter::meter(parsed) }
    }

    /// Runs it, on what is left of the budget.
    pub(crate) fn run(&self, variables: &Variables, budget: &mut Budget) -> Outcome {
        let mut given = vec![("self", variables.this.clone())];
        given.extend(variables.old.clone().map(|old| ("oldSelf", old)));
        self.run_with(&given, budget)
    }

    /// Runs it with these variables.
    pub(crate) fn run_with(&self, variables: &[(&str, CelValue)], budget: &mut Budget) -> Outcome {
        let result = budget.spend(|| {
            functions::with_context(|root| {
                let mut context = root.new_inner_scope();
                for (name, value) in variables {
                    context.add_variable_from_value(*name, value.clone());
                }
                // The interpreter is not free of panics; one must not take more than this request.
                catch_unwind(AssertUnwindSafe(|| CelValue::resolve(&self.metered, &context)))
            })
        });
        let Some(result) = result else { return Outcome::OutOfBudget };
        match result {
            Ok(Ok(CelValue::Bool(value))) => Outcome::Bool(value),
            Ok(Ok(CelValue::String(text))) => Outcome::Text(text.to_string()),
            Ok(Ok(_)) => Outcome::Other,
            Ok(Err(error)) => Outcome::Failed(functions::words(&error)),
            Err(_) => Outcome::Failed("internal error".to_owned()),
        }
    }
}
