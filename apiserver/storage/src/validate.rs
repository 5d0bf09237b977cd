//! The rules of a transaction that hold for every backend, checked before it is sent anywhere.

use std::collections::HashSet;

use crate::{Error, MAX_REQUEST_BYTES, MAX_TXN_OPS, Op, Result, Txn};

/// Whether `key` lies in the half-open range; an empty `end` is no bound.
pub(crate) fn in_range(key: &[u8], start: &[u8], end: &[u8]) -> bool {
    key >= start && (end.is_empty() || key < end)
}

/// Refuses a transaction that etcd would refuse, whichever branch would be taken.
pub(crate) fn txn(txn: &Txn) -> Result<()> {
    let ops = txn.success.len().max(txn.failure.len());
    if ops > MAX_TXN_OPS || txn.compares.len() > MAX_TXN_OPS {
        return Err(Error::Invalid(format!("too many operations in a transaction (at most {MAX_TXN_OPS})")));
    }
    if txn.compares.iter().any(|compare| compare.key.is_empty()) {
        return Err(Error::Invalid("a key must not be empty".into()));
    }
    branch(&txn.success)?;
    branch(&txn.failure)?;
    let size = size(txn);
    if size > MAX_REQUEST_BYTES {
        return Err(Error::TooLarge { size, limit: MAX_REQUEST_BYTES });
    }
    Ok(())
}

/// The bytes of keys and values in a transaction.
pub(crate) fn size(txn: &Txn) -> usize {
    let op = |op: &Op| match op {
        Op::Put { key, value, .. } => key.len() + value.len(),
        Op::Delete { key } | Op::Get { key } => key.len(),
        Op::DeleteRange { start, end } => start.len() + end.len(),
        Op::Range(request) => request.start.len() + request.end.len(),
    };
    txn.compares.iter().map(|c| c.key.len()).sum::<usize>()
        + txn.success.iter().map(op).sum::<usize>()
        + txn.failure.iter().map(op).sum::<usize>()
}

fn branch(ops: &[Op]) -> Result<()> {
    let mut put = HashSet::new();
    for op in ops {
        match op {
            Op::Put { key, .. } => {
                if key.is_empty() {
                    return Err(Error::Invalid("a key must not be empty".into()));
                }
                if !put.insert(key) {
                    return Err(Error::Invalid("duplicate key given in txn request".into()));
                }
            }
            Op::Delete { key } | Op::Get { key } if key.is_empty() => {
                return Err(Error::Invalid("a key must not be empty".into()));
            }
            _ => {}
        }
    }
    for op in ops {
        let clash = match op {
            Op::Delete { key } => put.contains(key),
            Op::DeleteRange { start, end } => put.iter().any(|key| in_range(key, start, end)),
            _ => false,
        };
        if clash {
            return Err(Error::Invalid("duplicate key given in txn request".into()));
        }
    }
    Ok(())
}
