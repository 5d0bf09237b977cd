//! The file of the embedded store: opening, locking, formats.

use std::path::Path;
use std::time::Duration;

use kplane_storage::{
    Bytes, EmbeddedOptions, EmbeddedStore, Error, Op, Store, Txn, WatchEvent, WatchRequest,
};

fn open(path: &Path) -> Result<EmbeddedStore, Error> {
    EmbeddedStore::open(path, EmbeddedOptions::default())
}

#[tokio::test]
async fn what_was_written_is_there_after_closing_and_opening() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    let store = open(&path).unwrap();
    let written = store.put(Bytes::from("/a"), Bytes::from("1")).await.unwrap();
    let ttl = Txn::new().and_then([Op::put_with_ttl("/b", "2", Duration::from_millis(300))]);
    store.txn(ttl).await.unwrap();
    store.close().await.unwrap();
    assert!(matches!(store.put(Bytes::from("/a"), Bytes::new()).await, Err(Error::Unavailable(_))));
    assert!(matches!(store.get(b"/a", None).await, Err(Error::Unavailable(_))));

    let store = open(&path).unwrap();
    let kv = store.get(b"/a", None).await.unwrap().kv.unwrap();
    assert_eq!((kv.mod_revision, kv.value.as_ref()), (written, &b"1"[..]));
    let mut watch = store.watch(WatchRequest::prefix("/").from(written)).await.unwrap();
    // The key with a time to live expires although the store was closed meanwhile.
    for at in written..written + 3 {
        let event = watch.recv().await.unwrap().unwrap();
        assert!(matches!(event, WatchEvent::Events { revision, .. } if revision == at));
    }
    assert_eq!(store.get(b"/b", None).await.unwrap().kv, None);
}

#[tokio::test]
async fn a_closed_store_ends_its_watches() {
    let store = EmbeddedStore::in_memory().unwrap();
    let mut watch = store.watch(WatchRequest::prefix("/")).await.unwrap();
    store.close().await.unwrap();
    assert!(matches!(watch.recv().await, Some(Err(Error::Unavailable(_)))));
    assert!(watch.recv().await.is_none());
}

#[tokio::test]
async fn only_one_has_it_open() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    let store = open(&path).unwrap();
    let error = open(&path).unwrap_err();
    assert!(matches!(error, Error::Locked { .. }), "{error:?}");
    assert!(error.to_string().contains("in use by another process"));
    drop(store);
    open(&path).unwrap();
}

#[tokio::test]
async fn a_newer_format_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    open(&path).unwrap().close().await.unwrap();
    {
        let meta: redb::TableDefinition<&str, u64> = redb::TableDefinition::new("meta");
        let db = redb::Database::open(&path).unwrap();
        let write = db.begin_write().unwrap();
        write.open_table(meta).unwrap().insert("format", 99).unwrap();
        write.commit().unwrap();
    }
    let error = open(&path).unwrap_err();
    assert!(matches!(error, Error::NewerFormat { found: 99, .. }), "{error:?}");
}

#[tokio::test]
async fn another_file_is_refused_and_left_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    let text = "not a store\n".repeat(1000);
    std::fs::write(&path, &text).unwrap();
    let error = open(&path).unwrap_err();
    assert!(matches!(error, Error::Corrupt(_)), "{error:?}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
}
