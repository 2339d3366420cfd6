//! Checkpoints: what a quorum says the state was after an instance (rules C).

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::codec::{DecodeError, decode, encode};
use super::limits::{CHUNK_BYTES, MAX_CHUNKS};
use crate::membership::{Cid, Digest, ReplicaId, ReplicaSet, ServiceId, ViewNumber};

/// What one checkpoint is about: the state after an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CheckpointId {
    /// The last instance that the state holds.
    pub cid: Cid,
    /// Hash of that instance's batch: a stable checkpoint certifies the decision, too (rule N3).
    pub hash: Digest,
    /// Digest of the state's manifest.
    pub digest: Digest,
}

impl CheckpointId {
    /// What a CHECKPOINT's signature covers.
    #[must_use]
    pub fn signed_bytes(&self, service: ServiceId, view: ViewNumber) -> Vec<u8> {
        encode(&("webbft checkpoint v1", service, view, self))
    }
}

/// A quorum's CHECKPOINTs for one state: a stable checkpoint. Holding one proves nothing: verify
/// it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckpointCertificate {
    /// The state.
    pub checkpoint: CheckpointId,
    /// Members and their signatures over [`CheckpointId::signed_bytes`].
    pub signatures: Vec<(ReplicaId, Bytes)>,
}

impl CheckpointCertificate {
    pub(super) const fn within_limits(&self) -> bool {
        self.signatures.len() <= ReplicaSet::CAPACITY
    }
}

/// What a snapshot consists of (rule C2). Its digest is what CHECKPOINTs sign, and each chunk is
/// checked against it, from whomever it comes.
///
/// A snapshot has two parts: the service's bytes, then those of the sessions, cached replies and
/// topics. Each is cut into chunks of [`CHUNK_BYTES`], the last of a part being shorter, so that
/// a change of the sessions does not shift the service's chunks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The last instance that the state holds.
    pub cid: Cid,
    /// Hash of that instance's batch.
    pub hash: Digest,
    /// Length of the service's part.
    pub service_bytes: u64,
    /// Length of the other part.
    pub protocol_bytes: u64,
    /// Digests of the chunks, in order.
    pub chunks: Vec<Digest>,
}

/// The number of chunks that a part of `bytes` is cut into.
const fn chunks_of(bytes: u64) -> u64 {
    bytes.div_ceil(CHUNK_BYTES as u64)
}

impl Manifest {
    /// The bytes of the manifest.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        encode(self).into()
    }

    /// Decodes a manifest and checks that its chunks fit its lengths.
    ///
    /// # Errors
    /// Where the bytes are not exactly one manifest within its limits.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let manifest: Self = decode(bytes)?;
        if manifest.within_limits() { Ok(manifest) } else { Err(DecodeError::FieldTooLong) }
    }

    /// Does the number of chunks fit the lengths, and the limit?
    pub(crate) fn within_limits(&self) -> bool {
        let limit = MAX_CHUNKS as u64;
        let (service, protocol) = (chunks_of(self.service_bytes), chunks_of(self.protocol_bytes));
        service <= limit
            && protocol <= limit
            && service + protocol <= limit
            && service + protocol == self.chunks.len() as u64
    }

    /// What a CHECKPOINT of this state signs.
    #[must_use]
    pub fn id(&self) -> CheckpointId {
        CheckpointId { cid: self.cid, hash: self.hash, digest: Digest::of(&self.encode()) }
    }

    /// How many chunks the service's part has; the others follow.
    #[must_use]
    pub fn service_chunks(&self) -> usize {
        usize::try_from(chunks_of(self.service_bytes)).unwrap_or(usize::MAX)
    }

    /// The length of a chunk in bytes; 0 where there is no such chunk.
    #[must_use]
    pub fn chunk_len(&self, index: usize) -> usize {
        let service = self.service_chunks();
        let (part, before) = if index < service {
            (self.service_bytes, index)
        } else {
            (self.protocol_bytes, index - service)
        };
        let rest = part.saturating_sub(before as u64 * CHUNK_BYTES as u64);
        usize::try_from(rest).map_or(CHUNK_BYTES, |rest| rest.min(CHUNK_BYTES))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(service_bytes: u64, protocol_bytes: u64, chunks: usize) -> Manifest {
        let (cid, hash) = (Cid(7), Digest([1; 32]));
        Manifest { cid, hash, service_bytes, protocol_bytes, chunks: vec![hash; chunks] }
    }

    #[test]
    fn chunks_fit_the_lengths() {
        let mib = CHUNK_BYTES as u64;
        let cut = manifest(2 * mib + 5, mib, 4);
        assert_eq!(Manifest::decode(&cut.encode()), Ok(cut.clone()));
        let lengths: Vec<usize> = (0..5).map(|index| cut.chunk_len(index)).collect();
        assert_eq!(lengths, [CHUNK_BYTES, CHUNK_BYTES, 5, CHUNK_BYTES, 0]);
        assert_eq!(cut.service_chunks(), 3);
        for wrong in [
            manifest(2 * mib + 5, mib, 3),
            manifest(2 * mib + 5, mib, 5),
            manifest(0, 0, 1),
            manifest(u64::MAX, u64::MAX, 0),
            manifest(mib * (MAX_CHUNKS as u64 + 1), 0, MAX_CHUNKS + 1),
        ] {
            assert_eq!(Manifest::decode(&wrong.encode()), Err(DecodeError::FieldTooLong));
        }
        assert!(Manifest::decode(&manifest(0, 0, 0).encode()).is_ok());
    }
}
