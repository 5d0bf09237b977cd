//! What one transaction does to the tables.

use bytes::Bytes;
use redb::{ReadableTable, Table, WriteTransaction};

use super::tables::{EXPIRY, LOG, Record, VERSIONS, decode_log, encode_log, get_at, range_at, scan_at};
use super::writer::now_millis;
use super::{storage_error, table_error};
use crate::{
    Compare, CompareOp, CompareTarget, Error, Event, EventKind, KeyValue, Op, OpResult, Result, Revision,
    Txn, TxnResponse,
};

/// The tables, open for writing.
pub(super) struct Tables<'t> {
    versions: Table<'t, (&'static [u8], u64), &'static [u8]>,
    log: Table<'t, u64, &'static [u8]>,
    expiry: Table<'t, (u64, &'static [u8]), u64>,
    buffer: Vec<u8>,
}

/// What a transaction wrote.
pub(super) struct Applied {
    pub(super) revision: Revision,
    /// The changes, if they were wanted.
    pub(super) events: Vec<Event>,
    /// When the first of the keys written expires.
    pub(super) expires: Option<u64>,
}

/// The answer to a transaction and what it wrote, if anything.
pub(super) struct TxnOutcome {
    pub(super) result: Result<TxnResponse>,
    pub(super) applied: Option<Applied>,
}

/// The changes of the transaction being applied.
struct Changes {
    keys: Vec<Bytes>,
    events: Option<Vec<Event>>,
    expires: Option<u64>,
}

impl<'t> Tables<'t> {
    pub(super) fn open(transaction: &'t WriteTransaction) -> Result<Self> {
        Ok(Tables {
            versions: transaction.open_table(VERSIONS).map_err(table_error)?,
            log: transaction.open_table(LOG).map_err(table_error)?,
            expiry: transaction.open_table(EXPIRY).map_err(table_error)?,
            buffer: Vec::new(),
        })
    }

    /// Applies a transaction that was validated. An error is a failure of the store; a refusal is
    /// in the outcome and has changed nothing.
    pub(super) fn txn(
        &mut self,
        txn: &Txn,
        current: Revision,
        compacted: Revision,
        collect: bool,
    ) -> Result<TxnOutcome> {
        // Refusals come before the first write: a transaction is never half done.
        for op in txn.success.iter().chain(&txn.failure) {
            if let Op::Range(request) = op
                && let Err(refusal) = check_revision(request.revision, current, compacted)
            {
                return Ok(TxnOutcome { result: Err(refusal), applied: None });
            }
        }
        let mut succeeded = true;
        for compare in &txn.compares {
            if !self.holds(compare, current)? {
                succeeded = false;
                break;
            }
        }
        let ops = if succeeded { &txn.success } else { &txn.failure };
        let revision = current + 1;
        let mut changes = Changes { keys: Vec::new(), events: collect.then(Vec::new), expires: None };
        let mut results = Vec::with_capacity(ops.len());
        for op in ops {
            results.push(self.op(op, revision, &mut changes)?);
        }
        let applied = self.finish(revision, changes)?;
        let revision = if applied.is_some() { revision } else { current };
        for result in &mut results {
            if let OpResult::Range(response) = result {
                response.revision = revision;
            }
        }
        Ok(TxnOutcome { result: Ok(TxnResponse { succeeded, revision, results }), applied })
    }

    fn op(&mut self, op: &Op, revision: Revision, changes: &mut Changes) -> Result<OpResult> {
        Ok(match op {
            Op::Put { key, value, ttl } => {
                let deadline = ttl.map(|ttl| now_millis() + (ttl.as_millis() as u64).max(1));
                self.put(key, value, deadline, revision, changes)?;
                OpResult::Put
            }
            Op::Delete { key } => {
                OpResult::Deleted { deleted: u64::from(self.delete(key, revision, changes)?) }
            }
            Op::DeleteRange { start, end } => {
                let mut keys = Vec::new();
                scan_at(&self.versions, start, end, revision, |key, _, _| {
                    keys.push(Bytes::copy_from_slice(key));
                    Ok(true)
                })?;
                for key in &keys {
                    self.delete(key, revision, changes)?;
                }
                OpResult::Deleted { deleted: keys.len() as u64 }
            }
            Op::Get { key } => OpResult::Get(get_at(&self.versions, key, revision, false)?),
            Op::Range(request) => OpResult::Range(range_at(
                &self.versions,
                request,
                request.revision.unwrap_or(revision),
                revision,
            )?),
        })
    }

