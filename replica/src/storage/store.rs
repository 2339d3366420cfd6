//! `state.redb`: opened and checked, read, written a group commit at a time, truncated.

use std::collections::{BTreeSet, VecDeque};
use std::fs::{self, File};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use redb::{Builder, Database, ReadableDatabase as _, WriteTransaction};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tracing::info;
use webbft_protocol::membership::Cid;
use webbft_protocol::replica::Record;
use webbft_protocol::wire::{CheckpointCertificate, decode, encode};

use super::error::{Identity, StorageError};
use super::rows::{
    Extent, FORMAT, IdentityRow, KEPT, Kind, LOG, META, PIECE, PIECES, PieceKey, SNAPSHOTS,
    SnapshotHeader, Votes,
};
use super::seal::{open as unseal, seal};

/// Memory for pages of the file.
const CACHE: usize = 64 << 20;
/// How much of a snapshot goes into one commit: votes must not wait for more.
const SNAPSHOT_STEP: usize = 4 << 20;
/// How many rows that are not needed any more one commit removes.
const REMOVAL_STEP: usize = 1024;
/// A file that is larger than this and mostly free is compacted when it is opened.
const COMPACT_FROM: u64 = 32 << 20;

type Result<T> = std::result::Result<T, StorageError>;

/// A stable checkpoint and its state, to be stored.
#[derive(Debug, Clone)]
pub(crate) struct SnapshotParts {
    pub(crate) certificate: CheckpointCertificate,
    /// Encoded.
    pub(crate) manifest: Bytes,
    pub(crate) chunks: Vec<Bytes>,
}

/// A stable checkpoint and its state, as it was stored. It has been damaged by nothing; whether
/// it is right is for the protocol to verify.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoredSnapshot {
    pub(crate) certificate: CheckpointCertificate,
    pub(crate) manifest: Bytes,
    pub(crate) chunks: Vec<Bytes>,
}

/// All that a replica remembers.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Contents {
    pub(crate) votes: Votes,
    pub(crate) snapshot: Option<StoredSnapshot>,
    /// In the order in which they were written.
    pub(crate) records: Vec<Record>,
}

/// What one commit adds.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    pub(crate) records: Vec<Record>,
    pub(crate) votes: Option<Votes>,
}

impl Changes {
    pub(crate) const fn is_empty(&self) -> bool {
        self.records.is_empty() && self.votes.is_none()
    }
}

/// A snapshot on its way to the disk.
#[derive(Debug)]
struct Incoming {
    parts: SnapshotParts,
    chunk: usize,
    piece: usize,
}

/// The open database. After an error it must be dropped: what the last commit did is unknown.
#[derive(Debug)]
pub(crate) struct Store {
    file: PathBuf,
    database: Database,
    extent: Extent,
    /// What the rows of the log are about, from `extent.first` on.
    kinds: VecDeque<Kind>,
    /// Records about instances up to this one are not needed.
    stable: Option<Cid>,
    /// Complete snapshots.
    snapshots: BTreeSet<u64>,
    /// Snapshots of which pieces remain to be removed.
    garbage: BTreeSet<u64>,
    incoming: Option<Incoming>,
}

