//! Writers that remember what they were told, and a check of what is there against it.
//!
//! Each key has one writer, which counts up its value. An acknowledged write must be seen by every read that begins
//! after it; one whose answer did not come may have happened or not, and its key is left alone from then on.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::{Value, json};

use crate::{Answer, Client, version};

const OBJECTS: &str = "/api/v1/namespaces/default/configmaps";
const LABEL: &str = "written=yes";
const KEYS_OF_A_WRITER: usize = 6;

/// What a key may hold: a count, or nothing.
type Held = Option<u64>;

#[derive(Debug, Default)]
struct Key {
    acknowledged: Held,
    unknown: BTreeSet<Held>,
    /// The last count that was tried.
    count: u64,
}

/// Writers and a reader at work, until stopped.
pub struct Load {
    keys: Arc<Mutex<BTreeMap<String, Key>>>,
    acknowledged: Arc<AtomicUsize>,
    failed: Arc<AtomicUsize>,
    reads: Arc<AtomicUsize>,
    told: Arc<Mutex<Vec<String>>>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
    client: Arc<Mutex<Client>>,
}

/// What a writer or the reader shares with the others.
#[derive(Clone)]
struct Shared {
    client: Arc<Mutex<Client>>,
    keys: Arc<Mutex<BTreeMap<String, Key>>>,
    acknowledged: Arc<AtomicUsize>,
    failed: Arc<AtomicUsize>,
    reads: Arc<AtomicUsize>,
    told: Arc<Mutex<Vec<String>>>,
    stop: Arc<AtomicBool>,
}

impl Shared {
    fn client(&self) -> Client {
        self.client.lock().expect("the client").clone()
    }

    /// Writes down a request that failed. What may be told during an outage is a broken connection, 429 or 503 with a
    /// word on when to try again, and 504.
    fn failed(&self, what: &str, answer: &Result<Answer, String>) {
        let said = match answer {
            Err(error) => format!("{what}: {error}"),
            Ok(answer) => {
                assert!(matches!(answer.code, 429 | 503 | 504), "{what}: {} {}", answer.code, answer.text);
                assert_eq!(answer.body["kind"], "Status", "{what}: {}", answer.text);
                let again = answer.code == 504 || answer.retry_after.is_some();
                assert!(again, "{what}: {} without Retry-After: {}", answer.code, answer.text);
                format!("{what}: {} {}", answer.code, answer.text)
            }
        };
        self.told.lock().expect("what was told").push(said);
    }
}

impl Load {
    /// Starts that many writers.
    pub fn start(client: &Client, writers: usize) -> Self {
        let shared = Shared {
            client: Arc::new(Mutex::new(client.clone())),
            keys: Arc::default(),
            acknowledged: Arc::default(),
            failed: Arc::default(),
            reads: Arc::default(),
            told: Arc::default(),
            stop: Arc::default(),
        };
        let mut threads = Vec::new();
        for writer in 0..writers {
            let shared = shared.clone();
            threads.push(std::thread::spawn(move || write(&shared, writer)));
        }
        let reader = shared.clone();
        threads.push(std::thread::spawn(move || read(&reader)));
        Self {
            keys: shared.keys,
            acknowledged: shared.acknowledged,
            failed: shared.failed,
            reads: shared.reads,
            told: shared.told,
            stop: shared.stop,
            threads,
            client: shared.client,
        }
    }

    /// From now on requests go by this client.
    pub fn use_client(&self, client: &Client) {
        *self.client.lock().expect("the client") = client.clone();
    }

    /// What failed, reads and writes, in words.
    pub fn told(&self) -> Vec<String> {
        self.told.lock().expect("what was told").clone()
    }

    /// How many writes have been acknowledged.
    pub fn acknowledged(&self) -> usize {
        self.acknowledged.load(Ordering::SeqCst)
    }

    /// How many writes have failed.
    pub fn failed(&self) -> usize {
        self.failed.load(Ordering::SeqCst)
    }

    /// Waits for that many more acknowledged writes.
    #[track_caller]
    pub fn more(&self, writes: usize) {
        let target = self.acknowledged() + writes;
        crate::eventually("writes go on", Duration::from_secs(40), || {
            self.check_alive();
            self.acknowledged() >= target
        });
    }

    /// Waits for a failed write.
    #[track_caller]
    pub fn fails(&self, within: Duration) {
        let target = self.failed() + 1;
        crate::eventually("a write fails", within, || {
            self.check_alive();
            self.failed() >= target
        });
    }

    fn check_alive(&self) {
        assert!(!self.threads.iter().any(JoinHandle::is_finished), "a writer or the reader has ended");
    }

