//! How long to wait before an object that failed is tried again.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

/// The first wait.
const FIRST: Duration = Duration::from_millis(250);
/// The longest wait.
const LONGEST: Duration = Duration::from_secs(60);

/// Counts failures by object. An object that succeeds is forgotten, so the memory is that of what fails.
#[derive(Debug, Default)]
pub struct Backoff {
    failures: Mutex<HashMap<String, u32>>,
}

impl Backoff {
    /// Notes a failure and says how long to wait.
    pub fn failed(&self, key: &str) -> Duration {
        let mut failures = self.failures.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let count = failures.entry(key.to_owned()).or_insert(0);
        let wait = delay(*count);
        *count = count.saturating_add(1);
        wait
    }

    /// Forgets the failures of an object.
    pub fn succeeded(&self, key: &str) {
        let mut failures = self.failures.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        failures.remove(key);
        if failures.is_empty() {
            failures.shrink_to_fit();
        }
    }
}

/// The wait after so many failures: doubled each time, up to a limit.
fn delay(failures: u32) -> Duration {
    FIRST.saturating_mul(1_u32.checked_shl(failures.min(16)).unwrap_or(u32::MAX)).min(LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_up_to_a_limit_and_start_anew() {
        let backoff = Backoff::default();
        let waits: Vec<_> = (0..12).map(|_| backoff.failed("a")).collect();
        assert_eq!(waits[0], FIRST);
        assert_eq!(waits[1], FIRST * 2);
        assert_eq!(waits[11], LONGEST);
        assert_eq!(backoff.failed("b"), FIRST);
        backoff.succeeded("a");
        assert_eq!(backoff.failed("a"), FIRST);
    }
}
