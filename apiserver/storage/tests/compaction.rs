//! Replicas over one store compact once an interval, and never what is younger than one.

use kplane_storage::{Bytes, Compactor, EmbeddedStore, Error, Store};

#[tokio::test]
async fn of_two_replicas_one_compacts_at_what_was_current_an_interval_ago() {
    let store = EmbeddedStore::in_memory().unwrap();
    let put = async || store.put(Bytes::from("/a"), Bytes::from("x")).await.unwrap();
    let (mut one, mut other) = (Compactor::new("/compact"), Compactor::new("/compact"));

    let first = put().await;
    assert_eq!(one.step(&store).await.unwrap(), None, "the first interval");
    assert_eq!(other.step(&store).await.unwrap(), None);
    let known = store.current_revision().await.unwrap();

    let second = put().await;
    let compacted = one.step(&store).await.unwrap().unwrap();
    assert_eq!(compacted, known);
    assert_eq!(other.step(&store).await.unwrap(), None, "it was too late");
    assert!(matches!(
        store.get(b"/a", Some(first)).await,
        Err(Error::Compacted { compact_revision }) if compact_revision == compacted
    ));
    assert!(store.get(b"/a", Some(second)).await.is_ok());

    // The other one takes over when the first is gone.
    let third = put().await;
    assert!(other.step(&store).await.unwrap().unwrap() > compacted);
    assert!(store.get(b"/a", Some(third)).await.is_ok());
}

/// What compaction removes costs no room: a store whose keys change all the time does not grow.
#[tokio::test]
async fn compaction_makes_room() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    let store = EmbeddedStore::open(&path, Default::default()).unwrap();
    let mut sizes = Vec::new();
    for _ in 0..6 {
        let puts = (0..400).map(|n| {
            let key = Bytes::from(format!("/{}", n % 10));
            store.put(key, Bytes::from(vec![b'x'; 4000]))
        });
        let last = futures::future::try_join_all(puts).await.unwrap();
        store.compact(*last.last().unwrap()).await.unwrap();
        sizes.push(store.status().await.unwrap().bytes);
    }
    assert!(sizes[5] <= sizes[2], "{sizes:?}");
}
