//! Turns at the processor. Seats say how many requests are being answered; turns say which of them runs next, so that one
//! control plane with hundreds of them does not stand before another's only one.
//!
//! Each request is polled under a turn, of which there are about as many as threads; so is each connection of HTTP/2, whose
//! frames are work before there is a request. What is woken while all turns are taken waits in the line of its control plane,
//! and the next turn goes to the control plane that has used the least time (start-time fair queuing). So the runtime's own
//! queue, which knows no control planes, holds only those whose turn it is.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Instant;

use futures::task::AtomicWaker;
use kplane_registry::VcpId;

/// Nothing to do until it is woken.
const IDLE: u8 = 0;
/// It waits in line.
const QUEUED: u8 = 1;
/// It has a turn, and has not taken it yet.
const GIVEN: u8 = 2;
/// It is polled at this moment.
const RUNNING: u8 = 3;
/// It is polled, and was woken meanwhile.
const AGAIN: u8 = 4;

/// Whose turn it is.
#[derive(Debug)]
pub struct Turns {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    free: usize,
    /// The time at which the control plane that was served last stands.
    clock: u64,
    lines: HashMap<VcpId, Line>,
    /// Those in whose lines somebody waits, by what they have used.
    waiting: BTreeSet<(u64, VcpId)>,
}

/// A control plane with requests or connections here.
#[derive(Debug, Default)]
struct Line {
    /// Nanoseconds it has used.
    used: u64,
    requests: usize,
    waiting: VecDeque<Arc<Slot>>,
}

/// A request, as what wakes it knows it.
#[derive(Debug)]
struct Slot {
    turns: Arc<Turns>,
    vcp: VcpId,
    /// Read and written under the lock of the turns alone.
    status: AtomicU8,
    /// The task that polls it.
    task: AtomicWaker,
}

impl Slot {
    fn status(&self) -> u8 {
        self.status.load(Ordering::Relaxed)
    }

    fn set(&self, status: u8) {
        self.status.store(status, Ordering::Relaxed);
    }
}

/// Instead of waking the task: it is woken when it is its turn.
impl Wake for Slot {
    fn wake(self: Arc<Self>) {
        let mut given = Vec::new();
        let mut state = self.turns.lock();
        match self.status() {
            IDLE => {
                state.queue(&self);
                state.give(&mut given);
            }
            RUNNING => self.set(AGAIN),
            _ => {}
        }
        drop(state);
        wake_all(given);
    }
}

fn wake_all(given: Vec<Arc<Slot>>) {
    for slot in given {
        slot.task.wake();
    }
}

impl Turns {
    /// As many turns as this.
    pub fn new(turns: usize) -> Arc<Self> {
        let state = State { free: turns.max(1), clock: 0, lines: HashMap::new(), waiting: BTreeSet::new() };
        Arc::new(Self { state: Mutex::new(state) })
    }

    /// A future that runs in turns.
    pub fn share<F: Future>(self: &Arc<Self>, vcp: VcpId, future: F) -> Shared<F> {
        let slot = self.slot(vcp);
        let waker = Waker::from(slot.clone());
        Shared { inner: Box::pin(future), slot: Ticket(slot), waker, begun: false }
    }

    /// A future that runs in turns: in those of whoever it belongs to at the moment.
    pub fn follow<F, O>(self: &Arc<Self>, owner: O, future: F) -> Following<F, O>
    where
        F: Future,
        O: Fn() -> VcpId + Unpin,
    {
        Following { shared: self.share(owner(), future), owner }
    }

    fn slot(self: &Arc<Self>, vcp: VcpId) -> Arc<Slot> {
        self.lock().lines.entry(vcp).or_default().requests += 1;
        let (status, task) = (AtomicU8::new(IDLE), AtomicWaker::new());
        Arc::new(Slot { turns: self.clone(), vcp, status, task })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    fn is_idle(&self) -> bool {
        let state = self.lock();
        state.lines.is_empty() && state.waiting.is_empty()
    }
}

impl State {
    fn queue(&mut self, slot: &Arc<Slot>) {
        let Some(line) = self.lines.get_mut(&slot.vcp) else { return };
        slot.set(QUEUED);
        if line.waiting.is_empty() {
            // Time that was not used is not saved up.
            line.used = line.used.max(self.clock);
            self.waiting.insert((line.used, slot.vcp));
        }
        line.waiting.push_back(slot.clone());
    }

