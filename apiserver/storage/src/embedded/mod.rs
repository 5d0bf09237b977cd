//! The embedded store: one file, no other process.
//!
//! The file is a `redb` database (see `docs/decisions/embedded-store.md` for the choice); on top
//! of its ordered tables this module keeps etcd's history. One thread writes ([`writer`]), with
//! one sync for all transactions that wait; readers see the newest published revision and never
//! wait for the writer; watches are fed by the [`hub`].

mod apply;
mod hub;
mod tables;
mod watcher;
mod writer;

use std::path::Path;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError, RwLock, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use async_trait::async_trait;
use redb::backends::{FileBackend, InMemoryBackend};
use redb::{Database, ReadableDatabase, StorageBackend};
use tokio::sync::{Semaphore, oneshot};

use self::apply::check_revision;
use self::hub::Hub;
use self::tables::{
    EXPIRY, FORMAT, LOG, META, META_COMPACTED, META_FORMAT, META_REVISION, META_SCRUBBED, VERSIONS, get_at,
    range_at,
};
use self::writer::{Command, Position, Writer};
use crate::{
    Error, GetResponse, Op, OpResult, RangeRequest, RangeResponse, Result, Revision, Store, StoreStatus, Txn,
    TxnResponse, WatchRequest, WatchStream, validate,
};

/// How many bytes of requests may wait for the writer, in units of 1 KiB.
const WAITING_KIB: u32 = 64 << 10;
/// Ranges of at most so many keys are read where they are asked for; larger ones on a thread
/// that may block.
const SMALL_RANGE: usize = 16;

/// How an [`EmbeddedStore`] works.
#[derive(Debug, Clone)]
pub struct EmbeddedOptions {
    /// The most memory used for pages of the file. The operating system caches the file as well,
    /// so this may be small.
    pub cache_bytes: usize,
    /// Make every write a little slower, and opening after a crash quick whatever the size.
    pub quick_repair: bool,
}

impl Default for EmbeddedOptions {
    fn default() -> Self {
        EmbeddedOptions { cache_bytes: 2 << 20, quick_repair: false }
    }
}

/// A store in one file, crash-safe: what it acknowledged survives.
pub struct EmbeddedStore {
    shared: Arc<Shared>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

/// What the store's handle and its watches use together.
struct Shared {
    /// Taken away when the store is closed.
    db: RwLock<Option<Arc<Database>>>,
    hub: Arc<Hub>,
    commands: Sender<Command>,
    waiting: Arc<Semaphore>,
    /// The oldest revision that can be read, as far as it is known; the file is asked as well.
    name: String,
}

impl std::fmt::Debug for EmbeddedStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EmbeddedStore")
            .field("file", &self.shared.name)
            .field("revision", &self.shared.hub.current())
            .finish_non_exhaustive()
    }
}

