//! The validation rules of custom resources: `x-kubernetes-validations`, written in CEL.
//!
//! ```text
//! definition ─ check_rules ─► refused, or stored
//! schema ─ RuleEngine::compile ─► CompiledRules ─ validate(object, old) ─► what is wrong
//! ```
//!
//! The engine stands behind a trait, because the interpreter is another's: [`CelEngine`] is the one there is, on the
//! `cel` and `kube-cel` crates. What they lack is added here: fields are checked against the schema when a definition
//! is written, and evaluation is metered, since tenants write the rules and share the server. What still differs
//! from Kubernetes is pinned in `tests/divergence.rs`, a test a difference.

mod cel;
mod check;
mod field_path;
mod names;
mod types;
mod walk;

pub use check::check_rules;

use std::sync::Arc;

use kplane_machinery::field::ErrorList;
use kplane_machinery::schema::Schema;
use serde_json::Value;

/// Compiles the rules of schemas.
pub trait RuleEngine: Send + Sync {
    /// Compiles the rules of a custom resource's schema, the fields every object has included. `None` when there are none.
    ///
    /// The errors are of rules that do not compile, which [`check_rules`] refuses before they are stored.
    fn compile(&self, schema: &Schema) -> Result<Option<Arc<dyn CompiledRules>>, ErrorList>;
}

/// The rules of a schema, ready to run.
pub trait CompiledRules: Send + Sync {
    /// What the rules say about an object that is valid by the structure of its schema.
    ///
    /// `old` is what was there, on update: transition rules run only then, and parts that have not changed are not blamed.
    fn validate(&self, object: &Value, old: Option<&Value>) -> ErrorList;
}

/// The engine on the `cel` crate.
#[derive(Clone, Copy, Debug, Default)]
pub struct CelEngine;

impl RuleEngine for CelEngine {
    fn compile(&self, schema: &Schema) -> Result<Option<Arc<dyn CompiledRules>>, ErrorList> {
        Ok(walk::Rules::compile(schema)?.map(|rules| Arc::new(rules) as Arc<dyn CompiledRules>))
    }
}

/// Beside the errors of structure, that the rules have not run.
pub fn not_checked() -> kplane_machinery::field::FieldError {
    kplane_machinery::field::FieldError::invalid(
        &kplane_machinery::field::Path::root(),
        &Value::Null,
        "some validation rules were not checked because the object was invalid; correct the existing errors to complete validation",
    )
}
