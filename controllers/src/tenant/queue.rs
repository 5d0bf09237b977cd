//! A queue of keys: each is there once, is worked on by one worker at a time, and waits longer after each failure.
//!
//! One control plane holds no more workers than it leaves free, so that one whose webhooks answer slowly keeps nobody else's
//! work waiting.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::future::Future;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::Error;
use crate::runtime::raw;

/// The first wait after a failure.
const FIRST: Duration = Duration::from_millis(100);
/// The first wait after someone else was faster.
const FIRST_AFTER_CONFLICT: Duration = Duration::from_millis(5);
/// The longest.
const LONGEST: Duration = Duration::from_secs(60);

/// What to do about a key that was worked on.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing.
    Done,
    /// Look again, that is all.
    After(Duration),
}

/// What identifies a piece of work.
pub trait Key: Clone + Eq + Hash + Send + Sync + std::fmt::Debug + 'static {
    /// The control plane that it is about.
    fn cluster(&self) -> &Arc<str>;
}

/// Works on keys.
pub trait Worker: Send + Sync + 'static {
    /// What identifies a piece of work.
    type Key: Key;

    /// The name in logs.
    const NAME: &'static str;

    /// The queue of this worker.
    fn queue(&self) -> &Queue<Self::Key>;

    /// How long a key that was worked on is left alone, for what comes meanwhile to be one piece of work. The same for all
    /// keys that are left alone at all.
    fn pause(&self, _key: &Self::Key) -> Option<Duration> {
        None
    }

    /// Works on one key.
    fn reconcile(&self, key: Self::Key) -> impl Future<Output = Result<Next, Error>> + Send;
}

struct State<K> {
    ready: VecDeque<K>,
    /// In `ready` or `held`.
    queued: HashSet<K>,
    running: HashSet<K>,
    /// How many keys of a control plane are in `running`, where there are any.
    busy: HashMap<Arc<str>, usize>,
    /// What was ready while its control plane held enough workers; there is something only of those in `busy`.
    held: VecDeque<(Arc<str>, VecDeque<K>)>,
    /// How many keys are worked on at once.
    workers: usize,
    /// Came again while running.
    again: HashSet<K>,
    delayed: BTreeMap<Instant, Vec<K>>,
    /// When each in `delayed` is due: a key is there once, at the earliest time that was asked for.
    due: HashMap<K, Instant>,
    failures: HashMap<K, u32>,
    /// Until when those that were worked on are left alone.
    paused: HashMap<K, Instant>,
    /// The same, in the order in which they end.
    pauses: VecDeque<(Instant, K)>,
}

/// A queue of keys.
pub struct Queue<K> {
    state: Mutex<State<K>>,
    changed: Notify,
}

impl<K> Default for Queue<K> {
    fn default() -> Self {
        Self {
            state: Mutex::new(State {
                ready: VecDeque::new(),
                queued: HashSet::new(),
                running: HashSet::new(),
                busy: HashMap::new(),
                held: VecDeque::new(),
                workers: usize::MAX,
                again: HashSet::new(),
                delayed: BTreeMap::new(),
                due: HashMap::new(),
                failures: HashMap::new(),
                paused: HashMap::new(),
                pauses: VecDeque::new(),
            }),
            changed: Notify::new(),
        }
    }
}

impl<K: Key> State<K> {
    /// Forgets the pauses that have ended.
    fn end_pauses(&mut self, now: Instant) {
        while let Some((until, _)) = self.pauses.front()
            && *until <= now
        {
            if let Some((until, ended)) = self.pauses.pop_front()
                && self.paused.get(&ended) == Some(&until)
            {
                self.paused.remove(&ended);
            }
        }
    }

    /// Until when a key is left alone, if it is.
    fn paused(&self, key: &K, now: Instant) -> Option<Instant> {
        self.paused.get(key).copied().filter(|until| *until > now)
    }

    /// Whether a control plane may have a worker more: it holds fewer than are free.
    fn may_run(&self, cluster: &Arc<str>) -> bool {
        let free = self.workers.saturating_sub(self.running.len());
        self.busy.get(cluster).is_none_or(|busy| *busy < free)
    }

