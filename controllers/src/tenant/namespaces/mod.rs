//! Namespaces that are being deleted: their content goes, and then they do.

mod conditions;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use serde_json::{Value, json};

use super::discovery::{Discovery, Resource};
use super::object::{collection_path, object_path, uid};
use super::queue::{Next, Queue, Worker};
use super::router::NamespaceKey;
use crate::Error;
use crate::runtime::raw::{self, Raw};
use conditions::Outcome;

/// The finalizer of namespaces.
const FINALIZER: &str = "kubernetes";
/// How many resources of a namespace are dealt with at once.
const AT_ONCE: usize = 8;
/// How soon a namespace with remaining content is looked at again.
const LOOK_AGAIN: Duration = Duration::from_secs(2);
/// How many objects a page of a collection has.
const PAGE: u32 = 500;

/// Finalizes namespaces.
pub struct Namespaces {
    raw: Raw,
    discovery: Arc<Discovery>,
    queue: Queue<NamespaceKey>,
}

impl Namespaces {
    /// Works through this client.
    pub fn new(raw: Raw, discovery: Arc<Discovery>) -> Self {
        Self { raw, discovery, queue: Queue::default() }
    }

    /// A namespace's deletion has begun.
    pub fn add(&self, namespace: NamespaceKey) {
        self.queue.add(namespace);
    }

    /// Deletes all content, and says what remains.
    async fn empty(&self, raw: &Raw, key: &NamespaceKey) -> Outcome {
        let mut outcome = Outcome::default();
        let resources = match self.discovery.fresh(&key.cluster).await {
            Ok(resources) => resources,
            Err(error) => {
                outcome.discovery = Some(format!("Discovery failed for some groups: {error}"));
                return outcome;
            }
        };
        if !resources.stale.is_empty() {
            // What they hold is not known, so the namespace stays; what the others hold goes all the same.
            outcome.discovery = Some(format!(
                "Discovery failed for some groups, {} failing: {}",
                resources.stale.len(),
                resources.stale.join(", ")
            ));
        }
        let wanted = resources.all.iter().filter(|r| r.namespaced && r.delete && r.preferred).cloned();
        // Pods go first: what they use, such as secrets and policies, stays while they run.
        let (pods, others): (Vec<_>, Vec<_>) =
            wanted.partition(|r| r.api_version == "v1" && r.plural == "pods");
        for resource in pods {
            match empty_resource(raw, &resource, &key.name).await {
                Ok(remaining) => outcome.add(&qualified(&resource), remaining),
                Err(error) => outcome.failures.push(format!("{}: {error}", qualified(&resource))),
            }
        }
        if !outcome.is_clear() {
            return outcome;
        }
        let emptied: Vec<_> = futures::stream::iter(others)
            .map(|resource: Resource| async move {
                let result = empty_resource(raw, &resource, &key.name).await;
                (resource, result)
            })
            .buffer_unordered(AT_ONCE)
            .collect()
            .await;
        for (resource, result) in emptied {
            match result {
                Ok(remaining) => outcome.add(&qualified(&resource), remaining),
                Err(error) => outcome.failures.push(format!("{}: {error}", qualified(&resource))),
            }
        }
        outcome.failures.sort();
        outcome
    }

    /// Takes our finalizer from the namespace, upon which the server lets it go.
    async fn finalize(&self, raw: &Raw, mut namespace: Value, name: &str) -> Result<(), Error> {
        if let Some(finalizers) = namespace.pointer_mut("/spec/finalizers").and_then(Value::as_array_mut) {
            finalizers.retain(|f| f.as_str() != Some(FINALIZER));
        }
        let path = format!("{}/finalize", object_path("v1", "namespaces", "", name));
        raw::optional(raw.put(&path, &namespace).await)?;
        Ok(())
    }
}

/// What is left of one resource.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Remaining {
    /// How many objects.
    pub count: usize,
    /// The finalizers that hold them, with how many objects each holds.
    pub finalizers: BTreeMap<String, usize>,
}

