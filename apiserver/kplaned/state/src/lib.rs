//! The state directory of `kplaned`: what the background process and the plugins that start and stop it agree on.
//!
//! ```text
//! ${XDG_STATE_HOME:-~/.local/state}/kplane/
//!   data/          the store and the keys, unless another data directory is asked for;
//!                  the server leaves admin.kubeconfig in it
//!   kplaned.lock   held, as an advisory lock, by the running process; this alone says that it runs
//!   kplaned.pid    its process id, written by the holder of the lock
//!   kplaned.json   its version, port and data format, written once it listens; kept when it stops
//!   kplaned.log    what it writes to stdout and stderr
//!   up.lock        held by the plugin that starts or stops it
//! ```

mod lock;
mod process;

use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use lock::{Lock, Serial};
pub use process::{kill, terminate};

/// The format of the data directory that this build reads and writes.
pub const DATA_FORMAT: u32 = 1;

/// The name, in the data directory, of the file that holds the format of the data.
const FORMAT_FILE: &str = "format";

/// Why the state directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// Neither the environment nor the user's home says where state is kept.
    #[error("neither XDG_STATE_HOME nor HOME is set, so there is no place for the state of kplaned")]
    NoHome,
    /// A file or directory cannot be read or written.
    #[error("cannot {action} {path}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
    /// A file holds something else than it should.
    #[error("{path} is not what kplaned writes")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: serde_json::Error,
    },
    /// The data was written by a newer version.
    #[error("the data in {path} has format {found}, and this version knows formats up to {known}")]
    NewerFormat {
        /// The data directory.
        path: PathBuf,
        /// The format of the data.
        found: u32,
        /// The newest format known.
        known: u32,
    },
    /// The format file holds no number.
    #[error("{path} holds no data format: {content:?}")]
    BadFormat {
        /// The file.
        path: PathBuf,
        /// What it holds.
        content: String,
    },
    /// Another process holds the lock.
    #[error("kplaned is running already{}", pid.map(|p| format!(" (pid {p})")).unwrap_or_default())]
    Running {
        /// Its process id, when it has written it.
        pid: Option<u32>,
    },
}

impl StateError {
    fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }
}

/// What is known of the process that runs, or ran last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Info {
    /// The version of `kplaned`.
    pub version: String,
    /// The port it serves. Kept for the next start, since kubeconfigs name it.
    pub port: u16,
    /// The format of its data.
    pub data_format: u32,
    /// Where its data is.
    pub data_dir: PathBuf,
    /// Its process id. The one in the pid file says whether this is about the process that runs now.
    pub pid: u32,
}

/// What `kplaned version -o json` prints.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BinaryVersion {
    /// The version of the program.
    pub version: String,
    /// The newest data format it knows.
    pub data_format: u32,
}

/// The state directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateDir {
    root: PathBuf,
}

impl StateDir {
    /// The user's: `${XDG_STATE_HOME:-~/.local/state}/kplane`. As the XDG specification has it, a relative
    /// `XDG_STATE_HOME` counts as unset.
    pub fn from_env() -> Result<Self, StateError> {
        let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let base = absolute("XDG_STATE_HOME")
            .or_else(|| absolute("HOME").map(|home| home.join(".local").join("state")))
            .ok_or(StateError::NoHome)?;
        Ok(Self::at(base.join("kplane")))
    }

    /// The one at a path.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The directory itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where data is kept unless another directory is asked for.
    pub fn default_data_dir(&self) -> PathBuf {
        self.root.join("data")
    }

    /// The file with the process id.
    pub fn pid_file(&self) -> PathBuf {
        self.root.join("kplaned.pid")
    }

    /// The file whose lock the running process holds.
    pub fn lock_file(&self) -> PathBuf {
        self.root.join("kplaned.lock")
    }

    /// The file with the output of the process.
    pub fn log_file(&self) -> PathBuf {
        self.root.join("kplaned.log")
    }

    /// The file with [`Info`].
    pub fn info_file(&self) -> PathBuf {
        self.root.join("kplaned.json")
    }

    /// The file whose lock serialises starting and stopping.
    pub fn serial_file(&self) -> PathBuf {
        self.root.join("up.lock")
    }

    /// Makes the directory, for its owner alone.
    pub fn create(&self) -> Result<(), StateError> {
        create_private_dir(&self.root)
    }

    /// What is known of the process that runs, or ran last; `None` when none ever listened.
    pub fn info(&self) -> Result<Option<Info>, StateError> {
        let path = self.info_file();
        match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map(Some)
                .map_err(|source| StateError::Malformed { path, source }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(StateError::Io { action: "read", path, source }),
        }
    }

