//! Leases for keys with a time to live. As kube-apiserver does, keys of the same time to live
//! written within a short while share one, since each costs etcd an entry of its log.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use etcd_client::LeaseClient;

use super::errors::Kind;
use crate::Result;

/// How long a lease is given to new keys, and to how many: so that none is revoked with too many.
const REUSED_FOR: Duration = Duration::from_secs(60);
const KEYS_PER_LEASE: usize = 1000;

pub(super) struct Leases {
    client: LeaseClient,
    by_ttl: Mutex<HashMap<u64, Lease>>,
}

struct Lease {
    id: i64,
    reused_until: Instant,
    keys: usize,
}

impl Leases {
    pub(super) fn new(client: LeaseClient) -> Self {
        Leases { client, by_ttl: Mutex::new(HashMap::new()) }
    }

    fn by_ttl(&self) -> MutexGuard<'_, HashMap<u64, Lease>> {
        self.by_ttl.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A lease that lasts at least `ttl` from now.
    pub(super) async fn lease(&self, ttl: Duration) -> Result<i64> {
        let seconds = ttl.as_secs() + u64::from(ttl.subsec_nanos() > 0);
        let seconds = seconds.max(1);
        if let Some(lease) = self.by_ttl().get_mut(&seconds)
            && lease.keys < KEYS_PER_LEASE
            && Instant::now() < lease.reused_until
        {
            lease.keys += 1;
            return Ok(lease.id);
        }
        // A twentieth longer than asked, so that it can be shared meanwhile.
        let reused_for = (Duration::from_secs(seconds) / 20).min(REUSED_FOR);
        let granted_at = Instant::now();
        let seconds_granted = (seconds + reused_for.as_secs()) as i64;
        // A lease that nobody knows of does no harm, so a grant may be repeated like a read.
        let granted = super::attempt(Kind::Read, || {
            let mut client = self.client.clone();
            async move { client.grant(seconds_granted, None).await }
        })
        .await?;
        let lease = Lease {
            id: granted.id(),
            reused_until: granted_at + Duration::from_secs(reused_for.as_secs()),
            keys: 1,
        };
        let id = lease.id;
        self.by_ttl().insert(seconds, lease);
        Ok(id)
    }

    /// Leases that turned out not to exist any more.
    pub(super) fn forget(&self, ids: &[i64]) {
        self.by_ttl().retain(|_, lease| !ids.contains(&lease.id));
    }
}
