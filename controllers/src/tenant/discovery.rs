//! The resources of one control plane.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use crate::Error;
use crate::runtime::raw::Raw;

const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
/// How long the resources of a control plane are kept for looking up the kinds of owners.
const KEEP: Duration = Duration::from_secs(30);

/// One resource, in one version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    /// The apiVersion.
    pub api_version: String,
    /// The plural.
    pub plural: String,
    /// The kind.
    pub kind: String,
    /// Whether its objects are in namespaces.
    pub namespaced: bool,
    /// Whether objects can be deleted.
    pub delete: bool,
    /// Whether collections can be.
    pub delete_collection: bool,
    /// Whether collections can be listed.
    pub list: bool,
    /// Whether this is the version that the group prefers for it.
    pub preferred: bool,
}

/// The resources of one control plane.
#[derive(Debug, Default)]
pub struct Resources {
    /// All of them.
    pub all: Vec<Resource>,
    /// The groups and versions that could not be asked.
    pub stale: Vec<String>,
}

impl Resources {
    /// The resource of a kind.
    pub fn of_kind(&self, api_version: &str, kind: &str) -> Option<&Resource> {
        self.all.iter().find(|r| r.api_version == api_version && r.kind == kind)
    }

    fn read(&mut self, document: &Value) {
        let list =
            |value: &Value, key: &str| value.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
        let text = |value: &Value, pointer: &str| {
            value.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
        };
        for group in list(document, "items") {
            let name = text(&group, "/metadata/name");
            let mut seen: Vec<String> = Vec::new();
            for version in list(&group, "versions") {
                let version_name = text(&version, "/version");
                let api_version =
                    if name.is_empty() { version_name } else { format!("{name}/{version_name}") };
                if text(&version, "/freshness") == "Stale" {
                    self.stale.push(api_version.clone());
                }
                for resource in list(&version, "resources") {
                    let verbs = list(&resource, "verbs");
                    let has = |verb: &str| verbs.iter().any(|v| v.as_str() == Some(verb));
                    let plural = text(&resource, "/resource");
                    // Versions come in the group's order of preference.
                    let preferred = !seen.contains(&plural);
                    seen.push(plural.clone());
                    self.all.push(Resource {
                        api_version: api_version.clone(),
                        kind: text(&resource, "/responseKind/kind"),
                        namespaced: text(&resource, "/scope") == "Namespaced",
                        delete: has("delete"),
                        delete_collection: has("deletecollection"),
                        list: has("list"),
                        preferred,
                        plural,
                    });
                }
            }
        }
    }
}

/// The resources of control planes, and when they were asked for.
type Known = HashMap<Arc<str>, (Instant, Arc<Resources>)>;

/// Asks control planes for their resources.
pub struct Discovery {
    raw: Raw,
    known: Mutex<Known>,
}

impl Discovery {
    /// Asks through this client.
    pub fn new(raw: Raw) -> Self {
        Self { raw, known: Mutex::new(HashMap::new()) }
    }

    /// The resources as they are now.
    pub async fn fresh(&self, cluster: &Arc<str>) -> Result<Arc<Resources>, Error> {
        let raw = self.raw.cluster(cluster);
        let (core, groups) =
            tokio::try_join!(raw.get_accepting("/api", AGGREGATED), raw.get_accepting("/apis", AGGREGATED))?;
        let mut resources = Resources::default();
        resources.read(&core);
        resources.read(&groups);
        let resources = Arc::new(resources);
        let now = Instant::now();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, (at, _)| now.duration_since(*at) < KEEP);
        known.insert(cluster.clone(), (now, resources.clone()));
        Ok(resources)
    }

    /// The resource of a kind. What is kept is asked first; that a kind is unknown is said only after a fresh look.
    pub async fn of_kind(
        &self,
        cluster: &Arc<str>,
        api_version: &str,
        kind: &str,
    ) -> Result<Option<Resource>, Error> {
        let kept = {
            let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            known.get(cluster).filter(|(at, _)| at.elapsed() < KEEP).map(|(_, resources)| resources.clone())
        };
        if let Some(resource) = kept.and_then(|resources| resources.of_kind(api_version, kind).cloned()) {
            return Ok(Some(resource));
        }
        Ok(self.fresh(cluster).await?.of_kind(api_version, kind).cloned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn aggregated_discovery_is_read() {
        let resource = |plural: &str, kind: &str| {
            json!({ "resource": plural, "responseKind": { "kind": kind }, "scope": "Namespaced",
                "verbs": ["delete", "deletecollection", "list"] })
        };
        let mut resources = Resources::default();
        resources.read(&json!({ "items": [{ "metadata": {},
            "versions": [{ "version": "v1", "resources": [resource("pods", "Pod")] }] }] }));
        resources.read(&json!({ "items": [{ "metadata": { "name": "farm.test" }, "versions": [
            { "version": "v2", "resources": [resource("owls", "Owl")] },
            { "version": "v1", "freshness": "Stale", "resources": [resource("owls", "Owl")] },
        ] }] }));
        assert_eq!(resources.of_kind("v1", "Pod").unwrap().plural, "pods");
        assert!(resources.of_kind("farm.test/v2", "Owl").unwrap().preferred);
        assert!(!resources.of_kind("farm.test/v1", "Owl").unwrap().preferred);
        assert_eq!(resources.stale, ["farm.test/v1"]);
    }
}
