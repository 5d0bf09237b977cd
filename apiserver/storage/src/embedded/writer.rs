//! The one thread that writes: it gathers the transactions that wait, applies each at its own
//! revision, makes them durable with one sync, and only then answers and publishes them.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use redb::{Database, ReadableTable};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::apply::{Applied, Tables};
use super::hub::{Change, Hub};
use super::tables::{EXPIRY, META, META_COMPACTED, META_REVISION, META_SCRUBBED};
use super::{commit_error, storage_error, table_error, transaction_error};
use crate::{Error, Result, Revision, Txn, TxnResponse};

/// The most transactions and bytes made durable by one sync.
const BATCH_TXNS: usize = 1024;
const BATCH_BYTES: usize = 8 << 20;
/// How many keys expire and how many revisions are scrubbed in one batch.
const EXPIRED_AT_ONCE: usize = 512;
const SCRUBBED_AT_ONCE: usize = 2048;

/// What is asked of the writer.
pub(super) enum Command {
    Txn {
        txn: Txn,
        bytes: usize,
        reply: oneshot::Sender<Result<TxnResponse>>,
        /// Held until the answer, so that what waits in memory is bounded.
        permit: OwnedSemaphorePermit,
    },
    Compact {
        revision: Revision,
        reply: oneshot::Sender<Result<()>>,
    },
    Close,
}

/// Where the data stands, as read when it was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Position {
    pub(super) revision: Revision,
    pub(super) compacted: Revision,
    pub(super) scrubbed: Revision,
}

/// See the module.
pub(super) struct Writer {
    pub(super) db: Arc<Database>,
    pub(super) hub: Arc<Hub>,
    pub(super) commands: Receiver<Command>,
    pub(super) position: Position,
    /// The earliest time at which a key may expire.
    pub(super) next_expiry: Option<u64>,
    pub(super) quick_repair: bool,
}

/// An answer held back until what it tells of is durable.
enum Answer {
    Txn(oneshot::Sender<Result<TxnResponse>>, Result<TxnResponse>, OwnedSemaphorePermit),
    Compact(oneshot::Sender<Result<()>>, Result<()>),
}

impl Answer {
    fn send(self, failure: Option<&Error>) {
        match self {
            // A receiver that is gone does not want to know.
            Answer::Txn(reply, result, permit) => {
                let _ = reply.send(failure.map_or(result, |error| Err(error.clone())));
                drop(permit);
            }
            Answer::Compact(reply, result) => {
                let _ = reply.send(failure.map_or(result, |error| Err(error.clone())));
            }
        }
    }
}

/// What a batch did, before it is durable.
struct Outcome {
    position: Position,
    changes: Option<Vec<Change>>,
    next_expiry: Option<u64>,
    wrote: bool,
}

pub(super) fn now_millis() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

impl Writer {
    /// Works until the store is closed or fails.
    pub(super) fn run(mut self) {
        let mut closing = false;
        while !closing {
            let mut batch = Vec::new();
            let mut bytes = 0;
            match self.wait() {
                Some(Command::Close) => break,
                Some(command) => push(command, &mut batch, &mut bytes),
                None => {}
            }
            while batch.len() < BATCH_TXNS && bytes < BATCH_BYTES {
                match self.commands.try_recv() {
                    Ok(Command::Close) | Err(TryRecvError::Disconnected) => {
                        closing = true;
                        break;
                    }
                    Ok(command) => push(command, &mut batch, &mut bytes),
                    Err(TryRecvError::Empty) => break,
                }
            }
            if let Err(error) = self.batch(batch) {
                tracing::error!(%error, "the embedded store stops: a write failed");
                self.hub.end(Error::Unavailable(format!("a write failed: {error}")));
                break;
            }
        }
        // Nobody will answer what still waits: it was not done.
        let refusal = self.hub.ended().unwrap_or_else(|| Error::Unavailable("the store is closed".into()));
        for command in self.commands.try_iter() {
            match command {
                Command::Txn { reply, .. } => drop(reply.send(Err(refusal.clone()))),
                Command::Compact { reply, .. } => drop(reply.send(Err(refusal.clone()))),
                Command::Close => {}
            }
        }
    }

    /// The next command; `None` when there is other work to do first.
    fn wait(&self) -> Option<Command> {
        if self.position.scrubbed < self.position.compacted {
            return match self.commands.try_recv() {
                Ok(command) => Some(command),
                Err(TryRecvError::Empty) => None,
                Err(TryRecvError::Disconnected) => Some(Command::Close),
            };
        }
        match self.next_expiry {
            None => Some(self.commands.recv().unwrap_or(Command::Close)),
            Some(at) => {
                let wait = Duration::from_millis(at.saturating_sub(now_millis()));
                match self.commands.recv_timeout(wait) {
                    Ok(command) => Some(command),
                    Err(RecvTimeoutError::Timeout) => None,
                    Err(RecvTimeoutError::Disconnected) => Some(Command::Close),
                }
            }
        }
    }

