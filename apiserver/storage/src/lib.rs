//! The store: keys and values with history, in etcd's semantics, behind one trait.
//!
//! [`Store`] is what the rest of the API server sees. Every write transaction makes one new
//! revision; reads may ask for a past one; a watch yields the changes of a range in the order of
//! their revisions. What a backend must do beyond the types is said by the contract suite,
//! which every backend passes.

mod compactor;
mod embedded;
mod error;
mod etcd;
mod sealed;
#[cfg(feature = "testing")]
pub mod testing;
mod types;
mod validate;
mod watch;

use std::sync::Arc;

use async_trait::async_trait;

pub use bytes::Bytes;
pub use compactor::Compactor;
pub use embedded::{EmbeddedOptions, EmbeddedStore};
pub use error::{Error, Result};
pub use etcd::{EtcdOptions, EtcdStore};
pub use sealed::{SealedStore, Sealer};
pub use types::{
    Compare, CompareOp, CompareTarget, GetResponse, KeyValue, MAX_REQUEST_BYTES, MAX_TXN_OPS, Op, OpResult,
    RangeRequest, RangeResponse, Revision, StoreStatus, Txn, TxnResponse, prefix_end, successor,
};
pub use watch::{Event, EventKind, WatchEvent, WatchHandle, WatchRequest, WatchStream};

/// A store as the rest of the server holds it.
pub type SharedStore = Arc<dyn Store>;

/// A key-value store with history, in etcd's semantics.
#[async_trait]
pub trait Store: Send + Sync + std::fmt::Debug + 'static {
    /// Reads one key, as of revision `at` or, without one, linearizably as of now.
    async fn get(&self, key: &[u8], at: Option<Revision>) -> Result<GetResponse>;

    /// Reads the keys of a range in order.
    async fn range(&self, request: RangeRequest) -> Result<RangeResponse>;

    /// Reads and writes several keys atomically.
    async fn txn(&self, txn: Txn) -> Result<TxnResponse>;

    /// Yields the changes of a range of keys. A start that has been compacted is an error, here
    /// or as the first item of the stream.
    async fn watch(&self, request: WatchRequest) -> Result<WatchStream>;

    /// Forgets the states before `revision`, which itself stays readable. Watches may start at it.
    async fn compact(&self, revision: Revision) -> Result<()>;

    /// The current revision, linearizably: that of every write acknowledged before the call, or a
    /// later one.
    async fn current_revision(&self) -> Result<Revision>;

    /// What the store can tell about itself.
    async fn status(&self) -> Result<StoreStatus>;

    /// Ends all watches and releases what the store holds. Writes acknowledged before stay;
    /// operations after it fail.
    async fn close(&self) -> Result<()>;

    /// Writes one key unconditionally and returns the new revision.
    async fn put(&self, key: Bytes, value: Bytes) -> Result<Revision> {
        let response = self.txn(Txn::new().and_then([Op::put(key, value)])).await?;
        Ok(response.revision)
    }

    /// Deletes one key unconditionally; returns the revision and whether the key existed.
    async fn delete(&self, key: Bytes) -> Result<(Revision, bool)> {
        let response = self.txn(Txn::new().and_then([Op::delete(key)])).await?;
        let deleted = matches!(response.results.first(), Some(OpResult::Deleted { deleted }) if *deleted > 0);
        Ok((response.revision, deleted))
    }
}
