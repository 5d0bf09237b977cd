//! Kubernetes protobuf, in and out.

use kplane_machinery::{GroupVersionKind, Reason, Status};
use kplane_schema::proto;
use serde_json::Value;

use crate::endpoints::decode::Expected;

/// Whether it is offered to clients.
pub const AVAILABLE: bool = true;

/// 406 for what has no protobuf form.
pub fn no_form(error: impl std::fmt::Display) -> Status {
    Status::new(406, Reason::NotAcceptable, error.to_string())
}

/// Encodes any object with its envelope.
pub fn encode(value: &Value) -> Result<Vec<u8>, Status> {
    proto::encode(value).map_err(no_form)
}

/// Encodes an event of a watch, with its length before it.
pub fn encode_event(event: &str, object: &Value) -> Result<Vec<u8>, Status> {
    proto::encode_watch_event(event, object).map_err(no_form)
}

/// Encodes an object of a kind that is given as JSON text.
pub fn encode_json(kind: &GroupVersionKind, json: &[u8]) -> Result<Vec<u8>, Status> {
    proto::encode_json(kind, json).map_err(no_form)
}

/// Encodes an event of a watch about an object that is given as JSON text.
pub fn encode_event_json(event: &str, kind: &GroupVersionKind, json: &[u8]) -> Result<Vec<u8>, Status> {
    proto::encode_watch_event_json(event, kind, json).map_err(no_form)
}

/// Begins a list of a kind, with room for so many bytes.
pub fn list(kind: GroupVersionKind, metadata: &Value, size: usize) -> Result<proto::ListWriter, Status> {
    proto::ListWriter::new(kind, metadata, size).map_err(no_form)
}

/// Decodes an object of an expected kind.
pub fn decode(bytes: &[u8], expected: &Expected<'_>) -> Result<Value, Status> {
    let kind = &expected.gvk.kind;
    proto::decode(bytes, Some(&expected.gvk)).map_err(|error| {
        Status::bad_request(format!(
            "{kind} in version {:?} cannot be handled as a {kind}: {error}",
            &*expected.gvk.version
        ))
    })
}
