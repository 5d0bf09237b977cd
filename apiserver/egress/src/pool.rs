//! Connections that wait for the next call to the same target by the same caller.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use hyper::client::conn::{http1, http2};
use sha2::{Digest, Sha256};

use crate::{Caller, RequestBody, Target};

/// How long a connection waits.
const IDLE: Duration = Duration::from_secs(30);
/// How often those that waited too long are looked for, while any waits.
const SWEEP: Duration = Duration::from_secs(5);
/// How many connections of HTTP/1.1 wait for one target.
const PER_TARGET: usize = 16;

/// What tells targets apart: a digest, so that no bundle or key of a tenant is held here.
pub(crate) type Key = [u8; 32];

/// The key of a target for a caller.
pub(crate) fn key(caller: &Caller, target: &Target) -> Key {
    let tls = &target.tls;
    let address = target.address.map(|a| a.to_string()).unwrap_or_default();
    let client = tls.client.as_ref();
    let parts: [&[u8]; 10] = [
        caller.key().as_bytes(),
        target.scheme.as_str().as_bytes(),
        target.host.as_bytes(),
        &target.port.to_be_bytes(),
        address.as_bytes(),
        &tls.ca_bundle,
        &[u8::from(tls.insecure)],
        tls.server_name.as_bytes(),
        client.map_or(&[], |c| &c.certificate),
        client.map_or(&[], |c| &c.key),
    ];
    let mut digest = Sha256::new();
    for part in parts {
        digest.update((part.len() as u64).to_be_bytes());
        digest.update(part);
    }
    digest.finalize().into()
}

/// Sends requests over a connection.
#[derive(Debug)]
pub(crate) enum Sender {
    Http1(http1::SendRequest<RequestBody>),
    Http2(http2::SendRequest<RequestBody>),
}

impl Sender {
    fn is_closed(&self) -> bool {
        match self {
            Self::Http1(sender) => sender.is_closed(),
            Self::Http2(sender) => sender.is_closed(),
        }
    }
}

#[derive(Debug)]
struct Waiting {
    sender: Sender,
    peer: SocketAddr,
    since: Instant,
}

#[derive(Debug, Default)]
struct State {
    waiting: HashMap<Key, Vec<Waiting>>,
    sweeping: bool,
}

/// The connections that wait.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    state: Mutex<State>,
}

/// A connection while a call uses it.
#[derive(Debug)]
pub(crate) struct Lease {
    pool: Arc<Pool>,
    key: Key,
    pub sender: Sender,
    pub peer: SocketAddr,
}

impl Lease {
    /// Lets the next call have it.
    pub fn give_back(self) {
        let Self { pool, key, sender, peer } = self;
        // One of HTTP/2 is there already, for all who share it.
        if matches!(sender, Sender::Http1(_)) {
            pool.put(key, sender, peer);
        }
    }
}

impl Pool {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection that waits for this target, the latest first.
    pub fn take(self: &Arc<Self>, key: Key) -> Option<Lease> {
        let mut state = self.lock();
        let waiting = state.waiting.get_mut(&key)?;
        waiting.retain(|w| !w.sender.is_closed());
        let lease = |sender, peer| Lease { pool: self.clone(), key, sender, peer };
        let found = match waiting.pop() {
            None => None,
            Some(mut held) => match &held.sender {
                Sender::Http2(shared) => {
                    let found = lease(Sender::Http2(shared.clone()), held.peer);
                    held.since = Instant::now();
                    waiting.push(held);
                    Some(found)
                }
                Sender::Http1(_) => Some(lease(held.sender, held.peer)),
            },
        };
        if waiting.is_empty() {
            state.waiting.remove(&key);
        }
        found
    }

    /// A new connection, for the call that made it.
    pub fn lease(self: &Arc<Self>, key: Key, sender: Sender, peer: SocketAddr) -> Lease {
        if let Sender::Http2(shared) = &sender {
            self.put(key, Sender::Http2(shared.clone()), peer);
        }
        Lease { pool: self.clone(), key, sender, peer }
    }

    fn put(self: &Arc<Self>, key: Key, sender: Sender, peer: SocketAddr) {
        let mut state = self.lock();
        let waiting = state.waiting.entry(key).or_default();
        waiting.push(Waiting { sender, peer, since: Instant::now() });
        if waiting.len() > PER_TARGET {
            waiting.remove(0);
        }
        if !state.sweeping {
            state.sweeping = true;
            tokio::spawn(sweep(Arc::downgrade(self)));
        }
    }

    /// Closes those that waited too long; false when none is left.
    fn close_idle(&self) -> bool {
        let mut state = self.lock();
        state.waiting.retain(|_, waiting| {
            waiting.retain(|w| w.since.elapsed() < IDLE && !w.sender.is_closed());
            !waiting.is_empty()
        });
        state.sweeping = !state.waiting.is_empty();
        state.waiting.shrink_to_fit();
        state.sweeping
    }

    /// How many connections wait.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.lock().waiting.values().map(Vec::len).sum()
    }
}

/// Runs while any connection waits.
async fn sweep(pool: Weak<Pool>) {
    loop {
        tokio::time::sleep(SWEEP).await;
        if !pool.upgrade().is_some_and(|pool| pool.close_idle()) {
            return;
        }
    }
}
