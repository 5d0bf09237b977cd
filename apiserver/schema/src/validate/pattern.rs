//! Patterns of schemas, compiled once.

use std::collections::HashMap;
use std::sync::{OnceLock, PoisonError, RwLock};

use regex::{Regex, RegexBuilder};

/// More than this many are forgotten and compiled again.
const KEPT: usize = 512;

/// A pattern that needs more memory than this is not used.
const SIZE_LIMIT: usize = 1 << 20;

/// Why a pattern is none.
pub(crate) fn error(pattern: &str) -> Option<String> {
    RegexBuilder::new(pattern).size_limit(SIZE_LIMIT).build().err().map(|error| error.to_string())
}

/// Whether a text has a match of the pattern; `None` if there is no such pattern.
pub(super) fn matches(pattern: &str, text: &str) -> Option<bool> {
    static COMPILED: OnceLock<RwLock<HashMap<String, Option<Regex>>>> = OnceLock::new();
    let compiled = COMPILED.get_or_init(RwLock::default);
    if let Some(there) = compiled.read().unwrap_or_else(PoisonError::into_inner).get(pattern) {
        return there.as_ref().map(|regex| regex.is_match(text));
    }
    let made = RegexBuilder::new(pattern).size_limit(SIZE_LIMIT).build().ok();
    let found = made.as_ref().map(|regex| regex.is_match(text));
    let mut compiled = compiled.write().unwrap_or_else(PoisonError::into_inner);
    if compiled.len() >= KEPT {
        compiled.clear();
    }
    compiled.insert(pattern.to_owned(), made);
    found
}
