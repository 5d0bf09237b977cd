//! One expression: [`Expression`]; what compiles it, and what it is evaluated with.

use std::sync::Arc;

use kplane_machinery::schema::Schema;
use serde_json::Value;

use super::session::Session;
use super::{Failure, Inputs, Scope, Wanted, declared};
use crate::Budget;
use crate::check::{Environment, Type};
use crate::program::Program;
use crate::schema::{Decl, named};

/// An expression, compiled once and run for any number of requests.
pub struct Expression {
    source: String,
    /// Or why it does not compile.
    pub(super) program: Result<Program, String>,
}

/// What is wrong with an expression, as the detail of an `Invalid value` error.
pub fn check_expression(source: &str, scope: Scope, wanted: Wanted) -> Result<(), String> {
    Compiler::new(scope).check(source, wanted)
}

impl Expression {
    /// Compiles it. One that does not compile, which [`check_expression`] refuses before it is stored, fails whenever it runs.
    pub fn compile(source: &str, scope: Scope, wanted: Wanted) -> Self {
        Compiler::new(scope).compile(source, wanted)
    }

    /// Its text.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Whether it may keep a processor busy: it loops, or looks for patterns.
    pub fn may_take_long(&self) -> bool {
        self.program.as_ref().is_ok_and(|program| program.may_take_long)
    }

    /// Its value in JSON.
    pub fn evaluate(&self, inputs: &Inputs<'_>, budget: &mut Budget) -> Result<Value, Failure> {
        Session::new(*inputs, &[]).evaluate(self, budget)
    }
}

/// Compiles expressions that belong together: those of a policy, which see its variables.
pub struct Compiler {
    base: Environment,
    environment: Environment,
    variables: Vec<(String, Type)>,
}

impl Compiler {
    /// For expressions of this scope.
    pub fn new(scope: Scope) -> Self {
        Self::of(declared::environment(scope, None, None))
    }

    /// For mutations, which construct objects.
    pub fn mutating(scope: Scope) -> Self {
        Self::of(declared::environment(scope, None, None).making_objects())
    }

    /// For expressions about objects of a kind, and parameters of another, so that fields they do not have are found.
    pub fn typed(scope: Scope, object: (&str, &Schema), params: Option<(&str, &Schema)>) -> Self {
        let decl = |(name, schema): (&str, &Schema)| -> Arc<Decl> { named(schema, name) };
        let (object, params) = (decl(object), params.map(decl));
        Self::of(declared::environment(scope, Some(&object), params.as_deref()))
    }

    fn of(environment: Environment) -> Self {
        let mut out = Self { base: environment.clone(), environment, variables: Vec::new() };
        out.declare();
        out
    }

    fn declare(&mut self) {
        self.environment = self.base.clone().with("variables", declared::variables(&self.variables));
    }

    /// What is wrong with an expression, as the detail of an `Invalid value` error.
    pub fn check(&self, source: &str, wanted: Wanted) -> Result<(), String> {
        self.program(source, wanted).map(drop)
    }

    /// Compiles an expression; one that does not compile fails whenever it runs.
    pub fn compile(&self, source: &str, wanted: Wanted) -> Expression {
        Expression { source: source.to_owned(), program: self.program(source, wanted) }
    }

    /// Compiles the expression of a message, which cannot ask the authorizer.
    pub fn message(&self, source: &str) -> Expression {
        Expression { source: source.to_owned(), program: self.message_program(source) }
    }

    /// What is wrong with the expression of a message.
    pub fn check_message(&self, source: &str) -> Result<(), String> {
        self.message_program(source).map(drop)
    }

    fn message_program(&self, source: &str) -> Result<Program, String> {
        let environment =
            self.environment.clone().without("authorizer").without("authorizer.requestResource");
        program(source, Wanted::Text, &environment)
    }

    /// Compiles a variable, which what is compiled later may name.
    pub fn variable(&mut self, name: &str, source: &str) -> Expression {
        let program = self.program(source, Wanted::Anything);
        let of = program.as_ref().map_or(Type::Dyn, |program| program.result.clone());
        self.variables.push((name.to_owned(), of));
        self.declare();
        Expression { source: source.to_owned(), program }
    }

    fn program(&self, source: &str, wanted: Wanted) -> Result<Program, String> {
        program(source, wanted, &self.environment)
    }
}

fn program(source: &str, wanted: Wanted, environment: &Environment) -> Result<Program, String> {
    let program =
        Program::compile(source, environment).map_err(|told| format!("compilation failed: {told}"))?;
    let wanted: Vec<Type> = match wanted {
        Wanted::Bool => vec![Type::Bool],
        Wanted::Text => vec![Type::String],
        Wanted::TextOrNull => vec![Type::String, Type::Null],
        Wanted::Object => environment.constructible("Object").map(Type::Object).into_iter().collect(),
        Wanted::Patch => {
            let one = environment.constructible("JSONPatch").map(Type::Object);
            one.map(Type::list).into_iter().collect()
        }
        Wanted::Anything => return Ok(program),
    };
    if wanted.iter().any(|of| of.same(&program.result)) {
        return Ok(program);
    }
    let shown: Vec<String> = wanted.iter().map(Type::written).collect();
    Err(match shown.as_slice() {
        [one] => format!("must evaluate to {one}"),
        many => format!("must evaluate to one of [{}]", many.join(" ")),
    })
}
