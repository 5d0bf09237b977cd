//! gzip of large answers, as upstream: bodies of 128 KiB and more, never streams.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use http::{HeaderMap, HeaderValue, header};
use http_body::Body as _;
use http_body_util::BodyExt;

use crate::body::{self, Answer};

/// Smaller bodies are not worth the time.
const MIN_SIZE: u64 = 128 * 1024;

/// Whether the client takes gzip.
pub fn accepts(headers: &HeaderMap) -> bool {
    headers
        .get_all(header::ACCEPT_ENCODING)
        .iter()
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(','))
        .any(|coding| coding.split(';').next().unwrap_or("").trim() == "gzip")
}

/// As much is compressed before others are let in.
const PIECE: usize = 256 * 1024;

/// Level 1: upstream found that more costs the server more than it saves the network.
async fn compressed(bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(bytes.len() / 4), Compression::fast());
    for piece in bytes.chunks(PIECE) {
        encoder.write_all(piece)?;
        crate::heavy::give_way().await;
    }
    encoder.finish()
}

/// Compresses an answer that is large and whole.
pub async fn answer(answer: Answer) -> Answer {
    let large = answer.body().size_hint().exact().is_some_and(|size| size >= MIN_SIZE);
    if !large || answer.headers().contains_key(header::CONTENT_ENCODING) {
        return answer;
    }
    let (mut parts, body) = answer.into_parts();
    let bytes = match body.collect().await {
        Ok(collected) => collected.to_bytes(),
        Err(never) => match never {},
    };
    match compressed(&bytes).await {
        Ok(compressed) => {
            parts.headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            parts.headers.append(header::VARY, HeaderValue::from_static("Accept-Encoding"));
            Answer::from_parts(parts, body::full(compressed))
        }
        Err(error) => {
            tracing::warn!(%error, "an answer could not be compressed");
            Answer::from_parts(parts, body::full(bytes))
        }
    }
}
