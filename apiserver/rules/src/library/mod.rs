//! The functions expressions may call, a file a library: the declarations that the checker reads, and what each does.

mod authorizer;
pub(crate) mod costs;
mod declare;
pub(crate) mod format;
pub(crate) mod jsonpatch;
mod lists;
mod math;
mod network;
mod optional;
mod quantity;
pub(crate) mod regex;
pub(crate) mod semver;
mod sets;
pub(crate) mod standard;
mod strings;
mod times;
pub(crate) mod url;

pub(crate) use declare::{Function, Overload, Registry};

use std::sync::OnceLock;

use crate::admission::{Answers, Question};
use crate::value::Value;

/// What a function may know beside its arguments.
pub(crate) struct Cx<'m> {
    pub answers: &'m Answers,
}

/// Why there is no value.
#[derive(Clone, Debug)]
pub(crate) enum Stop {
    /// In the words of cel-go.
    Error(String),
    /// The authorizer must be asked first.
    Ask(Box<Question>),
    /// It costs too much; nothing absorbs this.
    Limit,
}

pub(crate) type Outcome<'a> = Result<Value<'a>, Stop>;

/// What a function does. The arguments begin with the target, if there is one.
pub(crate) type Native = for<'a> fn(&Cx<'_>, &[Value<'a>]) -> Outcome<'a>;

/// The largest text or list that a function makes at once.
const LARGEST: usize = 8 << 20;

/// All functions.
pub(crate) fn functions() -> &'static Registry {
    static FUNCTIONS: OnceLock<Registry> = OnceLock::new();
    FUNCTIONS.get_or_init(|| {
        let mut registry = Registry::default();
        for declare in [
            standard::declare,
            times::declare,
            strings::declare,
            lists::declare,
            sets::declare,
            math::declare,
            optional::declare,
            regex::declare,
            url::declare,
            quantity::declare,
            network::declare,
            semver::declare,
            format::declare,
            authorizer::declare,
            jsonpatch::declare,
        ] {
            declare(&mut registry);
        }
        registry
    })
}

fn failed<T>(message: impl Into<String>) -> Result<T, Stop> {
    Err(Stop::Error(message.into()))
}

/// What is said when no way to call a function fits.
const NO_OVERLOAD: &str = "no such overload";

fn no_overload<T>() -> Result<T, Stop> {
    failed(NO_OVERLOAD)
}

/// Refuses what would be too large, before it is made.
fn fits(size: Option<usize>) -> Result<(), Stop> {
    if size.is_some_and(|size| size <= LARGEST) { Ok(()) } else { Err(Stop::Limit) }
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_declaration_reads() {
        let functions = super::functions();
        assert!(functions.len() > 150, "{}", functions.len());
        for function in functions.all() {
            assert!(!function.overloads.is_empty(), "{}", function.name);
        }
    }
}
