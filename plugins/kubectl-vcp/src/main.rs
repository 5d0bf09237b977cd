//! `kubectl vcp`: virtual control planes.

mod args;
mod commands;

use std::process::ExitCode;

fn main() -> ExitCode {
    kplane_plugin_common::program::run("vcp", |cli, command| Box::pin(commands::run(cli, command)))
}