    /// Gives free turns to those who wait, the control plane that has used the least first.
    fn give(&mut self, given: &mut Vec<Arc<Slot>>) {
        while self.free > 0 {
            let Some((used, vcp)) = self.waiting.pop_first() else { return };
            let Some(line) = self.lines.get_mut(&vcp) else { continue };
            let Some(slot) = line.waiting.pop_front() else { continue };
            if !line.waiting.is_empty() {
                self.waiting.insert((used, vcp));
            }
            self.clock = self.clock.max(used);
            self.free -= 1;
            slot.set(GIVEN);
            given.push(slot);
        }
    }

    /// Counts time that was used.
    fn charge(&mut self, vcp: VcpId, nanoseconds: u64) {
        let Some(line) = self.lines.get_mut(&vcp) else { return };
        let before = line.used;
        line.used = before.saturating_add(nanoseconds);
        if self.waiting.remove(&(before, vcp)) {
            self.waiting.insert((line.used, vcp));
        }
    }

    /// One less in a line, which may stand in it.
    fn leave(&mut self, slot: &Arc<Slot>) {
        let Some(line) = self.lines.get_mut(&slot.vcp) else { return };
        if slot.status() == QUEUED {
            line.waiting.retain(|other| !Arc::ptr_eq(other, slot));
            if line.waiting.is_empty() {
                self.waiting.remove(&(line.used, slot.vcp));
            }
        }
        line.requests -= 1;
        if line.requests == 0 {
            self.lines.remove(&slot.vcp);
        }
    }
}

/// See [`Turns::share`].
#[derive(Debug)]
pub struct Shared<F> {
    inner: Pin<Box<F>>,
    slot: Ticket,
    waker: Waker,
    begun: bool,
}

/// A request's place here, until it is done.
#[derive(Debug)]
struct Ticket(Arc<Slot>);

impl Ticket {
    /// Whether the turn is ours now.
    fn take(&self, first: bool) -> bool {
        let mut given = Vec::new();
        let mut state = self.0.turns.lock();
        if first {
            state.queue(&self.0);
            state.give(&mut given);
        }
        let ours = self.0.status() == GIVEN;
        if ours {
            self.0.set(RUNNING);
        }
        drop(state);
        given.retain(|slot| !Arc::ptr_eq(slot, &self.0));
        wake_all(given);
        ours
    }

    /// Gives the turn back after this much time, and stands in line anew if it was woken meanwhile.
    fn give_back(&self, nanoseconds: u64) {
        let mut given = Vec::new();
        let mut state = self.0.turns.lock();
        state.free += 1;
        state.charge(self.0.vcp, nanoseconds);
        if self.0.status() == AGAIN {
            state.queue(&self.0);
        } else {
            self.0.set(IDLE);
        }
        state.give(&mut given);
        drop(state);
        wake_all(given);
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut given = Vec::new();
        let mut state = self.0.turns.lock();
        state.leave(&self.0);
        if self.0.status() == GIVEN {
            state.free += 1;
        }
        // Whatever still holds its waker must not queue it again.
        self.0.set(GIVEN);
        state.give(&mut given);
        drop(state);
        wake_all(given);
    }
}

impl<F> Shared<F> {
    /// From now on it runs in the turns of another.
    fn move_to(&mut self, vcp: VcpId) {
        // It is polled under the new turn before long, and then known by its new waker.
        let slot = self.slot.0.turns.slot(vcp);
        self.waker = Waker::from(slot.clone());
        self.slot = Ticket(slot);
        self.begun = false;
    }
}

impl<F: Future> Future for Shared<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        this.slot.0.task.register(cx.waker());
        let first = !std::mem::replace(&mut this.begun, true);
        if !this.slot.take(first) {
            return Poll::Pending;
        }
        // Also when the request panics, or its turn would be lost.
        let _turn = Turn { ticket: &this.slot, started: Instant::now() };
        this.inner.as_mut().poll(&mut Context::from_waker(&this.waker))
    }
}

/// See [`Turns::follow`].
#[derive(Debug)]
pub struct Following<F, O> {
    shared: Shared<F>,
    owner: O,
}

impl<F: Future, O: Fn() -> VcpId + Unpin> Future for Following<F, O> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let owner = (self.owner)();
        if self.shared.slot.0.vcp != owner {
            self.shared.move_to(owner);
        }
        Pin::new(&mut self.shared).poll(cx)
    }
}

