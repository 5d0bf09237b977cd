//! The controllers of kplane.
//!
//! ```text
//!                     management cluster                           shared API server
//!   ControlPlane ─┐
//!   …Class        │   management::run_management                   VirtualCluster, credentials,
//!   …Endpoint     ├──▶ one controller a kind, each a pipeline: ──▶ role bindings inside a VCP
//!   …Registration │   dereference → validate → build → apply
//!   …Credential   │   → status
//!   ManagementPlane┘
//!                     tenant::run_tenant: what kube-controller-manager does for one cluster, done for
//!                     all VCPs by one set of loops over /clusters/*
//! ```
//!
//! Only `dereference`, `apply` and the writing of a status do I/O; `validate` and `build` are pure and hold the
//! decisions, and the tests.

mod error;
pub mod etcd;
#[cfg(test)]
mod fake;
pub mod management;
pub mod runtime;
pub mod tenant;

pub use error::Error;
pub use management::{EmbeddedPlane, Health, ManagementOptions, PlaneHealth, run_management};
pub use runtime::install::install;
pub use tenant::{TenantOptions, run_tenant};

/// What a controller does.
pub type Result<T, E = Error> = std::result::Result<T, E>;