    /// Stops, and checks what is there.
    ///
    /// # Panics
    /// If an acknowledged write is missing, or a read went back.
    pub fn stop_and_check(self) {
        self.stop.store(true, Ordering::SeqCst);
        for thread in self.threads {
            thread.join().expect("what a writer or the reader saw");
        }
        assert!(self.reads.load(Ordering::SeqCst) > 0, "the reader has read nothing");
        let client = self.client.lock().expect("the client").clone();
        let list = client.get(&format!("{OBJECTS}?labelSelector={LABEL}")).ok();
        let found = counts(&list);
        let keys = self.keys.lock().expect("the keys");
        for (name, key) in keys.iter() {
            let held = found.get(name).copied();
            assert!(
                held == key.acknowledged || key.unknown.contains(&held),
                "{name} holds {held:?}; acknowledged was {:?}, unknown {:?}",
                key.acknowledged,
                key.unknown
            );
            // A single read says the same as the list.
            let answer = client.get(&format!("{OBJECTS}/{name}"));
            let single = if answer.code == 404 { None } else { count(&answer.ok()) };
            assert_eq!(single, held, "{name}: get and list differ");
        }
        let known: BTreeSet<&String> = keys.keys().collect();
        assert!(found.keys().all(|name| known.contains(name)), "objects that nobody wrote");
    }
}

fn object(name: &str, count: u64) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": { "name": name, "labels": { "written": "yes" } },
        "data": { "count": count.to_string() },
    })
}

fn count(object: &Value) -> Held {
    object["data"]["count"].as_str().and_then(|text| text.parse().ok())
}

fn counts(list: &Value) -> BTreeMap<String, u64> {
    let items = list["items"].as_array().expect("a list");
    let pair = |item: &Value| Some((item["metadata"]["name"].as_str()?.to_owned(), count(item)?));
    items.iter().filter_map(pair).collect()
}

fn write(shared: &Shared, writer: usize) {
    let Shared { keys, acknowledged, failed, stop, .. } = shared;
    let mut generation = 0;
    let mut fresh = || {
        generation += 1;
        format!("w{writer}-k{generation}")
    };
    let mut names: Vec<String> = (0..KEYS_OF_A_WRITER).map(|_| fresh()).collect();
    let mut turn = 0;
    let mut newest = 0;
    while !stop.load(Ordering::SeqCst) {
        turn += 1;
        let slot = turn % names.len();
        let name = names[slot].clone();
        let path = format!("{OBJECTS}/{name}");
        let (before, next) = {
            let mut keys = keys.lock().expect("the keys");
            let key = keys.entry(name.clone()).or_default();
            key.count += 1;
            let next = if key.acknowledged.is_some() && key.count.is_multiple_of(5) {
                None
            } else {
                Some(key.count)
            };
            // Until the answer comes, a reader may see either.
            key.unknown.insert(next);
            (key.acknowledged, next)
        };
        let client = shared.client();
        let answer = match (before, next) {
            (None, Some(count)) => client.send("POST", OBJECTS, &[], &object(&name, count).to_string()),
            (_, Some(count)) => client.send("PUT", &path, &[], &object(&name, count).to_string()),
            (_, None) => client.send("DELETE", &path, &[], ""),
        };
        match answer {
            Ok(answer) if (200..300).contains(&answer.code) => {
                // The answer to a deletion is a Status without one.
                if next.is_some() {
                    let version = version(&answer.body);
                    assert!(version > newest, "{name}: resourceVersion {version} after {newest}");
                    newest = version;
                }
                let mut keys = keys.lock().expect("the keys");
                let key = keys.entry(name).or_default();
                key.acknowledged = next;
                key.unknown.clear();
                acknowledged.fetch_add(1, Ordering::SeqCst);
            }
            // Whether it happened is not known: leave the key alone.
            other => {
                shared.failed(&format!("{name}: {before:?} to {next:?}"), &other);
                failed.fetch_add(1, Ordering::SeqCst);
                names[slot] = fresh();
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }
}

fn read(shared: &Shared) {
    let Shared { keys, reads, stop, .. } = shared;
    let mut newest = 0;
    while !stop.load(Ordering::SeqCst) {
        let before: Vec<(String, u64)> = {
            let keys = keys.lock().expect("the keys");
            let written = |(name, key): (&String, &Key)| Some((name.clone(), key.acknowledged?));
            keys.iter().filter_map(written).collect()
        };
        let answer = shared.client().send("GET", &format!("{OBJECTS}?labelSelector={LABEL}"), &[], "");
        let list = match answer {
            Ok(answer) if answer.code == 200 => answer.body,
            other => {
                shared.failed("a list", &other);
                std::thread::sleep(Duration::from_millis(20));
                continue;
            }
        };
        reads.fetch_add(1, Ordering::SeqCst);
        let version = version(&list);
        assert!(version >= newest, "a list at {version} after one at {newest}");
        newest = version;
        let found = counts(&list);
        for (name, acknowledged) in before {
            // It may be gone, if it was deleted since; it may not be older.
            let Some(count) = found.get(&name) else { continue };
            assert!(*count >= acknowledged, "{name}: {count} was read after {acknowledged} was acknowledged");
        }
    }
}
