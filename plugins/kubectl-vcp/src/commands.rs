//! From arguments to what is done.

use kplane_crds::v1alpha1::DeletionPolicy;
use kplane_plugin_common::planes::{
    Adopt, CreateOptions, CredentialOptions, DeleteOptions, ListOptions, RevokeOptions, Which, create,
    credential, delete, describe, get, get_credentials, list, revoke, rotate, use_control_plane,
};
use kplane_plugin_common::{App, Result, completion};

use crate::args::{Cli, Command};

/// Does what the command line asks.
pub async fn run(cli: Cli, command: &clap::Command) -> Result<()> {
    let global = &cli.global;
    match cli.command {
        Command::Create(args) => {
            let options = CreateOptions {
                name: args.name,
                class: args.class,
                adopt: args.adopt.map(|uid| if uid.is_empty() { Adopt::Found } else { Adopt::Uid(uid) }),
                set_current: args.set_current,
                credentials: !args.no_credentials,
                wait: args.wait.wait,
                timeout: args.wait.timeout,
                dry_run: args.dry_run.dry_run,
            };
            create(&App::new(global, args.output)?, &options).await
        }
        Command::List(args) => {
            let options =
                ListOptions { retained: args.retained, selector: args.selector, no_headers: args.no_headers };
            list(&App::new(global, args.output)?, &options).await
        }
        Command::Get(args) => {
            let app = App::new(global, args.output)?;
            let options = ListOptions { no_headers: args.no_headers, ..ListOptions::default() };
            match args.name {
                Some(name) => get(&app, &name, &options).await,
                None => list(&app, &options).await,
            }
        }
        Command::Describe(args) => describe(&App::new(global, None)?, &args.name).await,
        Command::GetCredentials(args) => {
            let options = CredentialOptions {
                name: args.name,
                role: args.role,
                duration: args.duration,
                exec: args.exec,
                print: args.print,
                set_current: args.set_current,
                timeout: args.timeout,
            };
            get_credentials(&App::new(global, args.output)?, &options).await
        }
        Command::Revoke(args) => {
            let which = match (args.role, args.credential, args.all) {
                (Some(role), ..) => Which::Role(role),
                (_, Some(object), _) => Which::Named(object),
                (_, _, true) => Which::All,
                _ => Which::Administrator,
            };
            let options = RevokeOptions { name: args.name, which, timeout: args.timeout };
            revoke(&App::new(global, None)?, &options).await
        }
        Command::Rotate(args) => {
            let which = match (args.role, args.credential) {
                (Some(role), _) => Which::Role(role),
                (_, Some(object)) => Which::Named(object),
                _ => Which::Administrator,
            };
            let options = RevokeOptions { name: args.name, which, timeout: args.timeout };
            rotate(&App::new(global, None)?, &options).await
        }
        Command::Credential(args) => {
            let options = CredentialOptions {
                name: args.name,
                role: args.role,
                duration: args.duration,
                exec: false,
                print: false,
                set_current: false,
                timeout: args.timeout,
            };
            credential(&App::new(global, None)?, &options).await
        }
        Command::Use(args) => use_control_plane(&App::new(global, None)?, &args.name, args.timeout).await,
        Command::Delete(args) => {
            let policy = match (args.destroy, args.retain) {
                (true, _) => Some(DeletionPolicy::Destroy),
                (_, true) => Some(DeletionPolicy::Retain),
                _ => None,
            };
            let options = DeleteOptions {
                name: args.name,
                policy,
                wait: args.wait.wait,
                timeout: args.wait.timeout,
                dry_run: args.dry_run.dry_run,
                ignore_not_found: args.ignore_not_found,
            };
            delete(&App::new(global, None)?, &options).await
        }
        Command::Completion { shell } => {
            completion::script(&App::new(global, None)?.printer, command, shell);
            Ok(())
        }
        Command::Version => {
            let app = App::new(global, None)?;
            app.printer.data(&format!("kubectl-vcp {}\n", env!("CARGO_PKG_VERSION")));
            Ok(())
        }
    }
}
