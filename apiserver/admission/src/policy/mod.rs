//! Admission policies: expressions of the control plane's own that change writes or refuse them.
//!
//! ```text
//! Configuration → constraints of the policy, then of each binding → conditions → parameters → expressions → verdict
//! ```
//!
//! A policy is compiled once for all control planes that have the same, and freed when the last of them goes.

mod constraints;
mod definition;
mod evaluation;
mod mutating;
mod params;
mod readable;
mod validating;

pub use definition::{Bound, Policies};
pub use mutating::MutatingAdmissionPolicy;
pub use readable::ReadableParameters;
pub use validating::ValidatingAdmissionPolicy;

use crate::{Attributes, Configuration};

/// What policies see of nothing: themselves, and questions that are not stored.
fn is_exempt(attributes: &Attributes<'_>) -> bool {
    let resource = &*attributes.def.plural;
    match &*attributes.def.group {
        Configuration::GROUP => {
            resource.ends_with("admissionpolicies") || resource.ends_with("admissionpolicybindings")
        }
        "authentication.k8s.io" => matches!(resource, "selfsubjectreviews" | "tokenreviews"),
        "authorization.k8s.io" => resource.ends_with("reviews"),
        _ => false,
    }
}
