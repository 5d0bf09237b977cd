//! The life of control planes, and of what is in memory.

use kplane_registry::{Error, VcpId, VcpState, WatchFrom, WriteError};
use kplane_storage::{
    Bytes, GetResponse, RangeRequest, RangeResponse, Revision, SharedStore, Store, StoreStatus, Txn,
    TxnResponse, WatchStream,
};

use super::*;

/// A store whose watches tell nothing.
#[derive(Debug)]
struct Silent(SharedStore);

#[async_trait::async_trait]
impl Store for Silent {
    async fn get(&self, key: &[u8], at: Option<Revision>) -> kplane_storage::Result<GetResponse> {
        self.0.get(key, at).await
    }
    async fn range(&self, request: RangeRequest) -> kplane_storage::Result<RangeResponse> {
        self.0.range(request).await
    }
    async fn txn(&self, txn: Txn) -> kplane_storage::Result<TxnResponse> {
        self.0.txn(txn).await
    }
    async fn watch(&self, _: kplane_storage::WatchRequest) -> kplane_storage::Result<WatchStream> {
        self.0.watch(kplane_storage::WatchRequest::prefix("/nothing/")).await
    }
    async fn compact(&self, revision: Revision) -> kplane_storage::Result<()> {
        self.0.compact(revision).await
    }
    async fn current_revision(&self) -> kplane_storage::Result<Revision> {
        self.0.current_revision().await
    }
    async fn status(&self) -> kplane_storage::Result<StoreStatus> {
        self.0.status().await
    }
    async fn close(&self) -> kplane_storage::Result<()> {
        self.0.close().await
    }
}

fn silent(store: &SharedStore) -> SharedStore {
    Arc::new(Silent(store.clone()))
}

pub async fn a_closed_control_plane_refuses_writers_who_have_not_noticed(store: SharedStore) {
    let registry = open(&store).await;
    let vcp = vcp(&registry, 1, &[&layer(&["x"], "base")]).await;
    let kept = put(&registry, &vcp, &key("a", "kept"), "1").await;
    let unaware = open(&silent(&store)).await;
    let theirs = unaware.vcp("vcp-1").await.unwrap().unwrap();
    put(&unaware, &theirs, &key("a", "before"), "1").await;

    registry.close_vcp(vcp.id, VcpState::Detached).await.unwrap();
    assert!(registry.vcp("vcp-1").await.unwrap().is_none());
    assert!(matches!(registry.get(&vcp, &key("a", "kept")).await, Err(Error::VcpGone)));
    let late = key("a", "late");
    let created = unaware.create(&theirs, &late, encoded(&late, "1"), None, Default::default()).await;
    assert!(matches!(created, Err(WriteError::VcpGone)), "{created:?}");
    let kept_key = key("a", "kept");
    let updated =
        unaware.update(&theirs, &kept_key, &kept, encoded(&kept_key, "2"), None, Default::default()).await;
    assert!(matches!(updated, Err(WriteError::VcpGone)), "{updated:?}");
    let deleted = unaware.delete(&theirs, &kept_key, &kept, Default::default()).await;
    assert!(matches!(deleted, Err(WriteError::VcpGone)), "{deleted:?}");
    assert!(matches!(unaware.get(&theirs, &kept_key).await, Err(Error::VcpGone)));

    // Opened again it has what it had, and those who have not noticed may go on.
    registry.reopen_vcp(vcp.id).await.unwrap();
    let back = registry.vcp("vcp-1").await.unwrap().unwrap();
    assert_eq!(names(&list(&registry, &back).await), ["a/before", "a/kept", "l/x"]);
    unaware.create(&theirs, &late, encoded(&late, "1"), None, Default::default()).await.unwrap();
}

pub async fn destroying_takes_everything_and_nothing_else(store: SharedStore) {
    let registry = open(&store).await;
    let (one, two) = (vcp(&registry, 1, &[]).await, vcp(&registry, 2, &[]).await);
    for i in 0..230 {
        put(&registry, &one, &key("a", &format!("x{i}")), "1").await;
    }
    put(&registry, &two, &key("a", "x"), "1").await;
    assert!(registry.destroy_range(one.id).await.is_err());
    let mut watching = watch(&registry, &one, WatchFrom::Now).await.unwrap();
    registry.close_vcp(one.id, VcpState::Destroying).await.unwrap();
    assert!(matches!(next(&mut watching).await, Err(Error::VcpGone)));
    registry.destroy_range(one.id).await.unwrap();
    assert!(registry.vcp_by_id(one.id).await.unwrap().is_none());
    let left = store.range(RangeRequest::prefix(format!("/kplane/{}/", one.id))).await.unwrap();
    assert_eq!(left.count, 0);
    assert_eq!(list(&registry, &two).await.items.len(), 1);
    // Another of the same name has nothing of it.
    let new = kplane_registry::NewVcp {
        uid: uid(3),
        name: "vcp-1".into(),
        created: 0,
        layers: Vec::new(),
        parameters: None,
        credentials: Default::default(),
    };
    let again = registry.create_vcp(&new).await.unwrap();
    assert!(list(&registry, &again).await.items.is_empty());
}

