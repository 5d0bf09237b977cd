//! Reading, deleting, compacting.

use bytes::Bytes;

use super::{delete, put, text, value};
use crate::{Error, MAX_REQUEST_BYTES, Op, OpResult, RangeRequest, Revision, Store, Txn, successor};

fn keys(response: &crate::RangeResponse) -> Vec<String> {
    response.kvs.iter().map(|kv| text(&kv.key)).collect()
}

/// What is written is read back, with its place in history.
pub async fn a_new_key_is_read_back(store: &impl Store) {
    let revision = put(store, "/a", "1").await;
    let response = store.get(b"/a", None).await.expect("a read");
    let kv = response.kv.expect("the key");
    assert_eq!(response.revision, revision);
    assert_eq!((text(&kv.key), text(&kv.value)), ("/a".into(), "1".into()));
    assert_eq!((kv.create_revision, kv.mod_revision, kv.version), (revision, revision, 1));
    assert_eq!(store.current_revision().await.expect("it"), revision);
}

/// A key that does not exist is an answer.
pub async fn a_missing_key_is_no_error(store: &impl Store) {
    let response = store.get(b"/none", None).await.expect("a read");
    assert_eq!(response.kv, None);
    assert_eq!(response.revision, 1, "an empty store is at revision 1");
}

/// Versions begin again when a key is created again.
pub async fn versions_count_from_each_creation(store: &impl Store) {
    let first = put(store, "/a", "1").await;
    let second = put(store, "/a", "2").await;
    let kv = store.get(b"/a", None).await.expect("it").kv.expect("it");
    assert_eq!((kv.create_revision, kv.mod_revision, kv.version), (first, second, 2));
    delete(store, "/a").await;
    let third = put(store, "/a", "3").await;
    let kv = store.get(b"/a", None).await.expect("it").kv.expect("it");
    assert_eq!((kv.create_revision, kv.mod_revision, kv.version), (third, third, 1));
}

/// Reads of the past see the past, deletions included.
pub async fn past_revisions_stay_readable(store: &impl Store) {
    let first = put(store, "/a", "1").await;
    let second = put(store, "/a", "2").await;
    let third = delete(store, "/a").await;
    let fourth = put(store, "/b", "3").await;
    let at = async |revision: Revision| {
        let response = store.get(b"/a", Some(revision)).await.expect("a read");
        assert_eq!(response.revision, fourth, "the current revision is told");
        response.kv.map(|kv| text(&kv.value))
    };
    assert_eq!(at(first).await.as_deref(), Some("1"));
    assert_eq!(at(second).await.as_deref(), Some("2"));
    assert_eq!(at(third).await, None);
    let range = store.range(RangeRequest::prefix("/").at(second)).await.expect("a range");
    assert_eq!(keys(&range), ["/a"]);
    assert_eq!(range.revision, fourth);
}

/// What is not yet cannot be read.
pub async fn future_revisions_are_refused(store: &impl Store) {
    let revision = put(store, "/a", "1").await;
    let error = store.get(b"/a", Some(revision + 1)).await.expect_err("the future");
    assert!(
        matches!(error, Error::FutureRevision { requested, .. } if requested == revision + 1),
        "{error:?}"
    );
    let error = store.range(RangeRequest::prefix("/").at(revision + 7)).await.expect_err("the future");
    assert!(matches!(error, Error::FutureRevision { .. }), "{error:?}");
}

/// The start belongs to a range, the end does not; bytes decide the order.
pub async fn ranges_are_half_open_and_ordered(store: &impl Store) {
    for key in ["/b", "/a", "/c", "/a/x", "/a!", "/B"] {
        put(store, key, key).await;
    }
    let range = store.range(RangeRequest::between("/a", "/c")).await.expect("a range");
    assert_eq!(keys(&range), ["/a", "/a!", "/a/x", "/b"]);
    assert_eq!((range.count, range.more), (4, false));
    let range = store.range(RangeRequest::prefix("/a/")).await.expect("a range");
    assert_eq!(keys(&range), ["/a/x"]);
    let range = store.range(RangeRequest::between("/c", "/a")).await.expect("a range");
    assert_eq!((keys(&range).len(), range.count), (0, 0));
}

/// Without an end a range goes to the last key.
pub async fn an_empty_end_is_no_bound(store: &impl Store) {
    for key in ["a", "b", "\u{ff}"] {
        put(store, key, key).await;
    }
    let range = store.range(RangeRequest::between("b", "")).await.expect("a range");
    assert_eq!(keys(&range), ["b", "\u{ff}"]);
    let range = store.range(RangeRequest::between("", "")).await.expect("a range");
    assert_eq!(range.count, 3);
}

