//! Fairness between control planes, and within one as API Priority and Fairness has it.
//!
//! ```text
//! turns    which request runs next: the one whose control plane has used the processor least
//! seats    how many are answered at once: fair between control planes, by priority level and flow within one
//! limits   what the class of a control plane allows: requests in flight and a second, watches
//! ```
//!
//! A control plane has no state here unless requests of it are being answered, or were a moment ago.

mod flows;
mod limits;
mod policy;
mod queues;
mod turns;

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use http::HeaderValue;
use kplane_auth::user::UNAUTHENTICATED;
use kplane_machinery::Status;
use kplane_registry::{Vcp, VcpId};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

pub use self::limits::ClassLimits;
pub use self::policy::Policy;
pub use self::turns::Turns;

use self::flows::{FlowConfig, Queues};
use self::limits::Bucket;
use self::policy::Bases;
use self::queues::{Asked, Place, Seats};
use super::RequestInfo;
use crate::app::App;
use crate::identity::Caller;

/// How long a request waits for a seat: a fourth of the time it may take at all, as upstream.
const PATIENCE: Duration = Duration::from_secs(15);
/// How long what is known of a control plane counts as new.
const FRESH: Duration = Duration::from_secs(2);
/// How long after its last request it is remembered.
const REMEMBERED: Duration = Duration::from_secs(10);
/// How often those are forgotten that are not in use.
const SWEEP: Duration = Duration::from_secs(5);
/// How many writes of a control plane are on their way into the store at once: as many as one sync of the embedded store
/// gathers without making it long.
const WRITES: usize = 64;
/// How many watches a control plane may have open where its class does not say.
const WATCHES: usize = 10_000;
/// Where requests wait that no FlowSchema matches.
const NO_LEVEL: &str = "";
const NO_LEVEL_QUEUES: Queues = Queues { count: 16, hand: 2, length: 50 };

/// How many requests may be in flight (`--max-requests-inflight`, `--max-mutating-requests-inflight`).
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Requests that change nothing.
    pub reads: usize,
    /// Requests that write.
    pub writes: usize,
}

/// Fairness.
#[derive(Debug)]
pub struct Fairness {
    /// Who runs next.
    pub turns: Arc<Turns>,
    total: usize,
    seats: Mutex<Seats>,
    active: Mutex<HashMap<VcpId, Active>>,
    bases: Bases,
}

/// A control plane in use.
#[derive(Debug)]
struct Active {
    policy: Arc<Policy>,
    refreshed: Instant,
    used: Instant,
    bucket: Option<Bucket>,
    watches: usize,
    writes: Arc<Semaphore>,
    admitted: u64,
    refused: u64,
}

/// The seat of a request, until it is dropped.
#[derive(Debug)]
pub struct Seat {
    fairness: Option<Arc<Fairness>>,
    vcp: VcpId,
    level: Arc<str>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        if let Some(fairness) = self.fairness.take() {
            fairness.give_back(self.vcp, &self.level);
        }
    }
}

/// A watch or a connection of another protocol that is open, until it is dropped.
#[derive(Debug)]
pub struct OpenWatch {
    fairness: Arc<Fairness>,
    vcp: VcpId,
}

impl Drop for OpenWatch {
    fn drop(&mut self) {
        if let Some(active) = self.fairness.active().get_mut(&self.vcp) {
            active.watches = active.watches.saturating_sub(1);
        }
    }
}

/// The FlowSchema and the priority level of a request, as answers tell them.
#[derive(Clone, Debug, Default)]
pub struct FlowIds {
    /// The uid of the FlowSchema.
    pub schema: Option<HeaderValue>,
    /// The uid of the PriorityLevelConfiguration.
    pub level: Option<HeaderValue>,
}

/// A request that was let in.
#[derive(Debug, Default)]
pub struct Admitted {
    /// Its seat, given back when its answer begins.
    pub seat: Option<Seat>,
    /// For a watch, or for what may become another protocol's: what counts it, kept while its stream lasts.
    pub watch: Option<Arc<OpenWatch>>,
}

/// What is known of a control plane's requests at the moment.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// By priority level: how many are being answered and how many wait.
    pub levels: Vec<(Arc<str>, usize, usize)>,
    /// Watches open here.
    pub watches: usize,
    /// Requests let in and refused since it has been in use.
    pub admitted: u64,
    /// See `admitted`.
    pub refused: u64,
    /// Its limits.
    pub limits: ClassLimits,
}

impl Fairness {
    /// With these limits, and about as many turns as there are threads to run them.
    pub fn new(limits: Limits) -> Arc<Self> {
        let threads = std::thread::available_parallelism().map_or(2, usize::from);
        let total = (limits.reads + limits.writes).max(2);
        Arc::new(Self {
            // One more: a turn that was given is not taken at once.
            turns: Turns::new(threads + 1),
            total,
            seats: Mutex::new(Seats::new(total)),
            active: Mutex::default(),
            bases: Bases::default(),
        })
    }

