//! The connections that are open, and which of them are given up so that nobody takes them all:
//!
//! - one that is idle for long, or whose client does not take the answers it asked for;
//! - one whose client begins requests and gives them up by the thousand;
//! - when there are too many, the idle ones of whoever has the most.
//!
//! A connection belongs to the control plane that its last authenticated request was for; until then to its address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;
use kplane_registry::VcpId;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::body::Body;

/// How long a connection may be idle, as upstream.
const IDLE: Duration = Duration::from_secs(90);
/// How long a client may not take what is there for it.
const STALLED: Duration = Duration::from_secs(60);
/// How often connections are looked at.
const SWEEP: Duration = Duration::from_secs(5);
/// How long one that is to end may take for it.
const ENDING: Duration = Duration::from_secs(10);
/// How many requests a client may give up before they are answered, within [`WINDOW`].
const ABANDONED: usize = 1000;
const WINDOW: Duration = Duration::from_secs(10);
/// Answers are handed over in pieces of this size, so that one who takes nothing leaves little in the buffers.
const PIECE: usize = 64 << 10;
/// File descriptors that are left for other things than connections.
const RESERVED: usize = 256;

/// Whose a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Owner {
    Address(IpAddr),
    ControlPlane(VcpId),
}

/// All connections of a server.
#[derive(Debug)]
pub struct Connections {
    most: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    open: HashMap<u64, Arc<Connection>>,
}

/// One connection.
#[derive(Debug)]
pub struct Connection {
    state: Mutex<Use>,
    /// It is to end when its requests are answered.
    ending: CancellationToken,
    /// It is to end now.
    ended: CancellationToken,
}

/// What is going on at a connection.
#[derive(Debug)]
struct Use {
    owner: Owner,
    next: u64,
    /// Requests: since when a piece of the answer waits to be taken, if one does.
    requests: HashMap<u64, Option<Instant>>,
    /// When the last one was over.
    used: Instant,
    /// Requests given up by the client since `window` began.
    abandoned: usize,
    window: Instant,
    /// When it was told to end.
    told: Option<Instant>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A connection's place among the others, until it is dropped.
#[derive(Debug)]
pub struct Place {
    all: Arc<Connections>,
    id: u64,
    connection: Arc<Connection>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = lock(&self.all.state);
        state.open.remove(&self.id);
        if state.open.is_empty() {
            state.open.shrink_to_fit();
        }
    }
}

impl Place {
    /// The connection.
    pub fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }
}

/// As many connections as the process may have files open, but for some.
pub fn most_by_files() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    let soft = line.and_then(|line| line.split_whitespace().next()).and_then(|text| text.parse().ok());
    soft.map_or(usize::MAX, |files: usize| files.saturating_sub(RESERVED).max(files / 2))
}

impl Connections {
    /// At most so many at once.
    pub fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most: most.max(1), state: Mutex::default() })
    }

    /// Takes a connection in. When there are too many, some of whoever has the most end for it: those that have been idle
    /// the longest, or without idle ones the oldest.
    pub fn enter(self: &Arc<Self>, address: IpAddr) -> Place {
        let now = Instant::now();
        let connection = Arc::new(Connection {
            state: Mutex::new(Use {
                owner: Owner::Address(address),
                next: 0,
                requests: HashMap::new(),
                used: now,
                abandoned: 0,
                window: now,
                told: None,
            }),
            ending: CancellationToken::new(),
            ended: CancellationToken::new(),
        });
        let mut state = lock(&self.state);
        if state.open.len() >= self.most {
            make_room(&state.open, self.most.div_ceil(16));
        }
        state.next += 1;
        let id = state.next;
        state.open.insert(id, connection.clone());
        Place { all: self.clone(), id, connection }
    }

    /// Ends what is idle for too long, stalled, or told to end and still there. Until the server ends.
    pub async fn run(self: Arc<Self>, shutdown: CancellationToken) {
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(SWEEP) => self.sweep(Instant::now()),
            }
        }
    }

    fn sweep(&self, now: Instant) {
        let all: Vec<Arc<Connection>> = lock(&self.state).open.values().cloned().collect();
        for connection in all {
            connection.look(now);
        }
    }
}

