//! The locks: one says that `kplaned` runs, the other lets one plugin at a time start or stop it.
//!
//! They are advisory locks of the operating system, gone with the process that holds them, however it ends. A
//! process id alone would lie after a crash or a reboot.

use std::fs::{File, TryLockError};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::{StateDir, StateError, remove_file, replace};

/// How long a start waits for the lock: a look at who holds it takes it for a moment.
const PATIENCE: Duration = Duration::from_secs(1);

/// Held by the running `kplaned`; dropping it says that it runs no more.
#[derive(Debug)]
pub struct Lock {
    state: StateDir,
    _file: File,
}

impl Lock {
    /// Takes the lock for this process and writes its id; an error when another process runs.
    pub fn acquire(state: &StateDir) -> Result<Self, StateError> {
        state.create()?;
        let path = state.lock_file();
        let file = open(&path)?;
        let end = Instant::now() + PATIENCE;
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if Instant::now() < end => {
                    std::thread::sleep(Duration::from_millis(10));
                }
                Err(TryLockError::WouldBlock) => {
                    return Err(StateError::Running { pid: state.recorded_pid()? });
                }
                Err(TryLockError::Error(source)) => {
                    return Err(StateError::Io { action: "lock", path, source });
                }
            }
        }
        replace(&state.pid_file(), format!("{}\n", std::process::id()).as_bytes())?;
        Ok(Self { state: state.clone(), _file: file })
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // The lock still is ours, so the pid file is too. One that stays behind does no harm.
        let _ = remove_file(&self.state.pid_file());
    }
}

impl StateDir {
    /// The process id of the running `kplaned`; `None` when it does not run.
    pub fn running(&self) -> Result<Option<u32>, StateError> {
        let path = self.lock_file();
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(StateError::Io { action: "open", path, source }),
        };
        match file.try_lock_shared() {
            Ok(()) => Ok(None),
            // Between taking the lock and writing the id there is a moment; whoever asks then asks again.
            Err(TryLockError::WouldBlock) => {
                let end = Instant::now() + PATIENCE;
                loop {
                    if let Some(pid) = self.recorded_pid()? {
                        return Ok(Some(pid));
                    }
                    if Instant::now() >= end {
                        return Ok(None);
                    }
                    std::thread::sleep(Duration::from_millis(5));
                }
            }
            Err(TryLockError::Error(source)) => Err(StateError::Io { action: "lock", path, source }),
        }
    }

    /// Waits until nobody else starts or stops `kplaned`, and holds others off until the result is dropped.
    pub fn serialise(&self) -> Result<Serial, StateError> {
        self.create()?;
        let path = self.serial_file();
        let file = open(&path)?;
        file.lock().map_err(StateError::io("lock", &path))?;
        Ok(Serial { _file: file })
    }
}

/// Held by the plugin that starts or stops `kplaned`.
#[derive(Debug)]
pub struct Serial {
    _file: File,
}

fn open(path: &Path) -> Result<File, StateError> {
    File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
        .map_err(StateError::io("open", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lock_says_who_runs() {
        let temporary = tempfile::tempdir().unwrap();
        let state = StateDir::at(temporary.path());
        assert_eq!(state.running().unwrap(), None);
        let lock = Lock::acquire(&state).unwrap();
        assert_eq!(state.running().unwrap(), Some(std::process::id()));
        assert!(matches!(Lock::acquire(&state), Err(StateError::Running { pid: Some(_) })));
        drop(lock);
        assert_eq!(state.running().unwrap(), None);
    }

    #[test]
    fn a_pid_file_left_behind_says_nothing() {
        let temporary = tempfile::tempdir().unwrap();
        let state = StateDir::at(temporary.path());
        drop(Lock::acquire(&state).unwrap());
        std::fs::write(state.pid_file(), "1\n").unwrap();
        assert_eq!(state.running().unwrap(), None);
    }
}
