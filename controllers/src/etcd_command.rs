//! `kplane-controllers etcd`: what runs in pods beside a managed etcd.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Subcommand;
use kplane_controllers::etcd::{Access, restore, snapshot};

/// What is done.
#[derive(Subcommand)]
pub enum EtcdCommand {
    /// Takes a snapshot into a folder, checks it, and removes the oldest beyond what is kept.
    Snapshot(SnapshotArgs),
    /// Before `etcdutl snapshot restore`: looks whether the snapshot is whole, and clears its way.
    RestorePrepare {
        #[command(flatten)]
        volume: VolumeArgs,
        /// The folder with the snapshots.
        #[arg(long)]
        snapshots: PathBuf,
        /// The name of the snapshot.
        #[arg(long)]
        from: String,
    },
    /// After it: puts what it made in the place of the data, which stays aside. Once for each attempt.
    RestoreFinish {
        #[command(flatten)]
        volume: VolumeArgs,
        #[command(flatten)]
        attempts: AttemptsArgs,
    },
    /// Puts the data back that was there before these attempts.
    RestoreUndo {
        #[command(flatten)]
        volume: VolumeArgs,
        #[command(flatten)]
        attempts: AttemptsArgs,
    },
    /// Removes the data that a restore has replaced.
    RestoreTidy {
        #[command(flatten)]
        volume: VolumeArgs,
    },
}

/// Where to take a snapshot from, and where to.
#[derive(clap::Args)]
pub struct SnapshotArgs {
    /// The addresses of the members; the first that gives one is taken.
    #[arg(long, value_delimiter = ',', required = true)]
    endpoints: Vec<String>,
    /// The authorities by which etcd is verified, in PEM.
    #[arg(long, value_name = "FILE")]
    cacert: Option<PathBuf>,
    /// The certificate for etcd, in PEM.
    #[arg(long, value_name = "FILE", requires = "key")]
    cert: Option<PathBuf>,
    /// Its key, in PEM.
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
    /// The folder to write to.
    #[arg(long)]
    folder: PathBuf,
    /// How many snapshots are kept.
    #[arg(long, default_value_t = 7)]
    retain: usize,
    /// A file to write what was taken to, as JSON, beside printing it.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
}

/// Which volume.
#[derive(clap::Args)]
pub struct VolumeArgs {
    /// The volume of the member.
    #[arg(long)]
    volume: PathBuf,
}

/// Which attempts.
#[derive(clap::Args)]
pub struct AttemptsArgs {
    /// The attempts that did not come to an end, the one at hand last.
    #[arg(long, value_delimiter = ',', required = true)]
    attempts: Vec<String>,
}

/// Does it. The last that it says is why it failed: a pod's status shows that.
pub async fn run(command: EtcdCommand) -> ExitCode {
    match attempt(command).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn attempt(command: EtcdCommand) -> anyhow::Result<()> {
    match command {
        EtcdCommand::Snapshot(args) => take(args).await?,
        EtcdCommand::RestorePrepare { volume, snapshots, from } => {
            restore::prepare(&volume.volume, &snapshots, &from)?;
        }
        EtcdCommand::RestoreFinish { volume, attempts } => {
            restore::finish(&volume.volume, &attempts.attempts)?
        }
        EtcdCommand::RestoreUndo { volume, attempts } => restore::undo(&volume.volume, &attempts.attempts)?,
        EtcdCommand::RestoreTidy { volume } => restore::tidy(&volume.volume)?,
    }
    Ok(())
}

async fn take(args: SnapshotArgs) -> anyhow::Result<()> {
    // The one TLS provider of the process. It is only there already when a library was faster.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let read =
        |path: &PathBuf| std::fs::read(path).with_context(|| format!("cannot read {}", path.display()));
    let identity = match (&args.cert, &args.key) {
        (Some(cert), Some(key)) => Some((read(cert)?, read(key)?)),
        _ => None,
    };
    let access = Access { ca: args.cacert.as_ref().map(read).transpose()?, identity, name: None };
    let now = jiff::Timestamp::now();
    let taken = snapshot::take(&access, &args.endpoints, &args.folder, args.retain, now).await?;
    let report = serde_json::to_string(&taken)?;
    println!("{report}");
    if let Some(path) = &args.report {
        std::fs::write(path, report).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}
