//! Custom resources: kinds that CustomResourceDefinitions make, each in its own control plane.
//!
//! - `definitions`: which custom kinds a control plane has, as fresh as any read, compiled once by content.
//! - `compile`: from a definition to a kind.
//! - `names`: which of the names a definition asks for it gets.
//! - `conversion`: from one version to another by a webhook.
//! - `scale`: what an object must hold where its scale is read from.
//! - `controller`: what happens to a definition after it is written.

mod compile;
pub mod controller;
pub mod conversion;
mod definitions;
mod names;
mod scale;
mod strategy;

use kplane_registry::ResourceKey;

pub use compile::{compile, condition, is_established};
pub use definitions::{Definitions, Fact};

/// Where definitions are stored.
pub fn resource_key() -> ResourceKey {
    ResourceKey::new("apiextensions.k8s.io", "customresourcedefinitions")
}
