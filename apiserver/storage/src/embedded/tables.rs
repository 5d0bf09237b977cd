//! What the file holds, and how it is read at a revision.
//!
//! | table | key | value |
//! |---|---|---|
//! | `versions` | a key and the complement of a revision, so that the newest comes first | what was written: a [`Record`] |
//! | `log` | a revision | the keys it changed, in order |
//! | `expiry` | a time and a key | the revision whose value expires then, if it still stands |
//! | `meta` | a name | a number |

use bytes::Bytes;
use redb::{ReadableTable, TableDefinition};

use crate::{Error, KeyValue, RangeRequest, RangeResponse, Result, Revision};

pub(super) const VERSIONS: TableDefinition<(&[u8], u64), &[u8]> = TableDefinition::new("versions");
pub(super) const LOG: TableDefinition<u64, &[u8]> = TableDefinition::new("log");
pub(super) const EXPIRY: TableDefinition<(u64, &[u8]), u64> = TableDefinition::new("expiry");
pub(super) const META: TableDefinition<&str, u64> = TableDefinition::new("meta");

/// The format of the data; raised when an older program could not read it.
pub(super) const FORMAT: u64 = 1;
pub(super) const META_FORMAT: &str = "format";
pub(super) const META_REVISION: &str = "revision";
pub(super) const META_COMPACTED: &str = "compacted";
/// Everything before this revision that compaction forgot has been removed.
pub(super) const META_SCRUBBED: &str = "scrubbed";

/// The read side of `versions`, within a read or a write transaction.
pub(super) trait Versions: ReadableTable<(&'static [u8], u64), &'static [u8]> {}
impl<T: ReadableTable<(&'static [u8], u64), &'static [u8]>> Versions for T {}

/// After so many versions in a row that are not wanted, seek instead of stepping.
const STEPS_BEFORE_SEEK: usize = 6;

/// How a key stood after a revision wrote it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Record<'a> {
    Deleted,
    Live { create_revision: Revision, version: u64, value: &'a [u8] },
}

const DELETED: u8 = 0;
const LIVE: u8 = 1;
const LIVE_HEADER: usize = 1 + 8 + 8;

impl<'a> Record<'a> {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.clear();
        match self {
            Record::Deleted => out.push(DELETED),
            Record::Live { create_revision, version, value } => {
                out.push(LIVE);
                out.extend_from_slice(&create_revision.to_le_bytes());
                out.extend_from_slice(&version.to_le_bytes());
                out.extend_from_slice(value);
            }
        }
    }

    pub(super) fn decode(bytes: &'a [u8]) -> Result<Self> {
        match bytes.first() {
            Some(&DELETED) if bytes.len() == 1 => Ok(Record::Deleted),
            Some(&LIVE) if bytes.len() >= LIVE_HEADER => Ok(Record::Live {
                create_revision: number(&bytes[1..9])?,
                version: number(&bytes[9..17])?,
                value: &bytes[LIVE_HEADER..],
            }),
            _ => Err(Error::Corrupt("a version is not as it was written".into())),
        }
    }

    /// The key and value, if live.
    fn key_value(self, key: &[u8], mod_revision: Revision, keys_only: bool) -> Option<KeyValue> {
        match self {
            Record::Deleted => None,
            Record::Live { create_revision, version, value } => Some(KeyValue {
                key: Bytes::copy_from_slice(key),
                value: if keys_only { Bytes::new() } else { Bytes::copy_from_slice(value) },
                create_revision,
                mod_revision,
                version,
            }),
        }
    }
}

fn number(bytes: &[u8]) -> Result<u64> {
    bytes.try_into().map(u64::from_le_bytes).map_err(|_| Error::Corrupt("a number is cut short".into()))
}

/// Writes the keys of one revision's changes.
pub(super) fn encode_log<'a>(keys: impl Iterator<Item = &'a [u8]>, out: &mut Vec<u8>) {
    out.clear();
    for key in keys {
        out.extend_from_slice(&(key.len() as u32).to_le_bytes());
        out.extend_from_slice(key);
    }
}

/// The keys of one revision's changes.
pub(super) fn decode_log(mut bytes: &[u8]) -> Result<Vec<&[u8]>> {
    let mut keys = Vec::new();
    while !bytes.is_empty() {
        let cut = || Error::Corrupt("the log is cut short".into());
        let (length, rest) = bytes.split_first_chunk::<4>().ok_or_else(cut)?;
        let length = u32::from_le_bytes(*length) as usize;
        if rest.len() < length {
            return Err(cut());
        }
        let (key, rest) = rest.split_at(length);
        keys.push(key);
        bytes = rest;
    }
    Ok(keys)
}