/// A limit is kept, and the answer says that there is more and how much there is.
pub async fn a_limit_leaves_more_and_counts_all(store: &impl Store) {
    for key in ["/a", "/b", "/c"] {
        put(store, key, key).await;
    }
    let range = store.range(RangeRequest::prefix("/").limit(2)).await.expect("a range");
    assert_eq!(keys(&range), ["/a", "/b"]);
    assert_eq!((range.count, range.more), (3, true));
    let range = store.range(RangeRequest::prefix("/").limit(3)).await.expect("a range");
    assert_eq!((range.count, range.more), (3, false));
    let request = RangeRequest { skip_count: true, ..RangeRequest::prefix("/").limit(1) };
    let range = store.range(request).await.expect("a range");
    assert!(range.more);
}

/// Pages at one revision are one state, whatever is written meanwhile.
pub async fn pages_at_one_revision_see_one_state(store: &impl Store) {
    for key in ["/a", "/b", "/c", "/d"] {
        put(store, key, "old").await;
    }
    let first = store.range(RangeRequest::prefix("/").limit(2)).await.expect("a page");
    put(store, "/c", "new").await;
    delete(store, "/d").await;
    put(store, "/e", "new").await;
    let last = first.kvs.last().expect("a key");
    let rest = RangeRequest { start: successor(&last.key), ..RangeRequest::prefix("/").at(first.revision) };
    let second = store.range(rest).await.expect("a page");
    assert_eq!(keys(&second), ["/c", "/d"]);
    assert!(second.kvs.iter().all(|kv| text(&kv.value) == "old"));
    assert_eq!(second.count, 2);
}

/// Values or all keys may be left out.
pub async fn keys_only_and_count_only(store: &impl Store) {
    put(store, "/a", "1").await;
    put(store, "/b", "2").await;
    let request = RangeRequest { keys_only: true, ..RangeRequest::prefix("/") };
    let range = store.range(request).await.expect("a range");
    assert_eq!(keys(&range), ["/a", "/b"]);
    assert!(range.kvs.iter().all(|kv| kv.value.is_empty() && kv.version == 1));
    let request = RangeRequest { count_only: true, ..RangeRequest::prefix("/") };
    let range = store.range(request).await.expect("a range");
    assert_eq!((range.kvs.len(), range.count, range.more), (0, 2, false));
}

/// A key written often is passed over, from either side of the revision read.
pub async fn many_versions_of_a_key_do_not_hide_others(store: &impl Store) {
    let mut at = 0;
    for key in ["/a", "/b", "/c"] {
        at = put(store, key, "0").await;
    }
    for n in 0..40 {
        put(store, "/b", &n.to_string()).await;
    }
    let old = store.range(RangeRequest::prefix("/").at(at)).await.expect("a range");
    assert_eq!(keys(&old), ["/a", "/b", "/c"]);
    assert!(old.kvs.iter().all(|kv| text(&kv.value) == "0"));
    let new = store.range(RangeRequest::prefix("/")).await.expect("a range");
    assert_eq!(keys(&new), ["/a", "/b", "/c"]);
    assert_eq!(text(&new.kvs[1].value), "39");
}

/// A range is deleted at one revision, and its neighbours stay.
pub async fn deleting_a_range_is_one_revision(store: &impl Store) {
    for key in ["/a", "/b/1", "/b/2", "/c"] {
        put(store, key, key).await;
    }
    let before = store.current_revision().await.expect("it");
    let response =
        store.txn(Txn::new().and_then([Op::delete_range("/b/", "/b0")])).await.expect("a deletion");
    assert_eq!(response.revision, before + 1);
    assert_eq!(response.results, [OpResult::Deleted { deleted: 2 }]);
    let left = store.range(RangeRequest::prefix("/")).await.expect("a range");
    assert_eq!(keys(&left), ["/a", "/c"]);
}

/// A deletion of what is not there changes nothing.
pub async fn deleting_nothing_makes_no_revision(store: &impl Store) {
    let before = put(store, "/a", "1").await;
    let (revision, existed) = store.delete(Bytes::from("/none")).await.expect("it");
    assert_eq!((revision, existed), (before, false));
    let response = store.txn(Txn::new().and_then([Op::delete_range("/x", "/y")])).await.expect("it");
    assert_eq!(response.results, [OpResult::Deleted { deleted: 0 }]);
    assert_eq!(response.revision, before);
}

