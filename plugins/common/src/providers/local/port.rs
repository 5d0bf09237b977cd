//! Which port to serve.

use std::net::{Ipv4Addr, TcpListener};

use crate::error::{Error, Result};
use crate::providers::DEFAULT_PORT;

/// How many ports after the default are tried.
const TRIED: u16 = 100;

/// The port that was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::providers) enum Choice {
    /// The one asked for, recorded, or free.
    As(u16),
    /// Another than the recorded one, which kubeconfigs name, since it is taken.
    Moved {
        /// The one recorded.
        from: u16,
        /// The one chosen.
        to: u16,
    },
}

/// The one asked for, or else the one of the last time, or else the first free one from the default on.
pub(in crate::providers) fn choose(
    asked: Option<u16>,
    recorded: Option<u16>,
    free: impl Fn(u16) -> bool,
) -> Result<Choice> {
    if let Some(port) = asked {
        return if free(port) {
            Ok(Choice::As(port))
        } else {
            Err(Error::new(format!("port {port} is taken by another program"))
                .hint("ask for another with --port, or leave it out to take the next free one"))
        };
    }
    if let Some(port) = recorded.filter(|port| free(*port)) {
        return Ok(Choice::As(port));
    }
    let chosen = (DEFAULT_PORT..DEFAULT_PORT + TRIED).find(|port| free(*port)).ok_or_else(|| {
        Error::new(format!("no port from {DEFAULT_PORT} to {} is free", DEFAULT_PORT + TRIED - 1))
            .hint("ask for one with --port")
    })?;
    Ok(match recorded {
        Some(from) => Choice::Moved { from, to: chosen },
        None => Choice::As(chosen),
    })
}

/// Whether nobody listens on a port of this machine.
pub(in crate::providers) fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn asked_then_recorded_then_the_next_free() {
        let all = |_| true;
        assert_eq!(choose(Some(1), Some(2), all).unwrap(), Choice::As(1));
        assert_eq!(choose(None, Some(9000), all).unwrap(), Choice::As(9000));
        assert_eq!(choose(None, None, all).unwrap(), Choice::As(8443));
        assert_eq!(choose(None, None, |port| port > 8444).unwrap(), Choice::As(8445));
        let moved = choose(None, Some(9000), |port| port != 9000).unwrap();
        assert_eq!(moved, Choice::Moved { from: 9000, to: 8443 });
    }

    #[test]
    fn taken_ports_are_told() {
        assert!(choose(Some(80), None, |_| false).unwrap_err().message().contains("port 80 is taken"));
        assert!(choose(None, None, |_| false).is_err());
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        assert!(!is_free(listener.local_addr().unwrap().port()));
    }
}
