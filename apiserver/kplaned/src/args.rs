//! The command line.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// One background process that serves virtual control planes.
///
/// It is started and stopped by `kubectl kplane up` and `kubectl kplane down`; there is no need to run it by hand.
#[derive(Debug, Parser)]
#[command(name = "kplaned", version, disable_version_flag = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve, in the foreground, until a SIGTERM or SIGINT.
    Run(RunArgs),
    /// Stop the process that runs.
    Stop(StopArgs),
    /// Print the version, and the newest data format it knows.
    Version(VersionArgs),
}

/// Where to serve, and from what.
#[derive(Clone, Debug, Args)]
pub struct RunArgs {
    /// Where the store and the keys are. The default is data/ in the state directory.
    #[arg(long, value_name = "DIRECTORY")]
    pub data_dir: Option<PathBuf>,
    /// The port to serve.
    #[arg(long, default_value_t = 8443)]
    pub port: u16,
    /// The address to serve.
    #[arg(long, default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    pub bind: IpAddr,
    /// Where the lock, the process id and the log are. The default is ${XDG_STATE_HOME:-~/.local/state}/kplane.
    #[arg(long, value_name = "DIRECTORY")]
    pub state_dir: Option<PathBuf>,
}

/// Which process to stop.
#[derive(Clone, Debug, Args)]
pub struct StopArgs {
    /// Where the lock, the process id and the log are. The default is ${XDG_STATE_HOME:-~/.local/state}/kplane.
    #[arg(long, value_name = "DIRECTORY")]
    pub state_dir: Option<PathBuf>,
}

/// How to print the version.
#[derive(Clone, Debug, Args)]
pub struct VersionArgs {
    /// The format.
    #[arg(short, long, value_name = "FORMAT")]
    pub output: Option<VersionOutput>,
}

/// A format of the version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum VersionOutput {
    /// One object, for programs.
    Json,
}
