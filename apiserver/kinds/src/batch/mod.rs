//! The `batch` group.

pub(crate) mod cron_jobs;
pub(crate) mod jobs;
pub(crate) mod schedule;