    /// The next key that may run: of those that had to wait, then of the others.
    fn pick(&mut self) -> Option<K> {
        if let Some(at) = self.held.iter().position(|(cluster, _)| self.may_run(cluster))
            && let Some((cluster, mut keys)) = self.held.remove(at)
        {
            let key = keys.pop_front();
            if !keys.is_empty() {
                // Behind the others that wait.
                self.held.push_back((cluster, keys));
            }
            if key.is_some() {
                return key;
            }
        }
        while let Some(key) = self.ready.pop_front() {
            let cluster = key.cluster();
            if self.may_run(cluster) {
                return Some(key);
            }
            match self.held.iter_mut().find(|(of, _)| of == cluster) {
                Some((_, keys)) => keys.push_back(key),
                None => self.held.push_back((cluster.clone(), VecDeque::from([key]))),
            }
        }
        None
    }
}

impl<K: Key> Queue<K> {
    fn lock(&self) -> MutexGuard<'_, State<K>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a key, to be worked on as soon as possible.
    pub fn add(&self, key: K) {
        let mut state = self.lock();
        if state.running.contains(&key) {
            state.again.insert(key);
        } else if let Some(until) = state.paused(&key, Instant::now()) {
            drop(state);
            self.add_at(key, until);
        } else if state.queued.insert(key.clone()) {
            state.ready.push_back(key);
            drop(state);
            self.changed.notify_one();
        }
    }

    /// Adds a key after a while.
    pub fn add_after(&self, key: K, wait: Duration) {
        self.add_at(key, Instant::now() + wait);
    }

    /// Leaves a key that was worked on alone for a while.
    fn pause(&self, key: &K, wait: Duration) {
        let until = Instant::now() + wait;
        let mut state = self.lock();
        state.paused.insert(key.clone(), until);
        state.pauses.push_back((until, key.clone()));
    }

    fn add_at(&self, key: K, at: Instant) {
        let mut state = self.lock();
        if let Some(known) = state.due.get(&key).copied() {
            if known <= at {
                return;
            }
            if let Some(keys) = state.delayed.get_mut(&known) {
                keys.retain(|k| *k != key);
                if keys.is_empty() {
                    state.delayed.remove(&known);
                }
            }
        }
        state.due.insert(key.clone(), at);
        state.delayed.entry(at).or_default().push(key);
        drop(state);
        self.changed.notify_one();
    }

    /// Takes a key that is due, or says when the next will be.
    fn take(&self) -> Result<K, Option<Instant>> {
        let mut state = self.lock();
        let now = Instant::now();
        state.end_pauses(now);
        while let Some(entry) = state.delayed.first_entry() {
            if *entry.key() > now {
                break;
            }
            for key in entry.remove() {
                state.due.remove(&key);
                if state.running.contains(&key) {
                    state.again.insert(key);
                } else if state.queued.insert(key.clone()) {
                    state.ready.push_back(key);
                }
            }
        }
        match state.pick() {
            Some(key) => {
                state.queued.remove(&key);
                state.running.insert(key.clone());
                *state.busy.entry(key.cluster().clone()).or_insert(0) += 1;
                if !state.ready.is_empty() || !state.held.is_empty() {
                    drop(state);
                    self.changed.notify_one();
                }
                Ok(key)
            }
            None => {
                if state.running.is_empty() && state.queued.is_empty() && state.failures.is_empty() {
                    // After a burst the room it took is given back.
                    state.ready.shrink_to(64);
                    state.queued.shrink_to(64);
                    state.running.shrink_to(64);
                    state.busy.shrink_to(64);
                    state.again.shrink_to(64);
                    state.failures.shrink_to(64);
                    state.paused.shrink_to(64);
                    state.pauses.shrink_to(64);
                    let kept = state.delayed.len();
                    state.due.shrink_to(kept.max(64));
                }
                Err(state.delayed.first_key_value().map(|(at, _)| *at))
            }
        }
    }

    /// Waits for a key that is due.
    async fn next(&self) -> K {
        loop {
            match self.take() {
                Ok(key) => return key,
                Err(None) => self.changed.notified().await,
                Err(Some(at)) => {
                    tokio::select! {
                        () = self.changed.notified() => {}
                        () = tokio::time::sleep_until(at) => {}
                    }
                }
            }
        }
    }

