//! Bodies on their way out and back.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;

use crate::pool::Lease;

/// Any failure.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What is sent.
pub type RequestBody = UnsyncBoxBody<Bytes, BoxError>;

/// A body that is at hand.
pub(crate) fn full(bytes: Bytes) -> RequestBody {
    Full::new(bytes).map_err(|never| match never {}).boxed_unsync()
}

/// What comes back. Read to its end, its connection is free for the next call; dropped before, the connection closes.
#[derive(Debug)]
pub struct ReplyBody {
    inner: Incoming,
    lease: Option<Lease>,
}

impl ReplyBody {
    pub(crate) fn new(inner: Incoming, lease: Lease) -> Self {
        let mut body = Self { inner, lease: Some(lease) };
        body.settle();
        body
    }

    fn settle(&mut self) {
        if self.inner.is_end_stream()
            && let Some(lease) = self.lease.take()
        {
            lease.give_back();
        }
    }
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let polled = Pin::new(&mut self.inner).poll_frame(cx);
        match &polled {
            Poll::Ready(None) => {
                if let Some(lease) = self.lease.take() {
                    lease.give_back();
                }
            }
            Poll::Ready(Some(Err(_))) => drop(self.lease.take()),
            _ => self.settle(),
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
