//! Kinds as data: the table of built-in kinds, and what a kind may decide for itself.
//!
//! A [`ResourceDef`] says what a kind is called, how it is shaped and how it is shown; its [`Strategy`] holds
//! the few decisions that are the kind's own. Handlers are generic over both, so that a kind is a row here
//! and never a branch there. Custom resources make the same [`ResourceDef`] at run time.

#[macro_use]
mod bitset;
mod amount;
mod apps;
mod batch;
pub mod ca_bundle;
pub mod check;
mod common;
mod core;
pub mod def;
mod groups;
mod podspec;
mod print;
mod rules;
pub mod strategy;
pub mod table;
pub mod tenancy;
mod val;

/// What the server does for a kind beyond its hooks: the allocation of addresses and ports.
pub mod allocate {
    pub use crate::core::services::{needs_cluster_ip, needs_node_ports, set_ip_families};
}

pub use check::NameRule;
pub use def::{Column, ResourceDef, Scope, Subresource, Verbs, VersionDef};
pub use strategy::{Context, Operation, StatusKeeps, Strategy};