impl EmbeddedStore {
    /// Opens the file, or makes it. Only one process can have it open.
    pub fn open(path: &Path, options: EmbeddedOptions) -> Result<Self> {
        let io =
            |error: std::io::Error| Error::Unavailable(format!("cannot open {}: {error}", path.display()));
        let is_new = !path.try_exists().map_err(io)?;
        let mut how = std::fs::OpenOptions::new();
        how.read(true).write(true).create(true).truncate(false);
        // Everything of every control plane is in it.
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut how, 0o600);
        let file = how.open(path).map_err(io)?;
        if is_new && let Some(parent) = path.parent() {
            // The file's name must survive a crash too.
            let parent = match parent.as_os_str().is_empty() {
                true => Path::new("."),
                false => parent,
            };
            std::fs::File::open(parent).and_then(|directory| directory.sync_all()).map_err(io)?;
        }
        let name = path.display().to_string();
        let backend = FileBackend::new(file).map_err(|error| database_error(error, &name))?;
        Self::start(backend, name, options)
    }

    /// A store that lives in memory only and is gone when dropped: for tests.
    pub fn in_memory() -> Result<Self> {
        Self::start(InMemoryBackend::new(), "(memory)".into(), EmbeddedOptions::default())
    }

    /// Opens what a file layer of the caller's holds: for tests of crashes.
    #[cfg(feature = "testing")]
    pub fn open_with_backend(backend: impl StorageBackend, options: EmbeddedOptions) -> Result<Self> {
        Self::start(backend, "(backend)".into(), options)
    }

    fn start(backend: impl StorageBackend, name: String, options: EmbeddedOptions) -> Result<Self> {
        let db = redb::Builder::new()
            .set_cache_size(options.cache_bytes)
            .create_with_backend(backend)
            .map_err(|error| database_error(error, &name))?;
        let position = prepare(&db)?;
        let next_expiry = writer::first_expiry(&db)?;
        let db = Arc::new(db);
        let hub = Arc::new(Hub::new(position.revision));
        let (commands, receiver) = mpsc::channel();
        let writer = Writer {
            db: db.clone(),
            hub: hub.clone(),
            commands: receiver,
            position,
            next_expiry,
            quick_repair: options.quick_repair,
        };
        let thread = std::thread::Builder::new()
            .name("store-writer".into())
            .spawn(move || writer.run())
            .map_err(|error| Error::Unavailable(format!("cannot start the writer: {error}")))?;
        Ok(EmbeddedStore {
            shared: Arc::new(Shared {
                db: RwLock::new(Some(db)),
                hub,
                commands,
                waiting: Arc::new(Semaphore::new(WAITING_KIB as usize)),
                name,
            }),
            writer: Mutex::new(Some(thread)),
        })
    }

    /// Ends the watches and the writer; what waits for the writer is still done.
    fn stop(&self) {
        // A writer that has stopped needs no telling.
        let _ = self.shared.commands.send(Command::Close);
        let thread = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            tracing::error!("the embedded store's writer panicked");
        }
        self.shared.hub.end(Error::Unavailable("the store is closed".into()));
        self.shared.db.write().unwrap_or_else(PoisonError::into_inner).take();
    }
}

