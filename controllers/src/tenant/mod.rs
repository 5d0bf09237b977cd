//! The tenant controllers: what kube-controller-manager does for one cluster, done for all virtual control planes by
//! one set of loops.
//!
//! ```text
//!   /clusters/*/control-plane/objects ──one list and watch──▶ Router ─┬─▶ namespaces: finalisation
//!     (metadata of every materialised object of every VCP)            ├─▶ service accounts: default, root CA
//!                                                                     ├─▶ garbage: the graph of owners
//!                                                                     └─▶ tasks: workloads, services, storage,
//!                                                                         certificates, nodes, policies, roles
//! ```
//!
//! What every control plane starts with is inherited, not materialised, and needs none of this; so the memory here
//! grows with what changes, not with the number of control planes. Everything that is decided is decided upon a
//! fresh read from the one control plane it is about.

mod api;
mod certificates;
mod discovery;
mod events;
mod follow;
mod garbage;
mod namespaces;
mod nodes;
mod object;
mod policies;
mod queue;
mod roles;
mod router;
mod service_accounts;
mod services;
mod storage;
mod tasks;
#[cfg(test)]
mod tests;
mod value;
mod workloads;

pub(crate) use workloads::schedule;

use std::sync::Arc;

use kube::Client;
use tokio_util::sync::CancellationToken;

use crate::Error;
use crate::runtime::lease::{self, LeaseOptions};
use crate::runtime::raw::Raw;

use discovery::Discovery;
use garbage::Garbage;
use namespaces::Namespaces;
use router::Router;
use service_accounts::ServiceAccounts;
use tasks::Tasks;

/// The name of the Lease of the tenant controllers.
pub const LEASE: &str = "kplane-tenant-controllers";

/// How the tenant controllers run.
#[derive(Clone)]
pub struct TenantOptions {
    /// The certificates, in PEM, that pods verify the API server with: the content of `kube-root-ca.crt`. Without
    /// them no such ConfigMap is written.
    pub root_ca: Option<String>,
    /// The Lease to hold, if more than one replica may run. It is one of root.
    pub leader_election: Option<LeaseOptions>,
    /// How many objects each loop works on at once.
    pub concurrency: usize,
}

impl Default for TenantOptions {
    fn default() -> Self {
        Self { root_ca: None, leader_election: None, concurrency: 16 }
    }
}

/// Runs the tenant controllers until `shutdown`, or until the Lease is lost, which is an error.
///
/// `client` is root's administrator at the shared API server, and its base address is the server's own, without a
/// path.
pub async fn run_tenant(
    client: Client,
    options: TenantOptions,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    let Some(lease) = options.leader_election.clone() else { return lead(client, options, shutdown).await };
    let leading = client.clone();
    let lost = lease::hold(client, lease, shutdown, |token| lead(leading, options, token)).await?;
    if lost { Err(Error::Wait("the lease of the tenant controllers is lost".into())) } else { Ok(()) }
}

async fn lead(client: Client, options: TenantOptions, shutdown: CancellationToken) -> Result<(), Error> {
    let raw = Raw::new(client).named(api::MANAGER);
    let discovery = Arc::new(Discovery::new(raw.clone()));
    let namespaces = Arc::new(Namespaces::new(raw.clone(), discovery.clone()));
    let service_accounts = Arc::new(ServiceAccounts::new(raw.clone(), options.root_ca.clone()));
    let garbage = Arc::new(Garbage::new(raw.clone(), discovery.clone()));
    let tasks = Arc::new(Tasks::new(raw.clone(), garbage.clone(), discovery));
    let router = Router::new(namespaces.clone(), service_accounts.clone(), garbage.clone(), tasks.clone());
    tokio::join!(
        follow::follow(&raw, router, &shutdown),
        queue::work(namespaces, options.concurrency, &shutdown),
        queue::work(service_accounts, options.concurrency, &shutdown),
        queue::work(garbage, options.concurrency, &shutdown),
        queue::work(tasks, options.concurrency, &shutdown),
    );
    Ok(())
}
