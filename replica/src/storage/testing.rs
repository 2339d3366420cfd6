//! Records and snapshots for unit tests.

use bytes::Bytes;
use webbft_protocol::membership::{Cid, Digest, Epoch, Regency, ReplicaId, ServiceId, ViewNumber};
use webbft_protocol::replica::Record;
use webbft_protocol::wire::{CheckpointCertificate, CheckpointId};

use super::Identity;
use super::store::SnapshotParts;

pub(super) const IDENTITY: Identity =
    Identity { service: ServiceId([7; 16]), view: ViewNumber(0), replica: ReplicaId(2) };

/// A record about instance `cid`, of about `size` bytes.
pub(super) fn accepted(cid: u64, size: usize) -> Record {
    let signature = Bytes::from(vec![u8::try_from(cid % 251).unwrap(); size]);
    Record::Accepted { cid: Cid(cid), epoch: Epoch(1), hash: Digest::of(b"hash"), signature }
}

pub(super) fn regency(regency: u32) -> Record {
    Record::Regency { regency: Regency(regency), stop_data: None }
}

pub(super) fn checkpoint(cid: u64) -> Record {
    Record::Checkpoint(certificate(cid))
}

pub(super) fn certificate(cid: u64) -> CheckpointCertificate {
    let checkpoint = CheckpointId {
        cid: Cid(cid),
        hash: Digest::of(b"hash"),
        digest: Digest::of(&cid.to_le_bytes()),
    };
    let signatures = vec![(ReplicaId(1), Bytes::from_static(b"signature"))];
    CheckpointCertificate { checkpoint, signatures }
}

/// A snapshot with chunks of these lengths.
pub(super) fn snapshot(cid: u64, chunks: &[usize]) -> SnapshotParts {
    let chunk = |len: usize| (0..len).map(|i| (i as u64 ^ cid).to_le_bytes()[0]).collect();
    SnapshotParts {
        certificate: certificate(cid),
        manifest: Bytes::from(format!("manifest of {cid}")),
        chunks: chunks.iter().map(|len| chunk(*len)).collect(),
    }
}
