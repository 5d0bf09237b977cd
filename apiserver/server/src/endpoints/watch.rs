//! Watches: a stream of events, as lines of JSON, as protobuf with its length before it, or as messages of a WebSocket.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{FutureExt, Stream, StreamExt};
use http::{HeaderValue, Response, header};
use kplane_kinds::Verbs;
use kplane_machinery::Status;
use kplane_registry::{Error, EventKind, WatchFrom, WatchItem, WatchRequest};
use rand::Rng;
use tokio::time::Instant;

use super::cx::{Cx, Resource};
use super::failures;
use super::list_options::ListOptions;
use super::negotiate::{self, Form};
use super::output::{self, EventEncoder, EventType};
use super::selectors::Selection;
use super::websocket;
use crate::body::{self, Answer};
use crate::metrics::{Labels, LongRunning};

/// How long a watch lasts when the client does not say: between half an hour and an hour, at random, so that
/// watches begun together do not end together (`--min-request-timeout`).
const MIN_TIMEOUT_SECONDS: u64 = 1800;
/// As many events are written at once.
const BATCH: usize = 256;

/// Answers a watch.
pub async fn watch(cx: Arc<Cx>, resource: Resource) -> Result<Answer, Status> {
    if !resource.def.verbs.contains(Verbs::WATCH) {
        return Err(body::method_not_allowed());
    }
    let form = output::negotiate(&cx, &resource)?;
    negotiate::check_stream(form, output::offer(&cx, &resource))?;
    let options = ListOptions::parse(&cx.query, true)?;
    let selection = Selection::parse(&cx, &resource)?;
    let from = match (options.send_initial_events, options.resource_version) {
        (Some(true), version) => {
            // The bookmark behind them is one like any other: only for those who take bookmarks.
            WatchFrom::InitialEvents { not_older_than: version.unwrap_or(0), bookmark: options.bookmarks }
        }
        (Some(false), None | Some(0)) => WatchFrom::Now,
        (Some(false), Some(version)) => WatchFrom::Revision(version),
        // Without a version, what is there now comes first, as synthetic additions.
        (None, None) => WatchFrom::InitialEvents { not_older_than: 0, bookmark: false },
        (None, Some(0)) => WatchFrom::InitialEvents { not_older_than: 0, bookmark: false },
        (None, Some(version)) => WatchFrom::Revision(version),
    };
    let request = WatchRequest {
        namespace: super::list::namespace_of(&cx, &resource),
        name: selection.name.as_deref().map(Into::into),
        from,
        bookmarks: options.bookmarks,
    };
    let timeout = options.timeout.unwrap_or_else(|| {
        Duration::from_secs(rand::rng().random_range(MIN_TIMEOUT_SECONDS..2 * MIN_TIMEOUT_SECONDS))
    });
    let encoder = EventEncoder::new(&cx, &resource, form)?;
    let converts = resource.def.conversion.is_some();
    let events = match cx.app.registry.watch(&cx.vcp, &resource.key(), request).await {
        Ok(events) => events,
        // Told on the stream, as upstream's cacher does.
        Err(error @ Error::Expired { .. }) => {
            return streamed(&cx, form, futures::stream::iter([encoder.error(&watch_failure(error))]));
        }
        Err(error) => return Err(failures::store(error)),
    };
    let labels = Labels::of(&cx.method, Some(&cx.info), None, false, |_| !resource.def.custom);
    let state = State {
        _running: cx.app.metrics.long_running(labels),
        events: Box::pin(events),
        deadline: Instant::now() + timeout,
        shutdown: cx.app.shutdown.clone(),
        selection,
        resource,
        encoder,
        // Kept only where it is needed, for as long as the watch lasts.
        converting: converts.then(|| cx.clone()),
        ended: false,
    };
    streamed(&cx, form, futures::stream::unfold(state, State::next))
}

fn streamed(
    cx: &Cx,
    form: Form,
    chunks: impl Stream<Item = Bytes> + Send + 'static,
) -> Result<Answer, Status> {
    if websocket::asked(&cx.headers) {
        return websocket::answer(cx, form.media, chunks);
    }
    let mut response = Response::new(body::stream(chunks));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(form.media.stream_content_type()));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    Ok(response)
}

