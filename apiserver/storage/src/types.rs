//! Keys, values and requests, in etcd's data model.

use std::time::Duration;

use bytes::Bytes;

/// A point in the store's history. Every write transaction makes exactly one new revision;
/// an empty store is at revision 1.
pub type Revision = u64;

/// The most operations that one branch of a transaction may hold (etcd's default limit).
pub const MAX_TXN_OPS: usize = 128;

/// The largest request, counting keys and values (etcd's default limit of 1.5 MiB).
pub const MAX_REQUEST_BYTES: usize = 1_572_864;

/// A key with its value and where it stands in history.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KeyValue {
    /// The key.
    pub key: Bytes,
    /// The value; empty when only keys were asked for.
    pub value: Bytes,
    /// The revision that created the key (anew, if it had been deleted).
    pub create_revision: Revision,
    /// The revision that last wrote the key.
    pub mod_revision: Revision,
    /// How often the key was written since it was created; 1 for a new one.
    pub version: u64,
}

/// The answer to [`crate::Store::get`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GetResponse {
    /// The store's revision when it answered (not the revision read at).
    pub revision: Revision,
    /// The key and its value, if it exists.
    pub kv: Option<KeyValue>,
}

/// Reads the keys of a half-open range in order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RangeRequest {
    /// The first key.
    pub start: Bytes,
    /// The key after the last one; empty: no upper bound.
    pub end: Bytes,
    /// At most so many keys; 0: all.
    pub limit: usize,
    /// Read as of this revision; `None`: the current one, linearizably.
    pub revision: Option<Revision>,
    /// Leave the values out.
    pub keys_only: bool,
    /// Return no keys at all, only their count.
    pub count_only: bool,
    /// Do not count keys beyond the returned ones: `count` is then only a lower bound.
    /// For those who page through much and need no total.
    pub skip_count: bool,
}

impl RangeRequest {
    /// All keys that begin with `prefix`.
    pub fn prefix(prefix: impl Into<Bytes>) -> Self {
        let start = prefix.into();
        let end = prefix_end(&start);
        RangeRequest { start, end, ..Default::default() }
    }

    /// All keys from `start` up to but not including `end`.
    pub fn between(start: impl Into<Bytes>, end: impl Into<Bytes>) -> Self {
        RangeRequest { start: start.into(), end: end.into(), ..Default::default() }
    }

    /// At most `limit` keys.
    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }

    /// As of `revision`.
    pub fn at(mut self, revision: Revision) -> Self {
        self.revision = Some(revision);
        self
    }
}

/// The answer to [`crate::Store::range`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RangeResponse {
    /// The keys, in order.
    pub kvs: Vec<KeyValue>,
    /// How many keys the range holds, whatever the limit (see [`RangeRequest::skip_count`]).
    pub count: u64,
    /// Whether the range holds more keys than were returned because of the limit.
    pub more: bool,
    /// The store's revision when it answered. To go on at the same state, ask for this
    /// revision with a start of [`successor`] of the last key.
    pub revision: Revision,
}

/// How the two sides of a [`Compare`] must relate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CompareOp {
    /// The key's side equals the given one.
    Equal,
    /// The key's side differs from the given one.
    NotEqual,
    /// The key's side is less than the given one.
    Less,
    /// The key's side is greater than the given one.
    Greater,
}

/// What of a key is compared. A key that does not exist has 0 everywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CompareTarget {
    /// Its last write.
    ModRevision(Revision),
    /// Its creation.
    CreateRevision(Revision),
    /// Its number of writes.
    Version(u64),
}

/// A condition of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compare {
    /// The key, or the first key of the range.
    pub key: Bytes,
    /// `None`: the one key. Otherwise every key from `key` up to this one must satisfy the
    /// condition (empty: no upper bound); a range without keys is compared like one missing key.
    pub range_end: Option<Bytes>,
    /// What is compared, and with what.
    pub target: CompareTarget,
    /// How.
    pub op: CompareOp,
}

impl Compare {
    /// Compares the key's last write.
    pub fn mod_revision(key: impl Into<Bytes>, op: CompareOp, revision: Revision) -> Self {
        Self::new(key, op, CompareTarget::ModRevision(revision))
    }

    /// Compares the key's creation.
    pub fn create_revision(key: impl Into<Bytes>, op: CompareOp, revision: Revision) -> Self {
        Self::new(key, op, CompareTarget::CreateRevision(revision))
    }

    /// Compares the key's number of writes.
    pub fn version(key: impl Into<Bytes>, op: CompareOp, version: u64) -> Self {
        Self::new(key, op, CompareTarget::Version(version))
    }

    /// The key was last written at `revision` and is unchanged since.
    pub fn unchanged(key: impl Into<Bytes>, revision: Revision) -> Self {
        Self::mod_revision(key, CompareOp::Equal, revision)
    }

    /// The key exists.
    pub fn exists(key: impl Into<Bytes>) -> Self {
        Self::create_revision(key, CompareOp::NotEqual, 0)
    }

    /// The key does not exist.
    pub fn absent(key: impl Into<Bytes>) -> Self {
        Self::create_revision(key, CompareOp::Equal, 0)
    }

    /// No key exists from `start` up to but not including `end`.
    pub fn range_empty(start: impl Into<Bytes>, end: impl Into<Bytes>) -> Self {
        Self::absent(start).over(end)
    }

    /// The condition must hold for every key from `key` up to but not including `end`.
    pub fn over(mut self, end: impl Into<Bytes>) -> Self {
        self.range_end = Some(end.into());
        self
    }

