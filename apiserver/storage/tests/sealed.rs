//! A sealed store keeps the contract of the store beneath it, which sees nothing of the values.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use kplane_storage::{EmbeddedOptions, EmbeddedStore, Result, SealedStore, Sealer, Store};

/// Turns every bit: no secret, but not what was written either.
#[derive(Debug)]
struct Turned;

fn turned(value: &[u8]) -> Bytes {
    value.iter().map(|byte| !byte).collect()
}

#[async_trait]
impl Sealer for Turned {
    fn seals(&self, _key: &[u8]) -> bool {
        true
    }
    async fn seal(&self, _key: &[u8], value: &[u8]) -> Result<Bytes> {
        Ok(turned(value))
    }
    fn is_plain(&self, _key: &[u8], _stored: &[u8]) -> bool {
        false
    }
    async fn open(&self, _key: &[u8], stored: &[u8]) -> Result<Bytes> {
        Ok(turned(stored))
    }
    fn is_stale(&self, _key: &[u8], _stored: &[u8]) -> bool {
        false
    }
}

async fn sealed() -> (SealedStore, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    let store = EmbeddedStore::open(&path, EmbeddedOptions::default()).unwrap();
    (SealedStore::new(Arc::new(store), Arc::new(Turned)), directory)
}

kplane_storage::contract_suite!(sealed());

#[tokio::test]
async fn the_store_beneath_sees_no_value() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    let inner: kplane_storage::SharedStore =
        Arc::new(EmbeddedStore::open(&path, EmbeddedOptions::default()).unwrap());
    let store = SealedStore::new(inner.clone(), Arc::new(Turned));
    store.put(Bytes::from_static(b"k"), Bytes::from_static(b"secret")).await.unwrap();
    let stored = inner.get(b"k", None).await.unwrap().kv.unwrap().value;
    assert_eq!(stored, turned(b"secret"));
    assert_eq!(store.get(b"k", None).await.unwrap().kv.unwrap().value, "secret");
}