/// The key as of revision `at`.
pub(super) fn get_at(
    versions: &impl Versions,
    key: &[u8],
    at: Revision,
    keys_only: bool,
) -> Result<Option<KeyValue>> {
    let mut found = versions.range((key, !at)..=(key, u64::MAX)).map_err(super::storage_error)?;
    match found.next() {
        None => Ok(None),
        Some(entry) => {
            let (position, value) = entry.map_err(super::storage_error)?;
            let (_, inverse) = position.value();
            Ok(Record::decode(value.value())?.key_value(key, !inverse, keys_only))
        }
    }
}

/// Calls `visit` for each key of the range that is live at `at`, in order, until it says stop.
pub(super) fn scan_at(
    versions: &impl Versions,
    start: &[u8],
    end: &[u8],
    at: Revision,
    mut visit: impl FnMut(&[u8], Revision, Record<'_>) -> Result<bool>,
) -> Result<()> {
    // Where to go on after a seek; and the key last decided, whose older versions are passed over.
    let mut from = (start.to_vec(), 0u64);
    let mut decided: Option<Vec<u8>> = None;
    'seek: loop {
        let lower = (from.0.as_slice(), from.1);
        let mut entries = if end.is_empty() {
            versions.range(lower..)
        } else {
            if from.0.as_slice() >= end {
                return Ok(());
            }
            versions.range(lower..(end, 0u64))
        }
        .map_err(super::storage_error)?;
        let mut unwanted = 0;
        for entry in &mut entries {
            let (position, value) = entry.map_err(super::storage_error)?;
            let (key, inverse) = position.value();
            let revision = !inverse;
            if decided.as_deref() == Some(key) {
                unwanted += 1;
                if unwanted > STEPS_BEFORE_SEEK {
                    let mut next = key.to_vec();
                    next.push(0);
                    drop(position);
                    drop(value);
                    from = (next, 0);
                    continue 'seek;
                }
                continue;
            }
            if revision > at {
                unwanted += 1;
                if unwanted > STEPS_BEFORE_SEEK {
                    let key = key.to_vec();
                    drop(position);
                    drop(value);
                    from = (key, !at);
                    continue 'seek;
                }
                continue;
            }
            unwanted = 0;
            let mut last = decided.take().unwrap_or_default();
            last.clear();
            last.extend_from_slice(key);
            decided = Some(last);
            let record = Record::decode(value.value())?;
            if record != Record::Deleted && !visit(key, revision, record)? {
                return Ok(());
            }
        }
        return Ok(());
    }
}

/// Answers a range request as of revision `at`; `current` is what the answer says is current.
pub(super) fn range_at(
    versions: &impl Versions,
    request: &RangeRequest,
    at: Revision,
    current: Revision,
) -> Result<RangeResponse> {
    let mut response = RangeResponse { revision: current, ..Default::default() };
    let limit = match request.limit {
        0 => usize::MAX,
        limit => limit,
    };
    scan_at(versions, &request.start, &request.end, at, |key, revision, record| {
        response.count += 1;
        if request.count_only {
            return Ok(true);
        }
        if response.kvs.len() < limit {
            response.kvs.extend(record.key_value(key, revision, request.keys_only));
            return Ok(true);
        }
        response.more = true;
        Ok(!request.skip_count)
    })?;
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_and_logs_are_read_as_written() {
        let mut bytes = Vec::new();
        for record in [Record::Deleted, Record::Live { create_revision: 3, version: 7, value: b"v" }] {
            record.encode(&mut bytes);
            assert_eq!(Record::decode(&bytes).unwrap(), record);
        }
        assert!(matches!(Record::decode(&[]), Err(Error::Corrupt(_))));
        assert!(matches!(Record::decode(&[1, 2]), Err(Error::Corrupt(_))));

        let keys: [&[u8]; 2] = [b"a", b""];
        encode_log(keys.into_iter(), &mut bytes);
        assert_eq!(decode_log(&bytes).unwrap(), keys);
        assert!(matches!(decode_log(&bytes[..3]), Err(Error::Corrupt(_))));
    }
}
