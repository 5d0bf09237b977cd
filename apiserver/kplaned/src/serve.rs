//! What `kplaned` serves: the shared API server on the embedded store, and the controllers.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use kplane_apiserver::options::{Options, Storage};
use kplane_apiserver::run::{self, Server};
use kplane_controllers::{
    EmbeddedPlane, Health, ManagementOptions, PlaneHealth, TenantOptions, run_management, run_tenant,
};
use kube::Client;
use kube::config::{KubeConfigOptions, Kubeconfig};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// How often the store is asked how it is.
const HEALTH: Duration = Duration::from_secs(5);

/// Where to serve, and from what.
#[derive(Clone, Debug)]
pub struct ServeOptions {
    /// Where the store and the keys are, and where `admin.kubeconfig` is left.
    pub data_dir: PathBuf,
    /// The port to serve.
    pub port: u16,
    /// The address to serve.
    pub bind: IpAddr,
}

/// Serves until `shutdown`; calls `ready` once the port is open and `admin.kubeconfig` is written.
pub async fn serve(
    options: ServeOptions,
    ready: impl FnOnce(),
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    // Flags that are not ours to choose keep the defaults of kplane-apiserver.
    let defaults = Options::try_parse_from(["kplane-apiserver"])?;
    let options = Options {
        storage: Storage::Embedded,
        data_dir: options.data_dir,
        secure_port: options.port,
        bind_address: options.bind,
        ..defaults
    };
    let server = run::start(options, shutdown.clone()).await?;
    let client = admin_client(&server.admin_kubeconfig).await?;
    let (health, health_seen) = watch::channel(PlaneHealth::ok());
    let plane = EmbeddedPlane {
        client: client.clone(),
        endpoint: server.url.clone(),
        ca: server.ca_pem.clone(),
        version: env!("CARGO_PKG_VERSION").into(),
        health: health_seen,
    };
    let tenant = TenantOptions { root_ca: Some(server.ca_pem.clone()), ..TenantOptions::default() };
    let management = ManagementOptions { embedded: Some(plane), ..ManagementOptions::default() };

    let probe = tokio::spawn(watch_health(health, server.health(), shutdown.clone()));
    let mut serving = tokio::spawn(server.serve());
    ready();
    let controllers = tokio::spawn(controllers(client, management, tenant, shutdown.clone()));
    // A server that ends by itself has failed, and takes the rest with it.
    let served = tokio::select! {
        served = &mut serving => served,
        () = shutdown.cancelled() => serving.await,
    };
    shutdown.cancel();
    controllers.await.context("the controllers failed")??;
    probe.await.context("the health probe failed")?;
    served.context("the server failed")?
}

/// Both groups of controllers, until `shutdown`. One that fails is begun again: what it works on is in the store.
async fn controllers(
    client: Client,
    management: ManagementOptions,
    tenant: TenantOptions,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let one = restarted("management", &shutdown, || {
        run_management(client.clone(), management.clone(), shutdown.clone())
    });
    let other =
        restarted("tenant", &shutdown, || run_tenant(client.clone(), tenant.clone(), shutdown.clone()));
    tokio::join!(one, other);
    Ok(())
}

/// Runs controllers again and again until `shutdown`.
pub async fn restarted<F, E>(group: &str, shutdown: &CancellationToken, run: impl Fn() -> F)
where
    F: Future<Output = Result<(), E>>,
    E: std::fmt::Display,
{
    while !shutdown.is_cancelled() {
        if let Err(error) = run().await {
            tracing::warn!(group, %error, "the controllers ended; beginning again");
        }
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = tokio::time::sleep(Duration::from_secs(1)) => {}
        }
    }
}

/// A client with the credentials of root's administrator.
pub async fn admin_client(kubeconfig: &Path) -> anyhow::Result<Client> {
    let config =
        Kubeconfig::read_from(kubeconfig).with_context(|| format!("cannot read {}", kubeconfig.display()))?;
    let config = kube::Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await?;
    Ok(Client::try_from(config)?)
}

/// Asks the store how it is, and tells those who wait for a change.
async fn watch_health(
    health: watch::Sender<PlaneHealth>,
    probe: impl Fn() -> futures::future::BoxFuture<'static, Result<(), String>>,
    shutdown: CancellationToken,
) {
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(HEALTH) => {}
        }
        let now = match probe().await {
            Ok(()) => PlaneHealth::ok(),
            Err(why) => PlaneHealth { store: Health::failed("StoreUnavailable", why), ..PlaneHealth::ok() },
        };
        health.send_if_modified(|known| {
            let changed = *known != now;
            *known = now;
            changed
        });
    }
}

/// The server without management, as `kplane-apiserver` runs it: with the tenant controllers unless told otherwise.
pub async fn serve_plain(
    server: Server,
    tenant: Option<TenantOptions>,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let Some(tenant) = tenant else { return server.serve().await };
    let client = admin_client(&server.admin_kubeconfig).await?;
    let serving = tokio::spawn(server.serve());
    let stop = shutdown.clone();
    let controllers = tokio::spawn(async move {
        restarted("tenant", &stop, || run_tenant(client.clone(), tenant.clone(), stop.clone())).await;
    });
    let served = serving.await.context("the server failed")?;
    shutdown.cancel();
    controllers.await.context("the tenant controllers failed")?;
    served
}
