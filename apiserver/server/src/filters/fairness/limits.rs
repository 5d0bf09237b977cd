//! What the class of a control plane limits: `spec.limits` of its record.

use std::time::Instant;

use kplane_machinery::quantity::Quantity;
use serde_json::Value;

/// The limits of a control plane; those it does not have are not set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClassLimits {
    /// Requests answered at once.
    pub requests_in_flight: Option<usize>,
    /// Requests begun in a second.
    pub requests_per_second: Option<u32>,
    /// Objects kept.
    pub objects: Option<u64>,
    /// Bytes of them.
    pub bytes: Option<u64>,
    /// Watches open at once.
    pub watches: Option<usize>,
}

impl ClassLimits {
    /// Those of a record.
    pub fn of(record: &Value) -> Self {
        let limits = &record["spec"]["limits"];
        let number = |field: &str| limits[field].as_u64();
        let bytes = match &limits["bytes"] {
            Value::Null => None,
            other => Quantity::from_value(other).ok().and_then(|q| u64::try_from(q.value()).ok()),
        };
        let count = |field: &str| number(field).map(|n| usize::try_from(n).unwrap_or(usize::MAX));
        Self {
            requests_in_flight: count("requestsInFlight"),
            requests_per_second: number("requestsPerSecond").map(|n| u32::try_from(n).unwrap_or(u32::MAX)),
            objects: number("objects"),
            bytes,
            watches: count("watches"),
        }
    }
}

/// A bucket that fills with time: as many tokens a second as it holds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bucket {
    tokens: f64,
    filled: Instant,
}

impl Bucket {
    /// A full one.
    pub fn new(rate: u32, now: Instant) -> Self {
        Self { tokens: f64::from(rate.max(1)), filled: now }
    }

    /// Takes a token, if there is one.
    pub fn take(&mut self, rate: u32, now: Instant) -> bool {
        let most = f64::from(rate.max(1));
        let since = now.saturating_duration_since(self.filled).as_secs_f64();
        self.tokens = (self.tokens + since * f64::from(rate)).min(most);
        self.filled = now;
        if self.tokens < 1.0 {
            return false;
        }
        self.tokens -= 1.0;
        true
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;

    #[test]
    fn limits_are_read_from_the_record() {
        let record = json!({"spec": {"limits": {"requestsPerSecond": 5, "bytes": "2Mi", "objects": 10}}});
        let limits = ClassLimits::of(&record);
        assert_eq!(
            (limits.requests_per_second, limits.bytes, limits.objects),
            (Some(5), Some(2 << 20), Some(10))
        );
        assert_eq!(limits.watches, None);
        assert_eq!(ClassLimits::of(&json!({})), ClassLimits::default());
    }

    #[test]
    fn a_bucket_fills_with_time_and_not_beyond() {
        let start = Instant::now();
        let mut bucket = Bucket::new(2, start);
        assert!(bucket.take(2, start) && bucket.take(2, start) && !bucket.take(2, start));
        assert!(bucket.take(2, start + Duration::from_millis(500)));
        assert!(!bucket.take(2, start + Duration::from_millis(600)));
        let later = start + Duration::from_secs(60);
        assert!(bucket.take(2, later) && bucket.take(2, later) && !bucket.take(2, later));
    }
}
