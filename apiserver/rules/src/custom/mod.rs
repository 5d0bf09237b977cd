//! The rules of custom resources.

mod check;
mod costs;
mod field_path;
mod walk;

pub use check::check_rules;
pub(crate) use walk::Rules;