    /// Applies a batch, makes it durable, answers. An error is the store's end.
    fn batch(&mut self, batch: Vec<Command>) -> Result<()> {
        let mut answers = Vec::with_capacity(batch.len());
        let applied = self.apply(batch, &mut answers);
        let (transaction, outcome) = match applied {
            Ok(applied) => applied,
            Err(error) => {
                // Not committed, so surely not done.
                let failure = Error::Unavailable(error.to_string());
                answers.into_iter().for_each(|answer| answer.send(Some(&failure)));
                return Err(error);
            }
        };
        if outcome.wrote {
            if let Err(error) = transaction.commit().map_err(commit_error) {
                let failure = Error::UnknownOutcome(error.to_string());
                answers.into_iter().for_each(|answer| answer.send(Some(&failure)));
                return Err(error);
            }
        } else {
            drop(transaction);
        }
        self.next_expiry = outcome.next_expiry;
        if outcome.position.revision != self.position.revision {
            self.hub.publish(outcome.changes, outcome.position.revision);
        }
        self.position = outcome.position;
        answers.into_iter().for_each(|answer| answer.send(None));
        Ok(())
    }

    fn apply(
        &self,
        batch: Vec<Command>,
        answers: &mut Vec<Answer>,
    ) -> Result<(redb::WriteTransaction, Outcome)> {
        let mut position = self.position;
        let mut changes = self.hub.is_watched().then(Vec::new);
        let mut next_expiry = self.next_expiry;
        let mut unscheduled = false;
        // Answers for everybody first, so that a failure half way reaches all.
        let mut work = Vec::with_capacity(batch.len());
        for command in batch {
            let refusal = || Error::Unavailable("a write before this one failed".into());
            match command {
                Command::Txn { txn, reply, permit, .. } => {
                    work.push(Work::Txn(txn));
                    answers.push(Answer::Txn(reply, Err(refusal()), permit));
                }
                Command::Compact { revision, reply } => {
                    work.push(Work::Compact(revision));
                    answers.push(Answer::Compact(reply, Err(refusal())));
                }
                Command::Close => {}
            }
        }
        let mut transaction = self.db.begin_write().map_err(transaction_error)?;
        transaction.set_quick_repair(self.quick_repair);
        {
            let mut tables = Tables::open(&transaction)?;
            for (work, answer) in work.into_iter().zip(answers.iter_mut()) {
                match (work, answer) {
                    (Work::Txn(txn), Answer::Txn(_, result, _)) => {
                        let applied =
                            tables.txn(&txn, position.revision, position.compacted, changes.is_some())?;
                        *result = applied.result;
                        note(applied.applied, &mut position, &mut changes, &mut next_expiry);
                    }
                    (Work::Compact(revision), Answer::Compact(_, result)) => {
                        *result = compact(&mut position, revision);
                    }
                    _ => {}
                }
            }
            let now = now_millis();
            if next_expiry.is_some_and(|at| at <= now) {
                let due = tables.due(now, EXPIRED_AT_ONCE)?;
                unscheduled = !due.is_empty();
                for (key, revision) in due {
                    if let Some(applied) =
                        tables.expire(&key, revision, position.revision, changes.is_some())?
                    {
                        note(Some(applied), &mut position, &mut changes, &mut next_expiry);
                    }
                }
                next_expiry = tables.next_expiry()?;
            }
            if position.scrubbed < position.compacted {
                position.scrubbed = tables.scrub(position.scrubbed, position.compacted, SCRUBBED_AT_ONCE)?;
            }
            if position != self.position {
                let mut meta = transaction.open_table(META).map_err(table_error)?;
                for (name, value) in [
                    (META_REVISION, position.revision),
                    (META_COMPACTED, position.compacted),
                    (META_SCRUBBED, position.scrubbed),
                ] {
                    meta.insert(name, value).map_err(storage_error)?;
                }
            }
        }
        let wrote = position != self.position || unscheduled;
        Ok((transaction, Outcome { position, changes, next_expiry, wrote }))
    }
}

enum Work {
    Txn(Txn),
    Compact(Revision),
}

fn push(command: Command, batch: &mut Vec<Command>, bytes: &mut usize) {
    if let Command::Txn { bytes: size, .. } = &command {
        *bytes += size;
    }
    batch.push(command);
}

/// Takes note of what a transaction did, if it made a revision.
fn note(
    applied: Option<Applied>,
    position: &mut Position,
    changes: &mut Option<Vec<Change>>,
    next_expiry: &mut Option<u64>,
) {
    let Some(applied) = applied else { return };
    position.revision = applied.revision;
    if let Some(at) = applied.expires {
        *next_expiry = Some(next_expiry.map_or(at, |next| next.min(at)));
    }
    if let Some(changes) = changes {
        changes.push(Change { revision: applied.revision, events: applied.events });
    }
}

fn compact(position: &mut Position, revision: Revision) -> Result<()> {
    if revision <= position.compacted {
        return Err(Error::Compacted { compact_revision: position.compacted });
    }
    if revision > position.revision {
        return Err(Error::FutureRevision { requested: revision, current: position.revision });
    }
    position.compacted = revision;
    Ok(())
}

/// The earliest time at which a key of the data may expire.
pub(super) fn first_expiry(db: &Database) -> Result<Option<u64>> {
    use redb::ReadableDatabase;
    let read = db.begin_read().map_err(transaction_error)?;
    let expiry = read.open_table(EXPIRY).map_err(table_error)?;
    let first = expiry.first().map_err(storage_error)?;
    Ok(first.map(|(position, _)| position.value().0))
}
