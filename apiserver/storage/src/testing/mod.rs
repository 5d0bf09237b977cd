//! What tests need: the contract that every store keeps, an etcd of their own, and a file layer
//! that loses what was not synced.

pub mod contract;
mod etcd_server;
mod lossy;

pub use etcd_server::{EtcdServer, etcd_program, free_port};
pub use lossy::LossyFile;
