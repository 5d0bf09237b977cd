//! Events, as the parts of the controller manager emit them.

use jiff::Timestamp;
use serde_json::{Value, json};

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

impl Api {
    /// Tells that something went as it should.
    pub async fn normal(&self, component: &str, object: &Value, reason: &str, message: &str) {
        self.tell(component, Happened { object, warning: false, reason, message }).await;
    }

    /// Tells that something did not.
    pub async fn warning(&self, component: &str, object: &Value, reason: &str, message: &str) {
        self.tell(component, Happened { object, warning: true, reason, message }).await;
    }

    /// Writes an Event, or counts one up that tells the same. One that cannot be written is let go: the status of the object
    /// tells the same.
    async fn tell(&self, component: &str, happened: Happened<'_>) {
        if let Err(error) = self.write_event(component, &happened).await {
            tracing::debug!(error = words(&error), reason = happened.reason, "an Event is not written");
        }
    }

    async fn write_event(&self, component: &str, happened: &Happened<'_>) -> Result<(), kube::Error> {
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
        let event_name = format!("{}.{high:08x}{low:08x}", name(object));
        let now = stamp(Timestamp::now());
        let event = json!({
            "apiVersion": "v1", "kind": "Event",
            "metadata": { "name": event_name, "namespace": space },
            "involvedObject": {
                "apiVersion": object["apiVersion"], "kind": object["kind"], "name": name(object),
                "namespace": namespace(object), "uid": uid(object),
                "resourceVersion": text(object, "/metadata/resourceVersion"),
            },
            "type": kind, "reason": happened.reason, "message": message, "count": 1,
            "firstTimestamp": now, "lastTimestamp": now,
            "source": { "component": component }, "reportingComponent": component,
        });
        match self.post_path(&collection_path("v1", "events", space), &event).await {
            Err(error) if raw::is_conflict(&error) => {}
            other => return other.map(|_| ()),
        }
        let path = object_path("v1", "events", space, &event_name);
        let Some(known) = self.get_path(&path).await? else { return Ok(()) };
        let again = json!({
            "count": known["count"].as_i64().unwrap_or(1) + 1, "lastTimestamp": now,
        });
        self.merge_path(&path, &again).await.map(|_| ())
    }
}
