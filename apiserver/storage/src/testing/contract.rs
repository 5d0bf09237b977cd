//! The contract of a store: one suite of tests that every backend passes.
//!
//! [`contract_suite!`](crate::contract_suite) makes a test of each function here for one backend.
//! Each gets a fresh store.

mod kv;
mod txn;
mod watch;

use std::time::Duration;

use bytes::Bytes;

use crate::{Event, Op, Result, Revision, Store, Txn, WatchEvent, WatchStream};

pub use kv::*;
pub use txn::*;
pub use watch::*;

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(20);

/// Makes a test of each function of the contract. The expression makes, awaited, a fresh store and
/// something to keep alive meanwhile.
#[macro_export]
macro_rules! contract_suite {
    ($make:expr) => {
        $crate::contract_suite!(@tests $make;
            a_new_key_is_read_back,
            a_missing_key_is_no_error,
            versions_count_from_each_creation,
            past_revisions_stay_readable,
            future_revisions_are_refused,
            ranges_are_half_open_and_ordered,
            an_empty_end_is_no_bound,
            a_limit_leaves_more_and_counts_all,
            pages_at_one_revision_see_one_state,
            keys_only_and_count_only,
            many_versions_of_a_key_do_not_hide_others,
            deleting_a_range_is_one_revision,
            deleting_nothing_makes_no_revision,
            compaction_forgets_only_the_past,
            compaction_cannot_go_back_or_ahead,
            large_values_are_kept_and_larger_refused,
            empty_keys_are_refused,
            status_tells_the_revision,
            many_keys_page_through,
            create_if_absent,
            update_if_unchanged,
            compares_of_every_kind,
            compares_over_a_range,
            a_transaction_is_one_revision,
            a_transaction_reads_its_own_writes,
            an_empty_transaction_makes_no_revision,
            duplicate_keys_are_refused,
            too_many_operations_are_refused,
            concurrent_increments_lose_nothing,
            concurrent_writes_have_each_their_revision,
            a_watch_sees_what_comes,
            a_watch_replays_and_goes_on,
            a_watch_waits_for_a_future_revision,
            a_watch_sees_only_its_range,
            a_watch_has_the_previous_values,
            a_watch_never_splits_a_revision,
            a_watch_of_compacted_history_fails,
            a_watch_may_start_at_the_compacted_revision,
            progress_is_told_on_request,
            a_slow_watch_misses_nothing,
            many_watches_see_the_same,
            a_key_with_a_ttl_goes_by_itself,
            writing_a_key_again_takes_its_ttl_away,
        );
    };
    (@tests $make:expr; $($name:ident,)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                let (store, _alive) = $make.await;
                $crate::testing::contract::$name(&store).await;
            }
        )*
    };
}

/// Writes `value` at `key`.
async fn put(store: &impl Store, key: &str, value: &str) -> Revision {
    let op = Op::put(key.to_owned(), value.to_owned());
    let response = store.txn(Txn::new().and_then([op])).await.expect("a put");
    assert!(response.succeeded);
    response.revision
}

/// Deletes `key`, which exists.
async fn delete(store: &impl Store, key: &str) -> Revision {
    let (revision, existed) = store.delete(Bytes::from(key.to_owned())).await.expect("a deletion");
    assert!(existed, "{key} does not exist");
    revision
}

/// The value at `key` now.
async fn value(store: &impl Store, key: &str) -> Option<String> {
    let response = store.get(key.as_bytes(), None).await.expect("a read");
    response.kv.map(|kv| text(&kv.value))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("text")
}

/// The next item of a watch.
async fn next(watch: &mut WatchStream) -> Result<WatchEvent> {
    tokio::time::timeout(PATIENCE, watch.recv())
        .await
        .expect("the watch yields in time")
        .expect("the watch goes on")
}

/// The next changes of a watch.
async fn changes(watch: &mut WatchStream) -> (Revision, Vec<Event>) {
    loop {
        match next(watch).await.expect("no error") {
            WatchEvent::Events { revision, events } => return (revision, events),
            WatchEvent::Progress(_) => {}
        }
    }
}

/// The next change of a watch, which is the only one of its revision.
async fn change(watch: &mut WatchStream) -> Event {
    let (_, mut events) = changes(watch).await;
    assert_eq!(events.len(), 1, "{events:?}");
    events.remove(0)
}
