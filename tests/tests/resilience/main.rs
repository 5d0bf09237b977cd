//! A deployed plane in the very processes that its pods are: three etcd members and two API servers, under load.

mod crashes;
