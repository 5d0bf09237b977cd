//! Bodies of answers: whole, or streamed.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::{Stream, StreamExt};
use http::{HeaderValue, Response, StatusCode, header};
use http_body::{Frame, SizeHint};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use kplane_machinery::Status;
use serde_json::Value;

use crate::endpoints::negotiate::Media;
use crate::endpoints::output;

/// The body of every answer.
pub type Body = UnsyncBoxBody<Bytes, std::convert::Infallible>;
/// An answer.
pub type Answer = Response<Body>;

/// A body held whole.
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).boxed_unsync()
}

/// A body that is sent as it comes.
pub fn stream(chunks: impl Stream<Item = Bytes> + Send + 'static) -> Body {
    StreamBody::new(chunks.map(|chunk| Ok(Frame::data(chunk)))).boxed_unsync()
}

/// A body that keeps something until it is sent or given up.
pub fn guarded<G: Send + 'static>(body: Body, guard: G) -> Body {
    Guarded { body, _guard: guard }.boxed_unsync()
}

struct Guarded<G> {
    body: Body,
    _guard: G,
}

// The guard is never pinned: it is only dropped.
impl<G> Unpin for Guarded<G> {}

impl<G> http_body::Body for Guarded<G> {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// An answer of one content type.
pub fn answer(status: StatusCode, content_type: &'static str, bytes: impl Into<Bytes>) -> Answer {
    let mut response = Response::new(full(bytes));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// Plain text.
pub fn text(status: StatusCode, text: impl Into<Bytes>) -> Answer {
    let mut response = answer(status, "text/plain; charset=utf-8", text);
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// A JSON value.
pub fn json(status: StatusCode, value: &Value) -> Answer {
    answer(status, "application/json", to_json(value))
}

/// A JSON value over several lines, as upstream writes what is no object of the API.
pub fn indented(status: StatusCode, value: &Value) -> Answer {
    answer(status, "application/json", format!("{value:#}"))
}

/// A value as kube-apiserver writes it: compact, one line.
pub fn to_json(value: &Value) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    // Writing a value to memory cannot fail: its keys are texts.
    if serde_json::to_writer(&mut out, value).is_err() {
        out.clear();
    }
    out.push(b'\n');
    out
}

/// The answer to a request that failed, in the first form that the client accepts; in JSON when it accepts none.
pub fn failure(status: &Status, media: Media) -> Answer {
    let code = StatusCode::from_u16(status.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let value = status.to_value();
    let mut response = match media {
        Media::Json => json(code, &value),
        media => output::write(media, code, &value).unwrap_or_else(|_| json(code, &value)),
    };
    if let Some(seconds) = status.details.as_ref().map(|d| d.retry_after_seconds).filter(|s| *s > 0) {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    if status.code == 401 {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}

/// `404 page not found`, as Go's mux says it.
pub fn page_not_found() -> Answer {
    text(StatusCode::NOT_FOUND, "404 page not found\n")
}

/// 405, as go-restful says it of a path that exists.
pub fn method_not_allowed() -> Status {
    let message = "the server does not allow this method on the requested resource";
    let mut status = Status::new(405, kplane_machinery::Reason::MethodNotAllowed, message);
    status.details = Some(Box::default());
    status
}