/// Deletes the objects of one resource in a namespace, and says what remains.
async fn empty_resource(raw: &Raw, resource: &Resource, namespace: &str) -> Result<Remaining, Error> {
    let path = collection_path(&resource.api_version, &resource.plural, namespace);
    // Most resources have nothing in a namespace: then this is the one request.
    if resource.list && list(raw, &path).await?.is_empty() {
        return Ok(Remaining::default());
    }
    let options = json!({ "apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background" });
    let collection = if resource.delete_collection {
        match raw.delete(&path, Some(&options)).await {
            Ok(_) => true,
            Err(error) if matches!(raw::code(&error), Some(404 | 405)) => false,
            Err(error) => return Err(error.into()),
        }
    } else {
        false
    };
    if !resource.list {
        return Ok(Remaining::default());
    }
    let mut left = list(raw, &path).await?;
    if !collection {
        for object in &left {
            let options = json!({
                "apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background",
                "preconditions": { "uid": uid(object) },
            });
            let name = object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
            let path = object_path(&resource.api_version, &resource.plural, namespace, name);
            match raw.delete(&path, Some(&options)).await {
                Ok(_) => {}
                Err(error) if raw::is_not_found(&error) || raw::is_conflict(&error) => {}
                Err(error) if raw::code(&error) == Some(405) => break,
                Err(error) => return Err(error.into()),
            }
        }
        left = list(raw, &path).await?;
    }
    let mut remaining = Remaining { count: left.len(), finalizers: BTreeMap::new() };
    for object in &left {
        let finalizers = object.pointer("/metadata/finalizers").and_then(Value::as_array);
        for finalizer in finalizers.into_iter().flatten().filter_map(Value::as_str) {
            *remaining.finalizers.entry(finalizer.to_owned()).or_insert(0) += 1;
        }
    }
    Ok(remaining)
}

/// The metadata of the objects of a collection. One that is not served any more has none.
async fn list(raw: &Raw, path: &str) -> Result<Vec<Value>, Error> {
    let mut objects = Vec::new();
    let keep = |mut object: Value| objects.push(json!({ "metadata": object["metadata"].take() }));
    match raw.pages(path, PAGE, keep).await {
        Ok(_) => Ok(objects),
        Err(error) if matches!(raw::code(&error), Some(404 | 405)) => Ok(Vec::new()),
        Err(error) => Err(error.into()),
    }
}

/// `pods`, or `deployments.apps`.
fn qualified(resource: &Resource) -> String {
    match resource.api_version.split_once('/') {
        Some((group, _)) => format!("{}.{group}", resource.plural),
        None => format!("{}.", resource.plural),
    }
}

impl Worker for Namespaces {
    type Key = NamespaceKey;
    const NAME: &'static str = "namespaces";

    fn queue(&self) -> &Queue<NamespaceKey> {
        &self.queue
    }

    async fn reconcile(&self, key: NamespaceKey) -> Result<Next, Error> {
        let raw = self.raw.cluster(&key.cluster);
        let path = object_path("v1", "namespaces", "", &key.name);
        let Some(namespace) = raw::optional(raw.get(&path).await)? else { return Ok(Next::Done) };
        if namespace.pointer("/metadata/deletionTimestamp").is_none_or(Value::is_null) {
            return Ok(Next::Done);
        }
        let finalizers = namespace.pointer("/spec/finalizers").and_then(Value::as_array);
        if !finalizers.into_iter().flatten().any(|f| f.as_str() == Some(FINALIZER)) {
            return Ok(Next::Done);
        }
        let outcome = self.empty(&raw, &key).await;
        if outcome.is_empty() {
            self.finalize(&raw, namespace, &key.name).await?;
            return Ok(Next::Done);
        }
        let mut changed = namespace.clone();
        if outcome.write(&mut changed, jiff::Timestamp::now()) {
            match raw.put(&format!("{path}/status"), &changed).await {
                Ok(_) => {}
                Err(error) if raw::is_not_found(&error) => return Ok(Next::Done),
                // The next look reads it anew.
                Err(error) if raw::is_conflict(&error) => {}
                Err(error) => return Err(error.into()),
            }
        }
        if outcome.failed() {
            return Err(Error::Wait(outcome.summary()));
        }
        Ok(Next::After(LOOK_AGAIN))
    }
}
