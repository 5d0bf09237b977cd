//! Fairness between control planes: how many requests may be answered at once, in all and for each control plane.
//!
//! Watches do not count: they wait more than they work. A control plane has no state here unless requests of it are
//! being answered.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use kplane_machinery::Status;
use kplane_registry::VcpId;

use super::RequestInfo;

/// How many requests may be in flight (`--max-requests-inflight`, `--max-mutating-requests-inflight`).
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Requests that change nothing.
    pub reads: usize,
    /// Requests that write.
    pub writes: usize,
}

/// Counts the requests in flight.
#[derive(Debug)]
pub struct Fairness {
    limits: Limits,
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    reads: usize,
    writes: usize,
    by_vcp: HashMap<(VcpId, bool), usize>,
}

/// A request that counts, until it is dropped.
#[derive(Debug)]
pub struct Seat {
    fairness: Arc<Fairness>,
    vcp: VcpId,
    write: bool,
}

impl Fairness {
    /// With these limits.
    pub fn new(limits: Limits) -> Arc<Self> {
        Arc::new(Self { limits, counts: Mutex::default() })
    }

    /// Takes a request in, or says which limit is reached. While others have requests in flight a control plane gets
    /// at most half of all seats, so that none can shut the others out.
    pub fn admit(self: &Arc<Self>, vcp: VcpId, info: &RequestInfo) -> Result<Option<Seat>, Status> {
        if info.verb == "watch" {
            return Ok(None);
        }
        let write = !info.is_read();
        let limit = if write { self.limits.writes } else { self.limits.reads };
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = if write { counts.writes } else { counts.reads };
        if taken >= limit {
            return Err(Status::too_many_requests(
                format!(
                    "too many requests, please try again later: {limit} are in flight over all control planes"
                ),
                1,
            ));
        }
        let own = counts.by_vcp.get(&(vcp, write)).copied().unwrap_or(0);
        let share = limit.div_ceil(2);
        if own >= share {
            return Err(Status::too_many_requests(
                format!(
                    "too many requests, please try again later: {share} of this control plane are in flight"
                ),
                1,
            ));
        }
        if write {
            counts.writes += 1;
        } else {
            counts.reads += 1;
        }
        *counts.by_vcp.entry((vcp, write)).or_default() += 1;
        Ok(Some(Seat { fairness: self.clone(), vcp, write }))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut counts = self.fairness.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if self.write {
            counts.writes -= 1;
        } else {
            counts.reads -= 1;
        }
        let key = (self.vcp, self.write);
        if let Some(own) = counts.by_vcp.get_mut(&key) {
            *own -= 1;
            if *own == 0 {
                counts.by_vcp.remove(&key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read() -> RequestInfo {
        RequestInfo { verb: "get".into(), ..RequestInfo::default() }
    }

    #[test]
    fn one_control_plane_cannot_take_every_seat() {
        let fairness = Fairness::new(Limits { reads: 4, writes: 2 });
        let (a, b) = (VcpId::ROOT, VcpId::parse("00000000-0000-4000-8000-000000000001").expect("a uid"));
        let held: Vec<_> = (0..2).map(|_| fairness.admit(a, &read()).expect("a seat")).collect();
        assert_eq!(fairness.admit(a, &read()).map(|_| ()).map_err(|s| s.code), Err(429));
        let other = fairness.admit(b, &read()).expect("a seat for the other");
        drop((held, other));
        assert!(fairness.admit(a, &read()).is_ok());
        assert!(fairness.counts.lock().expect("counts").by_vcp.is_empty());
    }

    #[test]
    fn watches_take_no_seat() {
        let fairness = Fairness::new(Limits { reads: 0, writes: 0 });
        let watch = RequestInfo { verb: "watch".into(), ..RequestInfo::default() };
        assert!(fairness.admit(VcpId::ROOT, &watch).expect("admitted").is_none());
    }
}
