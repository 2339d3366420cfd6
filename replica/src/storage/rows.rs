//! The tables of `state.redb` and the keys and values of their rows.

use bytes::Bytes;
use redb::TableDefinition;
use serde::{Deserialize, Serialize};
use webbft_protocol::membership::{Cid, ReplicaId, ServiceId, ViewNumber};
use webbft_protocol::replica::Record;
use webbft_protocol::wire::CheckpointCertificate;

/// The version of everything in this file.
pub(crate) const FORMAT: u32 = 1;

/// Facts about the whole file, by name.
pub(super) const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
/// The log: position → record.
pub(super) const LOG: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("log");
/// Records that outlive the log before the checkpoint: the newest of each kind.
pub(super) const KEPT: TableDefinition<'_, u8, &[u8]> = TableDefinition::new("kept");
/// Complete snapshots: cid → header.
pub(super) const SNAPSHOTS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("snapshots");
/// cid, chunk, piece.
pub(super) type PieceKey = (u64, u32, u32);
/// Their content.
pub(super) const PIECES: TableDefinition<'_, PieceKey, &[u8]> = TableDefinition::new("pieces");

/// Bytes of a piece: with its checksum and the page's own fields it fills a page of 64 KiB. A
/// chunk of 1 MiB in one row would take a page of 2 MiB.
pub(super) const PIECE: usize = 65_000;

/// Does the log hold every vote that this replica has sent?
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Votes {
    /// Yes.
    Complete,
    /// It may not: the last stop was not clean, in `async`. The replica must follow until what it
    /// forgot cannot matter (rule D3).
    Doubtful,
    /// It does not: there were runs before that it knows nothing of. Likewise.
    Lost,
}

/// The row "identity".
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct IdentityRow {
    pub(super) service: ServiceId,
    pub(super) view: ViewNumber,
    pub(super) replica: ReplicaId,
}

/// The row "extent": which positions the log must hold. A log that lost its beginning or its end
/// would look whole without it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Extent {
    /// Where there is no record, one beyond the last.
    pub(super) first: u64,
    /// 0 where there has never been one.
    pub(super) last: u64,
}

/// A row of [`SNAPSHOTS`], written after all pieces.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct SnapshotHeader {
    pub(super) certificate: CheckpointCertificate,
    pub(super) manifest: Bytes,
    /// Bytes of each chunk.
    pub(super) chunks: Vec<u32>,
}

/// What truncation has to know about a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Not needed once a checkpoint covers the instance.
    About(Cid),
    /// The newest one stays.
    Kept(u8),
}

impl Kind {
    pub(super) fn of(record: &Record) -> Self {
        match (record.cid(), record) {
            (Some(cid), _) => Self::About(cid),
            (None, Record::Sync(_)) => Self::Kept(1),
            (None, _) => Self::Kept(0),
        }
    }
}
