//! A few places, and control planes that take turns at them: [`Places`].

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kplane_registry::VcpId;
use tokio::sync::oneshot;

/// The places, and who waits for one.
#[derive(Debug)]
pub struct Places {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    free: usize,
    /// What waits, by control plane; a line that is empty is gone.
    lines: HashMap<VcpId, VecDeque<oneshot::Sender<Place>>>,
    /// Whose turn is next.
    order: VecDeque<VcpId>,
}

/// A place, passed on when it is dropped.
#[derive(Debug)]
pub struct Place(Option<Arc<Places>>);

impl Places {
    /// So many.
    pub fn new(places: usize) -> Arc<Self> {
        let state = State { free: places, lines: HashMap::new(), order: VecDeque::new() };
        Arc::new(Self { state: Mutex::new(state) })
    }

    /// A place for a control plane, when it is its turn.
    pub async fn enter(self: &Arc<Self>, vcp: VcpId) -> Place {
        let given = {
            let mut state = self.lock();
            if state.free > 0 {
                state.free -= 1;
                return Place(Some(self.clone()));
            }
            let (give, given) = oneshot::channel();
            let state = &mut *state;
            let line = state.lines.entry(vcp).or_insert_with(|| {
                state.order.push_back(vcp);
                VecDeque::new()
            });
            line.push_back(give);
            given
        };
        // Nobody leaves the lines without a place.
        given.await.unwrap_or(Place(None))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives a place to whoever is next and still waits.
    fn pass_on(self: &Arc<Self>) {
        loop {
            let next = {
                let mut state = self.lock();
                match state.next() {
                    Some(next) => next,
                    None => {
                        state.free += 1;
                        return;
                    }
                }
            };
            match next.send(Place(Some(self.clone()))) {
                Ok(()) => return,
                // It waits no more. The place is not passed on by being dropped here.
                Err(mut place) => place.0 = None,
            }
        }
    }
}

impl State {
    fn next(&mut self) -> Option<oneshot::Sender<Place>> {
        let vcp = self.order.pop_front()?;
        let line = self.lines.get_mut(&vcp)?;
        let next = line.pop_front();
        if line.is_empty() {
            self.lines.remove(&vcp);
        } else {
            self.order.push_back(vcp);
        }
        next
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(places) = self.0.take() {
            places.pass_on();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vcp(n: u8) -> VcpId {
        VcpId::parse(&format!("00000000-0000-4000-8000-0000000000{n:02}")).expect("a uid")
    }

    #[tokio::test]
    async fn control_planes_take_turns() {
        let places = Places::new(1);
        let first = places.enter(vcp(1)).await;
        let order = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = Vec::new();
        // Four of one control plane, then one of another.
        for (i, n) in [1, 1, 1, 1, 2].into_iter().enumerate() {
            let (there, order) = (places.clone(), order.clone());
            tasks.push(tokio::spawn(async move {
                let _place = there.enter(vcp(n)).await;
                order.lock().unwrap_or_else(PoisonError::into_inner).push(n);
            }));
            while places.lock().lines.values().map(VecDeque::len).sum::<usize>() <= i {
                tokio::task::yield_now().await;
            }
        }
        drop(first);
        for task in tasks {
            task.await.expect("it had its turn");
        }
        assert_eq!(*order.lock().unwrap_or_else(PoisonError::into_inner), [1, 2, 1, 1, 1]);
        assert_eq!(places.lock().free, 1);
    }

    #[tokio::test]
    async fn who_stops_waiting_takes_no_place_along() {
        let places = Places::new(1);
        let first = places.enter(vcp(1)).await;
        let mut gone = Vec::new();
        for _ in 0..3 {
            gone.push(Box::pin(places.enter(vcp(1))));
        }
        for waiting in &mut gone {
            assert!(futures::poll!(waiting.as_mut()).is_pending());
        }
        let last = gone.pop();
        // One stops waiting before it is given a place, one after.
        drop(gone.remove(0));
        drop(first);
        drop(gone);
        drop(last);
        assert_eq!(places.lock().free, 1);
        assert!(places.lock().lines.is_empty() && places.lock().order.is_empty());
    }
}