    fn new(key: impl Into<Bytes>, op: CompareOp, target: CompareTarget) -> Self {
        Compare { key: key.into(), range_end: None, target, op }
    }
}

/// One operation of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// Writes a key.
    Put {
        /// The key.
        key: Bytes,
        /// Its value.
        value: Bytes,
        /// The key deletes itself after so long, unless it is written again. Stores may keep it
        /// somewhat longer, never shorter.
        ttl: Option<Duration>,
    },
    /// Deletes a key, if it exists.
    Delete {
        /// The key.
        key: Bytes,
    },
    /// Deletes the keys of a half-open range.
    DeleteRange {
        /// The first key.
        start: Bytes,
        /// The key after the last one; empty: no upper bound.
        end: Bytes,
    },
    /// Reads a key as the operations before this one left it.
    Get {
        /// The key.
        key: Bytes,
    },
    /// Reads a range as the operations before this one left it.
    Range(RangeRequest),
}

impl Op {
    /// Writes a key that stays.
    pub fn put(key: impl Into<Bytes>, value: impl Into<Bytes>) -> Self {
        Op::Put { key: key.into(), value: value.into(), ttl: None }
    }

    /// Writes a key that deletes itself after `ttl`.
    pub fn put_with_ttl(key: impl Into<Bytes>, value: impl Into<Bytes>, ttl: Duration) -> Self {
        Op::Put { key: key.into(), value: value.into(), ttl: Some(ttl) }
    }

    /// Deletes a key.
    pub fn delete(key: impl Into<Bytes>) -> Self {
        Op::Delete { key: key.into() }
    }

    /// Deletes a range.
    pub fn delete_range(start: impl Into<Bytes>, end: impl Into<Bytes>) -> Self {
        Op::DeleteRange { start: start.into(), end: end.into() }
    }

    /// Reads a key.
    pub fn get(key: impl Into<Bytes>) -> Self {
        Op::Get { key: key.into() }
    }

    /// Whether the operation can change something.
    pub fn is_write(&self) -> bool {
        !matches!(self, Op::Get { .. } | Op::Range(_))
    }
}

/// If all `compares` hold, the `success` operations are done, else those of `failure`: all at
/// one revision and atomically. A key may be put only once, and not also be deleted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Txn {
    /// The conditions; without any, `success` is done.
    pub compares: Vec<Compare>,
    /// Done when all conditions hold.
    pub success: Vec<Op>,
    /// Done when one does not.
    pub failure: Vec<Op>,
}

impl Txn {
    /// A transaction without conditions or operations.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds conditions.
    pub fn when(mut self, compares: impl IntoIterator<Item = Compare>) -> Self {
        self.compares.extend(compares);
        self
    }

    /// Adds operations to do when all conditions hold.
    pub fn and_then(mut self, ops: impl IntoIterator<Item = Op>) -> Self {
        self.success.extend(ops);
        self
    }

    /// Adds operations to do when a condition does not hold.
    pub fn or_else(mut self, ops: impl IntoIterator<Item = Op>) -> Self {
        self.failure.extend(ops);
        self
    }
}

/// The result of one operation of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OpResult {
    /// Of [`Op::Put`].
    Put,
    /// Of [`Op::Delete`] and [`Op::DeleteRange`].
    Deleted {
        /// How many keys were deleted.
        deleted: u64,
    },
    /// Of [`Op::Get`].
    Get(Option<KeyValue>),
    /// Of [`Op::Range`].
    Range(RangeResponse),
}

/// The answer to [`crate::Store::txn`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TxnResponse {
    /// Whether the conditions held.
    pub succeeded: bool,
    /// The store's revision after the transaction; the `mod_revision` of what it wrote.
    /// A transaction that changed nothing makes no revision.
    pub revision: Revision,
    /// One result for each operation of the branch that was done.
    pub results: Vec<OpResult>,
}

impl TxnResponse {
    /// The key that operation `index` of the branch read, if that was an [`Op::Get`] and the
    /// key exists.
    pub fn kv(&self, index: usize) -> Option<&KeyValue> {
        match self.results.get(index) {
            Some(OpResult::Get(kv)) => kv.as_ref(),
            _ => None,
        }
    }
}

/// What a store can tell about itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StoreStatus {
    /// The store's software and version, for people.
    pub backend: String,
    /// The current revision.
    pub revision: Revision,
    /// The oldest revision that can be read; 0 when never compacted, `None` when not known.
    pub compact_revision: Option<Revision>,
    /// How much room the data takes on disk.
    pub bytes: u64,
    /// How much of it is in use, when known.
    pub bytes_in_use: Option<u64>,
}

/// The end of the range of all keys that begin with `prefix`; empty (no upper bound) when
/// there is none.
pub fn prefix_end(prefix: &[u8]) -> Bytes {
    let mut end = prefix.to_vec();
    while let Some(last) = end.last_mut() {
        if *last < u8::MAX {
            *last += 1;
            return Bytes::from(end);
        }
        end.pop();
    }
    Bytes::new()
}

/// The first key after `key`.
pub fn successor(key: &[u8]) -> Bytes {
    let mut next = Vec::with_capacity(key.len() + 1);
    next.extend_from_slice(key);
    next.push(0);
    Bytes::from(next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_prefix_is_the_next_key_of_the_same_length_or_shorter() {
        assert_eq!(prefix_end(b"/a/"), Bytes::from_static(b"/a0"));
        assert_eq!(prefix_end(b"a\xff\xff"), Bytes::from_static(b"b"));
        assert_eq!(prefix_end(b"\xff"), Bytes::new());
        assert_eq!(prefix_end(b""), Bytes::new());
    }
}
