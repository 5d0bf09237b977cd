//! The `kplane-controllers` binary.

mod crd;

use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use kplane_controllers::runtime::lease::LeaseOptions;
use kplane_controllers::runtime::shutdown;
use kplane_controllers::{ManagementOptions, run_management};
use kube::Client;

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

#[derive(clap::Args)]
struct RunArgs {
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
    /// How many objects of a kind are worked on at once.
    #[arg(long, default_value_t = 32)]
    concurrency: u16,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    match args.command {
        Command::Crd { output: None, .. } => crd::print(),
        Command::Crd { output: Some(folder), check } => crd::write(&folder, check),
        Command::Run(args) => run(args).await,
    }
}

async fn run(args: RunArgs) -> anyhow::Result<()> {
    tracing_subscriber::fmt()
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "info".into()),
        )
        .with_writer(std::io::stderr)
        .init();
    // The one TLS provider of the process. It is only there already when a library was faster.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = Client::try_default().await.context("no way to the management cluster")?;
    let identity = std::env::var("HOSTNAME").unwrap_or_else(|_| format!("pid-{}", std::process::id()));
    let mut options = ManagementOptions {
        install: args.install_crds,
        concurrency: args.concurrency,
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
    let stop = shutdown::on_signals()?;
    run_management(client, options, stop).await?;
    Ok(())
}
