//! Signals to the process that runs.

/// Asks a process to end in its own time (`SIGTERM`). One that has ended already is no error.
#[cfg(unix)]
pub fn terminate(pid: u32) -> std::io::Result<()> {
    signal(pid, rustix::process::Signal::TERM)
}

/// Ends a process at once (`SIGKILL`). One that has ended already is no error.
#[cfg(unix)]
pub fn kill(pid: u32) -> std::io::Result<()> {
    signal(pid, rustix::process::Signal::KILL)
}

#[cfg(unix)]
fn signal(pid: u32, signal: rustix::process::Signal) -> std::io::Result<()> {
    let invalid = || std::io::Error::new(std::io::ErrorKind::InvalidInput, format!("{pid} is no process id"));
    let raw = i32::try_from(pid).ok().filter(|raw| *raw > 1).ok_or_else(invalid)?;
    let pid = rustix::process::Pid::from_raw(raw).ok_or_else(invalid)?;
    match rustix::process::kill_process(pid, signal) {
        Err(rustix::io::Errno::SRCH) => Ok(()),
        other => other.map_err(Into::into),
    }
}

/// Asks a process to end in its own time. Not possible on this system.
#[cfg(not(unix))]
pub fn terminate(_: u32) -> std::io::Result<()> {
    Err(std::io::ErrorKind::Unsupported.into())
}

/// Ends a process at once. Not possible on this system.
#[cfg(not(unix))]
pub fn kill(_: u32) -> std::io::Result<()> {
    Err(std::io::ErrorKind::Unsupported.into())
}

#[cfg(all(test, unix))]
mod tests {
    #[test]
    fn no_signal_goes_to_groups_or_init() {
        for pid in [0, 1, u32::MAX] {
            assert!(super::terminate(pid).is_err(), "{pid}");
        }
    }
}
