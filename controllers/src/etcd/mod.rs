//! etcd beyond keys and values: its members, its snapshots, its volumes.
//!
//! `client` and `cluster` are what the controllers look after a managed etcd with; `snapshot` and `restore`, which keep
//! snapshots in folders and by `s3` in buckets, are the commands that run in pods beside it (`kplane-controllers etcd …`).

pub mod client;
pub mod cluster;
pub mod restore;
pub mod s3;
pub mod snapshot;

pub use client::Access;
pub use cluster::{Cluster, Member, MemberState};