    /// Records what is known of the process, replacing the file in one step.
    pub fn write_info(&self, info: &Info) -> Result<(), StateError> {
        let path = self.info_file();
        let mut bytes = serde_json::to_vec_pretty(info)
            .map_err(|source| StateError::Malformed { path: path.clone(), source })?;
        bytes.push(b'\n');
        replace(&path, &bytes)
    }

    /// Removes what is known of the process; for when its data is removed too.
    pub fn forget(&self) -> Result<(), StateError> {
        for path in [self.info_file(), self.pid_file()] {
            remove_file(&path)?;
        }
        Ok(())
    }

    /// The process id in the pid file, whoever wrote it.
    fn recorded_pid(&self) -> Result<Option<u32>, StateError> {
        let path = self.pid_file();
        match std::fs::read_to_string(&path) {
            Ok(text) => Ok(text.trim().parse().ok()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(StateError::Io { action: "read", path, source }),
        }
    }
}

/// Makes a directory, and those above it, for its owner alone.
pub fn create_private_dir(path: &Path) -> Result<(), StateError> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path).map_err(StateError::io("create", path))
}

/// The format of the data in a directory; `None` when there is no data yet.
pub fn data_format(data_dir: &Path) -> Result<Option<u32>, StateError> {
    let path = data_dir.join(FORMAT_FILE);
    match std::fs::read_to_string(&path) {
        Ok(text) => match text.trim().parse() {
            Ok(format) => Ok(Some(format)),
            Err(_) => Err(StateError::BadFormat { path, content: text }),
        },
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(StateError::Io { action: "read", path, source }),
    }
}

/// Refuses data of a format that `known` does not include, and otherwise gives the format if there is data.
pub fn check_data_format(data_dir: &Path, known: u32) -> Result<Option<u32>, StateError> {
    match data_format(data_dir)? {
        Some(found) if found > known => {
            Err(StateError::NewerFormat { path: data_dir.to_owned(), found, known })
        }
        found => Ok(found),
    }
}

/// Marks a data directory as holding this build's format.
pub fn write_data_format(data_dir: &Path) -> Result<(), StateError> {
    replace(&data_dir.join(FORMAT_FILE), format!("{DATA_FORMAT}\n").as_bytes())
}

/// Replaces a file in one step, for its owner alone.
fn replace(path: &Path, bytes: &[u8]) -> Result<(), StateError> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(format!(".{}.tmp", std::process::id()));
    let temporary = PathBuf::from(temporary);
    let written = (|| {
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create(true).truncate(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)
    })();
    written.map_err(StateError::io("write", path))
}

/// Removes a file that may not be there.
fn remove_file(path: &Path) -> Result<(), StateError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(StateError::Io { action: "remove", path: path.to_owned(), source: error })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info() -> Info {
        Info { version: "0.1.0".into(), port: 8443, data_format: 1, data_dir: "/data".into(), pid: 7 }
    }

    #[test]
    fn info_is_kept_and_absence_is_not_an_error() {
        let temporary = tempfile::tempdir().unwrap();
        let state = StateDir::at(temporary.path().join("a/b"));
        state.create().unwrap();
        assert_eq!(state.info().unwrap(), None);
        state.write_info(&info()).unwrap();
        assert_eq!(state.info().unwrap(), Some(info()));
        state.forget().unwrap();
        assert_eq!(state.info().unwrap(), None);
    }

    #[test]
    fn broken_info_is_an_error_and_not_absence() {
        let temporary = tempfile::tempdir().unwrap();
        let state = StateDir::at(temporary.path());
        std::fs::write(state.info_file(), "{").unwrap();
        assert!(matches!(state.info(), Err(StateError::Malformed { .. })));
    }

    #[test]
    fn newer_data_is_refused() {
        let temporary = tempfile::tempdir().unwrap();
        assert_eq!(check_data_format(temporary.path(), 1).unwrap(), None);
        write_data_format(temporary.path()).unwrap();
        assert_eq!(check_data_format(temporary.path(), DATA_FORMAT).unwrap(), Some(DATA_FORMAT));
        std::fs::write(temporary.path().join("format"), "9\n").unwrap();
        assert!(matches!(
            check_data_format(temporary.path(), 1),
            Err(StateError::NewerFormat { found: 9, .. })
        ));
        std::fs::write(temporary.path().join("format"), "new\n").unwrap();
        assert!(matches!(check_data_format(temporary.path(), 1), Err(StateError::BadFormat { .. })));
    }

    #[cfg(unix)]
    #[test]
    fn only_the_owner_reads_the_state() {
        use std::os::unix::fs::PermissionsExt;
        let temporary = tempfile::tempdir().unwrap();
        let state = StateDir::at(temporary.path().join("kplane"));
        state.create().unwrap();
        state.write_info(&info()).unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(state.root()), 0o700);
        assert_eq!(mode(&state.info_file()), 0o600);
    }
}
