//! What Kubernetes' own conformance tests demand of an API server, under their names: the name of a function is that of
//! the upstream test without its tags. One file a group of them.

mod common;

mod apps;
mod auth;
mod cli;
mod definitions;
mod discovery;
mod instrumentation;
mod machinery;
mod network;
mod node;
mod openapi;
mod policies;
mod quota;
mod scheduling;
mod storage;
mod validation;
