//! The provider `local`: one background process, `kplaned`, whose root is the management cluster.

mod contexts;
pub(super) mod port;
mod process;
mod up;

use std::path::Path;

use futures::future::BoxFuture;
use kplaned_state::{Info, StateDir};

use super::{DownRequest, Provider, UpRequest};
use crate::app::App;
use crate::error::{Error, Result};
use crate::kubeconfig::Entry;

pub use process::{binary_version, find_binary, log_tail};

/// The provider.
pub struct Local;

impl Provider for Local {
    fn up<'a>(&'a self, app: &'a App, request: &'a UpRequest) -> BoxFuture<'a, Result<()>> {
        Box::pin(up::up(app, request))
    }

    fn down<'a>(&'a self, app: &'a App, request: &'a DownRequest) -> BoxFuture<'a, Result<()>> {
        Box::pin(down(app, request))
    }
}

/// What is known of the process.
#[derive(Clone, Debug)]
pub struct Status {
    /// The state directory.
    pub state: StateDir,
    /// The process id, when it runs.
    pub pid: Option<u32>,
    /// What it recorded when it last listened.
    pub info: Option<Info>,
}

/// Looks at the process.
pub fn status() -> Result<Status> {
    let state = StateDir::from_env()?;
    Ok(Status { pid: state.running()?, info: state.info()?, state })
}

/// How much room the store of a management plane on this machine needs at the least.
const NEEDED_MIB: u64 = 256;

/// Whether the disk has room for the data.
pub fn disk(app: &App) -> Result<String> {
    let status = status()?;
    let data_dir = match (&status.info, &app.settings.data_dir) {
        (Some(info), _) => info.data_dir.clone(),
        (None, Some(asked)) => absolute(asked)?,
        (None, None) => status.state.default_data_dir(),
    };
    super::disk::room(&data_dir, NEEDED_MIB)
}

/// Which port `up` would take; `None` while the process has it.
pub fn free_port(app: &App) -> Result<Option<String>> {
    let status = status()?;
    if status.pid.is_some() {
        return Ok(None);
    }
    let recorded = status.info.map(|info| info.port);
    port::choose(app.settings.port, recorded, port::is_free).map(|choice| {
        Some(match choice {
            port::Choice::As(port) => format!("{port} is free"),
            port::Choice::Moved { from, to } => {
                format!("{from}, that of the last time, is taken; `up` would take {to}")
            }
        })
    })
}

/// The administrator of the running process; `None` when none runs.
pub fn administrator() -> Result<Option<Entry>> {
    let status = status()?;
    match (status.pid, status.info) {
        (Some(_), Some(info)) => read_administrator(&info.data_dir).map(Some),
        _ => Ok(None),
    }
}

/// Reads the kubeconfig that the server left.
fn read_administrator(data_dir: &Path) -> Result<Entry> {
    let path = data_dir.join("admin.kubeconfig");
    let text = std::fs::read_to_string(&path)
        .map_err(|error| Error::new(format!("cannot read {}", path.display())).caused_by(&error))?;
    Entry::parse(&path.display().to_string(), &text)
}

async fn down(app: &App, request: &DownRequest) -> Result<()> {
    let status = status()?;
    let _serial = status.state.serialise()?;
    let data_dir = match (&status.info, &app.settings.data_dir) {
        (Some(info), _) => info.data_dir.clone(),
        (None, Some(asked)) => absolute(asked)?,
        (None, None) => status.state.default_data_dir(),
    };
    let has_data = kplaned_state::data_format(&data_dir)?.is_some();
    if request.delete_data && has_data && !request.yes {
        confirm(app, &data_dir)?;
    }

    match status.pid {
        Some(pid) => {
            let step = app.printer.step(format!("stopping kplaned (pid {pid})"));
            process::stop(app, &status.state, pid, request.timeout).await?;
            step.done();
            app.printer.result("kplaned stopped");
        }
        None => app.printer.result("kplaned is not running"),
    }
    let mut servers: Vec<String> =
        status.info.iter().map(|info| format!("https://127.0.0.1:{}", info.port)).collect();
    // It may be gone with its data; then the address by the record must do.
    if let Ok(entry) = read_administrator(&data_dir) {
        servers.extend(entry.cluster["server"].as_str().map(str::to_owned));
    }
    contexts::remove(app, &status.state, &servers)?;

    if request.delete_data {
        if has_data {
            std::fs::remove_dir_all(&data_dir).map_err(|error| {
                Error::new(format!("cannot remove {}", data_dir.display())).caused_by(&error)
            })?;
        }
        status.state.forget()?;
        contexts::forget(&status.state)?;
        app.printer.result(&format!("data deleted: {}", data_dir.display()));
    } else if has_data {
        app.printer.result(&format!("all control planes and their data remain in {}", data_dir.display()));
        app.printer.next("start again with them:", "kubectl kplane up");
        app.printer.next("or remove them:", "kubectl kplane down --delete-data");
    }
    Ok(())
}

/// Asks before data is lost. Without a terminal nobody answers, so that is an error.
fn confirm(app: &App, data_dir: &Path) -> Result<()> {
    use std::io::{BufRead, IsTerminal};
    if !std::io::stdin().is_terminal() {
        return Err(Error::new("--delete-data loses all control planes, and nobody is there to ask")
            .hint("add --yes to go on without asking"));
    }
    app.printer.error_lines(&format!(
        "This deletes all control planes and their data in {}.\nType yes to go on: ",
        data_dir.display()
    ));
    let mut answer = String::new();
    std::io::stdin()
        .lock()
        .read_line(&mut answer)
        .map_err(|error| Error::new("cannot read the answer").caused_by(&error))?;
    match answer.trim() {
        "yes" | "y" => Ok(()),
        _ => Err(Error::new("nothing was changed")),
    }
}

fn absolute(path: &Path) -> Result<std::path::PathBuf> {
    std::path::absolute(path)
        .map_err(|error| Error::new(format!("{} is no path", path.display())).caused_by(&error))
}
