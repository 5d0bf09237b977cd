//! The Service of the API server, played: connections go to the pods that are ready, in turn.

use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};

use crate::relay::copy;

/// The ports of the pods that are ready.
#[derive(Clone, Default)]
pub struct Targets(Arc<Mutex<(usize, Vec<u16>)>>);

impl Targets {
    /// From now on connections go to these.
    pub fn set(&self, ports: Vec<u16>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).1 = ports;
    }

    fn next(&self) -> Option<u16> {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.0 = held.0.wrapping_add(1);
        let (turn, ports) = (held.0, &held.1);
        ports.get(turn % ports.len().max(1)).copied()
    }
}

/// Relays connections for as long as the process runs.
pub struct Balancer {
    port: u16,
    targets: Targets,
}

impl Balancer {
    pub(super) fn start() -> Self {
        let port = crate::free_port();
        let listener = TcpListener::bind(("127.0.0.1", port)).expect("a free port");
        let targets = Targets::default();
        let seen = targets.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                // Whoever no pod takes is hung up on: what a cluster does is no better.
                let server = seen.next().and_then(|port| TcpStream::connect(("127.0.0.1", port)).ok());
                let Some(server) = server else { continue };
                let nodelay = client.set_nodelay(true).and_then(|()| server.set_nodelay(true));
                let pair = nodelay.and_then(|()| Ok((client.try_clone()?, server.try_clone()?)));
                let Ok((client_too, server_too)) = pair else { continue };
                std::thread::spawn(move || copy(client, server, None));
                std::thread::spawn(move || copy(server_too, client_too, None));
            }
        });
        Self { port, targets }
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    pub(super) fn targets(&self) -> Targets {
        self.targets.clone()
    }
}
