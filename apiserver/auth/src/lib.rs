//! Who may do what: certificates, tokens, authentication, authorization, and what every control plane starts with.
//!
//! ```text
//! pki, token ── authn ── user ── authz (rbac)        bootstrap
//! ```

pub mod authn;
pub mod authz;
pub mod bootstrap;
mod der;
mod files;
pub mod oidc;
pub mod pki;
pub mod token;
pub mod user;

pub use token::ObjectReader;
pub use user::UserInfo;