impl Store {
    /// Creates `state.redb` in `dir`, where there is none. A crash meanwhile leaves none.
    pub(crate) fn create(dir: &Path, identity: Identity, votes: Votes) -> Result<Self> {
        let path = Self::path(dir);
        let unfinished = dir.join("state.redb.new");
        let io = |error| StorageError::io(&unfinished, &error);
        match fs::remove_file(&unfinished) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(io(error)),
            _ => {}
        }
        let store =
            Self::begin(&unfinished, identity, votes, |builder| builder.create(&unfinished))?;
        store.close()?;
        fs::rename(&unfinished, &path).map_err(io)?;
        sync_dir(dir)?;
        Ok(Self::open(dir, identity)?.0)
    }

    /// Opens `state.redb` in `dir` and reads it.
    pub(crate) fn open(dir: &Path, identity: Identity) -> Result<(Self, Contents)> {
        let path = Self::path(dir);
        Self::open_with(&path, identity, |builder| builder.open(&path))
    }

    /// The file in `dir`.
    pub(crate) fn path(dir: &Path) -> PathBuf {
        dir.join("state.redb")
    }

    /// A new database from `create`; `file` is for messages.
    pub(super) fn begin(
        file: &Path,
        identity: Identity,
        votes: Votes,
        create: impl FnOnce(&mut Builder) -> std::result::Result<Database, redb::DatabaseError>,
    ) -> Result<Self> {
        let mut builder = Builder::new();
        let database = create(builder.set_cache_size(CACHE)).map_err(|e| fault(file, e))?;
        let store = Self {
            file: file.to_owned(),
            database,
            extent: Extent { first: 1, last: 0 },
            kinds: VecDeque::new(),
            stable: None,
            snapshots: BTreeSet::new(),
            garbage: BTreeSet::new(),
            incoming: None,
        };
        let Identity { service, view, replica } = identity;
        let transaction = store.transaction()?;
        store.put_meta(&transaction, "format", &FORMAT)?;
        store.put_meta(&transaction, "identity", &IdentityRow { service, view, replica })?;
        store.put_meta(&transaction, "votes", &votes)?;
        store.put_meta(&transaction, "extent", &store.extent)?;
        for error in [
            transaction.open_table(LOG).err(),
            transaction.open_table(KEPT).err(),
            transaction.open_table(SNAPSHOTS).err(),
            transaction.open_table(PIECES).err(),
        ] {
            error.map_or(Ok(()), |error| Err(store.fault(error)))?;
        }
        transaction.commit().map_err(|e| store.fault(e))?;
        Ok(store)
    }

    /// Opens an existing database from `open` and reads it; `file` is for messages.
    pub(super) fn open_with(
        file: &Path,
        identity: Identity,
        open: impl FnOnce(&mut Builder) -> std::result::Result<Database, redb::DatabaseError>,
    ) -> Result<(Self, Contents)> {
        // Everything is read, and every page's checksum verified, before anything is believed.
        // The database promises an error where the file is damaged; a panic is one as well.
        guarded(file, || {
            let mut builder = Builder::new();
            builder.set_cache_size(CACHE).set_check_integrity_on_open(true);
            let database = open(&mut builder).map_err(|e| fault(file, e))?;
            let mut store = Self {
                file: file.to_owned(),
                database,
                extent: Extent { first: 1, last: 0 },
                kinds: VecDeque::new(),
                stable: None,
                snapshots: BTreeSet::new(),
                garbage: BTreeSet::new(),
                incoming: None,
            };
            let contents = store.read(identity)?;
            store.compact_if_mostly_free()?;
            Ok((store, contents))
        })
    }

    // Reading.

    fn read(&mut self, identity: Identity) -> Result<Contents> {
        let transaction = self.database.begin_read().map_err(|e| self.fault(e))?;
        let meta = transaction.open_table(META).map_err(|e| self.fault(e))?;
        let format: u32 = self.meta(&meta, "format")?;
        if format != FORMAT {
            return Err(StorageError::Format { file: self.file.clone(), found: format });
        }
        let IdentityRow { service, view, replica } = self.meta(&meta, "identity")?;
        let found = Identity { service, view, replica };
        if found != identity {
            return Err(StorageError::NotOurs { file: self.file.clone(), found, wanted: identity });
        }
        let votes = self.meta(&meta, "votes")?;
        let extent: Extent = self.meta(&meta, "extent")?;
        let (kinds, mut records) = self.read_log(&transaction, extent)?;
        let kept = self.read_kept(&transaction)?;
        records.splice(..0, kept);
        let snapshot = self.read_snapshots(&transaction)?;
        self.extent = extent;
        self.kinds = kinds;
        self.stable = self.newest_checkpoint(&records);
        Ok(Contents { votes, snapshot, records })
    }

    fn meta<T: DeserializeOwned>(
        &self,
        table: &impl redb::ReadableTable<&'static str, &'static [u8]>,
        name: &str,
    ) -> Result<T> {
        let row = table.get(name).map_err(|e| self.fault(e))?;
        let row = row.ok_or_else(|| self.damaged(format!("{name:?} is missing")))?;
        let payload = unseal("meta", name.as_bytes(), row.value());
        let value = payload.and_then(|payload| decode(payload).ok());
        value.ok_or_else(|| self.damaged(format!("{name:?} has a wrong checksum")))
    }

    fn read_log(
        &self,
        transaction: &redb::ReadTransaction,
        extent: Extent,
    ) -> Result<(VecDeque<Kind>, Vec<Record>)> {
        let table = transaction.open_table(LOG).map_err(|e| self.fault(e))?;
        let (mut kinds, mut records) = (VecDeque::new(), Vec::new());
        let mut expected = extent.first;
        for row in table.range::<u64>(..).map_err(|e| self.fault(e))? {
            let (key, row) = row.map_err(|e| self.fault(e))?;
            let position = key.value();
            if position != expected {
                return Err(self.damaged(format!("record {expected} of the log is missing")));
            }
            let record = self.open_record("log", &position.to_le_bytes(), row.value());
            let record = record
                .map_err(|what| self.damaged(format!("record {position} of the log {what}")))?;
            kinds.push_back(Kind::of(&record));
            records.push(record);
            expected += 1;
        }
        if expected != extent.last + 1 {
            return Err(self.damaged(format!("record {expected} of the log is missing")));
        }
        Ok((kinds, records))
    }

    /// The kept records, in the order in which they were written.
    fn read_kept(&self, transaction: &redb::ReadTransaction) -> Result<Vec<Record>> {
        let table = transaction.open_table(KEPT).map_err(|e| self.fault(e))?;
        let mut kept = Vec::new();
        for row in table.range::<u8>(..).map_err(|e| self.fault(e))? {
            let (key, row) = row.map_err(|e| self.fault(e))?;
            let name = format!("kept record {}", key.value());
            let damaged = |what| self.damaged(format!("{name} {what}"));
            let payload = unseal("kept", &[key.value()], row.value());
            let payload = payload.ok_or_else(|| damaged("has a wrong checksum"))?;
            let (position, bytes) =
                payload.split_first_chunk().ok_or_else(|| damaged("is too short"))?;
            let record = Record::decode(bytes).map_err(|_| damaged("cannot be decoded"))?;
            kept.push((u64::from_le_bytes(*position), record));
        }
        kept.sort_by_key(|(position, _)| *position);
        Ok(kept.into_iter().map(|(_, record)| record).collect())
    }

    fn open_record(
        &self,
        table: &str,
        key: &[u8],
        row: &[u8],
    ) -> std::result::Result<Record, &'static str> {
        let bytes = unseal(table, key, row).ok_or("has a wrong checksum")?;
        Record::decode(bytes).map_err(|_| "cannot be decoded")
    }

    /// Reads the newest complete snapshot and notes the others.
    fn read_snapshots(
        &mut self,
        transaction: &redb::ReadTransaction,
    ) -> Result<Option<StoredSnapshot>> {
        let table = transaction.open_table(SNAPSHOTS).map_err(|e| self.fault(e))?;
        let pieces = transaction.open_table(PIECES).map_err(|e| self.fault(e))?;
        let mut newest = None;
        for row in table.range::<u64>(..).map_err(|e| self.fault(e))? {
            let (key, row) = row.map_err(|e| self.fault(e))?;
            let cid = key.value();
            let payload = unseal("snapshots", &cid.to_le_bytes(), row.value());
            let header = payload.and_then(|payload| decode::<SnapshotHeader>(payload).ok());
            let header = header
                .ok_or_else(|| self.damaged(format!("the header of snapshot {cid} is wrong")))?;
            newest = Some((cid, header));
        }
        let cids = table.range::<u64>(..).map_err(|e| self.fault(e))?;
        let cids = cids.map(|row| row.map(|(key, _)| key.value()).map_err(|e| self.fault(e)));
        let snapshots = cids.collect::<Result<BTreeSet<_>>>()?;
        // Pieces without a header are of a snapshot that was being written, or removed.
        let mut garbage = BTreeSet::new();
        let mut from = 0;
        loop {
            let mut rest = pieces.range((from, 0, 0)..).map_err(|e| self.fault(e))?;
            let Some(row) = rest.next() else { break };
            let cid = row.map_err(|e| self.fault(e))?.0.value().0;
            if !snapshots.contains(&cid) {
                garbage.insert(cid);
            }
            let Some(next) = cid.checked_add(1) else { break };
            from = next;
        }
        (self.snapshots, self.garbage) = (snapshots, garbage);
        let Some((cid, header)) = newest else { return Ok(None) };
        let SnapshotHeader { certificate, manifest, chunks: lengths } = header;
        let mut chunks = Vec::with_capacity(lengths.len());
        for (chunk, length) in (0_u32..).zip(lengths) {
            let length = length as usize;
            let mut bytes = Vec::with_capacity(length);
            for piece in 0..piece_count(length) {
                let key = (cid, chunk, piece);
                let damaged = |what| {
                    self.damaged(format!("snapshot {cid}, chunk {chunk}, piece {piece}: {what}"))
                };
                let row = pieces.get(key).map_err(|e| self.fault(e))?;
                let row = row.ok_or_else(|| damaged("missing"))?;
                let payload = unseal("pieces", &piece_key(key), row.value());
                bytes.extend_from_slice(payload.ok_or_else(|| damaged("a wrong checksum"))?);
            }
            if bytes.len() != length {
                return Err(self.damaged(format!("snapshot {cid}, chunk {chunk}: a wrong length")));
            }
            chunks.push(bytes.into());
        }
        Ok(Some(StoredSnapshot { certificate, manifest, chunks }))
    }

    /// The newest checkpoint of which the state is here, too.
    fn newest_checkpoint(&self, records: &[Record]) -> Option<Cid> {
        let checkpoints = records.iter().filter_map(|record| match record {
            Record::Checkpoint(certificate) => Some(certificate.checkpoint.cid),
            _ => None,
        });
        checkpoints.filter(|cid| self.snapshots.contains(&cid.0)).max()
    }

    // Writing.

    /// Has a snapshot, or what is to be removed, to go to the disk though nothing is queued?
    pub(crate) fn has_work(&self) -> bool {
        self.incoming.is_some() || !self.garbage.is_empty() || self.removable() > 0
    }

    /// Is a snapshot on its way to the disk?
    pub(crate) const fn is_keeping(&self) -> bool {
        self.incoming.is_some()
    }

    /// Is this snapshot on disk?
    pub(crate) fn has_snapshot(&self, cid: Cid) -> bool {
        self.snapshots.contains(&cid.0)
    }

    /// Begins to store a snapshot, a part with each commit.
    pub(crate) fn keep_snapshot(&mut self, parts: SnapshotParts) {
        self.incoming = Some(Incoming { parts, chunk: 0, piece: 0 });
    }

    /// Writes `changes`, and some of what is left to do, in one transaction, and waits until it is
    /// on disk. Gives the snapshot that became complete with it.
    pub(crate) fn commit(&mut self, changes: &Changes) -> Result<Option<Cid>> {
        let file = self.file.clone();
        guarded(&file, || self.commit_unguarded(changes))
    }

    fn commit_unguarded(&mut self, changes: &Changes) -> Result<Option<Cid>> {
        let transaction = self.transaction()?;
        if let Some(votes) = changes.votes {
            self.put_meta(&transaction, "votes", &votes)?;
        }
        let last = self.extent.last;
        {
            let mut log = transaction.open_table(LOG).map_err(|e| self.fault(e))?;
            for (position, record) in (last + 1..).zip(&changes.records) {
                let row = seal("log", &position.to_le_bytes(), &record.encode());
                log.insert(position, row.as_slice()).map_err(|e| self.fault(e))?;
            }
        }
        let removed = self.remove_rows(&transaction)?;
        let extent = Extent {
            first: self.extent.first + removed as u64,
            last: last + changes.records.len() as u64,
        };
        if extent != self.extent {
            self.put_meta(&transaction, "extent", &extent)?;
        }
        let cleaned = self.remove_pieces(&transaction)?;
        let complete = self.write_pieces(&transaction)?;
        transaction.commit().map_err(|e| self.fault(e))?;

        self.extent = extent;
        self.kinds.drain(..removed);
        self.kinds.extend(changes.records.iter().map(Kind::of));
        for cid in cleaned {
            self.garbage.remove(&cid);
        }
        if let Some(cid) = complete {
            self.incoming = None;
            self.snapshots.insert(cid.0);
        }
        if let Some(stable) = self.newest_checkpoint(&changes.records) {
            self.stable = self.stable.max(Some(stable));
        }
        Ok(complete)
    }

    /// Ends with a file that needs no repair when it is opened.
    pub(crate) fn close(self) -> Result<()> {
        let Self { file, database, .. } = self;
        database.close().map_err(|e| fault(&file, e))
    }

    fn transaction(&self) -> Result<WriteTransaction> {
        self.database.begin_write().map_err(|e| self.fault(e))
    }

    fn put_meta(
        &self,
        transaction: &WriteTransaction,
        name: &str,
        value: &impl Serialize,
    ) -> Result<()> {
        let mut table = transaction.open_table(META).map_err(|e| self.fault(e))?;
        let row = seal("meta", name.as_bytes(), &encode(value));
        table.insert(name, row.as_slice()).map_err(|e| self.fault(e))?;
        Ok(())
    }

    /// How many rows at the head of the log are not needed any more.
    fn removable(&self) -> usize {
        let Some(stable) = self.stable else { return 0 };
        let covered = |kind: &&Kind| match kind {
            Kind::About(cid) => *cid <= stable,
            Kind::Kept(_) => true,
        };
        self.kinds.iter().take(REMOVAL_STEP).take_while(covered).count()
    }

    /// Removes the head of the log as far as it is not needed; of STOPDATAs and SYNCs the newest
    /// moves to [`KEPT`].
    fn remove_rows(&self, transaction: &WriteTransaction) -> Result<usize> {
        let count = self.removable();
        if count == 0 {
            return Ok(0);
        }
        let mut log = transaction.open_table(LOG).map_err(|e| self.fault(e))?;
        let mut kept = transaction.open_table(KEPT).map_err(|e| self.fault(e))?;
        for (position, kind) in (self.extent.first..).zip(self.kinds.iter().take(count)) {
            let row = log.remove(position).map_err(|e| self.fault(e))?;
            if let (Kind::Kept(key), Some(row)) = (kind, row) {
                let record = unseal("log", &position.to_le_bytes(), row.value());
                let record = record.ok_or_else(|| {
                    self.damaged(format!("record {position} of the log has a wrong checksum"))
                })?;
                let payload = [&position.to_le_bytes(), record].concat();
                let row = seal("kept", &[*key], &payload);
                kept.insert(*key, row.as_slice()).map_err(|e| self.fault(e))?;
            }
        }
        Ok(count)
    }

    /// Removes old snapshots and some of their pieces. Gives the snapshots of which none is left.
    fn remove_pieces(&mut self, transaction: &WriteTransaction) -> Result<Vec<u64>> {
        if let Some(stable) = self.stable {
            let kept = self.snapshots.split_off(&stable.0);
            let old = std::mem::replace(&mut self.snapshots, kept);
            if !old.is_empty() {
                let mut table = transaction.open_table(SNAPSHOTS).map_err(|e| self.fault(e))?;
                for cid in &old {
                    table.remove(cid).map_err(|e| self.fault(e))?;
                }
            }
            self.garbage.extend(old);
        }
        let mut cleaned = Vec::new();
        if self.garbage.is_empty() {
            return Ok(cleaned);
        }
        let mut table = transaction.open_table(PIECES).map_err(|e| self.fault(e))?;
        let mut budget = REMOVAL_STEP;
        for cid in &self.garbage {
            // The one that is being written under this number takes the place of these rows.
            if self.incoming.as_ref().is_some_and(|incoming| incoming.cid().0 == *cid) {
                cleaned.push(*cid);
                continue;
            }
            let range = (*cid, 0, 0)..=(*cid, u32::MAX, u32::MAX);
            let rows = table.extract_from_if(range, |_, _| true).map_err(|e| self.fault(e))?;
            let mut removed = 0;
            for row in rows.take(budget) {
                row.map_err(|e| self.fault(e))?;
                removed += 1;
            }
            budget -= removed;
            if budget == 0 {
                break;
            }
            cleaned.push(*cid);
        }
        Ok(cleaned)
    }

    /// Writes the next pieces of the incoming snapshot, and the header after the last.
    fn write_pieces(&mut self, transaction: &WriteTransaction) -> Result<Option<Cid>> {
        let Some(mut incoming) = self.incoming.take() else { return Ok(None) };
        let cid = incoming.cid();
        let mut budget = SNAPSHOT_STEP;
        {
            let mut table = transaction.open_table(PIECES).map_err(|e| self.fault(e))?;
            while let Some((key, bytes)) = incoming.next_piece() {
                let row = seal("pieces", &piece_key(key), bytes);
                table.insert(key, row.as_slice()).map_err(|e| self.fault(e))?;
                budget = budget.saturating_sub(PIECE);
                if budget == 0 {
                    break;
                }
            }
        }
        if incoming.chunk < incoming.parts.chunks.len() {
            self.incoming = Some(incoming);
            return Ok(None);
        }
        let SnapshotParts { certificate, manifest, chunks } = incoming.parts;
        let lengths = chunks.iter().map(|chunk| u32::try_from(chunk.len()));
        let lengths = lengths.collect::<std::result::Result<_, _>>();
        let header = SnapshotHeader {
            certificate,
            manifest,
            chunks: lengths.map_err(|_| self.damaged("a chunk of more than 4 GiB"))?,
        };
        let row = seal("snapshots", &cid.0.to_le_bytes(), &encode(&header));
        let mut table = transaction.open_table(SNAPSHOTS).map_err(|e| self.fault(e))?;
        table.insert(cid.0, row.as_slice()).map_err(|e| self.fault(e))?;
        Ok(Some(cid))
    }

    fn compact_if_mostly_free(&mut self) -> Result<()> {
        let transaction = self.transaction()?;
        let stats = transaction.stats().map_err(|e| self.fault(e))?;
        transaction.abort().map_err(|e| self.fault(e))?;
        let used = stats.stored_bytes() + stats.metadata_bytes();
        let size = match fs::metadata(&self.file) {
            Ok(metadata) => metadata.len(),
            // Not a file, in tests.
            Err(_) => return Ok(()),
        };
        if size < COMPACT_FROM || used > size / 2 {
            return Ok(());
        }
        self.database.compact().map_err(|e| self.fault(e))?;
        let now = fs::metadata(&self.file).map_or(size, |metadata| metadata.len());
        info!(file = %self.file.display(), from = size, to = now, "compacted");
        Ok(())
    }

    fn fault(&self, error: impl Into<redb::Error>) -> StorageError {
        fault(&self.file, error)
    }

    fn damaged(&self, what: impl Into<String>) -> StorageError {
        StorageError::damaged(&self.file, what)
    }
}

