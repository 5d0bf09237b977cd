//! Whenever the power goes, what was acknowledged is there afterwards, and nothing is half there.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use kplane_storage::testing::LossyFile;
use kplane_storage::{
    Bytes, EmbeddedOptions, EmbeddedStore, Error, EventKind, Op, RangeRequest, Store, Txn, WatchEvent,
    WatchRequest,
};

const WRITERS: u64 = 12;
const CRASHES: u64 = 8;

/// A small generator of our own, so that a failure can be repeated from its seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

/// What the writers know: what was acknowledged, and what was tried.
#[derive(Debug, Default)]
struct Known {
    /// By revision: the writer and the number that it wrote.
    acknowledged: BTreeMap<u64, (u64, u64)>,
    /// By writer: the highest number acknowledged, and the highest tried.
    numbers: BTreeMap<u64, (u64, u64)>,
}

fn open(file: &LossyFile, quick_repair: bool) -> EmbeddedStore {
    let options = EmbeddedOptions { quick_repair, ..Default::default() };
    EmbeddedStore::open_with_backend(file.clone(), options).expect("the file opens after a crash")
}

/// Each transaction writes the writer's number at two keys and at a third one that it deletes
/// every other time, all or nothing.
fn transaction(writer: u64, number: u64) -> Txn {
    let value = format!("{number} {}", "x".repeat((number * 37 % 900) as usize));
    let third = format!("/w/{writer}/c");
    let third = match number % 2 {
        0 => Op::delete(third),
        _ => Op::put(third, value.clone()),
    };
    Txn::new().and_then([
        Op::put(format!("/w/{writer}/a"), value.clone()),
        Op::put(format!("/w/{writer}/b"), value),
        third,
    ])
}

fn number(value: &Bytes) -> u64 {
    let text = std::str::from_utf8(value).unwrap();
    text.split(' ').next().unwrap().parse().unwrap()
}

async fn write(store: Arc<EmbeddedStore>, known: Arc<Mutex<Known>>, writer: u64, done: Arc<AtomicU64>) {
    let mut next = {
        let known = known.lock().unwrap();
        known.numbers.get(&writer).map_or(1, |(_, tried)| tried + 1)
    };
    loop {
        known.lock().unwrap().numbers.entry(writer).or_default().1 = next;
        match store.txn(transaction(writer, next)).await {
            Ok(response) => {
                let mut known = known.lock().unwrap();
                let before = known.acknowledged.insert(response.revision, (writer, next));
                assert_eq!(before, None, "a revision was given to two transactions");
                known.numbers.entry(writer).or_default().0 = next;
                done.fetch_add(1, Ordering::Relaxed);
            }
            Err(Error::Unavailable(_) | Error::UnknownOutcome(_)) => return,
            Err(error) => panic!("{error:?}"),
        }
        next += 1;
    }
}

/// What is found after a crash agrees with what is known.
async fn check(store: &EmbeddedStore, known: &Mutex<Known>) {
    let status = store.status().await.unwrap();
    let (acknowledged, numbers) = {
        let known = known.lock().unwrap();
        (known.acknowledged.clone(), known.numbers.clone())
    };
    if let Some((last, _)) = acknowledged.last_key_value() {
        assert!(status.revision >= *last, "acknowledged revisions are lost");
    }
    // The state: no writer's transaction is torn, and none acknowledged is lost.
    for (writer, (acknowledged, tried)) in &numbers {
        let found = store.range(RangeRequest::prefix(format!("/w/{writer}/"))).await.unwrap().kvs;
        if found.is_empty() {
            assert_eq!(*acknowledged, 0, "writer {writer} lost everything");
            continue;
        }
        let there = number(&found[0].value);
        assert!(
            (*acknowledged..=*tried).contains(&there),
            "writer {writer}: found {there}, acknowledged {acknowledged}, tried {tried}"
        );
        assert_eq!(found.len() as u64, 2 + there % 2, "a torn transaction");
        assert!(
            found.iter().all(|kv| number(&kv.value) == there && kv.mod_revision == found[0].mod_revision),
            "a torn transaction"
        );
    }
    // The history: every revision once, each a whole transaction, as acknowledged.
    let from = status.compact_revision.unwrap().max(2);
    if from > status.revision {
        return;
    }
    let mut watch = store.watch(WatchRequest::prefix("/w/").from(from)).await.unwrap();
    for at in from..=status.revision {
        let (revision, events) = match watch.recv().await.unwrap().unwrap() {
            WatchEvent::Events { revision, events } => (revision, events),
            other => panic!("{other:?}"),
        };
        assert_eq!(revision, at, "a gap in the history");
        let written = number(&events[0].kv.value);
        let writer = String::from_utf8(events[0].kv.key[3..].to_vec()).unwrap();
        let writer: u64 = writer.split('/').next().unwrap().parse().unwrap();
        if let Some(expected) = acknowledged.get(&revision) {
            assert_eq!(*expected, (writer, written), "revision {revision}");
        }
        let puts = events.iter().filter(|event| event.kind == EventKind::Put);
        assert_eq!(puts.count() as u64, 2 + written % 2, "a torn revision");
        assert!(events.iter().all(|event| event.kv.mod_revision == revision));
    }
}

async fn crash_again_and_again(seed: u64, quick_repair: bool) {
    let mut random = Random(seed);
    let known = Arc::new(Mutex::new(Known::default()));
    let mut file = LossyFile::new();
    let mut last = 0;
    for _ in 0..CRASHES {
        let store = Arc::new(open(&file, quick_repair));
        check(&store, &known).await;
        let revision = store.current_revision().await.unwrap();
        assert!(revision >= last, "revisions went back");
        let done = Arc::new(AtomicU64::new(0));
        let writers = (0..WRITERS)
            .map(|writer| tokio::spawn(write(store.clone(), known.clone(), writer, done.clone())))
            .collect::<Vec<_>>();
        let compacted = AtomicBool::new(false);
        let until = random.next() % 400;
        while done.load(Ordering::Relaxed) < until {
            if done.load(Ordering::Relaxed) > until / 2 && !compacted.swap(true, Ordering::Relaxed) {
                let at = store.current_revision().await.unwrap() - 20 * (random.next() % 2);
                match store.compact(at).await {
                    Ok(()) | Err(Error::Compacted { .. }) => {}
                    Err(error) => panic!("{error:?}"),
                }
            }
            tokio::task::yield_now().await;
        }
        let keep = random.next() % 101;
        let found = file.crash(|| random.next() % 101 < keep);
        for writer in writers {
            writer.await.unwrap();
        }
        last = {
            let known = known.lock().unwrap();
            known.acknowledged.last_key_value().map_or(1, |(at, _)| *at)
        };
        drop(store);
        file = found;
    }
    let store = open(&file, quick_repair);
    check(&store, &known).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_or_torn() {
    for seed in 1..=3u64 {
        crash_again_and_again(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15), false).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nor_with_quick_repair() {
    crash_again_and_again(0xdead_beef, true).await;
}

/// Transactions that wait together share a sync.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_writes_share_a_sync() {
    let file = LossyFile::new();
    let store = open(&file, false);
    let before = file.syncs();
    let puts = (0..500).map(|n| store.put(Bytes::from(format!("/{n}")), Bytes::from("v")));
    let revisions = futures::future::join_all(puts).await;
    assert!(revisions.iter().all(Result::is_ok));
    let syncs = file.syncs() - before;
    assert!(syncs < 100, "{syncs} syncs for 500 writes");
}
