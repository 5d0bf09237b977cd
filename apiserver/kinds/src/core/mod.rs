//! The core group.

pub(crate) mod claims;
pub(crate) mod config;
pub(crate) mod controllers;
pub(crate) mod endpoints;
pub(crate) mod events;
pub(crate) mod namespaces;
pub(crate) mod nodes;
pub(crate) mod pods;
pub(crate) mod pods_print;
pub(crate) mod quotas;
pub(crate) mod quotas_print;
pub(crate) mod service_accounts;
pub(crate) mod services;
pub(crate) mod services_print;
pub(crate) mod services_update;
pub(crate) mod volumes;
