//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use kplane_plugin_common::args::{DryRunArgs, GlobalArgs, WaitArgs, parse_duration};
use kplane_plugin_common::output::Output;
use kplane_plugin_common::providers::ProviderName;

/// Start and stop the management plane that serves virtual control planes.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "Examples:
  kubectl kplane up                  # a management plane on this machine
  kubectl kplane create cluster demo # a control plane, and the context kplane-demo
  kubectl kplane status              # what runs, and how it is
  kubectl kplane down                # stop it; all data is kept"
)]
pub struct Cli {
    /// Flags of every command.
    #[command(flatten)]
    pub global: GlobalArgs,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start the management plane, or what is missing of it, and wait until it is ready.
    Up(UpArgs),
    /// Stop the management plane; its data is kept unless it is to be deleted.
    Down(DownArgs),
    /// Show what runs, and how it is.
    Status(StatusArgs),
    /// Look for what keeps kplane from working, and say what to do.
    Doctor(DoctorArgs),
    /// List resources.
    #[command(subcommand)]
    Get(GetCommand),
    /// Create a resource.
    #[command(subcommand)]
    Create(CreateCommand),
    /// Create a control plane: short for `create cluster`.
    Cc(ClusterArgs),
    /// Delete a resource.
    #[command(subcommand)]
    Delete(DeleteCommand),
    /// Add the context of a control plane, or of the management plane, to the kubeconfig.
    GetCredentials(CredentialsArgs),
    /// Show and change the configuration.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Print the versions of this program, of kplaned and of the server.
    Version(VersionArgs),
    /// Print a completion script for a shell, or install completion for kubectl.
    #[command(args_conflicts_with_subcommands = true, arg_required_else_help = true)]
    Completion(CompletionArgs),
}

/// Arguments of `up`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  kubectl kplane up                # on port 8443, or the next free one
  kubectl kplane up --port 9443    # on this port
  kubectl kplane up --data-dir /srv/kplane
  kubectl kplane up --provider kind            # in a kind cluster, made if need be
  kubectl kplane up --provider existing --context my-cluster")]
pub struct UpArgs {
    /// What provides the management plane: local, kind, k3s or existing. It is remembered.
    #[arg(long, value_name = "NAME")]
    pub provider: Option<ProviderName>,
    /// The name of the cluster that kind or k3s makes.
    #[arg(long, value_name = "NAME")]
    pub cluster_name: Option<String>,
    /// The port to serve. The default is that of the last time, or 8443, or the next free one.
    #[arg(long)]
    pub port: Option<u16>,
    /// Where the data is kept. The default is data/ in ${XDG_STATE_HOME:-~/.local/state}/kplane.
    #[arg(long, value_name = "DIRECTORY")]
    pub data_dir: Option<PathBuf>,
    /// Make its context the current one. The default is to do so when no context is the current one.
    #[arg(long, value_name = "BOOL", action = ArgAction::Set, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub set_current: Option<bool>,
    /// The archive of the server's image to load into the cluster of kind or k3s. The default is the one beside this
    /// program.
    #[arg(long, value_name = "FILE")]
    pub image_archive: Option<PathBuf>,
    /// How long to wait until it is ready; 2m for local, 10m for clusters.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub timeout: Option<Duration>,
}

/// Arguments of `doctor`.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// What is to provide the management plane; the one that is remembered when not named.
    #[arg(long, value_name = "NAME")]
    pub provider: Option<ProviderName>,
}

/// Arguments of `down`.
#[derive(Debug, Args)]
pub struct DownArgs {
    /// What provides the management plane.
    #[arg(long, value_name = "NAME")]
    pub provider: Option<ProviderName>,
    /// Delete all control planes and their data.
    #[arg(long)]
    pub delete_data: bool,
    /// Do not ask before data is deleted.
    #[arg(short, long)]
    pub yes: bool,
    /// How long to wait for its end before it is forced.
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = parse_duration)]
    pub timeout: Duration,
}

/// Arguments of `status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Show the store too: keys, bytes, hot resources, compaction lag.
    #[arg(long)]
    pub storage: bool,
    /// The format.
    #[arg(short, long, value_name = "FORMAT")]
    pub output: Option<DataOutput>,
}

