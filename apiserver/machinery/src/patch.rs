//! The patches: JSON patch (RFC 6902), JSON merge patch (RFC 7386) and strategic merge patch.
//! Server-side apply is in [`crate::managed`].

pub mod json;
pub mod merge;
pub mod strategic;

use crate::status::Status;

/// Why a patch cannot be applied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatchError {
    /// The patch itself is malformed: 400.
    #[error("{0}")]
    BadRequest(String),
    /// It does not fit the object: 422, in words that tell the client nothing.
    #[error("{0}")]
    Unprocessable(String),
    /// It has too many operations: 413.
    #[error("{0}")]
    TooLarge(String),
    /// Upstream gives this error no status of its own: 500.
    #[error("{0}")]
    Plain(String),
}

impl From<PatchError> for Status {
    fn from(error: PatchError) -> Self {
        match error {
            PatchError::BadRequest(message) => Self::bad_request(message),
            PatchError::Unprocessable(_) => Self::unprocessable(),
            PatchError::TooLarge(message) => Self::request_too_large(message),
            PatchError::Plain(message) => Self::plain(message),
        }
    }
}

/// What Go calls the JSON value when it does not fit a type.
pub(crate) fn go_json_kind(value: &serde_json::Value) -> &'static str {
    match value {
        serde_json::Value::Null => "null",
        serde_json::Value::Bool(_) => "bool",
        serde_json::Value::Number(_) => "number",
        serde_json::Value::String(_) => "string",
        serde_json::Value::Array(_) => "array",
        serde_json::Value::Object(_) => "object",
    }
}
