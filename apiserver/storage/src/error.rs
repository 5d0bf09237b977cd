//! What can go wrong in a store, told apart by what the caller may do next.

use crate::Revision;

/// The result of a store operation.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a store operation failed.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The revision asked for is no longer kept: read (or watch) again from a newer one.
    #[error("required revision has been compacted (the oldest kept is {compact_revision})")]
    Compacted {
        /// The oldest revision that can still be read.
        compact_revision: Revision,
    },
    /// The revision asked for does not exist yet.
    #[error("required revision {requested} is a future revision (the current one is {current})")]
    FutureRevision {
        /// The revision asked for.
        requested: Revision,
        /// The store's revision when it refused.
        current: Revision,
    },
    /// The store did not do it, and may do it later: safe to retry, also for a write.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
    /// A write whose fate is unknown: it may have been done, may be done later, or never.
    /// Read before you retry.
    #[error("the outcome of the write is unknown: {0}")]
    UnknownOutcome(String),
    /// The store holds something that it cannot have written so.
    #[error("the store is corrupt: {0}")]
    Corrupt(String),
    /// The request breaks a rule of the store; no retry helps.
    #[error("invalid request: {0}")]
    Invalid(String),
    /// The request is larger than the store takes.
    #[error("request is too large: {size} bytes (at most {limit})")]
    TooLarge {
        /// The size of the request, as far as it was counted.
        size: usize,
        /// The largest request the store takes.
        limit: usize,
    },
    /// The store has no room left; only reads and deletes may succeed until some is made.
    #[error("the store is out of space: {0}")]
    NoSpace(String),
    /// Another process has the data open.
    #[error("{path} is in use by another process")]
    Locked {
        /// The file that is locked.
        path: String,
    },
    /// The data was written by a newer version of this program.
    #[error(
        "the data format {found} is newer than this program knows (at most {supported}): use a newer version"
    )]
    NewerFormat {
        /// The format found in the data.
        found: u64,
        /// The newest format this program knows.
        supported: u64,
    },
    /// The store refused the client's credentials.
    #[error("the store refused access: {0}")]
    Denied(String),
}

impl Error {
    /// Whether the same request, unchanged, may succeed later and cannot have been done already.
    pub fn is_retriable(&self) -> bool {
        matches!(self, Error::Unavailable(_))
    }

    /// Whether a write that failed so may nevertheless have been done.
    pub fn is_unknown_outcome(&self) -> bool {
        matches!(self, Error::UnknownOutcome(_))
    }
}
