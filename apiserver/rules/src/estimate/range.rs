//! From at least to at most.

/// A range of sizes or costs. What is too large to count stays the largest number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Range {
    pub min: u64,
    pub max: u64,
}

impl Range {
    pub(crate) const ZERO: Self = Self { min: 0, max: 0 };
    pub(crate) const UNKNOWN: Self = Self { min: 0, max: u64::MAX };

    pub(crate) const fn fixed(value: u64) -> Self {
        Self { min: value, max: value }
    }

    /// What unions begin with.
    pub(super) fn nothing(of_nothing: bool) -> Self {
        Self { min: if of_nothing { 0 } else { u64::MAX }, max: 0 }
    }

    pub(super) fn add(self, other: Self) -> Self {
        Self { min: self.min.saturating_add(other.min), max: self.max.saturating_add(other.max) }
    }

    pub(super) fn multiply(self, other: Self) -> Self {
        Self { min: self.min.saturating_mul(other.min), max: self.max.saturating_mul(other.max) }
    }

    /// Rounded up.
    pub(super) fn times(self, factor: f64) -> Self {
        // The conversion saturates.
        let one = |value: u64| (value as f64 * factor).ceil() as u64;
        Self { min: one(self.min), max: one(self.max) }
    }

    pub(super) fn union(self, other: Self) -> Self {
        Self { min: self.min.min(other.min), max: self.max.max(other.max) }
    }
}
