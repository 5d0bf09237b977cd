//! Finding, starting and stopping `kplaned`.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use kplaned_state::{BinaryVersion, Info, StateDir};

use crate::app::App;
use crate::error::{Error, Result};

/// How often a file or a lock is looked at while something is awaited of another process.
const LOOK: Duration = Duration::from_millis(5);
/// A log longer than this is set aside at the next start.
const LOG_LIMIT: u64 = 16 << 20;

/// The program: beside this one, also where links to it lead, as krew installs; then on the PATH.
pub fn find_binary() -> Result<PathBuf> {
    let name = format!("kplaned{}", std::env::consts::EXE_SUFFIX);
    let beside = std::env::current_exe().ok().and_then(|exe| exe.canonicalize().ok());
    let beside = beside.as_deref().and_then(Path::parent).map(Path::to_owned);
    let path = std::env::var_os("PATH").unwrap_or_default();
    beside
        .into_iter()
        .chain(std::env::split_paths(&path))
        .map(|folder| folder.join(&name))
        .find(|file| file.is_file())
        .ok_or_else(|| {
            Error::new("the program kplaned was not found")
                .hint("it belongs beside kubectl-kplane, or on the PATH; install kplane again")
        })
}

/// The version of the program and the newest data it knows.
pub fn binary_version(binary: &Path) -> Result<BinaryVersion> {
    let failed = || Error::new(format!("{} does not tell its version", binary.display()));
    let output = Command::new(binary)
        .args(["version", "-o", "json"])
        .stdin(Stdio::null())
        .output()
        .map_err(|error| failed().caused_by(&error))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(failed().caused_by(&std::io::Error::other(said)));
    }
    serde_json::from_slice(&output.stdout).map_err(|error| failed().caused_by(&error))
}

/// Whether one version comes before another; a pre-release comes before its release.
pub(super) fn is_older(one: &str, other: &str) -> bool {
    fn key(version: &str) -> (Vec<u64>, bool, &str) {
        let version = version.split_once('+').map_or(version, |(version, _)| version);
        let (numbers, pre) = version.split_once('-').unwrap_or((version, ""));
        let numbers = numbers.trim_start_matches('v').split('.').map(|n| n.parse().unwrap_or(0)).collect();
        (numbers, pre.is_empty(), pre)
    }
    key(one) < key(other)
}

/// Starts the process, detached from this one and its terminal.
pub(super) fn start(binary: &Path, state: &StateDir, data_dir: &Path, port: u16) -> Result<Child> {
    let log = state.log_file();
    let failed = |what: String| move |error: std::io::Error| Error::new(what).caused_by(&error);
    if std::fs::metadata(&log).is_ok_and(|log| log.len() > LOG_LIMIT) {
        let aside = log.with_extension("log.1");
        std::fs::rename(&log, aside).map_err(failed(format!("cannot set {} aside", log.display())))?;
    }
    let mut options = std::fs::File::options();
    options.create(true).append(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let output = options.open(&log).map_err(failed(format!("cannot open {}", log.display())))?;
    let errors = output.try_clone().map_err(failed(format!("cannot open {}", log.display())))?;
    let mut command = Command::new(binary);
    command
        .arg("run")
        .arg("--data-dir")
        .arg(data_dir)
        .arg("--port")
        .arg(port.to_string())
        .current_dir(state.root())
        .stdin(Stdio::null())
        .stdout(output)
        .stderr(errors);
    // Its own process group: what the terminal sends to ours, say on Ctrl-C or when it closes, passes it by.
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    command.spawn().map_err(failed(format!("cannot start {}", binary.display())))
}

/// Waits until the process has recorded that it listens.
pub(super) async fn listening(state: &StateDir, child: &mut Child, timeout: Duration) -> Result<Info> {
    let end = Instant::now() + timeout;
    loop {
        if let Some(info) = state.info()?.filter(|info| info.pid == child.id()) {
            return Ok(info);
        }
        let ended =
            child.try_wait().map_err(|error| Error::new("cannot look after kplaned").caused_by(&error))?;
        if let Some(status) = ended {
            return Err(with_log(Error::new(format!("kplaned did not start ({status})")), state));
        }
        if Instant::now() >= end {
            return Err(with_log(Error::new("timed out waiting for kplaned to listen"), state));
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Stops the process: asks it, waits, and forces it in the end.
pub(super) async fn stop(app: &App, state: &StateDir, pid: u32, timeout: Duration) -> Result<()> {
    let failed =
        |error: std::io::Error| Error::new(format!("cannot stop kplaned (pid {pid})")).caused_by(&error);
    kplaned_state::terminate(pid).map_err(failed)?;
    if gone(state, pid, timeout).await? {
        return Ok(());
    }
    app.printer.warning(&format!("kplaned (pid {pid}) did not stop in {}s and is killed", timeout.as_secs()));
    kplaned_state::kill(pid).map_err(failed)?;
    if gone(state, pid, Duration::from_secs(10)).await? {
        return Ok(());
    }
    Err(Error::new(format!("kplaned (pid {pid}) does not stop")))
}

/// Waits until the process holds its lock no more; whether that came.
async fn gone(state: &StateDir, pid: u32, timeout: Duration) -> Result<bool> {
    let end = Instant::now() + timeout;
    while state.running()? == Some(pid) {
        if Instant::now() >= end {
            return Ok(false);
        }
        tokio::time::sleep(LOOK).await;
    }
    Ok(true)
}

/// Adds the end of the log, which tells what the process has to say.
pub(super) fn with_log(error: Error, state: &StateDir) -> Error {
    let error = match log_tail(state, 5) {
        Some(tail) => error.caused_by(&std::io::Error::other(tail)),
        None => error,
    };
    error.hint(format!("its log is {}", state.log_file().display()))
}

/// The last lines of the log; `None` when there are none.
pub fn log_tail(state: &StateDir, lines: usize) -> Option<String> {
    use std::io::{Read, Seek, SeekFrom};
    let mut file = std::fs::File::open(state.log_file()).ok()?;
    let length = file.metadata().ok()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(8192))).ok()?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    let all: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let tail = all[all.len().saturating_sub(lines)..].join("\n");
    (!tail.is_empty()).then_some(tail)
}

#[cfg(test)]
mod tests {
    use super::is_older;

    #[test]
    fn versions_are_ordered() {
        for (one, other) in
            [("0.1.0", "0.2.0"), ("0.9.0", "0.10.0"), ("1.0.0-rc.1", "1.0.0"), ("v1.0.0", "1.0.1")]
        {
            assert!(is_older(one, other), "{one} {other}");
            assert!(!is_older(other, one), "{other} {one}");
        }
        assert!(!is_older("1.0.0", "1.0.0+build"));
    }
}
