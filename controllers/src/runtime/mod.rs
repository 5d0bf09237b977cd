//! What every controller stands on: leader election, shutdown, Events, conditions and retries.

pub mod backoff;
pub mod conditions;
pub mod duration;
pub mod events;
pub mod health;
pub mod install;
pub mod lease;
pub mod raw;
pub mod shutdown;
pub mod status;
