//! Kubernetes protobuf, in and out.

use kplane_machinery::Status;
use serde_json::Value;

use crate::endpoints::decode::Expected;

/// Whether it is offered to clients.
pub const AVAILABLE: bool = false;

fn unavailable() -> Status {
    Status::internal("protobuf is not offered by this build")
}

/// Encodes any object with its envelope.
pub fn encode(_value: &Value) -> Result<Vec<u8>, Status> {
    Err(unavailable())
}

/// Encodes an event of a watch, with its length before it.
pub fn encode_event(_event: &str, _object: &Value) -> Result<Vec<u8>, Status> {
    Err(unavailable())
}

/// Decodes an object of an expected kind.
pub fn decode(_bytes: &[u8], _expected: &Expected<'_>) -> Result<Value, Status> {
    Err(unavailable())
}
