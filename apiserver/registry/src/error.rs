//! What can go wrong, told apart by what the caller answers.

use crate::Stored;

/// Why a read or a watch failed.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The revision asked for is no longer kept, or what the control plane starts from has changed since.
    #[error("too old resource version: {requested} ({oldest})")]
    Expired {
        /// The revision asked for.
        requested: u64,
        /// The oldest one that can be asked for.
        oldest: u64,
    },
    /// The revision asked for is yet to come.
    #[error("too large resource version: {requested}, current: {current}")]
    TooLarge {
        /// The revision asked for.
        requested: u64,
        /// The present one.
        current: u64,
    },
    /// The control plane was closed or removed.
    #[error("the control plane is gone")]
    VcpGone,
    /// The reader of a watch did not keep up, and was cut off.
    #[error("the watch was cut off because its reader was too slow")]
    TooSlow,
    /// The store cannot be reached, or did not answer in time.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
    /// The store holds what cannot have been written so.
    #[error("the store holds invalid data: {0}")]
    Corrupt(String),
    /// The prefix holds keys of somebody else.
    #[error("the prefix {prefix:?} holds keys that are not ours, such as {key:?}")]
    Foreign {
        /// The prefix.
        prefix: String,
        /// One of the keys.
        key: String,
    },
    /// The data was written by a newer version of this program.
    #[error("the data has format {found}, newer than this program knows ({supported}): use a newer version")]
    NewerFormat {
        /// The format of the data.
        found: u64,
        /// The newest one that is known.
        supported: u64,
    },
    /// An object, layer or name that cannot be stored.
    #[error("{0}")]
    Invalid(String),
    /// Another failure of the store.
    #[error(transparent)]
    Store(kplane_storage::Error),
}

impl From<kplane_storage::Error> for Error {
    fn from(error: kplane_storage::Error) -> Self {
        use kplane_storage::Error as Storage;
        match error {
            Storage::Compacted { compact_revision } => {
                Self::Expired { requested: 0, oldest: compact_revision }
            }
            Storage::FutureRevision { requested, current } => Self::TooLarge { requested, current },
            Storage::Unavailable(why) => Self::Unavailable(why),
            Storage::Corrupt(why) => Self::Corrupt(why),
            other => Self::Store(other),
        }
    }
}

impl Error {
    /// Fills in the revision that was asked for, which the store does not repeat.
    pub(crate) fn asked(self, revision: u64) -> Self {
        match self {
            Self::Expired { oldest, .. } => Self::Expired { requested: revision, oldest },
            other => other,
        }
    }
}

/// Why a write failed.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// There is an object of this name already.
    #[error("the object already exists")]
    AlreadyExists,
    /// The object is not what the writer expected; here is what there is now.
    #[error("the object has been modified")]
    Conflict(Option<Stored>),
    /// The control plane was closed or removed.
    #[error("the control plane is gone")]
    VcpGone,
    /// Nobody can tell whether the write was done.
    #[error("the outcome of the write is unknown: {0}")]
    Unknown(String),
    /// It was not done.
    #[error(transparent)]
    Store(Error),
}

impl From<Error> for WriteError {
    fn from(error: Error) -> Self {
        match error {
            Error::VcpGone => Self::VcpGone,
            other => Self::Store(other),
        }
    }
}

impl From<kplane_storage::Error> for WriteError {
    fn from(error: kplane_storage::Error) -> Self {
        match error {
            kplane_storage::Error::UnknownOutcome(why) => Self::Unknown(why),
            other => Self::Store(other.into()),
        }
    }
}
