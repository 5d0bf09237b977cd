//! A watch of etcd: one task that mends its connection, resuming after the last revision it sent,
//! and puts together what etcd sends in pieces.

use std::time::Duration;

use etcd_client::proto::{PbEvent, PbWatchResponse};
use etcd_client::{Client, GetOptions, KvClient, WatchOptions, WatchRequestSender};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::errors::{self, Kind};
use super::{PROBE, convert};
use crate::{
    Error, Event, EventKind, KeyValue, Result, Revision, WatchEvent, WatchHandle, WatchRequest, WatchStream,
};

const BUFFERED: usize = 128;
/// How soon a progress request is repeated: etcd does not answer it while the watch catches up.
const ASK_AGAIN: Duration = Duration::from_millis(100);
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

pub(super) fn start(
    client: Client,
    kv: KvClient,
    request: WatchRequest,
    next: Revision,
    closed: watch::Receiver<bool>,
) -> WatchStream {
    let (sender, receiver) = mpsc::channel(BUFFERED);
    let handle = WatchHandle::default();
    let watcher = Watcher {
        client,
        kv,
        request,
        next,
        sent: 0,
        partial: Vec::new(),
        asked: Asked::Nothing,
        sender,
        handle: handle.clone(),
    };
    tokio::spawn(watcher.run(closed));
    WatchStream::new(receiver, handle)
}

struct Watcher {
    client: Client,
    kv: KvClient,
    request: WatchRequest,
    /// The first revision not yet sent.
    next: Revision,
    /// The revision last sent.
    sent: Revision,
    /// Events of a response that comes in fragments.
    partial: Vec<PbEvent>,
    asked: Asked,
    sender: mpsc::Sender<Result<WatchEvent>>,
    handle: WatchHandle,
}

/// What of its progress the reader waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    Nothing,
    /// Something as new as the store at the time of asking; not yet known what that is.
    Now,
    /// This revision or a later one.
    At(Revision),
}

/// Why a connection's turn is over.
enum Over {
    /// Connect again.
    Broken(String),
    /// The watch ends, with this for the reader.
    Failed(Error),
    /// Nobody reads any more.
    Gone,
}

impl Watcher {
    async fn run(mut self, mut closed: watch::Receiver<bool>) {
        let sender = self.sender.clone();
        tokio::select! {
            () = self.watch() => {}
            () = sender.closed() => {}
            () = is_closed(&mut closed) => {
                let error = Error::Unavailable("the store is closed".into());
                let _ = sender.send(Err(error)).await;
            }
        }
    }

