//! Events, as the parts of the controller manager emit them.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::api::{Api, words};
use super::object::{collection_path, object_path};
use super::value::{FNV_SEED, fnv1a, name, namespace, stamp, text, uid};
use crate::runtime::raw;

/// The longest message that is kept.
const LONGEST: usize = 1024;

/// What happened.
pub struct Happened<'a> {
    /// To which object.
    pub object: &'a Value,
    /// Whether it is a warning.
    pub warning: bool,
    /// In a word.
    pub reason: &'a str,
    /// In a sentence.
    pub message: &'a str,
}

/// How many Events are being written, of all control planes together. What is beyond that is let go: one control plane
/// that answers slowly must not hold what others wait for.
const AT_ONCE: usize = 256;
/// How long writing one may take.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// Writes Events beside the work that they tell of, which does not wait for them (`EventBroadcaster` upstream).
#[derive(Clone)]
pub struct Recorder {
    places: Arc<Semaphore>,
}

impl Default for Recorder {
    fn default() -> Self {
        Self { places: Arc::new(Semaphore::new(AT_ONCE)) }
    }
}

impl Api {
    /// Tells that something went as it should.
    pub fn normal(&self, component: &str, object: &Value, reason: &str, message: &str) {
        self.tell(component, &Happened { object, warning: false, reason, message });
    }

    /// Tells that something did not.
    pub fn warning(&self, component: &str, object: &Value, reason: &str, message: &str) {
        self.tell(component, &Happened { object, warning: true, reason, message });
    }

    /// Writes an Event, or counts one up that tells the same. One that cannot be written is let go: the status of the object
    /// tells the same.
    fn tell(&self, component: &str, happened: &Happened<'_>) {
        let Ok(place) = self.recorder().places.clone().try_acquire_owned() else {
            tracing::debug!(reason = happened.reason, "an Event is not written: too many are under way");
            return;
        };
        let event = event(component, happened);
        let api = self.clone();
        tokio::spawn(async move {
            let _place = place;
            let reason = text(&event, "/reason");
            match tokio::time::timeout(LONGEST_WAIT, api.write_event(&event)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    tracing::debug!(error = words(&error), reason, "an Event is not written");
                }
                Err(_) => tracing::debug!(reason, "an Event is not written in time"),
            }
        });
    }

    async fn write_event(&self, event: &Value) -> Result<(), kube::Error> {
        let space = namespace(event);
        match self.post_path(&collection_path("v1", "events", space), event).await {
            Err(error) if raw::is_conflict(&error) => {}
            other => return other.map(|_| ()),
        }
        let path = object_path("v1", "events", space, name(event));
        let Some(known) = self.get_path(&path).await? else { return Ok(()) };
        let again = json!({
            "count": known["count"].as_i64().unwrap_or(1) + 1, "lastTimestamp": event["lastTimestamp"],
        });
        self.merge_path(&path, &again).await.map(|_| ())
    }
}

/// What happened, as an Event.
fn event(component: &str, happened: &Happened<'_>) -> Value {
    let object = happened.object;
    let space = if namespace(object).is_empty() { "default" } else { namespace(object) };
    let kind = if happened.warning { "Warning" } else { "Normal" };
    let message: String = happened.message.chars().take(LONGEST).collect();
    // The same happening has the same name, so that it is found without being remembered here.
    let mut low = FNV_SEED;
    let mut high = !FNV_SEED;
    for part in [uid(object), component, kind, happened.reason, message.as_str()] {
        low = fnv1a(fnv1a(low, part.as_bytes()), &[0]);
        high = fnv1a(fnv1a(high, part.as_bytes()), &[1]);
    }
    let now = stamp(Timestamp::now());
    json!({
        "apiVersion": "v1", "kind": "Event",
        "metadata": { "name": format!("{}.{high:08x}{low:08x}", name(object)), "namespace": space },
        "involvedObject": {
            "apiVersion": object["apiVersion"], "kind": object["kind"], "name": name(object),
            "namespace": namespace(object), "uid": uid(object),
            "resourceVersion": text(object, "/metadata/resourceVersion"),
        },
        "type": kind, "reason": happened.reason, "message": message, "count": 1,
        "firstTimestamp": now, "lastTimestamp": now,
        "source": { "component": component }, "reportingComponent": component,
    })
}
