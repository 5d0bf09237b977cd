//! From the command line to a server that runs and ends in good order.

use std::path::PathBuf;

use anyhow::Context;
use kplaned_state::{BinaryVersion, DATA_FORMAT, Info, Lock, StateDir};
use tokio_util::sync::CancellationToken;

use crate::args::{Cli, Command, RunArgs, VersionOutput};
use crate::serve::{ServeOptions, serve};

/// Does what the command line asks.
pub async fn run(cli: Cli) -> anyhow::Result<()> {
    match cli.command {
        Command::Run(args) => run_server(args).await,
        Command::Stop(args) => {
            if let Some(pid) = state_dir(args.state_dir)?.running()? {
                kplaned_state::terminate(pid).with_context(|| format!("cannot stop process {pid}"))?;
            }
            Ok(())
        }
        Command::Version(args) => {
            let version =
                BinaryVersion { version: env!("CARGO_PKG_VERSION").into(), data_format: DATA_FORMAT };
            let text = match args.output {
                Some(VersionOutput::Json) => serde_json::to_string(&version)?,
                None => format!("kplaned {} (data format {})", version.version, version.data_format),
            };
            std::io::Write::write_all(&mut std::io::stdout(), format!("{text}\n").as_bytes())?;
            Ok(())
        }
    }
}

fn state_dir(asked: Option<PathBuf>) -> anyhow::Result<StateDir> {
    Ok(match asked {
        Some(path) => StateDir::at(std::path::absolute(path)?),
        None => StateDir::from_env()?,
    })
}

async fn run_server(args: RunArgs) -> anyhow::Result<()> {
    let state = state_dir(args.state_dir)?;
    let _lock = Lock::acquire(&state)?;
    let data_dir = match args.data_dir {
        Some(path) => std::path::absolute(path)?,
        None => state.default_data_dir(),
    };
    kplaned_state::create_private_dir(&data_dir)?;
    kplaned_state::check_data_format(&data_dir, DATA_FORMAT)?;
    kplaned_state::write_data_format(&data_dir)?;

    let info = Info {
        version: env!("CARGO_PKG_VERSION").into(),
        port: args.port,
        data_format: DATA_FORMAT,
        data_dir: data_dir.clone(),
        pid: std::process::id(),
    };
    let shutdown = CancellationToken::new();
    stop_on_signal(shutdown.clone())?;
    let options = ServeOptions { data_dir, port: args.port, bind: args.bind };
    let stop = shutdown.clone();
    let mut recorded = Ok(());
    let ready = || {
        // Without the record nobody finds the server, so it must not go on.
        recorded = state.write_info(&info);
        if recorded.is_err() {
            stop.cancel();
        }
    };
    serve(options, ready, shutdown).await?;
    recorded?;
    Ok(())
}

/// Cancels the token upon SIGTERM or SIGINT.
fn stop_on_signal(shutdown: CancellationToken) -> anyhow::Result<()> {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let mut terminate = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for SIGINT")?;
        tokio::spawn(async move {
            let name = tokio::select! {
                _ = terminate.recv() => "SIGTERM",
                _ = interrupt.recv() => "SIGINT",
            };
            tracing::info!(signal = name, "stopping");
            shutdown.cancel();
        });
    }
    #[cfg(not(unix))]
    tokio::spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            shutdown.cancel();
        }
    });
    Ok(())
}
