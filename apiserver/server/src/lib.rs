//! The shared API server: one process, any number of virtual control planes.
//!
//! ```text
//! listen (TLS, HTTP) → filters (route, authenticate, impersonate, authorize) → dispatch
//!   → endpoints (one file a verb) → registry → store
//! ```
//!
//! [`run::start`] makes a server from [`options::Options`]; [`app::App`] holds its parts.

pub mod admission_configuration;
pub mod aggregation;
pub mod all_vcps;
mod allocate;
pub mod app;
mod authorization;
mod base;
pub mod body;
mod compress;
pub mod connections;
pub mod custom;
pub mod discovery;
mod dispatch;
mod egress;
pub mod encryption;
pub mod endpoints;
pub mod filters;
mod follow;
mod foreign;
mod front_proxy;
mod health;
mod heavy;
pub mod identity;
mod kubeconfig;
mod layers;
mod legacy_tokens;
pub mod listen;
pub mod metrics;
mod nodes;
mod openapi;
pub mod options;
mod protobuf;
pub mod query;
mod quota;
mod rbac;
pub mod reload;
mod review_selectors;
mod reviews;
pub mod run;
mod settle;
pub mod signals;
mod signing;
pub mod tenancy;
pub mod version;
mod wellknown;
