//! The validation rules of custom resources: `x-kubernetes-validations`, written in CEL.
//!
//! ```text
//! definition ─ check_rules ─► refused, or stored
//! schema ─ RuleEngine::compile ─► CompiledRules ─ validate(object, old) ─► what is wrong
//! ```
//!
//! The engine stands behind a trait; [`CelEngine`] is the one there is. It is ours from the parser on, because rules
//! are refused when they are written, in upstream's words and at upstream's costs:
//!
//! ```text
//! syntax ─ check (types, library) ─► estimate (costs, when written) ─ eval (plan, run, count) ─► value
//!                                                          schema: what values are declared to be
//! ```
//!
//! [`admission`] has the expressions of webhooks and policies, [`check_device_selector`] is for those of claims of devices. What differs from Kubernetes is pinned in
//! `tests/divergence.rs`, a test a difference.

pub mod admission;
mod check;
mod custom;
mod devices;
mod estimate;
mod eval;
mod library;
mod plain;
mod program;
mod schema;
mod syntax;
mod value;

pub use custom::check_rules;
pub use devices::{DEVICE_SELECTOR_BYTES, DeviceSelectorError, check_device_selector};
pub use plain::PlainExpression;
pub use program::Budget;

use std::sync::Arc;

use kplane_machinery::field::{ErrorList, ErrorType, FieldError, Path};
use kplane_machinery::schema::Schema;
use serde_json::Value;

const NOT_CHECKED: &str = "some validation rules were not checked because the object was invalid; correct the existing errors to complete validation";

/// Compiles the rules of schemas.
pub trait RuleEngine: Send + Sync {
    /// Compiles the rules of a custom resource's schema, the fields every object has included. `None` when there are none.
    ///
    /// A rule that does not compile, which [`check_rules`] refuses before it is stored, fails every object.
    fn compile(&self, schema: &Schema) -> Option<Arc<dyn CompiledRules>>;
}

/// The rules of a schema, ready to run.
pub trait CompiledRules: Send + Sync {
    /// What the rules say about an object that is valid by the structure of its schema.
    ///
    /// `old` is what was there, on update: transition rules run only then, and parts that have not changed are not blamed.
    fn validate(&self, object: &Value, old: Option<&Value>) -> ErrorList;

    /// Whether they may take long: they loop, or look for patterns.
    fn may_take_long(&self) -> bool;
}

/// The engine of this crate.
#[derive(Clone, Copy, Debug, Default)]
pub struct CelEngine;

impl RuleEngine for CelEngine {
    fn compile(&self, schema: &Schema) -> Option<Arc<dyn CompiledRules>> {
        custom::Rules::compile(schema).map(|rules| Arc::new(rules) as Arc<dyn CompiledRules>)
    }
}

/// Runs the rules behind the validation of structure: when that found what rules rely on to be wrong, they do not run,
/// and the errors say so.
pub fn validate_after(
    rules: &dyn CompiledRules,
    object: &Value,
    old: Option<&Value>,
    mut errors: ErrorList,
) -> ErrorList {
    let blocks = |error: &FieldError| {
        matches!(
            error.error_type,
            ErrorType::NotSupported
                | ErrorType::Required
                | ErrorType::TooLong
                | ErrorType::TooMany
                | ErrorType::TypeInvalid
        )
    };
    if errors.iter().any(blocks) {
        errors.push(FieldError::invalid(&Path::root(), &Value::Null, NOT_CHECKED));
    } else {
        errors.extend(rules.validate(object, old));
    }
    errors
}