impl Drop for EmbeddedStore {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Makes the tables of a new file; checks those of an old one.
fn prepare(db: &Database) -> Result<Position> {
    let read = db.begin_read().map_err(transaction_error)?;
    let known = match read.open_table(META) {
        Ok(meta) => {
            let get = |name: &str| -> Result<Option<u64>> {
                let value = meta.get(name).map_err(storage_error)?;
                Ok(value.map(|value| value.value()))
            };
            let need = |name: &str| -> Result<u64> {
                get(name)?.ok_or_else(|| Error::Corrupt(format!("{name:?} is missing")))
            };
            let found = need(META_FORMAT)?;
            if found > FORMAT {
                return Err(Error::NewerFormat { found, supported: FORMAT });
            }
            Some(Position {
                revision: need(META_REVISION)?,
                compacted: need(META_COMPACTED)?,
                scrubbed: need(META_SCRUBBED)?,
            })
        }
        Err(redb::TableError::TableDoesNotExist(_)) => None,
        Err(error) => return Err(table_error(error)),
    };
    drop(read);
    if let Some(position) = known {
        return Ok(position);
    }
    let position = Position { revision: 1, compacted: 0, scrubbed: 0 };
    let transaction = db.begin_write().map_err(transaction_error)?;
    {
        transaction.open_table(VERSIONS).map_err(table_error)?;
        transaction.open_table(LOG).map_err(table_error)?;
        transaction.open_table(EXPIRY).map_err(table_error)?;
        let mut meta = transaction.open_table(META).map_err(table_error)?;
        for (name, value) in [
            (META_FORMAT, FORMAT),
            (META_REVISION, position.revision),
            (META_COMPACTED, position.compacted),
            (META_SCRUBBED, position.scrubbed),
        ] {
            meta.insert(name, value).map_err(storage_error)?;
        }
    }
    transaction.commit().map_err(commit_error)?;
    Ok(position)
}

type VersionsTable = redb::ReadOnlyTable<(&'static [u8], u64), &'static [u8]>;

/// A state of the file to read from.
struct Snapshot {
    transaction: redb::ReadTransaction,
    /// The newest revision that may be shown: all of it is durable and published.
    current: Revision,
    compacted: Revision,
}

impl Shared {
    fn db(&self) -> Result<Arc<Database>> {
        if let Some(error) = self.hub.ended() {
            return Err(error);
        }
        self.db
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
            .ok_or_else(|| Error::Unavailable("the store is closed".into()))
    }

    fn snapshot(&self) -> Result<Snapshot> {
        let db = self.db()?;
        // First the revision, then the state: so the state holds the revision.
        let current = self.hub.current();
        let transaction = db.begin_read().map_err(transaction_error)?;
        let meta = transaction.open_table(META).map_err(table_error)?;
        let compacted = meta.get(META_COMPACTED).map_err(storage_error)?;
        let compacted = compacted.ok_or_else(|| Error::Corrupt("\"compacted\" is missing".into()))?;
        let compacted = compacted.value();
        // Compaction at a revision that was not yet published when we looked: so by now it is.
        let current = current.max(compacted);
        Ok(Snapshot { transaction, current, compacted })
    }

    /// Reads keys in one state of the file, which has all that was acknowledged: nothing waits for the writer, and so for
    /// the syncs of what others write.
    fn read_together(&self, keys: &[&[u8]]) -> Result<TxnResponse> {
        let snapshot = self.snapshot()?;
        let versions = snapshot.versions()?;
        let read = |key: &&[u8]| Ok(OpResult::Get(get_at(&versions, key, snapshot.current, false)?));
        let results = keys.iter().map(read).collect::<Result<_>>()?;
        Ok(TxnResponse { succeeded: true, revision: snapshot.current, results })
    }

    fn range(&self, request: &RangeRequest) -> Result<RangeResponse> {
        let snapshot = self.snapshot()?;
        let at = snapshot.at(request.revision)?;
        range_at(&snapshot.versions()?, request, at, snapshot.current)
    }
}

impl Snapshot {
    fn versions(&self) -> Result<VersionsTable> {
        self.transaction.open_table(VERSIONS).map_err(table_error)
    }

    fn at(&self, revision: Option<Revision>) -> Result<Revision> {
        check_revision(revision, self.current, self.compacted)?;
        Ok(revision.unwrap_or(self.current))
    }
}

/// The keys of a transaction that does no more than read some.
fn keys_only_read(txn: &Txn) -> Option<Vec<&[u8]>> {
    if !txn.compares.is_empty() || txn.success.is_empty() {
        return None;
    }
    let mut keys: Vec<&[u8]> = Vec::with_capacity(txn.success.len());
    for op in &txn.success {
        let Op::Get { key } = op else { return None };
        keys.push(key);
    }
    Some(keys)
}

/// Runs what may block on reading the file away from the async threads.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Error::Unavailable(format!("a read was abandoned: {error}")))?
}

#[async_trait]
impl Store for EmbeddedStore {
    async fn get(&self, key: &[u8], at: Option<Revision>) -> Result<GetResponse> {
        if key.is_empty() {
            return Err(Error::Invalid("a key must not be empty".into()));
        }
        // A few pages at most, mostly cached: quicker here than on another thread.
        let snapshot = self.shared.snapshot()?;
        let at = snapshot.at(at)?;
        Ok(GetResponse { revision: snapshot.current, kv: get_at(&snapshot.versions()?, key, at, false)? })
    }

    async fn range(&self, request: RangeRequest) -> Result<RangeResponse> {
        let small = (1..=SMALL_RANGE).contains(&request.limit) && request.skip_count && !request.count_only;
        if small {
            return self.shared.range(&request);
        }
        let shared = self.shared.clone();
        blocking(move || shared.range(&request)).await
    }

    async fn txn(&self, txn: Txn) -> Result<TxnResponse> {
        validate::txn(&txn)?;
        if let Some(error) = self.shared.hub.ended() {
            return Err(error);
        }
        if let Some(keys) = keys_only_read(&txn) {
            return self.shared.read_together(&keys);
        }
        let bytes = validate::size(&txn);
        let permits = (bytes as u32 / 1024 + 1).min(WAITING_KIB);
        let closed = || Error::Unavailable("the store is closed".to_owned());
        let permit = self.shared.waiting.clone().acquire_many_owned(permits).await.map_err(|_| closed())?;
        let (reply, answer) = oneshot::channel();
        self.shared
            .commands
            .send(Command::Txn { txn, bytes, reply, permit })
            .map_err(|_| self.shared.hub.ended().unwrap_or_else(closed))?;
        answer
            .await
            .map_err(|_| Error::UnknownOutcome("the store was closed before it answered".to_owned()))?
    }