    fn put(
        &mut self,
        key: &Bytes,
        value: &Bytes,
        deadline: Option<u64>,
        revision: Revision,
        changes: &mut Changes,
    ) -> Result<()> {
        let collect = changes.events.is_some();
        let prev = get_at(&self.versions, key, revision, !collect)?;
        let (create_revision, version) =
            prev.as_ref().map_or((revision, 1), |kv| (kv.create_revision, kv.version + 1));
        Record::Live { create_revision, version, value }.encode(&mut self.buffer);
        self.versions.insert((key.as_ref(), !revision), self.buffer.as_slice()).map_err(storage_error)?;
        if let Some(at) = deadline {
            self.expiry.insert((at, key.as_ref()), revision).map_err(storage_error)?;
            changes.expires = Some(changes.expires.map_or(at, |first| first.min(at)));
        }
        changes.keys.push(key.clone());
        if let Some(events) = &mut changes.events {
            events.push(Event {
                kind: EventKind::Put,
                kv: KeyValue {
                    key: key.clone(),
                    value: value.clone(),
                    create_revision,
                    mod_revision: revision,
                    version,
                },
                prev_kv: prev,
            });
        }
        Ok(())
    }

    /// Deletes a key; whether it existed.
    fn delete(&mut self, key: &Bytes, revision: Revision, changes: &mut Changes) -> Result<bool> {
        let collect = changes.events.is_some();
        let Some(prev) = get_at(&self.versions, key, revision, !collect)? else {
            return Ok(false);
        };
        Record::Deleted.encode(&mut self.buffer);
        self.versions.insert((key.as_ref(), !revision), self.buffer.as_slice()).map_err(storage_error)?;
        changes.keys.push(key.clone());
        if let Some(events) = &mut changes.events {
            events.push(Event {
                kind: EventKind::Delete,
                kv: KeyValue { key: key.clone(), mod_revision: revision, ..Default::default() },
                prev_kv: Some(prev),
            });
        }
        Ok(true)
    }

    /// Logs what was changed, if anything was.
    fn finish(&mut self, revision: Revision, changes: Changes) -> Result<Option<Applied>> {
        if changes.keys.is_empty() {
            return Ok(None);
        }
        encode_log(changes.keys.iter().map(Bytes::as_ref), &mut self.buffer);
        self.log.insert(revision, self.buffer.as_slice()).map_err(storage_error)?;
        Ok(Some(Applied { revision, events: changes.events.unwrap_or_default(), expires: changes.expires }))
    }

    fn holds(&self, compare: &Compare, current: Revision) -> Result<bool> {
        let test = |mod_revision, create_revision, version| {
            let (left, right) = match compare.target {
                CompareTarget::ModRevision(right) => (mod_revision, right),
                CompareTarget::CreateRevision(right) => (create_revision, right),
                CompareTarget::Version(right) => (version, right),
            };
            match compare.op {
                CompareOp::Equal => left == right,
                CompareOp::NotEqual => left != right,
                CompareOp::Less => left < right,
                CompareOp::Greater => left > right,
            }
        };
        let Some(end) = &compare.range_end else {
            let kv = get_at(&self.versions, &compare.key, current, true)?.unwrap_or_default();
            return Ok(test(kv.mod_revision, kv.create_revision, kv.version));
        };
        let mut all = None;
        scan_at(&self.versions, &compare.key, end, current, |_, mod_revision, record| {
            let holds = match record {
                Record::Live { create_revision, version, .. } => test(mod_revision, create_revision, version),
                Record::Deleted => true,
            };
            all = Some(holds);
            Ok(holds)
        })?;
        Ok(all.unwrap_or_else(|| test(0, 0, 0)))
    }

