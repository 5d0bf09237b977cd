//! The etcd store keeps the contract, over connections that break too.

use std::time::Duration;

use kplane_storage::testing::EtcdServer;
use kplane_storage::{Bytes, Error, EtcdOptions, EtcdStore, Store, WatchEvent, WatchRequest, WatchStream};

async fn on_etcd() -> (EtcdStore, EtcdServer) {
    let server = EtcdServer::start().await;
    let store = EtcdStore::connect(EtcdOptions::new([server.endpoint()])).await.unwrap();
    (store, server)
}

kplane_storage::contract_suite!(on_etcd());

async fn put(store: &EtcdStore, value: &'static str) -> u64 {
    // After a restart the first attempt may meet the connection that broke.
    loop {
        match store.put(Bytes::from("/a"), Bytes::from(value)).await {
            Ok(revision) => return revision,
            Err(Error::Unavailable(_) | Error::UnknownOutcome(_)) => {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            Err(error) => panic!("{error:?}"),
        }
    }
}

async fn next(watch: &mut WatchStream) -> Result<WatchEvent, Error> {
    tokio::time::timeout(Duration::from_secs(30), watch.recv()).await.unwrap().unwrap()
}

async fn seen(watch: &mut WatchStream) -> (u64, String) {
    match next(watch).await.unwrap() {
        WatchEvent::Events { revision, events } => {
            (revision, String::from_utf8(events[0].kv.value.to_vec()).unwrap())
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_survives_a_restart_of_etcd() {
    let (store, mut server) = on_etcd().await;
    let mut watch = store.watch(WatchRequest::prefix("/")).await.unwrap();
    let first = put(&store, "1").await;
    assert_eq!(seen(&mut watch).await, (first, "1".into()));
    server.kill();
    let error = store.put(Bytes::from("/b"), Bytes::from("x")).await.unwrap_err();
    assert!(error.is_retriable() || error.is_unknown_outcome(), "{error:?}");
    server.resume().await;
    let second = put(&store, "2").await;
    loop {
        let (revision, value) = seen(&mut watch).await;
        if value != "x" {
            assert_eq!((revision, value), (second, "2".into()));
            break;
        }
    }
    // It answers about its progress as before.
    watch.request_progress();
    match next(&mut watch).await.unwrap() {
        WatchEvent::Progress(at) => assert!(at >= second),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_closed_store_ends_its_watches() {
    let (store, _server) = on_etcd().await;
    let mut watch = store.watch(WatchRequest::prefix("/")).await.unwrap();
    store.close().await.unwrap();
    assert!(matches!(next(&mut watch).await, Err(Error::Unavailable(_))));
    assert!(matches!(store.current_revision().await, Err(Error::Unavailable(_))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_at_the_endpoint_is_unavailable() {
    let mut options = EtcdOptions::new(["http://127.0.0.1:1"]);
    options.request_timeout = Duration::from_secs(1);
    let error = EtcdStore::connect(options).await.unwrap_err();
    assert!(error.is_retriable(), "{error:?}");
}

/// A member that is down does not make requests fail while another one serves.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_endpoint_does_no_harm() {
    let server = EtcdServer::start().await;
    let endpoints = ["http://127.0.0.1:1".to_owned(), server.endpoint()];
    let store = EtcdStore::connect(EtcdOptions::new(endpoints)).await.unwrap();
    let mut watch = store.watch(WatchRequest::prefix("/")).await.unwrap();
    for _ in 0..100 {
        let revision = store.put(Bytes::from("/a"), Bytes::from("1")).await.unwrap();
        let kv = store.get(b"/a", None).await.unwrap().kv.unwrap();
        assert_eq!(kv.mod_revision, revision);
        assert_eq!(seen(&mut watch).await.0, revision);
    }
}

/// Over TLS each side shows a certificate of the authority; without one there is no way in.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_with_client_certificates() {
    let ca_key = rcgen::KeyPair::generate().unwrap();
    let mut ca = rcgen::CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca_cert = ca.self_signed(&ca_key).unwrap();
    let issuer = rcgen::Issuer::new(ca, ca_key);
    let issue = |purpose| {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        params.extended_key_usages = vec![purpose];
        let cert = params.signed_by(&key, &issuer).unwrap();
        (cert.pem(), key.serialize_pem())
    };
    let (cert, key) = issue(rcgen::ExtendedKeyUsagePurpose::ServerAuth);
    let server = EtcdServer::start_tls(&ca_cert.pem(), &cert, &key).await;

    let (cert, key) = issue(rcgen::ExtendedKeyUsagePurpose::ClientAuth);
    let mut options = EtcdOptions::new([server.endpoint()]);
    options.ca = Some(ca_cert.pem().into_bytes());
    options.request_timeout = Duration::from_secs(3);
    assert!(EtcdStore::connect(options.clone()).await.is_err());

    options.cert = Some(cert.into_bytes());
    options.key = Some(key.into_bytes());
    let store = EtcdStore::connect(options).await.unwrap();
    let mut watch = store.watch(WatchRequest::prefix("/")).await.unwrap();
    let revision = put(&store, "1").await;
    assert_eq!(seen(&mut watch).await, (revision, "1".into()));
}
