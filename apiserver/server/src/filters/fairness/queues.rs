//! Who gets the next seat: fair between control planes by how many each has taken, within one by priority level, within a
//! level by flow.
//!
//! All of it is behind one lock and says nothing of time. A control plane has no entry unless requests of it are being
//! answered or wait.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use kplane_registry::VcpId;
use tokio::sync::oneshot;

use super::Seat;
use super::flows::{FlowConfig, Queues};

/// How many requests of an exempt level wait for a control plane's seats.
const EXEMPT_QUEUE: usize = 1000;

/// Where a request stands when it asks for a seat.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub vcp: VcpId,
    pub level: Arc<str>,
    /// Whether the level is exempt: it has no limit but that of the control plane, and goes first.
    pub exempt: bool,
    pub queues: Option<Queues>,
    pub flow: String,
    pub config: Arc<FlowConfig>,
    /// The seats of the control plane.
    pub seats: usize,
}

/// What became of a request that asked.
pub(super) enum Asked {
    Seated,
    Waits(oneshot::Receiver<Seat>),
    /// Its level takes no more: so many are being answered, so many wait.
    Full {
        executing: usize,
        waiting: usize,
    },
}

/// All seats.
#[derive(Debug)]
pub(super) struct Seats {
    total: usize,
    taken: usize,
    tenants: HashMap<VcpId, Tenant>,
    /// How many wait in all, so that a release with nobody waiting costs nothing.
    waiting: usize,
}

#[derive(Debug)]
struct Tenant {
    config: Arc<FlowConfig>,
    seats: usize,
    executing: usize,
    levels: BTreeMap<Arc<str>, LevelState>,
}

#[derive(Debug, Default)]
struct LevelState {
    exempt: bool,
    executing: usize,
    waiting: usize,
    queues: BTreeMap<u64, VecDeque<oneshot::Sender<Seat>>>,
    /// The queue that was served last.
    last: u64,
}

impl LevelState {
    /// The next in turn: the queue behind the one that was served last.
    fn pop(&mut self) -> Option<oneshot::Sender<Seat>> {
        let next =
            self.queues.range(self.last.saturating_add(1)..).next().or_else(|| self.queues.iter().next());
        let index = *next?.0;
        let queue = self.queues.get_mut(&index)?;
        let sender = queue.pop_front();
        if queue.is_empty() {
            self.queues.remove(&index);
        }
        self.last = index;
        self.waiting -= usize::from(sender.is_some());
        sender
    }

    /// Forgets those who went away.
    fn tidy(&mut self) -> usize {
        let before = self.waiting;
        self.queues.retain(|_, queue| {
            queue.retain(|sender| !sender.is_closed());
            !queue.is_empty()
        });
        self.waiting = self.queues.values().map(VecDeque::len).sum();
        before - self.waiting
    }

    fn is_idle(&self) -> bool {
        self.executing == 0 && self.waiting == 0
    }
}

impl Tenant {
    fn limit(&self, level: &str, exempt: bool) -> usize {
        if exempt {
            return self.seats;
        }
        let taken = |name: &str| self.levels.get(name).map_or(0, |level| level.executing);
        self.config.limit_of(level, self.seats, taken)
    }

    fn has_room(&self, level: &str, exempt: bool) -> bool {
        let executing = self.levels.get(level).map_or(0, |level| level.executing);
        self.executing < self.seats && executing < self.limit(level, exempt)
    }

    /// The level whose turn it is: an exempt one, else the one that has taken the least of its limit.
    fn next_level(&self) -> Option<Arc<str>> {
        self.levels
            .iter()
            .filter(|(name, level)| level.waiting > 0 && self.has_room(name, level.exempt))
            .min_by_key(|(name, level)| {
                let limit = self.limit(name, level.exempt).max(1);
                (!level.exempt, level.executing * 1000 / limit)
            })
            .map(|(name, _)| name.clone())
    }
}

impl Seats {
    pub fn new(total: usize) -> Self {
        Self { total: total.max(1), taken: 0, tenants: HashMap::new(), waiting: 0 }
    }