    /// Notes the end of the work on a key, and after a failure the first wait. Answers the wait that it brought.
    fn finished(&self, key: &K, failure: Option<Duration>) -> Option<Duration> {
        let mut state = self.lock();
        if state.running.remove(key)
            && let Some(busy) = state.busy.get_mut(key.cluster())
        {
            *busy -= 1;
            if *busy == 0 {
                state.busy.remove(key.cluster());
            }
        }
        let again = state.again.remove(key);
        let wait = if let Some(first) = failure {
            let count = state.failures.entry(key.clone()).or_insert(0);
            let wait = first.saturating_mul(1 << (*count).min(16)).min(LONGEST);
            *count = count.saturating_add(1);
            Some(wait)
        } else {
            state.failures.remove(key);
            None
        };
        drop(state);
        match wait {
            Some(wait) => self.add_after(key.clone(), wait),
            None if again => self.add(key.clone()),
            None => {}
        }
        wait
    }
}

/// Works on the queue of a worker until `shutdown`, on so many keys at once.
pub async fn work<W: Worker>(worker: Arc<W>, concurrency: usize, shutdown: &CancellationToken) {
    let mut tasks = tokio::task::JoinSet::new();
    worker.queue().lock().workers = concurrency.max(1);
    for _ in 0..concurrency.max(1) {
        let (worker, shutdown) = (worker.clone(), shutdown.clone());
        tasks.spawn(async move {
            loop {
                let key = tokio::select! {
                    () = shutdown.cancelled() => return,
                    key = worker.queue().next() => key,
                };
                let result = worker.reconcile(key.clone()).await;
                let failure = result.as_ref().err().map(|error| match error {
                    Error::Kube(error) if raw::is_conflict(error) => FIRST_AFTER_CONFLICT,
                    _ => FIRST,
                });
                if let (None, Some(pause)) = (failure, worker.pause(&key)) {
                    worker.queue().pause(&key, pause);
                }
                let wait = worker.queue().finished(&key, failure);
                match result {
                    Ok(Next::Done) => {}
                    Ok(Next::After(wait)) => worker.queue().add_after(key, wait),
                    // Someone else was faster: the next look reads it anew.
                    Err(Error::Kube(error)) if raw::is_conflict(&error) => {
                        tracing::debug!(worker = W::NAME, ?key, %error, ?wait, "changed meanwhile");
                    }
                    Err(error) => {
                        tracing::warn!(worker = W::NAME, ?key, %error, ?wait, "could not reconcile");
                    }
                }
            }
        });
    }
    while let Some(result) = tasks.join_next().await {
        if let Err(error) = result {
            tracing::error!(worker = W::NAME, %error, "a worker ended");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Key for i32 {
        fn cluster(&self) -> &Arc<str> {
            static ONE: std::sync::LazyLock<Arc<str>> = std::sync::LazyLock::new(|| "one".into());
            &ONE
        }
    }

    /// A piece of work that never ends in control planes whose name begins with `slow`.
    #[derive(Clone, Debug, PartialEq, Eq, Hash)]
    struct Piece(Arc<str>, u32);

    impl Key for Piece {
        fn cluster(&self) -> &Arc<str> {
            &self.0
        }
    }

    #[derive(Default)]
    struct Stuck {
        queue: Queue<Piece>,
        done: Mutex<Vec<Piece>>,
    }

    impl Worker for Stuck {
        type Key = Piece;
        const NAME: &'static str = "stuck";

        fn queue(&self) -> &Queue<Piece> {
            &self.queue
        }

        async fn reconcile(&self, key: Piece) -> Result<Next, Error> {
            if key.0.starts_with("slow") {
                tokio::time::sleep(Duration::from_secs(30)).await;
            }
            self.done.lock().unwrap().push(key);
            Ok(Next::Done)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn slow_control_planes_leave_workers_to_others() {
        let stuck = Arc::new(Stuck::default());
        let shutdown = CancellationToken::new();
        for number in 0..100 {
            stuck.queue.add(Piece("slow".into(), number));
            stuck.queue.add(Piece("slow-too".into(), number));
        }
        for number in 0..10 {
            stuck.queue.add(Piece("quick".into(), number));
        }
        let working = tokio::spawn({
            let (stuck, shutdown) = (stuck.clone(), shutdown.clone());
            async move { work(stuck, 8, &shutdown).await }
        });
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(stuck.done.lock().unwrap().len(), 10, "the quick ones alone");
        {
            let state = stuck.queue.lock();
            let mut busy: Vec<usize> = state.busy.values().copied().collect();
            busy.sort_unstable();
            assert_eq!(busy, [3, 3]);
        }
        // Nothing of the slow ones is forgotten: some are done each half minute.
        tokio::time::sleep(Duration::from_secs(3600)).await;
        assert_eq!(stuck.done.lock().unwrap().len(), 210);
        {
            let state = stuck.queue.lock();
            assert!(state.busy.is_empty() && state.held.is_empty() && state.queued.is_empty());
        }
        shutdown.cancel();
        working.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_is_there_once_and_comes_again_when_it_was_added_while_running() {
        let queue = Queue::default();
        queue.add(1);
        queue.add(1);
        queue.add(2);
        assert_eq!(queue.take(), Ok(1));
        queue.add(1);
        assert_eq!(queue.take(), Ok(2));
        assert_eq!(queue.take(), Err(None));
        queue.finished(&1, None);
        assert_eq!(queue.take(), Ok(1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_that_waits_is_there_once_at_the_earliest_time() {
        let queue = Queue::default();
        queue.add_after(1, Duration::from_secs(10));
        queue.add_after(1, Duration::from_secs(20));
        queue.add_after(1, Duration::from_secs(5));
        let before = Instant::now();
        assert_eq!(queue.next().await, 1);
        assert_eq!(before.elapsed(), Duration::from_secs(5));
        queue.finished(&1, None);
        let state = queue.lock();
        assert!(state.due.is_empty() && state.delayed.is_empty());
    }

    #[derive(Default)]
    struct Patient {
        queue: Queue<i32>,
        looks: Mutex<Vec<Instant>>,
    }

    impl Worker for Patient {
        type Key = i32;
        const NAME: &'static str = "patient";

        fn queue(&self) -> &Queue<i32> {
            &self.queue
        }

        fn pause(&self, _key: &i32) -> Option<Duration> {
            Some(Duration::from_millis(100))
        }

        async fn reconcile(&self, key: i32) -> Result<Next, Error> {
            let mut looks = self.looks.lock().unwrap();
            looks.push(Instant::now());
            if looks.len() == 1 {
                // Comes again while it is worked on.
                self.queue.add(key);
            }
            Ok(Next::Done)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_comes_in_a_pause_is_one_piece_of_work() {
        let started = Instant::now();
        let patient = Arc::new(Patient::default());
        let shutdown = CancellationToken::new();
        patient.queue.add(1);
        let working = tokio::spawn({
            let (patient, shutdown) = (patient.clone(), shutdown.clone());
            async move { work(patient, 2, &shutdown).await }
        });
        for _ in 0..30 {
            tokio::time::sleep(Duration::from_millis(5)).await;
            patient.queue.add(1);
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        let looks: Vec<u128> =
            patient.looks.lock().unwrap().iter().map(|at| at.duration_since(started).as_millis()).collect();
        assert!(matches!(looks[..], [0..5, 100..105, 200..205]), "{looks:?}");
        patient.queue.add(2);
        tokio::time::sleep(Duration::from_secs(1)).await;
        shutdown.cancel();
        working.await.unwrap();
        let state = patient.queue.lock();
        // Of those that have ended none is kept but the last.
        assert_eq!(state.paused.keys().collect::<Vec<_>>(), [&2]);
        assert_eq!(state.pauses.len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn failures_wait_longer_and_longer() {
        let queue = Queue::default();
        queue.add(1);
        let mut waits = Vec::new();
        for _ in 0..3 {
            let key = queue.next().await;
            waits.push(queue.finished(&key, Some(FIRST)).unwrap());
        }
        assert_eq!(waits, [FIRST, FIRST * 2, FIRST * 4]);
        assert_eq!(queue.next().await, 1);
        queue.finished(&1, None);
        assert!(queue.lock().failures.is_empty());
    }
}
