//! The `kplane-controllers` binary.

mod crd;
mod etcd_command;

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use kplane_controllers::management::run_tenant_of_plane;
use kplane_controllers::runtime::health::{self, Health};
use kplane_controllers::runtime::lease::LeaseOptions;
use kplane_controllers::runtime::shutdown;
use kplane_controllers::{ManagementOptions, TenantOptions, run_management};
use kube::Client;

/// It gives memory back once a burst is over.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// The controllers of kplane.
#[derive(Parser)]
#[command(name = "kplane-controllers", version)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs the controllers.
    Run(RunArgs),
    /// Takes snapshots of etcd, and puts them in the place of a member's data: for the pods of a management plane.
    #[command(subcommand)]
    Etcd(etcd_command::EtcdCommand),
    /// Prints the CustomResourceDefinitions, or keeps a folder of them up to date.
    Crd {
        /// The folder to write the files to, instead of printing.
        #[arg(long)]
        output: Option<PathBuf>,
        /// Writes nothing, and fails when a file in the folder is not what would be written.
        #[arg(long, requires = "output")]
        check: bool,
    },
}

/// A group of controllers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Group {
    /// One for each kind of the management cluster.
    Management,
    /// What a controller manager does, for all control planes.
    Tenant,
}

#[derive(clap::Args)]
struct RunArgs {
    /// The groups of controllers to run.
    #[arg(long, value_delimiter = ',', default_value = "management,tenant")]
    controllers: Vec<Group>,
    /// Holds a Lease, so that of several replicas one works.
    #[arg(long, env = "KPLANE_LEADER_ELECT", default_value_t = true, action = clap::ArgAction::Set)]
    leader_elect: bool,
    /// The namespace of the Lease.
    #[arg(long, env = "POD_NAMESPACE", default_value = "kplane-system")]
    leader_elect_namespace: String,
    /// Applies the CustomResourceDefinitions first.
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set)]
    install_crds: bool,
    /// The image of the shared API server for management planes that name none.
    #[arg(long, env = "KPLANE_IMAGE")]
    image: Option<String>,
    /// Where these controllers reach the API server of a deployed management plane: https://HOST:PORT. Not set: at its
    /// Service, which a process outside the cluster cannot.
    #[arg(long, value_name = "URL")]
    plane_address: Option<String>,
    /// A file with the addresses of the members of a managed etcd, for controllers that cannot reach these by their names
    /// in the cluster: a JSON object of HOST:PORT by HOST:PORT. It is read again each time.
    #[arg(long, value_name = "FILE")]
    etcd_addresses: Option<PathBuf>,
    /// From what size on, in bytes, the file of an etcd member that is half empty is written anew.
    #[arg(long, value_name = "BYTES", default_value_t = 128 << 20)]
    etcd_defragment_above: i64,
    /// Where /healthz, /readyz and /metrics are answered, over plain HTTP: 0.0.0.0:8081. Nowhere when not set.
    #[arg(long, value_name = "ADDRESS")]
    health_bind_address: Option<SocketAddr>,
    /// How many objects of a kind are worked on at once.
    #[arg(long, default_value_t = 32)]
    concurrency: u16,
}

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let args = Args::parse();
    match args.command {
        Command::Crd { output: None, .. } => crd::print(),
        Command::Crd { output: Some(folder), check } => crd::write(&folder, check),
        Command::Etcd(command) => return Ok(etcd_command::run(command).await),
        Command::Run(args) => run(args).await,
    }
    .map(|()| ExitCode::SUCCESS)
}

async fn run(args: RunArgs) -> anyhow::Result<()> {
    tracing_subscriber::fmt()
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "info".into()),
        )
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    // The one TLS provider of the process. It is only there already when a library was faster.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = Client::try_default().await.context("no way to the management cluster")?;
    let identity = std::env::var("HOSTNAME").unwrap_or_else(|_| format!("pid-{}", std::process::id()));
    let health = Arc::new(Health::default());
    if !args.controllers.contains(&Group::Management) {
        health.set_ready();
    }
    let mut options = ManagementOptions {
        health: Some(health.clone()),
        install: args.install_crds,
        concurrency: args.concurrency,
        plane_address: args.plane_address.clone(),
        etcd_addresses: args.etcd_addresses.clone(),
        defragment_above: args.etcd_defragment_above,
        ..ManagementOptions::default()
    };
    if let Some(image) = args.image {
        options.image = image;
    }
    if args.leader_elect {
        options.leader_election = Some(LeaseOptions::new(
            &args.leader_elect_namespace,
            kplane_controllers::management::LEASE,
            &identity,
        ));
    }
    let mut tenant = TenantOptions::default();
    if args.leader_elect {
        let name = kplane_controllers::tenant::LEASE;
        tenant.leader_election = Some(LeaseOptions::new("kube-system", name, &identity));
    }
    let stop = shutdown::on_signals()?;
    // Either group ends with an error only when it must not go on; then the process ends, to be started anew.
    let guard = stop.clone().drop_guard();
    let answering = async {
        if let Some(address) = args.health_bind_address {
            health::serve(address, health.clone(), stop.clone())
                .await
                .with_context(|| format!("cannot answer health checks at {address}"))?;
        }
        Ok::<_, anyhow::Error>(())
    };
    let management = async {
        if args.controllers.contains(&Group::Management) {
            run_management(client.clone(), options, stop.clone()).await?;
        }
        Ok(())
    };
    let tenant = async {
        if args.controllers.contains(&Group::Tenant) {
            run_tenant_of_plane(client.clone(), args.plane_address, tenant, stop.clone()).await?;
        }
        Ok(())
    };
    tokio::try_join!(answering, management, tenant)?;
    drop(guard);
    Ok(())
}
