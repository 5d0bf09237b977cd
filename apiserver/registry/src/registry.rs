//! [`Registry`]: everything over one store, and what it runs in the background.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use kplane_machinery::time::Time;
use kplane_storage::{Compare, Op, RangeRequest, SharedStore, StoreStatus, Txn};
use tokio::task::JoinHandle;

use crate::across::Across;
use crate::doubt::Marks;
use crate::fresh::{self, Progress};
use crate::hot::{HotSet, Limits};
use crate::keys::Keyspace;
use crate::layer_set::Layers;
use crate::often::Reads;
use crate::sets::{Sets, sweep_period};
use crate::ticket::Ticket;
use crate::track::{Tracker, Trackers};
use crate::usage::Usages;
use crate::vcp::{CredentialPolicy, Directory, Pin};
use crate::{Error, ResourceKey, Vcp, VcpId, VcpState, compaction, feed};

/// The format of the data, as the marker in the store has it. Data of an older one stays in it.
const FORMAT: u64 = 2;
/// The first format in which objects may have marks.
const FORMAT_WITH_MARKS: u64 = 2;

/// How a registry uses memory and the store.
#[derive(Clone, Debug)]
pub struct RegistryOptions {
    /// Where its keys begin.
    pub prefix: String,
    /// How long a resource stays in memory that nobody lists or watches.
    pub idle: Duration,
    /// About how many bytes of objects that nobody watches are kept.
    pub memory_budget: usize,
    /// How many events of each hot resource are remembered.
    pub window_events: usize,
    /// About how many bytes of them.
    pub window_bytes: usize,
    /// For how long.
    pub window_age: Duration,
    /// How many events may wait for the reader of a watch before it is cut off.
    pub watch_buffer: usize,
    /// How much history the store keeps; zero: it is never compacted from here.
    pub history: Duration,
    /// How long the outcome of a write without an answer is looked for.
    pub doubt: Duration,
}

impl Default for RegistryOptions {
    fn default() -> Self {
        Self {
            prefix: "/kplane".into(),
            idle: Duration::from_secs(300),
            memory_budget: 256 << 20,
            window_events: 1024,
            window_bytes: 1 << 20,
            window_age: Duration::from_secs(75),
            watch_buffer: 1024,
            history: Duration::from_secs(300),
            doubt: Duration::from_secs(20),
        }
    }
}

/// What a registry can tell about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// VCPs in the directory, root and closed ones among them.
    pub vcps: usize,
    /// Resources in memory.
    pub hot_sets: usize,
    /// Objects in them.
    pub hot_objects: usize,
    /// About how many bytes they take.
    pub hot_bytes: usize,
    /// Watches, those over all VCPs among them.
    pub watchers: usize,
    /// The revision the feed has come to.
    pub revision: u64,
    /// The revision that history was last compacted to, as far as is known here.
    pub compacted: u64,
}

impl Stats {
    fn add(&mut self, set: &HotSet) {
        let (objects, watchers) = set.count();
        self.hot_sets += 1;
        self.hot_objects += objects;
        self.hot_bytes += set.bytes();
        self.watchers += watchers;
    }
}

/// All that handles and background tasks share.
#[derive(Debug)]
pub(crate) struct Core {
    pub store: SharedStore,
    pub keys: Keyspace,
    pub options: RegistryOptions,
    pub limits: Limits,
    pub directory: Directory,
    pub layers: Layers,
    pub sets: Sets,
    pub reads: Reads,
    pub across: Across,
    pub trackers: Trackers,
    pub usages: Usages,
    pub progress: Progress,
    pub ticket: Ticket,
    /// None in data of a format that has none.
    pub marks: Option<Marks>,
    /// As it was when the registry was opened.
    pub root: Arc<Vcp>,
    pub compacted: AtomicU64,
    started: Instant,
}

