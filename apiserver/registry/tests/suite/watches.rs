//! Watches.

use kplane_registry::{Error, EventKind, WatchFrom, WatchItem};
use kplane_storage::SharedStore;

use super::*;

pub async fn a_watch_has_no_gap_and_no_repeat(store: SharedStore) {
    let registry = open(&store).await;
    let vcp = vcp(&registry, 1, &[]).await;
    let start = list(&registry, &vcp).await.revision;
    let writer = {
        let (registry, vcp) = (registry.clone(), vcp.clone());
        tokio::spawn(async move {
            for i in 0..400 {
                put(&registry, &vcp, &key("a", &format!("x{}", i % 3)), &i.to_string()).await;
            }
        })
    };
    // Begun at any moment, in a registry that has the events in memory or in one that has not.
    let mut readers = Vec::new();
    for i in 0..6 {
        let (registry, store, vcp) = (registry.clone(), store.clone(), vcp.clone());
        readers.push(tokio::spawn(async move {
            let registry = if i % 2 == 0 { registry } else { open(&store).await };
            let mut watching = watch(&registry, &vcp, WatchFrom::Revision(start)).await.unwrap();
            for i in 0..400 {
                assert_eq!(event(&mut watching).await.2, i.to_string());
            }
        }));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    writer.await.unwrap();
    for reader in readers {
        reader.await.unwrap();
    }
}

pub async fn initial_events_end_with_a_bookmark(store: SharedStore) {
    let registry = open(&store).await;
    let vcp = vcp(&registry, 1, &[&layer(&["x", "y"], "base")]).await;
    let own = put(&registry, &vcp, &key("l", "y"), "own").await;
    let from = WatchFrom::InitialEvents { not_older_than: 0, bookmark: true };
    let mut watching = watch(&registry, &vcp, from).await.unwrap();
    assert_eq!(event(&mut watching).await, ("Added".into(), "x".into(), "base".into(), vcp.fence));
    assert_eq!(event(&mut watching).await, ("Added".into(), "y".into(), "own".into(), own.revision()));
    let WatchItem::Bookmark { revision, initial_events_end: true } = next(&mut watching).await.unwrap()
    else {
        panic!("no bookmark");
    };
    assert!(revision >= own.revision());
    let deleted = remove(&registry, &vcp, &key("l", "x")).await;
    assert_eq!(event(&mut watching).await, ("Deleted".into(), "x".into(), "base".into(), deleted));
    let later = put(&registry, &vcp, &key("a", "y"), "2").await;
    assert_eq!(event(&mut watching).await.3, later.revision());
    // One namespace, and one name.
    for (namespace, name, wanted) in [
        (Some("a"), None, vec!["a/y"]),
        (None, Some("y"), vec!["a/y", "l/y"]),
        (Some("l"), Some("y"), vec!["l/y"]),
    ] {
        let request = WatchRequest {
            namespace: namespace.map(Into::into),
            name: name.map(Into::into),
            from,
            bookmarks: false,
        };
        let mut watching: Watching = Box::pin(registry.watch(&vcp, &config_maps(), request).await.unwrap());
        let mut seen = Vec::new();
        while let WatchItem::Event { kind: EventKind::Added, object, .. } = next(&mut watching).await.unwrap()
        {
            seen.push(format!("{}/{}", object.namespace().unwrap(), object.name()));
        }
        assert_eq!(seen, wanted);
    }
    let ahead = WatchFrom::InitialEvents { not_older_than: u64::MAX / 2, bookmark: true };
    assert!(matches!(watch(&registry, &vcp, ahead).await.err(), Some(Error::TooLarge { .. })));
}

pub async fn compacted_history_expires_a_watch(store: SharedStore) {
    let registry = open(&store).await;
    let vcp = vcp(&registry, 1, &[]).await;
    let start = list(&registry, &vcp).await.revision;
    for i in 0..5 {
        put(&registry, &vcp, &key("a", "x"), &i.to_string()).await;
    }
    let last = store.current_revision().await.unwrap();
    store.compact(last).await.unwrap();
    // In memory it is remembered; where it is not, nobody can tell.
    let mut remembered = watch(&registry, &vcp, WatchFrom::Revision(start)).await.unwrap();
    assert_eq!(event(&mut remembered).await.2, "0");
    let other = open(&store).await;
    let failure = match watch(&other, &vcp, WatchFrom::Revision(start)).await {
        Err(error) => error,
        Ok(mut watching) => next(&mut watching).await.expect_err("history is gone"),
    };
    assert!(matches!(failure, Error::Expired { requested, .. } if requested == start), "{failure:?}");
    let exact = kplane_registry::ListRequest {
        version: kplane_registry::ResourceVersion::Exact(start),
        ..Default::default()
    };
    let list = other.list(&vcp, &config_maps(), exact).await;
    assert!(matches!(list, Err(Error::Expired { .. })), "{list:?}");
    let mut now = watch(&other, &vcp, WatchFrom::Revision(last)).await.unwrap();
    put(&registry, &vcp, &key("a", "x"), "new").await;
    assert_eq!(event(&mut now).await.2, "new");
}

pub async fn a_slow_reader_is_cut_off(store: SharedStore) {
    let options = RegistryOptions { watch_buffer: 4, ..options() };
    let registry = Registry::open(store, options).await.unwrap();
    let vcp = vcp(&registry, 1, &[]).await;
    let mut slow = watch(&registry, &vcp, WatchFrom::Now).await.unwrap();
    for i in 0..10 {
        put(&registry, &vcp, &key("a", "x"), &i.to_string()).await;
    }
    registry.ready().await.unwrap();
    for i in 0..4 {
        assert_eq!(event(&mut slow).await.2, i.to_string());
    }
    assert!(matches!(next(&mut slow).await, Err(Error::TooSlow)));
    assert!(slow.next().await.is_none());
}

pub async fn what_runs_out_is_deleted(store: SharedStore) {
    let registry = open(&store).await;
    let vcp = vcp(&registry, 1, &[]).await;
    let mut watching = watch(&registry, &vcp, WatchFrom::Now).await.unwrap();
    let key = key("a", "brief");
    let ttl = Some(Duration::from_secs(1));
    registry.create(&vcp, &key, encoded(&key, "1"), ttl, Default::default()).await.unwrap();
    assert_eq!(event(&mut watching).await.0, "Added");
    let (kind, name, text, revision) = event(&mut watching).await;
    assert_eq!((kind.as_str(), name.as_str(), text.as_str()), ("Deleted", "brief", "1"));
    assert!(revision > vcp.fence);
    assert!(registry.get(&vcp, &key).await.unwrap().is_none());
}