    async fn watch(&mut self) {
        let mut pause = FIRST_PAUSE;
        loop {
            let from = self.next;
            match self.connection().await {
                Over::Gone => return,
                Over::Failed(error) => {
                    let _ = self.sender.send(Err(error)).await;
                    return;
                }
                Over::Broken(why) => {
                    tracing::debug!(revision = self.next, why, "a watch of etcd connects again");
                }
            }
            self.partial.clear();
            if self.next != from {
                pause = FIRST_PAUSE;
            }
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Watches over one connection until it breaks.
    async fn connection(&mut self) -> Over {
        let options = WatchOptions::new()
            .with_range(convert::range_end(&self.request.end))
            .with_start_revision(self.next as i64)
            .with_prev_key()
            .with_fragment();
        let mut client = self.client.watch_client().max_decoding_message_size(super::MESSAGE_BYTES);
        let start = convert::range_start(&self.request.start);
        let connecting = timeout(CONNECT_WITHIN, client.watch(start, Some(options))).await;
        let (mut requests, mut responses) = match connecting {
            Err(_) => return Over::Broken("no answer".into()),
            Ok(Err(error)) => return over(errors::map(error, Kind::Read)),
            Ok(Ok(stream)) => stream.split(),
        };
        let mut ask_at = match self.asked {
            Asked::Nothing => None,
            _ => Some(Instant::now()),
        };
        let mut target = std::pin::pin!(current_revision(self.kv.clone()));
        let mut target_wanted = self.asked == Asked::Now;
        loop {
            tokio::select! {
                biased;
                revision = &mut target, if target_wanted => {
                    target_wanted = false;
                    match revision {
                        Ok(revision) => self.asked = Asked::At(revision),
                        Err(error) => return over(error),
                    }
                    // What arrived meanwhile may have been enough, but ask again: it is cheap.
                    ask_at = Some(Instant::now());
                }
                response = responses.message() => {
                    let response = match response {
                        Ok(Some(response)) => response.0,
                        Ok(None) => return Over::Broken("the stream ended".into()),
                        Err(error) => return over(errors::map(error, Kind::Read)),
                    };
                    if let Err(over) = self.response(response).await {
                        return over;
                    }
                    if self.asked == Asked::Nothing {
                        ask_at = None;
                    }
                }
                () = self.handle.requested() => {
                    // A later question asks for a later revision.
                    self.asked = Asked::Now;
                    target.set(current_revision(self.kv.clone()));
                    target_wanted = true;
                    if let Err(over) = ask(&mut requests).await {
                        return over;
                    }
                    ask_at = Some(Instant::now() + ASK_AGAIN);
                }
                () = sleep_until(ask_at.unwrap_or_else(Instant::now)), if ask_at.is_some() => {
                    if let Err(over) = ask(&mut requests).await {
                        return over;
                    }
                    ask_at = Some(Instant::now() + ASK_AGAIN);
                }
            }
        }
    }

    async fn response(&mut self, response: PbWatchResponse) -> Result<(), Over> {
        if response.compact_revision > 0 {
            return Err(Over::Failed(Error::Compacted {
                compact_revision: response.compact_revision as Revision,
            }));
        }
        if response.canceled {
            let reason = response.cancel_reason;
            return Err(match reason.contains("permission denied") {
                true => Over::Failed(Error::Denied(reason)),
                false => Over::Broken(reason),
            });
        }
        if response.created {
            return Ok(());
        }
        if !response.events.is_empty() || !self.partial.is_empty() {
            self.partial.extend(response.events);
            if !response.fragment {
                self.events().await?;
            }
            return Ok(());
        }
        // Without events it is a report of progress.
        let Some(header) = response.header else {
            return Ok(());
        };
        let revision = header.revision as Revision;
        if matches!(self.asked, Asked::At(wanted) if wanted <= revision) {
            self.asked = Asked::Nothing;
        }
        // Another member may lag behind what an earlier one sent: progress does not go back.
        if revision >= self.sent {
            self.sent = revision;
            self.next = self.next.max(revision + 1);
            self.send(WatchEvent::Progress(revision)).await?;
        }
        Ok(())
    }

    /// Sends the events that have come, by revision.
    async fn events(&mut self) -> Result<(), Over> {
        let mut revision = 0;
        let mut events = Vec::new();
        for event in std::mem::take(&mut self.partial) {
            let event = convert_event(event).map_err(Over::Failed)?;
            let at = event.kv.mod_revision;
            if at < self.next {
                continue;
            }
            if at != revision {
                self.send_events(revision, std::mem::take(&mut events)).await?;
                revision = at;
            }
            events.push(event);
        }
        self.send_events(revision, events).await
    }

    async fn send_events(&mut self, revision: Revision, events: Vec<Event>) -> Result<(), Over> {
        if events.is_empty() {
            return Ok(());
        }
        self.send(WatchEvent::Events { revision, events }).await?;
        self.next = revision + 1;
        self.sent = revision;
        Ok(())
    }

    async fn send(&self, event: WatchEvent) -> Result<(), Over> {
        self.sender.send(Ok(event)).await.map_err(|_| Over::Gone)
    }
}

/// Waits until the store is closed, or gone, which is the same.
async fn is_closed(closed: &mut watch::Receiver<bool>) {
    let _ = closed.wait_for(|closed| *closed).await;
}

async fn ask(requests: &mut WatchRequestSender) -> Result<(), Over> {
    requests.request_progress().await.map_err(|error| Over::Broken(error.to_string()))
}

async fn current_revision(mut kv: KvClient) -> Result<Revision> {
    let options = GetOptions::new().with_count_only();
    let got = timeout(CONNECT_WITHIN, kv.get(PROBE, Some(options)))
        .await
        .map_err(|_| Error::Unavailable("etcd did not answer in time".into()))?
        .map_err(|error| errors::map(error, Kind::Read))?;
    convert::revision(got.0.header.as_ref())
}

fn over(error: Error) -> Over {
    match error {
        Error::Unavailable(why) | Error::UnknownOutcome(why) => Over::Broken(why),
        error => Over::Failed(error),
    }
}

fn convert_event(event: PbEvent) -> Result<Event> {
    let kv = event.kv.ok_or_else(|| Error::Corrupt("etcd sent an event without a key".into()))?;
    let kv = convert::key_value(kv);
    // 0 is a put and 1 a deletion.
    let (kind, kv) = match event.r#type {
        0 => (EventKind::Put, kv),
        1 => {
            let gone = KeyValue { key: kv.key, mod_revision: kv.mod_revision, ..Default::default() };
            (EventKind::Delete, gone)
        }
        other => return Err(Error::Corrupt(format!("etcd sent an event of kind {other}"))),
    };
    Ok(Event { kind, kv, prev_kv: event.prev_kv.map(convert::key_value) })
}