fn watch_failure(error: Error) -> Status {
    match error {
        Error::Expired { requested, oldest } => {
            Status::expired(format!("too old resource version: {requested} ({oldest})"))
        }
        other => failures::store(other),
    }
}

struct State<S> {
    /// Counted while it lasts.
    _running: LongRunning,
    events: std::pin::Pin<Box<S>>,
    deadline: Instant,
    shutdown: tokio_util::sync::CancellationToken,
    selection: Selection,
    resource: Resource,
    encoder: EventEncoder,
    converting: Option<Arc<Cx>>,
    ended: bool,
}

impl<S: Stream<Item = Result<WatchItem, Error>> + Send> State<S> {
    /// The next chunk: the next event, and those that are ready behind it.
    async fn next(mut self) -> Option<(Bytes, Self)> {
        if self.ended {
            return None;
        }
        let mut out = Vec::new();
        loop {
            let item = tokio::select! {
                biased;
                () = self.shutdown.cancelled() => return None,
                item = self.events.next() => item?,
                () = tokio::time::sleep_until(self.deadline) => return None,
            };
            self.write(item, &mut out).await;
            for _ in 0..BATCH {
                match self.events.next().now_or_never() {
                    Some(Some(item)) if !self.ended => self.write(item, &mut out).await,
                    _ => break,
                }
            }
            if !out.is_empty() {
                return Some((out.into(), self));
            }
            if self.ended {
                return None;
            }
        }
    }

    async fn write(&mut self, item: Result<WatchItem, Error>, out: &mut Vec<u8>) {
        if matches!(item, Err(Error::TooSlow)) {
            // Upstream closes such a watch without a word: the client begins again where it was.
            self.ended = true;
            return;
        }
        let item = match item.map_err(watch_failure) {
            Ok(item) => self.convert(item).await,
            Err(status) => Err(status),
        };
        if let Err(status) = item.and_then(|item| self.try_write(item, out)) {
            out.extend_from_slice(&self.encoder.error(&status));
            self.ended = true;
        }
    }

    /// The objects of an event in the version of the watch, where a webhook converts them.
    async fn convert(&self, item: WatchItem) -> Result<WatchItem, Status> {
        let Some(cx) = &self.converting else { return Ok(item) };
        let WatchItem::Event { kind, object, previous } = item else { return Ok(item) };
        let mut objects = vec![object];
        objects.extend(previous);
        let shown = crate::custom::conversion::show(cx, &self.resource, objects).await?;
        let mut shown = shown.into_iter();
        match shown.next() {
            Some(object) => Ok(WatchItem::Event { kind, object, previous: shown.next() }),
            None => Err(Status::internal("a converted object is missing")),
        }
    }

    fn try_write(&mut self, item: WatchItem, out: &mut Vec<u8>) -> Result<(), Status> {
        match item {
            WatchItem::Bookmark { revision, initial_events_end } => {
                self.encoder.bookmark(revision, initial_events_end, out)
            }
            WatchItem::Event { kind, object, previous } => {
                let now =
                    self.selection.is_everything() || self.selection.matches(&self.resource, &object)?;
                let before = match (&previous, kind) {
                    (_, EventKind::Added) => false,
                    (_, EventKind::Deleted) => now,
                    (Some(_), _) if self.selection.is_everything() => true,
                    (Some(previous), _) => self.selection.matches(&self.resource, previous)?,
                    (None, _) => now,
                };
                // What enters a selection is added, what leaves it is deleted.
                let event = match (before, now && kind != EventKind::Deleted) {
                    (false, true) => EventType::Added,
                    (true, true) => EventType::Modified,
                    (true, false) => EventType::Deleted,
                    (false, false) => return Ok(()),
                };
                // What is shown of a deleted object is its last state, at the revision of the deletion.
                let shown = match (event, kind, &previous) {
                    (EventType::Deleted, EventKind::Modified, Some(previous)) => {
                        previous.at(object.revision())
                    }
                    _ => object,
                };
                self.encoder.event(event, &shown, out)
            }
        }
    }
}
