//! `kplane-controllers etcd`: what runs in pods beside a managed etcd.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Subcommand;
use kplane_controllers::Error;
use kplane_controllers::etcd::s3::{Bucket, Place};
use kplane_controllers::etcd::snapshot::{Destination, NotTaken};
use kplane_controllers::etcd::{Access, restore, snapshot};
use kplane_controllers::runtime::shutdown;

/// What is done.
#[derive(Subcommand)]
pub enum EtcdCommand {
    /// Takes a snapshot into a folder or a bucket, checks it, and removes the oldest beyond what is kept.
    Snapshot(SnapshotArgs),
    /// Before `etcdutl snapshot restore`: looks whether the snapshot is whole, and clears its way.
    RestorePrepare {
        #[command(flatten)]
        volume: VolumeArgs,
        /// The folder with the snapshots; where one in a bucket is read into.
        #[arg(long)]
        snapshots: PathBuf,
        #[command(flatten)]
        s3: S3Args,
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
    #[arg(long, required_unless_present = "s3_bucket", conflicts_with = "s3_bucket")]
    folder: Option<PathBuf>,
    #[command(flatten)]
    s3: S3Args,
    /// How many snapshots are kept.
    #[arg(long, default_value_t = 7)]
    retain: usize,
    /// A file to write what was taken to, as JSON, beside printing it.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
}

/// Which bucket. The keys are read from files: arguments are seen by all.
#[derive(clap::Args)]
pub struct S3Args {
    /// The bucket of an object store that speaks S3.
    #[arg(long, value_name = "NAME", requires = "s3_credentials")]
    s3_bucket: Option<String>,
    /// What the names of snapshots begin with in the bucket.
    #[arg(long, value_name = "PREFIX", default_value = "")]
    s3_prefix: String,
    /// The region of the bucket.
    #[arg(long, value_name = "REGION", default_value = "us-east-1")]
    s3_region: String,
    /// The address of the object store; that of AWS when empty.
    #[arg(long, value_name = "URL", default_value = "")]
    s3_endpoint: String,
    /// Whether the bucket is named in the path, and not in the host; when not set, it is with an address of one's own.
    #[arg(long, value_name = "BOOL")]
    s3_path_style: Option<bool>,
    /// The folder with the files AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and AWS_SESSION_TOKEN perhaps.
    #[arg(long, value_name = "FOLDER")]
    s3_credentials: Option<PathBuf>,
    /// The authorities by which the object store is verified, in PEM; those of the system when not set.
    #[arg(long, value_name = "FILE")]
    s3_ca: Option<PathBuf>,
}

impl S3Args {
    fn open(self) -> Result<Option<Box<Bucket>>, Error> {
        let (Some(bucket), Some(credentials)) = (self.s3_bucket, self.s3_credentials) else {
            return Ok(None);
        };
        let place = Place {
            bucket,
            prefix: self.s3_prefix,
            region: self.s3_region,
            endpoint: self.s3_endpoint,
            path_style: self.s3_path_style,
            credentials,
            ca: self.s3_ca,
        };
        Ok(Some(Box::new(Bucket::open(place)?)))
    }
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
    // The one TLS provider of the process. It is only there already when a library was faster.
    let _ = rustls::crypto::ring::default_provider().install_default();
    match command {
        EtcdCommand::Snapshot(args) => take(args).await?,
        EtcdCommand::RestorePrepare { volume, snapshots, s3, from } => {
            restore::prepare(&volume.volume, &snapshots, s3.open()?, &from).await?;
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
    let report = args.report.clone();
    let report = |text: &str| match &report {
        Some(path) => std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display())),
        None => Ok(()),
    };
    match snapshot(args).await {
        Ok(taken) => {
            let text = serde_json::to_string(&taken)?;
            println!("{text}");
            report(&text)
        }
        Err(error) => {
            if let Some(Error::ObjectStore { reason, message }) = error.downcast_ref() {
                let said = NotTaken { reason: (*reason).to_owned(), message: message.clone() };
                report(&serde_json::to_string(&said)?)?;
            }
            Err(error)
        }
    }
}

async fn snapshot(args: SnapshotArgs) -> anyhow::Result<snapshot::Taken> {
    let read =
        |path: &PathBuf| std::fs::read(path).with_context(|| format!("cannot read {}", path.display()));
    let identity = match (&args.cert, &args.key) {
        (Some(cert), Some(key)) => Some((read(cert)?, read(key)?)),
        _ => None,
    };
    let access = Access { ca: args.cacert.as_ref().map(read).transpose()?, identity, name: None };
    let destination = match args.s3.open()? {
        Some(bucket) => Destination::Bucket(bucket),
        None => Destination::Folder(args.folder.unwrap_or_default()),
    };
    // Told to end, it takes back what it has begun.
    let stop = shutdown::on_signals()?;
    let now = jiff::Timestamp::now();
    Ok(snapshot::take(&access, &args.endpoints, &destination, args.retain, now, &stop).await?)
}