    fn seats(&self) -> MutexGuard<'_, Seats> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn active(&self) -> MutexGuard<'_, HashMap<VcpId, Active>> {
        self.active.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whose time is counted for those who name no control plane that is there.
    pub fn stranger() -> VcpId {
        VcpId::parse("ffffffff-ffff-ffff-ffff-ffffffffffff").unwrap_or(VcpId::ROOT)
    }

    /// Whose time is counted for those at an address of whom no more is known.
    pub fn stranger_at(address: IpAddr) -> VcpId {
        let mut hash = DefaultHasher::new();
        address.hash(&mut hash);
        let tail = hash.finish() >> 16;
        VcpId::parse(&format!("ffffffff-ffff-ffff-fffe-{tail:012x}")).unwrap_or_else(Self::stranger)
    }

    /// A place among the writes of a control plane that are on their way into the store, until it is dropped. There are few
    /// enough that the writes of another never wait behind a long line of them.
    pub async fn write_place(&self, vcp: VcpId) -> Option<OwnedSemaphorePermit> {
        let places = self.active().get(&vcp)?.writes.clone();
        places.acquire_owned().await.ok()
    }

    /// What is known of a control plane, a few seconds old at most.
    pub async fn policy(&self, app: &App, vcp: &Vcp) -> Result<Arc<Policy>, Status> {
        let now = Instant::now();
        let before = {
            let mut all = self.active();
            match all.get_mut(&vcp.id) {
                Some(active) => {
                    active.used = now;
                    if now.saturating_duration_since(active.refreshed) < FRESH {
                        return Ok(active.policy.clone());
                    }
                    // One reads it again; the others go on with what is known.
                    active.refreshed = now;
                    Some(active.policy.clone())
                }
                None => None,
            }
        };
        let policy = match Policy::load(app, vcp, &self.bases, before.as_deref()).await {
            Ok(policy) => Arc::new(policy),
            Err(status) => {
                tracing::debug!(%status, vcp = %vcp.name, "the flows of a control plane could not be read again");
                return before.ok_or(status);
            }
        };
        let mut all = self.active();
        match all.get_mut(&vcp.id) {
            Some(active) => active.policy = policy.clone(),
            None => {
                let active = Active {
                    policy: policy.clone(),
                    refreshed: now,
                    used: now,
                    bucket: None,
                    watches: 0,
                    writes: Arc::new(Semaphore::new(WRITES)),
                    admitted: 0,
                    refused: 0,
                };
                all.insert(vcp.id, active);
            }
        }
        Ok(policy)
    }

    /// Lets a request in, perhaps after a while, or says which limit is reached. What asks for another protocol on its
    /// connection (`upgrade`) stays as long as a watch, and counts as one.
    pub async fn admit(
        self: &Arc<Self>,
        app: &App,
        vcp: Option<&Vcp>,
        caller: &Caller,
        info: &RequestInfo,
        upgrade: bool,
        ids: &mut FlowIds,
    ) -> Result<Admitted, Status> {
        let Some(vcp) = vcp else {
            let place = self.place(Self::stranger(), None, "stranger".into(), None);
            return Ok(Admitted { seat: Some(self.seat(place).await?), watch: None });
        };
        let policy = self.policy(app, vcp).await?;
        let flow = policy.config.classify(&caller.user, info);
        // Not told to strangers, to whom a control plane that is not there must look like one that is.
        if !caller.user.in_group(UNAUTHENTICATED) {
            (ids.schema, ids.level) = policy.uids(flow.schema, flow.level);
        }
        let level = flow.level.and_then(|index| Some((policy.config.level(index)?, index)));
        // What root's own do for all is never held up by what they do it for.
        let exempt = level.is_some_and(|(level, _)| level.limited.is_none());
        if exempt && caller.of_root && vcp.is_root() {
            return Ok(Admitted::default());
        }
        let watch = if caller.of_root {
            None
        } else {
            self.within_limits(vcp, &policy.limits, upgrade || info.verb == "watch")?
        };
        let place = self.place(
            vcp.id,
            Some((&policy, flow.level)),
            flow.distinguisher,
            policy.limits.requests_in_flight,
        );
        let seat = match self.seat(place).await {
            Ok(seat) => seat,
            Err(status) => {
                if let Some(active) = self.active().get_mut(&vcp.id) {
                    active.refused += 1;
                }
                return Err(status);
            }
        };
        if let Some(active) = self.active().get_mut(&vcp.id) {
            active.admitted += 1;
        }
        Ok(Admitted { seat: Some(seat), watch })
    }

    fn place(
        &self,
        vcp: VcpId,
        policy: Option<(&Arc<Policy>, Option<usize>)>,
        flow: String,
        in_flight: Option<usize>,
    ) -> Place {
        // Half of all, so that there is always a seat for another.
        let most = self.total.div_ceil(2);
        let level = policy.and_then(|(policy, level)| {
            let found = policy.config.level(level?)?;
            Some((found, policy.level_names.get(found.object)?.clone()))
        });
        Place {
            vcp,
            exempt: level.as_ref().is_some_and(|(level, _)| level.limited.is_none()),
            queues: match &level {
                Some((level, _)) => level.limited.as_ref().and_then(|limited| limited.queues),
                None => Some(NO_LEVEL_QUEUES),
            },
            level: level.map_or_else(|| Arc::from(NO_LEVEL), |(_, name)| name),
            flow,
            config: policy.map_or_else(Arc::<FlowConfig>::default, |(policy, _)| policy.config.clone()),
            seats: in_flight.map_or(most, |limit| limit.min(most)).max(1),
        }
    }

    /// Requests a second and watches.
    fn within_limits(
        self: &Arc<Self>,
        vcp: &Vcp,
        limits: &ClassLimits,
        stays: bool,
    ) -> Result<Option<Arc<OpenWatch>>, Status> {
        let now = Instant::now();
        let mut all = self.active();
        let Some(active) = all.get_mut(&vcp.id) else { return Ok(None) };
        if let Some(rate) = limits.requests_per_second {
            let bucket = active.bucket.get_or_insert_with(|| Bucket::new(rate, now));
            if !bucket.take(rate, now) {
                active.refused += 1;
                return Err(Status::too_many_requests(
                    format!(
                        "too many requests, please try again later: this control plane may make {rate} requests a second (limit requestsPerSecond)"
                    ),
                    1,
                ));
            }
        } else {
            active.bucket = None;
        }
        if !stays {
            return Ok(None);
        }
        let most = limits.watches.unwrap_or(WATCHES);
        if active.watches >= most {
            active.refused += 1;
            return Err(Status::too_many_requests(
                format!(
                    "too many watches, please try again later: this control plane may have {most} open (limit watches)"
                ),
                1,
            ));
        }
        active.watches += 1;
        Ok(Some(Arc::new(OpenWatch { fairness: self.clone(), vcp: vcp.id })))
    }

    async fn seat(self: &Arc<Self>, place: Place) -> Result<Seat, Status> {
        let asked = self.seats().ask(&place);
        let receiver = match asked {
            Asked::Seated => {
                return Ok(Seat { fairness: Some(self.clone()), vcp: place.vcp, level: place.level });
            }
            Asked::Full { executing, waiting } => {
                return Err(too_many(&place, &format!("{executing} are in flight and {waiting} wait")));
            }
            Asked::Waits(receiver) => receiver,
        };
        let mut waiting = Waiting { fairness: self, vcp: place.vcp, level: &place.level, receiver };
        match tokio::time::timeout(PATIENCE, &mut waiting.receiver).await {
            Ok(Ok(seat)) => Ok(seat),
            _ => Err(too_many(&place, &format!("there was no seat for {} seconds", PATIENCE.as_secs()))),
        }
    }

    fn give_back(self: &Arc<Self>, vcp: VcpId, level: &str) {
        let mut seats = self.seats();
        seats.release(vcp, level);
        while let Some((vcp, level, sender)) = seats.next() {
            let seat = Seat { fairness: Some(self.clone()), vcp, level };
            if let Err(mut seat) = sender.send(seat) {
                // Whoever waited went away. Not by dropping the seat: that would ask for the lock we hold.
                seat.fairness = None;
                seats.release(seat.vcp, &seat.level);
            }
        }
    }

    /// Forgets control planes that are not in use, until the server ends.
    pub async fn run(app: Arc<App>) {
        loop {
            tokio::select! {
                () = app.shutdown.cancelled() => return,
                () = tokio::time::sleep(SWEEP) => app.fairness.sweep(Instant::now()),
            }
        }
    }

    fn sweep(&self, now: Instant) {
        let mut all = self.active();
        all.retain(|_, active| active.watches > 0 || now.saturating_duration_since(active.used) < REMEMBERED);
        if all.is_empty() {
            all.shrink_to_fit();
        }
    }

    /// What is known of a control plane's requests.
    pub fn of(&self, vcp: VcpId) -> Figures {
        let levels = self.seats().of(vcp);
        let all = self.active();
        match all.get(&vcp) {
            Some(active) => Figures {
                levels,
                watches: active.watches,
                admitted: active.admitted,
                refused: active.refused,
                limits: active.policy.limits,
            },
            None => Figures { levels, ..Figures::default() },
        }
    }

    /// Control planes in use, requests with a seat, and requests that wait for one.
    pub fn figures(&self) -> (usize, usize, usize) {
        let (_, taken, waiting) = self.seats().figures();
        (self.active().len(), taken, waiting)
    }
}

fn too_many(place: &Place, why: &str) -> Status {
    let level = match &*place.level {
        NO_LEVEL => "of this control plane".to_owned(),
        level => format!("of this control plane at priority level {level:?}"),
    };
    Status::too_many_requests(
        format!(
            "too many requests {level}, please try again later: {why}; the control plane has {} seats",
            place.seats
        ),
        1,
    )
}

/// A request in a queue; it leaves when dropped.
struct Waiting<'a> {
    fairness: &'a Arc<Fairness>,
    vcp: VcpId,
    level: &'a Arc<str>,
    receiver: oneshot::Receiver<Seat>,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.receiver.close();
        // A seat that came too late goes back by itself.
        drop(self.receiver.try_recv());
        self.fairness.seats().tidy(self.vcp, self.level);
    }
}

#[cfg(test)]
mod tests;