    /// Takes a seat, or a place in a queue.
    pub fn ask(&mut self, place: &Place) -> Asked {
        let free = self.taken < self.total;
        let tenant = self.tenants.entry(place.vcp).or_insert_with(|| Tenant {
            config: place.config.clone(),
            seats: place.seats,
            executing: 0,
            levels: BTreeMap::new(),
        });
        tenant.config = place.config.clone();
        tenant.seats = place.seats.max(1);
        let room = free && tenant.has_room(&place.level, place.exempt);
        let level = tenant.levels.entry(place.level.clone()).or_default();
        level.exempt = place.exempt;
        if room && level.waiting == 0 {
            self.count(place.vcp, &place.level);
            return Asked::Seated;
        }
        let (index, length) = if place.exempt {
            (0, EXEMPT_QUEUE)
        } else {
            match place.queues {
                Some(queues) => (shortest(level, queues, &place.flow), queues.length),
                None => (0, 0),
            }
        };
        if level.queues.get(&index).map_or(0, VecDeque::len) >= length {
            let full = Asked::Full { executing: level.executing, waiting: level.waiting };
            self.forget_idle(place.vcp);
            return full;
        }
        let (sender, receiver) = oneshot::channel();
        level.queues.entry(index).or_default().push_back(sender);
        level.waiting += 1;
        self.waiting += 1;
        Asked::Waits(receiver)
    }

    fn count(&mut self, vcp: VcpId, level: &str) {
        self.taken += 1;
        if let Some(tenant) = self.tenants.get_mut(&vcp) {
            tenant.executing += 1;
            if let Some(level) = tenant.levels.get_mut(level) {
                level.executing += 1;
            }
        }
    }

    /// Gives a seat back.
    pub fn release(&mut self, vcp: VcpId, level: &str) {
        self.taken = self.taken.saturating_sub(1);
        if let Some(tenant) = self.tenants.get_mut(&vcp) {
            tenant.executing = tenant.executing.saturating_sub(1);
            if let Some(level) = tenant.levels.get_mut(level) {
                level.executing = level.executing.saturating_sub(1);
            }
        }
        self.forget_idle(vcp);
    }

    /// Who is to be seated now: the control plane with the fewest seats, and in it the level and the flow whose turn
    /// it is. The seat is counted already.
    pub fn next(&mut self) -> Option<(VcpId, Arc<str>, oneshot::Sender<Seat>)> {
        if self.waiting == 0 || self.taken >= self.total {
            return None;
        }
        let candidates = self.tenants.iter().filter_map(|(vcp, tenant)| {
            let level = tenant.next_level()?;
            Some((tenant.executing, *vcp, level))
        });
        let (_, vcp, level) = candidates.min_by_key(|(executing, vcp, _)| (*executing, *vcp))?;
        let sender = self.tenants.get_mut(&vcp)?.levels.get_mut(&level)?.pop()?;
        self.waiting -= 1;
        self.count(vcp, &level);
        Some((vcp, level, sender))
    }

    /// Forgets those of a level who went away.
    pub fn tidy(&mut self, vcp: VcpId, level: &str) {
        if let Some(level) = self.tenants.get_mut(&vcp).and_then(|tenant| tenant.levels.get_mut(level)) {
            self.waiting -= level.tidy();
        }
        self.forget_idle(vcp);
    }

    fn forget_idle(&mut self, vcp: VcpId) {
        if let Some(tenant) = self.tenants.get_mut(&vcp) {
            tenant.levels.retain(|_, level| !level.is_idle());
            if tenant.levels.is_empty() {
                self.tenants.remove(&vcp);
            }
        }
    }

    /// Of a control plane, by level: how many are being answered and how many wait.
    pub fn of(&self, vcp: VcpId) -> Vec<(Arc<str>, usize, usize)> {
        let levels = self.tenants.get(&vcp).into_iter().flat_map(|tenant| &tenant.levels);
        levels.map(|(name, level)| (name.clone(), level.executing, level.waiting)).collect()
    }

    /// How many control planes have an entry, and how many requests are being answered and wait.
    pub fn figures(&self) -> (usize, usize, usize) {
        (self.tenants.len(), self.taken, self.waiting)
    }
}

/// The shortest queue of those a flow is dealt: two flows that share one are unlikely to share all.
fn shortest(level: &LevelState, queues: Queues, flow: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    flow.hash(&mut hasher);
    let mut dealt = hasher.finish();
    let mut hand: Vec<u64> = Vec::new();
    let mut left = queues.count;
    for _ in 0..queues.hand.min(queues.count).min(16) {
        let mut card = dealt % left;
        dealt /= left.max(2);
        // As cards are dealt: one that was taken is counted past.
        let mut taken = hand.clone();
        taken.sort_unstable();
        for other in taken {
            if card >= other {
                card += 1;
            }
        }
        hand.push(card);
        left -= 1;
        if left == 0 {
            break;
        }
    }
    let length = |index: &u64| level.queues.get(index).map_or(0, VecDeque::len);
    hand.iter().copied().min_by_key(length).unwrap_or(0)
}
