//! What the management controllers share.

use std::sync::Arc;
use std::time::Duration;

use kube::runtime::controller::Action;
use kube::{Client, Resource, ResourceExt};

use super::plane::Planes;
use super::run::ManagementOptions;
use super::secrets::Secrets;
use crate::Error;
use crate::runtime::backoff::Backoff;
use crate::runtime::events::Events;

/// What one controller works with.
pub struct Context {
    /// The management cluster.
    pub client: Client,
    /// The way to the shared API server.
    pub planes: Arc<Planes>,
    /// The Secrets of the management cluster.
    pub secrets: Secrets,
    /// The controller's Events.
    pub events: Events,
    /// The controller's failures.
    pub backoff: Backoff,
    /// The options of all controllers.
    pub options: Arc<ManagementOptions>,
}

impl Context {
    /// The context of the controller of this name.
    pub fn new(
        client: Client,
        planes: Arc<Planes>,
        options: Arc<ManagementOptions>,
        secrets: Secrets,
        name: &str,
    ) -> Arc<Self> {
        let events = Events::new(client.clone(), name);
        Arc::new(Self { client, planes, secrets, events, backoff: Backoff::default(), options })
    }

    /// An object was reconciled without an error.
    pub fn succeeded<K: Resource>(&self, object: &K) {
        self.backoff.succeeded(&object.name_any());
    }
}

/// Tries again what failed, with a growing wait.
pub fn error_policy<K: Resource<DynamicType = ()>>(
    object: Arc<K>,
    error: &Error,
    context: Arc<Context>,
) -> Action {
    let wait = context.backoff.failed(&object.name_any());
    let (kind, name) = (K::kind(&()), object.name_any());
    tracing::warn!(%kind, name, %error, ?wait, "could not reconcile");
    Action::requeue(wait)
}

/// How soon a controller looks again at what it waits for and cannot watch.
pub const POLL: Duration = Duration::from_secs(2);
