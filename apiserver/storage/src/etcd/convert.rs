//! Between our types and etcd's messages.

use bytes::Bytes;
use etcd_client::proto::{PbKeyValue, PbResponseHeader, PbTxnOpResponse};
use etcd_client::{DeleteOptions, GetOptions, PutOptions, TxnOp};

use super::lease::Leases;
use crate::{
    Compare, CompareOp, CompareTarget, Error, KeyValue, Op, OpResult, RangeResponse, Result, Revision, Txn,
    TxnResponse,
};

/// The first key of a range as etcd wants it, which knows no empty key.
pub(super) fn range_start(start: &[u8]) -> Vec<u8> {
    match start {
        [] => vec![0],
        start => start.to_vec(),
    }
}

/// The end of a range as etcd wants it: a zero byte is no bound.
pub(super) fn range_end(end: &[u8]) -> Vec<u8> {
    range_start(end)
}

pub(super) fn revision(header: Option<&PbResponseHeader>) -> Result<Revision> {
    header
        .map(|header| header.revision as Revision)
        .ok_or_else(|| Error::Corrupt("etcd's answer has no header".into()))
}

pub(super) fn key_value(kv: PbKeyValue) -> KeyValue {
    KeyValue {
        key: Bytes::from(kv.key),
        value: Bytes::from(kv.value),
        create_revision: kv.create_revision as Revision,
        mod_revision: kv.mod_revision as Revision,
        version: kv.version as u64,
    }
}

fn compare(compare: &Compare) -> etcd_client::Compare {
    let op = match compare.op {
        CompareOp::Equal => etcd_client::CompareOp::Equal,
        CompareOp::NotEqual => etcd_client::CompareOp::NotEqual,
        CompareOp::Less => etcd_client::CompareOp::Less,
        CompareOp::Greater => etcd_client::CompareOp::Greater,
    };
    let key = compare.key.as_ref();
    let message = match compare.target {
        CompareTarget::ModRevision(at) => etcd_client::Compare::mod_revision(key, op, at as i64),
        CompareTarget::CreateRevision(at) => etcd_client::Compare::create_revision(key, op, at as i64),
        CompareTarget::Version(version) => etcd_client::Compare::version(key, op, version as i64),
    };
    match &compare.range_end {
        None => message,
        Some(end) => message.with_range(range_end(end)),
    }
}

async fn op(op: &Op, leases: &Leases, used: &mut Vec<i64>) -> Result<TxnOp> {
    Ok(match op {
        Op::Put { key, value, ttl } => {
            let mut options = PutOptions::new();
            if let Some(ttl) = ttl {
                let lease = leases.lease(*ttl).await?;
                used.push(lease);
                options = options.with_lease(lease);
            }
            TxnOp::put(key.as_ref(), value.as_ref(), Some(options))
        }
        Op::Delete { key } => TxnOp::delete(key.as_ref(), None),
        Op::DeleteRange { start, end } => {
            TxnOp::delete(range_start(start), Some(DeleteOptions::new().with_range(range_end(end))))
        }
        Op::Get { key } => TxnOp::get(key.as_ref(), None),
        Op::Range(request) => {
            let mut options =
                GetOptions::new().with_range(range_end(&request.end)).with_limit(request.limit as i64);
            if let Some(revision) = request.revision {
                options = options.with_revision(revision as i64);
            }
            if request.keys_only {
                options = options.with_keys_only();
            }
            if request.count_only {
                options = options.with_count_only();
            }
            TxnOp::get(range_start(&request.start), Some(options))
        }
    })
}

/// The message of a transaction; `used` tells the leases it names.
pub(super) async fn txn(txn: &Txn, leases: &Leases, used: &mut Vec<i64>) -> Result<etcd_client::Txn> {
    let mut success = Vec::with_capacity(txn.success.len());
    for each in &txn.success {
        success.push(op(each, leases, used).await?);
    }
    let mut failure = Vec::with_capacity(txn.failure.len());
    for each in &txn.failure {
        failure.push(op(each, leases, used).await?);
    }
    let compares = txn.compares.iter().map(compare).collect::<Vec<_>>();
    Ok(etcd_client::Txn::new().when(compares).and_then(success).or_else(failure))
}

/// The answer to `txn`.
pub(super) fn txn_response(txn: &Txn, response: etcd_client::TxnResponse) -> Result<TxnResponse> {
    let response = response.0;
    let at = revision(response.header.as_ref())?;
    let ops = match response.succeeded {
        true => &txn.success,
        false => &txn.failure,
    };
    if ops.len() != response.responses.len() {
        return Err(Error::Corrupt("etcd answered what was not asked".into()));
    }
    let mut results = Vec::with_capacity(ops.len());
    for (op, result) in ops.iter().zip(response.responses) {
        results.push(match result.response {
            Some(PbTxnOpResponse::ResponsePut(_)) => OpResult::Put,
            Some(PbTxnOpResponse::ResponseDeleteRange(deleted)) => {
                OpResult::Deleted { deleted: deleted.deleted as u64 }
            }
            Some(PbTxnOpResponse::ResponseRange(range)) if matches!(op, Op::Get { .. }) => {
                OpResult::Get(range.kvs.into_iter().next().map(key_value))
            }
            Some(PbTxnOpResponse::ResponseRange(range)) => OpResult::Range(RangeResponse {
                kvs: range.kvs.into_iter().map(key_value).collect(),
                count: range.count as u64,
                more: range.more,
                revision: at,
            }),
            Some(PbTxnOpResponse::ResponseTxn(_)) | None => {
                return Err(Error::Corrupt("etcd answered what was not asked".into()));
            }
        });
    }
    Ok(TxnResponse { succeeded: response.succeeded, revision: at, results })
}