struct Turn<'a> {
    ticket: &'a Ticket,
    started: Instant,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let elapsed = self.started.elapsed().as_nanos();
        self.ticket.give_back(u64::try_from(elapsed).unwrap_or(u64::MAX));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::time::Duration;

    use super::*;

    fn vcp(n: u8) -> VcpId {
        VcpId::parse(&format!("00000000-0000-4000-8000-0000000000{n:02}")).expect("a uid")
    }

    fn work(time: Duration) {
        let started = Instant::now();
        while started.elapsed() < time {
            std::hint::spin_loop();
        }
    }

    #[tokio::test]
    async fn one_request_does_not_wait_behind_a_hundred_of_another() {
        let turns = Turns::new(1);
        let mut flood = Vec::new();
        for _ in 0..100 {
            flood.push(tokio::spawn(turns.share(vcp(1), async {
                for _ in 0..20 {
                    work(Duration::from_micros(200));
                    crate::heavy::give_way().await;
                }
                Instant::now()
            })));
        }
        tokio::task::yield_now().await;
        let started = Instant::now();
        let quiet = tokio::spawn(turns.share(vcp(2), async {
            for _ in 0..5 {
                work(Duration::from_micros(10));
                crate::heavy::give_way().await;
            }
            Instant::now()
        }));
        let quiet = quiet.await.expect("the quiet one ends");
        let mut last = started;
        for task in flood {
            last = last.max(task.await.expect("the flood ends"));
        }
        // Without turns it would end among the others, after about a fourth of their time.
        assert!((quiet - started) * 8 < last - started, "{:?} of {:?}", quiet - started, last - started);
        assert!(turns.is_idle());
    }

    #[tokio::test]
    async fn what_changes_hands_is_borne_by_its_new_owner() {
        let turns = Turns::new(1);
        let owner = Arc::new(Mutex::new(vcp(1)));
        let steps = Arc::new(AtomicUsize::new(0));
        let mut flood = Vec::new();
        for _ in 0..20 {
            let (owner, steps) = (owner.clone(), steps.clone());
            let whose = move || *owner.lock().expect("an owner");
            flood.push(tokio::spawn(turns.follow(whose, async move {
                for _ in 0..20 {
                    work(Duration::from_micros(200));
                    steps.fetch_add(1, Ordering::Relaxed);
                    tokio::task::yield_now().await;
                }
            })));
        }
        tokio::task::yield_now().await;
        *owner.lock().expect("an owner") = vcp(2);
        // Whose it was waits no longer than for what is under way.
        for _ in 0..5 {
            turns.share(vcp(1), async { work(Duration::from_micros(10)) }).await;
            tokio::task::yield_now().await;
        }
        let before = steps.load(Ordering::Relaxed);
        assert!(before < 200, "{before} of 400 steps came first");
        for task in flood {
            task.await.expect("the flood ends");
        }
        assert_eq!(steps.load(Ordering::Relaxed), 400);
        assert!(turns.is_idle());
    }

    #[tokio::test]
    async fn who_was_idle_has_saved_nothing_up() {
        let turns = Turns::new(1);
        // Both have a connection here all the time; only one uses it.
        let (idle, busy) = (turns.share(vcp(1), std::future::pending::<()>()), vcp(2));
        let kept = turns.share(busy, std::future::pending::<()>());
        for _ in 0..5 {
            turns.share(busy, async { work(Duration::from_millis(2)) }).await;
        }
        turns.share(vcp(1), async {}).await;
        let used = |vcp: VcpId| turns.lock().lines.get(&vcp).map(|line| line.used);
        let (idle_used, busy_used) = (used(vcp(1)), used(busy));
        assert!(idle_used > Some(0) && idle_used < busy_used, "{idle_used:?} {busy_used:?}");
        drop((idle, kept));
        assert!(turns.is_idle());
    }

    #[tokio::test]
    async fn those_who_leave_lose_no_turn() {
        let turns = Turns::new(1);
        let mut tasks = Vec::new();
        for n in 0..50 {
            let task = tokio::spawn(turns.share(vcp(n % 3), async {
                loop {
                    tokio::task::yield_now().await;
                }
            }));
            tasks.push(task);
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
        for task in &tasks {
            task.abort();
        }
        for task in tasks {
            assert!(task.await.is_err());
        }
        turns.share(vcp(9), async {}).await;
        assert!(turns.is_idle());
    }

    #[tokio::test]
    async fn a_panic_gives_its_turn_back() {
        let turns = Turns::new(1);
        let shared = turns.share(vcp(1), async { panic!("on purpose") });
        assert!(tokio::spawn(shared).await.is_err());
        turns.share(vcp(1), async {}).await;
        assert!(turns.is_idle());
    }
}
