//! Requests for certificates, and the tokens that nodes begin with.

pub mod bootstrap;
pub mod requests;
