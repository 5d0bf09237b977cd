//! What makes pods of other objects: Deployments, ReplicaSets, StatefulSets, DaemonSets, Jobs and CronJobs.
//!
//! ```text
//!   CronJob ──▶ Job ─────────────┐
//!   Deployment ──▶ ReplicaSet ───┤
//!   ReplicationController ───────┼──▶ pods: claim, create, rank, delete
//!   StatefulSet ──▶ revisions ───┤
//!   DaemonSet ────▶ revisions ───┘
//! ```
//!
//! Each looks at one object: reads it and what it manages, decides, writes. Counts are read anew each time, so nothing is
//! expected and nothing remembered.

pub mod adopt;
pub mod autoscaler;
pub mod budgets;
pub mod cron_job;
pub mod daemon;
pub mod deployment;
pub mod job;
pub mod pods;
pub mod replicas;
mod revisions;
pub mod schedule;
pub mod stateful;
