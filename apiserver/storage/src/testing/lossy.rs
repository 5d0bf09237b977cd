//! A file that forgets, as a disk may when the power goes: of what was written since the last
//! sync any part may be there after a crash, in any order, and cut at any sector.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::StorageBackend;

const SECTOR: usize = 512;

/// See the module. Clones are the same file.
#[derive(Debug, Clone, Default)]
pub struct LossyFile {
    state: Arc<Mutex<State>>,
    /// The crash after which this handle is dead.
    life: u64,
}

#[derive(Debug, Default)]
struct State {
    life: u64,
    durable: Vec<u8>,
    current: Vec<u8>,
    pending: Vec<Pending>,
    syncs: u64,
}

#[derive(Debug)]
enum Pending {
    Write(usize, Vec<u8>),
    Length(usize),
}

impl LossyFile {
    /// An empty file.
    pub fn new() -> Self {
        Self::default()
    }

    /// How often it was synced.
    pub fn syncs(&self) -> u64 {
        self.state().syncs
    }

    /// Crashes: every handle fails from now on. `survives` decides for each sector written but
    /// not synced whether it is there afterwards. Returns the file as found after the crash.
    pub fn crash(&self, mut survives: impl FnMut() -> bool) -> LossyFile {
        let mut state = self.state();
        state.life += 1;
        let mut found = std::mem::take(&mut state.durable);
        for pending in std::mem::take(&mut state.pending) {
            match pending {
                Pending::Length(length) => {
                    if survives() {
                        found.resize(length, 0);
                    }
                }
                Pending::Write(offset, data) => {
                    for (index, sector) in data.chunks(SECTOR).enumerate() {
                        let at = offset + index * SECTOR;
                        if survives() {
                            if found.len() < at + sector.len() {
                                found.resize(at + sector.len(), 0);
                            }
                            found[at..at + sector.len()].copy_from_slice(sector);
                        }
                    }
                }
            }
        }
        LossyFile {
            state: Arc::new(Mutex::new(State {
                life: 0,
                durable: found.clone(),
                current: found,
                pending: Vec::new(),
                syncs: 0,
            })),
            life: 0,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn alive(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.state();
        if state.life != self.life {
            return Err(io::Error::other("the power is gone"));
        }
        Ok(state)
    }
}

impl StorageBackend for LossyFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.alive()?.current.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let state = self.alive()?;
        let offset = offset as usize;
        let bytes = state.current.get(offset..offset + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(bytes);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.alive()?;
        state.current.resize(len as usize, 0);
        state.pending.push(Pending::Length(len as usize));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.alive()?;
        let state = &mut *state;
        for pending in state.pending.drain(..) {
            match pending {
                Pending::Length(length) => state.durable.resize(length, 0),
                Pending::Write(offset, data) => {
                    state.durable[offset..offset + data.len()].copy_from_slice(&data);
                }
            }
        }
        state.syncs += 1;
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut state = self.alive()?;
        let offset = offset as usize;
        state
            .current
            .get_mut(offset..offset + data.len())
            .ok_or(io::ErrorKind::UnexpectedEof)?
            .copy_from_slice(data);
        state.pending.push(Pending::Write(offset, data.to_vec()));
        Ok(())
    }
}
