//! Starting the management controllers.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt};
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::PostParams;
use kube::runtime::reflector::ObjectRef;
use kube::runtime::{WatchStreamExt, predicates, reflector, utils::PredicateConfig, watcher};
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;

use super::context::Context;
use super::plane::{EmbeddedPlane, Planes};
use super::secrets::Secrets;
use super::{class, control_plane, credential, endpoint, management_plane, registration};
use crate::Error;
use crate::runtime::health::Health;
use crate::runtime::install::install;
use crate::runtime::lease::{self, LeaseOptions};
use crate::runtime::raw;

/// The name of the Lease of the management controllers.
pub const LEASE: &str = "kplane-management-controllers";

/// How the management controllers run.
#[derive(Clone)]
pub struct ManagementOptions {
    /// The process that serves the API, if it is this one.
    pub embedded: Option<EmbeddedPlane>,
    /// The Lease to hold, if more than one replica may run.
    pub leader_election: Option<LeaseOptions>,
    /// Whether to apply the CustomResourceDefinitions first.
    pub install: bool,
    /// How many objects of a kind are worked on at once.
    pub concurrency: u16,
    /// How long the certificate in the kubeconfig of a control plane is valid.
    pub credential_lifetime: Duration,
    /// The image of the shared API server for deployed management planes that name none.
    pub image: String,
    /// The version of the controllers.
    pub version: String,
    /// Where the server of a deployed plane is reached, when its Service cannot be.
    pub plane_address: Option<String>,
    /// A file with the addresses of etcd's members, when their names in the cluster cannot be reached.
    pub etcd_addresses: Option<PathBuf>,
    /// From what size on, in bytes, a file of etcd that is half empty is written anew.
    pub defragment_above: i64,
    /// Told when the management cluster has what the controllers need.
    pub health: Option<Arc<Health>>,
}

impl Default for ManagementOptions {
    fn default() -> Self {
        Self {
            embedded: None,
            leader_election: None,
            install: true,
            concurrency: 32,
            credential_lifetime: Duration::from_secs(24 * 3600),
            image: format!("ghcr.io/kplane-dev/kplane:v{}", env!("CARGO_PKG_VERSION")),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            plane_address: None,
            etcd_addresses: None,
            defragment_above: 128 << 20,
            health: None,
        }
    }
}

/// Runs the management controllers until `shutdown`, or until the Lease is lost, which is an error.
pub async fn run_management(
    client: Client,
    options: ManagementOptions,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    if options.install {
        tokio::select! {
            result = install(&client) => result?,
            () = shutdown.cancelled() => return Ok(()),
        }
    }
    if let Some(lease) = &options.leader_election {
        ensure_namespace(&client, &lease.namespace).await?;
    }
    if let Some(health) = &options.health {
        health.set_ready();
    }
    let Some(lease) = options.leader_election.clone() else {
        return lead(client, options, shutdown).await;
    };
    let leading = client.clone();
    let lost = lease::hold(client, lease, shutdown, |token| lead(leading, options, token)).await?;
    if lost { Err(Error::Wait("the lease of the management controllers is lost".into())) } else { Ok(()) }
}

/// Makes the namespace of the Lease if there is none, so that the controllers can run before anything is installed. Who
/// may not make namespaces has one, or is told when the Lease cannot be written.
async fn ensure_namespace(client: &Client, name: &str) -> Result<(), Error> {
    let namespace = Namespace {
        metadata: ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() },
        ..Namespace::default()
    };
    match Api::all(client.clone()).create(&PostParams::default(), &namespace).await {
        Ok(_) => Ok(()),
        Err(error) if matches!(raw::code(&error), Some(403 | 409)) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

async fn lead(client: Client, options: ManagementOptions, shutdown: CancellationToken) -> Result<(), Error> {
    let planes = Planes::new(client.clone(), options.embedded.clone());
    let planes = Arc::new(planes.at(options.plane_address.clone()));
    // Who serves the management cluster too is its administrator.
    let secrets = match options.embedded {
        Some(_) => Secrets::all(client.clone()),
        None => Secrets::as_allowed(client.clone()).await?,
    };
    let options = Arc::new(options);
    let context =
        |name: &str| Context::new(client.clone(), planes.clone(), options.clone(), secrets.clone(), name);
    tokio::join!(
        control_plane::run(context("controlplane"), shutdown.clone()),
        endpoint::run(context("controlplaneendpoint"), shutdown.clone()),
        class::run(context("controlplaneclass"), shutdown.clone()),
        registration::run(context("controlplaneregistration"), shutdown.clone()),
        credential::run(context("controlplanecredential"), shutdown.clone()),
        management_plane::run(context("managementplane"), shutdown.clone()),
    );
    Ok(())
}

/// The objects of a kind whose spec, metadata or deletion changed, and the store of all of them. A controller's own
/// writes to a status do not come back to it.
pub fn changes<K>(
    api: Api<K>,
) -> (impl Stream<Item = Result<K, watcher::Error>> + Send + 'static, reflector::Store<K>)
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug + Send + Sync + 'static,
{
    let (reader, writer) = reflector::store();
    let stream = watcher(api, watcher::Config::default())
        // Nobody here reads these, and they are the half of a small object.
        .modify(|object: &mut K| {
            let metadata = object.meta_mut();
            metadata.managed_fields = None;
            if let Some(annotations) = metadata.annotations.as_mut() {
                annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
            }
        })
        .default_backoff()
        .reflect(writer)
        .applied_objects()
        .predicate_filter(relevant::<K>, PredicateConfig::default());
    (stream, reader)
}

/// The object of this kind that controls another, by its name: all kinds of ours are in no namespace.
pub fn owner_of<K>(metadata: &ObjectMeta) -> Option<ObjectRef<K>>
where
    K: Resource<DynamicType = ()>,
{
    let owner = metadata.owner_references.iter().flatten().find(|owner| owner.controller == Some(true))?;
    let ours = owner.kind == K::kind(&()) && owner.api_version == K::api_version(&());
    ours.then(|| ObjectRef::new(&owner.name))
}

/// What makes an object worth another look: anything but its status.
fn relevant<K: Resource>(object: &K) -> Option<u64> {
    let mut hasher = DefaultHasher::new();
    let metadata = object.meta();
    metadata.uid.hash(&mut hasher);
    metadata.deletion_timestamp.is_some().hash(&mut hasher);
    predicates::generation(object).hash(&mut hasher);
    predicates::annotations(object).hash(&mut hasher);
    predicates::finalizers(object).hash(&mut hasher);
    Some(hasher.finish())
}

/// Drives a controller's stream to its end and logs what its machinery reports.
pub async fn drain<K, E>(
    kind: &'static str,
    stream: impl Stream<Item = Result<K, kube::runtime::controller::Error<Error, E>>>,
) where
    E: std::error::Error + 'static,
{
    stream
        .for_each(|result| async move {
            // What a reconciliation returned is logged by the error policy.
            if let Err(error) = result
                && !matches!(
                    error,
                    kube::runtime::controller::Error::ReconcilerFailed(..)
                        | kube::runtime::controller::Error::ObjectNotFound(_)
                )
            {
                tracing::warn!(kind, %error, "a watch failed and is tried again");
            }
        })
        .await;
}
