//! How far the feed has come, and reads that are as new as the store itself.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use kplane_storage::{SharedStore, WatchHandle};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, timeout_at};

use crate::Error;

/// How long a read waits for the feed.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long it waits for what comes by itself before it asks the store for its progress.
const LINGER: Duration = Duration::from_millis(2);
const ASK_AGAIN: Duration = Duration::from_millis(100);

type Answer = Result<u64, Error>;

/// How far the feed has come.
#[derive(Debug)]
pub(crate) struct Progress {
    revision: watch::Sender<u64>,
    feed: Mutex<WatchHandle>,
    asked: mpsc::UnboundedSender<oneshot::Sender<Answer>>,
}

impl Progress {
    pub fn new() -> (Self, mpsc::UnboundedReceiver<oneshot::Sender<Answer>>) {
        let (asked, questions) = mpsc::unbounded_channel();
        (Self { revision: watch::Sender::new(0), feed: Mutex::default(), asked }, questions)
    }

    /// The revision up to which everything has been taken in.
    pub fn revision(&self) -> u64 {
        *self.revision.borrow()
    }

    pub fn advance(&self, revision: u64) {
        self.revision.send_if_modified(|current| {
            let ahead = revision > *current;
            *current = revision.max(*current);
            ahead
        });
    }

    pub fn follow(&self, feed: WatchHandle) {
        *self.feed.lock().unwrap_or_else(PoisonError::into_inner) = feed;
    }

    fn ask_feed(&self) {
        self.feed.lock().unwrap_or_else(PoisonError::into_inner).request_progress();
    }

    /// The store's revision, read after this call began; those who ask meanwhile share the next read.
    pub async fn current(&self) -> Answer {
        let (answer, answered) = oneshot::channel();
        let gone = || Error::Unavailable("the registry is closed".into());
        self.asked.send(answer).map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }

    /// Waits until the feed has come to a revision.
    pub async fn reach(&self, revision: u64) -> Result<(), Error> {
        self.reach_within(revision, PATIENCE).await.then_some(()).ok_or_else(|| {
            let current = self.revision();
            Error::Unavailable(format!("the watch on the store is at {current}, behind {revision}"))
        })
    }

    /// Waits until the feed has come to a revision; false when it has not in time.
    pub async fn reach_within(&self, revision: u64, patience: Duration) -> bool {
        if self.revision() >= revision {
            return true;
        }
        let mut seen = self.revision.subscribe();
        let deadline = Instant::now() + patience;
        let mut next = Instant::now() + LINGER;
        loop {
            if let Ok(reached) = timeout_at(next.min(deadline), seen.wait_for(|at| *at >= revision)).await {
                return reached.is_ok();
            }
            if Instant::now() >= deadline {
                return false;
            }
            self.ask_feed();
            next = Instant::now() + ASK_AGAIN;
        }
    }

    /// Waits until the feed has come to where the store was when this was called, or later.
    pub async fn fresh(&self) -> Result<u64, Error> {
        let revision = self.current().await?;
        self.reach(revision).await?;
        Ok(revision)
    }
}

/// Answers [`Progress::current`]: one read at a time, for all who asked before it began.
pub(crate) async fn answer(
    store: SharedStore,
    mut questions: mpsc::UnboundedReceiver<oneshot::Sender<Answer>>,
) {
    let mut waiting = Vec::new();
    while let Some(first) = questions.recv().await {
        waiting.push(first);
        while let Ok(next) = questions.try_recv() {
            waiting.push(next);
        }
        let answer = store.current_revision().await.map_err(Error::from);
        for waiter in waiting.drain(..) {
            // Some have stopped waiting.
            let _ = waiter.send(answer.clone());
        }
    }
}