/// A format of data that is no object of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DataOutput {
    /// JSON, indented.
    Json,
    /// YAML.
    Yaml,
}

/// What to list.
#[derive(Debug, Subcommand)]
pub enum GetCommand {
    /// List the management plane and its control planes, with their contexts.
    #[command(visible_alias = "cluster")]
    Clusters {
        /// The format.
        #[arg(short, long, value_name = "FORMAT")]
        output: Option<Output>,
    },
}

/// What to create.
#[derive(Debug, Subcommand)]
pub enum CreateCommand {
    /// Create a control plane, wait until it is ready, and add its context to the kubeconfig.
    Cluster(ClusterArgs),
}

/// Arguments of `create cluster`.
#[derive(Debug, Args)]
pub struct ClusterArgs {
    /// The name: a DNS label.
    pub name: String,
    /// The ControlPlaneClass with its defaults and limits.
    #[arg(long, value_name = "NAME")]
    pub class: Option<String>,
    /// Add its context to the kubeconfig.
    #[arg(long, value_name = "BOOL", action = ArgAction::Set, default_value_t = true, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub get_credentials: bool,
    /// Make its context the current one.
    #[arg(long, value_name = "BOOL", action = ArgAction::Set, default_value_t = true, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub set_current: bool,
    /// The format of the object created.
    #[arg(short, long, value_name = "FORMAT")]
    pub output: Option<Output>,
    /// Whether to wait.
    #[command(flatten)]
    pub wait: WaitArgs,
    /// Whether it is only tried.
    #[command(flatten)]
    pub dry_run: DryRunArgs,
}

/// What to delete.
#[derive(Debug, Subcommand)]
pub enum DeleteCommand {
    /// Delete a control plane; its data remains unless it is destroyed.
    Cluster {
        /// The control plane.
        #[arg(id = "existing", value_name = "NAME")]
        name: String,
        /// Remove its data.
        #[arg(long)]
        destroy: bool,
        /// Whether to wait.
        #[command(flatten)]
        wait: WaitArgs,
        /// Whether it is only tried.
        #[command(flatten)]
        dry_run: DryRunArgs,
    },
}

/// Arguments of `get-credentials`.
#[derive(Debug, Args)]
pub struct CredentialsArgs {
    /// The control plane, or `management`.
    #[arg(id = "existing", value_name = "NAME")]
    pub name: String,
    /// Make the context the current one.
    #[arg(long, value_name = "BOOL", action = ArgAction::Set, default_value_t = true, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub set_current: bool,
    /// How long to wait until it is ready.
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = parse_duration)]
    pub timeout: Duration,
}

/// What to do with the configuration.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Make the context of a control plane, or `management`, the current one.
    UseContext {
        /// The control plane, `management`, or a context's whole name.
        #[arg(id = "existing", value_name = "NAME")]
        name: String,
    },
    /// Set the provider: local, kind, k3s or existing.
    SetProvider {
        /// The provider.
        name: ProviderName,
    },
    /// Show the settings in force.
    View {
        /// The format.
        #[arg(short, long, value_name = "FORMAT")]
        output: Option<DataOutput>,
    },
}

/// Arguments of `version`.
#[derive(Debug, Args)]
pub struct VersionArgs {
    /// Only that of this program.
    #[arg(long)]
    pub client: bool,
    /// The format.
    #[arg(short, long, value_name = "FORMAT")]
    pub output: Option<DataOutput>,
}

/// Arguments of `completion`.
#[derive(Debug, Args)]
pub struct CompletionArgs {
    /// The shell.
    pub shell: Option<Shell>,
    /// Another way to get completion.
    #[command(subcommand)]
    pub command: Option<CompletionCommand>,
}

/// Another way to get completion.
#[derive(Debug, Subcommand)]
pub enum CompletionCommand {
    /// Write kubectl_complete-kplane and kubectl_complete-vcp, by which kubectl completes its plugins.
    Install {
        /// Where to; beside this program if possible, or else ~/.local/bin.
        #[arg(long, value_name = "DIRECTORY")]
        directory: Option<PathBuf>,
    },
}
