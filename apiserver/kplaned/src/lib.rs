//! `kplaned`: one background process with the shared API server on the embedded store, and the controllers.
//!
//! [`run`] takes the lock of the state directory, checks the format of the data, serves until it is asked to stop,
//! and records what it is once it listens; [`serve`] is what it serves. The plugins start it, and find it by
//! `kplaned_state`.

pub mod args;
mod run;
pub mod serve;

pub use run::run;
