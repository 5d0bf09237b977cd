//! Watches, and keys with a time to live.

use std::time::Duration;

use super::{change, changes, delete, next, put, text, value};
use crate::{Error, EventKind, Op, Store, Txn, WatchEvent, WatchRequest};

/// What is written after a watch was made is seen.
pub async fn a_watch_sees_what_comes(store: &impl Store) {
    put(store, "/before", "1").await;
    let mut watch = store.watch(WatchRequest::prefix("/")).await.expect("it");
    let revision = put(store, "/a", "1").await;
    let (at, events) = changes(&mut watch).await;
    assert_eq!((at, events.len()), (revision, 1));
    assert_eq!(events[0].kind, EventKind::Put);
    assert_eq!(text(&events[0].kv.value), "1");
    assert_eq!(events[0].kv.create_revision, revision);
    let revision = delete(store, "/a").await;
    let event = change(&mut watch).await;
    assert_eq!(event.kind, EventKind::Delete);
    assert_eq!(text(&event.kv.key), "/a");
    assert_eq!(event.kv.mod_revision, revision);
}

/// History from a revision on, itself included, and then what comes.
pub async fn a_watch_replays_and_goes_on(store: &impl Store) {
    put(store, "/a", "1").await;
    let from = put(store, "/a", "2").await;
    delete(store, "/a").await;
    put(store, "/a", "3").await;
    let mut watch = store.watch(WatchRequest::prefix("/").from(from)).await.expect("it");
    put(store, "/a", "4").await;
    let mut seen = Vec::new();
    for at in from..from + 4 {
        let event = change(&mut watch).await;
        assert_eq!(event.kv.mod_revision, at);
        seen.push((event.kind, text(&event.kv.value)));
    }
    assert_eq!(
        seen,
        [
            (EventKind::Put, "2".into()),
            (EventKind::Delete, String::new()),
            (EventKind::Put, "3".into()),
            (EventKind::Put, "4".into()),
        ]
    );
}

/// A watch may start at a revision that is yet to come.
pub async fn a_watch_waits_for_a_future_revision(store: &impl Store) {
    let now = put(store, "/a", "1").await;
    let mut watch = store.watch(WatchRequest::prefix("/").from(now + 3)).await.expect("it");
    for value in ["2", "3", "4"] {
        put(store, "/a", value).await;
    }
    let event = change(&mut watch).await;
    assert_eq!(event.kv.mod_revision, now + 3);
    assert_eq!(text(&event.kv.value), "4");
}

/// Keys outside the range are not seen.
pub async fn a_watch_sees_only_its_range(store: &impl Store) {
    let mut watch = store
        .watch(WatchRequest { start: "/b".into(), end: "/d".into(), start_revision: None })
        .await
        .expect("it");
    for key in ["/a", "/b", "/d", "/c"] {
        put(store, key, key).await;
    }
    assert_eq!(text(&change(&mut watch).await.kv.key), "/b");
    assert_eq!(text(&change(&mut watch).await.kv.key), "/c");
}

/// Each change comes with what was before, live and replayed.
pub async fn a_watch_has_the_previous_values(store: &impl Store) {
    let mut live = store.watch(WatchRequest::prefix("/")).await.expect("it");
    let first = put(store, "/a", "1").await;
    put(store, "/a", "2").await;
    delete(store, "/a").await;
    put(store, "/a", "3").await;
    let mut replayed = store.watch(WatchRequest::prefix("/").from(first)).await.expect("it");
    for watch in [&mut live, &mut replayed] {
        assert_eq!(change(watch).await.prev_kv, None);
        let event = change(watch).await;
        let prev = event.prev_kv.expect("a previous value");
        assert_eq!((text(&prev.value), prev.mod_revision), ("1".into(), first));
        let event = change(watch).await;
        assert_eq!(event.kind, EventKind::Delete);
        let prev = event.prev_kv.expect("a previous value");
        assert_eq!((text(&prev.value), prev.version), ("2".into(), 2));
        assert_eq!(change(watch).await.prev_kv, None);
    }
}

/// All changes of a transaction come at once, live and replayed, even large ones.
pub async fn a_watch_never_splits_a_revision(store: &impl Store) {
    let mut live = store.watch(WatchRequest::prefix("/")).await.expect("it");
    let txn = Txn::new().and_then((0..100).map(|n| Op::put(format!("/k/{n:03}"), vec![b'x'; 12_000])));
    let revision = store.txn(txn).await.expect("it").revision;
    put(store, "/z", "after").await;
    let mut replayed = store.watch(WatchRequest::prefix("/").from(revision)).await.expect("it");
    for watch in [&mut live, &mut replayed] {
        let (at, events) = changes(watch).await;
        assert_eq!((at, events.len()), (revision, 100));
        let (at, events) = changes(watch).await;
        assert_eq!((at, events.len()), (revision + 1, 1));
    }
}

