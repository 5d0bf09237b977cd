//! Writes that the store leaves without an answer.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use kplane_registry::{Error, ObjectKey, WriteError};
use kplane_storage::{
    Bytes, GetResponse, Op, RangeRequest, RangeResponse, Result, Revision, SharedStore, Store, StoreStatus,
    Txn, TxnResponse, WatchRequest, WatchStream,
};

use super::*;

/// How long a write takes that is late.
const LATE: Duration = Duration::from_millis(20);

/// What becomes of a write that has no answer.
#[derive(Debug)]
enum Fate {
    /// It is done, and then this.
    Done(Option<Txn>),
    /// It is never done; this is, instead.
    Lost(Option<Txn>),
    /// It is done some time after.
    Late,
}

/// A store whose next writes meet these fates.
#[derive(Debug)]
struct Unanswering {
    inner: SharedStore,
    fates: Mutex<VecDeque<Fate>>,
    /// No write has an answer, or is done.
    mute: AtomicBool,
}

impl Unanswering {
    fn next(&self, fates: impl IntoIterator<Item = Fate>) {
        *self.fates.lock().unwrap_or_else(PoisonError::into_inner) = fates.into_iter().collect();
    }

    fn fate(&self, txn: &Txn) -> Option<Fate> {
        if self.mute.load(Ordering::SeqCst) && txn.success.iter().any(Op::is_write) {
            return Some(Fate::Lost(None));
        }
        // Writes of objects, not of tickets.
        let write = !txn.compares.is_empty() && txn.success.iter().any(Op::is_write);
        write.then(|| self.fates.lock().unwrap_or_else(PoisonError::into_inner).pop_front()).flatten()
    }
}

#[async_trait]
impl Store for Unanswering {
    async fn get(&self, key: &[u8], at: Option<Revision>) -> Result<GetResponse> {
        self.inner.get(key, at).await
    }

    async fn range(&self, request: RangeRequest) -> Result<RangeResponse> {
        self.inner.range(request).await
    }

    async fn txn(&self, txn: Txn) -> Result<TxnResponse> {
        let then = match self.fate(&txn) {
            None => return self.inner.txn(txn).await,
            Some(Fate::Done(then)) => {
                self.inner.txn(txn).await?;
                then
            }
            Some(Fate::Lost(then)) => then,
            Some(Fate::Late) => {
                let inner = self.inner.clone();
                tokio::spawn(async move {
                    tokio::time::sleep(LATE).await;
                    inner.txn(txn).await
                });
                None
            }
        };
        if let Some(then) = then {
            self.inner.txn(then).await?;
        }
        Err(kplane_storage::Error::UnknownOutcome("nobody answered".into()))
    }

