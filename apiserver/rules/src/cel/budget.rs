//! What the rules of one object may cost.

use std::cell::Cell;
use std::time::{Duration, Instant};

/// A step of a loop, or so much that is built, costs about five there.
const COST_A_STEP: u64 = 5;
/// A guard over what steps do not measure.
const TIME: Duration = Duration::from_secs(1);

#[derive(Clone, Copy)]
struct State {
    left: u64,
    spent: Duration,
    since: Instant,
    exhausted: bool,
}

thread_local! {
    // Evaluation is synchronous, and the interpreter's functions get no state of the caller's.
    static STATE: Cell<Option<State>> = const { Cell::new(None) };
}

/// What is left for an object.
pub struct Budget {
    left: u64,
    spent: Duration,
}

impl Budget {
    /// So much, in units of upstream's costs.
    pub fn new(cost: u64) -> Self {
        Self { left: cost / COST_A_STEP, spent: Duration::ZERO }
    }

    /// Runs on what is left; `None` when that did not suffice.
    pub(crate) fn spend<T>(&mut self, run: impl FnOnce() -> T) -> Option<T> {
        let since = Instant::now();
        STATE.set(Some(State { left: self.left, spent: self.spent, since, exhausted: false }));
        let result = run();
        let state = STATE.take();
        self.spent += since.elapsed();
        self.left = state.map_or(0, |state| state.left);
        (state.is_some_and(|state| !state.exhausted) && self.spent <= TIME).then_some(result)
    }
}

/// Charges the evaluation that is running; false when nothing is left.
pub(crate) fn charge(steps: u64) -> bool {
    let Some(mut state) = STATE.get() else { return true };
    match state.left.checked_sub(steps) {
        Some(left) if !state.exhausted => {
            state.left = left;
            state.exhausted = state.spent + state.since.elapsed() > TIME;
        }
        _ => state.exhausted = true,
    }
    STATE.set(Some(state));
    !state.exhausted
}
