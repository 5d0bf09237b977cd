//! Schemas at work: the table of the built-in kinds, and what is done with a schema — decoding, pruning,
//! defaulting, validation and the OpenAPI documents.
//!
//! ```text
//! bytes ─ parse ─► value ─ check ─► pruned, typed ─ default ─► complete ─ validate ─► sound (custom resources)
//! ```
//!
//! A schema with a `type_name` is a built-in type: its values follow the rules of the Go struct behind it, because
//! clients see its round trip (nulls and empty optional fields vanish, required ones appear). A schema
//! without one is a custom resource's: its values are kept as they are, but for unknown fields.

mod check;
mod default;
pub mod openapi;
mod parse;
pub mod proto;
pub mod structural;
mod table;
mod validate;
pub mod yaml;

pub use check::{TypeError, check, prune};
pub use default::{default, normalise};
pub use parse::{Format, ParseError, Parsed, parse};
pub use table::{Descriptions, SchemaTable, builtin};
pub use validate::validate;

use kplane_machinery::schema::Schema;
use serde_json::Value;

/// A body, decoded by a schema.
#[derive(Clone, Debug, PartialEq)]
pub struct Decoded {
    /// The object, without fields the schema does not know.
    pub value: Value,
    /// `unknown field "spec.foo"`, one for each field that was dropped.
    pub unknown: Vec<String>,
    /// `duplicate field "spec.replicas"`, one for each field given twice.
    pub duplicate: Vec<String>,
}

/// Why a body could not be decoded.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum DecodeError {
    /// It is not JSON or YAML.
    #[error(transparent)]
    Parse(#[from] ParseError),
    /// It is, but not of the shape the schema asks for.
    #[error(transparent)]
    Type(#[from] TypeError),
}

/// [`parse`] and [`check`] in one.
pub fn decode(schema: &Schema, bytes: &[u8], format: Format, custom: bool) -> Result<Decoded, DecodeError> {
    let Parsed { mut value, duplicates } = parse(bytes, format)?;
    let unknown = check(schema, &mut value, custom)?;
    Ok(Decoded { value, unknown, duplicate: duplicates })
}
