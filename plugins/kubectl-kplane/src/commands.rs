//! From arguments to what is done.

use std::time::Duration;

use kplane_crds::v1alpha1::DeletionPolicy;
use kplane_plugin_common::error::Error;
use kplane_plugin_common::kubeconfig::MANAGEMENT_CONTEXT;
use kplane_plugin_common::planes::{
    CreateOptions, CredentialOptions, DeleteOptions, create, credentials, delete, get_credentials,
    list_contexts,
};
use kplane_plugin_common::providers::{DownRequest, ProviderName, UpRequest, local, provider};
use kplane_plugin_common::{App, Result, completion, output};
use serde_json::Value;

use crate::args::{
    Cli, ClusterArgs, Command, CompletionArgs, CompletionCommand, ConfigCommand, CreateCommand, DataOutput,
    DeleteCommand, GetCommand,
};
use crate::{config, doctor, status};

/// Does what the command line asks.
pub async fn run(cli: Cli, command: &clap::Command) -> Result<()> {
    let global = &cli.global;
    match cli.command {
        Command::Up(args) => {
            let app = App::with(global, None, |overrides| {
                overrides.provider = args.provider;
                overrides.cluster_name = args.cluster_name;
                overrides.port = args.port;
                overrides.data_dir = args.data_dir;
            })?;
            // A cluster has images to load and pods to start.
            let minutes = if app.settings.provider == ProviderName::Local { 2 } else { 10 };
            let request = UpRequest {
                set_current: args.set_current,
                timeout: args.timeout.unwrap_or(Duration::from_secs(60 * minutes)),
                image_archive: args.image_archive,
            };
            provider(app.settings.provider).up(&app, &request).await
        }
        Command::Down(args) => {
            let app = App::with(global, None, |overrides| overrides.provider = args.provider)?;
            let request = DownRequest { delete_data: args.delete_data, yes: args.yes, timeout: args.timeout };
            provider(app.settings.provider).down(&app, &request).await
        }
        Command::Status(args) => status::status(&App::new(global, None)?, &args).await,
        Command::Doctor(args) => {
            // Without settings nothing else can be looked at.
            let app = App::with(global, None, |overrides| overrides.provider = args.provider)?;
            doctor::doctor(app).await
        }
        Command::Get(GetCommand::Clusters { output }) => list_contexts(&App::new(global, output)?).await,
        Command::Create(CreateCommand::Cluster(args)) | Command::Cc(args) => {
            create_cluster(&App::new(global, args.output)?, args).await
        }
        Command::Delete(DeleteCommand::Cluster { name, destroy, wait, dry_run }) => {
            let options = DeleteOptions {
                name,
                policy: destroy.then_some(DeletionPolicy::Destroy),
                wait: wait.wait,
                timeout: wait.timeout,
                dry_run: dry_run.dry_run,
                ignore_not_found: false,
            };
            delete(&App::new(global, None)?, &options).await
        }
        Command::GetCredentials(args) if args.name == "management" => {
            let app = App::new(global, None)?;
            if app.settings.provider != ProviderName::Local {
                // The cluster's own context is the credential.
                return config::run(&app, ConfigCommand::UseContext { name: args.name }).await;
            }
            let entry = local::administrator()?.ok_or_else(|| {
                Error::new("kplaned is not running, so there is no management plane to get credentials of")
                    .hint("start it with `kubectl kplane up`")
            })?;
            credentials::merge(&app, MANAGEMENT_CONTEXT, &entry, args.set_current)
        }
        Command::GetCredentials(args) => {
            let options = CredentialOptions {
                name: args.name,
                role: None,
                duration: None,
                exec: false,
                print: false,
                set_current: args.set_current,
                timeout: args.timeout,
            };
            get_credentials(&App::new(global, None)?, &options).await
        }
        Command::Config(command) => config::run(&App::new(global, None)?, command).await,
        Command::Version(args) => status::version(&App::new(global, None)?, &args).await,
        Command::Completion(args) => complete(&App::new(global, None)?, args, command),
    }
}

async fn create_cluster(app: &App, args: ClusterArgs) -> Result<()> {
    let options = CreateOptions {
        name: args.name,
        class: args.class,
        adopt: None,
        set_current: args.set_current,
        credentials: args.get_credentials,
        wait: args.wait.wait,
        timeout: args.wait.timeout,
        dry_run: args.dry_run.dry_run,
    };
    create(app, &options).await
}

fn complete(app: &App, args: CompletionArgs, command: &clap::Command) -> Result<()> {
    match (args.command, args.shell) {
        (Some(CompletionCommand::Install { directory }), _) => {
            completion::install(&app.printer, directory.as_deref(), &["kplane", "vcp"])
        }
        (None, Some(shell)) => {
            completion::script(&app.printer, command, shell);
            Ok(())
        }
        (None, None) => Err(Error::new("name a shell, or use `completion install`")),
    }
}

/// Prints data that is no object of the API.
pub fn print(app: &App, format: DataOutput, value: &Value) -> Result<()> {
    app.printer.data(&match format {
        DataOutput::Json => output::json(value)?,
        DataOutput::Yaml => output::yaml(value)?,
    });
    Ok(())
}
