//! The management controllers: one folder a kind of `controlplane.kplane.dev`.

mod access;
mod class;
mod context;
mod control_plane;
mod credential;
mod endpoint;
mod exports;
mod finalizer;
mod kubeconfig;
mod management_plane;
mod plane;
mod registration;
mod run;
mod secrets;
mod tenancy;

pub use context::Context;
pub use plane::{EmbeddedPlane, Health, PlaneHealth};
pub use run::{LEASE, ManagementOptions, run_management};
pub use tenancy::run_tenant_of_plane;
