//! What tools of delivery see of our kinds: Argo CD's health, kstatus, server-side apply again and again, the manifests of the
//! documentation, and those of the first kplane.

mod documents;
mod forms;
mod health;
mod migration;
mod registrations;
mod repetition;
mod rights;

use std::path::{Path, PathBuf};
use std::time::Duration;

use kplane_tests::{Kubectl, eventually};
use serde_json::Value;

/// How long something may take that usually takes a moment.
const PATIENCE: Duration = Duration::from_secs(30);

/// A file of the checkout.
fn checkout(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

/// A condition, or null.
fn condition<'a>(object: &'a Value, name: &str) -> &'a Value {
    let conditions = object["status"]["conditions"].as_array().into_iter().flatten();
    conditions.into_iter().find(|condition| condition["type"] == name).unwrap_or(&Value::Null)
}

/// The reason of the condition Ready, once the controllers have seen the last change.
fn reason(object: &Value) -> &str {
    if object["status"]["observedGeneration"] != object["metadata"]["generation"] {
        return "";
    }
    condition(object, "Ready")["reason"].as_str().unwrap_or_default()
}

/// Waits until an object is ready for this reason, or not ready for it; what it is then.
#[track_caller]
fn settled(kubectl: &Kubectl, what: &str, wanted: &str) -> Value {
    let get = || kubectl.json(&["get", what]);
    eventually(&format!("{what}: {wanted}"), PATIENCE, || reason(&get()) == wanted);
    get()
}
