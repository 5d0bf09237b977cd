//! What a namespace that is being deleted says of itself, in upstream's words.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::Remaining;

/// What one pass over the content of a namespace came to.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Why the resources are not all known.
    pub discovery: Option<String>,
    /// What could not be deleted.
    pub failures: Vec<String>,
    /// How many objects remain, by resource.
    remaining: BTreeMap<String, usize>,
    /// How many objects each finalizer holds.
    finalizers: BTreeMap<String, usize>,
}

impl Outcome {
    /// Adds what remains of a resource.
    pub fn add(&mut self, resource: &str, remaining: Remaining) {
        if remaining.count > 0 {
            self.remaining.insert(resource.to_owned(), remaining.count);
        }
        for (finalizer, count) in remaining.finalizers {
            *self.finalizers.entry(finalizer).or_insert(0) += count;
        }
    }

    /// Whether nothing remains, for certain.
    pub fn is_empty(&self) -> bool {
        !self.failed() && self.remaining.is_empty()
    }

    /// Whether nothing remains and nothing failed of what was looked at so far.
    pub fn is_clear(&self) -> bool {
        self.failures.is_empty() && self.remaining.is_empty()
    }

    /// Whether something went wrong.
    pub fn failed(&self) -> bool {
        self.discovery.is_some() || !self.failures.is_empty()
    }

    /// What went wrong.
    pub fn summary(&self) -> String {
        self.discovery.iter().chain(&self.failures).cloned().collect::<Vec<_>>().join("; ")
    }

    fn conditions(&self) -> [(&'static str, bool, &'static str, String); 5] {
        let counted = |counts: &BTreeMap<String, usize>, glue: &str| {
            counts
                .iter()
                .map(|(name, count)| format!("{name}{glue}{count} resource instances"))
                .collect::<Vec<_>>()
        };
        let discovery = match &self.discovery {
            Some(message) => (true, "DiscoveryFailed", message.clone()),
            None => (false, "ResourcesDiscovered", "All resources successfully discovered".to_owned()),
        };
        let content = if self.failures.is_empty() {
            let message = "All content successfully deleted, may be waiting on finalization".to_owned();
            (false, "ContentDeleted", message)
        } else {
            let message = format!("Failed to delete all resource types, {}", self.failures.join(", "));
            (true, "ContentDeletionFailed", message)
        };
        let remaining = if self.remaining.is_empty() {
            (false, "ContentRemoved", "All content successfully removed".to_owned())
        } else {
            let listed = counted(&self.remaining, " has ").join(", ");
            (true, "SomeResourcesRemain", format!("Some resources are remaining: {listed}"))
        };
        let finalizers = if self.finalizers.is_empty() {
            let message = "All content-preserving finalizers finished".to_owned();
            (false, "ContentHasNoFinalizers", message)
        } else {
            let listed = counted(&self.finalizers, " in ").join(", ");
            let message = format!("Some content in the namespace has finalizers remaining: {listed}");
            (true, "SomeFinalizersRemain", message)
        };
        let parsed = (false, "ParsedGroupVersions", "All legacy kube types successfully parsed".to_owned());
        let named =
            |name, (status, reason, message): (bool, &'static str, String)| (name, status, reason, message);
        [
            named("NamespaceDeletionDiscoveryFailure", discovery),
            named("NamespaceDeletionGroupVersionParsingFailure", parsed),
            named("NamespaceDeletionContentFailure", content),
            named("NamespaceContentRemaining", remaining),
            named("NamespaceFinalizersRemaining", finalizers),
        ]
    }

    /// Writes the conditions into a namespace. Answers whether that changed it.
    pub fn write(&self, namespace: &mut Value, now: jiff::Timestamp) -> bool {
        let now = now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let mut list =
            namespace.pointer("/status/conditions").and_then(Value::as_array).cloned().unwrap_or_default();
        let before = list.clone();
        for (type_, status, reason, message) in self.conditions() {
            let status = if status { "True" } else { "False" };
            let mut condition = json!({
                "type": type_, "status": status, "reason": reason, "message": message,
                "lastTransitionTime": now,
            });
            match list.iter_mut().find(|c| c["type"] == type_) {
                Some(old) => {
                    if old["status"] == status {
                        condition["lastTransitionTime"] = old["lastTransitionTime"].clone();
                    }
                    *old = condition;
                }
                None => list.push(condition),
            }
        }
        let changed = list != before;
        if !namespace["status"].is_object() {
            namespace["status"] = json!({});
        }
        namespace["status"]["conditions"] = list.into();
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(namespace: &Value, type_: &str) -> String {
        let conditions = namespace["status"]["conditions"].as_array().unwrap();
        let found = conditions.iter().find(|c| c["type"] == type_).unwrap();
        format!("{} {} {}", found["status"], found["reason"], found["message"]).replace('"', "")
    }

    #[test]
    fn what_remains_is_said_in_upstreams_words() {
        let mut outcome = Outcome::default();
        assert!(outcome.is_empty());
        let finalizers = BTreeMap::from([("farm.test/owl".to_owned(), 2)]);
        outcome.add("pods.", Remaining { count: 2, finalizers });
        assert!(!outcome.is_empty() && !outcome.failed());
        let mut namespace = json!({ "status": { "phase": "Terminating" } });
        let now = jiff::Timestamp::UNIX_EPOCH;
        assert!(outcome.write(&mut namespace, now));
        assert!(!outcome.write(&mut namespace, now + jiff::SignedDuration::from_secs(5)));
        assert_eq!(
            status(&namespace, "NamespaceContentRemaining"),
            "True SomeResourcesRemain Some resources are remaining: pods. has 2 resource instances"
        );
        assert_eq!(
            status(&namespace, "NamespaceFinalizersRemaining"),
            "True SomeFinalizersRemain Some content in the namespace has finalizers remaining: farm.test/owl in 2 resource instances"
        );
        assert_eq!(
            status(&namespace, "NamespaceDeletionContentFailure"),
            "False ContentDeleted All content successfully deleted, may be waiting on finalization"
        );
    }

    #[test]
    fn a_namespace_stays_while_its_content_is_not_known() {
        let outcome = Outcome { discovery: Some("no".into()), ..Outcome::default() };
        assert!(!outcome.is_empty() && outcome.failed());
    }
}
