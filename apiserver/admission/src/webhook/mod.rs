//! Admission webhooks: the configurations of the control plane say which writes are shown to which servers, and those
//! answer with a patch or a refusal.
//!
//! ```text
//! Configuration → matching (rules, selectors, conditions) → review → the reader's post → verdict
//! ```
//!
//! A failure to ask is a refusal unless the webhook's policy ignores it; a configuration that cannot be read refuses all.

mod call;
mod client;
pub(crate) mod hook;
pub(crate) mod matching;
pub(crate) mod mutating;
pub(crate) mod review;
mod validating;

pub use call::Observation;
pub use client::{ClientConfig, Destination};
pub use hook::Hook;
pub use mutating::MutatingAdmissionWebhook;
pub use validating::ValidatingAdmissionWebhook;
