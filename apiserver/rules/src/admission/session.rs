//! One request's evaluations: [`Session`].

use std::cell::{Cell, RefCell};
use std::collections::HashMap;

use serde_json::Value;

use super::{Expression, Failure, Inputs, Question, declared};
use crate::Budget;
use crate::eval::{Activation, Lookup, weight};
use crate::library::{Outcome, Stop};
use crate::value::{Map, Special, Value as CelValue, from_json, to_json};

/// A result of more values than this is not made.
const LARGEST: u64 = 1_000_000;

/// Evaluates the expressions of a policy about one request. Its variables are evaluated once, when they are asked for.
pub struct Session<'a> {
    inputs: Inputs<'a>,
    variables: &'a [(String, Expression)],
    globals: Vec<(&'static str, CelValue<'a>)>,
    known: RefCell<HashMap<usize, Outcome<'a>>>,
    /// What variables have cost that nobody has paid.
    cost: Cell<u64>,
}

impl<'a> Session<'a> {
    /// With the variables of a policy, in their order.
    pub fn new(inputs: Inputs<'a>, variables: &'a [(String, Expression)]) -> Self {
        let globals = vec![
            ("object", from_json(inputs.object, None)),
            ("oldObject", from_json(inputs.old_object, None)),
            ("request", from_json(inputs.request, Some(declared::request()))),
            ("params", from_json(inputs.params, None)),
            ("namespaceObject", from_json(inputs.namespace_object, Some(declared::namespace()))),
            ("variables", CelValue::Variables),
            ("authorizer", CelValue::special(Special::Authorizer(None))),
            (
                "authorizer.requestResource",
                CelValue::special(Special::ResourceCheck(Box::new(own(inputs.request)))),
            ),
        ];
        Self { inputs, variables, globals, known: RefCell::default(), cost: Cell::new(0) }
    }

    /// The value of an expression, in JSON.
    pub fn evaluate(&self, expression: &'a Expression, budget: &mut Budget) -> Result<Value, Failure> {
        let program = match &expression.program {
            Ok(program) => program,
            Err(told) => return Err(Failure::Error(format!("compilation error: {told}"))),
        };
        let (outcome, cost) = program.run(&self.activation());
        if let Err(Stop::Ask(question)) = outcome {
            return Err(Failure::Ask(question));
        }
        if !budget.spend(cost.saturating_add(self.cost.take())) {
            return Err(Failure::OutOfBudget);
        }
        let source = expression.source();
        let failed = |told: &str| Failure::Error(format!("expression '{source}' resulted in error: {told}"));
        match outcome {
            Ok(value) if weight(&value) > LARGEST => Err(Failure::OutOfBudget),
            Ok(value) => {
                check_names(&value, None).map_err(|told| failed(&told))?;
                to_json(&value).map_err(|told| failed(&told))
            }
            Err(stop) => Err(failed(stop.words())),
        }
    }

    fn activation(&self) -> Activation<'_, 'a> {
        Activation { globals: &self.globals, answers: self.inputs.answers, variables: Some(self) }
    }
}

impl<'a> Lookup<'a> for Session<'a> {
    fn get(&self, name: &str) -> Option<Outcome<'a>> {
        let at = self.variables.iter().position(|(known, _)| known == name)?;
        if let Some(found) = self.known.borrow().get(&at) {
            return Some(found.clone());
        }
        let (_, expression) = &self.variables[at];
        let outcome = match &expression.program {
            Ok(program) => {
                let (outcome, cost) = program.run(&self.activation());
                self.cost.set(self.cost.get().saturating_add(cost));
                match outcome {
                    Err(Stop::Error(told)) => {
                        Err(Stop::Error(format!("composited variable \"{name}\" fails to evaluate: {told}")))
                    }
                    other => other,
                }
            }
            Err(told) => Err(Stop::Error(format!("composited variable \"{name}\" fails to compile: {told}"))),
        };
        self.known.borrow_mut().insert(at, outcome.clone());
        Some(outcome)
    }
}

/// The question about the request's own object.
fn own(request: &Value) -> Question {
    let text =
        |pointer: &str| request.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    Question {
        group: text("/resource/group"),
        resource: text("/resource/resource"),
        subresource: text("/subResource"),
        namespace: text("/namespace"),
        name: text("/name"),
        ..Question::default()
    }
}

/// The types of constructed objects are named after where they stand.
fn check_names(value: &CelValue<'_>, at: Option<&str>) -> Result<(), String> {
    match value {
        CelValue::Map(Map::Struct { name, fields }) => {
            let at = match at {
                Some(at) if &**name != at => {
                    return Err(format!(
                        "unexpected type name {name:?}, expected {at:?}, which matches field name path from root Object type"
                    ));
                }
                Some(at) => at,
                None if &**name == "Object" => name,
                None => return Ok(()),
            };
            for (field, value) in fields.iter() {
                check_names(value, Some(&format!("{at}.{field}")))?;
            }
            Ok(())
        }
        CelValue::List(list) if at.is_some() => list.iter().try_for_each(|item| check_names(&item, at)),
        _ => Ok(()),
    }
}
