//! The smaller groups, a file each.

pub(crate) mod admission;
pub(crate) mod apiservices;
pub(crate) mod autoscaling;
pub(crate) mod autoscaling_v1;
pub(crate) mod certificates;
pub(crate) mod coordination;
pub(crate) mod crds;
pub(crate) mod devices;
pub(crate) mod discovery;
pub(crate) mod flowcontrol;
pub(crate) mod ingresses;
pub(crate) mod network;
pub(crate) mod policies;
pub(crate) mod policy;
pub(crate) mod rbac;
pub(crate) mod scheduling;
pub(crate) mod simple;
pub(crate) mod storage;
