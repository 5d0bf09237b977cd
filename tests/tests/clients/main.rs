//! Clients as they are: Python's, Rust's, and one that speaks protobuf as client-go does, each through the whole life of many kinds.

mod protobuf;
mod python;
mod typed;