    /// Takes out of the schedule the keys that are due at `now`, each with the revision whose
    /// value expires.
    pub(super) fn due(&mut self, now: u64, limit: usize) -> Result<Vec<(Bytes, Revision)>> {
        let mut due = Vec::new();
        while due.len() < limit {
            let first = match self.expiry.first().map_err(storage_error)? {
                Some((position, revision)) => {
                    let (at, key) = position.value();
                    (at, Bytes::copy_from_slice(key), revision.value())
                }
                None => break,
            };
            let (at, key, revision) = first;
            if at > now {
                break;
            }
            self.expiry.remove((at, key.as_ref())).map_err(storage_error)?;
            due.push((key, revision));
        }
        Ok(due)
    }

    /// When the next key may expire.
    pub(super) fn next_expiry(&self) -> Result<Option<u64>> {
        let first = self.expiry.first().map_err(storage_error)?;
        Ok(first.map(|(position, _)| position.value().0))
    }

    /// Deletes an expired key, at a revision of its own, unless it was written since `written`.
    pub(super) fn expire(
        &mut self,
        key: &Bytes,
        written: Revision,
        current: Revision,
        collect: bool,
    ) -> Result<Option<Applied>> {
        match get_at(&self.versions, key, current, true)? {
            Some(kv) if kv.mod_revision == written => {}
            _ => return Ok(None),
        }
        let mut changes = Changes { keys: Vec::new(), events: collect.then(Vec::new), expires: None };
        self.delete(key, current + 1, &mut changes)?;
        self.finish(current + 1, changes)
    }

    /// Removes what compaction at `compacted` forgot, going through at most `limit` revisions of
    /// the log from `from` on; returns how far it came. Its cost is that of the changes since the
    /// last compaction, not of the data.
    pub(super) fn scrub(&mut self, from: Revision, compacted: Revision, limit: usize) -> Result<Revision> {
        let mut revisions = Vec::new();
        for entry in self.log.range(from..=compacted).map_err(storage_error)?.take(limit) {
            let (revision, keys) = entry.map_err(storage_error)?;
            let keys = decode_log(keys.value())?.into_iter().map(Bytes::copy_from_slice).collect::<Vec<_>>();
            revisions.push((revision.value(), keys));
        }
        let reached = match revisions.last() {
            Some((last, _)) if revisions.len() == limit => last + 1,
            _ => compacted,
        };
        for (revision, keys) in revisions {
            for key in keys {
                self.scrub_key(&key, revision, revision < compacted)?;
            }
            // The changes of the revision itself may still be watched.
            if revision < compacted {
                self.log.remove(revision).map_err(storage_error)?;
            }
        }
        Ok(reached.min(compacted))
    }

    /// Removes the versions of a key before `revision`, and that one too if it is a deletion and
    /// no longer wanted.
    fn scrub_key(&mut self, key: &[u8], revision: Revision, deletions: bool) -> Result<()> {
        let mut gone = Vec::new();
        for entry in self.versions.range((key, !revision)..=(key, u64::MAX)).map_err(storage_error)? {
            let (position, value) = entry.map_err(storage_error)?;
            let (_, inverse) = position.value();
            if !inverse < revision || (deletions && matches!(Record::decode(value.value())?, Record::Deleted))
            {
                gone.push(inverse);
            }
        }
        for inverse in gone {
            self.versions.remove((key, inverse)).map_err(storage_error)?;
        }
        Ok(())
    }
}

/// Whether a read at `revision` is possible.
pub(super) fn check_revision(
    revision: Option<Revision>,
    current: Revision,
    compacted: Revision,
) -> Result<()> {
    match revision {
        Some(requested) if requested > current => Err(Error::FutureRevision { requested, current }),
        Some(requested) if requested < compacted => Err(Error::Compacted { compact_revision: compacted }),
        _ => Ok(()),
    }
}