/// History that was compacted cannot be watched, and the error says from where it can.
pub async fn a_watch_of_compacted_history_fails(store: &impl Store) {
    let first = put(store, "/a", "1").await;
    put(store, "/a", "2").await;
    let third = put(store, "/a", "3").await;
    store.compact(third).await.expect("a compaction");
    let error = match store.watch(WatchRequest::prefix("/").from(first)).await {
        Err(error) => error,
        Ok(mut watch) => next(&mut watch).await.expect_err("compacted"),
    };
    assert!(matches!(error, Error::Compacted { compact_revision } if compact_revision == third), "{error:?}");
}

/// The compacted revision itself can be watched.
pub async fn a_watch_may_start_at_the_compacted_revision(store: &impl Store) {
    put(store, "/a", "1").await;
    let second = put(store, "/a", "2").await;
    store.compact(second).await.expect("a compaction");
    let mut watch = store.watch(WatchRequest::prefix("/").from(second)).await.expect("it");
    put(store, "/a", "3").await;
    assert_eq!(text(&change(&mut watch).await.kv.value), "2");
    assert_eq!(text(&change(&mut watch).await.kv.value), "3");
}

/// Asked for its progress, a watch tells a revision that is not older than the question, also
/// when nothing in its range changed.
pub async fn progress_is_told_on_request(store: &impl Store) {
    let mut watch = store.watch(WatchRequest::prefix("/mine/")).await.expect("it");
    put(store, "/mine/a", "1").await;
    for _ in 0..3 {
        let asked = put(store, "/other", "1").await;
        watch.request_progress();
        let mut last = 0;
        loop {
            let event = next(&mut watch).await.expect("no error");
            assert!(event.revision() >= last, "{event:?}");
            last = event.revision();
            if matches!(event, WatchEvent::Progress(at) if at >= asked) {
                break;
            }
        }
    }
}

/// A reader that takes its time gets everything, in order.
pub async fn a_slow_watch_misses_nothing(store: &impl Store) {
    const CHANGES: u64 = 1500;
    let mut watch = store.watch(WatchRequest::prefix("/")).await.expect("it");
    let before = store.current_revision().await.expect("it");
    let writes = (0..CHANGES).map(|n| async move {
        let value = format!("{n:0>1000}");
        put(store, &format!("/{}", n % 7), &value).await
    });
    futures::future::join_all(writes).await;
    for at in before + 1..=before + CHANGES {
        let (revision, events) = changes(&mut watch).await;
        assert_eq!((revision, events.len()), (at, 1));
    }
}

/// Watches from different revisions agree.
pub async fn many_watches_see_the_same(store: &impl Store) {
    let mut watches = Vec::new();
    let mut last = 0;
    for n in 0..5 {
        last = put(store, "/a", &n.to_string()).await;
        let request = WatchRequest::prefix("/").from(last);
        watches.push((last, store.watch(request).await.expect("it")));
    }
    for (from, watch) in &mut watches {
        for at in *from..=last {
            assert_eq!(change(watch).await.kv.mod_revision, at);
        }
    }
}

/// A key with a time to live is deleted by the store, as a change that watches see.
pub async fn a_key_with_a_ttl_goes_by_itself(store: &impl Store) {
    let mut watch = store.watch(WatchRequest::prefix("/")).await.expect("it");
    let txn = Txn::new().and_then([Op::put_with_ttl("/a", "1", Duration::from_secs(1))]);
    let written = store.txn(txn).await.expect("it").revision;
    assert_eq!(value(store, "/a").await.as_deref(), Some("1"));
    assert_eq!(change(&mut watch).await.kind, EventKind::Put);
    let event = change(&mut watch).await;
    assert_eq!(event.kind, EventKind::Delete);
    assert!(event.kv.mod_revision > written);
    assert_eq!(event.prev_kv.expect("it").mod_revision, written);
    assert_eq!(value(store, "/a").await, None);
}

/// A key written again without a time to live stays.
pub async fn writing_a_key_again_takes_its_ttl_away(store: &impl Store) {
    let mut watch = store.watch(WatchRequest::prefix("/marker")).await.expect("it");
    let ttl = Duration::from_secs(1);
    let txn = Txn::new().and_then([Op::put_with_ttl("/a", "1", ttl)]);
    store.txn(txn).await.expect("it");
    put(store, "/a", "2").await;
    // The marker expires later than the key would have.
    let txn = Txn::new().and_then([Op::put_with_ttl("/marker", "1", 2 * ttl)]);
    store.txn(txn).await.expect("it");
    assert_eq!(change(&mut watch).await.kind, EventKind::Put);
    assert_eq!(change(&mut watch).await.kind, EventKind::Delete);
    assert_eq!(value(store, "/a").await.as_deref(), Some("2"));
}