/// After compaction the revision compacted at and all later ones are as before.
pub async fn compaction_forgets_only_the_past(store: &impl Store) {
    let first = put(store, "/a", "1").await;
    put(store, "/gone", "x").await;
    delete(store, "/gone").await;
    let second = put(store, "/a", "2").await;
    let third = put(store, "/a", "3").await;
    store.compact(second).await.expect("a compaction");
    for at in [first, second - 1] {
        let error = store.get(b"/a", Some(at)).await.expect_err("the past");
        assert!(
            matches!(error, Error::Compacted { compact_revision } if compact_revision == second),
            "{error:?}"
        );
    }
    let error = store.range(RangeRequest::prefix("/").at(first)).await.expect_err("the past");
    assert!(matches!(error, Error::Compacted { .. }), "{error:?}");
    for (at, expected) in [(second, "2"), (third, "3")] {
        let kv = store.get(b"/a", Some(at)).await.expect("a read").kv;
        assert_eq!(text(&kv.expect("the key").value), expected);
    }
    let fourth = put(store, "/a", "4").await;
    store.compact(fourth).await.expect("a compaction");
    assert_eq!(value(store, "/a").await.as_deref(), Some("4"));
    assert_eq!(value(store, "/gone").await, None);
    let range = store.range(RangeRequest::prefix("/")).await.expect("a range");
    assert_eq!(keys(&range), ["/a"]);
}

/// Compaction only goes forward, and not beyond what is.
pub async fn compaction_cannot_go_back_or_ahead(store: &impl Store) {
    put(store, "/a", "1").await;
    let revision = put(store, "/a", "2").await;
    store.compact(revision).await.expect("a compaction");
    let error = store.compact(revision).await.expect_err("done already");
    assert!(matches!(error, Error::Compacted { .. }), "{error:?}");
    let error = store.compact(revision - 1).await.expect_err("older");
    assert!(matches!(error, Error::Compacted { .. }), "{error:?}");
    let error = store.compact(revision + 1).await.expect_err("not yet");
    assert!(matches!(error, Error::FutureRevision { .. }), "{error:?}");
}

/// A value of a MiB is kept; what is larger than the limit is refused and not done.
pub async fn large_values_are_kept_and_larger_refused(store: &impl Store) {
    let large = Bytes::from(vec![b'x'; 1 << 20]);
    store.put(Bytes::from("/a"), large.clone()).await.expect("a put");
    let kv = store.get(b"/a", None).await.expect("a read").kv;
    assert!(kv.expect("the key").value == large);
    for n in 0..6 {
        store.put(Bytes::from(format!("/l/{n}")), large.clone()).await.expect("a put");
    }
    let range =
        store.range(RangeRequest::prefix("/l/")).await.expect("a range beyond the limit of a message");
    assert_eq!(range.kvs.len(), 6);
    let before = store.current_revision().await.expect("it");
    let too_large = Bytes::from(vec![b'x'; MAX_REQUEST_BYTES + 1]);
    let error = store.put(Bytes::from("/a"), too_large).await.expect_err("too large");
    assert!(matches!(error, Error::TooLarge { .. }), "{error:?}");
    assert_eq!(store.current_revision().await.expect("it"), before);
}

/// There is no empty key.
pub async fn empty_keys_are_refused(store: &impl Store) {
    let error = store.put(Bytes::new(), Bytes::new()).await.expect_err("it");
    assert!(matches!(error, Error::Invalid(_)), "{error:?}");
    let error = store.get(b"", None).await.expect_err("it");
    assert!(matches!(error, Error::Invalid(_)), "{error:?}");
}

/// The store tells where it stands.
pub async fn status_tells_the_revision(store: &impl Store) {
    let revision = put(store, "/a", "1").await;
    let status = store.status().await.expect("a status");
    assert_eq!(status.revision, revision);
    assert!(!status.backend.is_empty());
}

/// Thousands of keys are read page by page, each once and in order.
pub async fn many_keys_page_through(store: &impl Store) {
    const KEYS: usize = 2000;
    for chunk in 0..KEYS / 100 {
        let ops = (0..100).map(|n| Op::put(format!("/k/{:05}", chunk * 100 + n), "v"));
        store.txn(Txn::new().and_then(ops)).await.expect("a put");
    }
    let mut request = RangeRequest::prefix("/k/").limit(333);
    let mut seen = Vec::new();
    loop {
        let page = store.range(request.clone()).await.expect("a page");
        assert_eq!(page.count as usize, KEYS - seen.len());
        seen.extend(keys(&page));
        if !page.more {
            break;
        }
        request.revision.get_or_insert(page.revision);
        request.start = successor(seen.last().expect("a key").as_bytes());
    }
    let expected = (0..KEYS).map(|n| format!("/k/{n:05}")).collect::<Vec<_>>();
    assert_eq!(seen, expected);
}
