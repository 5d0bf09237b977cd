//! etcd beyond keys and values: its members, its snapshots, its volumes.
//!
//! `client` and `cluster` are what the controllers look after a managed etcd with; `snapshot` and `restore` are the
//! commands that run in pods beside it (`kplane-controllers etcd …`).

pub mod client;
pub mod cluster;
pub mod restore;
pub mod snapshot;

pub use client::Access;
pub use cluster::{Cluster, Member, MemberState};
