//! From the command line to an exit code.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Command, Parser};
use futures::future::BoxFuture;

use crate::error::Result;
use crate::printer::Printer;
use crate::{completion, error};

/// Runs a plugin: `kubectl-NAME` as kubectl runs it, other names as a program of its own. Started as
/// `kubectl_complete-NAME`, or with `__complete` for its first word, it proposes words instead.
pub fn run<C, F>(plugin: &str, run: F) -> ExitCode
where
    C: Parser,
    F: for<'a> FnOnce(C, &'a Command) -> BoxFuture<'a, Result<()>>,
{
    let mut words: Vec<OsString> = std::env::args_os().collect();
    let called = words
        .first()
        .map(Path::new)
        .and_then(Path::file_stem)
        .map(|name| name.to_string_lossy().into_owned());
    let called = called.unwrap_or_else(|| format!("kubectl-{plugin}"));
    let command = named::<C>(plugin, &called);
    let completing = called.starts_with("kubectl_complete-");
    if completing || words.get(1).is_some_and(|word| word == "__complete") {
        words.drain(..if completing { 1 } else { 2 }.min(words.len()));
        let words = words.iter().map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>();
        return finish(block_on(completion::propose(&command, &words)));
    }
    let parsed =
        command.clone().try_get_matches_from(&words).and_then(|matches| C::from_arg_matches(&matches));
    match parsed {
        Ok(cli) => finish(block_on(run(cli, &command))),
        Err(error) => usage(&error),
    }
}

/// The command by the name it was called by: help and errors say what the user types.
fn named<C: Parser>(plugin: &str, called: &str) -> Command {
    let command = C::command();
    if called.starts_with("kubectl") {
        command.bin_name(format!("kubectl {plugin}"))
    } else {
        command.bin_name(called)
    }
}

/// Help goes to stdout and is a success; a wrong command line is an error as kubectl's, of exit code 1.
fn usage(error: &clap::Error) -> ExitCode {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            let _ = error.print();
            ExitCode::SUCCESS
        }
        _ => {
            let _ = error.print();
            ExitCode::FAILURE
        }
    }
}

fn block_on(work: impl Future<Output = Result<()>>) -> Result<()> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| error::Error::new("cannot start").caused_by(&error))?
        .block_on(work)
}

fn finish(result: Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            error.print(&Printer::new(false));
            ExitCode::FAILURE
        }
    }
}
