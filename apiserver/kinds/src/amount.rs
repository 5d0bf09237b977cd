//! Quantities of an object: compared and shown.

use kplane_machinery::quantity::Quantity;
use serde_json::Value;

/// A quantity; `None` for what is none.
pub(crate) fn of(value: &Value) -> Option<Quantity> {
    if value.is_null() { None } else { Quantity::from_value(value).ok() }
}

/// A quantity as it is shown.
pub(crate) fn text(value: &Value) -> String {
    of(value).map_or_else(|| crate::print::plain(value), |quantity| quantity.to_string())
}

/// Whether a quantity is below zero.
pub(crate) fn negative(value: &Value) -> bool {
    of(value).is_some_and(|quantity| quantity.sign() < 0)
}

/// Whether a quantity is there and has a part of a unit.
pub(crate) fn fractional(value: &Value) -> bool {
    of(value).is_some_and(|quantity| quantity.round_up(0) != quantity)
}

/// Whether a quantity is more than nothing.
pub(crate) fn positive(value: &Value) -> bool {
    of(value).is_some_and(|quantity| quantity.sign() > 0)
}
