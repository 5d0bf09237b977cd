//! A store whose values are sealed on their way in and opened on their way out, so that what is behind it never sees them.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::mpsc;

use crate::{
    Event, GetResponse, KeyValue, Op, OpResult, RangeRequest, RangeResponse, Result, Revision, SharedStore,
    Store, StoreStatus, Txn, TxnResponse, WatchEvent, WatchRequest, WatchStream,
};

/// As many events of a watch wait to be opened.
const WATCH_BUFFER: usize = 64;

/// Seals and opens values. A value is bound to its key: under another it does not open.
#[async_trait]
pub trait Sealer: Send + Sync + std::fmt::Debug + 'static {
    /// Whether a value is sealed when it is written under this key.
    fn seals(&self, key: &[u8]) -> bool;

    /// Seals a value.
    async fn seal(&self, key: &[u8], value: &[u8]) -> Result<Bytes>;

    /// Whether a value, as it is stored, goes out as it is.
    fn is_plain(&self, key: &[u8], stored: &[u8]) -> bool;

    /// Opens a value that is sealed. That it cannot is an error which says what to do.
    async fn open(&self, key: &[u8], stored: &[u8]) -> Result<Bytes>;

    /// Whether a value is stored otherwise than it would be now.
    fn is_stale(&self, key: &[u8], stored: &[u8]) -> bool;
}

/// See the module.
#[derive(Debug)]
pub struct SealedStore {
    inner: SharedStore,
    sealer: Arc<dyn Sealer>,
}

impl SealedStore {
    /// Over a store.
    pub fn new(inner: SharedStore, sealer: Arc<dyn Sealer>) -> Self {
        Self { inner, sealer }
    }

    async fn open(&self, kv: &mut KeyValue) -> Result<()> {
        // Without a value only keys were asked for.
        if !kv.value.is_empty() && !self.sealer.is_plain(&kv.key, &kv.value) {
            kv.value = self.sealer.open(&kv.key, &kv.value).await?;
        }
        Ok(())
    }

    async fn open_all(&self, response: &mut RangeResponse) -> Result<()> {
        for kv in &mut response.kvs {
            self.open(kv).await?;
        }
        Ok(())
    }

    async fn seal_all(&self, ops: &mut [Op]) -> Result<()> {
        for op in ops {
            if let Op::Put { key, value, .. } = op
                && self.sealer.seals(key)
            {
                *value = self.sealer.seal(key, value).await?;
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Store for SealedStore {
    async fn get(&self, key: &[u8], at: Option<Revision>) -> Result<GetResponse> {
        let mut response = self.inner.get(key, at).await?;
        if let Some(kv) = &mut response.kv {
            self.open(kv).await?;
        }
        Ok(response)
    }

    async fn range(&self, request: RangeRequest) -> Result<RangeResponse> {
        let mut response = self.inner.range(request).await?;
        self.open_all(&mut response).await?;
        Ok(response)
    }

    async fn txn(&self, mut txn: Txn) -> Result<TxnResponse> {
        self.seal_all(&mut txn.success).await?;
        self.seal_all(&mut txn.failure).await?;
        let mut response = self.inner.txn(txn).await?;
        for result in &mut response.results {
            match result {
                OpResult::Get(Some(kv)) => self.open(kv).await?,
                OpResult::Range(range) => self.open_all(range).await?,
                OpResult::Get(None) | OpResult::Put | OpResult::Deleted { .. } => {}
            }
        }
        Ok(response)
    }

    async fn watch(&self, request: WatchRequest) -> Result<WatchStream> {
        let mut inner = self.inner.watch(request).await?;
        let handle = inner.handle();
        let (sender, receiver) = mpsc::channel(WATCH_BUFFER);
        let sealer = self.sealer.clone();
        tokio::spawn(async move {
            loop {
                let next = tokio::select! {
                    next = inner.recv() => next,
                    // Nobody listens any more.
                    () = sender.closed() => return,
                };
                let Some(mut next) = next else { return };
                if let Ok(WatchEvent::Events { events, .. }) = &mut next {
                    for event in events {
                        open_event(&*sealer, event).await;
                    }
                }
                if sender.send(next).await.is_err() {
                    return;
                }
            }
        });
        Ok(WatchStream::new(receiver, handle))
    }

    async fn compact(&self, revision: Revision) -> Result<()> {
        self.inner.compact(revision).await
    }

    async fn current_revision(&self) -> Result<Revision> {
        self.inner.current_revision().await
    }

    async fn status(&self) -> Result<StoreStatus> {
        self.inner.status().await
    }

    async fn close(&self) -> Result<()> {
        self.inner.close().await
    }
}

/// Opens what an event holds. What cannot be opened stays sealed: it must not end the watch for all others, and whoever
/// reads it will say that it is invalid.
async fn open_event(sealer: &dyn Sealer, event: &mut Event) {
    for kv in std::iter::once(&mut event.kv).chain(event.prev_kv.as_mut()) {
        if kv.value.is_empty() || sealer.is_plain(&kv.key, &kv.value) {
            continue;
        }
        match sealer.open(&kv.key, &kv.value).await {
            Ok(value) => kv.value = value,
            Err(error) => tracing::error!(%error, "a change that is watched cannot be read"),
        }
    }
}
