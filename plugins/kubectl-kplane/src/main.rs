//! `kubectl kplane`, also run as `kplane` and `kp`: the management plane.

mod args;
mod commands;
mod config;
mod doctor;
mod status;

use std::process::ExitCode;

fn main() -> ExitCode {
    kplane_plugin_common::program::run("kplane", |cli, command| Box::pin(commands::run(cli, command)))
}