impl Core {
    /// Milliseconds since the registry was opened.
    pub fn clock(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// The objects of all control planes over one store. Cheap to clone; when the last clone is gone, its watches end.
#[derive(Clone, Debug)]
pub struct Registry {
    pub(crate) core: Arc<Core>,
    _tasks: Arc<Tasks>,
}

#[derive(Debug)]
struct Tasks {
    core: Arc<Core>,
    handles: Vec<JoinHandle<()>>,
}

impl Drop for Tasks {
    fn drop(&mut self) {
        for handle in &self.handles {
            handle.abort();
        }
        self.core.forget();
    }
}

impl Registry {
    /// Opens the registry: checks or marks the format of the data, reads the directory, and begins to watch the store.
    pub async fn open(store: SharedStore, options: RegistryOptions) -> Result<Self, Error> {
        let keys = Keyspace::new(&options.prefix);
        let format = check_format(&store, &keys, &options.prefix).await?;
        let layers = Layers::new(store.clone(), keys.clone());
        let root = Arc::new(open_root(&store, &keys, &layers).await?);
        let (progress, questions) = Progress::new();
        let limits = Limits {
            window_events: options.window_events,
            window_bytes: options.window_bytes,
            window_age: options.window_age,
            watch_buffer: options.watch_buffer.max(1),
        };
        let core = Arc::new(Core {
            store: store.clone(),
            ticket: Ticket::new(&keys),
            keys,
            limits,
            directory: Directory::default(),
            layers,
            sets: Sets::default(),
            reads: Reads::default(),
            across: Across::new(limits.watch_buffer),
            trackers: Trackers::default(),
            usages: Usages::default(),
            progress,
            marks: (format >= FORMAT_WITH_MARKS).then(Marks::new),
            root,
            compacted: AtomicU64::new(0),
            started: Instant::now(),
            options,
        });
        let stream = core.begin().await?;
        let mut handles = vec![
            tokio::spawn(fresh::answer(store, questions)),
            tokio::spawn(feed::run(core.clone(), stream)),
        ];
        let sweeping = core.clone();
        handles.push(tokio::spawn(async move {
            loop {
                tokio::time::sleep(sweep_period(sweeping.options.idle)).await;
                sweeping.sweep();
            }
        }));
        if !core.options.history.is_zero() {
            handles.push(tokio::spawn(compaction::run(core.clone())));
        }
        Ok(Self { _tasks: Arc::new(Tasks { core: core.clone(), handles }), core })
    }

    /// Whether the store answers and its changes arrive.
    pub async fn ready(&self) -> Result<(), Error> {
        self.core.progress.fresh().await.map(|_| ())
    }

    /// The store's revision, read after this call began.
    pub async fn current_revision(&self) -> Result<u64, Error> {
        self.core.progress.fresh().await
    }

    /// Tells from now on which objects of a resource of cluster scope change.
    pub fn track(&self, resource: &ResourceKey) -> Arc<Tracker> {
        self.core.trackers.add(resource)
    }

    /// The store beneath, for what concerns it alone.
    pub fn store(&self) -> &SharedStore {
        &self.core.store
    }

    /// What all keys begin with.
    pub fn prefix(&self) -> &str {
        self.core.keys.base()
    }

    /// What the store tells about itself.
    pub async fn store_status(&self) -> Result<StoreStatus, Error> {
        Ok(self.core.store.status().await?)
    }

    /// The identity of the VCP that has a name, as far as is known at the moment: for what needs no certainty.
    pub fn id_of(&self, name: &str) -> Option<VcpId> {
        self.core.directory.named(name).map(|vcp| vcp.id)
    }

    /// What is in memory of one VCP.
    pub fn stats_of(&self, id: VcpId) -> Stats {
        let core = &self.core;
        let mut stats = Stats { vcps: 1, revision: core.progress.revision(), ..Stats::default() };
        core.sets.all().iter().filter(|set| set.vcp.id == id).for_each(|set| stats.add(set));
        stats
    }

    /// What is in memory.
    pub fn stats(&self) -> Stats {
        let core = &self.core;
        let mut stats = Stats {
            vcps: core.directory.len(),
            watchers: core.across.count(),
            revision: core.progress.revision(),
            compacted: core.compacted.load(Ordering::Relaxed),
            ..Stats::default()
        };
        core.sets.all().iter().for_each(|set| stats.add(set));
        stats
    }
}

/// Refuses data of a newer format and a prefix that holds what is not ours; marks an empty one as ours.
/// Returns the format.
async fn check_format(store: &SharedStore, keys: &Keyspace, prefix: &str) -> Result<u64, Error> {
    let marker = keys.format();
    loop {
        if let Some(kv) = store.get(&marker, None).await?.kv {
            let found: Option<u64> = std::str::from_utf8(&kv.value).ok().and_then(|text| text.parse().ok());
            let found = found.ok_or_else(|| Error::Corrupt("the format marker is no number".into()))?;
            if found > FORMAT {
                return Err(Error::NewerFormat { found, supported: FORMAT });
            }
            return Ok(found);
        }
        let mut request = RangeRequest::prefix(keys.base().to_owned()).limit(1);
        request.keys_only = true;
        if let Some(kv) = store.range(request.clone()).await?.kvs.first() {
            if kv.key == marker {
                // Another replica came first.
                continue;
            }
            return Err(Error::Foreign {
                prefix: prefix.to_owned(),
                key: String::from_utf8_lossy(&kv.key).into_owned(),
            });
        }
        let txn = Txn::new()
            .when([Compare::range_empty(request.start, request.end)])
            .and_then([Op::put(marker.clone(), FORMAT.to_string())]);
        store.txn(txn).await?;
    }
}

/// Reads root's pin, or makes it.
async fn open_root(store: &SharedStore, keys: &Keyspace, layers: &Layers) -> Result<Vcp, Error> {
    let key = keys.pin(VcpId::ROOT);
    let pin = Pin {
        name: VcpId::ROOT.to_string(),
        uid: uuid::Uuid::new_v4().to_string(),
        created: Time::now().unix(),
        layers: Vec::new(),
        parameters: None,
        state: VcpState::Active,
        credentials: CredentialPolicy::default(),
    };
    let txn = Txn::new().when([Compare::absent(key.clone())]).and_then([Op::put(key.clone(), pin.encode()?)]);
    store.txn(txn).await?;
    let kv = store.get(&key, None).await?.kv.ok_or(Error::VcpGone)?;
    Vcp::from_pin(VcpId::ROOT, &kv, layers)
}
