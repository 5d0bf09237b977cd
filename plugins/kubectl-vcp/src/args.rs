//! The command line.

use std::time::Duration;

use clap::{ArgAction, Args, Parser, Subcommand};
use clap_complete::Shell;
use kplane_plugin_common::args::{DryRunArgs, GlobalArgs, WaitArgs, parse_duration};
use kplane_plugin_common::output::Output;

/// Create and use virtual control planes: isolated Kubernetes APIs served by one shared API server.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "Examples:
  kubectl vcp create demo                    # a control plane, and the context kplane-demo
  kubectl --context kplane-demo get ns       # use it
  kubectl vcp list                           # those there are
  kubectl vcp delete demo --destroy          # remove it with its data"
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
    /// Create a control plane, wait until it is ready, and add its context to the kubeconfig.
    Create(CreateArgs),
    /// List control planes.
    #[command(visible_alias = "ls")]
    List(ListArgs),
    /// Show one control plane.
    Get(GetArgs),
    /// Show all that is known of one control plane: its conditions, events and credentials.
    Describe(DescribeArgs),
    /// Add the context of a control plane to the kubeconfig, or print a kubeconfig for it.
    #[command(visible_alias = "kubeconfig")]
    GetCredentials(CredentialsArgs),
    /// End credentials: what was issued is refused at once.
    Revoke(RevokeArgs),
    /// Replace credentials: what was issued before is refused at once.
    Rotate(RotateArgs),
    /// Print credentials for a kubeconfig's exec plugin: an ExecCredential of client.authentication.k8s.io/v1.
    #[command(hide = true)]
    Credential(CredentialArgs),
    /// Make a control plane's context the current one.
    Use(UseArgs),
    /// Delete a control plane; its data remains unless it is destroyed.
    Delete(DeleteArgs),
    /// Print a completion script for a shell.
    ///
    /// `kubectl vcp` itself is completed through kubectl: see `kubectl kplane completion install`.
    Completion {
        /// The shell.
        shell: Shell,
    },
    /// Print the version.
    Version,
}

/// Arguments of `create`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  kubectl vcp create demo                         # create it and switch to it
  kubectl vcp create demo --set-current=false     # create it and stay
  kubectl vcp create demo --class small -o yaml   # with a class, shown as created
  kubectl vcp create demo --adopt                 # take up what `delete` kept")]
pub struct CreateArgs {
    /// The name: a DNS label.
    pub name: String,
    /// The ControlPlaneClass with its defaults and limits.
    #[arg(long, value_name = "NAME")]
    pub class: Option<String>,
    /// Take up the retained data of this name, or the one of this uid.
    #[arg(long, value_name = "UID", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    pub adopt: Option<String>,
    /// Make its context the current one.
    #[arg(long, value_name = "BOOL", action = ArgAction::Set, default_value_t = true, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub set_current: bool,
    /// Leave the kubeconfig as it is.
    #[arg(long)]
    pub no_credentials: bool,
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

/// Arguments of `list`.
#[derive(Debug, Args)]
pub struct ListArgs {
    /// Those that were deleted and whose data remains.
    #[arg(long)]
    pub retained: bool,
    /// Those whose labels match, as in -l team=a.
    #[arg(short = 'l', long, value_name = "SELECTOR")]
    pub selector: Option<String>,
    /// Leave out the heads of the table.
    #[arg(long)]
    pub no_headers: bool,
    /// The format.
    #[arg(short, long, value_name = "FORMAT")]
    pub output: Option<Output>,
}

/// Arguments of `get`.
#[derive(Debug, Args)]
pub struct GetArgs {
    /// The control plane; all of them when left out.
    #[arg(id = "existing", value_name = "NAME")]
    pub name: Option<String>,
    /// Leave out the heads of the table.
    #[arg(long)]
    pub no_headers: bool,
    /// The format.
    #[arg(short, long, value_name = "FORMAT")]
    pub output: Option<Output>,
}

/// Arguments of `describe`.
#[derive(Debug, Args)]
pub struct DescribeArgs {
    /// The control plane.
    #[arg(id = "existing", value_name = "NAME")]
    pub name: String,
}

/// Arguments of `get-credentials`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  kubectl vcp get-credentials demo                           # the administrator, as context kplane-demo
  kubectl vcp get-credentials demo --role view --duration 1h # who may only look, as context kplane-demo@view
  kubectl vcp get-credentials demo --role view --exec        # a context that fetches fresh ones by itself
  kubectl vcp kubeconfig demo --print > demo.kubeconfig      # a file of its own")]
pub struct CredentialsArgs {
    /// The control plane.
    #[arg(id = "existing", value_name = "NAME")]
    pub name: String,
    /// Credentials with this ClusterRole in the control plane, instead of its administrator's.
    #[arg(long, value_name = "CLUSTERROLE")]
    pub role: Option<String>,
    /// How long the credentials with a role are valid, as in 1h. They are renewed while the credential object is there.
    #[arg(long, value_name = "DURATION")]
    pub duration: Option<String>,
    /// Write no certificate, but an exec plugin that fetches a fresh one whenever it is needed.
    #[arg(long)]
    pub exec: bool,
    /// Print a kubeconfig and leave the user's own as it is.
    #[arg(long)]
    pub print: bool,
    /// Make the context the current one.
    #[arg(long, value_name = "BOOL", action = ArgAction::Set, default_value_t = true, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub set_current: bool,
    /// The format of the printed kubeconfig.
    #[arg(short, long, value_name = "FORMAT")]
    pub output: Option<Output>,
    /// How long to wait until it is ready.
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = parse_duration)]
    pub timeout: Duration,
}

