//! The `kplane-apiserver` program: the shared API server, and the controllers without which a control plane would not feel
//! alive.

use clap::Parser;
use kplane_apiserver::options::{Options, Storage};
use kplane_controllers::TenantOptions;
use kplane_controllers::runtime::lease::LeaseOptions;
use tokio_util::sync::CancellationToken;

/// It gives memory back once a burst is over.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

#[derive(Parser)]
#[command(name = "kplane-apiserver", version)]
struct Cli {
    #[command(flatten)]
    options: Options,

    /// Whether this process also runs the tenant controllers: namespace finalisation, garbage collection, service
    /// accounts. Turn it off where kplane-controllers runs them.
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set)]
    tenant_controllers: bool,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    tracing_subscriber::fmt()
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_default_env()
                .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info")),
        )
        .with_ansi(false)
        .with_writer(std::io::stderr)
        .init();
    if cli.options.rotate_token_key {
        return kplane_apiserver::run::rotate_token_key(&cli.options);
    }
    // kube's client takes the process's provider; the server names its own.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let shutdown = CancellationToken::new();
    kplane_apiserver::signals::cancel_on_signal(shutdown.clone())?;
    let shared = cli.options.storage == Storage::Etcd;
    let server = kplane_apiserver::run::start(cli.options, shutdown.clone()).await?;
    let tenant = cli.tenant_controllers.then(|| TenantOptions {
        root_ca: Some(server.ca_pem.clone()),
        // Over a store of its own this process is the only one.
        leader_election: shared.then(|| {
            // Unique among replicas, on one machine and on several.
            let identity = format!("{}_{}", server.address, uuid::Uuid::new_v4());
            LeaseOptions::new("kube-system", "kplane-tenant-controllers", &identity)
        }),
        ..TenantOptions::default()
    });
    kplaned::serve::serve_plain(server, tenant, shutdown).await
}
