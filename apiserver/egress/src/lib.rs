//! Egress: calls out of the server, above all those that a tenant directs: webhooks, aggregated APIs, proxies,
//! token issuers.
//!
//! ```text
//! Caller + Target → resolve the name → Policy (each address) → dial that very address → TLS → pooled HTTP
//! ```
//!
//! Whoever controls a URL or an Endpoints object chooses where the server dials, from inside the operator's network.
//! So every address is judged after its name was resolved, and the address that was judged is the one that is dialled. No
//! redirect is followed and no proxy of the environment is used, for either would dial what nobody judged. A pooled
//! connection is judged again each time it is taken, so that what was forbidden meanwhile ends at once.
//!
//! Nothing is held for who makes no calls: connections close when they are idle, and the task that closes them ends with
//! the last.

mod body;
mod client;
mod dial;
mod error;
mod policy;
mod pool;
mod target;
mod tls;

pub use body::{BoxError, ReplyBody, RequestBody};
pub use client::{Egress, Limits};
pub use error::{Error, of_request};
pub use ipnet::IpNet;
pub use policy::{Caller, Policy, parse_ranges};
pub use target::{ClientCertificate, Scheme, Target, Tls};
