//! Kinds as data: the table of built-in kinds, and what a kind may decide for itself.
//!
//! A [`ResourceDef`] says what a kind is called, how it is shaped and how it is shown; its [`Strategy`] holds
//! the few decisions that are the kind's own. Handlers are generic over both, so that a kind is a row here
//! and never a branch there. Custom resources make the same [`ResourceDef`] at run time.

#[macro_use]
mod bitset;
pub mod check;
pub mod def;
pub mod strategy;
pub mod table;
pub mod tenancy;
#[allow(dead_code)]
mod val;

pub use check::NameRule;
pub use def::{Column, ResourceDef, Scope, Subresource, Verbs, VersionDef};
pub use strategy::{Context, Operation, Strategy};