pub async fn moved_layers_expire_watches_and_show_in_lists(store: SharedStore) {
    let (registry, other) = (open(&store).await, open(&store).await);
    let vcp = vcp(&registry, 1, &[&layer(&["x", "y"], "old")]).await;
    let before = list(&registry, &vcp).await;
    let mut watching = watch(&registry, &vcp, WatchFrom::Revision(before.revision)).await.unwrap();
    let mut theirs = watch(&other, &vcp, WatchFrom::Now).await.unwrap();
    put(&registry, &vcp, &key("l", "y"), "own").await;
    assert_eq!(event(&mut watching).await.0, "Modified");
    assert_eq!(event(&mut theirs).await.0, "Modified");
    let new = other.ensure_layer(&layer(&["x", "y", "z"], "new")).await.unwrap();
    other.set_layers(vcp.id, &[new], None).await.unwrap();
    assert!(matches!(next(&mut watching).await, Err(Error::Expired { .. })));
    assert!(matches!(next(&mut theirs).await, Err(Error::Expired { .. })));
    let after = list(&registry, &vcp).await;
    let texts: Vec<String> = after.items.iter().map(data).collect();
    assert_eq!(texts, ["new", "own", "new"]);
    // A writer who knows the old pin writes by the new one.
    put(&registry, &vcp, &key("l", "z"), "own").await;
    let old = watch(&registry, &vcp, WatchFrom::Revision(before.revision)).await;
    assert!(matches!(old.err(), Some(Error::Expired { .. })));
    // What was read under the old layers is not what there is.
    let inherited = before.items[0].clone();
    let x = key("l", "x");
    let stale = registry.update(&vcp, &x, &inherited, encoded(&x, "own"), None, Default::default()).await;
    assert!(matches!(stale, Err(WriteError::Conflict(Some(now))) if data(&now) == "new"));
}

pub async fn foreign_and_newer_data_are_refused(store: SharedStore) {
    store.put(Bytes::from_static(b"/theirs/registry/pods/a"), Bytes::from_static(b"x")).await.unwrap();
    let options = |prefix: &str| RegistryOptions { prefix: prefix.into(), ..options() };
    let foreign = Registry::open(store.clone(), options("/theirs")).await;
    assert!(matches!(foreign, Err(Error::Foreign { .. })));
    drop(Registry::open(store.clone(), options("/ours")).await.unwrap());
    drop(Registry::open(store.clone(), options("/ours/")).await.unwrap());
    store.put(Bytes::from_static(b"/ours/.meta/format"), Bytes::from_static(b"3")).await.unwrap();
    let newer = Registry::open(store, options("/ours")).await;
    assert!(matches!(newer, Err(Error::NewerFormat { found: 3, .. })));
}

pub async fn idle_resources_leave_memory(store: SharedStore) {
    let options = RegistryOptions { idle: Duration::from_millis(100), ..options() };
    let registry = Registry::open(store, options).await.unwrap();
    let vcp = registry.root();
    assert_eq!((vcp.id, registry.stats().hot_sets), (VcpId::ROOT, 0));
    put(&registry, &vcp, &key("a", "x"), "1").await;
    let watching = watch(&registry, &vcp, WatchFrom::Now).await.unwrap();
    tokio::time::sleep(Duration::from_millis(400)).await;
    let stats = registry.stats();
    assert_eq!((stats.hot_sets, stats.hot_objects, stats.watchers), (1, 1, 1));
    assert!(stats.hot_bytes > 100);
    drop(watching);
    while registry.stats().hot_sets > 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(list(&registry, &vcp).await.items.len(), 1);
}

pub async fn what_is_kept_is_counted(store: SharedStore) {
    let registry = open(&store).await;
    let other = open(&store).await;
    let base = layer(&["inherited"], "base");
    let (a, b) = (vcp(&registry, 1, &[&base]).await, vcp(&registry, 2, &[&base]).await);
    put(&registry, &a, &key("l", "before"), "text").await;
    let first = registry.usage(&a).await.unwrap();
    assert_eq!(first.objects, 1);
    assert!(first.bytes > 50, "{first:?}");
    // What another replica writes is counted here as well; what is inherited, or only hidden, is not.
    put(&other, &a, &key("l", "later"), "a longer text").await;
    put(&other, &b, &key("l", "elsewhere"), "text").await;
    remove(&other, &a, &key("l", "inherited")).await;
    registry.ready().await.unwrap();
    let second = registry.usage(&a).await.unwrap();
    assert_eq!(second.objects, 2);
    assert!(second.bytes > 2 * first.bytes, "{second:?}");
    remove(&registry, &a, &key("l", "before")).await;
    put(&registry, &a, &key("l", "later"), "text").await;
    registry.ready().await.unwrap();
    let last = registry.usage(&a).await.unwrap();
    assert_eq!(last.objects, 1);
    assert_eq!(other.usage(&a).await.unwrap(), last);
}