/// Arguments of `revoke`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  kubectl vcp revoke demo --role view        # what get-credentials --role view gave out
  kubectl vcp revoke demo --credential ci    # what the ControlPlaneCredential ci gave out
  kubectl vcp revoke demo --all              # all that was ever issued for demo, service account tokens included")]
pub struct RevokeArgs {
    /// The control plane.
    #[arg(id = "existing", value_name = "NAME")]
    pub name: String,
    /// The credentials with this ClusterRole.
    #[arg(long, value_name = "CLUSTERROLE", group = "which")]
    pub role: Option<String>,
    /// The credentials of this ControlPlaneCredential.
    #[arg(long, value_name = "NAME", group = "which")]
    pub credential: Option<String>,
    /// All that was ever issued for the control plane. The administrator gets new ones.
    #[arg(long, group = "which")]
    pub all: bool,
    /// How long to wait until it is done.
    #[arg(long, value_name = "DURATION", default_value = "1m", value_parser = parse_duration)]
    pub timeout: Duration,
}

/// Arguments of `rotate`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  kubectl vcp rotate demo                 # the administrator's credentials, and the context kplane-demo
  kubectl vcp rotate demo --role view     # those with a role")]
pub struct RotateArgs {
    /// The control plane.
    #[arg(id = "existing", value_name = "NAME")]
    pub name: String,
    /// The credentials with this ClusterRole, instead of the administrator's.
    #[arg(long, value_name = "CLUSTERROLE", group = "which")]
    pub role: Option<String>,
    /// The credentials of this ControlPlaneCredential, instead of the administrator's.
    #[arg(long, value_name = "NAME", group = "which")]
    pub credential: Option<String>,
    /// How long to wait until it is done.
    #[arg(long, value_name = "DURATION", default_value = "1m", value_parser = parse_duration)]
    pub timeout: Duration,
}

/// Arguments of `credential`.
#[derive(Debug, Args)]
pub struct CredentialArgs {
    /// The control plane.
    #[arg(id = "existing", value_name = "NAME")]
    pub name: String,
    /// Credentials with this ClusterRole, instead of the administrator's.
    #[arg(long, value_name = "CLUSTERROLE")]
    pub role: Option<String>,
    /// How long they are valid.
    #[arg(long, value_name = "DURATION")]
    pub duration: Option<String>,
    /// How long to wait until they are there.
    #[arg(long, value_name = "DURATION", default_value = "1m", value_parser = parse_duration)]
    pub timeout: Duration,
}

/// Arguments of `use`.
#[derive(Debug, Args)]
pub struct UseArgs {
    /// The control plane.
    #[arg(id = "existing", value_name = "NAME")]
    pub name: String,
    /// How long to wait until it is ready.
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = parse_duration)]
    pub timeout: Duration,
}

/// Arguments of `delete`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  kubectl vcp delete demo             # its data remains, unless its class says otherwise
  kubectl vcp delete demo --destroy   # its data goes too, also when it was deleted before")]
pub struct DeleteArgs {
    /// The control plane.
    #[arg(id = "existing", value_name = "NAME")]
    pub name: String,
    /// Remove its data.
    #[arg(long, conflicts_with = "retain")]
    pub destroy: bool,
    /// Keep its data, whatever its policy says.
    #[arg(long)]
    pub retain: bool,
    /// Nothing to delete is no error.
    #[arg(long)]
    pub ignore_not_found: bool,
    /// Whether to wait.
    #[command(flatten)]
    pub wait: WaitArgs,
    /// Whether it is only tried.
    #[command(flatten)]
    pub dry_run: DryRunArgs,
}
