//! The body of a request: its media type, size and content.

use bytes::Bytes;
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use hyper::body::Incoming;
use kplane_machinery::{Reason, Status};

use super::negotiate::Media;
use crate::listen::{MAX_BODY, read_body};

/// Reads a body whole.
pub async fn read(body: Incoming) -> Result<Bytes, Status> {
    read_body(body).await.map_err(|error| match error {
        None => Status::request_too_large(format!("limit is {MAX_BODY}")),
        Some(error) => Status::bad_request(error),
    })
}

/// The media type of a request's object; JSON when it does not say.
pub fn media_type(headers: &HeaderMap, protobuf: bool) -> Result<Media, Status> {
    let text = headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or("application/json");
    match essence(text) {
        "application/json" | "" => Ok(Media::Json),
        "application/yaml" => Ok(Media::Yaml),
        "application/vnd.kubernetes.protobuf" if protobuf => Ok(Media::Protobuf),
        _ => {
            let known = if protobuf {
                "application/json, application/yaml, application/vnd.kubernetes.protobuf"
            } else {
                "application/json, application/yaml"
            };
            Err(Status::new(
                415,
                Reason::UnsupportedMediaType,
                format!(
                    "the body of the request was in an unknown format - accepted media types include: {known}"
                ),
            ))
        }
    }
}

/// A media type without its parameters.
pub fn essence(content_type: &str) -> &str {
    content_type.split(';').next().unwrap_or("").trim()
}
