//! A TCP relay that can hold back what the server behind it sends: a network that stalls.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// Relays connections to an address for as long as the process runs.
pub struct Relay {
    port: u16,
    gates: Arc<Mutex<Vec<Arc<Gate>>>>,
}

/// What the answers of one connection pass.
#[derive(Default)]
pub(crate) struct Gate {
    held: Mutex<bool>,
    opened: Condvar,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Gate {
    fn pass(&self) {
        let mut held = locked(&self.held);
        while *held {
            held = self.opened.wait(held).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn set(&self, held: bool) {
        *locked(&self.held) = held;
        self.opened.notify_all();
    }
}

impl Relay {
    /// To `127.0.0.1:port`.
    ///
    /// # Panics
    /// If it cannot listen.
    pub fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let own = listener.local_addr().expect("its address").port();
        let relay = Self { port: own, gates: Arc::default() };
        let gates = relay.gates.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                // Whoever is refused by the server is refused here.
                let Ok(server) = TcpStream::connect(("127.0.0.1", port)) else { continue };
                let pair = client.try_clone().and_then(|client| Ok((client, server.try_clone()?)));
                let Ok((client_too, server_too)) = pair else { continue };
                let gate: Arc<Gate> = Arc::default();
                locked(&gates).push(gate.clone());
                std::thread::spawn(move || copy(client, server, None));
                std::thread::spawn(move || copy(server_too, client_too, Some(&gate)));
            }
        });
        relay
    }

    /// Its own port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// How many connections there have been.
    pub fn connections(&self) -> usize {
        locked(&self.gates).len()
    }

    /// From now on nothing arrives of what the server sends over one of the connections, counted from 0.
    pub fn hold(&self, connection: usize) {
        if let Some(gate) = locked(&self.gates).get(connection) {
            gate.set(true);
        }
    }

    /// What was held back arrives, and what follows.
    pub fn release(&self, connection: usize) {
        if let Some(gate) = locked(&self.gates).get(connection) {
            gate.set(false);
        }
    }
}

pub(crate) fn copy(mut from: TcpStream, mut to: TcpStream, gate: Option<&Gate>) {
    let mut buffer = [0; 16 * 1024];
    loop {
        match from.read(&mut buffer) {
            Ok(read) if read > 0 => {
                if let Some(gate) = gate {
                    gate.pass();
                }
                if to.write_all(&buffer[..read]).is_err() {
                    break;
                }
            }
            _ => break,
        }
    }
    // Either side may be gone already.
    let _ = to.shutdown(Shutdown::Write);
}
