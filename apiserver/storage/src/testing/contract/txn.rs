//! Transactions.

use bytes::Bytes;
use futures::future::join_all;

use super::{put, text, value};
use crate::{Compare, CompareOp, Error, MAX_TXN_OPS, Op, OpResult, RangeRequest, Store, Txn};

/// Only the first of two creations succeeds; the other sees what is there.
pub async fn create_if_absent(store: &impl Store) {
    let create = |value: &str| {
        Txn::new()
            .when([Compare::absent("/a")])
            .and_then([Op::put("/a", value.to_owned())])
            .or_else([Op::get("/a")])
    };
    let first = store.txn(create("1")).await.expect("a transaction");
    assert!(first.succeeded);
    assert_eq!(first.results, [OpResult::Put]);
    let second = store.txn(create("2")).await.expect("a transaction");
    assert!(!second.succeeded);
    assert_eq!(second.revision, first.revision);
    let kv = second.kv(0).expect("the key");
    assert_eq!((text(&kv.value), kv.version), ("1".into(), 1));
    assert_eq!(value(store, "/a").await.as_deref(), Some("1"));
}

/// An update succeeds only on the revision it was made from.
pub async fn update_if_unchanged(store: &impl Store) {
    let first = put(store, "/a", "1").await;
    let update = |revision, value: &str| {
        Txn::new()
            .when([Compare::unchanged("/a", revision)])
            .and_then([Op::put("/a", value.to_owned())])
            .or_else([Op::get("/a")])
    };
    let done = store.txn(update(first, "2")).await.expect("it");
    assert!(done.succeeded);
    let refused = store.txn(update(first, "3")).await.expect("it");
    assert!(!refused.succeeded);
    let kv = refused.kv(0).expect("the key");
    assert_eq!(kv.mod_revision, done.revision);
    assert_eq!(value(store, "/a").await.as_deref(), Some("2"));
}

/// Every target with every relation, for a key that is there and one that is not.
pub async fn compares_of_every_kind(store: &impl Store) {
    use CompareOp::{Equal, Greater, Less, NotEqual};
    let created = put(store, "/a", "1").await;
    let modified = put(store, "/a", "2").await;
    let cases = [
        (Compare::mod_revision("/a", Equal, modified), true),
        (Compare::mod_revision("/a", Equal, created), false),
        (Compare::mod_revision("/a", NotEqual, created), true),
        (Compare::mod_revision("/a", Less, modified), false),
        (Compare::mod_revision("/a", Less, modified + 1), true),
        (Compare::mod_revision("/a", Greater, created), true),
        (Compare::create_revision("/a", Equal, created), true),
        (Compare::create_revision("/a", Greater, created), false),
        (Compare::version("/a", Equal, 2), true),
        (Compare::version("/a", Less, 2), false),
        (Compare::version("/none", Equal, 0), true),
        (Compare::mod_revision("/none", Less, 1), true),
        (Compare::exists("/a"), true),
        (Compare::exists("/none"), false),
        (Compare::absent("/none"), true),
        (Compare::absent("/a"), false),
    ];
    for (compare, expected) in cases {
        let response = store.txn(Txn::new().when([compare.clone()])).await.expect("a transaction");
        assert_eq!(response.succeeded, expected, "{compare:?}");
    }
    let both = Txn::new().when([Compare::exists("/a"), Compare::exists("/none")]);
    assert!(!store.txn(both).await.expect("it").succeeded);
}

/// Over a range every key must satisfy the condition; none at all counts as a missing key.
pub async fn compares_over_a_range(store: &impl Store) {
    let first = put(store, "/r/a", "1").await;
    let second = put(store, "/r/b", "1").await;
    let cases = [
        (Compare::range_empty("/r/", "/r0"), false),
        (Compare::range_empty("/s/", "/s0"), true),
        (Compare::exists("/r/").over("/r0"), true),
        (Compare::mod_revision("/r/", CompareOp::Less, second).over("/r0"), false),
        (Compare::mod_revision("/r/", CompareOp::Greater, first - 1).over("/r0"), true),
    ];
    for (compare, expected) in cases {
        let response = store.txn(Txn::new().when([compare.clone()])).await.expect("a transaction");
        assert_eq!(response.succeeded, expected, "{compare:?}");
    }
}

