//! The suite over etcd.

mod suite;

use kplane_storage::testing::EtcdServer;
use kplane_storage::{EtcdOptions, EtcdStore};

async fn etcd() -> (EtcdStore, EtcdServer) {
    let server = EtcdServer::start().await;
    let store = EtcdStore::connect(EtcdOptions::new([server.endpoint()])).await.unwrap();
    (store, server)
}

registry_suite!(etcd());

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_was_away_leaves_no_gap() {
    use kplane_registry::{Error, WatchFrom};

    let (store, mut server) = etcd().await;
    let store: kplane_storage::SharedStore = std::sync::Arc::new(store);
    let registry = suite::open(&store).await;
    let root = registry.root();
    let first = suite::put(&registry, &root, &suite::key("a", "x"), "1").await;
    let mut watching = suite::watch(&registry, &root, WatchFrom::Revision(first.revision())).await.unwrap();
    server.kill();
    server.resume().await;
    let key = suite::key("a", "y");
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    // Until the connection is there again a read says that it failed, and never that there is nothing.
    let written = loop {
        assert!(std::time::Instant::now() < deadline, "the store did not come back");
        match registry.get(&root, &key).await {
            Ok(None) => {
                let created =
                    registry.create(&root, &key, suite::encoded(&key, "2"), None, Default::default()).await;
                if let Ok(created) = created {
                    break created;
                }
            }
            Ok(Some(created)) => break created,
            Err(_) => {}
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    };
    assert_eq!(suite::names(&suite::list(&registry, &root).await), ["a/x", "a/y"]);
    // Either the watch went on, or it says that it did not.
    match suite::next(&mut watching).await {
        Ok(kplane_registry::WatchItem::Event { object, .. }) => assert_eq!(object, written),
        Err(Error::Expired { .. }) => {}
        other => panic!("{other:?}"),
    }
}
