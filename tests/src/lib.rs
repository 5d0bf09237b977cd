//! End-to-end tests: the real programs, a real kubectl, a real etcd. This library starts and asks them; the tests are in
//! `tests/`, one file a subject.
//!
//! Each test has servers of its own, on free ports, with folders of their own that go when the test ends.

pub mod client;
pub mod history;
pub mod https;
pub mod kms;
pub mod kubectl;
pub mod object_store;
pub mod plane_processes;
pub mod relay;
pub mod server;
pub mod user;

pub use client::{Answer, Client, Next, Watch, version};
pub use kplane_storage::testing::free_port;
pub use kubectl::{Kubectl, Output};
pub use object_store::ObjectStore;
pub use plane_processes::Plane;
pub use relay::Relay;
pub use server::{Server, Store, signal};
pub use user::User;

use std::path::PathBuf;
use std::time::{Duration, Instant};

/// The built program of that name.
///
/// # Panics
/// If it has not been built: `hack/test` builds the programs before the tests.
pub fn program(name: &str) -> PathBuf {
    let mut folder = std::env::current_exe().expect("the path of the test");
    folder.pop();
    if folder.ends_with("deps") {
        folder.pop();
    }
    let path = folder.join(name);
    assert!(path.exists(), "{} is missing: run the tests by hack/test, which builds it", path.display());
    path
}

/// Waits until something holds, asking again and again.
///
/// # Panics
/// If it does not within the time, saying what was waited for.
pub fn eventually(what: &str, within: Duration, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + within;
    while !holds() {
        assert!(Instant::now() < end, "{what}: not within {within:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The end of a log, enough to see what went wrong.
pub(crate) fn tail(path: &std::path::Path) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(60)..].join("\n")
}
