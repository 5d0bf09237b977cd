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