/// All writes of a transaction have its one revision.
pub async fn a_transaction_is_one_revision(store: &impl Store) {
    let before = put(store, "/old", "1").await;
    let response = store
        .txn(Txn::new().and_then([
            Op::put("/a", "1"),
            Op::delete("/old"),
            Op::put("/b", "2"),
            Op::get("/none"),
        ]))
        .await
        .expect("a transaction");
    assert_eq!(response.revision, before + 1);
    assert_eq!(
        response.results,
        [OpResult::Put, OpResult::Deleted { deleted: 1 }, OpResult::Put, OpResult::Get(None)]
    );
    let range = store.range(RangeRequest::prefix("/")).await.expect("a range");
    assert_eq!(range.kvs.len(), 2);
    assert!(range.kvs.iter().all(|kv| kv.mod_revision == before + 1));
}

/// Reads in a transaction see the writes before them.
pub async fn a_transaction_reads_its_own_writes(store: &impl Store) {
    put(store, "/a", "old").await;
    let response = store
        .txn(Txn::new().and_then([
            Op::get("/a"),
            Op::put("/a", "new"),
            Op::get("/a"),
            Op::Range(RangeRequest::prefix("/")),
            Op::delete_range("/b", "/c"),
        ]))
        .await
        .expect("a transaction");
    assert_eq!(text(&response.kv(0).expect("it").value), "old");
    assert_eq!(text(&response.kv(2).expect("it").value), "new");
    match &response.results[3] {
        OpResult::Range(range) => assert_eq!(text(&range.kvs[0].value), "new"),
        other => panic!("{other:?}"),
    }
}

/// Without a change there is no new revision.
pub async fn an_empty_transaction_makes_no_revision(store: &impl Store) {
    let before = put(store, "/a", "1").await;
    for txn in [
        Txn::new(),
        Txn::new().and_then([Op::get("/a")]),
        Txn::new().when([Compare::absent("/a")]).and_then([Op::put("/a", "2")]),
    ] {
        let response = store.txn(txn).await.expect("a transaction");
        assert_eq!(response.revision, before);
    }
    assert_eq!(store.current_revision().await.expect("it"), before);
}

/// A key is put once in a transaction and not also deleted.
pub async fn duplicate_keys_are_refused(store: &impl Store) {
    let before = put(store, "/a", "1").await;
    for ops in [
        vec![Op::put("/a", "2"), Op::put("/a", "3")],
        vec![Op::put("/a", "2"), Op::delete("/a")],
        vec![Op::delete_range("/", "/z"), Op::put("/a", "2")],
    ] {
        let error = store.txn(Txn::new().and_then(ops)).await.expect_err("refused");
        assert!(matches!(error, Error::Invalid(_)), "{error:?}");
    }
    assert_eq!(store.current_revision().await.expect("it"), before);
}

/// The number of operations is limited.
pub async fn too_many_operations_are_refused(store: &impl Store) {
    let ops = |count: usize| Txn::new().and_then((0..count).map(|n| Op::put(format!("/{n}"), Bytes::new())));
    store.txn(ops(MAX_TXN_OPS)).await.expect("just enough");
    let error = store.txn(ops(MAX_TXN_OPS + 1)).await.expect_err("too many");
    assert!(matches!(error, Error::Invalid(_)), "{error:?}");
}

/// Optimistic updates from many at once lose none.
pub async fn concurrent_increments_lose_nothing(store: &impl Store) {
    const WORKERS: usize = 8;
    const TIMES: usize = 10;
    put(store, "/n", "0").await;
    join_all((0..WORKERS).map(|_| async {
        for _ in 0..TIMES {
            loop {
                let kv = store.get(b"/n", None).await.expect("it").kv.expect("it");
                let next = text(&kv.value).parse::<usize>().expect("a number") + 1;
                let txn = Txn::new()
                    .when([Compare::unchanged("/n", kv.mod_revision)])
                    .and_then([Op::put("/n", next.to_string())]);
                if store.txn(txn).await.expect("it").succeeded {
                    break;
                }
            }
        }
    }))
    .await;
    let expected = (WORKERS * TIMES).to_string();
    assert_eq!(value(store, "/n").await, Some(expected));
}

/// Writes made at the same time are never one revision, and each is told its own.
pub async fn concurrent_writes_have_each_their_revision(store: &impl Store) {
    let before = store.current_revision().await.expect("it");
    let mut revisions = join_all((0..50).map(|n| async move {
        let key = format!("/k/{n}");
        let revision = put(store, &key, "v").await;
        let kv = store.get(key.as_bytes(), None).await.expect("it").kv;
        assert_eq!(kv.expect("it").mod_revision, revision);
        revision
    }))
    .await;
    revisions.sort_unstable();
    let expected = (before + 1..=before + 50).collect::<Vec<_>>();
    assert_eq!(revisions, expected);
}