impl Incoming {
    const fn cid(&self) -> Cid {
        self.parts.certificate.checkpoint.cid
    }

    fn next_piece(&mut self) -> Option<(PieceKey, &[u8])> {
        loop {
            let (chunk, piece) = (self.chunk, self.piece);
            let bytes = self.parts.chunks.get(chunk)?;
            let Some(piece_bytes) = bytes.chunks(PIECE).nth(piece) else {
                (self.chunk, self.piece) = (chunk + 1, 0);
                continue;
            };
            self.piece += 1;
            let number = |index| u32::try_from(index).expect("fewer than 2^32 chunks and pieces");
            return Some(((self.cid().0, number(chunk), number(piece)), piece_bytes));
        }
    }
}

/// Takes a panic for what it is: a file that the database cannot make sense of.
fn guarded<T>(file: &Path, work: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let what = panic.downcast_ref::<String>().map(String::as_str);
        let what = what.or_else(|| panic.downcast_ref::<&str>().copied());
        let what = what.unwrap_or("the database cannot make sense of it");
        Err(StorageError::damaged(file, what))
    })
}

fn fault(file: &Path, error: impl Into<redb::Error>) -> StorageError {
    StorageError::database(file, error)
}

fn piece_count(length: usize) -> u32 {
    u32::try_from(length.div_ceil(PIECE)).unwrap_or(u32::MAX)
}

fn piece_key((cid, chunk, piece): PieceKey) -> [u8; 16] {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&cid.to_le_bytes());
    key[8..12].copy_from_slice(&chunk.to_le_bytes());
    key[12..].copy_from_slice(&piece.to_le_bytes());
    key
}

/// Makes a directory's entries last.
pub(super) fn sync_dir(dir: &Path) -> Result<()> {
    let synced = File::open(dir).and_then(|dir| dir.sync_all());
    synced.map_err(|error| StorageError::io(dir, &error))
}