    async fn watch(&self, request: WatchRequest) -> Result<WatchStream> {
        self.inner.watch(request).await
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

async fn unanswering(store: SharedStore) -> (Arc<Unanswering>, Registry) {
    let store = Arc::new(Unanswering { inner: store, fates: Mutex::default(), mute: AtomicBool::new(false) });
    let registry = Registry::open(store.clone(), options()).await.unwrap();
    (store, registry)
}

/// The key that an object has in the store.
fn store_key(vcp: &Vcp, key: &ObjectKey) -> Bytes {
    let id = vcp.id.to_string();
    format!("/kplane/{id}//configmaps/{}/{}", key.namespace.as_deref().unwrap(), key.name).into()
}

/// Every fate of one attempt, and of some in a row.
const FATES: [fn() -> Vec<Fate>; 6] = [
    || vec![Fate::Done(None)],
    || vec![Fate::Lost(None)],
    || vec![Fate::Late],
    || vec![Fate::Lost(None), Fate::Done(None)],
    || vec![Fate::Late, Fate::Lost(None)],
    || vec![Fate::Lost(None), Fate::Lost(None), Fate::Lost(None)],
];

pub async fn a_write_without_an_answer_is_done_once(store: SharedStore) {
    let (store, registry) = unanswering(store).await;
    let vcp = vcp(&registry, 1, &[&layer(&["inherited"], "base")]).await;
    let key = key("l", "x");
    let mut watching = watch(&registry, &vcp, WatchFrom::Now).await.unwrap();
    for fates in FATES {
        let said = format!("{:?}", fates());
        store.next(fates());
        let created =
            registry.create(&vcp, &key, encoded(&key, "1"), None, Default::default()).await.expect(&said);
        store.next(fates());
        let updated = registry.update(&vcp, &key, &created, encoded(&key, "2"), None, Default::default());
        let updated = updated.await.expect(&said);
        assert!(updated.revision() > created.revision(), "{said}");
        assert_eq!(registry.get(&vcp, &key).await.unwrap().as_ref(), Some(&updated), "{said}");
        store.next(fates());
        registry.delete(&vcp, &key, &updated, Default::default()).await.expect(&said);
        assert!(registry.get(&vcp, &key).await.unwrap().is_none(), "{said}");
        // What is late must not come after all.
        tokio::time::sleep(2 * LATE).await;
        for (kind, data, revision) in
            [("Added", "1", created.revision()), ("Modified", "2", updated.revision())]
        {
            let (was, _, held, at) = event(&mut watching).await;
            assert_eq!((was.as_str(), held.as_str(), at), (kind, data, revision), "{said}");
        }
        assert_eq!(event(&mut watching).await.0, "Deleted", "{said}");
    }
    assert!(registry.get(&vcp, &key).await.unwrap().is_none());
}

pub async fn what_a_layer_has_is_hidden_and_replaced_without_an_answer(store: SharedStore) {
    let (store, registry) = unanswering(store).await;
    let vcp = vcp(&registry, 1, &[&layer(&["x", "y"], "base")]).await;
    for fate in [|| Fate::Done(None), || Fate::Lost(None), || Fate::Late] {
        let key = key("l", "x");
        let inherited = registry.get(&vcp, &key).await.unwrap().unwrap();
        store.next([fate()]);
        registry.delete(&vcp, &key, &inherited, Default::default()).await.unwrap();
        assert!(registry.get(&vcp, &key).await.unwrap().is_none());
        store.next([fate()]);
        let created =
            registry.create(&vcp, &key, encoded(&key, "own"), None, Default::default()).await.unwrap();
        assert_eq!(registry.get(&vcp, &key).await.unwrap(), Some(created));
        // As it was.
        store.inner.delete(store_key(&vcp, &key)).await.unwrap();
    }
}

pub async fn anothers_write_of_the_same_is_not_taken_for_the_own(store: SharedStore) {
    let (store, registry) = unanswering(store).await;
    let vcp = vcp(&registry, 1, &[]).await;
    let key = key("a", "x");
    let place = store_key(&vcp, &key);
    let base = put(&registry, &vcp, &key, "1").await;
    let other = put(&registry, &vcp, &super::key("a", "other"), "2").await;
    // The bytes of another's write of the very same, which has another mark.
    let twin_key = super::key("a", "twin");
    registry.create(&vcp, &twin_key, encoded(&key, "2"), None, Default::default()).await.unwrap();
    let twin = store.inner.get(&store_key(&vcp, &twin_key), None).await.unwrap().kv.unwrap();
    let write = |value: Bytes| Some(Txn::new().and_then([Op::put(place.clone(), value)]));
    store.next([Fate::Lost(write(twin.value.clone()))]);
    match registry.update(&vcp, &key, &base, encoded(&key, "2"), None, Default::default()).await {
        Err(WriteError::Conflict(Some(now))) => assert_eq!(data(&now), "2"),
        other => panic!("{other:?}"),
    }
    // The own was done, then came another.
    let base = registry.get(&vcp, &key).await.unwrap().unwrap();
    store.next([Fate::Done(write(twin.value.clone()))]);
    let done =
        registry.update(&vcp, &key, &base, encoded(&key, "3"), None, Default::default()).await.unwrap();
    assert_eq!(data(&done), "3");
    let now = registry.get(&vcp, &key).await.unwrap().unwrap();
    assert!(now.revision() > done.revision() && data(&now) == "2");
    let fresh = super::key("a", "fresh");
    let taken = Txn::new().and_then([Op::put(store_key(&vcp, &fresh), twin.value.clone())]);
    store.next([Fate::Lost(Some(taken))]);
    let exists = registry.create(&vcp, &fresh, encoded(&fresh, "2"), None, Default::default()).await;
    assert!(matches!(exists, Err(WriteError::AlreadyExists)), "{exists:?}");
    assert!(registry.get(&vcp, &super::key("a", "other")).await.unwrap() == Some(other));
}

pub async fn a_write_is_told_not_done_or_not_known(store: SharedStore) {
    let (store, registry) = unanswering(store).await;
    let vcp = vcp(&registry, 1, &[]).await;
    let key = key("a", "x");
    store.next((0..8).map(|_| Fate::Lost(None)));
    let not_done = registry.create(&vcp, &key, encoded(&key, "1"), None, Default::default()).await;
    assert!(matches!(not_done, Err(WriteError::Store(Error::Unavailable(_)))), "{not_done:?}");
    // Tickets have no answer either.
    store.mute.store(true, Ordering::SeqCst);
    let unknown = registry.create(&vcp, &key, encoded(&key, "1"), None, Default::default()).await;
    assert!(matches!(unknown, Err(WriteError::Unknown(_))), "{unknown:?}");
    store.mute.store(false, Ordering::SeqCst);
    registry.create(&vcp, &key, encoded(&key, "1"), None, Default::default()).await.unwrap();
}

/// Whoever reads it may be an older version.
pub async fn data_of_the_first_format_stays_without_marks(store: SharedStore) {
    store.put(Bytes::from_static(b"/kplane/.meta/format"), Bytes::from_static(b"1")).await.unwrap();
    let (store, registry) = unanswering(store).await;
    let vcp = vcp(&registry, 1, &[]).await;
    let key = key("a", "x");
    let stored = put(&registry, &vcp, &key, "1").await;
    let value = store.inner.get(&store_key(&vcp, &key), None).await.unwrap().kv.unwrap().value;
    assert_eq!(value.first(), Some(&1));
    assert_eq!(registry.get(&vcp, &key).await.unwrap(), Some(stored.clone()));
    store.next([Fate::Done(None)]);
    let unknown = registry.update(&vcp, &key, &stored, encoded(&key, "2"), None, Default::default()).await;
    assert!(matches!(unknown, Err(WriteError::Unknown(_))), "{unknown:?}");
}
