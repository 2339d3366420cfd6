//! A disk for tests that crashes, tears, fills up and fails, in memory.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex};

use rand::Rng;
use redb::StorageBackend;

/// What a disk writes whole.
const SECTOR: usize = 512;

/// What is on the disk, what is on its way there, and what goes wrong. Clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct FaultyDisk(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    /// What the process sees.
    seen: Vec<u8>,
    /// What a power cut leaves for sure.
    durable: Vec<u8>,
    /// Written since the last sync, in order.
    unsynced: VecDeque<Change>,
    /// Bytes that the file may have.
    capacity: Option<u64>,
    /// How many further writes, changes of length and syncs succeed.
    operations_left: Option<u64>,
}

#[derive(Debug, Clone)]
enum Change {
    Length(usize),
    Write(usize, Vec<u8>),
}

impl FaultyDisk {
    pub(super) fn of(bytes: Vec<u8>) -> Self {
        let inner = Inner { seen: bytes.clone(), durable: bytes, ..Inner::default() };
        Self(Arc::new(Mutex::new(inner)))
    }

    pub(super) fn set_capacity(&self, capacity: Option<u64>) {
        self.0.lock().unwrap().capacity = capacity;
    }

    /// From now on this many changes succeed, and then nothing does.
    pub(super) fn fail_after(&self, operations: u64) {
        self.0.lock().unwrap().operations_left = Some(operations);
    }

    /// While this is held, everything that uses the disk waits.
    pub(super) fn hold(&self) -> impl Drop {
        self.0.lock().unwrap()
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        self.0.lock().unwrap().seen.clone()
    }

    /// The disk after a power cut: of what was not synced each sector is there or not.
    pub(super) fn power_cut(&self, rng: &mut impl Rng) -> Self {
        let inner = self.0.lock().unwrap();
        let mut bytes = inner.durable.clone();
        for change in &inner.unsynced {
            match change {
                Change::Length(length) => {
                    if rng.random() {
                        bytes.resize(*length, 0);
                    }
                }
                Change::Write(offset, data) => {
                    let mut at = *offset;
                    for sector in data.chunks(SECTOR) {
                        if rng.random() {
                            if bytes.len() < at + sector.len() {
                                bytes.resize(at + sector.len(), 0);
                            }
                            bytes[at..at + sector.len()].copy_from_slice(sector);
                        }
                        at += sector.len();
                    }
                }
            }
        }
        Self::of(bytes)
    }

    fn change(&self, change: Change) -> io::Result<()> {
        let mut inner = self.0.lock().unwrap();
        inner.use_operation()?;
        let end = match &change {
            Change::Length(length) => *length,
            Change::Write(offset, data) => offset + data.len(),
        };
        if inner.capacity.is_some_and(|capacity| end as u64 > capacity) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        match &change {
            Change::Length(length) => inner.seen.resize(*length, 0),
            Change::Write(offset, data) => {
                if inner.seen.len() < end {
                    inner.seen.resize(end, 0);
                }
                inner.seen[*offset..end].copy_from_slice(data);
            }
        }
        inner.unsynced.push_back(change);
        Ok(())
    }
}

impl Inner {
    fn use_operation(&mut self) -> io::Result<()> {
        match &mut self.operations_left {
            Some(0) => Err(io::Error::other("the disk has failed")),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }
}

impl StorageBackend for FaultyDisk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().unwrap().seen.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let inner = self.0.lock().unwrap();
        let start = usize::try_from(offset).unwrap();
        let bytes = inner.seen.get(start..start + out.len());
        let bytes = bytes.ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))?;
        out.copy_from_slice(bytes);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.change(Change::Length(usize::try_from(len).unwrap()))
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut inner = self.0.lock().unwrap();
        inner.use_operation()?;
        inner.durable = inner.seen.clone();
        inner.unsynced.clear();
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.change(Change::Write(usize::try_from(offset).unwrap(), data.to_vec()))
    }
}
