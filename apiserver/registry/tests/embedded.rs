//! The suite over the embedded store.

mod suite;

use kplane_storage::{EmbeddedOptions, EmbeddedStore};

async fn embedded() -> (EmbeddedStore, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(&directory.path().join("store"), EmbeddedOptions::default()).unwrap();
    (store, directory)
}

registry_suite!(embedded());

#[tokio::test]
async fn bookmarks_come_each_minute_and_never_go_back() {
    use futures::StreamExt;
    use kplane_registry::{WatchFrom, WatchItem, WatchRequest};

    let (store, _directory) = embedded().await;
    let store: kplane_storage::SharedStore = std::sync::Arc::new(store);
    let registry = suite::open(&store).await;
    let root = registry.root();
    let begun = tokio::time::Instant::now();
    let request = WatchRequest { namespace: None, name: None, from: WatchFrom::Now, bookmarks: true };
    let mut watching = Box::pin(registry.watch(&root, &suite::config_maps(), request).await.unwrap());
    let written = suite::put(&registry, &root, &suite::key("a", "x"), "1").await;
    assert!(matches!(watching.next().await, Some(Ok(WatchItem::Event { .. }))));
    registry.ready().await.unwrap();
    tokio::time::pause();
    for minute in 1..3 {
        match watching.next().await {
            Some(Ok(WatchItem::Bookmark { revision, initial_events_end: false })) => {
                assert!(revision >= written.revision());
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(begun.elapsed().as_secs() / 60, minute);
    }
}