/// A connection that might go: whether it is in use, and since when it is not.
type Candidate<'a> = (bool, Instant, &'a Arc<Connection>);

/// Ends so many connections of whoever has the most.
fn make_room(open: &HashMap<u64, Arc<Connection>>, count: usize) {
    let mut by_owner: HashMap<Owner, Vec<Candidate<'_>>> = HashMap::new();
    for connection in open.values() {
        // Those that end already make room without more.
        if connection.ended.is_cancelled() {
            continue;
        }
        let state = lock(&connection.state);
        let entry = (!state.requests.is_empty(), state.used, connection);
        by_owner.entry(state.owner).or_default().push(entry);
    }
    let Some(mut greatest) = by_owner.into_values().max_by_key(Vec::len) else { return };
    greatest.sort_by_key(|(busy, used, _)| (*busy, *used));
    for (_, _, connection) in greatest.into_iter().take(count) {
        connection.ended.cancel();
    }
}

impl Connection {
    /// Cancelled when it is to end as soon as its requests are answered.
    pub fn ending(&self) -> &CancellationToken {
        &self.ending
    }

    /// Cancelled when it is to end at once.
    pub fn ended(&self) -> &CancellationToken {
        &self.ended
    }

    /// An authenticated request came over it, for this control plane.
    pub fn owned_by(&self, vcp: VcpId) {
        lock(&self.state).owner = Owner::ControlPlane(vcp);
    }

    /// The control plane it belongs to, if it is known.
    pub fn control_plane(&self) -> Option<VcpId> {
        match lock(&self.state).owner {
            Owner::ControlPlane(vcp) => Some(vcp),
            Owner::Address(_) => None,
        }
    }

    /// A request begins.
    pub fn begin(self: &Arc<Self>) -> Exchange {
        let mut state = lock(&self.state);
        state.next += 1;
        let id = state.next;
        state.requests.insert(id, None);
        Exchange { connection: self.clone(), id, answered: false }
    }

    fn look(&self, now: Instant) {
        let mut state = lock(&self.state);
        let since = |then: Instant| now.saturating_duration_since(then);
        if state.requests.values().flatten().any(|waits| since(*waits) >= STALLED)
            || state.told.is_some_and(|told| since(told) >= ENDING)
        {
            self.ended.cancel();
        } else if state.told.is_none() && state.requests.is_empty() && since(state.used) >= IDLE {
            state.told = Some(now);
            self.ending.cancel();
        }
    }
}

/// A request and its answer, until all of it is handed over.
#[derive(Debug)]
pub struct Exchange {
    connection: Arc<Connection>,
    id: u64,
    answered: bool,
}

impl Exchange {
    /// The body of the answer, watched while it is sent.
    pub fn answer(mut self, body: Body) -> Body {
        self.answered = true;
        self.waits(true);
        Sent { body, rest: Bytes::new(), exchange: self }.boxed_unsync()
    }

    /// Whether a piece waits to be taken from now on.
    fn waits(&self, waits: bool) {
        if let Some(since) = lock(&self.connection.state).requests.get_mut(&self.id) {
            *since = waits.then(Instant::now);
        }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let now = Instant::now();
        let mut state = lock(&self.connection.state);
        state.requests.remove(&self.id);
        state.used = now;
        if self.answered {
            return;
        }
        if now.saturating_duration_since(state.window) >= WINDOW {
            state.window = now;
            state.abandoned = 0;
        }
        state.abandoned += 1;
        if state.abandoned >= ABANDONED {
            tracing::debug!("a connection ends: its client gives up its requests");
            self.connection.ended.cancel();
        }
    }
}

/// A body in pieces, that knows since when one of them waits for the client.
struct Sent {
    body: Body,
    /// What is left of the last piece.
    rest: Bytes,
    exchange: Exchange,
}