    async fn watch(&self, request: WatchRequest) -> Result<WatchStream> {
        watcher::start(&self.shared, request)
    }

    async fn compact(&self, revision: Revision) -> Result<()> {
        let closed = || Error::Unavailable("the store is closed".to_owned());
        let (reply, answer) = oneshot::channel();
        self.shared
            .commands
            .send(Command::Compact { revision, reply })
            .map_err(|_| self.shared.hub.ended().unwrap_or_else(closed))?;
        answer
            .await
            .map_err(|_| Error::UnknownOutcome("the store was closed before it answered".to_owned()))?
    }

    async fn current_revision(&self) -> Result<Revision> {
        match self.shared.hub.ended() {
            Some(error) => Err(error),
            None => Ok(self.shared.hub.current()),
        }
    }

    async fn status(&self) -> Result<StoreStatus> {
        let snapshot = self.shared.snapshot()?;
        let bytes = match std::fs::metadata(&self.shared.name) {
            Ok(metadata) => metadata.len(),
            // In memory there is no file.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => 0,
            Err(error) => return Err(Error::Unavailable(error.to_string())),
        };
        Ok(StoreStatus {
            backend: "embedded".into(),
            revision: snapshot.current,
            compact_revision: Some(snapshot.compacted),
            bytes,
            bytes_in_use: None,
        })
    }

    async fn close(&self) -> Result<()> {
        // Marked first, so that what comes from now on is refused while the writer finishes.
        let _ = self.shared.commands.send(Command::Close);
        let thread = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            blocking(move || thread.join().map_err(|_| Error::Unavailable("the writer panicked".into())))
                .await?;
        }
        let db = self.shared.db.write().unwrap_or_else(PoisonError::into_inner).take();
        self.shared.hub.end(Error::Unavailable("the store is closed".into()));
        if let Some(db) = db {
            // Reads under way keep the file open for a moment longer.
            let mut waits = 0;
            while Arc::strong_count(&db) > 1 && waits < 1000 {
                waits += 1;
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            blocking(move || {
                drop(db);
                Ok(())
            })
            .await?;
        }
        Ok(())
    }
}

fn storage_error(error: redb::StorageError) -> Error {
    match error {
        redb::StorageError::Corrupted(what) => Error::Corrupt(what.to_string()),
        redb::StorageError::Io(error) => Error::Unavailable(error.to_string()),
        error => Error::Unavailable(error.to_string()),
    }
}

fn table_error(error: redb::TableError) -> Error {
    match error {
        redb::TableError::Storage(error) => storage_error(error),
        error => Error::Corrupt(error.to_string()),
    }
}

fn transaction_error(error: redb::TransactionError) -> Error {
    match error {
        redb::TransactionError::Storage(error) => storage_error(error),
        error => Error::Unavailable(error.to_string()),
    }
}

fn commit_error(error: redb::CommitError) -> Error {
    match error {
        redb::CommitError::Storage(error) => storage_error(error),
        error => Error::Unavailable(error.to_string()),
    }
}

fn database_error(error: redb::DatabaseError, name: &str) -> Error {
    match error {
        redb::DatabaseError::DatabaseAlreadyOpen => Error::Locked { path: name.into() },
        redb::DatabaseError::UpgradeRequired(format) => {
            Error::Corrupt(format!("{name} has the older file format {format}"))
        }
        redb::DatabaseError::Storage(redb::StorageError::Io(error))
            if error.kind() == std::io::ErrorKind::InvalidData =>
        {
            Error::Corrupt(format!("{name} is not a store's file: {error}"))
        }
        redb::DatabaseError::Storage(error) => storage_error(error),
        error => Error::Unavailable(format!("cannot open {name}: {error}")),
    }
}
