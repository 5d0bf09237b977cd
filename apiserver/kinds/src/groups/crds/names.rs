//! What is wrong with the names of a definition.

use kplane_machinery::field::ErrorList;

use crate::check;
use crate::val::At;

/// One error for all that is wrong with a name, as upstream joins them.
pub(super) fn joined(field: &At<'_>, text: &str, before: &str, errors: &mut ErrorList) {
    let messages = check::label1035(text);
    if !messages.is_empty() {
        field.invalid_text(errors, format!("{before}{}", messages.join(",")));
    }
}

/// What is wrong with names that are given.
pub(super) fn names(names: &At<'_>, errors: &mut ErrorList) {
    for field in ["plural", "singular"] {
        let field = names.f(field);
        if !field.str().is_empty() {
            joined(&field, field.str(), "", errors);
        }
    }
    for field in ["kind", "listKind"] {
        let field = names.f(field);
        if !field.str().is_empty() {
            let before = "may have mixed case, but should otherwise match: ";
            joined(&field, &field.str().to_lowercase(), before, errors);
        }
    }
    for one in names.f("shortNames").items() {
        joined(&one, one.str(), "", errors);
    }
    let (kind, list) = (names.f("kind"), names.f("listKind"));
    if !kind.str().is_empty() && kind.str() == list.str() {
        list.invalid(errors, "kind and listKind may not be the same");
    }
    for one in names.f("categories").items() {
        joined(&one, one.str(), "", errors);
    }
}