impl http_body::Body for Sent {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if self.rest.is_empty() {
            let polled = Pin::new(&mut self.body).poll_frame(cx);
            // While there is nothing to send it is not the client who is waited for.
            self.exchange.waits(polled.is_ready());
            match std::task::ready!(polled) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.rest = data,
                    Err(other) => return Poll::Ready(Some(Ok(other))),
                },
                None => return Poll::Ready(None),
            }
        } else {
            self.exchange.waits(true);
        }
        let size = self.rest.len().min(PIECE);
        let piece = self.rest.split_to(size);
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let rest = self.rest.len() as u64;
        let mut hint = self.body.size_hint();
        if let Some(upper) = hint.upper() {
            hint.set_upper(upper + rest);
        }
        hint.set_lower(hint.lower() + rest);
        hint
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use http_body::Body as _;

    use super::*;
    use crate::body::full;

    fn address(n: u8) -> IpAddr {
        IpAddr::V4(Ipv4Addr::new(10, 0, 0, n))
    }

    async fn later(all: &Connections, seconds: u64) {
        tokio::time::advance(Duration::from_secs(seconds)).await;
        all.sweep(Instant::now());
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_connection_ends_and_one_in_use_does_not() {
        let all = Connections::new(10);
        let (idle, busy) = (all.enter(address(1)), all.enter(address(1)));
        let request = busy.connection().begin();
        later(&all, 91).await;
        assert!(idle.connection().ending().is_cancelled() && !busy.connection().ending().is_cancelled());
        assert!(!idle.connection().ended().is_cancelled());
        later(&all, 11).await;
        assert!(idle.connection().ended().is_cancelled() && !busy.connection().ended().is_cancelled());
        drop((request, idle, busy));
        assert!(lock(&all.state).open.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_take_an_answer_loses_the_connection() {
        let all = Connections::new(10);
        let place = all.enter(address(1));
        let mut body = place.connection().begin().answer(full(vec![b'x'; PIECE + 1]));
        assert_eq!(body.size_hint().exact(), Some(PIECE as u64 + 1));
        later(&all, 59).await;
        assert!(!place.connection().ended().is_cancelled());
        // A piece was taken: the time begins anew.
        let piece = body.frame().await.expect("a piece").expect("data").into_data().expect("data");
        assert_eq!((piece.len(), body.size_hint().exact(), body.is_end_stream()), (PIECE, Some(1), false));
        later(&all, 59).await;
        assert!(!place.connection().ended().is_cancelled());
        later(&all, 2).await;
        assert!(place.connection().ended().is_cancelled());
    }

    #[tokio::test(start_paused = true)]
    async fn a_quiet_watch_is_not_stalled() {
        let all = Connections::new(10);
        let place = all.enter(address(1));
        let mut body = place.connection().begin().answer(crate::body::stream(futures::stream::pending()));
        assert!(futures::poll!(body.frame()).is_pending());
        later(&all, 3600).await;
        assert!(!place.connection().ended().is_cancelled() && !place.connection().ending().is_cancelled());
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_has_the_most_makes_room() {
        let all = Connections::new(32);
        let vcp = VcpId::parse("00000000-0000-4000-8000-000000000001").expect("a uid");
        let few: Vec<_> = (0..12).map(|_| all.enter(address(1))).collect();
        let mut many = Vec::new();
        for n in 0..20 {
            tokio::time::advance(Duration::from_millis(1)).await;
            let place = all.enter(address(n));
            place.connection().owned_by(vcp);
            many.push(place);
        }
        // The oldest is in use: the next ones go.
        let request = many[0].connection().begin();
        let new = all.enter(address(1));
        let ended: Vec<bool> = many.iter().map(|place| place.connection().ended().is_cancelled()).collect();
        assert_eq!(ended.iter().filter(|ended| **ended).count(), 2);
        assert!(!ended[0] && ended[1] && ended[2]);
        assert!(few.iter().chain([&new]).all(|place| !place.connection().ended().is_cancelled()));
        drop(request);
    }

    #[tokio::test(start_paused = true)]
    async fn who_gives_up_requests_by_the_thousand_loses_the_connection() {
        let all = Connections::new(10);
        let place = all.enter(address(1));
        for n in 0..ABANDONED {
            assert!(!place.connection().ended().is_cancelled(), "{n}");
            drop(place.connection().begin());
        }
        assert!(place.connection().ended().is_cancelled());
        let slow = all.enter(address(1));
        for _ in 0..3 * ABANDONED {
            drop(slow.connection().begin());
            tokio::time::advance(Duration::from_millis(20)).await;
        }
        assert!(!slow.connection().ended().is_cancelled());
    }
}
